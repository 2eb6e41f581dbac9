/* Kernels for AVX-512 (F, BW, VL, DQ); compiled with those flags, run only where vecmath.c found them.
 * As vecmath_avx2.c, sixteen lanes wide; masks are registers of their own here, so the rest of a row costs
 * one masked step. */
#include "base/vecmath_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) ||                   \
    !defined(__AVX512DQ__)
#error "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c"
#endif

#include <immintrin.h>

/* The first n of 16 lanes, 0 ≤ n ≤ 16. */
static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline size_t at_most_16(size_t n)
{
    return n < 16 ? n : 16;
}

static inline __m512 fma_dot(__m512 a, __m512 b, __m512 acc)
{
    return _mm512_fmadd_ps(a, b, acc);
}

static inline __m512 fma_l2sq(__m512 a, __m512 b, __m512 acc)
{
    __m512 d = _mm512_sub_ps(a, b);
    return _mm512_fmadd_ps(d, d, acc);
}

/* step: fma_dot or fma_l2sq; always inlined, so there is no call in the loops. */
typedef __m512 step_fn(__m512 a, __m512 b, __m512 acc);

__attribute__((always_inline)) static inline float one_row(
    step_fn *step, const float *a, const float *b, size_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = step(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = step(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
        s2 = step(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
        s3 = step(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
    }
    for (; i + 16 <= n; i += 16)
        s0 = step(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    if (i < n) {
        __mmask16 m = first_lanes(n - i);
        s1 = step(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s1);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

__attribute__((always_inline)) static inline void four_rows(
    step_fn *step, const float *q, const float *const rows[4], size_t n, float ret[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    __m512 t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512 x = _mm512_loadu_ps(q + i), y = _mm512_loadu_ps(q + i + 16);
        s0 = step(x, _mm512_loadu_ps(r0 + i), s0);
        s1 = step(x, _mm512_loadu_ps(r1 + i), s1);
        s2 = step(x, _mm512_loadu_ps(r2 + i), s2);
        s3 = step(x, _mm512_loadu_ps(r3 + i), s3);
        t0 = step(y, _mm512_loadu_ps(r0 + i + 16), t0);
        t1 = step(y, _mm512_loadu_ps(r1 + i + 16), t1);
        t2 = step(y, _mm512_loadu_ps(r2 + i + 16), t2);
        t3 = step(y, _mm512_loadu_ps(r3 + i + 16), t3);
    }
    while (i < n) {
        __mmask16 m = first_lanes(at_most_16(n - i));
        __m512 x = _mm512_maskz_loadu_ps(m, q + i);
        s0 = step(x, _mm512_maskz_loadu_ps(m, r0 + i), s0);
        s1 = step(x, _mm512_maskz_loadu_ps(m, r1 + i), s1);
        s2 = step(x, _mm512_maskz_loadu_ps(m, r2 + i), s2);
        s3 = step(x, _mm512_maskz_loadu_ps(m, r3 + i), s3);
        i += at_most_16(n - i);
    }
    ret[0] = _mm512_reduce_add_ps(_mm512_add_ps(s0, t0));
    ret[1] = _mm512_reduce_add_ps(_mm512_add_ps(s1, t1));
    ret[2] = _mm512_reduce_add_ps(_mm512_add_ps(s2, t2));
    ret[3] = _mm512_reduce_add_ps(_mm512_add_ps(s3, t3));
}

static float dot(const float *a, const float *b, size_t n)
{
    return one_row(fma_dot, a, b, n);
}

static float l2sq(const float *a, const float *b, size_t n)
{
    return one_row(fma_l2sq, a, b, n);
}

static void dot4(const float *q, const float *const rows[4], size_t n, float ret[4])
{
    four_rows(fma_dot, q, rows, n, ret);
}

static void l2sq4(const float *q, const float *const rows[4], size_t n, float ret[4])
{
    four_rows(fma_l2sq, q, rows, n, ret);
}

static void axpy(float *acc, float w, const float *x, size_t n)
{
    __m512 ws = _mm512_set1_ps(w);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_lanes(at_most_16(n - i));
        __m512 old = _mm512_maskz_loadu_ps(m, acc + i);
        _mm512_mask_storeu_ps(
            acc + i, m, _mm512_fmadd_ps(ws, _mm512_maskz_loadu_ps(m, x + i), old));
    }
}

static inline __m512 load_f16(__mmask16 m, const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
}

static void add_f16(float *acc, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_lanes(at_most_16(n - i));
        __m512 old = _mm512_maskz_loadu_ps(m, acc + i);
        _mm512_mask_storeu_ps(acc + i, m, _mm512_add_ps(old, load_f16(m, x + i)));
    }
}

static void scale(float *out, const float *x, float s, size_t n)
{
    __m512 by = _mm512_set1_ps(s);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_lanes(at_most_16(n - i));
        _mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), by));
    }
}

static void f16_row_to_f32(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_lanes(at_most_16(n - i));
        _mm512_mask_storeu_ps(out + i, m, load_f16(m, x + i));
    }
}

const struct vec_kernels vec_avx512 = {
    .name = "avx512",
    .level = VEC_AVX512,
    .dot = dot,
    .l2sq = l2sq,
    .dot4 = dot4,
    .l2sq4 = l2sq4,
    .axpy = axpy,
    .add_f16 = add_f16,
    .scale = scale,
    .f16_to_f32 = f16_row_to_f32,
};
#endif
