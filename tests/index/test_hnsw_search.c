/* The walk by itself: descent, recall, tombstones, filters, twins, giving up. */
#include "index/index_internal.h"

#include <math.h>

#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { N = 3000, DIM = 16 };

static struct index *ix;
static struct index_scratch *scratch;
static float data[N][DIM];

static void setup(void)
{
    struct index_options o = small_options(DIM, INDEX_L2);
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 1);
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    scratch = index_scratch_new();
    for (uint64_t id = 0; id < N; id++) {
        random_vector(&r, data[id], DIM);
        ck_assert_ok(index_put(ix, id, data[id], &e), &e);
    }
    link_all(ix, scratch);
}

static void teardown(void)
{
    must_verify(ix);
    index_scratch_free(scratch);
    index_free(ix);
}

static void walk(struct layer_search ls, const float *query)
{
    ck_assert_ok(scratch__query(ix, scratch));
    codes__prepare(ix, query, 1, &scratch->query);
    ls.query = &scratch->query;
    ls.metric = INDEX_L2;
    if (ls.n_within == 0) ls.radius = -INFINITY;
    uint64_t start = hnsw__descend(ix, &ls, atomic_load(&ix->entry), scratch);
    ck_assert_ok(hnsw__search_layer(ix, &ls, start, scratch, NULL));
    key_heap__sort_max(&scratch->found);
}

START_TEST(finds_nodes_by_their_vectors)
{
    size_t found = 0;
    for (uint32_t node = 0; node < N; node++) {
        walk((struct layer_search){ .ef = 20 }, data[node]);
        ck_assert_uint_eq(scratch->found.n, 20);
        for (size_t i = 1; i < 20; i++)
            ck_assert_uint_lt(scratch->found.v[i - 1], scratch->found.v[i]);
        found += key_node(scratch->found.v[0]) == node;
    }
    ck_assert_uint_ge(found, N * 99 / 100);
}
END_TEST

START_TEST(walks_through_tombstones)
{
    for (uint64_t id = 0; id < N; id++)
        if (id % 10 != 0) ck_assert(index_delete(ix, id));
    size_t found = 0;
    for (uint32_t node = 0; node < N; node += 10) {
        walk((struct layer_search){ .ef = 20, .live_only = true }, data[node]);
        ck_assert_uint_eq(scratch->found.n, 20);
        for (size_t i = 0; i < 20; i++)
            ck_assert_uint_eq(key_node(scratch->found.v[i]) % 10, 0);
        found += key_node(scratch->found.v[0]) == node;
    }
    ck_assert_uint_ge(found, N / 10 * 98 / 100);
}
END_TEST

START_TEST(filter_inside_the_walk)
{
    uint64_t bits[N / 64 + 1] = { 0 };
    struct index_allow allow = { bits, N, 0 };
    for (size_t id = 0; id < N; id += 20) {
        bits[id / 64] |= UINT64_C(1) << (id % 64);
        allow.count++;
    }
    size_t found = 0;
    for (uint32_t node = 0; node < N; node += 20) {
        struct layer_search ls = { .ef = 10, .live_only = true, .allow = &allow };
        walk(ls, data[node]);
        ck_assert_uint_eq(scratch->found.n, 10);
        for (size_t i = 0; i < 10; i++)
            ck_assert_uint_eq(key_node(scratch->found.v[i]) % 20, 0);
        found += key_node(scratch->found.v[0]) == node;
    }
    ck_assert_uint_ge(found, N / 20 * 98 / 100);
}
END_TEST

START_TEST(twins_are_found_with_their_node)
{
    for (uint64_t id = N; id < N + 30; id++)
        ck_assert_ok(index_put(ix, id, data[7], NULL));
    link_all(ix, scratch);
    must_verify(ix);
    ck_assert(index_delete(ix, 7)); /* the node they hang on */
    walk((struct layer_search){ .ef = 40, .live_only = true }, data[7]);
    for (size_t i = 0; i < 30; i++)
        ck_assert_uint_ge(key_node(scratch->found.v[i]), N);
    ck_assert_uint_lt(key_node(scratch->found.v[30]), N);
    walk((struct layer_search){ .ef = 12, .live_only = true }, data[7]);
    ck_assert_uint_eq(scratch->found.n, 12);
}
END_TEST

START_TEST(gives_up)
{
    ck_assert_ok(scratch__query(ix, scratch));
    codes__prepare(ix, data[0], 1, &scratch->query);
    struct layer_search ls = { .query = &scratch->query,
        .metric = INDEX_L2,
        .ef = 500,
        .radius = -INFINITY,
        .max_estimates = 300 };
    uint64_t start = hnsw__descend(ix, &ls, atomic_load(&ix->entry), scratch);
    ck_assert_err(hnsw__search_layer(ix, &ls, start, scratch, NULL), ERR_LIMIT);
    ls.max_estimates = 0;
    ck_assert_ok(hnsw__search_layer(ix, &ls, start, scratch, NULL));
    ck_assert_uint_eq(scratch->found.n, 500);
}
END_TEST

TEST_SUITE(hnsw_search)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, finds_nodes_by_their_vectors);
    tcase_add_test(tc, walks_through_tombstones);
    tcase_add_test(tc, filter_inside_the_walk);
    tcase_add_test(tc, twins_are_found_with_their_node);
    tcase_add_test(tc, gives_up);
    suite_add_tcase(s, tc);
}
