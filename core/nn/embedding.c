#include "core/nn/embedding.h"

#include "core/nn/kernels.h"

#include <string.h>

void embedding_forward(real_t *restrict out, const real_t *restrict table,
    const uint32_t *restrict ids, size_t T, size_t C)
{
    for (size_t t = 0; t < T; t++)
        memcpy(out + t * C, table + (size_t)ids[t] * C, C * sizeof *out);
}

void embedding_backward(real_t *restrict dtable, const real_t *restrict dout,
    const uint32_t *restrict ids, size_t T, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t t = 0; t < T; t++)
        k->axpy(dtable + (size_t)ids[t] * C, 1, dout + t * C, C);
}

void residual_forward(real_t *y, const real_t *a, const real_t *b, size_t n)
{
    nn_kernels()->add(y, a, b, n);
}

void residual_backward(real_t *restrict da, const real_t *restrict dy, size_t n)
{
    nn_kernels()->axpy(da, 1, dy, n);
}
