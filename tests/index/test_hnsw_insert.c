/* Linking: levels, order, equal vectors, near-equal ones, what a failed link leaves; which links are chosen
 * (index/hnsw_choose.c). */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"
#include "index/force.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

START_TEST(levels_are_geometric)
{
    struct index_options o = small_options(1, INDEX_L2);
    o.m = 16;
    struct index *ix = open_index(&o), *same = open_index(&o);
    o.seed = 2;
    struct index *other = open_index(&o);
    size_t counts[LEVEL_MAX + 1] = { 0 }, differ = 0;
    const uint32_t n = 200000;
    for (uint32_t node = 0; node < n; node++) {
        unsigned level = hnsw__level(ix, node);
        ck_assert_uint_le(level, LEVEL_MAX);
        ck_assert_uint_eq(level, hnsw__level(same, node));
        differ += level != hnsw__level(other, node);
        for (unsigned l = 0; l <= level; l++)
            counts[l]++;
    }
    ck_assert_uint_eq(counts[0], n);
    ck_assert_double_eq_tol((double)counts[1] / n, 1.0 / 16, 0.003);
    ck_assert_double_eq_tol((double)counts[2] / n, 1.0 / 256, 0.001);
    ck_assert_uint_gt(differ, n / 20);
    index_free(ix);
    index_free(same);
    index_free(other);
}
END_TEST

/** The same puts and links, one thread: the same graph. */
START_TEST(one_thread_is_deterministic)
{
    struct index_options o = small_options(10, INDEX_COSINE);
    struct index *a = open_index(&o), *b = open_index(&o);
    struct index_scratch *s = index_scratch_new(), *t = index_scratch_new();
    struct rng r;
    rng_init(&r, 3);
    size_t n;
    for (uint64_t id = 0; id < 1500; id++) {
        float v[10];
        random_vector(&r, v, 10);
        ck_assert_ok(index_put(a, id, v, NULL));
        ck_assert_ok(index_put(b, id, v, NULL));
    }
    link_all(a, s);
    for (n = 1; n > 0;)
        ck_assert_ok(index_link(b, 1, t, &n, NULL)); /* one by one */
    must_verify(a);
    ck_assert(atomic_load(&a->entry) == atomic_load(&b->entry));
    for (uint32_t node = 0; node < 1500; node++)
        for (unsigned l = 0; l <= index__level(a, node); l++)
            for (size_t i = 0; i < index__max_links(a, l); i++)
                ck_assert_uint_eq(atomic_load(&index__links(a, node, l)[i]),
                    atomic_load(&index__links(b, node, l)[i]));
    index_scratch_free(s);
    index_scratch_free(t);
    index_free(a);
    index_free(b);
}
END_TEST

START_TEST(link_takes_what_waits)
{
    struct index_options o = small_options(4, INDEX_L2);
    struct index *ix = open_index(&o);
    struct index_scratch *s = index_scratch_new();
    struct index_stats st;
    struct rng r;
    size_t n;
    rng_init(&r, 1);
    for (uint64_t id = 0; id < 100; id++) {
        float v[4];
        random_vector(&r, v, 4);
        ck_assert_ok(index_put(ix, id, v, NULL));
    }
    for (uint64_t id = 0; id < 30; id++)
        ck_assert(index_delete(ix, id * 2));
    must_verify(ix);
    ck_assert_ok(index_link(ix, 0, s, &n, NULL));
    ck_assert_uint_eq(n, 0);
    ck_assert_ok(index_link(ix, 50, s, &n, NULL));
    ck_assert_uint_eq(n, 50);
    must_verify(ix);
    ck_assert_ok(index_link(ix, 50, s, &n, NULL));
    ck_assert_uint_eq(n, 20); /* a deleted one is never linked */
    ck_assert_ok(index_link(ix, 50, s, &n, NULL));
    ck_assert_uint_eq(n, 0);
    for (uint32_t node = 0; node < 60; node += 2)
        ck_assert_uint_eq(index__state(ix, node), NODE_USED | NODE_DELETED);
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, 70);
    ck_assert_uint_eq(st.pending, 0);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 100);
    must_verify(ix);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

/** Thousands of equal vectors among some others. */
START_TEST(equal_vectors)
{
    struct index_options o = small_options(12, (enum metric_kind)_i);
    struct index *ix = open_index(&o);
    struct index_scratch *s = index_scratch_new();
    const size_t n_equal = test_is_slow_run() ? 2000 : 8000;
    float equal[12], v[12];
    struct rng r;
    rng_init(&r, 8);
    random_vector(&r, equal, 12);
    for (uint64_t id = 0; id < n_equal; id++) {
        ck_assert_ok(index_put(ix, id, equal, NULL));
        if (id % 40 != 0) continue;
        random_vector(&r, v, 12);
        ck_assert_ok(index_put(ix, 1000000 + id, v, NULL));
    }
    link_all(ix, s);
    must_verify(ix);

    struct index_hit hits[100];
    size_t n;
    struct index_query q = { .vector = equal, .k = 100, .ef = 100 };
    ck_assert_ok(index_search(ix, &q, s, hits, &n, NULL, NULL));
    ck_assert_uint_eq(n, 100);
    size_t equals = 0;
    for (size_t i = 0; i < n; i++)
        equals += hits[i].id < n_equal;
    if (o.metric != INDEX_DOT) ck_assert_uint_eq(equals, 100);

    /* only the last of them and one stranger left: found among all the tombstones */
    for (uint64_t id = 0; id + 1 < n_equal; id++)
        ck_assert(index_delete(ix, id));
    q.k = 3;
    q.ef = 3;
    ck_assert_ok(index_search(ix, &q, s, hits, &n, NULL, NULL));
    ck_assert_uint_eq(n, 3);
    if (o.metric != INDEX_DOT) ck_assert_uint_eq(hits[0].id, n_equal - 1);
    must_verify(ix);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

/** Clouds of vectors that differ in the last bits: no two equal, yet nearly so. */
START_TEST(near_equal_vectors)
{
    struct index_options o = small_options(16, INDEX_COSINE);
    struct oracle x;
    struct index *ix = open_index(&o);
    struct index_scratch *s = index_scratch_new();
    struct rng r;
    rng_init(&r, 9);
    oracle_init(&x, &o, 3000);
    for (size_t slot = 0; slot < 3000; slot++) {
        struct rng centre;
        float v[16];
        rng_init(&centre, slot % 20);
        for (size_t d = 0; d < 16; d++)
            v[d] = (float)(random_normal(&centre) + 1e-4 * random_normal(&r));
        oracle_put(&x, ix, slot, v);
    }
    link_all(ix, s);
    double recall = 0;
    for (size_t i = 0; i < 60; i++) {
        struct index_query q = { .vector = x.v + i * 48 * 16, .k = 10, .ef = 60 };
        recall += oracle_check(&x, ix, &q, s, false) / 60;
    }
    ck_assert_msg(recall >= 0.95, "recall %.3f", recall);
    must_verify(ix);
    oracle_done(&x);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

/** A vector of zeros is nearer to all others than they are to each other: it must not be the only link that they have. */
START_TEST(one_in_the_middle)
{
    struct index_options o = small_options(96, INDEX_L2);
    enum { N = 1500 };
    o.m = 16;
    struct index *ix = open_index(&o);
    struct index_scratch *s = index_scratch_new();
    float *v = mem_zalloc(N * o.dim, sizeof *v);
    struct rng r;
    rng_init(&r, 10);
    ck_assert_ptr_nonnull(v);
    for (size_t i = 0; i < N; i++) {
        for (size_t d = 0; i > 0 && d < o.dim; d++)
            v[i * o.dim + d] = (float)random_normal(&r);
        ck_assert_ok(index_put(ix, i, v + i * o.dim, NULL));
    }
    link_all(ix, s);
    must_verify(ix);
    size_t found = 0;
    index_force(s, INDEX_FORCE_WALK);
    for (size_t i = 0; i < N; i++) {
        struct index_query q = { .vector = v + i * o.dim, .k = 1, .ef = 100 };
        struct index_hit hit = { .id = N };
        size_t n;
        ck_assert_ok(index_search(ix, &q, s, &hit, &n, NULL, NULL));
        found += hit.id == i;
    }
    ck_assert_msg(found > N * 7 / 10, "%zu of %d find themselves", found, N);
    mem_free(v);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

/** What lives is not turned down because of a tombstone, and lists are not filled by these: the new vectors are found when
 * the old ones, near each of them, are gone. */
START_TEST(tombstones_turn_nothing_down)
{
    struct index_options o = small_options(8, INDEX_L2);
    struct oracle x;
    struct index *ix = open_index(&o);
    struct index_scratch *s = index_scratch_new();
    struct rng r;
    float v[8];
    rng_init(&r, 12);
    oracle_init(&x, &o, 800);
    for (int round = 0; round < 2; round++) {
        for (size_t slot = 0; slot < 800; slot++) {
            memcpy(v, x.v + slot * 8, sizeof v);
            if (round == 0) random_vector(&r, v, 8);
            for (size_t d = 0; d < 8; d++)
                v[d] += (float)(1e-3 * random_normal(&r));
            oracle_put(&x, ix, slot, v);
        }
        link_all(ix, s);
    }
    maintain_all(ix, s, true);
    must_verify(ix);
    double recall = 0;
    index_force(s, INDEX_FORCE_WALK);
    for (size_t slot = 0; slot < 800; slot += 8) {
        struct index_query q = { .vector = x.v + slot * 8, .k = 10, .ef = 40 };
        recall += oracle_check(&x, ix, &q, s, false) / 100;
    }
    ck_assert_msg(recall >= 0.95, "recall %.3f", recall);
    oracle_done(&x);
    index_scratch_free(s);
    index_free(ix);
}
END_TEST

/** A claim that was given back waits again, in its place. */
START_TEST(unclaimed_node_waits_again)
{
    struct index_options o = small_options(2, INDEX_L2);
    struct index *ix = open_index(&o);
    for (uint64_t id = 0; id < 5; id++)
        ck_assert_ok(index_put(ix, id, ((float[]){ (float)id, 1 }), NULL));
    uint32_t a, b, c;
    uint64_t at_a, at_b, at_c;
    ck_assert(tail__claim(ix, &a, &at_a) && tail__claim(ix, &b, &at_b));
    ck_assert(a == 0 && b == 1);
    tail__linked(ix, b);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 0);
    tail__unclaim(ix, a, at_a);
    ck_assert(tail__claim(ix, &c, &at_c));
    ck_assert(c == 0 && at_c == at_a);
    tail__linked(ix, c);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 2);
    ck_assert(tail__claim(ix, &c, &at_c));
    ck_assert(c == 2 && at_c == 2);
    index_free(ix);
}
END_TEST

TEST_SUITE(hnsw_insert)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, levels_are_geometric);
    tcase_add_test(tc, one_thread_is_deterministic);
    tcase_add_test(tc, link_takes_what_waits);
    tcase_add_loop_test(tc, equal_vectors, 0, 3);
    tcase_add_test(tc, near_equal_vectors);
    tcase_add_test(tc, one_in_the_middle);
    tcase_add_test(tc, tombstones_turn_nothing_down);
    tcase_add_test(tc, unclaimed_node_waits_again);
    suite_add_tcase(s, tc);
}
