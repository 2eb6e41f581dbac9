/* The table for the platform's baseline, and the choice between tables. */
#include "core/nn/kernels.h"

#include "base/vecmath.h"
#include "core/nn/kernels_table_internal.h"

static const struct nn_kernels baseline = NN_KERNELS_TABLE("baseline");

const struct nn_kernels *const *nn_kernels_all(void)
{
    static const struct nn_kernels *const plain[] = { &baseline, NULL };
#if defined(__x86_64__)
    static const struct nn_kernels *const with_avx2[] = { &baseline, &nn_kernels_avx2, NULL };
    if (vec_select(VEC_AVX2)->level == VEC_AVX2) return with_avx2;
#endif
    return plain;
}

const struct nn_kernels *nn_kernels(void)
{
    const struct nn_kernels *best = NULL;
    for (const struct nn_kernels *const *t = nn_kernels_all(); *t; t++)
        best = *t;
    return best;
}
