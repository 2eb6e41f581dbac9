/* Kernels over quantised vectors for AVX2 with FMA; compiled with -mavx2 -mfma, run only where veccode.c found
 * these.
 *
 * As veccode_avx512.c, half as wide. There are no masked loads of bytes: what is left of a row of codes, 16 or
 * more, is read with the last 16, of which those that were there already meet a 0 on the other side. Shorter
 * rows are left to the table in plain C, and of float values the last seven at most are taken one by one.
 */
#include "base/veccode_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with -mavx2 -mfma"
#endif

#include <immintrin.h>
#include <math.h>
#include <string.h>

static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* All bits set in the last n of 16 lanes, 0 ≤ n ≤ 16. */
static inline __m256i last_lanes(size_t n)
{
    static const int16_t ones[32] = {
        [16] = -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1
    };
    return load(ones + n);
}

/* The sums of four vectors at once; they may wrap. */
__attribute__((always_inline)) static inline __m128i sum4(
    __m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    __m256i s = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

/* The sum of the lanes, which does not wrap. */
static inline int64_t sum_wide(__m256i v)
{
    __m256i a = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(v));
    __m256i b = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1));
    __m256i s = _mm256_add_epi64(a, b);
    __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm_cvtsi128_si64(t) + _mm_extract_epi64(t, 1);
}

/* acc + the products of x with 16 codes */
static inline __m256i madd_codes(__m256i acc, __m256i x, const uint8_t *code)
{
    __m256i c = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)code));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, c));
}

/* A lane takes two products per step and 256 steps at most: 512 * CODE_QUERY_MAX * 255 = 2130608640 < 2^31. */
static void query_dot4(
    const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4])
{
    if (n < 16) {
        code_scalar.query_dot4(q, codes, n, ret);
        return;
    }
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const int16_t *q16 = q->q16;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
#pragma GCC unroll 2
    for (; i + 16 <= n; i += 16) {
        __m256i x = load(q16 + i);
        s0 = madd_codes(s0, x, c0 + i);
        s1 = madd_codes(s1, x, c1 + i);
        s2 = madd_codes(s2, x, c2 + i);
        s3 = madd_codes(s3, x, c3 + i);
    }
    if (i < n) {
        size_t last = n - 16;
        __m256i x = _mm256_and_si256(load(q16 + last), last_lanes(n - i));
        s0 = madd_codes(s0, x, c0 + last);
        s1 = madd_codes(s1, x, c1 + last);
        s2 = madd_codes(s2, x, c2 + last);
        s3 = madd_codes(s3, x, c3 + last);
    }
    int64_t offset = q->sum * 128;
    if (n <= CODE__INT32_DIM) {
        __m128i s = _mm_sub_epi32(sum4(s0, s1, s2, s3), _mm_set1_epi32((int)offset));
        _mm_storeu_ps(ret, _mm_cvtepi32_ps(s));
    } else {
        ret[0] = (float)(sum_wide(s0) - offset);
        ret[1] = (float)(sum_wide(s1) - offset);
        ret[2] = (float)(sum_wide(s2) - offset);
        ret[3] = (float)(sum_wide(s3) - offset);
    }
}

/* 16 codes less 128 */
static inline __m256i load_centred(const uint8_t *code)
{
    __m128i c = _mm_loadu_si128((const __m128i *)(const void *)code);
    return _mm256_cvtepi8_epi16(_mm_xor_si128(c, _mm_set1_epi8((char)0x80)));
}

/* The side of a is a - 128; its sum comes from one more product, with 1. */
static void dot4(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4])
{
    if (n < 16) {
        code_scalar.dot4(a, codes, n, ret);
        return;
    }
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, sum = s0;
    size_t i = 0;
#pragma GCC unroll 2
    for (; i + 16 <= n; i += 16) {
        __m256i x = load_centred(a + i);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, ones));
        s0 = madd_codes(s0, x, c0 + i);
        s1 = madd_codes(s1, x, c1 + i);
        s2 = madd_codes(s2, x, c2 + i);
        s3 = madd_codes(s3, x, c3 + i);
    }
    if (i < n) {
        size_t last = n - 16;
        __m256i x = _mm256_and_si256(load_centred(a + last), last_lanes(n - i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, ones));
        s0 = madd_codes(s0, x, c0 + last);
        s1 = madd_codes(s1, x, c1 + last);
        s2 = madd_codes(s2, x, c2 + last);
        s3 = madd_codes(s3, x, c3 + last);
    }
    sum = _mm256_slli_epi32(sum, 7);
    __m128i s = sum4(_mm256_sub_epi32(s0, sum), _mm256_sub_epi32(s1, sum),
        _mm256_sub_epi32(s2, sum), _mm256_sub_epi32(s3, sum));
    _mm_storeu_si128((__m128i *)(void *)ret, s);
}

static inline float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* The eight values from number i on, and one alone; they are exact in float, as all are below 2^24. Always inlined,
 * as all that takes one is, so there is no call in the loops. lo is of the type that goes with it; i is a multiple
 * of 8 for the eight. */
typedef __m256 values_fn(const uint8_t *hi, const void *lo, size_t i);
typedef float value_fn(const uint8_t *hi, const void *lo, size_t i);

__attribute__((always_inline)) static inline __m256 values24(
    const uint8_t *hi, const void *lo, size_t i)
{
    __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)(hi + i));
    __m128i l = _mm_loadu_si128((const __m128i *)(const void *)((const int16_t *)lo + i));
    c = _mm_xor_si128(c, _mm_set1_epi8((char)0x80));
    __m256i v = _mm256_slli_epi32(_mm256_cvtepi8_epi32(c), 16);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(v, _mm256_cvtepi16_epi32(l)));
}

__attribute__((always_inline)) static inline float value24(
    const uint8_t *hi, const void *lo, size_t i)
{
    return (float)code__value24(hi[i], ((const int16_t *)lo)[i]);
}

__attribute__((always_inline)) static inline __m256 values12(
    const uint8_t *hi, const void *lo, size_t i)
{
    int32_t four;
    memcpy(&four, (const uint8_t *)lo + i / 2, sizeof four);
    __m128i c = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)(hi + i)));
    /* A byte in each 16 bits, then its two halves in the two bytes there. */
    __m128i w = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(four));
    w = _mm_and_si128(_mm_or_si128(w, _mm_slli_epi16(w, 4)), _mm_set1_epi8(15));
    __m128i v = _mm_add_epi16(_mm_slli_epi16(c, 4), _mm_cvtepu8_epi16(w));
    v = _mm_sub_epi16(v, _mm_set1_epi16(128 * 16 + 8));
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(v));
}

__attribute__((always_inline)) static inline float value12(
    const uint8_t *hi, const void *lo, size_t i)
{
    return (float)code__value12(hi, lo, i);
}

__attribute__((always_inline)) static inline float dot_fixed(
    values_fn *values, value_fn *value, const float *q, const uint8_t *hi, const void *lo, size_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i), values(hi, lo, i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i + 8), values(hi, lo, i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i + 16), values(hi, lo, i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i + 24), values(hi, lo, i + 24), s3);
    }
    for (; i + 8 <= n; i += 8)
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i), values(hi, lo, i), s0);
    float rest = 0.0f;
    for (; i < n; i++)
        rest = fmaf(q[i], value(hi, lo, i), rest);
    return sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3))) + rest;
}

/* acc + (q - scale * v)^2; the difference is rounded once, so that a small one is right. */
__attribute__((always_inline)) static inline __m256 l2sq_step(
    __m256 acc, __m256 q, __m256 scale, __m256 v)
{
    __m256 d = _mm256_fnmadd_ps(scale, v, q);
    return _mm256_fmadd_ps(d, d, acc);
}

__attribute__((always_inline)) static inline float l2sq_fixed(values_fn *values, value_fn *value,
    const float *q, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    const __m256 by = _mm256_set1_ps(scale);
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = l2sq_step(s0, _mm256_loadu_ps(q + i), by, values(hi, lo, i));
        s1 = l2sq_step(s1, _mm256_loadu_ps(q + i + 8), by, values(hi, lo, i + 8));
        s2 = l2sq_step(s2, _mm256_loadu_ps(q + i + 16), by, values(hi, lo, i + 16));
        s3 = l2sq_step(s3, _mm256_loadu_ps(q + i + 24), by, values(hi, lo, i + 24));
    }
    for (; i + 8 <= n; i += 8)
        s0 = l2sq_step(s0, _mm256_loadu_ps(q + i), by, values(hi, lo, i));
    float rest = 0.0f;
    for (; i < n; i++) {
        float d = fmaf(-scale, value(hi, lo, i), q[i]);
        rest = fmaf(d, d, rest);
    }
    return sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3))) + rest;
}

__attribute__((always_inline)) static inline void decode(values_fn *values, value_fn *value,
    float *out, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    const __m256 by = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(by, values(hi, lo, i)));
    for (; i < n; i++)
        out[i] = scale * value(hi, lo, i);
}

static float dot_fixed24(const float *q, const uint8_t *hi, const int16_t *lo, size_t n)
{
    return dot_fixed(values24, value24, q, hi, lo, n);
}

static float dot_fixed12(const float *q, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    return dot_fixed(values12, value12, q, hi, lo, n);
}

static float l2sq_fixed24(
    const float *q, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    return l2sq_fixed(values24, value24, q, scale, hi, lo, n);
}

static float l2sq_fixed12(
    const float *q, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    return l2sq_fixed(values12, value12, q, scale, hi, lo, n);
}

static void decode24(float *out, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    decode(values24, value24, out, scale, hi, lo, n);
}

static void decode12(float *out, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    decode(values12, value12, out, scale, hi, lo, n);
}

/* The steps of strides 4, 2 and 1: y is x in the order in which partners meet, the second of two is the difference. */
__attribute__((always_inline)) static inline __m256 lanes_steps(__m256 x)
{
    __m256 y = _mm256_permute2f128_ps(x, x, 1);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xF0);
    y = _mm256_permute_ps(x, 0x4E);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xCC);
    y = _mm256_permute_ps(x, 0xB1);
    return _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xAA);
}

/* The steps of strides h and h/2, h ≥ 16. */
static void two_steps(float *x, size_t n, size_t h)
{
    for (size_t base = 0; base < n; base += 2 * h)
        for (size_t j = base; j < base + h / 2; j += 8) {
            float *p0 = x + j, *p1 = p0 + h / 2, *p2 = p0 + h, *p3 = p1 + h;
            __m256 a = _mm256_loadu_ps(p0), b = _mm256_loadu_ps(p1);
            __m256 c = _mm256_loadu_ps(p2), d = _mm256_loadu_ps(p3);
            __m256 ac = _mm256_add_ps(a, c), bd = _mm256_add_ps(b, d);
            __m256 a_c = _mm256_sub_ps(a, c), b_d = _mm256_sub_ps(b, d);
            _mm256_storeu_ps(p0, _mm256_add_ps(ac, bd));
            _mm256_storeu_ps(p1, _mm256_sub_ps(ac, bd));
            _mm256_storeu_ps(p2, _mm256_add_ps(a_c, b_d));
            _mm256_storeu_ps(p3, _mm256_sub_ps(a_c, b_d));
        }
}

/* Wide strides first, as on every table; the last three steps are within a register. */
static void hadamard(float *x, size_t n)
{
    if (n < 8) {
        code_scalar.hadamard(x, n);
        return;
    }
    const __m256 s = _mm256_set1_ps(code__hadamard_scale(n));
    size_t h = n / 2;
    for (; h >= 16; h /= 4)
        two_steps(x, n, h);
    if (h == 8) {
        for (size_t j = 0; j < n; j += 16) {
            __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + 8);
            _mm256_storeu_ps(x + j, _mm256_mul_ps(lanes_steps(_mm256_add_ps(a, b)), s));
            _mm256_storeu_ps(x + j + 8, _mm256_mul_ps(lanes_steps(_mm256_sub_ps(a, b)), s));
        }
        return;
    }
    for (size_t j = 0; j < n; j += 8)
        _mm256_storeu_ps(x + j, _mm256_mul_ps(lanes_steps(_mm256_loadu_ps(x + j)), s));
}

const struct code_kernels code_avx2 = {
    .name = "avx2",
    .level = VEC_AVX2,
    .query_dot4 = query_dot4,
    .dot4 = dot4,
    .dot_fixed24 = dot_fixed24,
    .dot_fixed12 = dot_fixed12,
    .l2sq_fixed24 = l2sq_fixed24,
    .l2sq_fixed12 = l2sq_fixed12,
    .decode24 = decode24,
    .decode12 = decode12,
    .hadamard = hadamard,
};
#endif
