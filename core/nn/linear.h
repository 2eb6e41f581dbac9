/* Layer: core. May include: base.
 *
 * The linear layer, over gemm.h. For inference with weights that stay, see packed.h.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/** y [N,O] = x [N,I] w' + b; w [O,I], as PyTorch stores it, b [O] or NULL. */
void linear_forward(real_t *restrict y, const real_t *restrict x, const real_t *restrict w,
    const real_t *restrict b, size_t N, size_t I, size_t O);

/* What a backward adds to; each may be NULL: not wanted, and not computed. */
struct linear_grads {
    real_t *dx; /* [N,I] */
    real_t *dw; /* [O,I] */
    real_t *db; /* [O] */
};
/** Given dy [N,O], and x and w as in forward (x may be NULL without dw, w without dx). */
void linear_backward(const struct linear_grads *g, const real_t *restrict dy,
    const real_t *restrict x, const real_t *restrict w, size_t N, size_t I, size_t O);
