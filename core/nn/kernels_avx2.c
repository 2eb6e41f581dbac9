/* The loops for AVX2 with FMA; compiled with -mavx2 -mfma, run only where kernels.c found these. */
#include "core/nn/kernels_table_internal.h"

#if defined(__x86_64__)
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with -mavx2 -mfma"
#endif

const struct nn_kernels nn_kernels_avx2 = NN_KERNELS_TABLE("avx2");
#endif
