/* Layer: base. May include: libc.
 *
 * Vector kernels: a const table per instruction set, chosen once at start.
 * Callers keep the table pointer; there is no CPU test per call.
 *
 * All lengths are ≥ 0, pointers need no alignment. Results differ between
 * tables by rounding only: |error| ≤ 4e-7 * sum|a_i*b_i| for dot and the like
 * on ordinary data; the worst case, all roundings in one direction, is
 * (n/16 + 8) * 6e-8 * sum|a_i*b_i|. A NaN or infinity anywhere in the inputs
 * gives NaN or infinity, never a finite number.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum vec_level { VEC_SCALAR, VEC_NEON, VEC_AVX2, VEC_AVX512, VEC_BEST };

struct vec_kernels {
    const char *name; /* "avx2" */
    enum vec_level level;
    /** sum a_i*b_i */
    float (*dot)(const float *a, const float *b, size_t n);
    /** sum (a_i-b_i)^2 */
    float (*l2sq)(const float *a, const float *b, size_t n);
    /** ret[j] = dot(q, rows[j]) for four rows at once: the inner loop of graph traversal */
    void (*dot4)(const float *q, const float *const rows[4], size_t n, float ret[4]);
    void (*l2sq4)(const float *q, const float *const rows[4], size_t n, float ret[4]);
    /** acc_i += w * x_i */
    void (*axpy)(float *acc, float w, const float *x, size_t n);
    /** acc_i += x_i, with x stored as IEEE binary16 */
    void (*add_f16)(float *acc, const uint16_t *x, size_t n);
    /** out_i = x_i * s; out may be x */
    void (*scale)(float *out, const float *x, float s, size_t n);
    /** binary16 -> binary32 */
    void (*f16_to_f32)(float *out, const uint16_t *x, size_t n);
};

/** The best table this CPU has, but none above `max`. Never NULL. Any thread. */
const struct vec_kernels *vec_select(enum vec_level max);
/** Every table this CPU can run, ending with NULL; for tests and benches. */
const struct vec_kernels *const *vec_all(void);
/** "scalar", "neon", "avx2", "avx512", "best" -> level; -1 if none of them. */
int vec_level_parse(const char *name);

/** x / ||x|| into out [n] (may be x). A zero or non-finite vector is copied as it is and 0 is returned,
 * else the norm that was divided by (FLT_MAX where it is larger). Squares that overflow or underflow do
 * no harm. */
float vec_normalize(const struct vec_kernels *k, float *out, const float *x, size_t n);
/** All n values finite? */
int vec_is_finite(const float *x, size_t n);
/** Round to nearest even. */
uint16_t f32_to_f16(float x);
float f16_to_f32(uint16_t x);
