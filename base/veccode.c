/* Choice of a table of kernels over quantised vectors, and what is the same on all of them: splitting a query
 * and encoding. */
#include "base/veccode.h"

#include "base/veccode_internal.h"

#include <math.h>

/* Fills ret with the tables this CPU can run, slowest first, and a NULL behind them: a table of vecmath.h says
 * that the CPU has the set of the same level. */
static void list_tables(const struct code_kernels *ret[5])
{
    size_t n = 0;
    for (const struct vec_kernels *const *t = vec_all(); *t; t++) {
        enum vec_level level = (*t)->level;
        if (level == VEC_SCALAR) ret[n++] = &code_scalar;
#if defined(__x86_64__)
        if (level == VEC_AVX2) ret[n++] = &code_avx2;
        if (level == VEC_AVX512) ret[n++] = &code_avx512;
        if (level == VEC_AVX512 && __builtin_cpu_supports("avx512vnni"))
            ret[n++] = &code_avx512vnni;
#elif defined(__aarch64__)
        if (level == VEC_NEON) ret[n++] = &code_neon;
#endif
    }
    ret[n] = NULL;
}

const struct code_kernels *const *code_all(void)
{
    /* Found once per thread, so that nothing has to be locked; the answers are all the same. */
    static _Thread_local const struct code_kernels *tables[5];
    if (!tables[0]) list_tables(tables);
    return tables;
}

const struct code_kernels *code_select(enum vec_level max)
{
    const struct code_kernels *best = &code_scalar;
    for (const struct code_kernels *const *t = code_all(); *t; t++)
        if ((*t)->level <= max) best = *t;
    return best;
}

void code_query_split(
    const int16_t *values, size_t n, int8_t *hi, int8_t *lo, int16_t *q16, struct code_query *ret)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        /* Shifted into the positive, so that the division rounds down. */
        int32_t v = values[i], h = (v + 64 + 128 * 128) / 128 - 128;
        hi[i] = (int8_t)h;
        lo[i] = (int8_t)(v - 128 * h);
        q16[i] = values[i];
        sum += v;
    }
    *ret = (struct code_query){ .hi = hi, .lo = lo, .q16 = q16, .sum = sum };
}

/* The least float with max|x| / scale ≤ steps, or 0. Among normal numbers, rounding to nearest would do; where
 * scale is subnormal it could be far too small, and values would leave the range. */
static float scale_of(const float *x, size_t n, double steps)
{
    float max = 0.0f;
    for (size_t i = 0; i < n; i++)
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    double exact = (double)max / steps;
    float scale = (float)exact;
    if (scale > 0.0f && (double)scale < exact) scale = nextafterf(scale, INFINITY);
    return scale;
}

/* round(x / scale), ties to even, |result| < 2^31: the addition leaves no bits for a fraction. */
static int32_t steps_of(float x, float scale)
{
    double shifted = (double)x / (double)scale + 0x1.8p52;
    return (int32_t)(shifted - 0x1.8p52);
}

float code_encode24(const float *x, size_t n, uint8_t *hi, int16_t *lo)
{
    float scale = scale_of(x, n, 127.49 * 65536.0);
    for (size_t i = 0; i < n; i++) {
        int32_t v = scale > 0.0f ? steps_of(x[i], scale) : 0;
        int32_t code = (v + 32768 + 128 * 65536) / 65536;
        hi[i] = (uint8_t)code;
        lo[i] = (int16_t)(v - (code - 128) * 65536);
    }
    return scale;
}

float code_encode12(const float *x, size_t n, uint8_t *hi, uint8_t *lo)
{
    float scale = scale_of(x, n, 127 * 16 + 7);
    for (size_t i = 0; i < n; i++) {
        int32_t v = scale > 0.0f ? steps_of(x[i], scale) : 0;
        int32_t code = (v + 8 + 128 * 16) / 16, nibble = v - (code - 128) * 16 + 8;
        hi[i] = (uint8_t)code;
        if (i & 1) {
            lo[i / 2] = (uint8_t)(lo[i / 2] | nibble << 4);
        } else {
            /* The high half is that of a value that may not be there. */
            lo[i / 2] = (uint8_t)(i + 1 < n ? nibble : nibble | 8 << 4);
        }
    }
    return scale;
}
