/* Kernels over quantised vectors for AVX-512 (F, BW, VL, DQ) without VNNI; compiled with those flags, run only
 * where veccode.c found them.
 *
 * Codes are widened to int16 and multiplied with vpmaddwd, which adds two products to each of 16 lanes. What
 * they are too large by, 128, is taken off at the end. What is beyond the end of a row is masked out.
 */
#include "base/veccode_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) ||                   \
    !defined(__AVX512DQ__)
#error "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"
#endif

#include <immintrin.h>

/* The sums of four vectors at once; they may wrap. */
__attribute__((always_inline)) static inline __m128i sum4(
    __m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i t = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* The sum of the lanes, which does not wrap. */
static inline int64_t sum_wide(__m512i v)
{
    __m512i a = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v));
    __m512i b = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(a, b));
}

/* acc + the products of x with 32 codes */
static inline __m512i madd_codes(__m512i acc, __m512i x, const uint8_t *code)
{
    __m512i c = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)code));
    return _mm512_add_epi32(acc, _mm512_madd_epi16(x, c));
}

static inline __m512i madd_rest(__m512i acc, __m512i x, __mmask32 m, const uint8_t *code)
{
    __m512i c = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(m, code));
    return _mm512_add_epi32(acc, _mm512_madd_epi16(x, c));
}

/* A lane takes two products per step and 128 steps at most: 256 * CODE_QUERY_MAX * 255 = 1065304320 < 2^31. */
static void query_dot4(
    const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const int16_t *q16 = q->q16;
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
#pragma GCC unroll 2
    for (; i + 32 <= n; i += 32) {
        __m512i x = _mm512_loadu_si512(q16 + i);
        s0 = madd_codes(s0, x, c0 + i);
        s1 = madd_codes(s1, x, c1 + i);
        s2 = madd_codes(s2, x, c2 + i);
        s3 = madd_codes(s3, x, c3 + i);
    }
    if (i < n) {
        __mmask32 m = ~(__mmask32)0 >> (32 - (n - i));
        __m512i x = _mm512_maskz_loadu_epi16(m, q16 + i);
        s0 = madd_rest(s0, x, m, c0 + i);
        s1 = madd_rest(s1, x, m, c1 + i);
        s2 = madd_rest(s2, x, m, c2 + i);
        s3 = madd_rest(s3, x, m, c3 + i);
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

/* The side of a is a - 128; its sum comes from one more product, with 1. */
static void dot4(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const __m512i ones = _mm512_set1_epi16(1);
    const __m256i sign = _mm256_set1_epi8((char)0x80);
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, sum = s0;
    size_t i = 0;
#pragma GCC unroll 2
    for (; i + 32 <= n; i += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(a + i));
        __m512i x = _mm512_cvtepi8_epi16(_mm256_xor_si256(bytes, sign));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, ones));
        s0 = madd_codes(s0, x, c0 + i);
        s1 = madd_codes(s1, x, c1 + i);
        s2 = madd_codes(s2, x, c2 + i);
        s3 = madd_codes(s3, x, c3 + i);
    }
    if (i < n) {
        __mmask32 m = ~(__mmask32)0 >> (32 - (n - i));
        __m256i bytes = _mm256_mask_loadu_epi8(sign, m, a + i);
        __m512i x = _mm512_cvtepi8_epi16(_mm256_xor_si256(bytes, sign));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, ones));
        s0 = madd_rest(s0, x, m, c0 + i);
        s1 = madd_rest(s1, x, m, c1 + i);
        s2 = madd_rest(s2, x, m, c2 + i);
        s3 = madd_rest(s3, x, m, c3 + i);
    }
    sum = _mm512_slli_epi32(sum, 7);
    __m128i s = sum4(_mm512_sub_epi32(s0, sum), _mm512_sub_epi32(s1, sum),
        _mm512_sub_epi32(s2, sum), _mm512_sub_epi32(s3, sum));
    _mm_storeu_si128((__m128i *)(void *)ret, s);
}

/* The first n of 16 lanes, 0 ≤ n ≤ 16. */
static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline size_t at_most_16(size_t n)
{
    return n < 16 ? n : 16;
}

/* The n ≤ 16 values from number i on, and 0 behind them; they are exact in float, as all are below 2^24. Always
 * inlined, as all that takes one is, so there is no call in the loops. lo is of the type that goes with it; i is a
 * multiple of 16. */
typedef __m512 values_fn(const uint8_t *hi, const void *lo, size_t i, size_t n);

__attribute__((always_inline)) static inline __m512 values24(
    const uint8_t *hi, const void *lo, size_t i, size_t n)
{
    const __m128i sign = _mm_set1_epi8((char)0x80);
    __mmask16 m = first_lanes(n);
    __m128i c = _mm_xor_si128(_mm_mask_loadu_epi8(sign, m, hi + i), sign);
    __m512i h = _mm512_slli_epi32(_mm512_cvtepi8_epi32(c), 16);
    __m512i l = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(m, (const int16_t *)lo + i));
    return _mm512_cvtepi32_ps(_mm512_add_epi32(h, l));
}

__attribute__((always_inline)) static inline __m512 values12(
    const uint8_t *hi, const void *lo, size_t i, size_t n)
{
    __mmask16 m = first_lanes(n);
    __m128i c = _mm_mask_loadu_epi8(_mm_set1_epi8((char)0x80), m, hi + i);
    /* A byte in each 16 bits, then its two halves in the two bytes there. */
    __m128i w = _mm_maskz_loadu_epi8(first_lanes((n + 1) / 2), (const uint8_t *)lo + i / 2);
    w = _mm_cvtepu8_epi16(w);
    w = _mm_and_si128(_mm_or_si128(w, _mm_slli_epi16(w, 4)), _mm_set1_epi8(15));
    w = _mm_mask_mov_epi8(_mm_set1_epi8(8), m, w);
    __m256i v =
        _mm256_add_epi16(_mm256_slli_epi16(_mm256_cvtepu8_epi16(c), 4), _mm256_cvtepu8_epi16(w));
    v = _mm256_sub_epi16(v, _mm256_set1_epi16(128 * 16 + 8));
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(v));
}

__attribute__((always_inline)) static inline float dot_fixed(
    values_fn *values, const float *q, const uint8_t *hi, const void *lo, size_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i), values(hi, lo, i, 16), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i + 16), values(hi, lo, i + 16, 16), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i + 32), values(hi, lo, i + 32, 16), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i + 48), values(hi, lo, i + 48, 16), s3);
    }
    for (; i < n; i += 16) {
        size_t some = at_most_16(n - i);
        __m512 x = _mm512_maskz_loadu_ps(first_lanes(some), q + i);
        s0 = _mm512_fmadd_ps(x, values(hi, lo, i, some), s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

/* acc + (q - scale * v)^2; the difference is rounded once, so that a small one is right. */
__attribute__((always_inline)) static inline __m512 l2sq_step(
    __m512 acc, __m512 q, __m512 scale, __m512 v)
{
    __m512 d = _mm512_fnmadd_ps(scale, v, q);
    return _mm512_fmadd_ps(d, d, acc);
}

__attribute__((always_inline)) static inline float l2sq_fixed(
    values_fn *values, const float *q, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    const __m512 by = _mm512_set1_ps(scale);
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = l2sq_step(s0, _mm512_loadu_ps(q + i), by, values(hi, lo, i, 16));
        s1 = l2sq_step(s1, _mm512_loadu_ps(q + i + 16), by, values(hi, lo, i + 16, 16));
        s2 = l2sq_step(s2, _mm512_loadu_ps(q + i + 32), by, values(hi, lo, i + 32, 16));
        s3 = l2sq_step(s3, _mm512_loadu_ps(q + i + 48), by, values(hi, lo, i + 48, 16));
    }
    for (; i < n; i += 16) {
        size_t some = at_most_16(n - i);
        __m512 x = _mm512_maskz_loadu_ps(first_lanes(some), q + i);
        s0 = l2sq_step(s0, x, by, values(hi, lo, i, some));
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

__attribute__((always_inline)) static inline void decode(
    values_fn *values, float *out, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    const __m512 by = _mm512_set1_ps(scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_mul_ps(by, values(hi, lo, i, 16)));
    if (i < n)
        _mm512_mask_storeu_ps(
            out + i, first_lanes(n - i), _mm512_mul_ps(by, values(hi, lo, i, n - i)));
}

float code__avx512_dot_fixed24(const float *q, const uint8_t *hi, const int16_t *lo, size_t n)
{
    return dot_fixed(values24, q, hi, lo, n);
}

float code__avx512_dot_fixed12(const float *q, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    return dot_fixed(values12, q, hi, lo, n);
}

float code__avx512_l2sq_fixed24(
    const float *q, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    return l2sq_fixed(values24, q, scale, hi, lo, n);
}

float code__avx512_l2sq_fixed12(
    const float *q, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    return l2sq_fixed(values12, q, scale, hi, lo, n);
}

void code__avx512_decode24(float *out, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    decode(values24, out, scale, hi, lo, n);
}

void code__avx512_decode12(float *out, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    decode(values12, out, scale, hi, lo, n);
}

/* One step of stride 8, 4, 2 or 1, with y = x in the order in which partners meet: first + second where m has 0,
 * first - second where it has 1, which is where x is the second. */
static inline __m512 butterfly(__m512 x, __m512 y, __mmask16 m)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(x, y), m, y, x);
}

/* The steps of strides below 16 that n has. */
__attribute__((always_inline)) static inline __m512 lanes_steps(__m512 x, size_t n)
{
    if (n > 8) x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4E), 0xFF00);
    if (n > 4) x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xB1), 0xF0F0);
    if (n > 2) x = butterfly(x, _mm512_permute_ps(x, 0x4E), 0xCCCC);
    return butterfly(x, _mm512_permute_ps(x, 0xB1), 0xAAAA);
}

/* The steps of strides h and h/2, h ≥ 32. */
static void two_steps(float *x, size_t n, size_t h)
{
    for (size_t base = 0; base < n; base += 2 * h)
        for (size_t j = base; j < base + h / 2; j += 16) {
            float *p0 = x + j, *p1 = p0 + h / 2, *p2 = p0 + h, *p3 = p1 + h;
            __m512 a = _mm512_loadu_ps(p0), b = _mm512_loadu_ps(p1);
            __m512 c = _mm512_loadu_ps(p2), d = _mm512_loadu_ps(p3);
            __m512 ac = _mm512_add_ps(a, c), bd = _mm512_add_ps(b, d);
            __m512 a_c = _mm512_sub_ps(a, c), b_d = _mm512_sub_ps(b, d);
            _mm512_storeu_ps(p0, _mm512_add_ps(ac, bd));
            _mm512_storeu_ps(p1, _mm512_sub_ps(ac, bd));
            _mm512_storeu_ps(p2, _mm512_add_ps(a_c, b_d));
            _mm512_storeu_ps(p3, _mm512_sub_ps(a_c, b_d));
        }
}

/* Wide strides first, as on every table; the last four steps are within a register. */
void code__avx512_hadamard(float *x, size_t n)
{
    if (n < 2) return;
    const __m512 s = _mm512_set1_ps(code__hadamard_scale(n));
    if (n < 16) {
        __mmask16 m = first_lanes(n);
        __m512 v = lanes_steps(_mm512_maskz_loadu_ps(m, x), n);
        _mm512_mask_storeu_ps(x, m, _mm512_mul_ps(v, s));
        return;
    }
    size_t h = n / 2;
    for (; h >= 32; h /= 4)
        two_steps(x, n, h);
    if (h == 16) {
        for (size_t j = 0; j < n; j += 32) {
            __m512 a = _mm512_loadu_ps(x + j), b = _mm512_loadu_ps(x + j + 16);
            _mm512_storeu_ps(x + j, _mm512_mul_ps(lanes_steps(_mm512_add_ps(a, b), 16), s));
            _mm512_storeu_ps(x + j + 16, _mm512_mul_ps(lanes_steps(_mm512_sub_ps(a, b), 16), s));
        }
        return;
    }
    for (size_t j = 0; j < n; j += 16)
        _mm512_storeu_ps(x + j, _mm512_mul_ps(lanes_steps(_mm512_loadu_ps(x + j), 16), s));
}

const struct code_kernels code_avx512 = {
    .name = "avx512",
    .level = VEC_AVX512,
    .query_dot4 = query_dot4,
    .dot4 = dot4,
    .dot_fixed24 = code__avx512_dot_fixed24,
    .dot_fixed12 = code__avx512_dot_fixed12,
    .l2sq_fixed24 = code__avx512_l2sq_fixed24,
    .l2sq_fixed12 = code__avx512_l2sq_fixed12,
    .decode24 = code__avx512_decode24,
    .decode12 = code__avx512_decode12,
    .hadamard = code__avx512_hadamard,
};
#endif
