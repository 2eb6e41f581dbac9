/* Layer: base. May include: libc.
 *
 * The tables of the instruction sets, for vecmath.c alone. Each is defined in
 * the file of its name, on the platforms that have the set.
 */
#pragma once

#include "base/vecmath.h"

extern const struct vec_kernels vec_scalar;
#if defined(__x86_64__)
extern const struct vec_kernels vec_avx2;   /* needs AVX2, FMA and F16C */
extern const struct vec_kernels vec_avx512; /* needs AVX-512 F, BW, VL and DQ, and the above */
#elif defined(__aarch64__)
extern const struct vec_kernels vec_neon;
#endif
