/* Rows of a table are taken one at a time, as they come; asking for the next one ahead of time was measured and
 * gains nothing over what the CPU does by itself. */
#include "core/nn/bag.h"

#include "base/err.h"
#include "core/nn/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

void bag_mean_forward(real_t *restrict out, const real_t *restrict table,
    const uint32_t *restrict ids, const size_t *restrict starts, size_t N, size_t D)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        size_t first = starts[n], end = starts[n + 1];
        ASSERT_BUG(first < end);
        real_t *row = out + n * D, w = 1 / (real_t)(end - first);
        k->scale(row, w, table + (size_t)ids[first] * D, D);
        for (size_t t = first + 1; t < end; t++)
            k->axpy(row, w, table + (size_t)ids[t] * D, D);
    }
}

void bag_mean_backward(real_t *restrict drows, const real_t *restrict dout,
    const uint32_t *restrict at, const size_t *restrict starts, size_t N, size_t D)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        size_t first = starts[n], end = starts[n + 1];
        ASSERT_BUG(first < end);
        real_t w = 1 / (real_t)(end - first);
        for (size_t t = first; t < end; t++)
            k->axpy(drows + (size_t)at[t] * D, w, dout + n * D, D);
    }
}

size_t bag_rows(uint32_t *restrict rows, uint32_t *restrict at, uint32_t *restrict place,
    const uint32_t *restrict ids, size_t n)
{
    uint32_t U = 0;
    for (size_t t = 0; t < n; t++) {
        uint32_t *p = &place[ids[t]];
        if (*p == UINT32_MAX) {
            *p = U;
            rows[U++] = ids[t];
        }
        at[t] = *p;
    }
    for (size_t u = 0; u < U; u++)
        place[rows[u]] = UINT32_MAX;
    return U;
}

/* The rare case: squares of the values leave the range of the type, or nearly. */
static real_t norm_wide(const real_t *x, size_t D)
{
    double sum = 0, most = 0;
    for (size_t d = 0; d < D; d++)
        if (fabs((double)x[d]) > most) most = fabs((double)x[d]);
    if (!(most > 0)) most = 1;
    for (size_t d = 0; d < D; d++)
        sum += (double)x[d] / most * ((double)x[d] / most);
    return (real_t)(most * sqrt(sum));
}

void unit_forward(
    real_t *restrict out, real_t *restrict norms, const real_t *restrict x, size_t N, size_t D)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        const real_t *row = x + n * D;
        double sum = (double)k->dot(row, row, D);
        bool ordinary = sum > 1e-25 && sum < 1e30;
        real_t norm = ordinary ? (real_t)sqrt(sum) : norm_wide(row, D);
        norms[n] = norm;
        if (ordinary)
            k->scale(out + n * D, 1 / norm, row, D);
        else
            for (size_t d = 0; d < D; d++)
                out[n * D + d] = norm == 0 ? 0 : row[d] / norm;
    }
}

void unit_backward(real_t *restrict dx, const real_t *restrict dout, const real_t *restrict out,
    const real_t *restrict norms, size_t N, size_t D)
{
    const struct nn_kernels *k = nn_kernels();
    for (size_t n = 0; n < N; n++) {
        if (norms[n] == 0) continue; /* there is no direction to turn */
        real_t w = 1 / norms[n], along = k->dot(dout + n * D, out + n * D, D);
        k->axpy(dx + n * D, w, dout + n * D, D);
        k->axpy(dx + n * D, -w * along, out + n * D, D);
    }
}
