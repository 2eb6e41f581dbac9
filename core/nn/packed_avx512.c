/* The products for AVX-512; compiled with its flags, run only where packed.c found these. Twelve rows times two
 * vectors are 24 of the 32 registers. */
#if defined(__x86_64__) && !defined(KINDRED_REAL_DOUBLE)
#if !defined(__AVX512F__) || !defined(__AVX512VL__)
#error "compile this file with -mavx512f -mavx512vl"
#endif

#define PACKED_BYTES 64
#define PACKED_ROWS 12
#include "core/nn/packed_attention_internal.h"

const struct packed_ops packed_avx512 = PACKED_TABLE("avx512");
#endif
