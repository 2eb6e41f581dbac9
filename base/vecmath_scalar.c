/* Kernels in plain C: the reference the others are tested against, and what runs where nothing better is
 * known. Sums are kept in double, four at a time, so the result is right to the last rounding. */
#include "base/vecmath_internal.h"

static float dot(const float *a, const float *b, size_t n)
{
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += (double)a[i] * (double)b[i];
        s1 += (double)a[i + 1] * (double)b[i + 1];
        s2 += (double)a[i + 2] * (double)b[i + 2];
        s3 += (double)a[i + 3] * (double)b[i + 3];
    }
    for (; i < n; i++)
        s0 += (double)a[i] * (double)b[i];
    return (float)((s0 + s1) + (s2 + s3));
}

static float l2sq(const float *a, const float *b, size_t n)
{
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        double d0 = (double)a[i] - (double)b[i], d1 = (double)a[i + 1] - (double)b[i + 1];
        double d2 = (double)a[i + 2] - (double)b[i + 2], d3 = (double)a[i + 3] - (double)b[i + 3];
        s0 += d0 * d0;
        s1 += d1 * d1;
        s2 += d2 * d2;
        s3 += d3 * d3;
    }
    for (; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        s0 += d * d;
    }
    return (float)((s0 + s1) + (s2 + s3));
}

static void dot4(const float *q, const float *const rows[4], size_t n, float ret[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)q[i];
        s0 += x * (double)r0[i];
        s1 += x * (double)r1[i];
        s2 += x * (double)r2[i];
        s3 += x * (double)r3[i];
    }
    ret[0] = (float)s0;
    ret[1] = (float)s1;
    ret[2] = (float)s2;
    ret[3] = (float)s3;
}

static void l2sq4(const float *q, const float *const rows[4], size_t n, float ret[4])
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)q[i], d0 = x - (double)r0[i], d1 = x - (double)r1[i],
               d2 = x - (double)r2[i], d3 = x - (double)r3[i];
        s0 += d0 * d0;
        s1 += d1 * d1;
        s2 += d2 * d2;
        s3 += d3 * d3;
    }
    ret[0] = (float)s0;
    ret[1] = (float)s1;
    ret[2] = (float)s2;
    ret[3] = (float)s3;
}

static void axpy(float *acc, float w, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc[i] += w * x[i];
}

static void add_f16(float *acc, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc[i] += f16_to_f32(x[i]);
}

static void scale(float *out, const float *x, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * s;
}

static void f16_row_to_f32(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_to_f32(x[i]);
}

const struct vec_kernels vec_scalar = {
    .name = "scalar",
    .level = VEC_SCALAR,
    .dot = dot,
    .l2sq = l2sq,
    .dot4 = dot4,
    .l2sq4 = l2sq4,
    .axpy = axpy,
    .add_f16 = add_f16,
    .scale = scale,
    .f16_to_f32 = f16_row_to_f32,
};
