/* Layer: core. May include: base.
 *
 * Products of small matrices that lie anywhere, as attention has them, for
 * kernels_table_internal.h; compiled as kernels_internal.h says.
 *
 * A tile of the result, 4 rows by NN_TILE columns, stays in registers while the
 * inner dimension runs: a value of the left factor is spread over a vector, the
 * right factor's rows are read as vectors. The names of the vectors are written
 * out, as compilers keep an array of them in memory.
 */
#pragma once

#include "core/nn/kernels.h"

/* Half a row of a tile. Compilers split it into as many registers as it takes. */
typedef real_t half_row
    __attribute__((vector_size(NN_TILE / 2 * sizeof(real_t)), aligned(sizeof(real_t)), may_alias));

enum { HALF = NN_TILE / 2, TILE_ROWS = 4 };

/* The first n values of a row of a tile; those after it are not the caller's. */
static inline void part_of_row(
    real_t *restrict c, const real_t s[NN_TILE], size_t n, const struct nn_matmul *m)
{
    for (size_t l = 0; l < n; l++)
        c[l] = m->alpha * s[l] + (m->add ? c[l] : 0);
}

#define ROW_OUT(c, s0, s1)                                                                         \
    do {                                                                                           \
        half_row *to_ = (half_row *)(c), *more_ = (half_row *)((c) + HALF);                        \
        if (n < NN_TILE) {                                                                         \
            const half_row row_[2] = { s0, s1 };                                                   \
            part_of_row(c, (const real_t *)row_, n, m);                                            \
        } else if (m->add) {                                                                       \
            *to_ += m->alpha * (s0);                                                               \
            *more_ += m->alpha * (s1);                                                             \
        } else {                                                                                   \
            *to_ = m->alpha * (s0);                                                                \
            *more_ = m->alpha * (s1);                                                              \
        }                                                                                          \
    } while (0)

static inline void tile_of_4(real_t *restrict c, size_t c_row, const real_t *a, const real_t *b,
    size_t n, const struct nn_matmul *m)
{
    half_row s0 = { 0 }, s1 = s0, t0 = s0, t1 = s0, u0 = s0, u1 = s0, v0 = s0, v1 = s0;
    const size_t row = m->a_row, step = m->a_col, b_row = m->b_row;
    for (size_t k = m->K; k; k--, a += step, b += b_row) {
        const half_row b0 = *(const half_row *)b, b1 = *(const half_row *)(b + HALF);
        s0 += a[0] * b0;
        s1 += a[0] * b1;
        t0 += a[row] * b0;
        t1 += a[row] * b1;
        u0 += a[2 * row] * b0;
        u1 += a[2 * row] * b1;
        v0 += a[3 * row] * b0;
        v1 += a[3 * row] * b1;
    }
    ROW_OUT(c, s0, s1);
    ROW_OUT(c + c_row, t0, t1);
    ROW_OUT(c + 2 * c_row, u0, u1);
    ROW_OUT(c + 3 * c_row, v0, v1);
}

static inline void tile_of_1(
    real_t *restrict c, const real_t *a, const real_t *b, size_t n, const struct nn_matmul *m)
{
    half_row s0 = { 0 }, s1 = s0;
    for (size_t k = 0; k < m->K; k++, b += m->b_row) {
        s0 += a[k * m->a_col] * *(const half_row *)b;
        s1 += a[k * m->a_col] * *(const half_row *)(b + HALF);
    }
    ROW_OUT(c, s0, s1);
}

static void loop_matmul(real_t *restrict c, size_t c_row, const struct nn_matmul *m)
{
    for (size_t j = 0; j < m->N; j += NN_TILE) {
        const size_t n = m->N - j < NN_TILE ? m->N - j : NN_TILE;
        size_t i = 0;
        for (; i + TILE_ROWS <= m->M; i += TILE_ROWS)
            tile_of_4(c + i * c_row + j, c_row, m->a + i * m->a_row, m->b + j, n, m);
        for (; i < m->M; i++)
            tile_of_1(c + i * c_row + j, m->a + i * m->a_row, m->b + j, n, m);
    }
}
