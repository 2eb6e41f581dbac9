/* The server as a whole: many clients, many connections, restarts, keys. */
#include "tests/http/http_test.h"

#include "base/mem.h"
#include "base/thread.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- concurrent clients ---- */

enum { CLIENTS = 8, ROUNDS = 60 };

struct client {
    struct thread thread;
    int number;
    const char *failed; /* NULL: all went well */
    int status;
};

static bool round_of(struct client *me, struct http_client *c, struct http_reply *r, int round)
{
    char path[100], body[200];
    struct http_call put = { .method = "PUT", .path = path, .type = "application/json" };
    (void)snprintf(path, sizeof path, "/collections/many/items/c%d-%d", me->number, round % 10);
    int n = snprintf(body, sizeof body,
        "{\"text\":\"client %d round %d\",\"metadata\":{\"c\":%d,\"r\":%d}}", me->number, round,
        me->number, round);
    put.body = (struct str){ body, (size_t)n };
    me->failed = "put";
    if (!http_try_call(c, &put, r) || r->status != (round < 10 ? 201 : 200)) return false;

    /* an acknowledged write is found by the next read and the next search */
    me->failed = "get";
    if (!http_try_call(c, &(struct http_call){ .method = "GET", .path = path }, r) ||
        r->status != 200)
        return false;
    char want[40];
    (void)snprintf(want, sizeof want, "\"c\":%d,\"r\":%d}", me->number, round);
    if (!strstr(http_reply_text(r), want)) return false;
    me->failed = "search";
    n = snprintf(body, sizeof body, "{\"text\":\"client %d round %d\",\"k\":100,\"exact\":%s}",
        me->number, round, round % 2 ? "true" : "false");
    struct http_call search = { .method = "POST",
        .path = "/collections/many/search",
        .type = "application/json",
        .body = { body, (size_t)n } };
    if (!http_try_call(c, &search, r) || r->status != 200 || !strstr(http_reply_text(r), want))
        return false;
    me->failed = "embed";
    struct http_call embed = { .method = "POST",
        .path = "/embed",
        .type = "application/json",
        .body = STR("{\"input\":[\"one\",\"two\"],\"dimensions\":2}") };
    if (!http_try_call(c, &embed, r) || r->status != 200) return false;
    me->failed = NULL;
    return true;
}

static void run_client(void *arg)
{
    struct client *me = arg;
    struct http_client c;
    struct http_reply r;
    int rounds = test_is_slow_run() ? ROUNDS / 3 : ROUNDS;

    http_reply_init(&r);
    me->failed = "connect";
    if (http_try_open(&c, suite_server.port)) {
        me->failed = NULL;
        for (int i = 0; i < rounds && round_of(me, &c, &r, i); i++)
            ;
    }
    me->status = r.status;
    http_close(&c);
    http_reply_done(&r);
}

START_TEST(clients_at_the_same_time)
{
    static struct client clients[CLIENTS];
    struct err e = ERR_INIT;
    expect("PUT", "/collections/many", "{'modality':'text','filterable':{'c':'integer'}}", 201);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){ .number = i };
        ck_assert_int_eq(
            thread_start(&clients[i].thread, "client", run_client, &clients[i], &e), ERR_OK);
    }
    for (int i = 0; i < CLIENTS; i++)
        thread_join(&clients[i].thread);
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_msg(!clients[i].failed, "client %d: %s, status %d", i, clients[i].failed,
            clients[i].status);
    json_t *v = call("POST", "/collections/many/items/count", "{\"filter\":{}}", 200);
    ck_assert_int_eq(int_at(v, "/count"), 10 * CLIENTS);
    json_decref(v);
}
END_TEST

/* Requests sent one after the other without waiting come back in their order. */
START_TEST(pipelined_requests)
{
    enum { N = 50 };
    struct http_client c;
    struct http_reply r;
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < N; i++)
        buf_printf(&b, "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: p%d\r\n\r\n", i);
    http_reply_init(&r);
    http_open(&c, suite_server.port);
    http_send(&c, b.p, b.n);
    for (int i = 0; i < N; i++) {
        char want[16];
        http_receive(&c, &r, false);
        ck_assert_int_eq(r.status, 200);
        (void)snprintf(want, sizeof want, "p%d", i);
        ck_assert_str_eq(http_reply_header(&r, "X-Request-Id"), want);
    }
    http_close(&c);
    http_reply_done(&r);
    buf_done(&b);
}
END_TEST

/* ---- many connections ---- */

START_TEST(a_thousand_open_connections)
{
    enum { N = 1000 };
    static struct http_client clients[N];
    const struct http_call health = { .method = "GET", .path = "/healthz" };
    const struct http_call search = { .method = "POST",
        .path = "/search",
        .type = "application/json",
        .body = STR("{\"text\":\"anything\"}") };
    struct rlimit lim;
    struct http_reply r;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &lim), 0);
    lim.rlim_cur = lim.rlim_max < 4096 ? lim.rlim_max : 4096;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
    ck_assert_uint_gt(lim.rlim_cur, N + 50);
    http_reply_init(&r);
    for (int i = 0; i < N; i++) {
        http_open(&clients[i], suite_server.port);
        if (i % 3 == 0) http_send(&clients[i], "GET /hea", 8); /* some have begun a request */
    }
    expect("GET", "/readyz", NULL, 200);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0) {
            http_send(&clients[i], "lthz HTTP/1.1\r\nHost: a\r\n\r\n", 26);
            http_receive(&clients[i], &r, false);
        } else {
            ck_assert(http_try_call(&clients[i], i % 2 ? &search : &health, &r));
        }
        ck_assert_msg(r.status == 200, "connection %d: status %d", i, r.status);
    }
    for (int i = 0; i < N; i++)
        http_close(&clients[i]);
    http_reply_done(&r);
    expect("GET", "/healthz", NULL, 200);
}
END_TEST

/* ---- restarts ---- */

START_TEST(a_restart_keeps_all)
{
    suite_server_args = NULL;
    suite_server_start();
    expect("PUT", "/collections/kept",
        "{'modality':'text','filterable':{'n':'integer'},'index':{'m':8}}", 201);
    expect("PUT", "/collections/gone", "{'modality':'text'}", 201);
    expect("PUT", "/collections/vecs", "{'model':null,'dimensions':2,'metric':'l2'}", 201);
    expect("POST", "/collections/kept/items",
        "{'items':[{'id':'a','text':'tea and "
        "coffee','metadata':{'n':1,'z':[1.5,null],'a':'\xc3\xa9'}},"
        "{'id':'b','text':'trains and buses','metadata':{'n':2}},{'id':'c','text':'to be "
        "deleted'}]}",
        200);
    expect(
        "PUT", "/collections/kept/items/b", "{'text':'ships and boats','metadata':{'n':3}}", 200);
    expect("DELETE", "/collections/kept/items/c", NULL, 204);
    expect("PUT", "/collections/vecs/items/v", "{'vector':[0.1,0.2]}", 201);
    expect("DELETE", "/collections/gone", NULL, 204);
    json_t *before = call("GET", "/collections/kept/items?include=vector", NULL, 200);

    for (int round = 0; round < 3; round++) {
        if (round == 1)
            server_kill(&suite_server);
        else
            server_stop(&suite_server);
        server_restart(&suite_server, NULL);
        json_t *after = call("GET", "/collections/kept/items?include=vector", NULL, 200);
        ck_assert(json_equal(before, after));
        json_decref(after);
        json_t *v = call("POST", "/collections/kept/search",
            "{\"text\":\"boats\",\"filter\":{\"must\":{\"key\":\"n\",\"range\":{\"gte\":1}}}}",
            200);
        ck_assert_str_eq(text_at(v, "/hits/0/id"), "b");
        ck_assert_uint_eq(json_array_size(at(v, "/hits")), 2);
        json_decref(v);
        v = call("GET", "/collections/kept", NULL, 200);
        ck_assert_int_eq(int_at(v, "/index/m"), 8);
        ck_assert_int_eq(int_at(v, "/items"), 2);
        json_decref(v);
        v = call("GET", "/collections/vecs/items/v?include=vector", NULL, 200);
        ck_assert_double_eq_tol(num_at(v, "/vector/0"), 0.1, 1e-7);
        json_decref(v);
        expect("GET", "/collections/gone", NULL, 404);
        expect("GET", "/collections/kept/items/c", NULL, 404);
    }
    json_decref(before);
    suite_server_stop();
}
END_TEST

/* SIGTERM: ready no more, but what is asked is still answered, and answers close their connections. */
START_TEST(it_drains)
{
    static const char *const args[] = { "--drain-seconds", "2", NULL };
    struct http_client c;
    struct http_reply r;
    suite_server_args = args;
    suite_server_start();
    suite_server_args = NULL;
    http_reply_init(&r);
    http_open(&c, suite_server.port);
    ck_assert(http_try_call(&c, &(struct http_call){ .method = "GET", .path = "/readyz" }, &r));
    ck_assert_int_eq(r.status, 200);
    ck_assert_int_eq(kill(suite_server.pid, SIGTERM), 0);
    for (int i = 0; i < 100 && r.status == 200; i++) {
        (void)poll(NULL, 0, 10);
        http_call(suite_server.port, &(struct http_call){ .method = "GET", .path = "/readyz" }, &r);
    }
    ck_assert_int_eq(r.status, 503);
    check_documented("GET", "/readyz", &r);
    ck_assert_ptr_nonnull(strstr(http_reply_text(&r), "\"draining\""));
    ck_assert(http_try_call(&c, &(struct http_call){ .method = "GET", .path = "/healthz" }, &r));
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(http_reply_header(&r, "Connection"), "close");
    http_close(&c);
    http_reply_done(&r);
    server_stop(&suite_server);
    server_remove(&suite_server);
}
END_TEST

/* ---- keys ---- */

START_TEST(a_key_is_asked_for)
{
    static const char *const args[] = { "--api-key", "0123456789abcdef-secret", NULL };
    static const struct {
        const char *path, *headers;
        int status;
    } rows[] = {
        { "/collections", NULL, 401 },
        { "/collections", "Authorization: Bearer wrong\r\n", 401 },
        { "/collections", "Authorization: Bearer 0123456789abcdef-secreT\r\n", 401 },
        { "/collections", "Authorization: Basic 0123456789abcdef-secret\r\n", 401 },
        { "/collections", "Authorization: Bearer \r\n", 401 },
        { "/v1/models", NULL, 401 },
        { "/v1/models", "Authorization: Bearer sk-test\r\n", 401 },
        { "/metrics", NULL, 401 },
        { "/collections", "Authorization: Bearer 0123456789abcdef-secret\r\n", 200 },
        { "/v1/models", "authorization: bearer 0123456789abcdef-secret\r\n", 200 },
        { "/metrics", "Authorization: Bearer 0123456789abcdef-secret\r\n", 200 },
        { "/healthz", NULL, 200 },
        { "/health", NULL, 200 },
        { "/readyz", NULL, 200 },
        { "/version", NULL, 200 },
        { "/openapi.yaml", NULL, 200 },
    };
    struct http_reply r;
    suite_server_args = args;
    suite_server_start();
    suite_server_args = NULL;
    http_reply_init(&r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        http_call(suite_server.port,
            &(struct http_call){
                .method = "GET", .path = rows[i].path, .headers = rows[i].headers },
            &r);
        ck_assert_msg(r.status == rows[i].status, "row %zu: status %d", i, r.status);
        check_documented("GET", rows[i].path, &r);
        if (r.status == 401) ck_assert_ptr_nonnull(http_reply_header(&r, "WWW-Authenticate"));
    }
    /* a body is not read before the key is known to be good */
    http_call(suite_server.port,
        &(struct http_call){ .method = "POST",
            .path = "/search",
            .type = "application/json",
            .body = STR("{\"text\":\"planted-secret-text\"}") },
        &r);
    ck_assert_int_eq(r.status, 401);
    http_reply_done(&r);
    char *log = server_log(&suite_server);
    ck_assert_ptr_null(strstr(log, "secret"));
    mem_free(log);
    suite_server_stop();
}
END_TEST

static void setup(void)
{
    suite_server_args = NULL;
    suite_server_start();
}

TEST_SUITE(server)
{
    TCase *many = tcase_create("many");
    tcase_add_unchecked_fixture(many, setup, suite_server_stop);
    tcase_set_timeout(many, 120);
    tcase_add_test(many, clients_at_the_same_time);
    tcase_add_test(many, pipelined_requests);
    tcase_add_test(many, a_thousand_open_connections);
    suite_add_tcase(s, many);

    TCase *own = tcase_create("own");
    tcase_set_timeout(own, 120);
    tcase_add_test(own, a_restart_keeps_all);
    tcase_add_test(own, it_drains);
    tcase_add_test(own, a_key_is_asked_for);
    suite_add_tcase(s, own);
}
