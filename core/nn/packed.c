/* The table for the platform's baseline, the choice between tables, and the layout of weights. */
#include "core/nn/packed.h"

#ifndef KINDRED_REAL_DOUBLE

#include "base/mem.h"
#include "base/vecmath.h"

#define PACKED_BYTES 16
#define PACKED_ROWS 6
#include "core/nn/packed_attention_internal.h"

static const struct packed_ops baseline = PACKED_TABLE("baseline");

const struct packed_ops *const *packed_ops_all(void)
{
    static const struct packed_ops *const plain[] = { &baseline, NULL };
#if defined(__x86_64__)
    static const struct packed_ops *const avx2[] = { &baseline, &packed_avx2, NULL };
    static const struct packed_ops *const avx512[] = { &baseline, &packed_avx2, &packed_avx512,
        NULL };
    const enum vec_level level = vec_select(VEC_AVX512)->level;
    if (level == VEC_AVX512) return avx512;
    if (level == VEC_AVX2) return avx2;
#endif
    return plain;
}

const struct packed_ops *packed_ops(void)
{
    const struct packed_ops *best = NULL;
    for (const struct packed_ops *const *t = packed_ops_all(); *t; t++)
        best = *t;
    return best;
}

size_t packed_floats(const struct packed_ops *k, size_t I, size_t O)
{
    size_t n, bytes;
    if (!mem_add(O, k->tile_columns - 1, &n)) return 0;
    n -= n % k->tile_columns;
    if (!mem_mul(n, I, &n) || !mem_mul(n, sizeof(float), &bytes)) return 0;
    return n;
}

void packed_fill(const struct packed_ops *k, struct packed_linear *p, const float *w)
{
    const size_t width = k->tile_columns;
    for (size_t o = 0; o < p->O; o += width) {
        float *to = p->panels + o * p->I;
        for (size_t i = 0; i < p->I; i++)
            for (size_t j = 0; j < width; j++)
                *to++ = o + j < p->O ? w[(o + j) * p->I + i] : 0;
    }
}

size_t packed_attention_floats(const struct packed_ops *k, size_t n, size_t D)
{
    const size_t width = k->tile_columns;
    size_t n_wide, D_wide, keys, values, scores, bytes;
    if (!mem_add(n, width - 1, &n_wide) || !mem_add(D, width - 1, &D_wide)) return 0;
    n_wide -= n_wide % width;
    D_wide -= D_wide % width;
    if (!mem_mul(n_wide, D, &keys) || !mem_mul(n, D_wide, &values) ||
        !mem_mul(SCORE_ROWS, n_wide, &scores) || !mem_add(keys, values, &keys) ||
        !mem_add(keys, scores, &keys) || !mem_mul(keys, sizeof(float), &bytes))
        return 0;
    return keys;
}

#endif
