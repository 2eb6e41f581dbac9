/* Requests that must be refused: each with its status, code and place, and the server as well as before. Those
 * that fit in a row are in cases_bad.c; here are the large and the broken ones. */
#include "tests/http/cases_bad.h"
#include "tests/http/http_test.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void setup(void)
{
    /* small limits, so that what exceeds them is small too */
    static const char *const args[] = { "--body-max-bytes", "1000000", "--limits-text-bytes",
        "10000", "--limits-metadata-bytes", "2000", "--limits-inputs", "64",
        "--body-line-max-bytes", "100000", NULL };
    suite_server_args = args;
    suite_server_start();
    expect("PUT", "/collections/words", "{'modality':'text','filterable':{'pos':'string'}}", 201);
    expect("PUT", "/collections/vecs", "{'model':null,'dimensions':3}", 201);
    expect("PUT", "/collections/words/items/cat", "{'text':'a small domesticated feline'}", 201);
    expect("PUT", "/collections/words/items/x", "{'text':'to be replaced'}", 201);
    expect("PUT", "/collections/vecs/items/a", "{'vector':[1,2,3]}", 201);
}

static void still_well(void)
{
    expect("GET", "/healthz", NULL, 200);
    json_t *v = call("POST", "/collections/words/search",
        "{\"text\": \"a small domesticated feline\", \"k\": 1}", 200);
    ck_assert_str_eq(text_at(v, "/hits/0/id"), "cat");
    json_decref(v);
}

/* code and field of a problem, or type and param of OpenAI's error */
static void check_problem(const struct bad_case *c, const json_t *v)
{
    if (!c->code) return;
    if (strncmp(c->path, "/v1/", 4) == 0) {
        const json_t *param = at(v, "/error/param");
        ck_assert_str_eq(text_at(v, "/error/type"), c->code);
        ck_assert_str_ne(text_at(v, "/error/message"), "");
        ck_assert_msg(c->field ? json_is_string(param) : json_is_null(param), "param of %s %s: %s",
            c->path, c->body ? c->body : "", json_string_value(param));
        if (c->field) ck_assert_str_eq(json_string_value(param), c->field);
        return;
    }
    const char *field = json_string_value(json_object_get(v, "field"));
    ck_assert_int_eq(int_at(v, "/status"), c->status);
    ck_assert_msg(strcmp(text_at(v, "/code"), c->code) == 0, "%s %s %s: code %s, not %s (%s)",
        c->method, c->path, c->body ? c->body : "", text_at(v, "/code"), c->code,
        text_at(v, "/detail"));
    ck_assert_str_ne(text_at(v, "/detail"), "");
    if (c->field || field)
        ck_assert_msg(c->field && field && strcmp(field, c->field) == 0,
            "%s %s %s: field %s, not %s (%s)", c->method, c->path, c->body ? c->body : "",
            field ? field : "(none)", c->field ? c->field : "(none)", text_at(v, "/detail"));
}

START_TEST(row_is_refused)
{
    const struct bad_case *c = &cases_bad[_i];
    char *body = c->body ? dquote(c->body) : NULL;
    const char *type = c->type ? c->type : body ? "application/json" : NULL;
    struct str b = body ? (struct str){ body, strlen(body) } : (struct str){ NULL, 0 };
    json_t *v = call_raw(c->method, c->path, type, b, c->status);

    check_problem(c, v);
    json_decref(v);
    free(body);
    if (_i % 16 == 0) still_well();
}
END_TEST

/* Rows whose fault is the shape of the body should not fit openapi.yaml either: it is exact. */
START_TEST(unknown_fields_are_not_in_openapi)
{
    size_t n = 0;
    for (size_t i = 0; i < n_cases_bad; i++) {
        const struct bad_case *c = &cases_bad[i];
        if (!c->body || !c->code || strcmp(c->code, "unknown_field") != 0) continue;
        char *body = dquote(c->body);
        ck_assert_msg(
            openapi_check_request(suite_openapi(), c->method, c->path, str_from(body)) != NULL,
            "openapi.yaml allows %s", c->body);
        free(body);
        n++;
    }
    ck_assert_uint_gt(n, 10);
}
END_TEST

/* prefix, `n` times `unit`, suffix; ' is ". */
static struct buf repeat(const char *prefix, const char *unit, size_t n, const char *suffix)
{
    struct buf b = BUF_INIT(0);
    char *parts[] = { dquote(prefix), dquote(unit), dquote(suffix) };
    buf_puts(&b, parts[0]);
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, parts[1]);
    buf_puts(&b, parts[2]);
    for (size_t i = 0; i < 3; i++)
        free(parts[i]);
    return b;
}

START_TEST(large_ones_are_refused)
{
    static const struct {
        struct bad_case c;
        const char *prefix, *unit;
        size_t n;
        const char *suffix;
    } rows[] = {
        { { "POST", "/search", NULL, NULL, 413, "payload_too_large", NULL }, "{'text':'", "x",
            1200000, "'}" },
        { { "POST", "/search", NULL, NULL, 413, "payload_too_large", "/text" }, "{'text':'", "x",
            10001, "'}" },
        { { "POST", "/embed", NULL, NULL, 413, "payload_too_large", "/input/0" }, "{'input':['",
            "x", 10001, "']}" },
        { { "POST", "/embed", NULL, NULL, 413, "too_many_inputs", "/input" }, "{'input':['a'",
            ",'a'", 64, "]}" },
        { { "POST", "/embed", NULL, NULL, 413, "payload_too_large", "/input" },
            "{'truncate':false,'input':'", "word ", 1900, "'}" },
        { { "POST", "/v1/embeddings", NULL, NULL, 413, "invalid_request_error", "input" },
            "{'model':'text-small','input':['a'", ",'a'", 64, "]}" },
        { { "POST", "/collections/words/items", NULL, NULL, 413, "too_many_inputs", "/items" },
            "{'items':[{'text':'a'}", ",{'text':'a'}", 64, "]}" },
        { { "PUT", "/collections/words/items/big", NULL, NULL, 413, "payload_too_large", "/text" },
            "{'text':'", "x", 10001, "'}" },
        { { "PUT", "/collections/words/items/big", NULL, NULL, 413, "payload_too_large",
              "/metadata" },
            "{'text':'a','metadata':{'a':'", "x", 2001, "'}}" },
        { { "POST", "/collections/words/items/delete", NULL, NULL, 413, "too_many_inputs", "/ids" },
            "{'ids':['a'", ",'a'", 64, "]}" },
        { { "POST", "/search", NULL, NULL, 400, "invalid_request", "/filter/must" },
            "{'text':'a','filter':{'must':[{'has_id':[]}", ",{'has_id':[]}", 1024, "]}}" },
        { { "POST", "/search", NULL, NULL, 400, "invalid_request", "/filter/must/has_id" },
            "{'text':'a','filter':{'must':{'has_id':['a'", ",'a'", 10000, "]}}}" },
        { { "POST", "/collections/words/items", "application/x-ndjson", NULL, 413,
              "payload_too_large", NULL },
            "{'text':'ok'}\n{'text':'", "x", 100001, "'}\n" },
        { { "PUT", "/collections/new", NULL, NULL, 400, "invalid_request", "/filterable" },
            "{'modality':'text','filterable':{'a':'string'", "", 0, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT(0);
        if (rows[i].suffix) {
            b = repeat(rows[i].prefix, rows[i].unit, rows[i].n, rows[i].suffix);
        } else {
            b = repeat(rows[i].prefix, "", 0, "");
            for (int f = 0; f < 64; f++)
                buf_printf(&b, ",\"f%d\":\"string\"", f);
            buf_puts(&b, "}}");
        }
        const struct bad_case *c = &rows[i].c;
        json_t *v = call_raw(
            c->method, c->path, c->type ? c->type : "application/json", buf_str(&b), c->status);
        check_problem(c, v);
        json_decref(v);
        buf_done(&b);
    }
    still_well();
}
END_TEST

#define CHUNKED(body)                                                                              \
    ("POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" body)

/* Bytes that are no good HTTP. The library answers some of them itself, or just closes. */
START_TEST(broken_http_hurts_nobody)
{
    static const char *const requests[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "G\x01T /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
        "POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        CHUNKED("zz\r\n"),
        CHUNKED("ffffffffffffffffff\r\n"),
        "POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://127.0.0.1/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct http_client c;
        struct http_reply r;
        http_open(&c, suite_server.port);
        http_reply_init(&r);
        (void)http_try_send(&c, requests[i], strlen(requests[i]));
        http_half_close(&c);
        if (http_try_receive(&c, &r, false) && i != 3)
            ck_assert_msg(r.status >= 400, "row %zu: status %d", i, r.status);
        http_close(&c);
        http_reply_done(&r);
    }
    /* a request line and headers that never end */
    struct http_client c;
    struct http_reply r;
    char line[4096];
    http_reply_init(&r);
    memset(line, 'a', sizeof line);
    http_open(&c, suite_server.port);
    (void)http_try_send(&c, "GET /", 5);
    for (int i = 0; i < 64 && http_try_send(&c, line, sizeof line); i++)
        ;
    http_half_close(&c);
    if (http_try_receive(&c, &r, false)) ck_assert_int_ge(r.status, 400);
    http_close(&c);
    http_reply_done(&r);
    still_well();
}
END_TEST

START_TEST(headers_are_kept_to)
{
    struct http_reply r;
    http_reply_init(&r);
    http_call(suite_server.port, &(struct http_call){ .method = "GET", .path = "/search" }, &r);
    ck_assert_str_eq(http_reply_header(&r, "Allow"), "POST");
    http_call(suite_server.port,
        &(struct http_call){
            .method = "GET", .path = "/healthz", .headers = "X-Request-Id: my-id.7\r\n" },
        &r);
    ck_assert_str_eq(http_reply_header(&r, "X-Request-Id"), "my-id.7");
    http_call(suite_server.port,
        &(struct http_call){
            .method = "GET", .path = "/healthz", .headers = "X-Request-Id: a b\"c\r\n" },
        &r);
    ck_assert_str_ne(http_reply_header(&r, "X-Request-Id"), "a b\"c");
    http_call(suite_server.port,
        &(struct http_call){
            .method = "GET", .path = "/healthz", .headers = "Accept: image/png\r\n" },
        &r);
    ck_assert_int_eq(r.status, 406);
    check_documented("GET", "/healthz", &r);
    http_call(suite_server.port,
        &(struct http_call){
            .method = "GET", .path = "/healthz", .headers = "Accept: text/html, */*;q=0.1\r\n" },
        &r);
    ck_assert_int_eq(r.status, 200);
    http_call(suite_server.port, &(struct http_call){ .method = "HEAD", .path = "/healthz" }, &r);
    ck_assert_int_eq(r.status, 200);
    ck_assert_uint_eq(r.body.n, 0);
    http_reply_done(&r);
}
END_TEST

TEST_SUITE(bad_requests)
{
    TCase *tc = tcase_create("refused");
    tcase_add_unchecked_fixture(tc, setup, suite_server_stop);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, row_is_refused, 0, (int)n_cases_bad);
    tcase_add_test(tc, unknown_fields_are_not_in_openapi);
    tcase_add_test(tc, large_ones_are_refused);
    tcase_add_test(tc, broken_http_hurts_nobody);
    tcase_add_test(tc, headers_are_kept_to);
    suite_add_tcase(s, tc);
}
