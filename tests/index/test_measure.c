/* The curve that an index measures of itself, and the ef that it gives for a recall. */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

enum { N = 5000, DIM = 32 };

static struct oracle x;
static struct index *ix;
static struct index_scratch *scratch;
static struct rng rng;

/** As embeddings are: the values depend on a few that are not seen. */
static void new_vector(float *v)
{
    double hidden[10];
    for (size_t h = 0; h < 10; h++)
        hidden[h] = random_normal(&rng);
    for (size_t d = 0; d < DIM; d++) {
        double sum = 0.1 * random_normal(&rng);
        for (size_t h = 0; h < 10; h++)
            sum += hidden[h] * sin((double)(d * 7 + h * 31 + d * h));
        v[d] = (float)sum;
    }
}

static void setup(void)
{
    struct index_options o = small_options(DIM, INDEX_COSINE);
    float v[DIM];
    ix = open_index(&o);
    scratch = index_scratch_new();
    oracle_init(&x, &o, N);
    rng_init(&rng, 6);
    for (size_t slot = 0; slot < N; slot++) {
        new_vector(v);
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

/** Each test begins without a curve, also where all run in one process. */
static void forget(void)
{
    ix->curve = (struct index_curve){ 0 };
}

static void measure(size_t n)
{
    struct err e = ERR_INIT;
    ck_assert_ok(index_measure(ix, NULL, n, NULL, NULL, scratch, &e), &e);
}

/** Mean recall of fresh queries; 0 as ef: by target. */
static double fresh_recall(size_t k, size_t ef, float target)
{
    enum { TIMES = 40 };
    float v[DIM];
    double recall = 0;
    for (int i = 0; i < TIMES; i++) {
        struct index_report report;
        new_vector(v);
        struct index_query q = { .vector = v, .k = k, .ef = ef, .target_recall = target };
        recall += oracle_ask(&x, ix, &q, scratch, false, &report) / TIMES;
        if (target > 0 && report.plan == INDEX_PLAN_WALK)
            ck_assert_uint_eq(report.ef, index_ef_for(ix, target, k));
    }
    return recall;
}

START_TEST(curve_rises)
{
    struct index_curve c;
    struct index_stats st;
    index_curve(ix, &c);
    index_stats(ix, &st);
    ck_assert_uint_eq(c.n, 0);
    ck_assert(!st.has_curve);
    measure(50);
    index_curve(ix, &c);
    index_stats(ix, &st);
    ck_assert(st.has_curve && st.curve_at_live == N);
    ck_assert_uint_eq(c.n, INDEX_CURVE_POINTS);
    ck_assert_uint_eq(c.n_queries, 50);
    ck_assert_uint_eq(c.at_live, N);
    for (size_t i = 0; i < c.n; i++) {
        ck_assert(c.recall[i] > 0 && c.recall[i] <= 1);
        if (i > 0) ck_assert(c.ef[i] > c.ef[i - 1] && c.recall[i] >= c.recall[i - 1]);
    }
    ck_assert(c.recall[0] < 0.9f && c.recall[c.n - 1] > 0.95f);
    measure(10); /* the last one counts */
    index_curve(ix, &c);
    ck_assert_uint_eq(c.n_queries, 10);
}
END_TEST

/** What the curve says of an ef is what fresh queries get, or a little less: leaving a node out leaves a hole. */
START_TEST(curve_is_true)
{
    struct index_curve c;
    measure(100);
    index_curve(ix, &c);
    for (size_t i = 0; i < 5; i++) {
        double recall = fresh_recall(10, c.ef[i], 0);
        double less = recall - (double)c.recall[i];
        ck_assert_msg(less > -0.04 && less < 0.12, "ef %zu: %.3f, the curve says %.3f", c.ef[i],
            recall, (double)c.recall[i]);
    }
}
END_TEST

START_TEST(target_is_reached)
{
    static const float targets[] = { 0.7f, 0.8f, 0.9f, 0.95f, 0.98f };
    static const size_t ks[] = { 1, 10, 40 };
    measure(100);
    size_t last = 0;
    for (size_t i = 0; i < 5; i++) {
        size_t ef = index_ef_for(ix, targets[i], 10);
        ck_assert_uint_ge(ef, last);
        last = ef;
        for (size_t j = 0; j < 3; j++) {
            double recall = fresh_recall(ks[j], 0, targets[i]);
            ck_assert_msg(recall >= (double)targets[i] - 0.05, "target %.2f, k %zu: %.3f",
                (double)targets[i], ks[j], recall);
        }
    }
    ck_assert_uint_gt(index_ef_for(ix, 0.98f, 10), 2 * index_ef_for(ix, 0.7f, 10));
    ck_assert(fresh_recall(10, 0, 0.7f) < 0.95); /* and no more is done than is needed */
}
END_TEST

START_TEST(ef_is_in_range)
{
    for (int part = 0; part < 2; part++) {
        for (int t = 1; t < 1000; t += 7)
            for (size_t k = 1; k <= INDEX_K_MAX; k = k * 3 + 1) {
                size_t ef = index_ef_for(ix, (float)t / 1000, k);
                ck_assert(ef >= k && ef >= 1 && ef <= INDEX_EF_MAX);
            }
        ck_assert_uint_le(index_ef_for(ix, 0.9999999f, 10), INDEX_EF_MAX);
        measure(20);
    }
}
END_TEST

/** Without a curve the guess errs on the careful side. */
START_TEST(without_a_curve)
{
    ck_assert(fresh_recall(10, 0, 0.8f) >= 0.8);
    ck_assert_uint_gt(index_ef_for(ix, 0.99f, 10), index_ef_for(ix, 0.9f, 10));
    ck_assert_uint_gt(index_ef_for(ix, 0.9f, 100), index_ef_for(ix, 0.9f, 10));
}
END_TEST

/** An ef that is given wins over a target; a target out of range is refused. */
START_TEST(ef_and_target)
{
    struct index_report report;
    struct index_hit hits[10];
    size_t n;
    float v[DIM];
    new_vector(v);
    struct index_query q = { .vector = v, .k = 10, .ef = 17, .target_recall = 0.99f };
    ck_assert_ok(index_search(ix, &q, scratch, hits, &n, &report, NULL));
    ck_assert_uint_eq(report.ef, 17);
    static const float bad[] = { -0.1f, 1, 1.5f, NAN, INFINITY };
    for (size_t i = 0; i < 5; i++) {
        q.target_recall = bad[i];
        ck_assert_err(index_search(ix, &q, scratch, hits, &n, NULL, NULL), ERR_INVALID);
    }
}
END_TEST

START_TEST(queries_that_are_given)
{
    enum { QUERIES = 40 };
    static float own[QUERIES][DIM];
    struct index_curve c;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < QUERIES; i++)
        new_vector(own[i]);
    ck_assert_ok(index_measure(ix, own[0], QUERIES, NULL, NULL, scratch, &e), &e);
    index_curve(ix, &c);
    ck_assert_uint_eq(c.n_queries, QUERIES);
    double recall = 0;
    for (size_t i = 0; i < QUERIES; i++) {
        struct index_query q = { .vector = own[i], .k = 10, .ef = c.ef[2] };
        recall += oracle_check(&x, ix, &q, scratch, false) / QUERIES;
    }
    ck_assert_double_eq_tol(recall, (double)c.recall[2], 1e-6); /* the very same searches */
    own[7][3] = NAN;
    ck_assert_err(index_measure(ix, own[0], QUERIES, NULL, NULL, scratch, &e), ERR_INVALID);
    index_curve(ix, &c);
    ck_assert_uint_eq(c.n_queries, QUERIES);
}
END_TEST

static bool some_more(void *arg)
{
    int *left = arg;
    return (*left)-- > 0;
}

START_TEST(refused_or_stopped)
{
    struct index_curve c;
    struct err e = ERR_INIT;
    int left = 5;
    ck_assert_err(index_measure(ix, NULL, 0, NULL, NULL, scratch, &e), ERR_INVALID);
    ck_assert_err(index_measure(ix, NULL, 20, some_more, &left, scratch, &e), ERR_CANCELLED);
    ck_assert_int_eq(left, -1);
    index_curve(ix, &c);
    ck_assert_uint_eq(c.n, 0);
    left = 1000;
    ck_assert_ok(index_measure(ix, NULL, 20, some_more, &left, scratch, &e), &e);
    ck_assert_int_eq(left, 980);
    left = 3;
    ck_assert_err(index_measure(ix, NULL, 30, some_more, &left, scratch, &e), ERR_CANCELLED);
    index_curve(ix, &c);
    ck_assert_uint_eq(c.n_queries, 20);
}
END_TEST

START_TEST(too_small)
{
    struct index_options o = small_options(4, INDEX_L2);
    struct index *small = open_index(&o);
    float v[4];
    for (uint64_t id = 0; id < 150; id++) {
        ck_assert_err(index_measure(small, NULL, 5, NULL, NULL, scratch, NULL), ERR_NOT_FOUND);
        random_vector(&rng, v, 4);
        ck_assert_ok(index_put(small, id, v, NULL));
        if (id == 98) link_all(small, scratch);
    }
    link_all(small, scratch);
    ck_assert_ok(index_measure(small, NULL, 5, NULL, NULL, scratch, NULL));
    for (uint64_t id = 0; id < 150; id++)
        ck_assert(index_delete(small, id)); /* all tombstones: no vector to ask with */
    ck_assert_err(index_measure(small, NULL, 5, NULL, NULL, scratch, NULL), ERR_NOT_FOUND);
    index_free(small);
}
END_TEST

static enum err_code measure_anew(void *arg)
{
    struct index_scratch *s = index_scratch_new();
    (void)arg;
    if (!s) return ERR_NOMEM;
    enum err_code code = index_measure(ix, NULL, 2, NULL, NULL, s, NULL);
    index_scratch_free(s);
    return code;
}

START_TEST(no_memory)
{
    (void)oom_loop(measure_anew, NULL);
}
END_TEST

TEST_SUITE(measure)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, setup, teardown);
    tcase_add_checked_fixture(tc, forget, NULL);
    tcase_add_test(tc, without_a_curve);
    tcase_add_test(tc, curve_rises);
    tcase_add_test(tc, curve_is_true);
    tcase_add_test(tc, target_is_reached);
    tcase_add_test(tc, ef_is_in_range);
    tcase_add_test(tc, ef_and_target);
    tcase_add_test(tc, queries_that_are_given);
    tcase_add_test(tc, refused_or_stopped);
    tcase_add_test(tc, too_small);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, setup, teardown);
    tcase_add_checked_fixture(tc, forget, NULL);
    tcase_add_test(tc, no_memory);
    suite_add_tcase(s, tc);
}
