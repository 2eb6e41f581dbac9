/* Layer: core. May include: base.
 *
 * Rows of a table by number, and the sum of two arrays.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>
#include <stdint.h>

/** out [T,C]: row t is row ids[t] of table [V,C]; ids are below V. */
void embedding_forward(real_t *restrict out, const real_t *restrict table,
    const uint32_t *restrict ids, size_t T, size_t C);
/** Adds to dtable [V,C]. */
void embedding_backward(real_t *restrict dtable, const real_t *restrict dout,
    const uint32_t *restrict ids, size_t T, size_t C);

/** y_i = a_i + b_i; y may be a or b. A residual connection; its backward is residual_backward into both. */
void residual_forward(real_t *y, const real_t *a, const real_t *b, size_t n);
/** da_i += dy_i */
void residual_backward(real_t *restrict da, const real_t *restrict dy, size_t n);
