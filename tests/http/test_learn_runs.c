/* Runs over HTTP that do not end well, the list of them, who may, and what a stop of the server does to them. */
#include "tests/http/learn_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const key = "0123456789abcdef-secret";

static void start(void)
{
    learn_server_start(NULL);
}

/* ---- cancelling, and the list ---- */

/* Its events, read whole, end with its end. */
static void check_end_event(long long run, const char *status)
{
    struct http_reply r;
    char path[64], want[64];
    (void)snprintf(path, sizeof path, "/admin/runs/%lld/events", run);
    (void)snprintf(want, sizeof want, "\"status\":\"%s\"", status);
    http_reply_init(&r);
    http_call(suite_server.port, &(struct http_call){ .method = "GET", .path = path }, &r);
    ck_assert_int_eq(r.status, 200);
    check_documented("GET", path, &r);
    const char *end = strstr(http_reply_text(&r), "event: end\ndata: {");
    ck_assert_msg(end && strstr(end, want), "%s", http_reply_text(&r));
    http_call(suite_server.port, &(struct http_call){ .method = "HEAD", .path = path }, &r);
    ck_assert_int_eq(r.status, 200);
    http_reply_done(&r);
}

static void check_list(const char *query, size_t n, const long long *runs)
{
    json_t *v = learn_call("GET", learn_print("/admin/runs%s", query), NULL, 200);
    ck_assert_uint_eq(json_array_size(at(v, "/runs")), n);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(int_at(v, learn_print("/runs/%zu/run", i)), runs[i]);
    json_decref(v);
}

static void check_lists(long long one, long long two)
{
    check_list("?limit=1", 1, &two);
    check_list(learn_print("?limit=1&before=%lld", two), 1, &one);
    check_list(learn_print("?before=%lld&collection=two", one), 0, NULL);
    check_list("?collection=one", 1, &one);
    check_list("?collection=two&limit=200", 1, &two);
    const long long both[] = { two, one };
    check_list("?limit=2", 2, both);
}

START_TEST(runs_are_cancelled)
{
    learn_fill("one");
    learn_fill("two");
    long long one = learn_retrain("one", "'pairs':{'anchor':'metadata.title','positive':'text'}");
    long long two = learn_retrain("two", LEARN_TITLES);
    json_decref(learn_wait(one, "running"));
    json_t *v = learn_call("GET", learn_print("/admin/runs/%lld", two), NULL, 200);
    ck_assert_str_eq(text_at(v, "/status"), "queued"); /* one trains at a time */
    ck_assert_double_eq(num_at(v, "/progress"), 0);
    json_decref(v);
    v = learn_call("POST", learn_print("/admin/runs/%lld/cancel", two), NULL, 200);
    ck_assert_str_eq(text_at(v, "/status"), "cancelled");
    json_decref(v);
    json_decref(learn_call("POST", learn_print("/admin/runs/%lld/cancel", one), NULL, 202));
    v = learn_wait(one, "cancelled");
    ck_assert_str_eq(text_at(v, "/error/code"), "cancelled");
    ck_assert(json_is_null(at(v, "/to_version")));
    json_decref(v);
    for (int i = 0; i < 2; i++) {
        expect("POST", learn_print("/admin/runs/%lld/cancel", i ? two : one), NULL, 409);
        check_end_event(i ? two : one, "cancelled");
    }
    check_lists(one, two);
    /* what is deleted under way is cancelled, too */
    two = learn_retrain("two", LEARN_TITLES);
    expect("DELETE", "/collections/two", NULL, 204);
    json_decref(learn_wait(two, "cancelled"));
    check_end_event(two, "cancelled");
}
END_TEST

/* ---- the gate, and its operator ---- */

static void check_states(const char *collection, const char *first, const char *second)
{
    json_t *v =
        learn_call("GET", learn_print("/admin/collections/%s/versions", collection), NULL, 200);
    ck_assert_uint_eq(json_array_size(at(v, "/versions")), second ? 2 : 1);
    ck_assert_str_eq(text_at(v, "/versions/0/state"), first);
    if (second) ck_assert_str_eq(text_at(v, "/versions/1/state"), second);
    json_decref(v);
}

START_TEST(the_gate_decides_unless_told)
{
    learn_fill("gate");
    long long run = learn_retrain("gate", LEARN_WRONG);
    json_t *v = learn_wait(run, "rejected");
    ck_assert(json_is_null(at(v, "/to_version")));
    ck_assert_ptr_nonnull(strstr(text_at(v, "/decision"), "not proven better"));
    ck_assert_ptr_null(json_object_get(v, "error"));
    json_decref(v);
    check_end_event(run, "rejected");
    check_states("gate", "serving", NULL);
    expect("POST", "/admin/collections/gate/promote", "{'version':2}", 404);

    json_decref(learn_wait(learn_retrain("gate", "'promote':'never'," LEARN_TITLES), "succeeded"));
    check_states("gate", "serving", "candidate");
    v = learn_call("POST", "/admin/collections/gate/promote", "{'version':2}", 200);
    ck_assert_double_eq(num_at(v, "/metrics/promotion/encoded"), LEARN_ITEMS);
    json_decref(v);
    check_states("gate", "retired", "serving");

    v = learn_wait(learn_retrain("gate", "'promote':'always'," LEARN_WRONG), "succeeded");
    ck_assert_int_eq(int_at(v, "/from_version"), 2);
    ck_assert_int_eq(int_at(v, "/to_version"), 3);
    json_decref(v);
}
END_TEST

/* ---- who may ---- */

START_TEST(an_admin_key_is_asked_for)
{
    static const char *const args[] = { "--api-key", "0123456789abcdef-secret", NULL };
    static const struct {
        const char *method, *path, *body;
        int status;
    } rows[] = {
        { "POST", "/collections/default/feedback",
            "{\"query\":{\"text\":\"a\"},\"item\":\"a\",\"signal\":\"click\"}", 404 },
        { "POST", "/admin/retrain", "{\"collection\":\"default\"}", 422 },
        { "GET", "/admin/runs", NULL, 200 },
        { "GET", "/admin/runs/1", NULL, 404 },
        { "GET", "/admin/runs/1/events", NULL, 404 },
        { "POST", "/admin/runs/1/cancel", NULL, 404 },
        { "GET", "/admin/models", NULL, 200 },
        { "GET", "/admin/collections/default/versions", NULL, 200 },
        { "POST", "/admin/collections/default/promote", "{\"version\":2}", 404 },
        { "POST", "/admin/collections/default/rollback", NULL, 409 },
    };
    struct http_reply r;
    char good[100];
    (void)snprintf(good, sizeof good, "Authorization: Bearer %s\r\n", key);
    learn_server_start(args);
    http_reply_init(&r);
    for (size_t i = 0; i < 3 * (sizeof rows / sizeof rows[0]); i++) {
        const char *const headers[] = { NULL, "Authorization: Bearer 0123456789abcdef\r\n", good };
        const size_t row = i / 3;
        http_call(suite_server.port,
            &(struct http_call){ .method = rows[row].method,
                .path = rows[row].path,
                .headers = headers[i % 3],
                .type = rows[row].body ? "application/json" : NULL,
                .body = rows[row].body ? str_from(rows[row].body) : (struct str){ NULL, 0 } },
            &r);
        ck_assert_msg(r.status == (i % 3 < 2 ? 401 : rows[row].status), "%s %s: %d %s",
            rows[row].method, rows[row].path, r.status, http_reply_text(&r));
        check_documented(rows[row].method, rows[row].path, &r);
    }
    http_reply_done(&r);
    learn_server_stop();
}
END_TEST

/* ---- what takes longer than a request ---- */

START_TEST(a_long_promotion_goes_on_without_its_request)
{
    static const char *const args[] = { "--request-timeout-ms", "1000", "--learn-reembed-rate",
        "50", NULL };
    struct http_reply r;
    learn_server_start(args);
    learn_fill("long");
    json_decref(learn_wait(learn_retrain("long", "'promote':'never'," LEARN_TITLES), "succeeded"));
    http_reply_init(&r);
    http_call(suite_server.port,
        &(struct http_call){ .method = "POST",
            .path = "/admin/collections/long/promote",
            .type = "application/json",
            .body = STR("{\"version\":2}") },
        &r);
    ck_assert_msg(r.status == 202, "%d %s", r.status, http_reply_text(&r));
    check_documented("POST", "/admin/collections/long/promote", &r);
    ck_assert_str_eq(http_reply_header(&r, "Location"), "/admin/runs/2");
    http_reply_done(&r);
    json_decref(learn_wait(2, "promoting"));
    expect("POST", "/admin/collections/long/rollback", NULL, 409);
    json_decref(learn_call("POST", "/admin/runs/2/cancel", NULL, 202));
    json_decref(learn_wait(2, "cancelled"));
    check_end_event(2, "cancelled");
    check_states("long", "serving", "candidate");
    learn_server_stop();
}
END_TEST

/* ---- stopping ---- */

START_TEST(a_stop_ends_the_events_and_not_the_run)
{
    static const char request[] = "GET /admin/runs/1/events HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http_client c;
    struct http_reply r;
    learn_server_start(NULL);
    learn_fill("stopped");
    long long run = learn_retrain("stopped", LEARN_TITLES);
    ck_assert_int_eq(run, 1);
    json_decref(learn_wait(run, "running"));
    http_open(&c, suite_server.port);
    http_send(&c, request, sizeof request - 1);
    struct pollfd begun = { .fd = c.fd, .events = POLLIN };
    ck_assert_int_eq(poll(&begun, 1, HTTP_WAIT_MS), 1);
    server_stop(&suite_server);
    http_reply_init(&r);
    http_receive(&c, &r, false);
    ck_assert_int_eq(r.status, 200);
    check_documented("GET", "/admin/runs/1/events", &r);
    ck_assert_ptr_null(strstr(http_reply_text(&r), "event: end"));
    http_close(&c);
    http_reply_done(&r);

    learn_server_restart();
    check_end_event(run, "succeeded");
    json_t *v = learn_wait(run, "succeeded");
    ck_assert_int_eq(int_at(v, "/to_version"), 2);
    json_decref(v);
    v = learn_call("POST", "/collections/stopped/search", "{'text':'w1','k':1}", 200);
    ck_assert_int_eq(int_at(v, "/hits/0/model_version"), 2);
    json_decref(v);
    learn_server_stop();
}
END_TEST

TEST_SUITE(learn_runs)
{
    TCase *tc = tcase_create("shared");
    tcase_add_unchecked_fixture(tc, start, learn_server_stop);
    tcase_set_timeout(tc, 240);
    tcase_add_test(tc, runs_are_cancelled);
    tcase_add_test(tc, the_gate_decides_unless_told);
    suite_add_tcase(s, tc);

    TCase *own = tcase_create("own");
    tcase_set_timeout(own, 240);
    tcase_add_test(own, an_admin_key_is_asked_for);
    tcase_add_test(own, a_long_promotion_goes_on_without_its_request);
    tcase_add_test(own, a_stop_ends_the_events_and_not_the_run);
    suite_add_tcase(s, own);
}
