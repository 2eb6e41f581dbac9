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

#include "core/nn/activation.h"
#include "core/nn/real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In place of a similarity: this pair is not in the softmax. Finite, so that the difference of two is 0. */
#define NN_LEFT_OUT ((real_t)-1e30)

/* One Adam step's constants; rate holds the bias corrections. */
struct nn_adam {
    real_t beta1, beta2, eps, rate;
};

/* One AdamW step's constants: keep is what decay leaves of a weight, root 1/√ of v's bias correction; rate holds
 * that of m. */
struct nn_adamw {
    real_t beta1, beta2, eps, rate, root, keep;
};

/* A row of LayerNorm. */
struct nn_norm {
    const real_t *gamma, *beta; /* [n]; beta by forward only */
    size_t n;                   /* at least 1 */
    real_t eps;
    real_t mean, rstd; /* forward writes, backward reads them */
};

/* Place i is dropped if its hash under the keys is less than `below`. */
struct nn_dropout {
    uint32_t key1, key2, below;
    real_t scale;
};

/* How many columns of a product are made at once. */
enum { NN_TILE = 16 };

/* c [M,N] = alpha * a [M,K] b [K,N], or that added to c. Value (i, k) of a lies at a[i * a_row + k * a_col], row k of
 * b at b + k * b_row; b's rows may be read up to a multiple of NN_TILE columns. */
struct nn_matmul {
    const real_t *a;
    size_t a_row, a_col;
    const real_t *b;
    size_t b_row;
    size_t M, N, K;
    real_t alpha;
    bool add;
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
    void (*adamw)(real_t *restrict w, real_t *restrict m, real_t *restrict v,
        const real_t *restrict g, size_t n, const struct nn_adamw *o);

    /** y_i = a_i + b_i; y may be a or b */
    void (*add)(real_t *y, const real_t *a, const real_t *b, size_t n);
    /** y_i = f(x_i); y may be x */
    void (*activate)(enum activation f, real_t *y, const real_t *x, size_t n);
    /** dx_i += dy_i f'(x_i) */
    void (*activate_back)(enum activation f, real_t *restrict dx, const real_t *restrict dy,
        const real_t *restrict x, size_t n);
    /** y = softmax(scale * x); y may be x; n ≥ 1 */
    void (*softmax)(real_t *y, const real_t *x, real_t scale, size_t n);
    /** dx_i += scale * y_i (dy_i - dy·y) */
    void (*softmax_back)(real_t *restrict dx, const real_t *restrict dy, const real_t *restrict y,
        real_t scale, size_t n);
    /** x_i = y_i (x_i - x·y): softmax_back without its sum, in place. */
    void (*softmax_slope)(real_t *restrict x, const real_t *restrict y, size_t n);
    /** out = gamma (x - mean) rstd + beta; out may be x */
    void (*layernorm)(real_t *out, const real_t *x, struct nn_norm *s);
    /** Adds to dx. */
    void (*layernorm_dx)(real_t *restrict dx, const real_t *restrict dout, const real_t *restrict x,
        const struct nn_norm *s);
    /** Adds to dgamma and dbeta. */
    void (*layernorm_dw)(real_t *restrict dgamma, real_t *restrict dbeta,
        const real_t *restrict dout, const real_t *restrict x, const struct nn_norm *s);
    /** y_i = scale * x_i, or 0 where place i is dropped; n < 2^32; y may be x */
    void (*dropout)(real_t *y, const real_t *x, size_t n, const struct nn_dropout *d);
    /** dx_i += scale * dy_i where place i is kept */
    void (*dropout_back)(
        real_t *restrict dx, const real_t *restrict dy, size_t n, const struct nn_dropout *d);
    /** c's rows are c_row apart. */
    void (*matmul)(real_t *restrict c, size_t c_row, const struct nn_matmul *m);
};

/** The best table this CPU can run. */
const struct nn_kernels *nn_kernels(void);
/** All that it can run, slowest first, NULL at the end: for tests. */
const struct nn_kernels *const *nn_kernels_all(void);
