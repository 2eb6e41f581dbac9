/* Learning over HTTP, from the first item to going back: what a user does, in that order. */
#include "tests/http/learn_fixture.h"

#include <stdlib.h>
#include <string.h>

static void start(void)
{
    learn_server_start(NULL);
}

static const char *run_path(long long run, const char *rest)
{
    return learn_print("/admin/runs/%lld%s", run, rest);
}

/* ---- before anything is learned ---- */

static void check_beginning(void)
{
    json_t *v = learn_call("GET", "/admin/collections/loop/versions", NULL, 200);
    ck_assert_uint_eq(json_array_size(at(v, "/versions")), 1);
    ck_assert_str_eq(text_at(v, "/versions/0/model"), LEARN_MODEL "@1");
    ck_assert_str_eq(text_at(v, "/versions/0/state"), "serving");
    json_decref(v);
    v = learn_call("POST", "/collections/loop/search", "{'text':'w1 w2','k':3}", 200);
    ck_assert_str_eq(text_at(v, "/model/name"), LEARN_MODEL);
    ck_assert_int_eq(int_at(v, "/model/version"), 1);
    ck_assert_int_eq(int_at(v, "/hits/2/model_version"), 1);
    json_decref(v);
    expect("POST", "/admin/collections/loop/rollback", NULL, 409);
    expect("POST", "/admin/collections/loop/promote", "{'version':1}", 409);
    expect("POST", "/admin/collections/loop/promote", "{'version':2}", 404);
}

static void give_feedback(void)
{
    static const char *const bodies[] = {
        "{'query':{'text':'w128 w129'},'item':'i1','signal':'click'}",
        "{'query':{'text':'w128 w129'},'item':'i1','signal':'click'}", /* renewed */
        "{'query':{'id':'i3'},'item':'i2','signal':'relevant'}",
        "{'query':{'id':'i3'},'item':'i4','signal':'irrelevant'}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        json_t *v = learn_call("POST", "/collections/loop/feedback", bodies[i], 202);
        ck_assert_str_eq(text_at(v, "/status"), "stored");
        json_decref(v);
    }
}

/* ---- a run under way ---- */

static void check_busy(void)
{
    static const char *const paths[] = { "/admin/retrain", "/admin/collections/loop/promote",
        "/admin/collections/loop/rollback" };
    static const char *const bodies[] = { "{'collection':'loop'}", "{'version':1}", NULL };
    for (size_t i = 0; i < 3; i++) {
        json_t *v = learn_call("POST", paths[i], bodies[i], 409);
        ck_assert_str_eq(text_at(v, "/code"), "run_in_progress");
        json_decref(v);
    }
}

/* Every event has a name and one line of JSON; ret_end is the last one's. */
static void check_events(const char *text, long long run, json_t **ret_end)
{
    static const char progress[] = "event: progress\ndata: ", end[] = "event: end\ndata: ";
    double last = 0;
    *ret_end = NULL;
    while (*text) {
        bool is_end = strncmp(text, end, sizeof end - 1) == 0;
        ck_assert_msg(is_end || strncmp(text, progress, sizeof progress - 1) == 0, "%.80s", text);
        text += is_end ? sizeof end - 1 : sizeof progress - 1;
        const char *stop = strstr(text, "\n\n");
        ck_assert_ptr_nonnull(stop);
        json_t *v = json_loadb(text, (size_t)(stop - text), 0, NULL);
        ck_assert_msg(v != NULL, "%.200s", text);
        ck_assert_int_eq(int_at(v, "/run"), run);
        double now = num_at(v, "/progress");
        ck_assert_msg(now >= last && now <= 1, "progress goes from %g to %g", last, now);
        last = now;
        text = stop + 2;
        if (is_end) {
            ck_assert_msg(*text == '\0', "after the end: %.80s", text);
            *ret_end = v;
            return;
        }
        ck_assert_uint_eq(json_object_size(v), 6);
        json_decref(v);
    }
}

/* A crowd of watchers, some of which leave; one that stays is told all. */
static void watch(long long run)
{
    enum { WATCHERS = 12 };
    struct http_client c[WATCHERS];
    struct http_reply r;
    json_t *told;
    const char *request =
        learn_print("GET /admin/runs/%lld/events HTTP/1.1\r\nHost: a\r\n\r\n", run);
    for (size_t i = 0; i < WATCHERS; i++) {
        http_open(&c[i], suite_server.port);
        http_send(&c[i], request, strlen(request));
    }
    http_reply_init(&r);
    for (size_t i = 0; i < WATCHERS; i++) {
        if (i % 3 == 0) http_close(&c[i]);
        if (i % 3 == 1) http_half_close(&c[i]);
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        if (i % 3 == 0) continue;
        http_receive(&c[i], &r, false);
        ck_assert_int_eq(r.status, 200);
        check_documented("GET", run_path(run, "/events"), &r);
        ck_assert_str_eq(http_reply_header(&r, "Content-Type"), "text/event-stream");
        ck_assert_str_eq(http_reply_header(&r, "Cache-Control"), "no-store");
        check_events(http_reply_text(&r), run, &told);
        ck_assert_ptr_nonnull(told);
        json_t *read = learn_call("GET", run_path(run, ""), NULL, 200);
        ck_assert(json_equal(told, read));
        json_decref(read);
        json_decref(told);
        http_close(&c[i]);
    }
    http_reply_done(&r);
}

/* ---- what it learned ---- */

static void check_run(long long run)
{
    json_t *v = learn_wait(run, "succeeded");
    ck_assert_str_eq(text_at(v, "/kind"), "train");
    ck_assert_str_eq(text_at(v, "/collection"), "loop");
    ck_assert_int_eq(int_at(v, "/from_version"), 1);
    ck_assert_int_eq(int_at(v, "/to_version"), 2);
    ck_assert_double_eq(num_at(v, "/progress"), 1);
    ck_assert_int_eq(int_at(v, "/step"), 80);
    ck_assert_int_eq(int_at(v, "/max_steps"), 80);
    ck_assert_int_eq(int_at(v, "/seed"), 1);
    ck_assert_str_eq(text_at(v, "/pairs/anchor"), "metadata.title");
    ck_assert_uint_eq(strlen(text_at(v, "/data_hash")), 64);
    ck_assert(
        num_at(v, "/metrics/after/recall_at_10") > num_at(v, "/metrics/before/recall_at_10") + 0.2);
    ck_assert(num_at(v, "/metrics/gain/recall_at_10_low") > 0);
    ck_assert_ptr_null(json_object_get(v, "error"));
    ck_assert_str_ne(text_at(v, "/decision"), "");
    json_decref(v);

    v = learn_call("GET", "/admin/collections/loop/versions", NULL, 200);
    ck_assert_uint_eq(json_array_size(at(v, "/versions")), 2);
    ck_assert_str_eq(text_at(v, "/versions/0/state"), "retired");
    ck_assert_str_eq(text_at(v, "/versions/1/state"), "serving");
    ck_assert_str_eq(text_at(v, "/versions/1/model"), "loop/" LEARN_MODEL "@2");
    ck_assert_int_eq(int_at(v, "/versions/1/run"), run);
    ck_assert_int_eq(int_at(v, "/versions/1/parent_version"), 1);
    json_decref(v);
}

/* The version that every answer speaks of; is item i3 found by its title? */
static bool check_searches(long long version)
{
    const char *model = version == 1 ? LEARN_MODEL : "loop/" LEARN_MODEL;
    json_t *item = learn_call("GET", "/collections/loop/items/i3", NULL, 200);
    ck_assert_int_eq(int_at(item, "/model/version"), version);
    json_t *v = learn_call("POST", "/search",
        learn_print("{'collection':'loop','text':'%s','k':10}", text_at(item, "/metadata/title")),
        200);
    bool found = false;
    for (size_t i = 0; i < json_array_size(at(v, "/hits")); i++) {
        const json_t *hit = json_array_get(at(v, "/hits"), i);
        ck_assert_int_eq(int_at(hit, "/model_version"), version);
        found |= strcmp(text_at(hit, "/id"), "i3") == 0;
    }
    ck_assert_str_eq(text_at(v, "/model/name"), model);
    ck_assert_int_eq(int_at(v, "/model/version"), version);
    json_decref(v);
    json_decref(item);
    return found;
}

static void check_versions_of_queries(void)
{
    json_t *v =
        learn_call("POST", "/embed", "{'input':'w1 w2','kind':'query','collection':'loop'}", 200);
    ck_assert_int_eq(int_at(v, "/model/version"), 2);
    static const int versions[] = { 2, 1, 3, 0 };
    for (size_t i = 0; i < 4; i++) {
        json_t *body =
            json_pack("{s:O, s:i}", "vector", at(v, "/embeddings/0"), "model_version", versions[i]);
        char *text = json_dumps(body, JSON_COMPACT);
        json_t *answer = call_raw("POST", "/collections/loop/search", "application/json",
            str_from(text), i == 0 ? 200 : 409);
        if (i > 0) {
            ck_assert_str_eq(text_at(answer, "/code"), "version_mismatch");
            ck_assert_str_eq(text_at(answer, "/field"), "/model_version");
        }
        json_decref(answer);
        json_decref(body);
        free(text);
    }
    json_decref(v);
}

/* A learned model is asked for by name and version, or by its collection; the base model stays what it was. */
static void check_embeddings(void)
{
    json_t *by_name =
        learn_call("POST", "/embed", "{'input':'w1 w2','model':'loop/" LEARN_MODEL "@2'}", 200);
    json_t *by_collection =
        learn_call("POST", "/embed", "{'input':'w1 w2','collection':'loop'}", 200);
    json_t *base = learn_call("POST", "/embed", "{'input':'w1 w2'}", 200);
    json_t *openai = learn_call(
        "POST", "/v1/embeddings", "{'input':'w1 w2','model':'loop/" LEARN_MODEL "@2'}", 200);
    json_t *openai_base =
        learn_call("POST", "/v1/embeddings", "{'input':'w1 w2','model':'" LEARN_MODEL "'}", 200);
    ck_assert_str_eq(text_at(by_name, "/model/name"), "loop/" LEARN_MODEL);
    ck_assert_str_eq(text_at(openai, "/model"), "loop/" LEARN_MODEL "@2");
    ck_assert(json_equal(at(by_name, "/model"), at(by_collection, "/model")));
    ck_assert_str_eq(text_at(base, "/model/name"), LEARN_MODEL);
    ck_assert_int_eq(int_at(base, "/model/version"), 1);
    const json_t *learned = at(by_name, "/embeddings/0"), *first = at(base, "/embeddings/0");
    ck_assert(json_equal(learned, at(by_collection, "/embeddings/0")));
    ck_assert(json_equal(learned, at(openai, "/data/0/embedding")));
    ck_assert(json_equal(first, at(openai_base, "/data/0/embedding")));
    ck_assert(!json_equal(learned, first));
    json_decref(by_name);
    json_decref(by_collection);
    json_decref(base);
    json_decref(openai);
    json_decref(openai_base);

    static const char *const unknown[] = { "loop/" LEARN_MODEL "@3", "loop/" LEARN_MODEL,
        "nope/" LEARN_MODEL "@2", LEARN_MODEL "@2" };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        expect("POST", "/embed", learn_print("{'input':'w1','model':'%s'}", unknown[i]), 404);
        expect(
            "POST", "/v1/embeddings", learn_print("{'input':'w1','model':'%s'}", unknown[i]), 404);
    }
}

static void check_collection(void)
{
    expect("PUT", "/collections/loop", "{'modality':'text','model':'" LEARN_MODEL "'}", 200);
    json_t *v = learn_call("PUT", "/collections/loop", "{'modality':'text'}", 200);
    ck_assert_str_eq(text_at(v, "/model/name"), "loop/" LEARN_MODEL);
    ck_assert_int_eq(int_at(v, "/model/version"), 2);
    json_decref(v);
}

/* ---- back and forth ---- */

static void go(
    const char *path, const char *body, const char *kind, long long to, long long replayed)
{
    json_t *v = learn_call("POST", path, body, 200);
    const char *group = strcmp(kind, "rollback") == 0 ? "rollback" : "promotion";
    ck_assert_str_eq(text_at(v, "/kind"), kind);
    ck_assert_str_eq(text_at(v, "/status"), "succeeded");
    ck_assert_int_eq(int_at(v, "/to_version"), to);
    ck_assert(num_at(v, learn_print("/metrics/%s/seconds", group)) >= 0);
    ck_assert_double_eq(num_at(v, learn_print("/metrics/%s/replayed", group)), (double)replayed);
    json_t *read = learn_call("GET", run_path(int_at(v, "/run"), ""), NULL, 200);
    ck_assert(json_equal(v, read));
    json_decref(read);
    json_decref(v);
}

static void check_going_back(void)
{
    enum { MORE = 10 };
    learn_add("loop", LEARN_ITEMS, MORE);
    go("/admin/collections/loop/rollback", NULL, "rollback", 1, MORE);
    ck_assert(!check_searches(1));
    json_t *item =
        learn_call("GET", learn_print("/collections/loop/items/i%d", LEARN_ITEMS), NULL, 200);
    json_t *v = learn_call("POST", "/collections/loop/search",
        learn_print("{'text':'%s','k':1}", text_at(item, "/text")), 200);
    ck_assert_double_eq_tol(num_at(v, "/hits/0/score"), 1, 1e-4);
    json_decref(v);
    json_decref(item);
    expect("POST", "/admin/collections/loop/promote", "{'version':1}", 409);
    go("/admin/collections/loop/promote", "{'version':2}", "promote", 2, 0);
    ck_assert(check_searches(2));
    expect("POST", "/admin/collections/loop/promote", "{'version':2}", 409);
    expect("POST", "/admin/collections/loop/promote", "{'version':3}", 404);
}

START_TEST(a_collection_learns)
{
    learn_fill("loop");
    check_beginning();
    give_feedback();
    ck_assert(!check_searches(1));
    long long run = learn_retrain("loop", LEARN_TITLES);
    check_busy();
    watch(run);
    check_run(run);
    ck_assert(check_searches(2));
    check_versions_of_queries();
    check_embeddings();
    check_collection();
    check_going_back();
}
END_TEST

TEST_SUITE(learn)
{
    TCase *tc = tcase_create("loop");
    tcase_add_unchecked_fixture(tc, start, learn_server_stop);
    tcase_set_timeout(tc, 240);
    tcase_add_test(tc, a_collection_learns);
    suite_add_tcase(s, tc);
}
