/* Kernels over quantised vectors for Advanced SIMD ("NEON"), which every 64-bit Arm has; no extension is asked for.
 *
 * Codes become int8 by flipping their first bit, so nothing has to be taken off at the end. As in veccode_avx2.c,
 * what is left of a row of codes is read with the last 16, rows below 16 are left to the table in plain C, and the last
 * seven float values at most are taken one by one.
 */
#include "base/veccode_internal.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>

/* 16 codes less 128 */
static inline int8x16_t load_centred(const uint8_t *code)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(code), vdupq_n_u8(0x80)));
}

/* All bits set in the last n of 16 bytes, 0 ≤ n ≤ 16. */
static inline int8x16_t last_bytes(size_t n)
{
    static const int8_t ones[32] = {
        [16] = -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1
    };
    return vld1q_s8(ones + n);
}

/* acc[0], acc[1] + the products of x, y, eight values each, with 16 codes */
__attribute__((always_inline)) static inline void mul_codes(
    int32x4_t acc[2], int16x8_t x, int16x8_t y, const uint8_t *code)
{
    int8x16_t c = load_centred(code);
    int16x8_t c0 = vmovl_s8(vget_low_s8(c)), c1 = vmovl_high_s8(c);
    acc[0] = vmlal_s16(acc[0], vget_low_s16(x), vget_low_s16(c0));
    acc[1] = vmlal_high_s16(acc[1], x, c0);
    acc[0] = vmlal_s16(acc[0], vget_low_s16(y), vget_low_s16(c1));
    acc[1] = vmlal_high_s16(acc[1], y, c1);
}

/* A lane takes two products per step and 256 steps at most: 512 * CODE_QUERY_MAX * 128 = 1069481984 < 2^31. */
static void query_dot4(
    const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4])
{
    if (n < 16) {
        code_scalar.query_dot4(q, codes, n, ret);
        return;
    }
    const int16_t *q16 = q->q16;
    int32x4_t s[4][2];
    for (int j = 0; j < 4; j++)
        s[j][0] = s[j][1] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        int16x8_t x = vld1q_s16(q16 + i), y = vld1q_s16(q16 + i + 8);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            mul_codes(s[j], x, y, codes[j] + i);
    }
    if (i < n) {
        size_t last = n - 16;
        int8x16_t m = last_bytes(n - i);
        int16x8_t x = vandq_s16(vld1q_s16(q16 + last), vmovl_s8(vget_low_s8(m)));
        int16x8_t y = vandq_s16(vld1q_s16(q16 + last + 8), vmovl_high_s8(m));
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            mul_codes(s[j], x, y, codes[j] + last);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        ret[j] = (float)(vaddlvq_s32(s[j][0]) + vaddlvq_s32(s[j][1]));
}

/* acc + the products of x with 16 codes; two products do not always fit in 16 bits, so each eight are added up. */
__attribute__((always_inline)) static inline int32x4_t mul_bytes(
    int32x4_t acc, int8x16_t x, const uint8_t *code)
{
    int8x16_t c = load_centred(code);
    acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(x), vget_low_s8(c)));
    return vpadalq_s16(acc, vmull_high_s8(x, c));
}

static void dot4(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4])
{
    if (n < 16) {
        code_scalar.dot4(a, codes, n, ret);
        return;
    }
    int32x4_t s[4];
    for (int j = 0; j < 4; j++)
        s[j] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        int8x16_t x = load_centred(a + i);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            s[j] = mul_bytes(s[j], x, codes[j] + i);
    }
    if (i < n) {
        size_t last = n - 16;
        int8x16_t x = vandq_s8(load_centred(a + last), last_bytes(n - i));
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            s[j] = mul_bytes(s[j], x, codes[j] + last);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        ret[j] = vaddvq_s32(s[j]);
}

/* The eight values from number i on, and one alone; they are exact in float, as all are below 2^24. Always inlined,
 * as all that takes one is, so there is no call in the loops. lo is of the type that goes with it; i is a multiple
 * of 8 for the eight. */
typedef float32x4x2_t values_fn(const uint8_t *hi, const void *lo, size_t i);
typedef float value_fn(const uint8_t *hi, const void *lo, size_t i);

__attribute__((always_inline)) static inline float32x4x2_t values24(
    const uint8_t *hi, const void *lo, size_t i)
{
    int16x8_t c = vmovl_s8(vreinterpret_s8_u8(veor_u8(vld1_u8(hi + i), vdup_n_u8(0x80))));
    int16x8_t l = vld1q_s16((const int16_t *)lo + i);
    int32x4_t v0 = vshlq_n_s32(vmovl_s16(vget_low_s16(c)), 16);
    int32x4_t v1 = vshlq_n_s32(vmovl_high_s16(c), 16);
    float32x4x2_t ret = { { vcvtq_f32_s32(vaddw_s16(v0, vget_low_s16(l))),
        vcvtq_f32_s32(vaddw_high_s16(v1, l)) } };
    return ret;
}

__attribute__((always_inline)) static inline float value24(
    const uint8_t *hi, const void *lo, size_t i)
{
    return (float)code__value24(hi[i], ((const int16_t *)lo)[i]);
}

__attribute__((always_inline)) static inline float32x4x2_t values12(
    const uint8_t *hi, const void *lo, size_t i)
{
    const uint8_t *p = (const uint8_t *)lo + i / 2;
    uint8_t four[8] = { p[0], p[1], p[2], p[3] };
    int16x8_t c = vmovl_s8(vreinterpret_s8_u8(veor_u8(vld1_u8(hi + i), vdup_n_u8(0x80))));
    uint8x8_t b = vld1_u8(four);
    uint8x8_t nibbles = vzip1_u8(vand_u8(b, vdup_n_u8(15)), vshr_n_u8(b, 4));
    int16x8_t l = vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(nibbles)), vdupq_n_s16(8));
    int16x8_t v = vaddq_s16(vshlq_n_s16(c, 4), l);
    float32x4x2_t ret = { { vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))),
        vcvtq_f32_s32(vmovl_high_s16(v)) } };
    return ret;
}

__attribute__((always_inline)) static inline float value12(
    const uint8_t *hi, const void *lo, size_t i)
{
    return (float)code__value12(hi, lo, i);
}

enum { ACCS = 8 };

static inline float sum_of(const float32x4_t s[ACCS])
{
    float32x4_t x = vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3]));
    float32x4_t y = vaddq_f32(vaddq_f32(s[4], s[5]), vaddq_f32(s[6], s[7]));
    return vaddvq_f32(vaddq_f32(x, y));
}

__attribute__((always_inline)) static inline float dot_fixed(
    values_fn *values, value_fn *value, const float *q, const uint8_t *hi, const void *lo, size_t n)
{
    float32x4_t s[ACCS];
    for (int j = 0; j < ACCS; j++)
        s[j] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 4 * ACCS <= n; i += 4 * ACCS) {
#pragma GCC unroll 4
        for (int j = 0; j < ACCS; j += 2) {
            size_t at = i + 4 * (size_t)j;
            float32x4x2_t v = values(hi, lo, at);
            s[j] = vfmaq_f32(s[j], vld1q_f32(q + at), v.val[0]);
            s[j + 1] = vfmaq_f32(s[j + 1], vld1q_f32(q + at + 4), v.val[1]);
        }
    }
    for (; i + 8 <= n; i += 8) {
        float32x4x2_t v = values(hi, lo, i);
        s[0] = vfmaq_f32(s[0], vld1q_f32(q + i), v.val[0]);
        s[1] = vfmaq_f32(s[1], vld1q_f32(q + i + 4), v.val[1]);
    }
    float rest = 0.0f;
    for (; i < n; i++)
        rest = fmaf(q[i], value(hi, lo, i), rest);
    return sum_of(s) + rest;
}

/* acc + (q - scale * v)^2; the difference is rounded once, so that a small one is right. */
__attribute__((always_inline)) static inline float32x4_t l2sq_step(
    float32x4_t acc, float32x4_t q, float32x4_t scale, float32x4_t v)
{
    float32x4_t d = vfmsq_f32(q, scale, v);
    return vfmaq_f32(acc, d, d);
}

__attribute__((always_inline)) static inline float l2sq_fixed(values_fn *values, value_fn *value,
    const float *q, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    const float32x4_t by = vdupq_n_f32(scale);
    float32x4_t s[ACCS];
    for (int j = 0; j < ACCS; j++)
        s[j] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 4 * ACCS <= n; i += 4 * ACCS) {
#pragma GCC unroll 4
        for (int j = 0; j < ACCS; j += 2) {
            size_t at = i + 4 * (size_t)j;
            float32x4x2_t v = values(hi, lo, at);
            s[j] = l2sq_step(s[j], vld1q_f32(q + at), by, v.val[0]);
            s[j + 1] = l2sq_step(s[j + 1], vld1q_f32(q + at + 4), by, v.val[1]);
        }
    }
    for (; i + 8 <= n; i += 8) {
        float32x4x2_t v = values(hi, lo, i);
        s[0] = l2sq_step(s[0], vld1q_f32(q + i), by, v.val[0]);
        s[1] = l2sq_step(s[1], vld1q_f32(q + i + 4), by, v.val[1]);
    }
    float rest = 0.0f;
    for (; i < n; i++) {
        float d = fmaf(-scale, value(hi, lo, i), q[i]);
        rest = fmaf(d, d, rest);
    }
    return sum_of(s) + rest;
}

__attribute__((always_inline)) static inline void decode(values_fn *values, value_fn *value,
    float *out, float scale, const uint8_t *hi, const void *lo, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float32x4x2_t v = values(hi, lo, i);
        vst1q_f32(out + i, vmulq_n_f32(v.val[0], scale));
        vst1q_f32(out + i + 4, vmulq_n_f32(v.val[1], scale));
    }
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

/* The steps of strides 2 and 1: y is x in the order in which partners meet, the second of two is the difference. */
static inline float32x4_t lanes_steps(float32x4_t x)
{
    const uint32x4_t upper = { 0, 0, ~0u, ~0u }, odd = { 0, ~0u, 0, ~0u };
    float32x4_t y = vextq_f32(x, x, 2);
    x = vbslq_f32(upper, vsubq_f32(y, x), vaddq_f32(x, y));
    y = vrev64q_f32(x);
    return vbslq_f32(odd, vsubq_f32(y, x), vaddq_f32(x, y));
}

/* The steps of strides h and h/2, h ≥ 8. */
static void two_steps(float *x, size_t n, size_t h)
{
    for (size_t base = 0; base < n; base += 2 * h)
        for (size_t j = base; j < base + h / 2; j += 4) {
            float *p0 = x + j, *p1 = p0 + h / 2, *p2 = p0 + h, *p3 = p1 + h;
            float32x4_t a = vld1q_f32(p0), b = vld1q_f32(p1);
            float32x4_t c = vld1q_f32(p2), d = vld1q_f32(p3);
            float32x4_t ac = vaddq_f32(a, c), bd = vaddq_f32(b, d);
            float32x4_t a_c = vsubq_f32(a, c), b_d = vsubq_f32(b, d);
            vst1q_f32(p0, vaddq_f32(ac, bd));
            vst1q_f32(p1, vsubq_f32(ac, bd));
            vst1q_f32(p2, vaddq_f32(a_c, b_d));
            vst1q_f32(p3, vsubq_f32(a_c, b_d));
        }
}

/* Wide strides first, as on every table; the last two steps are within a register. */
static void hadamard(float *x, size_t n)
{
    if (n < 4) {
        code_scalar.hadamard(x, n);
        return;
    }
    const float s = code__hadamard_scale(n);
    size_t h = n / 2;
    for (; h >= 8; h /= 4)
        two_steps(x, n, h);
    if (h == 4) {
        for (size_t j = 0; j < n; j += 8) {
            float32x4_t a = vld1q_f32(x + j), b = vld1q_f32(x + j + 4);
            vst1q_f32(x + j, vmulq_n_f32(lanes_steps(vaddq_f32(a, b)), s));
            vst1q_f32(x + j + 4, vmulq_n_f32(lanes_steps(vsubq_f32(a, b)), s));
        }
        return;
    }
    for (size_t j = 0; j < n; j += 4)
        vst1q_f32(x + j, vmulq_n_f32(lanes_steps(vld1q_f32(x + j)), s));
}

const struct code_kernels code_neon = {
    .name = "neon",
    .level = VEC_NEON,
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
