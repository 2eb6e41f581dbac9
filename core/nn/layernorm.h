/* Layer: core. May include: base.
 *
 * LayerNorm over the last axis.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/** out, x [N,C]; mean, rstd [N] (both NULL: not kept); gamma, beta [C]. out may be x if mean is NULL.
 * Source: Ba, Kiros, Hinton 2016; biased variance, eps inside the root. */
void layernorm_forward(real_t *out, real_t *restrict mean, real_t *restrict rstd, const real_t *x,
    const real_t *restrict gamma, const real_t *restrict beta, size_t N, size_t C, real_t eps);

struct layernorm_grads {
    real_t *dx;             /* [N,C] */
    real_t *dgamma, *dbeta; /* [C]; both NULL: not wanted */
};
/** Adds to g's. Arguments as in forward. */
void layernorm_backward(const struct layernorm_grads *g, const real_t *restrict dout,
    const real_t *restrict x, const real_t *restrict gamma, const real_t *restrict mean,
    const real_t *restrict rstd, size_t N, size_t C);
