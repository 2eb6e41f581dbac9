/* Layer: core. May include: base.
 *
 * The inner loops of the ops over rows of numbers: a const table for each
 * instruction set, as base/vecmath.h has for searching. Plain C, which the
 * compiler turns into vector instructions; each table is the same source with
 * other flags. Results differ between tables by rounding only.
 *
 * exp here is for arguments ≤ 0: relative error ≤ 4e-7 with float, exactly 0
 * below -87, NaN stays NaN. Lengths may be 0 unless said otherwise.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>

/* In place of a similarity: this pair is not in the softmax. Finite, so that the difference of two is 0. */
#define NN_LEFT_OUT ((real_t)-1e30)

/* One Adam step's constants; rate holds the bias corrections. */
struct nn_adam {
    real_t beta1, beta2, eps, rate;
};

struct nn_kernels {
    const char *name;
    /** sum a_i*b_i */
    real_t (*dot)(const real_t *a, const real_t *b, size_t n);
    /** acc_i += w * x_i */
    void (*axpy)(real_t *restrict acc, real_t w, const real_t *restrict x, size_t n);
    /** out_i = w * x_i; out may be x */
    void (*scale)(real_t *out, real_t w, const real_t *x, size_t n);
    /** The largest; n ≥ 1. NaN counts for nothing. */
    real_t (*max)(const real_t *x, size_t n);
    /** acc_i = max(acc_i, x_i) */
    void (*max_into)(real_t *restrict acc, const real_t *restrict x, size_t n);
    /** sum exp(x_i - shift) */
    real_t (*sum_exp)(const real_t *x, real_t shift, size_t n);
    /** sum exp(x_i - shift) * (x_i - y_i) */
    real_t (*sum_exp_diff)(
        const real_t *restrict x, const real_t *restrict y, real_t shift, size_t n);
    /** acc_i += exp(x_i - shift_i) */
    void (*add_exp)(
        real_t *restrict acc, const real_t *restrict x, const real_t *restrict shift, size_t n);
    /** x_i = w * exp(x_i - shift) */
    void (*exp_scale)(real_t *x, real_t shift, real_t w, size_t n);
    /** x_i = w * exp(x_i - shift) + ws_i * exp(x_i - shifts_i) */
    void (*exp_scale2)(real_t *restrict x, real_t shift, real_t w, const real_t *restrict shifts,
        const real_t *restrict ws, size_t n);
    /** One row's step: moments m and v, then weights w, from gradients g. */
    void (*adam)(real_t *restrict w, real_t *restrict m, real_t *restrict v,
        const real_t *restrict g, size_t n, const struct nn_adam *o);
};

/** The best table this CPU can run. */
const struct nn_kernels *nn_kernels(void);
/** All that it can run, slowest first, NULL at the end: for tests. */
const struct nn_kernels *const *nn_kernels_all(void);
