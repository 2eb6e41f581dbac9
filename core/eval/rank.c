/* Ranking metrics, in double precision throughout.
 *
 * Spearman's rho is Pearson's correlation of the ranks, equal values sharing the
 * mean of the ranks they take; without ties that is the textbook formula, with
 * ties it is not.
 */
#include "core/eval/rank.h"

#include "base/mem.h"
#include "base/vecmath.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ranked {
    float value;
    size_t at;
};

static int by_value(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    return (a->value > b->value) - (a->value < b->value);
}

/* ret [n]: ranks from 1, ties sharing their mean. */
static void rank_values(const float *x, size_t n, struct ranked *work, double *ret)
{
    for (size_t i = 0; i < n; i++)
        work[i] = (struct ranked){ x[i], i };
    qsort(work, n, sizeof *work, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && work[end].value == work[i].value;)
            end++;
        for (size_t j = i; j < end; j++)
            ret[work[j].at] = 0.5 * (double)(i + 1 + end);
    }
}

enum err_code rank_spearman(
    const float *x, const float *y, size_t n, double *ret_rho, struct err *e)
{
    if (n < 2) return err_set(e, ERR_INVALID, "a correlation needs at least two pairs");
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]) || isnan(y[i]))
            return err_set(e, ERR_INVALID, "pair %zu holds something that is not a number", i);
    AUTO_FREE struct ranked *work = mem_alloc(n, sizeof *work);
    AUTO_FREE double *rx = mem_alloc(n, sizeof *rx);
    AUTO_FREE double *ry = mem_alloc(n, sizeof *ry);
    if (!work || !rx || !ry) return err_set(e, ERR_NOMEM, "no memory to rank %zu pairs", n);
    rank_values(x, n, work, rx);
    rank_values(y, n, work, ry);
    double mean = 0.5 * (double)(n + 1), xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        double dx = rx[i] - mean, dy = ry[i] - mean;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    if (xx == 0 || yy == 0) return err_set(e, ERR_INVALID, "one side of the pairs is constant");
    *ret_rho = xy / (sqrt(xx) * sqrt(yy));
    return ERR_OK;
}

/* Documents are taken in blocks that stay in the second-level cache while all queries pass over them. Every
 * score comes from dot4, the target's too: equal documents then have equal scores to the bit. */
enum { BLOCK_BYTES = 256 * 1024 };

/* Adds to *rank how many of the documents [from, to) but `target` score as high as `right`; a score that is
 * not a number counts as higher. */
static void count_above(const struct vec_kernels *k, const float *query, const float *docs,
    size_t dim, const size_t range[2], size_t target, float right, uint32_t *rank)
{
    const float *rows[4];
    float scores[4];
    uint32_t above = 0;
    for (size_t j = range[0]; j < range[1]; j += 4) {
        size_t n = range[1] - j < 4 ? range[1] - j : 4;
        for (size_t i = 0; i < 4; i++)
            rows[i] = docs + (j + (i < n ? i : 0)) * dim;
        k->dot4(query, rows, dim, scores);
        for (size_t i = 0; i < n; i++)
            above += !(scores[i] < right);
        if (target >= j && target < j + n) above -= !(scores[target - j] < right);
    }
    *rank += above;
}

static void rank_targets(const float *queries, size_t nq, const float *docs, size_t nd, size_t dim,
    const size_t *target, float *right, uint32_t *ret_ranks)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t block = BLOCK_BYTES / sizeof(float) / dim / 4 * 4;
    if (block == 0) block = 4;
    for (size_t i = 0; i < nq; i++) {
        const float *row = docs + target[i] * dim, *const rows[4] = { row, row, row, row };
        float scores[4];
        k->dot4(queries + i * dim, rows, dim, scores);
        right[i] = scores[0];
        ret_ranks[i] = 1;
    }
    for (size_t from = 0; from < nd; from += block) {
        const size_t range[2] = { from, nd - from < block ? nd : from + block };
        for (size_t i = 0; i < nq; i++)
            count_above(k, queries + i * dim, docs, dim, range, target[i], right[i], &ret_ranks[i]);
    }
}

enum err_code rank_retrieval_ranks(const float *queries, size_t nq, const float *docs, size_t nd,
    size_t dim, const size_t *target, uint32_t *ret_ranks, struct err *e)
{
    if (nq == 0 || nd == 0 || dim == 0)
        return err_set(e, ERR_INVALID, "retrieval needs queries, documents and dimensions");
    if (nd >= UINT32_MAX) return err_set(e, ERR_LIMIT, "%zu documents are too many", nd);
    for (size_t i = 0; i < nq; i++)
        if (target[i] >= nd)
            return err_set(
                e, ERR_INVALID, "query %zu has the answer %zu of %zu documents", i, target[i], nd);
    AUTO_FREE float *right = mem_alloc(nq, sizeof *right);
    if (!right) return err_set(e, ERR_NOMEM, "no memory for %zu scores", nq);
    rank_targets(queries, nq, docs, nd, dim, target, right, ret_ranks);
    return ERR_OK;
}

void rank_retrieval_mean(const uint32_t *ranks, size_t n, struct rank_retrieval *ret)
{
    struct rank_retrieval sum = { .queries = n };
    for (size_t i = 0; i < n; i++) {
        if (ranks[i] == 1) sum.recall_at_1 += 1;
        if (ranks[i] > 10) continue;
        sum.recall_at_10 += 1;
        sum.mrr_at_10 += 1 / (double)ranks[i];
        sum.ndcg_at_10 += 1 / log2(1 + (double)ranks[i]);
    }
    sum.recall_at_1 /= (double)n;
    sum.recall_at_10 /= (double)n;
    sum.mrr_at_10 /= (double)n;
    sum.ndcg_at_10 /= (double)n;
    *ret = sum;
}

enum err_code rank_retrieval_eval(const float *queries, size_t nq, const float *docs, size_t nd,
    size_t dim, const size_t *target, struct rank_retrieval *ret, struct err *e)
{
    AUTO_FREE uint32_t *ranks = mem_alloc(nq ? nq : 1, sizeof *ranks);
    if (!ranks) return err_set(e, ERR_NOMEM, "no memory for %zu ranks", nq);
    TRY(rank_retrieval_ranks(queries, nq, docs, nd, dim, target, ranks, e));
    rank_retrieval_mean(ranks, nq, ret);
    return ERR_OK;
}
