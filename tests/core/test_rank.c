/* Against SciPy and scikit-learn: tests/data/core/rank.json, made by tools/ref/rank.py. */
#include "core/eval/rank.h"

#include "base/rng.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *cases;

static void set_up(void)
{
    cases = json_load_file("tests/data/core/rank.json", 0, NULL);
    ck_assert_ptr_nonnull(cases);
}

static void tear_down(void)
{
    json_decref(cases);
}

/* An array of numbers, or of rows of them, one after the other. */
static size_t read_floats(const json_t *list, float *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (json_is_array(v))
            n += read_floats(v, ret + n);
        else
            ret[n++] = (float)json_number_value(v);
    }
    return n;
}

START_TEST(spearman_as_scipy)
{
    const json_t *list = json_object_get(cases, "spearman");
    ck_assert_uint_ge(json_array_size(list), 15);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        float x[256], y[256];
        double rho, want = json_number_value(json_object_get(c, "rho"));
        size_t n = read_floats(json_object_get(c, "x"), x);
        ck_assert_uint_eq(read_floats(json_object_get(c, "y"), y), n);
        ck_assert_ok(rank_spearman(x, y, n, &rho, NULL));
        ck_assert_near(&rho, &want, 1, 1e-9, 0.0);
    }
}
END_TEST

START_TEST(spearman_refuses)
{
    const float up[] = { 1, 2, 3 }, same[] = { 4, 4, 4 }, nan[] = { 1, NAN, 2 };
    const float inf[] = { -INFINITY, 0, INFINITY }, zeros[] = { 0.0F, -0.0F, 1 };
    double rho = 9;
    ck_assert_err(rank_spearman(up, up, 1, &rho, NULL), ERR_INVALID);
    ck_assert_err(rank_spearman(up, same, 3, &rho, NULL), ERR_INVALID);
    ck_assert_err(rank_spearman(nan, up, 3, &rho, NULL), ERR_INVALID);
    ck_assert(rho == 9);
    ck_assert_ok(rank_spearman(up, inf, 3, &rho, NULL));
    ck_assert(fabs(rho - 1) < 1e-12);
    ck_assert_ok(rank_spearman(zeros, (const float[]){ 5, 5, 6 }, 3, &rho, NULL)); /* -0 is 0 */
    ck_assert(fabs(rho - 1) < 1e-12);
}
END_TEST

START_TEST(retrieval_as_scikit_learn)
{
    const json_t *list = json_object_get(cases, "retrieval");
    ck_assert_uint_ge(json_array_size(list), 5);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        float q[256], d[1024];
        size_t target[64], nq = json_array_size(json_object_get(c, "target"));
        size_t dim = read_floats(json_object_get(c, "queries"), q) / nq;
        size_t nd = read_floats(json_object_get(c, "docs"), d) / dim;
        for (size_t k = 0; k < nq; k++)
            target[k] = (size_t)json_integer_value(json_array_get(json_object_get(c, "target"), k));
        struct rank_retrieval r;
        ck_assert_ok(rank_retrieval_eval(q, nq, d, nd, dim, target, &r, NULL));
        const double got[] = { r.recall_at_1, r.recall_at_10, r.mrr_at_10, r.ndcg_at_10 };
        const char *const names[] = { "recall_at_1", "recall_at_10", "mrr_at_10", "ndcg_at_10" };
        for (size_t k = 0; k < 4; k++) {
            double want = json_number_value(json_object_get(c, names[k]));
            ck_assert_near(&got[k], &want, 1, 1e-9, 0.0);
        }
        ck_assert_uint_eq(r.queries, nq);
    }
}
END_TEST

START_TEST(retrieval_edges)
{
    const float q[] = { 1, 0 }, d[] = { 1, 0, 1, 0, NAN, 0 };
    struct rank_retrieval r = { .queries = 9 };
    ck_assert_err(rank_retrieval_eval(q, 1, d, 2, 2, (size_t[]){ 2 }, &r, NULL), ERR_INVALID);
    ck_assert_err(rank_retrieval_eval(q, 0, d, 2, 2, NULL, &r, NULL), ERR_INVALID);
    ck_assert_err(rank_retrieval_eval(q, 1, d, 0, 2, (size_t[]){ 0 }, &r, NULL), ERR_INVALID);
    ck_assert_uint_eq(r.queries, 9);
    ck_assert_ok(rank_retrieval_eval(q, 1, d, 2, 2, (size_t[]){ 0 }, &r, NULL));
    ck_assert(r.recall_at_1 == 0 && r.mrr_at_10 == 0.5); /* a tie counts against us */
    ck_assert_ok(rank_retrieval_eval(q, 1, d, 3, 2, (size_t[]){ 2 }, &r, NULL));
    ck_assert(r.recall_at_1 == 0 && fabs(r.mrr_at_10 - 1.0 / 3) < 1e-12); /* and so does NaN */
}
END_TEST

/* The definition, one query after the other. */
static uint32_t plain_rank(const float *q, const float *docs, size_t nd, size_t dim, size_t target)
{
    uint32_t rank = 1;
    double score[2000];
    for (size_t j = 0; j < nd; j++) {
        score[j] = 0;
        for (size_t i = 0; i < dim; i++)
            score[j] += (double)q[i] * (double)docs[j * dim + i];
    }
    for (size_t j = 0; j < nd; j++)
        rank += j != target && !(score[j] < score[target]);
    return rank;
}

/* Several blocks of documents, a last one that no four fill, and documents that are there twice. */
START_TEST(ranks_over_blocks)
{
    enum { NQ = 40, ND = 1501, DIM = 96 };
    static float q[NQ * DIM], d[ND * DIM];
    size_t target[NQ];
    uint32_t ranks[NQ];
    struct rank_retrieval mean, whole;
    struct rng rng;
    rng_init(&rng, 5);
    /* Whole numbers: sums are exact in any order. */
    for (size_t i = 0; i < NQ * DIM; i++)
        q[i] = (float)rng_below(&rng, 9) - 4;
    for (size_t i = 0; i < ND * DIM; i++)
        d[i] = (float)rng_below(&rng, 9) - 4;
    for (size_t i = 0; i < NQ; i++) {
        target[i] = i == 0 ? ND - 1 : rng_below(&rng, ND);
        if (i % 2) /* near the first ranks */
            memcpy(d + target[i] * DIM, q + i * DIM, DIM * sizeof *d);
        if (i % 4 == 1) memcpy(d + (ND - 5 * i) * DIM, q + i * DIM, DIM * sizeof *d);
    }
    ck_assert_ok(rank_retrieval_ranks(q, NQ, d, ND, DIM, target, ranks, NULL));
    for (size_t i = 0; i < NQ; i++)
        ck_assert_uint_eq(ranks[i], plain_rank(q + i * DIM, d, ND, DIM, target[i]));
    rank_retrieval_mean(ranks, NQ, &mean);
    ck_assert_ok(rank_retrieval_eval(q, NQ, d, ND, DIM, target, &whole, NULL));
    ck_assert(mean.mrr_at_10 == whole.mrr_at_10 && mean.recall_at_1 == whole.recall_at_1);
    ck_assert(mean.recall_at_1 > 0.1 && mean.recall_at_1 < 0.4 && mean.recall_at_10 > 0.4);
}
END_TEST

static enum err_code retrieval_once(void)
{
    const float x[] = { 1, 2, 3 };
    struct rank_retrieval r;
    return rank_retrieval_eval(x, 3, x, 3, 1, (size_t[]){ 0, 1, 2 }, &r, NULL);
}

static enum err_code spearman_once(void)
{
    const float x[] = { 1, 2, 3 };
    double rho;
    return rank_spearman(x, x, 3, &rho, NULL);
}

START_TEST(out_of_memory)
{
    OOM_LOOP(spearman_once);
    OOM_LOOP(retrieval_once);
}
END_TEST

TEST_SUITE(rank)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, spearman_as_scipy);
    tcase_add_test(tc, spearman_refuses);
    tcase_add_test(tc, retrieval_as_scikit_learn);
    tcase_add_test(tc, retrieval_edges);
    tcase_add_test(tc, ranks_over_blocks);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
