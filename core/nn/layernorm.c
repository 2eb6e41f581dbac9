/* A row is in cache when it is read again, so mean and variance take a pass each: the sum of squares alone would
 * lose the variance of values that are far from 0. */
#include "core/nn/layernorm.h"

#include "core/nn/kernels.h"

void layernorm_forward(real_t *out, real_t *restrict mean, real_t *restrict rstd, const real_t *x,
    const real_t *restrict gamma, const real_t *restrict beta, size_t N, size_t C, real_t eps)
{
    const struct nn_kernels *k = nn_kernels();
    struct nn_norm s = { .gamma = gamma, .beta = beta, .n = C, .eps = eps };
    for (size_t n = 0; n < N; n++) {
        k->layernorm(out + n * C, x + n * C, &s);
        if (!mean) continue;
        mean[n] = s.mean;
        rstd[n] = s.rstd;
    }
}

void layernorm_backward(const struct layernorm_grads *g, const real_t *restrict dout,
    const real_t *restrict x, const real_t *restrict gamma, const real_t *restrict mean,
    const real_t *restrict rstd, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    struct nn_norm s = { .gamma = gamma, .n = C };
    for (size_t n = 0; n < N; n++) {
        s.mean = mean[n];
        s.rstd = rstd[n];
        k->layernorm_dx(g->dx + n * C, dout + n * C, x + n * C, &s);
        if (g->dgamma) k->layernorm_dw(g->dgamma, g->dbeta, dout + n * C, x + n * C, &s);
    }
}
