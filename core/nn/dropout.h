/* Layer: core. May include: base.
 *
 * Dropout whose mask is a function of a seed and the place, not a stored array: a forward that is done twice,
 * to save memory, drops the same values.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>
#include <stdint.h>

/** y_i = x_i / (1-p), or 0 with probability p; 0 ≤ p < 1; y may be x. With p = 0 a copy. */
void dropout_forward(real_t *y, const real_t *x, size_t n, real_t p, uint64_t seed);
/** dx_i += dy_i / (1-p) where forward, with the same p and seed, kept x_i. */
void dropout_backward(
    real_t *restrict dx, const real_t *restrict dy, size_t n, real_t p, uint64_t seed);
