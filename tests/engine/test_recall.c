/* Recall as it is measured: answers that are known to be good or bad, and items that come and go before the check. */
#include "engine/recall.h"

#include "tests/engine/rig.h"

#include <stdio.h>
#include <unistd.h>

enum { ITEMS = 200, K = 10 };
static struct rig r;
static struct collection *col;
static struct generation *gen;

static void setup(void)
{
    rig_init(&r);
    rig_set(&r, "recall.sample_seconds", "3600"); /* those that a test offers only */
    rig_open(&r);
    rig_put_many(&r, "default", 0, ITEMS);
    col = registry_find(&r.g->registry, STR("default"));
    gen = collection_generation(col);
    struct index_stats stats;
    for (index_stats(gen->index, &stats); stats.pending; index_stats(gen->index, &stats))
        usleep(2000);
}
static void teardown(void)
{
    generation_unref(gen);
    collection_unref(col);
    rig_done(&r);
}

/* A query and its exact answer, as the index gives it. */
struct asked {
    float vector[RIG_DIM];
    struct index_query q;
    struct index_hit hits[K];
    size_t n;
    int64_t known;
};

static void ask(struct asked *a, const struct index_allow *allow)
{
    struct err e = ERR_INIT;
    struct index_scratch *s = index_scratch_new();
    ck_assert_ok(index_get(gen->index, 7, a->vector, &e), &e);
    a->vector[0] += 0.1f;
    a->q = (struct index_query){ .vector = a->vector, .k = K, .exact = true, .allow = allow };
    a->known = atomic_load(&col->published);
    ck_assert_ok(index_search(gen->index, &a->q, s, a->hits, &a->n, NULL, &e), &e);
    ck_assert_uint_eq(a->n, K);
    a->q.exact = false;
    index_scratch_free(s);
}

static double samples(const char *filter)
{
    char name[100];
    (void)snprintf(name, sizeof name, "kindred_search_recall_samples_total{filter=\"%s\"}", filter);
    return rig_metric(name);
}

static double recall(const char *filter)
{
    char name[100];
    (void)snprintf(name, sizeof name, "kindred_search_recall{filter=\"%s\"}", filter);
    return rig_metric(name);
}

static void offer(const struct asked *a)
{
    atomic_store(&r.g->recall.due_ns, 0);
    recall_offer(&r.g->recall, col, gen, &a->q, a->hits, a->n, a->known);
}

static void check_offered(const struct asked *a, const char *filter)
{
    double before = samples(filter);
    offer(a);
    for (int i = 0; i < 2000 && samples(filter) == before; i++)
        usleep(2000);
    ck_assert_double_eq(samples(filter), before + 1);
}

/* The answer without the best `n`, and others in their place. */
static void spoil(struct asked *a, size_t n)
{
    for (size_t i = 0; i + n < K; i++)
        a->hits[i] = a->hits[i + n];
    for (size_t i = K - n; i < K; i++)
        a->hits[i] = (struct index_hit){ .id = 1000 + i, .score = -0.9f };
}

static double low_ones(void)
{
    return rig_metric("kindred_search_recall_low_total{filter=\"none\"}");
}

/* Of the collection: metrics are the process's. */
static double mean_now(void)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct collection_info info;
    ck_assert_ok(engine_collection_get(r.g, STR("default"), c.arena, &info, &e), &e);
    return info.index.recall;
}

START_TEST(what_is_missed_counts)
{
    static struct asked a;
    double low = low_ones();
    ask(&a, NULL);
    check_offered(&a, "none");
    ck_assert_double_eq(mean_now(), 1);
    ck_assert_double_eq(low_ones(), low);
    ask(&a, NULL);
    spoil(&a, 4);
    check_offered(&a, "none");
    ck_assert_double_eq_tol(mean_now(), (1 + 0.6) / 2, 1e-9);
    ck_assert_double_eq(low_ones(), low + 1);
    a.n = 3; /* less than there are */
    check_offered(&a, "none");
    ck_assert_double_eq_tol(mean_now(), (1 + 0.6 + 0.3) / 3, 1e-9);
    ck_assert_double_gt(recall("none"), 0);
    ck_assert_double_lt(recall("none"), 1);
}
END_TEST

/* An item in the text's place is nearer than all, and was not there when the search was answered. */
START_TEST(what_came_later_is_no_miss)
{
    static struct asked a;
    ask(&a, NULL);
    for (size_t i = 0; i < 5; i++) {
        char key[16], text[64];
        (void)snprintf(key, sizeof key, "later%zu", i);
        rig_text(7, text);
        rig_put(&r, "default", key, text, NULL);
    }
    check_offered(&a, "none");
    ck_assert_double_eq(mean_now(), 1);
}
END_TEST

START_TEST(what_has_gone_is_no_miss)
{
    static struct asked a;
    ask(&a, NULL);
    for (size_t i = 0; i < 3; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)a.hits[i].id);
        ck_assert_err(rig_remove(&r, "default", key), ERR_OK);
    }
    check_offered(&a, "none");
    ck_assert_double_eq(mean_now(), 1);
    spoil(&a, 5); /* those that are left of the five were there to be found */
    check_offered(&a, "none");
    ck_assert_double_lt(mean_now(), 1);
}
END_TEST

START_TEST(filters_have_their_classes)
{
    static struct asked a;
    uint64_t bits[(ITEMS + 63) / 64] = { 0 };
    struct index_allow allow = { .bits = bits, .n_bits = ITEMS };
    for (size_t i = 0; i < ITEMS; i += 2) {
        bits[i / 64] |= UINT64_C(1) << i % 64;
        allow.count++;
    }
    double none = samples("none");
    ask(&a, &allow);
    check_offered(&a, "wide");
    ck_assert_double_eq(recall("wide"), 1);
    allow.count = 10; /* as the class goes by */
    check_offered(&a, "medium");
    allow.count = 1;
    check_offered(&a, "narrow");
    ck_assert_double_eq(samples("none"), none);
}
END_TEST

/* Searches are taken by themselves, one in a period, exact ones never. */
START_TEST(searches_are_taken_now_and_then)
{
    double before = samples("none");
    CALL c;
    call_init(&c);
    struct search_op op = {
        .collection = STR("default"), .text = STR("w1 w2"), .k = 5, .exact = true
    };
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    op.exact = false;
    for (int i = 0; i < 20; i++)
        ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    for (int i = 0; i < 2000 && samples("none") == before; i++)
        usleep(2000);
    ck_assert_double_eq(samples("none"), before + 1);
    ck_assert_double_eq(mean_now(), 1);
    usleep(1200000);
    ck_assert_double_eq(samples("none"), before + 1);
}
END_TEST

START_TEST(it_may_be_switched_off)
{
    generation_unref(gen);
    collection_unref(col);
    rig_close(&r);
    rig_set(&r, "recall.sample_seconds", "0");
    rig_open(&r);
    col = registry_find(&r.g->registry, STR("default"));
    gen = collection_generation(col);
    CALL c;
    call_init(&c);
    struct search_op op = { .collection = STR("default"), .text = STR("w1 w2"), .k = 5 };
    double before = samples("none");
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    usleep(1200000);
    ck_assert_double_eq(samples("none"), before);
}
END_TEST

/* One that is never checked holds nothing up and is given back. */
START_TEST(closing_with_one_that_waits)
{
    static struct asked a;
    ask(&a, NULL);
    offer(&a);
    offer(&a);
}
END_TEST

TEST_SUITE(recall)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_is_missed_counts);
    tcase_add_test(tc, what_came_later_is_no_miss);
    tcase_add_test(tc, what_has_gone_is_no_miss);
    tcase_add_test(tc, filters_have_their_classes);
    tcase_add_test(tc, searches_are_taken_now_and_then);
    tcase_add_test(tc, it_may_be_switched_off);
    tcase_add_test(tc, closing_with_one_that_waits);
    suite_add_tcase(s, tc);
}
