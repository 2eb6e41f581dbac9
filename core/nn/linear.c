#include "core/nn/linear.h"

#include "core/nn/gemm.h"
#include "core/nn/kernels.h"

#include <string.h>

void linear_forward(real_t *restrict y, const real_t *restrict x, const real_t *restrict w,
    const real_t *restrict b, size_t N, size_t I, size_t O)
{
    if (b)
        for (size_t n = 0; n < N; n++)
            memcpy(y + n * O, b, O * sizeof *y);
    gemm(false, true, N, O, I, 1, x, w, b ? 1 : 0, y);
}

void linear_backward(const struct linear_grads *g, const real_t *restrict dy,
    const real_t *restrict x, const real_t *restrict w, size_t N, size_t I, size_t O)
{
    if (g->dx) gemm(false, false, N, I, O, 1, dy, w, 1, g->dx);
    if (g->dw) gemm(true, false, O, I, N, 1, dy, x, 1, g->dw);
    if (!g->db) return;
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++)
        k->axpy(g->db, 1, dy + n * O, O);
}
