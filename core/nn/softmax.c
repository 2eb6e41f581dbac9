#include "core/nn/softmax.h"

#include "core/nn/kernels.h"

void softmax_forward(real_t *y, const real_t *x, real_t scale, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++)
        k->softmax(y + n * C, x + n * C, scale, C);
}

void softmax_backward(real_t *restrict dx, const real_t *restrict dy, const real_t *restrict y,
    real_t scale, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++)
        k->softmax_back(dx + n * C, dy + n * C, y + n * C, scale, C);
}
