/* Kernels for Advanced SIMD ("NEON"), which every 64-bit Arm has. As vecmath_avx2.c, four lanes wide, with
 * eight accumulators; what is left of a row is done one value at a time, as there are no masked loads. */
#include "base/vecmath_internal.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>

static inline float32x4_t fma_dot(float32x4_t a, float32x4_t b, float32x4_t acc)
{
    return vfmaq_f32(acc, a, b);
}

static inline float32x4_t fma_l2sq(float32x4_t a, float32x4_t b, float32x4_t acc)
{
    float32x4_t d = vsubq_f32(a, b);
    return vfmaq_f32(acc, d, d);
}

/* step: fma_dot or fma_l2sq; always inlined, so there is no call in the loops. */
typedef float32x4_t step_fn(float32x4_t a, float32x4_t b, float32x4_t acc);

/* The last value of a row in the first of four lanes that are else 0. */
static inline float32x4_t lone(const float *p)
{
    return vsetq_lane_f32(*p, vdupq_n_f32(0.0f), 0);
}

__attribute__((always_inline)) static inline float one_row(
    step_fn *step, const float *a, const float *b, size_t n)
{
    enum { LANES = 4, ACCS = 8 };
    float32x4_t s[ACCS];
    for (int j = 0; j < ACCS; j++)
        s[j] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + LANES * ACCS <= n; i += LANES * ACCS) {
#pragma GCC unroll 8
        for (int j = 0; j < ACCS; j++)
            s[j] = step(vld1q_f32(a + i + LANES * j), vld1q_f32(b + i + LANES * j), s[j]);
    }
    for (; i + LANES <= n; i += LANES)
        s[0] = step(vld1q_f32(a + i), vld1q_f32(b + i), s[0]);
    for (; i < n; i++)
        s[1] = step(lone(a + i), lone(b + i), s[1]);
    float32x4_t x = vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3]));
    float32x4_t y = vaddq_f32(vaddq_f32(s[4], s[5]), vaddq_f32(s[6], s[7]));
    return vaddvq_f32(vaddq_f32(x, y));
}

__attribute__((always_inline)) static inline void four_rows(
    step_fn *step, const float *q, const float *const rows[4], size_t n, float ret[4])
{
    enum { LANES = 4, ACCS = 4 };
    float32x4_t s[4][ACCS];
    for (int r = 0; r < 4; r++)
        for (int j = 0; j < ACCS; j++)
            s[r][j] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + LANES * ACCS <= n; i += LANES * ACCS) {
#pragma GCC unroll 4
        for (int j = 0; j < ACCS; j++) {
            float32x4_t x = vld1q_f32(q + i + LANES * j);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++)
                s[r][j] = step(x, vld1q_f32(rows[r] + i + LANES * j), s[r][j]);
        }
    }
    for (; i < n; i++) {
        float32x4_t x = lone(q + i);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            s[r][0] = step(x, lone(rows[r] + i), s[r][0]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        ret[r] = vaddvq_f32(vaddq_f32(vaddq_f32(s[r][0], s[r][1]), vaddq_f32(s[r][2], s[r][3])));
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
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(acc + i, vfmaq_n_f32(vld1q_f32(acc + i), vld1q_f32(x + i), w));
    for (; i < n; i++)
        acc[i] = fmaf(w, x[i], acc[i]);
}

static inline float32x4_t load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static void add_f16(float *acc, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(acc + i, vaddq_f32(vld1q_f32(acc + i), load_f16(x + i)));
    for (; i < n; i++)
        acc[i] += f16_to_f32(x[i]);
}

static void scale(float *out, const float *x, float s, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vmulq_n_f32(vld1q_f32(x + i), s));
    for (; i < n; i++)
        out[i] = x[i] * s;
}

static void f16_row_to_f32(float *out, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, load_f16(x + i));
    for (; i < n; i++)
        out[i] = f16_to_f32(x[i]);
}

const struct vec_kernels vec_neon = {
    .name = "neon",
    .level = VEC_NEON,
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
