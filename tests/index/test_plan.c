/* Which way a search goes, and that every way gives right answers: no filter, filters that half to one in a thousand
 * pass, by chance, near the query or far from it. */
#include "index/index_internal.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { N = 10000, DIM = 32, QUERIES = 4 };

static struct oracle x;
static struct index *ix;
static struct index_scratch *scratch;
static struct rng rng;
static uint64_t bits[N * 3 / 64 + 1];
static float query[DIM];

/** Made once and not changed by any test. */
static void setup(void)
{
    struct index_options o = small_options(DIM, INDEX_COSINE);
    float v[DIM];
    o.m = 10;
    ix = open_index(&o);
    scratch = index_scratch_new();
    oracle_init(&x, &o, N);
    rng_init(&rng, 5);
    for (size_t slot = 0; slot < N; slot++) {
        random_vector(&rng, v, DIM);
        oracle_put(&x, ix, slot, v);
    }
    link_all(ix, scratch);
}

static void teardown(void)
{
    oracle_done(&x);
    index_scratch_free(scratch);
    index_free(ix);
}

/* ---- filters ---- */
enum filter_kind { BY_CHANCE, NEAR, FAR, FILTER_KINDS, OPPOSITE };
static const char *const kind_names[] = { "by chance", "near", "far" };

struct scored {
    double score;
    size_t slot;
};

static int descending(const void *pa, const void *pb)
{
    const struct scored *a = pa, *b = pb;
    return (a->score < b->score) - (a->score > b->score);
}

/** Slots from the third on, by score from `from`; NULL: by chance. The ids of the first three are too large. */
static void rank(const float *from, struct scored all[N - 3])
{
    for (size_t i = 0; i < N - 3; i++)
        all[i] = (struct scored){ .slot = i + 3,
            .score = from ? oracle_score(&x, i + 3, from) : rng_unit(&rng) };
    qsort(all, N - 3, sizeof *all, descending);
}

/** That share of all slots: by chance, or the nearest to the query, or the nearest to a vector far from it; opposite:
 * the farthest from the query. */
static struct index_allow filter(double share, enum filter_kind kind)
{
    static struct scored all[N - 3];
    struct index_allow a = { .n_bits = N * 3 };
    memset(bits, 0, sizeof bits);
    a.bits = bits;
    rank(kind == BY_CHANCE ? NULL : query, all);
    if (kind == FAR) rank(x.v + all[N - 4 - rng_below(&rng, N / 10)].slot * DIM, all);
    for (size_t i = 0; i < (size_t)(share * N); i++)
        allow_id(bits, &a, oracle_id(all[kind == OPPOSITE ? N - 4 - i : i].slot));
    return a;
}

static double ask(struct index_query q, enum index_forced way, struct index_report *ret)
{
    q.vector = query;
    bool exact = q.exact || way == INDEX_FORCE_SCAN_ALL || way == INDEX_FORCE_SCAN_IDS;
    index_force(scratch, way);
    double recall = oracle_ask(&x, ix, &q, scratch, exact, ret);
    index_force(scratch, INDEX_FORCE_NONE);
    return recall;
}

/** By that way, over some queries; ret: of the last. */
static double recall_by(
    double share, enum filter_kind kind, enum index_forced way, struct index_report *ret)
{
    double recall = 0;
    for (int i = 0; i < QUERIES; i++) {
        random_vector(&rng, query, DIM);
        struct index_allow a = filter(share, kind);
        recall += ask((struct index_query){ .k = 10, .ef = 64, .allow = &a }, way, ret) / QUERIES;
    }
    return recall;
}

static const double shares[] = { 0.5, 0.25, 0.1, 0.04, 0.01, 0.001 };

START_TEST(filters_by_their_plan)
{
    struct index_report report;
    for (int kind = 0; kind < FILTER_KINDS; kind++) {
        double recall = recall_by(shares[_i], (enum filter_kind)kind, INDEX_FORCE_NONE, &report);
        ck_assert_msg(recall >= 0.95, "%g of all, %s, %s: recall %.3f", shares[_i],
            kind_names[kind], index_plan_name(report.plan), recall);
    }
}
END_TEST

/** Whatever the price: a walk, two hops as far down as they may be chosen, and both scans, which are exact. */
START_TEST(filters_by_every_way)
{
    struct index_report report;
    for (int kind = 0; kind < FILTER_KINDS; kind++) {
        enum filter_kind k = (enum filter_kind)kind;
        double walk = recall_by(shares[_i], k, INDEX_FORCE_WALK, &report);
        ck_assert(report.plan == INDEX_PLAN_WALK || report.plan == INDEX_PLAN_FALLBACK);
        /* left to itself it would give up */
        ck_assert_msg(walk >= (kind == FAR ? 0.7 : 0.95), "%g, %s: walk %.3f", shares[_i],
            kind_names[kind], walk);
        double hops = recall_by(shares[_i], k, INDEX_FORCE_TWO_HOP, &report);
        ck_assert(report.plan == INDEX_PLAN_TWO_HOP || report.plan == INDEX_PLAN_FALLBACK);
        /* far away what is allowed may fall apart, and a part may have no way in */
        double least = shares[_i] < 0.04 ? 0 : kind == FAR ? 0.4 : 0.95;
        ck_assert_msg(hops >= least, "%g, %s: two hops %.3f", shares[_i], kind_names[kind], hops);
        ck_assert(recall_by(shares[_i], k, INDEX_FORCE_SCAN_IDS, &report) > 0.999);
        ck_assert_uint_eq(report.estimated, (size_t)(shares[_i] * N));
        ck_assert(recall_by(shares[_i], k, INDEX_FORCE_SCAN_ALL, &report) > 0.999);
        ck_assert(report.plan == INDEX_PLAN_SCAN && report.ef == 0);
    }
}
END_TEST

/* ---- the choice ---- */
static enum index_plan plan_of(size_t ef, double share)
{
    struct index_report report;
    struct index_allow a = filter(share < 1 ? share : 0, BY_CHANCE);
    struct index_query q = { .k = 3, .ef = ef, .allow = share < 1 ? &a : NULL };
    ask(q, INDEX_FORCE_NONE, &report);
    ck_assert(report.plan == INDEX_PLAN_SCAN ? report.ef == 0 : report.ef == ef);
    return report.plan;
}

START_TEST(each_plan_where_it_is_cheapest)
{
    random_vector(&rng, query, DIM);
    ck_assert_int_eq(plan_of(10, 1), INDEX_PLAN_WALK);
    ck_assert_int_eq(plan_of(10, 0.9), INDEX_PLAN_WALK);
    ck_assert_int_eq(plan_of(8, 0.3), INDEX_PLAN_WALK);
    ck_assert_int_eq(plan_of(8, 0.001), INDEX_PLAN_SCAN);
    ck_assert_int_eq(plan_of(5000, 1), INDEX_PLAN_SCAN);
    ck_assert_int_eq(plan_of(5000, 0.5), INDEX_PLAN_SCAN);
    ck_assert_int_eq(plan_of(8, 0), INDEX_PLAN_SCAN);
    struct index_report report;
    ask((struct index_query){ .k = 3, .exact = true }, INDEX_FORCE_NONE, &report);
    ck_assert_int_eq(report.plan, INDEX_PLAN_SCAN);
    ck_assert_uint_eq(report.estimated, N);
    ask((struct index_query){ .k = 3 }, INDEX_FORCE_NONE, &report); /* the index's own ef */
    ck_assert_uint_eq(report.ef, 32);
    ask((struct index_query){ .k = 50 }, INDEX_FORCE_NONE, &report); /* never below k */
    ck_assert(report.plan == INDEX_PLAN_SCAN || report.ef == 50);
}
END_TEST

/** A filter of one id out of many, of ids that are not there, and one whose count is wrong in either direction. */
START_TEST(odd_filters)
{
    random_vector(&rng, query, DIM);
    struct index_report report;
    struct index_allow one = { .n_bits = N * 3 };
    memset(bits, 0, sizeof bits);
    allow_id(bits, &one, oracle_id(77));
    ask((struct index_query){ .k = 10, .allow = &one }, INDEX_FORCE_NONE, &report);
    ck_assert_uint_le(report.estimated, 1);

    struct index_allow gaps = filter(0.3, BY_CHANCE);
    for (uint64_t id = 1; id + 1 < N * 3; id += 3)
        allow_id(bits, &gaps, id); /* no slot has such an id: it counts more than there are */
    ask((struct index_query){ .k = 10, .ef = 16, .allow = &gaps }, INDEX_FORCE_NONE, &report);
    ask((struct index_query){ .k = 10, .ef = 16, .allow = &gaps }, INDEX_FORCE_WALK, &report);
    ask((struct index_query){ .k = 10, .ef = 16, .allow = &gaps }, INDEX_FORCE_TWO_HOP, &report);

    struct index_allow all = filter(0.5, BY_CHANCE);
    size_t counts[] = { 1, 10, N, 10 * N };
    for (size_t i = 0; i < 4; i++) {
        struct index_hit hits[10];
        size_t n;
        all.count = counts[i];
        struct index_query q = { .vector = query, .k = 10, .ef = 16, .allow = &all };
        ck_assert_ok(index_search(ix, &q, scratch, hits, &n, &report, NULL));
        ck_assert_uint_ge(n, counts[i] < 10 ? 1 : 10);
        oracle_judge(
            &x, &(struct index_query){ .vector = query, .k = n, .allow = &all }, hits, n, false);
    }
}
END_TEST

/** Where filter and query contradict each other a walk gives up; the whole costs less than three scans. */
START_TEST(contradiction_costs_no_more_than_scans)
{
    size_t gave_up = 0;
    for (size_t i = 0; i < 5 * QUERIES; i++) {
        random_vector(&rng, query, DIM);
        struct index_allow far = filter(shares[i % 5], OPPOSITE);
        struct index_report report;
        struct index_query q = { .k = 10, .ef = 10, .allow = &far };
        double recall = ask(q, INDEX_FORCE_NONE, &report);
        ck_assert_uint_le(report.estimated, 3 * N);
        if (report.plan != INDEX_PLAN_FALLBACK) continue;
        gave_up++;
        ck_assert(recall >= 1);
    }
    ck_assert_uint_ge(gave_up, 1);
}
END_TEST

/** A walk that gives up goes on by two hops where the scan would cost a multiple. */
START_TEST(two_hops_instead_of_a_long_scan)
{
    size_t hopped = 0;
    for (size_t i = 0; i < 2 * QUERIES; i++) {
        random_vector(&rng, query, DIM);
        struct index_allow far = filter(0.5, OPPOSITE);
        struct index_report report;
        ask((struct index_query){ .k = 1, .ef = 1, .allow = &far }, INDEX_FORCE_NONE, &report);
        hopped += report.plan == INDEX_PLAN_TWO_HOP;
        ck_assert_uint_eq(report.ef, 1);
        ck_assert_uint_le(report.estimated, N);
    }
    ck_assert_uint_gt(hopped, QUERIES);
}
END_TEST

/** Fewer hits than asked for although there are more: the scan that follows finds them. */
START_TEST(too_few_found)
{
    struct index_report report;
    random_vector(&rng, query, DIM);
    struct index_allow some = filter(0.001, BY_CHANCE);
    double recall = ask(
        (struct index_query){ .k = 10, .ef = 10, .allow = &some }, INDEX_FORCE_TWO_HOP, &report);
    ck_assert(report.plan == INDEX_PLAN_FALLBACK ? recall >= 1 : recall > 0);
    ask((struct index_query){ .k = N }, INDEX_FORCE_WALK, &report); /* all that there are */
}
END_TEST

/** Nine of ten are tombstones: a walk has to pass through them, which the plan knows. */
START_TEST(among_tombstones)
{
    struct index_options o = small_options(16, INDEX_L2);
    struct index *dead = open_index(&o);
    struct oracle y;
    struct index_report report;
    float v[16];
    double recall = 0;
    oracle_init(&y, &o, 3000);
    for (size_t slot = 0; slot < 3000; slot++) {
        random_vector(&rng, v, 16);
        oracle_put(&y, dead, slot, v);
    }
    link_all(dead, scratch);
    for (size_t slot = 0; slot < 3000; slot++)
        if (slot % 10) oracle_delete(&y, dead, slot);
    for (int i = 0; i < 20; i++) {
        random_vector(&rng, v, 16);
        struct index_query q = { .vector = v, .k = 10, .ef = 32 };
        if (i % 2) index_force(scratch, INDEX_FORCE_WALK);
        recall += oracle_ask(&y, dead, &q, scratch, false, &report) / 20;
        index_force(scratch, INDEX_FORCE_NONE);
        if (i % 2 == 0) ck_assert_int_eq(report.plan, INDEX_PLAN_SCAN);
    }
    ck_assert_msg(recall >= 0.95, "recall %.3f", recall);
    oracle_done(&y);
    index_free(dead);
}
END_TEST

START_TEST(plans_have_names)
{
    for (int p = 0; p < INDEX_PLAN_COUNT; p++)
        ck_assert_uint_gt(strlen(index_plan_name((enum index_plan)p)), 2);
}
END_TEST

TEST_SUITE(plan)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, filters_by_their_plan, 0, 6);
    tcase_add_loop_test(tc, filters_by_every_way, 0, 6);
    tcase_add_test(tc, each_plan_where_it_is_cheapest);
    tcase_add_test(tc, odd_filters);
    tcase_add_test(tc, contradiction_costs_no_more_than_scans);
    tcase_add_test(tc, two_hops_instead_of_a_long_scan);
    tcase_add_test(tc, too_few_found);
    tcase_add_test(tc, among_tombstones);
    tcase_add_test(tc, plans_have_names);
    suite_add_tcase(s, tc);
}
