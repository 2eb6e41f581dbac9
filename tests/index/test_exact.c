/* Scans: where they start, ties, the id path against the node path. */
#include "index/index_internal.h"

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
    ck_assert_ok(index_new(&o, &ix, &e), &e);
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

/** Among equals the smallest ids win, also at the edge of k. */
START_TEST(ties_by_id)
{
    float v = 100;
    struct index_hit hits[300];
    for (size_t k = 1; k <= 300; k++) {
        struct index_query q = { .vector = &v, .k = k, .exact = true };
        size_t n;
        ck_assert_ok(index_search(ix, &q, scratch, hits, &n, NULL));
        ck_assert_uint_eq(n, k);
        uint64_t id = 0;
        for (size_t i = 0; i < k; i++, id++) {
            if (id % 10 == 3) id++;
            ck_assert_uint_eq(hits[i].id, id);
        }
    }
}
END_TEST

START_TEST(scan_from_a_node_on)
{
    static const uint32_t firsts[] = { 0, 1, 350, 690, 699, 700 };
    for (size_t i = 0; i < 6; i++) {
        struct index_query q = { .k = N };
        ck_assert_ok(scratch__query(scratch, ix->row_floats));
        store__write_row(ix, scratch->query, &(float){ 100 }, 1);
        ck_assert_ok(top__begin(&scratch->top, N));
        ck_assert_ok(exact__scan(ix, &q, firsts[i], scratch, NULL));
        size_t want = 0;
        for (uint32_t node = firsts[i]; node < N; node++)
            want += node % 10 != 3;
        ck_assert_uint_eq(scratch->top.n, want);
        for (size_t j = 0; j < want; j++)
            ck_assert_uint_ge(scratch->top.v[j].node, firsts[i]);
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
        ck_assert_ok(scratch__query(scratch, ix->row_floats));
        store__write_row(ix, scratch->query, &(float){ 150 }, 1);
        ck_assert_ok(top__begin(&scratch->top, 20));
        ck_assert_ok(exact__scan(ix, &q, 0, scratch, NULL));
        top__finish(&scratch->top);
        size_t n = scratch->top.n;
        memcpy(nodes, scratch->top.v, n * sizeof *nodes);
        ck_assert_ok(top__begin(&scratch->top, 20));
        ck_assert_ok(exact__allowed(ix, &q, scratch, NULL));
        top__finish(&scratch->top);
        ck_assert_uint_eq(scratch->top.n, n);
        for (size_t i = 0; i < n; i++) {
            ck_assert(
                scratch->top.v[i].id == nodes[i].id && scratch->top.v[i].node == nodes[i].node);
            ck_assert(index__allows(&allow, nodes[i].id) && nodes[i].id % 10 != 3);
        }
    }
}
END_TEST

TEST_SUITE(exact)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ties_by_id);
    tcase_add_test(tc, scan_from_a_node_on);
    tcase_add_test(tc, ids_and_nodes_agree);
    suite_add_tcase(s, tc);
}
