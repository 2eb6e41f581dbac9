/* Put, replace, delete, get, statistics, options. */
#include "index/index_internal.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

static struct index *fresh(size_t dim, enum metric_kind metric)
{
    struct index_options o = small_options(dim, metric);
    return open_index(&o);
}

START_TEST(options_are_checked)
{
    struct index *ix = NULL;
    struct err e = ERR_INIT;
    const struct index_options good = small_options(3, INDEX_COSINE);
    struct index_options bad[12];
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].dim = 0;
    bad[1].dim = INDEX_DIM_MAX + 1;
    bad[2].m = INDEX_M_MIN - 1;
    bad[3].m = INDEX_M_MAX + 1;
    bad[4].ef_construction = 7;
    bad[5].ef_construction = 2001;
    bad[6].ef_search = 0;
    bad[7].ef_search = INDEX_EF_MAX + 1;
    bad[8].metric = (enum metric_kind)7;
    bad[9].m = SIZE_MAX;
    bad[10].bits = 16;
    bad[11].bits = 25;
    for (size_t i = 0; i < 12; i++) {
        ck_assert_err(index_new(&bad[i], &ix, &e), ERR_INVALID);
        ck_assert_ptr_null(ix);
        ck_assert_int_gt((int)strlen(e.msg), 5);
    }
    ck_assert_ok(index_new(&good, &ix, &e), &e);
    ck_assert_ptr_nonnull(index_options(ix)->kernels);
    ck_assert_uint_eq(index_options(ix)->m, good.m);
    index_free(ix);
    struct index_options unsaid = good;
    unsaid.bits = 0; /* as 24 */
    ix = open_index(&unsaid);
    ck_assert_uint_eq(index_options(ix)->bits, 24);
    ck_assert_uint_eq(index_bytes_for(&unsaid, 1000), index_bytes_for(&good, 1000));
    index_free(ix);
    index_free(NULL);
}
END_TEST

START_TEST(empty_index)
{
    struct index *ix = fresh(3, INDEX_L2);
    struct index_scratch *s = index_scratch_new();
    struct index_hit hit;
    struct index_stats st;
    size_t n = 9;
    const float v[3] = { 1, 2, 3 };
    struct index_query q = { .vector = v, .k = 1 };
    must_verify(ix);
    ck_assert_ok(index_search(ix, &q, s, &hit, &n, NULL, NULL));
    ck_assert_uint_eq(n, 0);
    n = 9;
    ck_assert_ok(index_link(ix, 10, s, &n, NULL));
    ck_assert_uint_eq(n, 0);
    ck_assert(!index_delete(ix, 0));
    ck_assert(!index_contains(ix, 0));
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live + st.deleted + st.pending, 0);
    ck_assert_uint_eq(st.dim, 3);
    index_scratch_free(s);
    index_scratch_free(NULL);
    index_free(ix);
}
END_TEST

START_TEST(put_get_replace_delete)
{
    struct index *ix = fresh(3, INDEX_DOT);
    struct index_stats st;
    const float a[3] = { 1, 2, 3 }, b[3] = { -4, 5, 0 };
    const uint64_t ids[3] = { 0, 7, UINT64_MAX };
    float got[3];
    for (size_t i = 0; i < 3; i++)
        ck_assert_ok(index_put(ix, ids[i], a, NULL));
    for (size_t i = 0; i < 3; i++) {
        ck_assert(index_contains(ix, ids[i]));
        ck_assert_ok(index_get(ix, ids[i], got, NULL));
        ck_assert_near(got, a, 3, 1e-6, 0);
    }
    ck_assert_ok(index_put(ix, UINT64_MAX, b, NULL));
    ck_assert_ok(index_get(ix, UINT64_MAX, got, NULL));
    ck_assert_near(got, b, 3, 1e-6, 0);
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, 3);
    ck_assert_uint_eq(st.deleted, 1);
    ck_assert_uint_eq(st.pending, 3);
    ck_assert(index_delete(ix, 0));
    ck_assert(!index_delete(ix, 0));
    got[0] = 42;
    ck_assert_err(index_get(ix, 0, got, NULL), ERR_NOT_FOUND);
    ck_assert(got[0] == 42.0f);
    must_verify(ix);
    index_free(ix);
}
END_TEST

START_TEST(same_vector_again_costs_nothing)
{
    struct index *ix = fresh(5, INDEX_COSINE);
    const float a[5] = { 1, 2, 3, 4, 5 };
    struct index_stats st;
    for (int i = 0; i < 10; i++)
        ck_assert_ok(index_put(ix, 3, a, NULL));
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, 1);
    ck_assert_uint_eq(st.deleted, 0);
    must_verify(ix);
    index_free(ix);
}
END_TEST

START_TEST(cosine_is_normalised)
{
    struct index *ix = fresh(2, INDEX_COSINE);
    const float ordinary[2] = { 3, -4 }, huge[2] = { 3e38f, -4e37f }, tiny[2] = { 3e-43f, 0 };
    float got[2];
    ck_assert_ok(index_put(ix, 1, ordinary, NULL));
    ck_assert_ok(index_get(ix, 1, got, NULL));
    ck_assert_near(got, ((float[]){ 0.6f, -0.8f }), 2, 5e-7, 0);
    ck_assert_ok(index_put(ix, 1, huge, NULL));
    ck_assert_ok(index_get(ix, 1, got, NULL));
    ck_assert_double_eq_tol(hypot((double)got[0], (double)got[1]), 1, 1e-6);
    ck_assert_ok(index_put(ix, 1, tiny, NULL));
    ck_assert_ok(index_get(ix, 1, got, NULL));
    ck_assert_near(got, ((float[]){ 1, 0 }), 2, 5e-7, 0);
    index_free(ix);
}
END_TEST

START_TEST(bad_vectors_are_refused)
{
    static const enum metric_kind metrics[] = { INDEX_COSINE, INDEX_DOT, INDEX_L2 };
    for (size_t i = 0; i < 3; i++) {
        struct index *ix = fresh(3, metrics[i]);
        struct err e = ERR_INIT;
        const float good[3] = { 1, 0, 0 };
        ck_assert_ok(index_put(ix, 1, good, NULL));
        float bad[][3] = { { NAN, 0, 1 }, { 0, INFINITY, 1 }, { 1, 1, -INFINITY }, { 0, 0, NAN } };
        for (size_t j = 0; j < 4; j++)
            ck_assert_err(index_put(ix, 1, bad[j], &e), ERR_INVALID);
        ck_assert_str_eq(e.msg, "value 2 of the vector is not a finite number");
        const float zero[3] = { 0, 0, -0.0f }, huge[3] = { FLT_MAX, 1e30f, 0 };
        if (metrics[i] == INDEX_COSINE)
            ck_assert_err(index_put(ix, 1, zero, &e), ERR_INVALID);
        else {
            ck_assert_ok(index_put(ix, 2, zero, &e), &e);
            ck_assert_err(index_put(ix, 1, huge, &e), ERR_INVALID);
        }
        float got[3];
        ck_assert_ok(index_get(ix, 1, got, NULL));
        ck_assert_near(got, good, 3, 1e-6, 0);
        must_verify(ix);
        index_free(ix);
    }
}
END_TEST

/** The longest vectors that are accepted, against each other: finite scores all the way. */
START_TEST(long_vectors_do_not_overflow)
{
    static const enum metric_kind metrics[] = { INDEX_DOT, INDEX_L2 };
    for (size_t i = 0; i < 2; i++) {
        struct index *ix = fresh(5, metrics[i]);
        struct index_scratch *s = index_scratch_new();
        float v[5], w[5];
        for (int d = 0; d < 5; d++)
            v[d] = 2.9e18f, w[d] = -2.9e18f;
        ck_assert_ok(index_put(ix, 1, v, NULL));
        ck_assert_ok(index_put(ix, 2, w, NULL));
        struct index_hit hits[2];
        size_t n;
        struct index_query q = { .vector = v, .k = 2 };
        ck_assert_ok(index_search(ix, &q, s, hits, &n, NULL, NULL));
        ck_assert_uint_eq(n, 2);
        ck_assert(hits[0].id == 1 && isfinite(hits[0].score) && isfinite(hits[1].score));
        index_scratch_free(s);
        index_free(ix);
    }
}
END_TEST

/** The formula is what an index takes, but for the rest of the last block and what there is once. */
START_TEST(bytes_are_as_documented)
{
    static const size_t dims[] = { 4, 100 };
    for (size_t i = 0; i < 4; i++) {
        struct index_options o = small_options(dims[i / 2], INDEX_L2);
        o.bits = i % 2 ? 12 : 24;
        struct index *ix = open_index(&o);
        struct index_scratch *s = index_scratch_new();
        struct index_stats empty, full;
        struct rng r;
        float v[100];
        size_t n = (ix->block_mask + 1) * (i < 2 ? 2 : 1);
        rng_init(&r, 3);
        index_stats(ix, &empty);
        for (uint64_t id = 0; id < n; id++) {
            random_vector(&r, v, o.dim);
            ck_assert_ok(index_put(ix, id, v, NULL));
        }
        index_stats(ix, &full);
        double want = (double)index_bytes_for(&o, n);
        double got = (double)(full.size_bytes - empty.size_bytes);
        /* not linked: no upper lists; the tail's chunks stand in for them */
        ck_assert_msg(fabs(got - want) < 0.1 * want, "%zu dimensions, %u bits: %.0f for %.0f",
            o.dim, o.bits, got, want);
        index_scratch_free(s);
        index_free(ix);
    }
}
END_TEST

/** A whole life; after a failure the index must be valid and the failed step must work. */
static enum err_code life(void *arg)
{
    struct index_options o = small_options(6, INDEX_COSINE);
    struct index *ix = NULL;
    struct rng r;
    enum err_code code = index_new(&o, &ix, NULL), first_failure = code;
    if (code != ERR_OK) return code;
    struct index_scratch *s = index_scratch_new();
    if (!s) first_failure = ERR_NOMEM, s = index_scratch_new();
    rng_init(&r, 4);
    (void)arg;
    for (uint64_t id = 0; id < 120; id++) {
        float v[6];
        random_vector(&r, v, 6);
        if ((code = index_put(ix, id % 90, v, NULL)) != ERR_OK) {
            first_failure = code;
            must_verify(ix);
            ck_assert_ok(index_put(ix, id % 90, v, NULL));
        }
        size_t linked;
        if ((code = index_link(ix, id < 60 ? 0 : 3, s, &linked, NULL)) != ERR_OK) {
            first_failure = code;
            must_verify(ix);
            ck_assert_ok(index_link(ix, 3, s, &linked, NULL));
            ck_assert_uint_ge(linked, 1);
        }
        if (id % 7 == 0) (void)index_delete(ix, id / 2);
        size_t worked;
        if ((code = index_maintain(ix, 40, true, s, &worked, NULL)) != ERR_OK) {
            first_failure = code;
            must_verify(ix);
            ck_assert_ok(index_maintain(ix, 40, true, s, &worked, NULL));
        }
        struct index_query q = { .vector = v, .k = 3, .ef = id > 100 ? 3 : 1, .exact = id % 2 };
        struct index_hit hits[3];
        size_t n = 77;
        if (id % 10 == 9 && (code = index_search(ix, &q, s, hits, &n, NULL, NULL)) != ERR_OK) {
            first_failure = code;
            ck_assert_uint_eq(n, 77);
            ck_assert_ok(index_search(ix, &q, s, hits, &n, NULL, NULL));
        }
    }
    if (index_verify(ix, NULL) != ERR_OK) {
        first_failure = ERR_NOMEM;
        must_verify(ix);
    }
    index_scratch_free(s);
    index_free(ix);
    return first_failure;
}

START_TEST(every_allocation_may_fail)
{
    long failed = oom_loop(life, NULL);
#ifdef KINDRED_CHECKED
    ck_assert_int_gt(failed, 10);
#else
    (void)failed;
#endif
}
END_TEST

TEST_SUITE(index)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, options_are_checked);
    tcase_add_test(tc, empty_index);
    tcase_add_test(tc, put_get_replace_delete);
    tcase_add_test(tc, same_vector_again_costs_nothing);
    tcase_add_test(tc, cosine_is_normalised);
    tcase_add_test(tc, bad_vectors_are_refused);
    tcase_add_test(tc, long_vectors_do_not_overflow);
    tcase_add_test(tc, bytes_are_as_documented);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_allocation_may_fail);
    suite_add_tcase(s, tc);
}
