/* The OpenAI API as its official clients use it: the bytes they send, and what they need back. Recorded from
 * openai-python 3.54 and openai-node 6.49 (httpx and undici). tools/check_clients.sh runs the
 * clients themselves. */
#include "tests/http/http_test.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PYTHON_HEADERS                                                                             \
    "Host: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"         \
    "authorization: Bearer sk-test\r\naccept: application/json\r\n"
#define PYTHON_AGENT                                                                               \
    "user-agent: OpenAI/Python 3.54.0\r\nx-stainless-lang: python\r\n"                             \
    "x-stainless-package-version: 3.54.0\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n"    \
    "x-stainless-runtime: CPython\r\nx-stainless-runtime-version: 3.11.7\r\n"                      \
    "x-stainless-async: false\r\nx-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n"
#define NODE_HEADERS                                                                               \
    "host: 127.0.0.1:8080\r\nconnection: keep-alive\r\naccept: application/json\r\n"               \
    "user-agent: OpenAI/JS 6.49.0\r\nx-stainless-retry-count: 0\r\nx-stainless-lang: js\r\n"       \
    "x-stainless-package-version: 6.49.0\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n"    \
    "x-stainless-runtime: node\r\nx-stainless-runtime-version: v20.20.2\r\n"                       \
    "authorization: Bearer sk-test\r\n"
#define NODE_TAIL "accept-language: *\r\nsec-fetch-mode: cors\r\naccept-encoding: gzip, deflate\r\n"

#define BASE64_BODY                                                                                \
    "{\"model\":\"text-small\",\"input\":[\"cat\",\"dog\"],\"encoding_format\":\"base64\"}"
#define FLOAT_BODY "{\"model\":\"text-small\",\"input\":\"cat\",\"encoding_format\":\"float\"}"

/* Send recorded bytes and get the JSON back, with what every client reads. */
static json_t *replay(
    struct http_client *c, const char *bytes, const char *method, const char *path)
{
    struct http_reply r;
    http_reply_init(&r);
    http_send(c, bytes, strlen(bytes));
    http_receive(c, &r, false);
    ck_assert_msg(r.status == 200, "status %d: %s", r.status, http_reply_text(&r));
    check_documented(method, path, &r);
    ck_assert_str_eq(http_reply_header(&r, "Content-Type"), "application/json");
    json_t *v = json_loadb(r.body.p, r.body.n, 0, NULL);
    ck_assert_ptr_nonnull(v);
    http_reply_done(&r);
    return v;
}

static size_t decode(const char *base64, float *ret, size_t room)
{
    size_t n = 0;
    ck_assert_int_eq(sodium_base642bin((unsigned char *)ret, room * sizeof *ret, base64,
                         strlen(base64), NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL),
        0);
    ck_assert_uint_eq(n % sizeof *ret, 0);
    return n / sizeof *ret;
}

static void check_embeddings(const json_t *base64, const json_t *floats)
{
    ck_assert_str_eq(text_at(base64, "/object"), "list");
    ck_assert_str_eq(text_at(base64, "/model"), "text-small");
    ck_assert_int_gt(int_at(base64, "/usage/prompt_tokens"), 0);
    ck_assert_int_eq(int_at(base64, "/usage/prompt_tokens"), int_at(base64, "/usage/total_tokens"));
    ck_assert_uint_eq(json_array_size(at(base64, "/data")), 2);
    ck_assert_int_eq(int_at(base64, "/data/0/index"), 0);
    ck_assert_int_eq(int_at(base64, "/data/1/index"), 1);
    ck_assert_str_eq(text_at(base64, "/data/1/object"), "embedding");

    /* the same vector in both forms */
    static float decoded[8192], listed[8192];
    size_t n = decode(text_at(base64, "/data/0/embedding"), decoded, 8192);
    const json_t *list = at(floats, "/data/0/embedding");
    ck_assert_uint_eq(json_array_size(list), n);
    for (size_t i = 0; i < n; i++)
        listed[i] = (float)json_number_value(json_array_get(list, i));
    ck_assert_near(listed, decoded, n, 1e-7, 1e-6);
}

START_TEST(python_client)
{
    struct http_client c;
    char bytes[4000];
    http_open(&c, suite_server.port);
    (void)snprintf(bytes, sizeof bytes,
        "POST /v1/embeddings HTTP/1.1\r\n" PYTHON_HEADERS
        "content-type: application/json\r\n" PYTHON_AGENT "Content-Length: %zu\r\n\r\n" BASE64_BODY,
        strlen(BASE64_BODY));
    json_t *base64 = replay(&c, bytes, "POST", "/v1/embeddings");
    (void)snprintf(bytes, sizeof bytes,
        "POST /v1/embeddings HTTP/1.1\r\n" PYTHON_HEADERS
        "content-type: application/json\r\n" PYTHON_AGENT "Content-Length: %zu\r\n\r\n" FLOAT_BODY,
        strlen(FLOAT_BODY));
    json_t *floats = replay(&c, bytes, "POST", "/v1/embeddings");
    check_embeddings(base64, floats);
    json_t *models = replay(
        &c, "GET /v1/models HTTP/1.1\r\n" PYTHON_HEADERS PYTHON_AGENT "\r\n", "GET", "/v1/models");
    ck_assert_str_eq(text_at(models, "/data/0/id"), "text-small");
    http_close(&c);
    json_decref(base64);
    json_decref(floats);
    json_decref(models);
}
END_TEST

START_TEST(node_client)
{
    struct http_client c;
    char bytes[4000];
    http_open(&c, suite_server.port);
    (void)snprintf(bytes, sizeof bytes,
        "POST /v1/embeddings HTTP/1.1\r\n" NODE_HEADERS
        "content-type: application/json\r\n" NODE_TAIL "content-length: %zu\r\n\r\n" BASE64_BODY,
        strlen(BASE64_BODY));
    json_t *base64 = replay(&c, bytes, "POST", "/v1/embeddings");
    (void)snprintf(bytes, sizeof bytes,
        "POST /v1/embeddings HTTP/1.1\r\n" NODE_HEADERS
        "content-type: application/json\r\n" NODE_TAIL "content-length: %zu\r\n\r\n" FLOAT_BODY,
        strlen(FLOAT_BODY));
    json_t *floats = replay(&c, bytes, "POST", "/v1/embeddings");
    check_embeddings(base64, floats);
    json_t *models = replay(
        &c, "GET /v1/models HTTP/1.1\r\n" NODE_HEADERS NODE_TAIL "\r\n", "GET", "/v1/models");
    ck_assert_str_eq(text_at(models, "/data/0/object"), "model");
    http_close(&c);
    json_decref(base64);
    json_decref(floats);
    json_decref(models);
}
END_TEST

START_TEST(details_of_the_api)
{
    /* fields that other servers know and clients send as null */
    expect("POST", "/v1/embeddings",
        "{'model':'text-small','input':'a','user':null,'dimensions':null,'encoding_format':null}",
        200);
    expect("POST", "/v1/embeddings", "{'model':'text-small','input':'a','user':'me'}", 200);

    json_t *v = call("POST", "/v1/embeddings",
        "{\"model\":\"text-small@1\",\"input\":[\"a\"],\"dimensions\":8}", 200);
    ck_assert_str_eq(text_at(v, "/model"), "text-small@1");
    ck_assert_uint_eq(json_array_size(at(v, "/data/0/embedding")), 8);
    json_decref(v);

    /* without encoding_format the answer is a list of numbers, as OpenAI's is */
    v = call("POST", "/v1/embeddings", "{\"model\":\"text-small\",\"input\":\"a\"}", 200);
    ck_assert(json_is_array(at(v, "/data/0/embedding")));
    json_decref(v);

    v = call("POST", "/v1/embeddings", "{\"model\":\"gpt\",\"input\":\"a\"}", 404);
    ck_assert_str_eq(text_at(v, "/error/code"), "model_not_found");
    json_decref(v);
    v = call("POST", "/v1/embeddings", "{\"model\":\"text-small\",\"input\":[[1,2]]}", 400);
    ck_assert_ptr_nonnull(strstr(text_at(v, "/error/message"), "send the text"));
    json_decref(v);

    v = call("GET", "/v1/models/text-small@1", NULL, 200);
    ck_assert_str_eq(text_at(v, "/id"), "text-small@1");
    ck_assert_str_eq(text_at(v, "/owned_by"), "kindred");
    json_decref(v);
}
END_TEST

START_TEST(a_long_text_is_cut)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"model\":\"text-small\",\"input\":\"");
    for (int i = 0; i < 20000; i++)
        buf_puts(&b, "word ");
    buf_puts(&b, "\"}");
    json_t *v = call("POST", "/v1/embeddings", b.p, 200);
    ck_assert_int_lt(int_at(v, "/usage/prompt_tokens"), 20000);
    json_decref(v);
    buf_done(&b);
}
END_TEST

TEST_SUITE(openai)
{
    TCase *tc = tcase_create("wire");
    tcase_add_unchecked_fixture(tc, suite_server_start, suite_server_stop);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, python_client);
    tcase_add_test(tc, node_client);
    tcase_add_test(tc, details_of_the_api);
    tcase_add_test(tc, a_long_text_is_cut);
    suite_add_tcase(s, tc);
}
