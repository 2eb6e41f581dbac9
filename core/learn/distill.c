/* What forward leaves in `saved`: g [N,N], a row's softmax minus the teacher's, which is the gradient of the
 * row's divergence by its similarities; 0 on the diagonal, and for the only member of a batch of one. Behind
 * it t [N,N], the teacher's similarities, is scratch.
 *
 * x_i meets x_j in s_ij and in s_ji, so dx = (g + gT) x / temperature / N. */
#include "core/learn/loss.h"

#include "base/err.h"
#include "core/nn/gemm.h"
#include "core/nn/kernels.h"

#include <math.h>

size_t distill_saved(size_t N, size_t D, size_t T)
{
    (void)D;
    (void)T;
    return 2 * N * N;
}

real_t distill_forward(real_t *restrict saved, const real_t *restrict x,
    const real_t *restrict teacher, size_t N, size_t D, size_t T, real_t temperature)
{
    ASSERT_BUG(N >= 1 && temperature > 0);
    const struct nn_kernels *k = nn_kernels();
    real_t *all_s = saved, *all_t = saved + N * N;
    gemm(false, true, N, N, D, 1 / temperature, x, x, 0, all_s);
    gemm(false, true, N, N, T, 1 / temperature, teacher, teacher, 0, all_t);
    double loss = 0;
    for (size_t i = 0; i < N; i++) {
        real_t *s = all_s + i * N, *t = all_t + i * N;
        s[i] = t[i] = NN_LEFT_OUT;
        real_t s_max = k->max(s, N), t_max = k->max(t, N);
        real_t s_sum = k->sum_exp(s, s_max, N), t_sum = k->sum_exp(t, t_max, N);
        /* sum p_j (log p_j - log q_j), where log p_j = t_j - t_max - log t_sum, and so log q_j. */
        loss += (double)(k->sum_exp_diff(t, s, t_max, N) / t_sum);
        loss += (double)s_max - (double)t_max + log((double)s_sum) - log((double)t_sum);
        k->exp_scale(s, s_max, 1 / s_sum, N);
        k->exp_scale(t, t_max, 1 / t_sum, N);
        k->axpy(s, -1, t, N);
    }
    return (real_t)(loss / (double)N);
}

/* g + gT in place. By tiles of 8, as the rows of a large power of two all fall on the same eight lines of the
 * first cache. */
static void add_transposed(real_t *g, size_t N)
{
    enum { TILE = 8 };
    for (size_t i0 = 0; i0 < N; i0 += TILE)
        for (size_t j0 = i0; j0 < N; j0 += TILE)
            for (size_t i = i0; i < N && i < i0 + TILE; i++)
                for (size_t j = j0 > i ? j0 : i; j < N && j < j0 + TILE; j++)
                    g[i * N + j] = g[j * N + i] = g[i * N + j] + g[j * N + i];
}

void distill_backward(real_t *restrict dx, real_t *restrict saved, const real_t *restrict x,
    size_t N, size_t D, real_t temperature, real_t scale)
{
    add_transposed(saved, N);
    gemm(false, false, N, D, N, scale / (temperature * (real_t)N), saved, x, 1, dx);
}
