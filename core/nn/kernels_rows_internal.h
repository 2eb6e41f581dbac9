/* Layer: core. May include: base.
 *
 * The loops of kernels.h over whole rows: normalisation, softmax, functions of
 * one value, dropout, AdamW, for kernels_table_internal.h; compiled as
 * kernels_internal.h says.
 *
 * Softmax works in blocks of a fixed size, the last one filled up: rows of
 * attention are short, and what compilers make of a rest is slow.
 */
#pragma once

#include "core/nn/kernels_internal.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static void loop_add(real_t *y, const real_t *a, const real_t *b, size_t n)
{
    SAME_INDEX
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void loop_layernorm(real_t *out, const real_t *x, struct nn_norm *s)
{
    const real_t *restrict gamma = s->gamma, *restrict beta = s->beta;
    const size_t n = s->n;
    eight a = { 0 }, b = a, c = a, d = a;
    real_t rest = 0;
    size_t i = 0;
    for (; i + 4 * EIGHT <= n; i += 4 * EIGHT) {
        a += EIGHT_AT(x + i);
        b += EIGHT_AT(x + i + EIGHT);
        c += EIGHT_AT(x + i + 2 * EIGHT);
        d += EIGHT_AT(x + i + 3 * EIGHT);
    }
    for (; i < n; i++)
        rest += x[i];
    a = (a + b) + (c + d);
    const real_t mean = (sum_eight(&a) + rest) / (real_t)n;
    a = b = c = d = (eight){ 0 };
    rest = 0;
    for (i = 0; i + 4 * EIGHT <= n; i += 4 * EIGHT) {
        const eight e = EIGHT_AT(x + i) - mean, f = EIGHT_AT(x + i + EIGHT) - mean;
        const eight g = EIGHT_AT(x + i + 2 * EIGHT) - mean, h = EIGHT_AT(x + i + 3 * EIGHT) - mean;
        a += e * e;
        b += f * f;
        c += g * g;
        d += h * h;
    }
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    a = (a + b) + (c + d);
    const real_t rstd = 1 / sqrt_of((sum_eight(&a) + rest) / (real_t)n + s->eps);
    SAME_INDEX
    for (i = 0; i < n; i++)
        out[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
    s->mean = mean;
    s->rstd = rstd;
}

static void loop_layernorm_dx(real_t *restrict dx, const real_t *restrict dout,
    const real_t *restrict x, const struct nn_norm *s)
{
    const real_t *restrict gamma = s->gamma;
    const real_t mean = s->mean, rstd = s->rstd;
    const size_t n = s->n;
    eight a = { 0 }, b = a, c = a, d = a;
    real_t sum = 0, along = 0;
    size_t i = 0;
    for (; i + 2 * EIGHT <= n; i += 2 * EIGHT) {
        const eight g = EIGHT_AT(dout + i) * EIGHT_AT(gamma + i);
        const eight h = EIGHT_AT(dout + i + EIGHT) * EIGHT_AT(gamma + i + EIGHT);
        a += g;
        b += h;
        c += g * (EIGHT_AT(x + i) - mean);
        d += h * (EIGHT_AT(x + i + EIGHT) - mean);
    }
    for (; i < n; i++) {
        sum += dout[i] * gamma[i];
        along += dout[i] * gamma[i] * (x[i] - mean);
    }
    a += b;
    c += d;
    const real_t level = (sum_eight(&a) + sum) / (real_t)n;
    const real_t slope = (sum_eight(&c) + along) * rstd / (real_t)n;
    for (i = 0; i < n; i++)
        dx[i] += rstd * (dout[i] * gamma[i] - level - (x[i] - mean) * rstd * slope);
}

static void loop_layernorm_dw(real_t *restrict dgamma, real_t *restrict dbeta,
    const real_t *restrict dout, const real_t *restrict x, const struct nn_norm *s)
{
    const real_t mean = s->mean, rstd = s->rstd;
    const size_t n = s->n;
    for (size_t i = 0; i < n; i++) {
        dgamma[i] += dout[i] * ((x[i] - mean) * rstd);
        dbeta[i] += dout[i];
    }
}

typedef __typeof__((eight){ 0 } > (eight){ 0 }) eight_mask;

/* A macro, as vectors that the baseline does not have make no arguments. */
#define MAX_EIGHT(m, x)                                                                            \
    do {                                                                                           \
        const eight x_ = (x);                                                                      \
        const eight_mask more_ = x_ > *(m);                                                        \
        *(m) = (eight)(((eight_mask)x_ & more_) | ((eight_mask) * (m) & ~more_));                  \
    } while (0)

/* The rest of a row is filled up with what counts for nothing, to two vectors. */
static void loop_softmax(real_t *y, const real_t *x, real_t scale, size_t n)
{
    enum { BLOCK = 2 * EIGHT };
    real_t last[BLOCK], most = -INFINITY;
    const size_t left = n % BLOCK, whole = n - left;
    for (size_t l = 0; l < BLOCK; l++)
        last[l] = -INFINITY;
    for (size_t l = 0; l < left; l++)
        last[l] = scale * x[whole + l];
    eight s = EIGHT_AT(last), t = EIGHT_AT(last + EIGHT);
    for (size_t i = 0; i < whole; i += BLOCK) {
        MAX_EIGHT(&s, scale * EIGHT_AT(x + i));
        MAX_EIGHT(&t, scale * EIGHT_AT(x + i + EIGHT));
    }
    MAX_EIGHT(&s, t);
    for (size_t l = 0; l < EIGHT; l++)
        most = s[l] > most ? s[l] : most;
    SAME_INDEX
    for (size_t i = 0; i < whole; i++)
        y[i] = exp_of(scale * x[i] - most);
    for (size_t l = 0; l < BLOCK; l++)
        last[l] = exp_of(last[l] - most);
    s = EIGHT_AT(last);
    t = EIGHT_AT(last + EIGHT);
    for (size_t i = 0; i < whole; i += BLOCK) {
        s += EIGHT_AT(y + i);
        t += EIGHT_AT(y + i + EIGHT);
    }
    s += t;
    const real_t w = 1 / sum_eight(&s);
    SAME_INDEX
    for (size_t i = 0; i < whole; i++)
        y[i] *= w;
    for (size_t l = 0; l < left; l++)
        y[whole + l] = w * last[l];
}

static void loop_softmax_back(real_t *restrict dx, const real_t *restrict dy,
    const real_t *restrict y, real_t scale, size_t n)
{
    const real_t along = loop_dot(dy, y, n);
    for (size_t i = 0; i < n; i++)
        dx[i] += scale * y[i] * (dy[i] - along);
}

static void loop_softmax_slope(real_t *restrict x, const real_t *restrict y, size_t n)
{
    const real_t along = loop_dot(x, y, n);
    for (size_t i = 0; i < n; i++)
        x[i] = y[i] * (x[i] - along);
}

/* Each f with its derivative. */
static inline real_t gelu(real_t x)
{
    return (real_t)0.5 * x * (1 + erf_of(x * (real_t)M_SQRT1_2));
}
static inline real_t gelu_slope(real_t x)
{
    const real_t density = (real_t)(M_SQRT1_2 * M_2_SQRTPI / 2); /* 1/√(2π) */
    return (real_t)0.5 * (1 + erf_of(x * (real_t)M_SQRT1_2)) +
        x * density * exp_of((real_t)-0.5 * x * x);
}
#define GELU_A ((real_t)(M_SQRT1_2 * M_2_SQRTPI)) /* √(2/π) */
#define GELU_B ((real_t)0.044715)
static inline real_t gelu_tanh(real_t x)
{
    return (real_t)0.5 * x * (1 + tanh_of(GELU_A * (x + GELU_B * x * x * x)));
}
static inline real_t gelu_tanh_slope(real_t x)
{
    real_t t = tanh_of(GELU_A * (x + GELU_B * x * x * x));
    return (real_t)0.5 * (1 + t) +
        (real_t)0.5 * x * (1 - t * t) * GELU_A * (1 + 3 * GELU_B * x * x);
}
static inline real_t relu(real_t x)
{
    return x < 0 ? 0 : x;
}
static inline real_t relu_slope(real_t x)
{
    return x > 0 ? 1 : 0;
}
static inline real_t tanh_slope(real_t x)
{
    real_t t = tanh_of(x);
    return 1 - t * t;
}

#define EACH(expression)                                                                           \
    do {                                                                                           \
        SAME_INDEX                                                                                 \
        for (size_t i = 0; i < n; i++)                                                             \
            expression;                                                                            \
    } while (0)

static void loop_activate(enum activation f, real_t *y, const real_t *x, size_t n)
{
    switch (f) {
    case ACTIVATION_IDENTITY:
        if (y != x) memcpy(y, x, n * sizeof *y);
        break;
    case ACTIVATION_GELU: EACH(y[i] = gelu(x[i])); break;
    case ACTIVATION_GELU_TANH: EACH(y[i] = gelu_tanh(x[i])); break;
    case ACTIVATION_RELU: EACH(y[i] = relu(x[i])); break;
    case ACTIVATION_TANH: EACH(y[i] = tanh_of(x[i])); break;
    }
}

static void loop_activate_back(enum activation f, real_t *restrict dx, const real_t *restrict dy,
    const real_t *restrict x, size_t n)
{
    switch (f) {
    case ACTIVATION_IDENTITY: EACH(dx[i] += dy[i]); break;
    case ACTIVATION_GELU: EACH(dx[i] += dy[i] * gelu_slope(x[i])); break;
    case ACTIVATION_GELU_TANH: EACH(dx[i] += dy[i] * gelu_tanh_slope(x[i])); break;
    case ACTIVATION_RELU: EACH(dx[i] += dy[i] * relu_slope(x[i])); break;
    case ACTIVATION_TANH: EACH(dx[i] += dy[i] * tanh_slope(x[i])); break;
    }
}

/* 32 bits of place i: two rounds of multiply and xor-shift, a key before each. The constants are those of
 * "lowbias32" (Wellons 2018), found by search for the least bias. */
static inline uint32_t hash_place(uint32_t i, uint32_t key1, uint32_t key2)
{
    uint32_t h = i ^ key1;
    h ^= h >> 16;
    h *= UINT32_C(0x7FEB352D);
    h ^= (h >> 15) ^ key2;
    h *= UINT32_C(0x846CA68B);
    return h ^ (h >> 16);
}

static void loop_dropout(real_t *y, const real_t *x, size_t n, const struct nn_dropout *d)
{
    const uint32_t key1 = d->key1, key2 = d->key2, below = d->below;
    const real_t scale = d->scale;
    EACH(y[i] = hash_place((uint32_t)i, key1, key2) >= below ? scale * x[i] : 0);
}

static void loop_dropout_back(
    real_t *restrict dx, const real_t *restrict dy, size_t n, const struct nn_dropout *d)
{
    const uint32_t key1 = d->key1, key2 = d->key2, below = d->below;
    const real_t scale = d->scale;
    EACH(dx[i] += hash_place((uint32_t)i, key1, key2) >= below ? scale * dy[i] : 0);
}

static void loop_adamw(real_t *restrict w, real_t *restrict m, real_t *restrict v,
    const real_t *restrict g, size_t n, const struct nn_adamw *o)
{
    const real_t keep1 = 1 - o->beta1, keep2 = 1 - o->beta2, eps = o->eps;
    const real_t rate = o->rate, root = o->root, keep = o->keep;
    for (size_t i = 0; i < n; i++) {
        m[i] += (g[i] - m[i]) * keep1;
        v[i] += (g[i] * g[i] - v[i]) * keep2;
        w[i] = w[i] * keep - rate * m[i] / (sqrt_of(v[i]) * root + eps);
    }
}
