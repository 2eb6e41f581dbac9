/* What forward leaves in `saved`:
 *
 *   s [N,M]          similarities over temperature, NN_LEFT_OUT where masked
 *   row_max [N], row_weight [N]      of each anchor's softmax: largest s, 1 / sum exp(s - largest)
 *   col_max [N], col_weight [N]      the same of candidate i < N among the anchors
 *
 * Backward turns s into the gradient in place, exponentials computed anew: two to a pair are cheaper than a
 * second matrix in memory. With w the weight of one softmax in the loss,
 *
 *   g_ij = w * (exp(s_ij - row_max_i) * row_weight_i - [i = j]) + the same by columns
 */
#include "core/learn/loss.h"

#include "base/err.h"
#include "core/nn/gemm.h"
#include "core/nn/kernels.h"

#include <math.h>

struct saved {
    real_t *s, *row_max, *row_weight, *col_max, *col_weight;
};

size_t infonce_saved(const struct infonce_shape *s)
{
    return s->N * s->M + 4 * s->N;
}

static struct saved lay_out(real_t *saved, const struct infonce_shape *s)
{
    real_t *p = saved + s->N * s->M;
    return (struct saved){ saved, p, p + s->N, p + 2 * s->N, p + 3 * s->N };
}

static void mask_row(real_t *restrict row, const bool *restrict masked, size_t M)
{
    for (size_t j = 0; j < M; j++)
        row[j] = masked[j] ? NN_LEFT_OUT : row[j];
}

/* Candidates among the anchors: the sum of the losses. Goes by rows, as these are what lies together. */
static double columns_forward(
    const struct saved *v, const struct infonce_shape *s, const struct nn_kernels *k)
{
    for (size_t j = 0; j < s->N; j++)
        v->col_max[j] = v->s[j];
    for (size_t i = 1; i < s->N; i++)
        k->max_into(v->col_max, v->s + i * s->M, s->N);
    for (size_t j = 0; j < s->N; j++)
        v->col_weight[j] = 0;
    for (size_t i = 0; i < s->N; i++)
        k->add_exp(v->col_weight, v->s + i * s->M, v->col_max, s->N);
    double loss = 0;
    for (size_t j = 0; j < s->N; j++) {
        double own = (double)v->col_max[j] - (double)v->s[j * s->M + j];
        loss += own + log((double)v->col_weight[j]);
        v->col_weight[j] = 1 / v->col_weight[j];
    }
    return loss;
}

real_t infonce_forward(real_t *restrict saved, const real_t *restrict a, const real_t *restrict b,
    const bool *restrict masked, const struct infonce_shape *s)
{
    ASSERT_BUG(s->N >= 1 && s->M >= s->N && s->temperature > 0);
    const struct nn_kernels *k = nn_kernels();
    struct saved v = lay_out(saved, s);
    gemm(false, true, s->N, s->M, s->D, 1 / s->temperature, a, b, 0, v.s);
    double loss = 0;
    for (size_t i = 0; i < s->N; i++) {
        real_t *row = v.s + i * s->M;
        if (masked) mask_row(row, masked + i * s->M, s->M);
        v.row_max[i] = k->max(row, s->M);
        real_t sum = k->sum_exp(row, v.row_max[i], s->M);
        v.row_weight[i] = 1 / sum;
        loss += (double)v.row_max[i] - (double)row[i] + log((double)sum);
    }
    if (s->symmetric) loss = (loss + columns_forward(&v, s, k)) / 2;
    return (real_t)(loss / (double)s->N);
}

void infonce_backward(real_t *restrict da, real_t *restrict db, real_t *restrict saved,
    const real_t *restrict a, const real_t *restrict b, real_t scale, const struct infonce_shape *s)
{
    const struct nn_kernels *k = nn_kernels();
    struct saved v = lay_out(saved, s);
    real_t w = scale / (real_t)s->N;
    if (s->symmetric) {
        w /= 2;
        k->scale(v.col_weight, w, v.col_weight, s->N);
    }
    for (size_t i = 0; i < s->N; i++) {
        real_t *row = v.s + i * s->M, max = v.row_max[i], rw = w * v.row_weight[i];
        if (s->symmetric) {
            k->exp_scale2(row, max, rw, v.col_max, v.col_weight, s->N);
            k->exp_scale(row + s->N, max, rw, s->M - s->N);
        } else {
            k->exp_scale(row, max, rw, s->M);
        }
        row[i] -= s->symmetric ? 2 * w : w;
    }
    gemm(false, false, s->N, s->D, s->M, 1 / s->temperature, v.s, b, 1, da);
    gemm(true, false, s->M, s->D, s->N, 1 / s->temperature, v.s, a, 1, db);
}
