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

/* 1 + how many others score as high as the target; a score that is not a number
 * counts as higher. */
static size_t rank_of_target(const struct vec_kernels *k, const float *query, const float *docs,
    size_t nd, size_t dim, size_t target)
{
    float right = k->dot(query, docs + target * dim, dim);
    size_t rank = 1;
    for (size_t j = 0; j < nd; j++)
        if (j != target && !(k->dot(query, docs + j * dim, dim) < right)) rank++;
    return rank;
}

enum err_code rank_retrieval_eval(const float *queries, size_t nq, const float *docs, size_t nd,
    size_t dim, const size_t *target, struct rank_retrieval *ret, struct err *e)
{
    if (nq == 0 || nd == 0 || dim == 0)
        return err_set(e, ERR_INVALID, "retrieval needs queries, documents and dimensions");
    for (size_t i = 0; i < nq; i++)
        if (target[i] >= nd)
            return err_set(
                e, ERR_INVALID, "query %zu has the answer %zu of %zu documents", i, target[i], nd);
    const struct vec_kernels *k = vec_select(VEC_BEST);
    struct rank_retrieval sum = { .queries = nq };
    for (size_t i = 0; i < nq; i++) {
        size_t rank = rank_of_target(k, queries + i * dim, docs, nd, dim, target[i]);
        if (rank == 1) sum.recall_at_1 += 1;
        if (rank > 10) continue;
        sum.recall_at_10 += 1;
        sum.mrr_at_10 += 1 / (double)rank;
        sum.ndcg_at_10 += 1 / log2(1 + (double)rank);
    }
    sum.recall_at_1 /= (double)nq;
    sum.recall_at_10 /= (double)nq;
    sum.mrr_at_10 /= (double)nq;
    sum.ndcg_at_10 /= (double)nq;
    *ret = sum;
    return ERR_OK;
}
