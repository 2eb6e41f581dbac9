/* Heaps, keys, the best hits, visited marks. */
#include "index/index_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(keys_sort_like_distances)
{
    const float d[] = { -3e38f, -2.5f, -1e-40f, 0, 1e-40f, 1, 1.0000001f, 7e37f, INFINITY };
    const size_t n = sizeof d / sizeof d[0];
    for (size_t i = 0; i < n; i++) {
        ck_assert(key_distance(key_make(d[i], 77)) == d[i]);
        ck_assert_uint_eq(key_node(key_make(d[i], UINT32_MAX - 1)), UINT32_MAX - 1);
        ck_assert(key_make(d[i], 3) < key_make(d[i], 4));
        if (i > 0) ck_assert(key_make(d[i - 1], UINT32_MAX) < key_make(d[i], 0));
    }
}
END_TEST

START_TEST(heaps_sort)
{
    struct rng r;
    rng_init(&r, 5);
    for (size_t n = 0; n < 200; n++) {
        struct key_heap max = { 0 };
        uint64_t sorted[200];
        ck_assert_ok(key_heap__reserve(&max, n));
        for (size_t i = 0; i < n; i++) {
            sorted[i] = rng_below(&r, n);
            key_heap__push_max(&max, sorted[i]);
        }
        qsort(sorted, n, sizeof *sorted, ascending);
        if (n > 3) { /* the largest goes, a small one comes */
            ck_assert(max.v[0] == sorted[n - 1]);
            key_heap__replace_max(&max, 1);
            sorted[n - 1] = 1;
        }
        qsort(sorted, n, sizeof *sorted, ascending);
        key_heap__sort_max(&max);
        if (n) ck_assert_mem_eq(max.v, sorted, n * sizeof *sorted);
        mem_free(max.v);
    }
}
END_TEST

START_TEST(pop_is_ascending)
{
    struct rng r;
    struct key_heap h = { 0 };
    rng_init(&r, 6);
    ck_assert_ok(key_heap__reserve(&h, 3000));
    for (int i = 0; i < 3000; i++)
        key_heap__push_min(&h, rng_below(&r, 1000));
    for (uint64_t last = 0; h.n > 0;) {
        uint64_t key = key_heap__pop_min(&h);
        ck_assert_uint_le(last, key);
        last = key;
    }
    mem_free(h.v);
}
END_TEST

START_TEST(top_keeps_the_best)
{
    struct index *ix = NULL; /* asked only where an id comes twice */
    struct rng r;
    struct top t = { 0 };
    rng_init(&r, 7);
    for (size_t cap = 1; cap < 40; cap++) {
        ck_assert_ok(top__begin(&t, cap));
        ck_assert(isinf(t.bound));
        float least[40];
        size_t n = 0;
        for (uint32_t i = 0; i < 100; i++) {
            float d = (float)rng_below(&r, 30);
            top__offer(&t, d, i, i);
            size_t at = n < cap ? n++ : cap; /* insertion into a sorted list */
            if (at == cap && d >= least[cap - 1]) continue;
            if (at == cap) at = cap - 1;
            for (; at > 0 && least[at - 1] > d; at--)
                least[at] = least[at - 1];
            least[at] = d;
        }
        ck_assert(t.bound == least[cap - 1]);
        top__finish(ix, &t);
        ck_assert_uint_eq(t.n, cap);
        for (size_t i = 0; i < cap; i++) {
            ck_assert(t.v[i].distance == least[i]);
            if (i && t.v[i].distance <= t.v[i - 1].distance) ck_assert(t.v[i].id > t.v[i - 1].id);
        }
    }
    mem_free(t.v);
}
END_TEST

/** Of an id that was seen twice, the living node stays; of one node seen twice, one hit. */
START_TEST(an_id_comes_once)
{
    struct index_options o = small_options(1, INDEX_L2);
    struct index *ix = open_index(&o);
    struct top t = { 0 };
    for (int i = 0; i < 3; i++) { /* node i; only the last lives */
        ck_assert_ok(index_put(ix, 50, &(float){ (float)i }, NULL));
        if (i == 0) ck_assert_ok(index_put(ix, 51, &(float){ 7 }, NULL)); /* node 1 */
    }
    ck_assert_ok(top__begin(&t, 6));
    top__offer(&t, 0.1f, 0, 50);
    top__offer(&t, 0.9f, 3, 50);
    top__offer(&t, 0.5f, 1, 51);
    top__offer(&t, 0.2f, 2, 50);
    top__offer(&t, 0.5f, 1, 51);
    top__finish(ix, &t);
    ck_assert_uint_eq(t.n, 2);
    ck_assert(t.v[0].id == 51 && t.v[1].id == 50 && t.v[1].node == 3);
    mem_free(t.v);
    index_free(ix);
}
END_TEST

START_TEST(marks_are_forgotten)
{
    struct index_scratch *s = index_scratch_new();
    for (size_t round = 0; round < 1000; round++) {
        size_t n = round < 500 ? 10 : 9000; /* grows in between */
        ck_assert_ok(scratch__begin(s, n));
        ck_assert_uint_ge(s->visited_cap, n);
        size_t marked = 0;
        for (size_t i = 0; i < n; i++)
            marked += s->visited[i] == s->epoch;
        ck_assert_uint_eq(marked, 0);
        s->visited[round % 10] = s->epoch;
    }
    index_scratch_free(s);
}
END_TEST

TEST_SUITE(scratch)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, keys_sort_like_distances);
    tcase_add_test(tc, heaps_sort);
    tcase_add_test(tc, pop_is_ascending);
    tcase_add_test(tc, top_keeps_the_best);
    tcase_add_test(tc, an_id_comes_once);
    tcase_add_test(tc, marks_are_forgotten);
    suite_add_tcase(s, tc);
}
