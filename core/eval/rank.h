/* Layer: core. May include: base.
 *
 * Retrieval and similarity metrics. Agree with SciPy and scikit-learn to 1e-6.
 * Threads: pure functions.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/** Spearman's rank correlation with average ranks for ties; x, y [n], n ≥ 2.
 * INVALID: n < 2, a NaN, or one side constant. */
MUST_USE enum err_code rank_spearman(
    const float *x, const float *y, size_t n, double *ret_rho, struct err *e);

/** Recall and reciprocal rank of one right partner among many. */
struct rank_retrieval {
    double recall_at_1, recall_at_10, mrr_at_10, ndcg_at_10;
    size_t queries;
};
/**
 * Query i's right answer is row target[i] of docs. queries [nq, dim], docs [nd, dim]; score = dot.
 * Ties count against us (the target ranks last among equals), and so does a score that is no number.
 * INVALID: nothing to rank, a target that is no row; LIMIT: 2^32 documents; NOMEM.
 */
MUST_USE enum err_code rank_retrieval_eval(const float *queries, size_t nq, const float *docs,
    size_t nd, size_t dim, const size_t *target, struct rank_retrieval *ret, struct err *e);
/** The same query by query: ret_ranks [nq], 1 is best. */
MUST_USE enum err_code rank_retrieval_ranks(const float *queries, size_t nq, const float *docs,
    size_t nd, size_t dim, const size_t *target, uint32_t *ret_ranks, struct err *e);
/** The means over ranks [n ≥ 1]. */
void rank_retrieval_mean(const uint32_t *ranks, size_t n, struct rank_retrieval *ret);
