/* Layer: core. May include: base.
 *
 * From a text's tokens to one row: the mean of its tokens, or its first token.
 * Packed: text s has rows starts[s] … starts[s+1]-1 of x, at least one.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/** out [N,C], x [starts[N],C] */
void pool_mean_forward(real_t *restrict out, const real_t *restrict x,
    const size_t *restrict starts, size_t N, size_t C);
/** Adds to dx [starts[N],C]. */
void pool_mean_backward(real_t *restrict dx, const real_t *restrict dout,
    const size_t *restrict starts, size_t N, size_t C);
/** As above, of the first token: BERT's [CLS]. */
void pool_first_forward(real_t *restrict out, const real_t *restrict x,
    const size_t *restrict starts, size_t N, size_t C);
void pool_first_backward(real_t *restrict dx, const real_t *restrict dout,
    const size_t *restrict starts, size_t N, size_t C);
