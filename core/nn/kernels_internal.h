/* Layer: core. May include: base.
 *
 * The loops of kernels.h, for the one file of each instruction set, which ends
 * in NN_KERNELS_TABLE (kernels_table_internal.h). They are compiled at -O3,
 * without errno and without floating-point traps, as both keep sqrt and the
 * selection by a condition out of vector registers; nothing here changes the
 * order of operations.
 *
 * A sum needs its order written down before it can be a vector: it is kept in
 * LANES partial sums. The count is more than the compiler unrolls by itself,
 * so that the loop over lanes stays the one that becomes vectors. Where such a
 * sum is most of the work it is four vectors by name, which stay in registers.
 */
#pragma once

#include "core/nn/approx.h"
#include "core/nn/kernels.h"

#include <math.h>

enum { LANES = 32 };

/* In the loop that follows, an output may be an input, though only at the same index. */
#ifdef __clang__
#define SAME_INDEX
#else
#define SAME_INDEX _Pragma("GCC ivdep")
#endif

static inline real_t sqrt_of(real_t x)
{
#ifdef KINDRED_REAL_DOUBLE
    return sqrt(x);
#else
    return sqrtf(x);
#endif
}

static inline real_t sum_lanes(real_t s[LANES])
{
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t l = 0; l < half; l++)
            s[l] += s[l + half];
    return s[0];
}

enum { EIGHT = 8 };
typedef real_t eight
    __attribute__((vector_size(EIGHT * sizeof(real_t)), aligned(sizeof(real_t)), may_alias));
#define EIGHT_AT(p) (*(const eight *)(p))

static inline real_t sum_eight(const eight *v)
{
    const eight s = *v;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static real_t loop_dot(const real_t *a, const real_t *b, size_t n)
{
    eight s = { 0 }, t = s, u = s, v = s;
    real_t rest = 0;
    size_t i = 0;
    for (; i + 4 * EIGHT <= n; i += 4 * EIGHT) {
        s += EIGHT_AT(a + i) * EIGHT_AT(b + i);
        t += EIGHT_AT(a + i + EIGHT) * EIGHT_AT(b + i + EIGHT);
        u += EIGHT_AT(a + i + 2 * EIGHT) * EIGHT_AT(b + i + 2 * EIGHT);
        v += EIGHT_AT(a + i + 3 * EIGHT) * EIGHT_AT(b + i + 3 * EIGHT);
    }
    for (; i + EIGHT <= n; i += EIGHT)
        s += EIGHT_AT(a + i) * EIGHT_AT(b + i);
    for (; i < n; i++)
        rest += a[i] * b[i];
    s = (s + t) + (u + v);
    return sum_eight(&s) + rest;
}

static void loop_axpy(real_t *restrict acc, real_t w, const real_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc[i] += w * x[i];
}

static void loop_scale(real_t *out, real_t w, const real_t *x, size_t n)
{
    SAME_INDEX
    for (size_t i = 0; i < n; i++)
        out[i] = w * x[i];
}

static void loop_max_into(real_t *restrict acc, const real_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc[i] = x[i] > acc[i] ? x[i] : acc[i];
}

static real_t loop_max(const real_t *x, size_t n)
{
    real_t m[LANES];
    for (size_t l = 0; l < LANES; l++)
        m[l] = x[0];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (size_t l = 0; i + l < n; l++)
        m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (size_t l = 1; l < LANES; l++)
        m[0] = m[l] > m[0] ? m[l] : m[0];
    return m[0];
}

static real_t loop_sum_exp(const real_t *x, real_t shift, size_t n)
{
    real_t s[LANES] = { 0 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += exp_of(x[i + l] - shift);
    for (size_t l = 0; i + l < n; l++)
        s[l] += exp_of(x[i + l] - shift);
    return sum_lanes(s);
}

static real_t loop_sum_exp_diff(
    const real_t *restrict x, const real_t *restrict y, real_t shift, size_t n)
{
    real_t s[LANES] = { 0 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += exp_of(x[i + l] - shift) * (x[i + l] - y[i + l]);
    for (size_t l = 0; i + l < n; l++)
        s[l] += exp_of(x[i + l] - shift) * (x[i + l] - y[i + l]);
    return sum_lanes(s);
}

static void loop_add_exp(
    real_t *restrict acc, const real_t *restrict x, const real_t *restrict shift, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc[i] += exp_of(x[i] - shift[i]);
}

static void loop_exp_scale(real_t *x, real_t shift, real_t w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = w * exp_of(x[i] - shift);
}

static void loop_exp_scale2(real_t *restrict x, real_t shift, real_t w,
    const real_t *restrict shifts, const real_t *restrict ws, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = w * exp_of(x[i] - shift) + ws[i] * exp_of(x[i] - shifts[i]);
}

static void loop_adam(real_t *restrict w, real_t *restrict m, real_t *restrict v,
    const real_t *restrict g, size_t n, const struct nn_adam *o)
{
    const real_t keep1 = 1 - o->beta1, keep2 = 1 - o->beta2, eps = o->eps, rate = o->rate;
    for (size_t i = 0; i < n; i++) {
        m[i] += (g[i] - m[i]) * keep1;
        v[i] += (g[i] * g[i] - v[i]) * keep2;
        w[i] -= rate * m[i] / (sqrt_of(v[i]) + eps);
    }
}
