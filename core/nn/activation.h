/* Layer: core. May include: base.
 *
 * Functions of one value, applied to each.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

enum activation {
    ACTIVATION_IDENTITY,
    ACTIVATION_GELU,      /* x/2 (1 + erf(x/√2)); Hendrycks & Gimpel 2016 */
    ACTIVATION_GELU_TANH, /* their approximation by tanh: "gelu_new", "gelu_pytorch_tanh" */
    ACTIVATION_RELU,
    ACTIVATION_TANH,
};

/** y_i = f(x_i); y may be x. */
void activation_forward(enum activation f, real_t *y, const real_t *x, size_t n);
/** dx_i += dy_i f'(x_i). ReLU's derivative at 0 is 0. */
void activation_backward(enum activation f, real_t *restrict dx, const real_t *restrict dy,
    const real_t *restrict x, size_t n);
