/* Layer: core. May include: base.
 *
 * Softmax over the last axis.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/** y [N,C] = softmax of the rows of scale * x [N,C], C ≥ 1; y may be x. The largest is taken away first, so nothing
 * overflows. */
void softmax_forward(real_t *y, const real_t *x, real_t scale, size_t N, size_t C);
/** Adds to dx [N,C], given dy and forward's y and scale. */
void softmax_backward(real_t *restrict dx, const real_t *restrict dy, const real_t *restrict y,
    real_t scale, size_t N, size_t C);
