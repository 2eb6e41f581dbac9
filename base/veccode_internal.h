/* Layer: base. May include: libc.
 *
 * The tables of the instruction sets, for veccode.c alone, and what their files share. Each table is defined
 * in the file of its name, on the platforms that have the set.
 */
#pragma once

#include "base/veccode.h"

extern const struct code_kernels code_scalar;
#if defined(__x86_64__)
extern const struct code_kernels code_avx2;   /* needs AVX2 and FMA */
extern const struct code_kernels code_avx512; /* needs AVX-512 F, BW, VL and DQ, and the above */
extern const struct code_kernels code_avx512vnni; /* needs AVX-512 VNNI, and the above */

/* What code_avx512 and code_avx512vnni have in common. */
float code__avx512_dot_fixed24(const float *q, const uint8_t *hi, const int16_t *lo, size_t n);
float code__avx512_dot_fixed12(const float *q, const uint8_t *hi, const uint8_t *lo, size_t n);
float code__avx512_l2sq_fixed24(
    const float *q, float scale, const uint8_t *hi, const int16_t *lo, size_t n);
float code__avx512_l2sq_fixed12(
    const float *q, float scale, const uint8_t *hi, const uint8_t *lo, size_t n);
void code__avx512_decode24(float *out, float scale, const uint8_t *hi, const int16_t *lo, size_t n);
void code__avx512_decode12(float *out, float scale, const uint8_t *hi, const uint8_t *lo, size_t n);
void code__avx512_hadamard(float *x, size_t n);
#elif defined(__aarch64__)
extern const struct code_kernels code_neon;
#endif

/* Up to this many values the result of query_dot4, at most CODE_QUERY_MAX * 128 * 1024 = 2138963968 in
 * magnitude, is an int32. Sums in int32 that wrap on the way are right at the end then. */
enum { CODE__INT32_DIM = 1024 };

static inline int32_t code__value24(uint8_t hi, int16_t lo)
{
    return ((int32_t)hi - 128) * 65536 + lo;
}

/* Value i of a vector of 12 bits. */
static inline int32_t code__value12(const uint8_t *hi, const uint8_t *lo, size_t i)
{
    int32_t nibble = lo[i / 2] >> 4 * (i & 1) & 15;
    return ((int32_t)hi[i] - 128) * 16 + nibble - 8;
}

/* 1 / sqrt(n) for a power of two, the same on every table. */
static inline float code__hadamard_scale(size_t n)
{
    float s = 1.0f;
    for (; n >= 4; n /= 4)
        s *= 0.5f;
    return n == 2 ? s * 0x1.6a09e6p-1f : s;
}
