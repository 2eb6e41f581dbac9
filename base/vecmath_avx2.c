/* Kernels for AVX2 with FMA and F16C; compiled with -mavx2 -mfma -mf16c, run only where vecmath.c found
 * these.
 *
 * One vector at a time: four accumulators of eight hide the latency of the multiply-add. Four rows at a
 * time: a query load serves four rows, two accumulators a row. The rest of a row is read with a mask:
 * nothing past its end is touched, and the lanes that are masked out are 0 on both sides.
 */
#include "base/vecmath_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile this file with -mavx2 -mfma -mf16c"
#endif

#include <immintrin.h>
#include <string.h>

/* All bits set in the first n of 8 lanes, 0 ≤ n ≤ 8. */
static inline __m256i first_lanes(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

static inline float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* The sums of four vectors at once. */
static inline void sum8x4(__m256 a, __m256 b, __m256 c, __m256 d, float ret[4])
{
    __m256 ab = _mm256_hadd_ps(a, b), cd = _mm256_hadd_ps(c, d), abcd = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(ret, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

static inline __m256 fma_dot(__m256 a, __m256 b, __m256 acc)
{
    return _mm256_fmadd_ps(a, b, acc);
}

static inline __m256 fma_l2sq(__m256 a, __m256 b, __m256 acc)
{
    __m256 d = _mm256_sub_ps(a, b);
    return _mm256_fmadd_ps(d, d, acc);
}

/* step: fma_dot or fma_l2sq; always inlined, so there is no call in the loops. */
typedef __m256 step_fn(__m256 a, __m256 b, __m256 acc);

__attribute__((always_inline)) static inline float one_row(
    step_fn *step, const float *a, const float *b, size_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = step(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = step(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = step(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = step(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i + 8 <= n; i += 8)
        s0 = step(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    if (i < n) {
        __m256i m = first_lanes(n - i);
        s1 = step(_mm256_maskload_ps(a + i, m), _mm256_maskload_ps(b + i, m), s1);
    }
    return sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

__attribute__((always_inline)) static inline void four_rows(
    step_fn *step, const float *q, const float *const rows[4], size_t n, float ret[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    __m256 t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 x = _mm256_loadu_ps(q + i), y = _mm256_loadu_ps(q + i + 8);
        s0 = step(x, _mm256_loadu_ps(r0 + i), s0);
        s1 = step(x, _mm256_loadu_ps(r1 + i), s1);
        s2 = step(x, _mm256_loadu_ps(r2 + i), s2);
        s3 = step(x, _mm256_loadu_ps(r3 + i), s3);
        t0 = step(y, _mm256_loadu_ps(r0 + i + 8), t0);
        t1 = step(y, _mm256_loadu_ps(r1 + i + 8), t1);
        t2 = step(y, _mm256_loadu_ps(r2 + i + 8), t2);
        t3 = step(y, _mm256_loadu_ps(r3 + i + 8), t3);
    }
    while (i < n) {
        __m256i m = first_lanes(n - i < 8 ? n - i : 8);
        __m256 x = _mm256_maskload_ps(q + i, m);
        s0 = step(x, _mm256_maskload_ps(r0 + i, m), s0);
        s1 = step(x, _mm256_maskload_ps(r1 + i, m), s1);
        s2 = step(x, _mm256_maskload_ps(r2 + i, m), s2);
        s3 = step(x, _mm256_maskload_ps(r3 + i, m), s3);
        i += n - i < 8 ? n - i : 8;
    }
    sum8x4(_mm256_add_ps(s0, t0), _mm256_add_ps(s1, t1), _mm256_add_ps(s2, t2),
        _mm256_add_ps(s3, t3), ret);
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
    __m256 ws = _mm256_set1_ps(w);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            acc + i, _mm256_fmadd_ps(ws, _mm256_loadu_ps(x + i), _mm256_loadu_ps(acc + i)));
    if (i < n) {
        __m256i m = first_lanes(n - i);
        __m256 r =
            _mm256_fmadd_ps(ws, _mm256_maskload_ps(x + i, m), _mm256_maskload_ps(acc + i, m));
        _mm256_maskstore_ps(acc + i, m, r);
    }
}

/* Eight halves at p, or the n < 8 that there are and zeros. */
static inline __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m256 load_f16_rest(const uint16_t *p, size_t n)
{
    uint16_t rest[8] = { 0 };
    memcpy(rest, p, n * sizeof *p);
    return load_f16(rest);
}

static void add_f16(float *acc, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(acc + i, _mm256_add_ps(_mm256_loadu_ps(acc + i), load_f16(x + i)));
    if (i < n) {
        __m256i m = first_lanes(n - i);
        __m256 r = _mm256_add_ps(_mm256_maskload_ps(acc + i, m), load_f16_rest(x + i, n - i));
        _mm256_maskstore_ps(acc + i, m, r);
    }
}

static void scale(float *out, const float *x, float s, size_t n)
{
    __m256 by = _mm256_set1_ps(s);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), by));
    if (i < n) {
        __m256i m = first_lanes(n - i);
        _mm256_maskstore_ps(out + i, m, _mm256_mul_ps(_mm256_maskload_ps(x + i, m), by));
    }
}

static void f16_row_to_f32(float *out, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, load_f16(x + i));
    if (i < n) _mm256_maskstore_ps(out + i, first_lanes(n - i), load_f16_rest(x + i, n - i));
}

const struct vec_kernels vec_avx2 = {
    .name = "avx2",
    .level = VEC_AVX2,
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
