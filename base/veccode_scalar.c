/* Kernels over quantised vectors in plain C: the reference for the others, and what runs where nothing better
 * is known. Sums of floats are kept in double. */
#include "base/veccode_internal.h"

static void query_dot4(
    const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    int64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t x = q->q16[i];
        s0 += x * c0[i];
        s1 += x * c1[i];
        s2 += x * c2[i];
        s3 += x * c3[i];
    }
    int64_t offset = q->sum * 128;
    ret[0] = (float)(s0 - offset);
    ret[1] = (float)(s1 - offset);
    ret[2] = (float)(s2 - offset);
    ret[3] = (float)(s3 - offset);
}

static void dot4(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4])
{
    const uint8_t *c0 = codes[0], *c1 = codes[1], *c2 = codes[2], *c3 = codes[3];
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t x = a[i] - 128;
        s0 += x * (c0[i] - 128);
        s1 += x * (c1[i] - 128);
        s2 += x * (c2[i] - 128);
        s3 += x * (c3[i] - 128);
    }
    ret[0] = s0;
    ret[1] = s1;
    ret[2] = s2;
    ret[3] = s3;
}

static float dot_fixed24(const float *q, const uint8_t *hi, const int16_t *lo, size_t n)
{
    double s0 = 0.0, s1 = 0.0;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        s0 += (double)q[i] * code__value24(hi[i], lo[i]);
        s1 += (double)q[i + 1] * code__value24(hi[i + 1], lo[i + 1]);
    }
    if (i < n) s0 += (double)q[i] * code__value24(hi[i], lo[i]);
    return (float)(s0 + s1);
}

static float dot_fixed12(const float *q, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    double s0 = 0.0, s1 = 0.0;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        s0 += (double)q[i] * code__value12(hi, lo, i);
        s1 += (double)q[i + 1] * code__value12(hi, lo, i + 1);
    }
    if (i < n) s0 += (double)q[i] * code__value12(hi, lo, i);
    return (float)(s0 + s1);
}

static float l2sq_fixed24(
    const float *q, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)q[i] - (double)scale * code__value24(hi[i], lo[i]);
        sum += d * d;
    }
    return (float)sum;
}

static float l2sq_fixed12(
    const float *q, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)q[i] - (double)scale * code__value12(hi, lo, i);
        sum += d * d;
    }
    return (float)sum;
}

static void decode24(float *out, float scale, const uint8_t *hi, const int16_t *lo, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = scale * (float)code__value24(hi[i], lo[i]);
}

static void decode12(float *out, float scale, const uint8_t *hi, const uint8_t *lo, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = scale * (float)code__value12(hi, lo, i);
}

/* The order of the steps, wide strides first, is that of every table, and so are the bits of the result. */
static void hadamard(float *x, size_t n)
{
    for (size_t h = n / 2; h; h /= 2)
        for (size_t base = 0; base < n; base += 2 * h)
            for (size_t j = base; j < base + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    if (n < 2) return;
    float s = code__hadamard_scale(n);
    for (size_t i = 0; i < n; i++)
        x[i] *= s;
}

const struct code_kernels code_scalar = {
    .name = "scalar",
    .level = VEC_SCALAR,
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
