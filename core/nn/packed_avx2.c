/* The products for AVX2 with FMA; compiled with -mavx2 -mfma, run only where packed.c found these. Six rows times
 * two vectors are 12 of the 16 registers; two hold weights, and one or two a value of x. */
#if defined(__x86_64__) && !defined(KINDRED_REAL_DOUBLE)
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with -mavx2 -mfma"
#endif

#define PACKED_BYTES 32
#define PACKED_ROWS 6
#include "core/nn/packed_attention_internal.h"

const struct packed_ops packed_avx2 = PACKED_TABLE("avx2");
#endif
