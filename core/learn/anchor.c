/* Cosine distance to where a vector came from. */
#include "core/learn/loss.h"

#include "core/nn/kernels.h"

real_t anchor_forward(const real_t *restrict x, const real_t *restrict p, size_t N, size_t D)
{
    const struct nn_kernels *k = nn_kernels();
    double loss = 0;
    for (size_t i = 0; i < N; i++)
        loss += 1 - (double)k->dot(x + i * D, p + i * D, D);
    return N ? (real_t)(loss / (double)N) : 0;
}

void anchor_backward(
    real_t *restrict dx, const real_t *restrict p, size_t N, size_t D, real_t scale)
{
    if (N) nn_kernels()->axpy(dx, -scale / (real_t)N, p, N * D);
}
