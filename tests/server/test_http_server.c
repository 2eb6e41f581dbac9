/* What the server answers, request by request, over a real socket. */
#include "server/http_server.h"

#include "base/mem.h"
#include "base/metrics.h"
#include "tests/server/live.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define H "Host: x\r\n"
#define END H "\r\n"
#define KEY "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"

struct row {
    const char *request;
    int status;
    const char *part; /* in the body */
};

static const struct row rows[] = {
    { "GET /ping HTTP/1.1\r\n" END, 200, "{\"ok\":true}" },
    { "GET /ping HTTP/1.0\r\n\r\n", 200, "{\"ok\":true}" },
    { "GET http://x/ping HTTP/1.1\r\n" END, 200, "{\"ok\":true}" },
    { "HEAD /ping HTTP/1.1\r\n" END, 200, "" },
    { "DELETE /ping HTTP/1.1\r\n" END, 204, "" },
    { "DELETE /ping HTTP/1.1\r\nContent-Length: 3\r\n" END "abc", 204, "" },
    { "POST /ping HTTP/1.1\r\nContent-Length: 0\r\n" END, 405, "method_not_allowed" },
    { "OPTIONS /ping HTTP/1.1\r\n" END, 405, "method_not_allowed" },
    { "BREW /ping HTTP/1.1\r\n" END, 405, "method_not_allowed" },
    { "GET /nothing HTTP/1.1\r\n" END, 404, "not_found" },
    { "GET /ping/ HTTP/1.1\r\n" END, 404, "not_found" },
    { "GET * HTTP/1.1\r\n" END, 404, "not_found" },
    { "GET /v1/nothing HTTP/1.1\r\n" END, 404, "{\"error\":{\"message\"" },
    { "GET /ping%00 HTTP/1.1\r\n" END, 400, "invalid_request" },
    { "GET /%zz HTTP/1.1\r\n" END, 400, "invalid_request" },
    { "GET /%ff HTTP/1.1\r\n" END, 400, "invalid_request" },
    { "GET /ping?x=1 HTTP/1.1\r\n" END, 400, "unknown_field" },
    { "GET /query?limit=7 HTTP/1.1\r\n" END, 200, "7" },
    { "GET /query?limit=%37 HTTP/1.1\r\n" END, 200, "7" },
    { "GET /query HTTP/1.1\r\n" END, 200, "10" },
    { "GET /query?limit=0 HTTP/1.1\r\n" END, 400, "\"field\":\"/limit\"" },
    { "GET /query?limit=x HTTP/1.1\r\n" END, 400, "from 1 to 100" },
    { "GET /query?limit=-1 HTTP/1.1\r\n" END, 400, "from 1 to 100" },
    { "GET /query?limit=99999999999999999999 HTTP/1.1\r\n" END, 400, "from 1 to 100" },
    { "GET /query?limit=1&limit=2 HTTP/1.1\r\n" END, 400, "given twice" },
    { "GET /query?limit=%00 HTTP/1.1\r\n" END, 400, "invalid_request" },
    { "PUT /things/a%2Fb/%C3%A4 HTTP/1.1\r\nContent-Length: 2\r\n" END "{}", 201,
        "[\"a/b\",\"\xc3\xa4\"]" },
    { "PUT /things/a/ HTTP/1.1\r\nContent-Length: 2\r\n" END "{}", 404, "not_found" },
    { "POST /echo HTTP/1.1\r\nContent-Length: 7\r\n" END "{\"a\":1}", 200, "{\"a\":1}" },
    { "POST /echo HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: "
      "7\r\n" END "{\"a\":1}",
        200, "{\"a\":1}" },
    { "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" END
      "3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n",
        200, "{\"a\":1}" },
    { "POST /echo HTTP/1.1\r\nContent-Length: 0\r\n" END, 400, "empty_input" },
    { "POST /echo HTTP/1.1\r\nContent-Length: 1\r\n" END "{", 400, "not valid JSON at line 1" },
    { "POST /echo HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n" END "x", 415,
        "unsupported_media_type" },
    { "POST /echo HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n" END "x", 415,
        "unsupported_media_type" },
    { "GET /ping HTTP/1.1\r\nAccept: text/html\r\n" END, 406, "not_acceptable" },
    { "GET /ping HTTP/1.1\r\nAccept: text/html, */*;q=0.1\r\n" END, 200, "ok" },
    { "GET /fixed HTTP/1.1\r\nAccept: text/plain\r\n" END, 200, "fixed" },
    { "GET /fixed HTTP/1.1\r\nAccept: application/json\r\n" END, 406, "text/plain" },
    { "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n" END "abc", 400, "" },
    { "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n",
        400, "" },
    { "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" END, 400, "chunked" },
    { "GET /ping HTTP/1.1\r\n" H END, 400, "" },
    { "GET /fail HTTP/1.1\r\n" END, 400, "\"field\":\"/input/3\"" },
    { "GET /v1/fail HTTP/1.1\r\n" END, 400, "\"param\":\"input[3]\"" },
    { "GET /broken HTTP/1.1\r\nX-Request-Id: my-id.1\r\n" END, 500, "at request my-id.1\"" },
    { "GET /pooled HTTP/1.1\r\n" END, 200, "{\"ok\":true}" },
    { "GET /pooled_broken HTTP/1.1\r\n" END, 500, "\"code\":\"internal\"" },
    { "GET /slow?ms=20 HTTP/1.1\r\n" END, 200, "{\"ok\":true}" },
    { "GET /fast HTTP/1.1\r\n" END, 200, "{\"ok\":true}" },
    { "GET /refused HTTP/1.1\r\n" END, 429, "overloaded" },
    { "GET /timeout HTTP/1.1\r\n" END, 504, "the deadline passed" },
    { "GET /conflict HTTP/1.1\r\n" END, 409, "found while rendering" },
    { "POST /admin HTTP/1.1\r\nContent-Length: 0\r\n" END, 401, "unauthorized" },
    { "POST /admin HTTP/1.1\r\nContent-Length: 0\r\nAuthorization: Bearer wrong\r\n" END, 401,
        "not known" },
    { "POST /admin HTTP/1.1\r\nContent-Length: 0\r\n" KEY END, 200, "ok" },
    { "POST /lines HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n" END "{}",
        200, "ok" },
    { "POST /lines HTTP/1.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: 4\r\n" END
      "a\nb\n",
        200, "{\"lines\":2,\"bytes\":4}" },
    { "POST /lines HTTP/1.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: 0\r\n" END,
        200, "ok" },
    { "POST /lines HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 1\r\n" END "x", 415,
        "ndjson" },
    { "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: "
      "chunked\r\n" END "3\r\nbad\r\n3\r\nx\ny\r\n0\r\n\r\n",
        409, "a bad line" },
    { "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: "
      "chunked\r\n" END "5\r\nworse\r\n3\r\nx\ny\r\n0\r\n\r\n",
        400, "a worse line" },
};

static void with_key(struct live *l)
{
    struct err e = ERR_INIT;
    live_init(l);
    ck_assert_ok(config_set(&l->cfg, "api_key", "0123456789abcdef0123456789abcdef", &e), &e);
    live_start(l);
}

START_TEST(answers)
{
    struct live l;
    with_key(&l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r;
        live_ask(&l, rows[i].request, &r);
        ck_assert_msg(r.status == rows[i].status, "%s\n%s%s", rows[i].request, r.head, r.body);
        ck_assert_msg(strstr(r.body, rows[i].part) != NULL, "%s\n%s", rows[i].request, r.body);
        reply_done(&r);
    }
    live_stop(&l);
}
END_TEST

START_TEST(answers_on_one_connection)
{
    struct live l;
    with_key(&l);
    int fd = live_connect(&l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r;
        ck_assert(live_puts(fd, rows[i].request));
        live_recv(fd, &r, strncmp(rows[i].request, "HEAD", 4) == 0);
        ck_assert_msg(r.status == rows[i].status, "%s\n%s%s", rows[i].request, r.head, r.body);
        if (r.closes || strstr(rows[i].request, "HTTP/1.0")) {
            ck_assert(live_is_closed(fd));
            (void)close(fd);
            fd = live_connect(&l);
        }
        reply_done(&r);
    }
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(sets_headers)
{
    struct live l;
    with_key(&l);
    struct reply r;
    live_ask(&l, "GET /fail HTTP/1.1\r\nX-Request-Id: abc:DEF_1.2-3\r\n" END, &r);
    ck_assert_str_eq(reply_header(&r, "X-Request-Id"), "abc:DEF_1.2-3");
    ck_assert_str_eq(reply_header(&r, "Content-Type"), "application/problem+json");
    reply_done(&r);
    live_ask(&l, "GET /ping HTTP/1.1\r\nX-Request-Id: no good\r\n" END, &r);
    ck_assert_uint_eq(strlen(reply_header(&r, "X-Request-Id")), 32);
    ck_assert_str_eq(reply_header(&r, "Content-Type"), "application/json");
    ck_assert(!r.closes);
    reply_done(&r);
    live_ask(&l, "PATCH /ping HTTP/1.1\r\nContent-Length: 0\r\n" END, &r);
    ck_assert_str_eq(reply_header(&r, "Allow"), "GET, HEAD, DELETE");
    reply_done(&r);
    live_ask(&l, "GET /refused HTTP/1.1\r\n" END, &r);
    ck_assert_str_eq(reply_header(&r, "Retry-After"), "1");
    reply_done(&r);
    live_ask(&l, "POST /admin HTTP/1.1\r\nContent-Length: 0\r\n" END, &r);
    ck_assert_str_eq(reply_header(&r, "WWW-Authenticate"), "Bearer");
    reply_done(&r);
    live_ask(&l, "PUT /things/a/b HTTP/1.1\r\nContent-Length: 2\r\n" END "{}", &r);
    ck_assert_str_eq(reply_header(&r, "Location"), "/here");
    reply_done(&r);
    live_ask(&l, "HEAD /ping HTTP/1.1\r\n" END, &r);
    ck_assert_str_eq(reply_header(&r, "Content-Length"), "11");
    reply_done(&r);
    live_stop(&l);
}
END_TEST

START_TEST(hides_what_is_ours)
{
    struct live l;
    with_key(&l);
    struct reply r;
    live_ask(&l, "GET /broken HTTP/1.1\r\n" END, &r);
    ck_assert_int_eq(r.status, 500);
    ck_assert_ptr_null(strstr(r.body, "secret"));
    ck_assert_ptr_null(strstr(r.body, "half"));
    json_t *root = json_loads(r.body, 0, NULL);
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    reply_done(&r);
    live_stop(&l);
}
END_TEST

START_TEST(sends_large_answers)
{
    struct live l;
    with_key(&l);
    for (int i = 0; i < 3; i++) {
        struct reply r;
        live_ask(&l, "GET /big HTTP/1.1\r\n" END, &r);
        ck_assert_uint_eq(r.n, 4000000);
        reply_done(&r);
    }
    live_stop(&l);
}
END_TEST

START_TEST(continues_on_expect)
{
    struct live l;
    with_key(&l);
    int fd = live_connect(&l);
    struct reply r;
    ck_assert(
        live_puts(fd, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 7\r\n" END));
    live_recv(fd, &r, true);
    ck_assert_int_eq(r.status, 100);
    reply_done(&r);
    ck_assert(live_puts(fd, "{\"a\":1}"));
    live_recv(fd, &r, false);
    ck_assert_int_eq(r.status, 200);
    reply_done(&r);
    /* and not when the answer is known */
    ck_assert(
        live_puts(fd, "POST /none HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 7\r\n" END));
    live_recv(fd, &r, false);
    ck_assert_int_eq(r.status, 404);
    ck_assert(r.closes && live_is_closed(fd));
    reply_done(&r);
    (void)close(fd);
    live_stop(&l);
}
END_TEST

/* Value of a series in the rendered metrics; 0 if it is not there. */
static double series(const char *name)
{
    struct buf b = BUF_INIT(0);
    ck_assert_ok(metrics_render(&b, NULL));
    const char *at = strstr(b.p, name);
    double v = at ? strtod(at + strlen(name), NULL) : 0;
    buf_done(&b);
    return v;
}

START_TEST(counts)
{
    static const struct {
        const char *name;
        double more;
    } all[] = { { "kindred_http_requests_total{route=\"GET /ping\",status=\"200\"}", 1 },
        { "kindred_http_requests_total{route=\"none\",status=\"404\"}", 1 },
        { "kindred_http_request_seconds_count{route=\"GET /ping\"}", 1 },
        { "\nkindred_http_sent_bytes_total", 11 + 133 },
        { "\nkindred_http_received_bytes_total", 0 }, { "\nkindred_http_connections", 0 } };
    enum { SERIES = sizeof all / sizeof all[0] };
    double before[SERIES];
    for (int i = 0; i < SERIES; i++)
        before[i] = series(all[i].name);
    struct live l;
    with_key(&l);
    struct reply r;
    live_ask(&l, "GET /ping HTTP/1.1\r\n" END, &r);
    reply_done(&r);
    live_ask(&l, "GET /nothing/at/all HTTP/1.1\r\n" END, &r);
    reply_done(&r);
    live_stop(&l);
    for (int i = 0; i < SERIES; i++)
        ck_assert_msg(series(all[i].name) - before[i] == all[i].more, "%s", all[i].name);
}
END_TEST

START_TEST(refuses_to_start)
{
    static const struct {
        const char *listen;
        enum err_code code;
    } starts[] = { { "127.0.0.1", ERR_INVALID }, { "127.0.0.1:", ERR_INVALID },
        { "127.0.0.1:65536", ERR_INVALID }, { "127.0.0.1:80x", ERR_INVALID },
        { "::1:80", ERR_INVALID }, { "0.0.0.0:0", ERR_INVALID }, { ":0", ERR_INVALID },
        { "nowhere.invalid:80", ERR_INVALID }, { "[::1]:0", ERR_OK }, { "localhost:0", ERR_OK },
        { "127.9.9.9:0", ERR_OK } };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct live l;
        struct err e = ERR_INIT;
        live_init(&l);
        ck_assert_ok(config_set(&l.cfg, "listen", starts[i].listen, &e), &e);
        const struct http_server_opts o = { .cfg = &l.cfg };
        enum err_code code = http_server_start(&o, &l.s, &e);
        ck_assert_msg(code == starts[i].code || (code == ERR_IO && starts[i].listen[0] == '['),
            "%s: %s", starts[i].listen, e.msg);
        http_server_stop(l.s, 100);
        config_done(&l.cfg);
    }
}
END_TEST

START_TEST(two_servers_need_two_ports)
{
    struct live l;
    with_key(&l);
    struct config other;
    struct err e = ERR_INIT;
    struct http_server *s = NULL;
    ck_assert_ok(config_init(&other, &e), &e);
    ck_assert_ok(config_set(&other, "listen", http_server_address(l.s), &e), &e);
    const struct http_server_opts o = { .cfg = &other };
    ck_assert_err(http_server_start(&o, &s, &e), ERR_CONFLICT);
    config_done(&other);
    live_stop(&l);
}
END_TEST

TEST_SUITE(http_server)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, answers);
    tcase_add_test(tc, answers_on_one_connection);
    tcase_add_test(tc, sets_headers);
    tcase_add_test(tc, hides_what_is_ours);
    tcase_add_test(tc, sends_large_answers);
    tcase_add_test(tc, continues_on_expect);
    tcase_add_test(tc, counts);
    tcase_add_test(tc, refuses_to_start);
    tcase_add_test(tc, two_servers_need_two_ports);
    suite_add_tcase(s, tc);
}
