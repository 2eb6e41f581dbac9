/* Choice of a kernel table, and what is the same on all of them: conversion of single values, normalising,
 * the check for finite numbers. */
#include "base/vecmath.h"

#include "base/vecmath_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* __builtin_cpu_supports also asks whether the operating system saves the registers. clang 14 does not
 * know the name "f16c", so that bit is read here. */
static int has_avx2(void)
{
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/* Fills ret with the tables this CPU can run, slowest first, and a NULL behind them. */
static void list_tables(const struct vec_kernels *ret[4])
{
    size_t n = 0;
    ret[n++] = &vec_scalar;
#if defined(__x86_64__)
    if (has_avx2()) ret[n++] = &vec_avx2;
    if (has_avx512()) ret[n++] = &vec_avx512;
#elif defined(__aarch64__)
    ret[n++] = &vec_neon;
#endif
    ret[n] = NULL;
}

const struct vec_kernels *const *vec_all(void)
{
    /* Found once per thread, so that nothing has to be locked; the answers are all the same. */
    static _Thread_local const struct vec_kernels *tables[4];
    if (!tables[0]) list_tables(tables);
    return tables;
}

const struct vec_kernels *vec_select(enum vec_level max)
{
    const struct vec_kernels *best = &vec_scalar;
    for (const struct vec_kernels *const *t = vec_all(); *t; t++)
        if ((*t)->level <= max) best = *t;
    return best;
}

int vec_level_parse(const char *name)
{
    static const char *const names[] = { [VEC_SCALAR] = "scalar",
        [VEC_NEON] = "neon",
        [VEC_AVX2] = "avx2",
        [VEC_AVX512] = "avx512",
        [VEC_BEST] = "best" };
    for (int i = 0; i <= (int)VEC_BEST; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

int vec_is_finite(const float *x, size_t n)
{
    /* All exponent bits set: infinity or NaN. */
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return !bad;
}

/* The rare case: squares of the values leave the range of float. */
static float normalize_wide(float *out, const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    if (!isfinite(sum) || sum <= 0.0) {
        if (n && out != x) memcpy(out, x, n * sizeof *x);
        return 0.0f;
    }
    double norm = sqrt(sum);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((double)x[i] / norm);
    return norm < (double)FLT_MAX ? (float)norm : FLT_MAX;
}

float vec_normalize(const struct vec_kernels *k, float *out, const float *x, size_t n)
{
    float sum = k->dot(x, x, n);
    if (!(sum > 1e-25f && sum < 1e30f)) return normalize_wide(out, x, n);
    float norm = sqrtf(sum);
    k->scale(out, x, 1.0f / norm, n);
    return norm;
}

/* binary32: sign 1, exponent 8 (bias 127), fraction 23. binary16: 1, 5 (bias 15), 10. */
uint16_t f32_to_f16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, mag = bits & 0x7FFFFFFFu;
    if (mag > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (mag >> 13 & 0x3FFu)); /* quiet NaN */
    if (mag >= 0x47800000u) return (uint16_t)(sign | 0x7C00u); /* 65536 and above: infinity */
    if (mag < 0x33000001u) return (uint16_t)sign;              /* half the smallest, or less: 0 */

    uint32_t half, rest, tie;
    if (mag < 0x38800000u) {
        /* Below 2^-14: no leading 1 in the result, its last bit is worth 2^-24. */
        uint32_t shift = 126u - (mag >> 23), frac = (mag & 0x7FFFFFu) | 0x800000u;
        half = frac >> shift;
        rest = frac & ((1u << shift) - 1u);
        tie = 1u << (shift - 1u);
    } else {
        half = (mag - 0x38000000u) >> 13;
        rest = mag & 0x1FFFu;
        tie = 0x1000u;
    }
    /* A carry out of the fraction steps the exponent, which is what it should do. */
    if (rest > tie || (rest == tie && (half & 1u))) half++;
    return (uint16_t)(sign | half);
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 0x1Fu, frac = h & 0x3FFu, bits;
    float x;
    if (exp == 0x1Fu) {
        bits = sign | 0x7F800000u | frac << 13 | (frac ? 0x400000u : 0u);
    } else if (exp) {
        bits = sign | (exp + 112u) << 23 | frac << 13;
    } else {
        /* Zero or subnormal: frac * 2^-24 is exact in float. */
        x = (float)frac * 0x1p-24f;
        memcpy(&bits, &x, sizeof bits);
        bits |= sign;
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}
