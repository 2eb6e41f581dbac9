/* Scans: where they start, ties, the id path against the node path, what they leave out. */
#include "index/index_internal.h"

#include "index/force.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { N = 700 };

static struct index *ix;
static struct index_scratch *scratch;

/** Id i at 100 + i/7: groups of seven equal vectors. Some are deleted. */
static void setup(void)
{
    struct index_options o = small_options(1, INDEX_L2);
    struct err e = ERR_INIT;
    ix = open_index(&o);
    scratch = index_scratch_new();
    for (uint64_t id = 0; id < N; id++)
        ck_assert_ok(index_put(ix, id, &(float){ (float)(100 + id / 7) }, &e), &e);
    for (uint64_t id = 3; id < N; id += 10)
        ck_assert(index_delete(ix, id));
}

static void teardown(void)
{
    index_scratch_free(scratch);
    index_free(ix);
}

static void ready(float at, size_t room)
{
    ck_assert_ok(scratch__query(ix, scratch));
    codes__prepare(ix, &at, 1, &scratch->query);
    ck_assert_ok(top__begin(&scratch->top, room));
}

/** Among equals the smallest ids win, also at the edge of k. */
START_TEST(ties_by_id)
{
    float v = 100;
    struct index_hit hits[300];
    for (size_t k = 1; k <= 300; k++) {
        struct index_query q = { .vector = &v, .k = k, .exact = true };
        size_t n;
        ck_assert_ok(index_search(ix, &q, scratch, hits, &n, NULL, NULL));
        ck_assert_uint_eq(n, k);
        uint64_t id = 0;
        for (size_t i = 0; i < k; i++, id++) {
            if (id % 10 == 3) id++;
            ck_assert_uint_eq(hits[i].id, id);
        }
    }
}
END_TEST

START_TEST(the_tail_from_a_place_on)
{
    static const uint32_t firsts[] = { 0, 1, 350, 690, 699, 700 };
    for (size_t i = 0; i < 6; i++) {
        struct index_query q = { .k = N };
        struct tail_view view = tail__view(&ix->tail);
        view.at = firsts[i];
        ready(100, N);
        ck_assert_ok(scan__tail(ix, &q, view, scratch, NULL));
        size_t want = 0;
        for (uint32_t node = firsts[i]; node < N; node++)
            want += node % 10 != 3;
        ck_assert_uint_eq(scratch->top.n, want);
        for (size_t j = 0; j < want; j++)
            ck_assert_uint_ge(scratch->top.v[j].node, firsts[i]);
    }
}
END_TEST

/** Linked or not, a scan over all finds the same. */
START_TEST(all_whether_linked_or_not)
{
    struct index_query q = { .k = N };
    size_t n;
    for (int part = 0; part < 8; part++) {
        ready(120, N);
        ck_assert_ok(scan__all(ix, &q, scratch, NULL));
        top__finish(ix, &scratch->top);
        ck_assert_uint_eq(scratch->top.n, N - N / 10);
        ck_assert_ok(index_link(ix, 100, scratch, &n, NULL));
    }
}
END_TEST

/** By ids and by nodes: the same hits, whatever the set. */
START_TEST(ids_and_nodes_agree)
{
    struct rng r;
    rng_init(&r, 3);
    for (int round = 0; round < 200; round++) {
        uint64_t bits[16] = { 0 };
        struct index_allow allow = { bits, rng_below(&r, 1024), 0 };
        double share = rng_unit(&r);
        for (size_t id = 0; id < 1024; id++)
            if (rng_unit(&r) < share) bits[id / 64] |= UINT64_C(1) << (id % 64);
        struct index_query q = { .k = 20, .allow = &allow };
        struct top_entry nodes[20];
        ready(150, 20);
        ck_assert_ok(scan__all(ix, &q, scratch, NULL));
        top__finish(ix, &scratch->top);
        size_t n = scratch->top.n;
        memcpy(nodes, scratch->top.v, n * sizeof *nodes);
        ready(150, 20);
        ck_assert_ok(scan__allowed(ix, &q, scratch, NULL));
        top__finish(ix, &scratch->top);
        ck_assert_uint_eq(scratch->top.n, n);
        for (size_t i = 0; i < n; i++) {
            ck_assert(
                scratch->top.v[i].id == nodes[i].id && scratch->top.v[i].node == nodes[i].node);
            ck_assert(index__allows(&allow, nodes[i].id) && nodes[i].id % 10 != 3);
        }
    }
}
END_TEST

/** Most vectors are told apart by their codes: few are scored exactly, and the answer is that of a full sort. */
START_TEST(bounds_spare_most_scores)
{
    struct index_options o = small_options(96, (enum metric_kind)(_i % 3));
    o.bits = _i < 3 ? 24 : 12;
    struct oracle x;
    struct rng r;
    struct index *wide = open_index(&o);
    float v[96];
    rng_init(&r, 21);
    oracle_init(&x, &o, 1500);
    for (size_t slot = 0; slot < 1500; slot++) {
        random_vector(&r, v, 96);
        oracle_put(&x, wide, slot, v);
    }
    for (int part = 0; part < 2; part++) { /* before and after the centre was taken */
        size_t scored = 0;
        for (int i = 0; i < 10; i++) {
            struct index_report report;
            random_vector(&r, v, 96);
            struct index_query q = { .vector = v, .k = 10, .exact = true };
            oracle_ask(&x, wide, &q, scratch, true, &report);
            ck_assert_int_eq(report.plan, INDEX_PLAN_SCAN);
            ck_assert_uint_ge(report.estimated, 1500);
            ck_assert_uint_eq(report.ef, 0);
            scored += report.scored;
        }
        ck_assert_msg(scored < 10 * 400, "%zu of 15000 were scored", scored);
        link_all(wide, scratch);
    }
    oracle_done(&x);
    index_free(wide);
}
END_TEST

/** Thousands of equal vectors that were linked while the first in the tail was not: each is looked at once. */
START_TEST(equal_vectors_in_the_tail)
{
    struct index_options o = small_options(4, INDEX_L2);
    struct index *one = open_index(&o);
    const float v[4] = { 1, 2, 3, 4 }, first[4] = { 5 };
    struct index_report report;
    struct index_hit hits[20];
    uint32_t node;
    uint64_t at;
    size_t n;
    ck_assert_ok(index_put(one, 5000, first, NULL));
    ck_assert(tail__claim(one, &node, &at));
    for (uint64_t id = 0; id < 2000; id++)
        ck_assert_ok(index_put(one, id, v, NULL));
    for (n = 1; n > 0;)
        ck_assert_ok(index_link(one, 100, scratch, &n, NULL));
    for (int exact = 0; exact < 2; exact++) {
        struct index_query q = { .vector = v, .k = 20, .ef = 20, .exact = exact };
        if (!exact) index_force(scratch, INDEX_FORCE_WALK);
        ck_assert_ok(index_search(one, &q, scratch, hits, &n, &report, NULL));
        index_force(scratch, INDEX_FORCE_NONE);
        ck_assert_uint_eq(n, 20);
        ck_assert_uint_eq(hits[19].id, 19);
        ck_assert_uint_le(report.estimated, 4 * 2000);
    }
    tail__unclaim(one, node, at);
    link_all(one, scratch);
    must_verify(one);
    index_free(one);
}
END_TEST

TEST_SUITE(scan)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ties_by_id);
    tcase_add_test(tc, the_tail_from_a_place_on);
    tcase_add_test(tc, all_whether_linked_or_not);
    tcase_add_test(tc, ids_and_nodes_agree);
    tcase_add_test(tc, equal_vectors_in_the_tail);
    tcase_add_loop_test(tc, bounds_spare_most_scores, 0, 6);
    suite_add_tcase(s, tc);
}
