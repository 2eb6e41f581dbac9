#include "core/nn/activation.h"

#include "core/nn/kernels.h"

void activation_forward(enum activation f, real_t *y, const real_t *x, size_t n)
{
    nn_kernels()->activate(f, y, x, n);
}

void activation_backward(enum activation f, real_t *restrict dx, const real_t *restrict dy,
    const real_t *restrict x, size_t n)
{
    nn_kernels()->activate_back(f, dx, dy, x, n);
}
