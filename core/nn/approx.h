/* Layer: core. May include: libc.
 *
 * exp, erf and tanh as plain arithmetic without branches, which the compiler turns into vectors; in double, for
 * the gradient tests, libm's. NaN stays NaN. The polynomials are minimax fits made for this file.
 *
 * Errors, with and without FMA:
 *   exp_of, x ≤ 0    relative 4e-7; exactly 0 below -87
 *   erf_of, tanh_of  absolute 2e-7, relative 5e-7; exactly ±1 at ±infinity, odd, never beyond ±1
 */
#pragma once

#include "core/nn/real.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef KINDRED_REAL_DOUBLE
static inline real_t exp_of(real_t x)
{
    return exp(x);
}
static inline real_t erf_of(real_t x)
{
    return erf(x);
}
static inline real_t tanh_of(real_t x)
{
    return tanh(x);
}
#else
/* 2^n for the whole number n that adding 1.5 * 2^23 has left in the low bits of `shifted`. */
static inline float approx_power(float shifted)
{
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127U) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* exp(x) = 2^n * exp(r), n whole, |r| ≤ ln(2)/2; exp(r) by its series to r^7, which leaves 6e-9. Adding and
 * taking away 1.5 * 2^23 rounds to a whole number. */
static inline float exp_of(float x)
{
    const float round = 12582912.0F, ln2_high = 0.693145752F, ln2_low = 1.42860677e-6F;
    float t = x < -87.0F ? -87.0F : x;
    float shifted = t * 1.44269504F + round, n = shifted - round;
    float r = t - n * ln2_high;
    r -= n * ln2_low;
    float p = 1.0F / 5040;
    p = p * r + 1.0F / 720;
    p = p * r + 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    return x < -87.0F ? 0.0F : p * approx_power(shifted);
}

/* 1 - 2^t, -100 ≤ t ≤ 0, also where that is small: with n whole and |f| ≤ 1/2, 2^(n+f) = 2^n (1 + f q(f)), and
 * 1 - 2^n is exact. */
static inline float approx_one_minus_exp2(float t)
{
    const float round = 12582912.0F;
    float shifted = t + round, f = t - (shifted - round), power = approx_power(shifted);
    float q = 1.54759007e-4F;
    q = q * f + 1.33996143e-3F;
    q = q * f + 9.61800572e-3F;
    q = q * f + 5.55033013e-2F;
    q = q * f + 2.40226507e-1F;
    q = q * f + 6.93147182e-1F;
    return (1.0F - power) - power * (f * q);
}

/* 1 - erf(x) = 2^(-x p(x)) on 0…4, from where on erf rounds to 1. */
static inline float erf_of(float x)
{
    float a = fabsf(x);
    a = a > 4.0F ? 4.0F : a;
    float p = 5.32321465e-5F;
    p = p * a - 5.07772667e-4F;
    p = p * a + 1.68200699e-3F;
    p = p * a + 4.77523630e-4F;
    p = p * a - 2.80120932e-2F;
    p = p * a + 1.48381352e-1F;
    p = p * a + 9.18435097e-1F;
    p = p * a + 1.62790751F;
    return copysignf(approx_one_minus_exp2(-a * p), x);
}

/* tanh(x) = (1 - e) / (1 + e), e = exp(-2x). */
static inline float tanh_of(float x)
{
    float a = fabsf(x);
    a = a > 12.0F ? 12.0F : a;
    float m = approx_one_minus_exp2(a * -2.88539008F);
    return copysignf(m / (2.0F - m), x);
}
#endif
