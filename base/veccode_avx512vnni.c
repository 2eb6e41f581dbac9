/* Kernels over codes for AVX-512 with VNNI; compiled with -mavx512vnni and the flags of veccode_avx512.c, whose
 * other kernels its table takes, and run only where veccode.c found the set.
 *
 * vpdpbusd multiplies 64 unsigned bytes by 64 signed ones and adds four products to each of 16 lanes, without
 * saturation. The codes are the unsigned side as they lie in memory. What they are too large by, 128, is the
 * same for the four rows: it is taken off at the end as 128 times the sum of the other side.
 */
#include "base/veccode_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) ||                   \
    !defined(__AVX512DQ__) || !defined(__AVX512VNNI__)
#error "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni"
#endif

#include <immintrin.h>

/* The first n of 64 bytes, 0 < n < 64. */
static inline __mmask64 first_bytes(size_t n)
{
    return ~(__mmask64)0 >> (64 - n);
}

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

/* With H and L the sums of the products of the codes with the two halves of the query, the result is
 * 128 * H + L - 128 * sum. H is at most 127 * 255 * 4096 = 132648960 in magnitude and L at most 64 * 255 * 4096, so
 * both are right in int32 whatever the lanes; their combination is for n ≤ CODE__INT32_DIM only. */
static void query_dot4(
    const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const int8_t *hi = q->hi, *lo = q->lo;
    __m512i h0 = _mm512_setzero_si512(), h1 = h0, h2 = h0, h3 = h0;
    __m512i l0 = h0, l1 = h0, l2 = h0, l3 = h0, qh, ql, c;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        qh = _mm512_loadu_si512(hi + i);
        ql = _mm512_loadu_si512(lo + i);
        c = _mm512_loadu_si512(c0 + i);
        h0 = _mm512_dpbusd_epi32(h0, c, qh);
        l0 = _mm512_dpbusd_epi32(l0, c, ql);
        c = _mm512_loadu_si512(c1 + i);
        h1 = _mm512_dpbusd_epi32(h1, c, qh);
        l1 = _mm512_dpbusd_epi32(l1, c, ql);
        c = _mm512_loadu_si512(c2 + i);
        h2 = _mm512_dpbusd_epi32(h2, c, qh);
        l2 = _mm512_dpbusd_epi32(l2, c, ql);
        c = _mm512_loadu_si512(c3 + i);
        h3 = _mm512_dpbusd_epi32(h3, c, qh);
        l3 = _mm512_dpbusd_epi32(l3, c, ql);
    }
    if (i < n) {
        __mmask64 m = first_bytes(n - i);
        qh = _mm512_maskz_loadu_epi8(m, hi + i);
        ql = _mm512_maskz_loadu_epi8(m, lo + i);
        c = _mm512_maskz_loadu_epi8(m, c0 + i);
        h0 = _mm512_dpbusd_epi32(h0, c, qh);
        l0 = _mm512_dpbusd_epi32(l0, c, ql);
        c = _mm512_maskz_loadu_epi8(m, c1 + i);
        h1 = _mm512_dpbusd_epi32(h1, c, qh);
        l1 = _mm512_dpbusd_epi32(l1, c, ql);
        c = _mm512_maskz_loadu_epi8(m, c2 + i);
        h2 = _mm512_dpbusd_epi32(h2, c, qh);
        l2 = _mm512_dpbusd_epi32(l2, c, ql);
        c = _mm512_maskz_loadu_epi8(m, c3 + i);
        h3 = _mm512_dpbusd_epi32(h3, c, qh);
        l3 = _mm512_dpbusd_epi32(l3, c, ql);
    }
    if (n <= CODE__INT32_DIM) {
        __m128i s = sum4(_mm512_add_epi32(_mm512_slli_epi32(h0, 7), l0),
            _mm512_add_epi32(_mm512_slli_epi32(h1, 7), l1),
            _mm512_add_epi32(_mm512_slli_epi32(h2, 7), l2),
            _mm512_add_epi32(_mm512_slli_epi32(h3, 7), l3));
        s = _mm_sub_epi32(s, _mm_set1_epi32((int)(q->sum * 128)));
        _mm_storeu_ps(ret, _mm_cvtepi32_ps(s));
    } else {
        __m256i h = _mm256_cvtepi32_epi64(sum4(h0, h1, h2, h3));
        __m256i l = _mm256_cvtepi32_epi64(sum4(l0, l1, l2, l3));
        h = _mm256_slli_epi64(_mm256_sub_epi64(h, _mm256_set1_epi64x(q->sum)), 7);
        _mm_storeu_ps(ret, _mm256_cvtepi64_ps(_mm256_add_epi64(h, l)));
    }
}

/* The signed side is a - 128, and its sum comes from one more product, with bytes of 1. */
static void dot4(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    const __m512i sign = _mm512_set1_epi8((char)0x80), ones = _mm512_set1_epi8(1);
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, sum = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i x = _mm512_xor_si512(_mm512_loadu_si512(a + i), sign);
        sum = _mm512_dpbusd_epi32(sum, ones, x);
        s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(c0 + i), x);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(c1 + i), x);
        s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(c2 + i), x);
        s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(c3 + i), x);
    }
    if (i < n) {
        __mmask64 m = first_bytes(n - i);
        __m512i x = _mm512_xor_si512(_mm512_mask_loadu_epi8(sign, m, a + i), sign);
        sum = _mm512_dpbusd_epi32(sum, ones, x);
        s0 = _mm512_dpbusd_epi32(s0, _mm512_maskz_loadu_epi8(m, c0 + i), x);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_maskz_loadu_epi8(m, c1 + i), x);
        s2 = _mm512_dpbusd_epi32(s2, _mm512_maskz_loadu_epi8(m, c2 + i), x);
        s3 = _mm512_dpbusd_epi32(s3, _mm512_maskz_loadu_epi8(m, c3 + i), x);
    }
    sum = _mm512_slli_epi32(sum, 7);
    __m128i s = sum4(_mm512_sub_epi32(s0, sum), _mm512_sub_epi32(s1, sum),
        _mm512_sub_epi32(s2, sum), _mm512_sub_epi32(s3, sum));
    _mm_storeu_si128((__m128i *)(void *)ret, s);
}

const struct code_kernels code_avx512vnni = {
    .name = "avx512vnni",
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
