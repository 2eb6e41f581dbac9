/* Layer: base. May include: libc.
 *
 * Kernels over quantised vectors: a const table per instruction set, chosen
 * once at start, like base/vecmath.h.
 *
 * A *code* is a vector of bytes; byte c stands for the integer c - 128. A *fixed-point* vector is a code
 * (its high byte) and a second plane of lower bits, which make each value finer:
 *
 *   24 bit   (c - 128) * 65536 + lo[i],                  lo [n] int16
 *   12 bit   (c - 128) * 16 + (nibble i of lo) - 8,      lo [(n+1)/2] bytes; value i is the low nibble of byte i/2
 *                                                        for even i, the high one for odd i (a last high one is 8)
 *
 * so the code alone is the value rounded to nearest.
 *
 * A query is an integer vector with |value| ≤ CODE_QUERY_MAX, kept in two forms of which a table uses the one it
 * likes.
 *
 * All integer results are exact, so every table gives the same, bit for bit; so do decode and hadamard, which round in
 * one place and in one order. The sums in float of one table differ from those of another by rounding only: the error
 * is that of base/vecmath.h, with scale * v_i in place of a value. Lengths are 0…4096 (CODE_DIM_MAX); pointers need no
 * alignment but that of their type, though rows that begin at multiples of 64 bytes are read faster; nothing beyond n
 * entries is read.
 */
#pragma once

#include "base/vecmath.h"

#include <stddef.h>
#include <stdint.h>

enum { CODE_DIM_MAX = 4096, CODE_QUERY_MAX = 127 * 128 + 63 };

/** value = 128 * hi + lo, hi in -127…127, lo in -64…63. */
struct code_query {
    const int8_t *hi, *lo; /* [n] */
    const int16_t *q16;    /* [n] */
    int64_t sum;           /* of the values */
};

struct code_kernels {
    const char *name; /* "avx512vnni" */
    enum vec_level level;
    /** ret[j] = sum_i q_i * (codes[j][i] - 128), rounded once to float: the inner loop of a traversal */
    void (*query_dot4)(
        const struct code_query *q, const uint8_t *const codes[4], size_t n, float ret[4]);
    /** ret[j] = sum_i (a_i - 128) * (codes[j][i] - 128) */
    void (*dot4)(const uint8_t *a, const uint8_t *const codes[4], size_t n, int32_t ret[4]);
    /** sum_i q_i * v_i, v of 24 (12) bits */
    float (*dot_fixed24)(const float *q, const uint8_t *hi, const int16_t *lo, size_t n);
    float (*dot_fixed12)(const float *q, const uint8_t *hi, const uint8_t *lo, size_t n);
    /** sum_i (q_i - scale * v_i)^2 */
    float (*l2sq_fixed24)(
        const float *q, float scale, const uint8_t *hi, const int16_t *lo, size_t n);
    float (*l2sq_fixed12)(
        const float *q, float scale, const uint8_t *hi, const uint8_t *lo, size_t n);
    /** out_i = scale * v_i */
    void (*decode24)(float *out, float scale, const uint8_t *hi, const int16_t *lo, size_t n);
    void (*decode12)(float *out, float scale, const uint8_t *hi, const uint8_t *lo, size_t n);
    /** x = H x / sqrt(n), H the Walsh–Hadamard matrix (natural order) of order n, a power of two ≤ 4096. In place;
     * its own inverse up to rounding. n = 1: nothing. */
    void (*hadamard)(float *x, size_t n);
};

/** The best table this CPU has, but none above `max`. Never NULL. Any thread. */
const struct code_kernels *code_select(enum vec_level max);
/** Every table this CPU can run, ending with NULL; for tests and benches. */
const struct code_kernels *const *code_all(void);

/**
 * Split a query. values [n], |value| ≤ CODE_QUERY_MAX; hi, lo, q16 [n] are written and borrowed by ret.
 */
void code_query_split(
    const int16_t *values, size_t n, int8_t *hi, int8_t *lo, int16_t *q16, struct code_query *ret);
/**
 * Fixed point of x [n]: v_i = round(x_i / scale), ties to even; hi [n], lo [n] or [(n+1)/2]. scale is max|x_i| over the
 * greatest |v_i|, 127.49 * 65536 for 24 bits and 127 * 16 + 7 for 12, rounded up, so that codes are 1…255 and
 * |x_i - scale * v_i| ≤ scale / 2. Returns scale; 0 if x is all zero, or so small that scale would be (then v is all
 * 0). x must be finite. The same bytes for the same x in every build.
 */
float code_encode24(const float *x, size_t n, uint8_t *hi, int16_t *lo);
float code_encode12(const float *x, size_t n, uint8_t *hi, uint8_t *lo);
