#include "core/nn/pool.h"

#include "base/err.h"
#include "core/nn/kernels.h"

#include <string.h>

void pool_mean_forward(real_t *restrict out, const real_t *restrict x,
    const size_t *restrict starts, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        size_t first = starts[n], end = starts[n + 1];
        ASSERT_BUG(first < end);
        real_t w = 1 / (real_t)(end - first);
        k->scale(out + n * C, w, x + first * C, C);
        for (size_t t = first + 1; t < end; t++)
            k->axpy(out + n * C, w, x + t * C, C);
    }
}

void pool_mean_backward(real_t *restrict dx, const real_t *restrict dout,
    const size_t *restrict starts, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        real_t w = 1 / (real_t)(starts[n + 1] - starts[n]);
        for (size_t t = starts[n]; t < starts[n + 1]; t++)
            k->axpy(dx + t * C, w, dout + n * C, C);
    }
}

void pool_first_forward(real_t *restrict out, const real_t *restrict x,
    const size_t *restrict starts, size_t N, size_t C)
{
    for (size_t n = 0; n < N; n++) {
        ASSERT_BUG(starts[n] < starts[n + 1]);
        memcpy(out + n * C, x + starts[n] * C, C * sizeof *out);
    }
}

void pool_first_backward(real_t *restrict dx, const real_t *restrict dout,
    const size_t *restrict starts, size_t N, size_t C)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++)
        k->axpy(dx + starts[n] * C, 1, dout + n * C, C);
}
