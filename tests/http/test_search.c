/* Searching over HTTP: a wanted recall, batches, range search, what is said about the index, and its upkeep as metrics tell. */
#include "tests/http/http_test.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 1500, DIM = 16 };

/* A vector for each number below 4,999, all different. */
static void vector_of(size_t i, struct buf *b)
{
    buf_puts(b, "[");
    for (size_t d = 0; d < DIM; d++)
        buf_printf(b, "%s%.4f", d ? "," : "", (double)((i * (d + 3) * 7919) % 4999) / 4999 + 0.01);
    buf_puts(b, "]");
}

static void put_items(const char *collection)
{
    char path[100];
    (void)snprintf(path, sizeof path, "/collections/%s/items", collection);
    for (size_t first = 0; first < ITEMS; first += 500) {
        struct buf b = BUF_INIT(0);
        buf_puts(&b, "{\"items\":[");
        for (size_t i = first; i < first + 500; i++) {
            buf_printf(&b,
                "%s{\"id\":\"i%zu\",\"metadata\":{\"n\":%zu},\"vector\":", i > first ? "," : "", i,
                i);
            vector_of(i, &b);
            buf_puts(&b, "}");
        }
        buf_puts(&b, "]}");
        json_decref(call("POST", path, b.p, 200));
        buf_done(&b);
    }
}

static void setup(void)
{
    static const char *const args[] = { "--recall-sample-seconds", "1", "--index-snapshot-seconds",
        "0", NULL };
    suite_server_args = args;
    suite_server_start();
    suite_server_args = NULL;
    expect("PUT", "/collections/v",
        "{'model':null,'dimensions':16,'filterable':{'n':'integer'},'index':{'bits':24}}", 201);
    expect("PUT", "/collections/half", "{'model':null,'dimensions':16,'index':{'bits':12}}", 201);
    put_items("v");
    put_items("half");
}

/* {"collection": c, "vector": of item i, more} */
static void search_body(struct buf *b, const char *collection, size_t i, const char *more)
{
    char *rest = dquote(more);
    buf_printf(b, "{\"collection\":\"%s\",\"vector\":", collection);
    vector_of(i, b);
    buf_printf(b, "%s}", rest);
    free(rest);
}

static json_t *search(const char *collection, size_t i, const char *more)
{
    struct buf b = BUF_INIT(0);
    search_body(&b, collection, i, more);
    json_t *v = call("POST", "/search", b.p, 200);
    buf_done(&b);
    return v;
}

START_TEST(a_recall_may_be_wanted)
{
    static const char *const wanted[] = { ",'target_recall':0.5", ",'target_recall':0.9",
        ",'target_recall':0.999,'k':20",
        ",'target_recall':0.9,'filter':{'must':{'key':'n',"
        "'range':{'lt':700}}}" };
    for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++) {
        json_t *v = search("v", 42, wanted[w]);
        ck_assert_str_eq(text_at(v, "/hits/0/id"), "i42");
        ck_assert_uint_eq(json_array_size(at(v, "/hits")), w == 2 ? 20 : 10);
        json_decref(v);
    }
}
END_TEST

START_TEST(half_of_the_bits)
{
    json_t *v = call("GET", "/collections/half", NULL, 200);
    ck_assert_int_eq(int_at(v, "/index/bits"), 12);
    json_decref(v);
    json_t *whole = search("v", 7, ",'exact':true"), *half = search("half", 7, ",'exact':true");
    ck_assert_str_eq(text_at(half, "/hits/0/id"), "i7");
    for (int i = 0; i < 10; i++) {
        char path[40];
        (void)snprintf(path, sizeof path, "/hits/%d/score", i);
        ck_assert_double_eq_tol(num_at(whole, path), num_at(half, path), 1e-3);
    }
    json_decref(whole);
    json_decref(half);
}
END_TEST

/* All that are near enough, up to k; as many as an exact search finds. */
START_TEST(all_within_a_score)
{
    json_t *v = search("v", 3, ",'min_score':0.85,'k':10000,'exact':true,'include':[]");
    size_t want = json_array_size(at(v, "/hits"));
    ck_assert_uint_gt(want, 10);
    ck_assert_uint_lt(want, ITEMS);
    json_decref(v);
    v = search("v", 3, ",'min_score':0.85,'k':10000,'include':[]");
    ck_assert_uint_eq(json_array_size(at(v, "/hits")), want);
    json_decref(v);
}
END_TEST

static bool same_hits(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "hits"), json_object_get(b, "hits")) &&
        json_equal(json_object_get(a, "model"), json_object_get(b, "model"));
}

START_TEST(a_batch_is_its_searches)
{
    enum { N = 60 };
    static const char *const more[] = { "", ",'k':3", ",'exact':true", ",'k':4,'offset':2",
        ",'include':['vector']", ",'filter':{'must':{'key':'n','range':{'lt':300}}}",
        ",'min_score':0.9", ",'ef':300" };
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"searches\":[");
    for (size_t i = 0; i < N; i++) {
        if (i) buf_puts(&b, ",");
        search_body(&b, i % 3 == 2 ? "half" : "v", i * 11, more[i % 8]);
    }
    buf_puts(&b, "]}");
    json_t *all = call("POST", "/search/batch", b.p, 200);
    buf_done(&b);
    ck_assert_uint_eq(json_array_size(at(all, "/results")), N);
    for (size_t i = 0; i < N; i++) {
        json_t *one = search(i % 3 == 2 ? "half" : "v", i * 11, more[i % 8]);
        ck_assert_msg(same_hits(one, json_array_get(at(all, "/results"), i)), "search %zu", i);
        ck_assert_double_ge(num_at(json_array_get(at(all, "/results"), i), "/took_ms"), 0);
        json_decref(one);
    }
    json_decref(all);
}
END_TEST

START_TEST(a_batch_of_texts_and_items)
{
    expect("PUT", "/collections/t", "{'modality':'text'}", 201);
    expect("PUT", "/collections/t/items/a", "{'text':'tea and coffee'}", 201);
    expect("PUT", "/collections/t/items/b", "{'text':'trains and buses'}", 201);
    char *body = dquote("{'searches':[{'collection':'t','text':'coffee and tea','k':1},"
                        "{'collection':'t','text':'buses','k':1},{'collection':'t','id':'a'},"
                        "{'collection':'v','id':'i5','k':2}]}");
    json_t *v = call("POST", "/search/batch", body, 200);
    free(body);
    ck_assert_str_eq(text_at(v, "/results/0/hits/0/id"), "a");
    ck_assert_str_eq(text_at(v, "/results/1/hits/0/id"), "b");
    ck_assert_str_eq(text_at(v, "/results/2/hits/0/id"), "b");
    ck_assert_uint_eq(json_array_size(at(v, "/results/2/hits")), 1);
    ck_assert_uint_eq(json_array_size(at(v, "/results/3/hits")), 2);
    ck_assert(json_is_null(at(v, "/results/3/model")));
    json_decref(v);
}
END_TEST

START_TEST(a_batch_has_a_limit)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"searches\":[");
    for (int i = 0; i < 101; i++)
        buf_printf(&b, "%s{\"text\":\"cat\"}", i ? "," : "");
    buf_puts(&b, "]}");
    json_t *v = call("POST", "/search/batch", b.p, 413);
    ck_assert_str_eq(text_at(v, "/code"), "too_many_inputs");
    ck_assert_str_eq(text_at(v, "/field"), "/searches");
    json_decref(v);
    buf_done(&b);
}
END_TEST

/* Value of a series in /metrics; -1: it is not there. */
static double metric(const char *series)
{
    struct http_reply r;
    const struct http_call c = { .method = "GET", .path = "/metrics" };
    double value = -1;
    http_reply_init(&r);
    http_call(suite_server.port, &c, &r);
    ck_assert_int_eq(r.status, 200);
    const char *text = http_reply_text(&r);
    for (const char *at = strstr(text, series); at; at = strstr(at + 1, series)) {
        if ((at != text && at[-1] != '\n') || at[strlen(series)] != ' ') continue;
        value = strtod(at + strlen(series), NULL);
        break;
    }
    http_reply_done(&r);
    return value;
}

static void wait_for(const char *series, double least)
{
    for (int i = 0; i < 200 && metric(series) < least; i++)
        usleep(50000);
    ck_assert_msg(metric(series) >= least, "%s stays at %g", series, metric(series));
}

static void search_until(const char *series, const char *more)
{
    for (size_t i = 0; i < 200 && metric(series) < 1; i++) {
        json_decref(search("v", i, more));
        usleep(50000);
    }
}

START_TEST(recall_is_measured)
{
    search_until("kindred_search_recall_samples_total{filter=\"none\"}", "");
    search_until("kindred_search_recall_samples_total{filter=\"narrow\"}",
        ",'filter':{'must':{'key':'n','range':{'lt':8}}}");
    ck_assert_double_ge(metric("kindred_search_recall_samples_total{filter=\"none\"}"), 1);
    ck_assert_double_gt(metric("kindred_search_recall{filter=\"none\"}"), 0.9);
    ck_assert_double_le(metric("kindred_search_recall{filter=\"none\"}"), 1);
    ck_assert_double_eq(metric("kindred_search_recall{filter=\"narrow\"}"), 1); /* a scan */
    json_t *v = call("GET", "/collections/v", NULL, 200);
    ck_assert_double_gt(num_at(v, "/index/recall"), 0.9);
    json_decref(v);
    double plans = 0;
    static const char *const names[] = { "scan", "walk", "two_hop", "fallback" };
    for (size_t i = 0; i < 4; i++) {
        char series[80];
        (void)snprintf(
            series, sizeof series, "kindred_index_searches_total{plan=\"%s\"}", names[i]);
        double n = metric(series);
        plans += n > 0 ? n : 0;
    }
    ck_assert_double_ge(plans, 2);
}
END_TEST

START_TEST(the_curve_is_shown)
{
    json_t *v = NULL;
    for (int i = 0; i < 200; i++) {
        json_decref(v);
        v = call("GET", "/collections/v", NULL, 200);
        if (json_is_object(at(v, "/index/curve"))) break;
        usleep(50000);
    }
    ck_assert_int_ge(int_at(v, "/index/curve/items"), 1000);
    ck_assert_uint_ge(json_array_size(at(v, "/index/curve/points")), 2);
    ck_assert_int_ge(int_at(v, "/index/curve/points/0/ef"), 1);
    json_decref(v);
}
END_TEST

/* Deleted in their hundreds, their places are free soon, and the gauges say so. */
START_TEST(places_come_back)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"ids\":[");
    for (size_t i = 0; i < ITEMS; i += 2)
        buf_printf(&b, "%s\"i%zu\"", i ? "," : "", i);
    buf_puts(&b, "]}");
    json_t *v = call("POST", "/collections/half/items/delete", b.p, 200);
    ck_assert_int_eq(int_at(v, "/deleted"), ITEMS / 2);
    json_decref(v);
    buf_done(&b);
    wait_for("kindred_index_vacant", ITEMS / 2 - 100);
    v = call("GET", "/collections/half", NULL, 200);
    ck_assert_int_eq(int_at(v, "/items"), ITEMS / 2);
    ck_assert_int_ge(int_at(v, "/index/repairs"), 1);
    json_decref(v);
    v = search("half", 43, "");
    ck_assert_str_eq(text_at(v, "/hits/0/id"), "i43");
    json_decref(v);
}
END_TEST

static void wait_linked(const char *collection)
{
    char path[100];
    (void)snprintf(path, sizeof path, "/collections/%s", collection);
    for (long long pending = 1; pending > 0;) {
        json_t *v = call("GET", path, NULL, 200);
        pending = int_at(v, "/index/pending");
        json_decref(v);
        usleep(10000);
    }
}

/* Nothing is linked again after a stop in good order; after a kill what is missing is made up for. */
START_TEST(a_restart_finds_its_index)
{
    struct server_proc s;
    suite_server_args = NULL;
    s = suite_server;
    server_start(&suite_server, NULL);
    expect("PUT", "/collections/v", "{'model':null,'dimensions':16}", 201);
    put_items("v");
    wait_linked("v");
    server_stop(&suite_server);
    for (int round = 0; round < 2; round++) {
        server_restart(&suite_server, NULL);
        json_t *v = call("GET", "/collections/v", NULL, 200);
        ck_assert_int_le(int_at(v, "/index/pending"), round);
        ck_assert_int_eq(int_at(v, "/items"), ITEMS + round);
        json_decref(v);
        char *log = server_log(&suite_server);
        ck_assert_ptr_nonnull(strstr(log, "event=snapshot_loaded collection=v"));
        mem_free(log);
        v = search("v", 99, "");
        ck_assert_str_eq(text_at(v, "/hits/0/id"), "i99");
        json_decref(v);
        if (round) continue;
        struct buf b = BUF_INIT(0);
        buf_puts(&b, "{\"vector\":");
        vector_of(3000, &b);
        buf_puts(&b, "}");
        json_decref(call("PUT", "/collections/v/items/late", b.p, 201));
        buf_done(&b);
        server_kill(&suite_server);
    }
    json_t *v = search("v", 3000, ",'k':1");
    ck_assert_str_eq(text_at(v, "/hits/0/id"), "late");
    json_decref(v);
    server_stop(&suite_server);
    server_remove(&suite_server);
    suite_server = s;
}
END_TEST

TEST_SUITE(search_http)
{
    TCase *tc = tcase_create("shared");
    tcase_add_unchecked_fixture(tc, setup, suite_server_stop);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_recall_may_be_wanted);
    tcase_add_test(tc, half_of_the_bits);
    tcase_add_test(tc, all_within_a_score);
    tcase_add_test(tc, a_batch_is_its_searches);
    tcase_add_test(tc, a_batch_of_texts_and_items);
    tcase_add_test(tc, a_batch_has_a_limit);
    tcase_add_test(tc, recall_is_measured);
    tcase_add_test(tc, the_curve_is_shown);
    tcase_add_test(tc, places_come_back);
    suite_add_tcase(s, tc);
    tc = tcase_create("own");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_restart_finds_its_index);
    suite_add_tcase(s, tc);
}
