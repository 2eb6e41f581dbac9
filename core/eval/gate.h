/* Layer: core. May include: base.
 *
 * Is the candidate better than the incumbent? Both answer the same held-out
 * queries; the gain is judged by a paired bootstrap over queries.
 *
 * What is to gain is recall@10 or, where the incumbent leaves no room there
 * (GATE_CEILING), MRR@10. Promoted only if all of this holds:
 *   - the lower bound of the gain is above 0
 *   - more queries got better than worse, by an exact sign test at the same level: a bootstrap
 *     over a handful of queries that moved is too sure of itself, the more so the higher the level
 *   - the figure on general sentences has not fallen by more than anchor_fall_max, neither from the
 *     incumbent nor from the model that learning began from (the veto)
 *
 * A held-out split that is used again and again passes by luck in the end. So the k-th test of a split may
 * promote by mistake with probability alpha / (k (k + 1)) only, which sums to alpha over all tests ever
 * made. That is one side of the interval: the first test's is the 95 % interval when alpha is 0.05.
 *
 * Threads: pure functions.
 * Source: Efron & Tibshirani 1993, section 13.3 (percentile interval); alpha spending after Foster & Stine
 * 2008.
 */
#pragma once

#include "base/err.h"
#include "core/eval/rank.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_CEILING 0.98
enum { GATE_WHY_BYTES = 320, GATE_DOCUMENTS_MIN = 30, GATE_RESAMPLES_MAX = 200000 };

struct gate_options {
    double alpha; /* chance of ever promoting what is no better; 0 < alpha ≤ 0.5 */
    size_t test;  /* the how manieth test of this split, from 1 */
    size_t
        resamples; /* at least 100; later tests, of higher levels, take more, up to GATE_RESAMPLES_MAX */
    uint64_t seed;
    double anchor_fall_max; /* veto: the anchor set's figure may fall by so much */
    /* The figure of the model that learning began from, so that many small falls do not add up: the fall
     * is counted from the better of it and the incumbent. -1: the incumbent is that model. */
    double anchor_base;
    /* [n] which document answers each query, or NULL: each has one of its own. Queries of one document rise and fall
     * together: they are drawn together, count once in the sign test, and with fewer than GATE_DOCUMENTS_MIN
     * documents for more queries nothing is promoted. */
    const size_t *documents;
};
#define GATE_OPTIONS_DEFAULTS                                                                      \
    {                                                                                              \
        .alpha = 0.05, .test = 1, .resamples = 10000, .seed = 1, .anchor_fall_max = 0.02,          \
        .anchor_base = -1                                                                          \
    }

struct gate_gain {
    double mean, low, high; /* after - before, and its interval */
};
struct gate_report {
    struct rank_retrieval before, after;
    struct gate_gain recall_at_10, mrr_at_10, ndcg_at_10;
    double level;     /* of the intervals: 0.95 */
    size_t documents; /* that answer the queries */
    size_t up, down;  /* queries (documents) that got better, worse, in what was to gain */
    double sign_p;    /* of the sign test on them, one-sided */
    double anchor_before, anchor_after; /* Spearman on general sentences */
    double anchor_floor;                /* the least that is no veto */
    bool by_mrr;                        /* recall@10 was at its ceiling */
    bool vetoed, promote;
    char why[GATE_WHY_BYTES]; /* one sentence with the numbers */
};
/**
 * ranks [n]: position of the right answer of each query, from 1 (rank_retrieval_ranks); before and after of
 * the same query at the same place. anchor_…: figures of the anchor set; one that is no number is a veto.
 * Errors: INVALID (n < 2, a rank of 0, an option), NOMEM.
 */
MUST_USE enum err_code gate_judge(const uint32_t *ranks_before, const uint32_t *ranks_after,
    size_t n, double anchor_before, double anchor_after, const struct gate_options *o,
    struct gate_report *ret, struct err *e);
/** The least figure of the anchor set that is no veto. An incumbent that is below it already, by an
 * operator's override, need not be made good, but must not get worse. */
double gate_anchor_floor(double anchor_before, const struct gate_options *o);
