/* Layer: core. May include: base.
 *
 * The product of packed.h, for the one file of each instruction set, which defines
 * PACKED_BYTES (of a vector) and PACKED_ROWS before, and uses PACKED_TABLE of
 * packed_attention_internal.h. Vectors are the compilers' own vector types: any
 * width compiles for any processor, so that every tile can be tested anywhere.
 *
 * A tile is ROWS x COLUMNS values of the result, kept in registers while the inputs
 * go by: COLUMNS weights, contiguous in the panel, times one value of each row. The
 * panel is COLUMNS = 2 vectors wide, so that ROWS times two sums hide the latency of
 * the multiplication and each load serves several of them.
 *
 * Blocks: rows that stay in the second-level cache with all their inputs (BLOCK_BYTES),
 * and inputs for which a slice of the panel stays in the first (SLICE). Between slices
 * the sums are kept in memory, which changes no bit of them. With few rows there are
 * not enough sums in one panel, so several are done beside each other.
 */
#pragma once

#ifndef KINDRED_REAL_DOUBLE

#include "core/nn/approx.h"
#include "core/nn/packed.h"

#include <math.h>
#include <string.h>

/* Like float itself these may lie anywhere, and alias it. */
typedef float vec_f __attribute__((vector_size(PACKED_BYTES), aligned(4), may_alias));

enum {
    LANES = PACKED_BYTES / sizeof(float),
    COLUMNS = 2 * LANES,
    ROWS = PACKED_ROWS,
    BLOCK_ROWS = 192,
    SLICE = 384,
    BLOCK_BYTES = 256 << 10,
};

/* y [N,O], rows ldy apart, = f(x [N,I], rows ldx apart, times the panels, + bias) + residual (as y). */
struct product {
    float *y;
    const float *x, *panels, *bias, *residual;
    size_t N, I, O, ldy, ldx;
    enum activation f;
};

/* One slice of a tile: sums [rows, panels * COLUMNS]. */
struct tile {
    float *out;
    const float *from, *x, *b; /* from: the sums so far */
    size_t ld_out, ld_from, ldx, panel, K;
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Not functions, as vectors as arguments need an instruction set that has them. */
#define VEC(p) (*(vec_f *)(p))
#define CONST_VEC(p) (*(const vec_f *)(p))

/* rows and vectors (of all panels) are constants where this is inlined. */
ALWAYS_INLINE void run_tile(const struct tile *t, const size_t rows, const size_t vectors)
{
    vec_f sum[ROWS * 8];
    const float *x = t->x, *b = t->b;
    const size_t ldx = t->ldx, panel = t->panel, K = t->K;
    UNROLL
    for (size_t i = 0; i < rows * vectors; i++)
        sum[i] = CONST_VEC(t->from + i / vectors * t->ld_from + i % vectors * LANES);
    for (size_t k = 0; k < K; k++) {
        UNROLL
        for (size_t i = 0; i < rows * vectors; i++) {
            const size_t v = i % vectors;
            sum[i] += x[i / vectors * ldx + k] *
                CONST_VEC(b + v / 2 * panel + k * COLUMNS + v % 2 * LANES);
        }
    }
    UNROLL
    for (size_t i = 0; i < rows * vectors; i++)
        VEC(t->out + i / vectors * t->ld_out + i % vectors * LANES) = sum[i];
}

enum { PANELS_ONE_ROW = 4, PANELS_FEW_ROWS = 2, FEW_ROWS = 3 };

static void tile_one(const struct tile *t)
{
    run_tile(t, 1, 2 * PANELS_ONE_ROW);
}
static void tile_two(const struct tile *t)
{
    run_tile(t, 2, 2 * PANELS_FEW_ROWS);
}
static void tile_three(const struct tile *t)
{
    run_tile(t, 3, 2 * PANELS_FEW_ROWS);
}
#define TILE_ROWS(n)                                                                               \
    static void tile_##n(const struct tile *t)                                                     \
    {                                                                                              \
        run_tile(t, n, 2);                                                                         \
    }
TILE_ROWS(1)
TILE_ROWS(2)
TILE_ROWS(3)
TILE_ROWS(4)
TILE_ROWS(5)
TILE_ROWS(6)
#if PACKED_ROWS > 6
TILE_ROWS(7)
TILE_ROWS(8)
TILE_ROWS(9)
TILE_ROWS(10)
TILE_ROWS(11)
TILE_ROWS(12)
#endif
#undef TILE_ROWS

typedef void (*tile_fn)(const struct tile *t);
static const tile_fn tile_of_rows[ROWS + 1] = {
    NULL,
    tile_1,
    tile_2,
    tile_3,
    tile_4,
    tile_5,
    tile_6,
#if PACKED_ROWS > 6
    tile_7,
    tile_8,
    tile_9,
    tile_10,
    tile_11,
    tile_12,
#endif
};
static const tile_fn tile_beside[FEW_ROWS + 1] = { NULL, tile_one, tile_two, tile_three };

/* Rows of the next tile, of `left`: a rest that is too small to keep the processor busy shares with its neighbour. */
static inline size_t next_rows(size_t left)
{
    if (left <= ROWS) return left;
    return left >= ROWS + ROWS * 2 / 3 ? ROWS : (left + 1) / 2;
}

static inline float gelu(float x)
{
    float half = 0.5F * x;
    return half + half * erf_of(x * 0.707106781F);
}

static inline float gelu_tanh(float x)
{
    float half = 0.5F * x;
    return half + half * tanh_of(x * (0.797884561F + 0.0356774081F * (x * x)));
}

/* n is a multiple of COLUMNS: so every value takes the same way through the vectors. */
static void activate(enum activation f, float *x, size_t n)
{
    switch (f) {
    case ACTIVATION_GELU:
        for (size_t i = 0; i < n / COLUMNS * COLUMNS; i++)
            x[i] = gelu(x[i]);
        break;
    case ACTIVATION_GELU_TANH:
        for (size_t i = 0; i < n / COLUMNS * COLUMNS; i++)
            x[i] = gelu_tanh(x[i]);
        break;
    case ACTIVATION_RELU:
        for (size_t i = 0; i < n / COLUMNS * COLUMNS; i++)
            x[i] = x[i] < 0 ? 0 : x[i];
        break;
    case ACTIVATION_TANH:
        for (size_t i = 0; i < n / COLUMNS * COLUMNS; i++)
            x[i] = tanh_of(x[i]);
        break;
    case ACTIVATION_IDENTITY: break;
    }
}

/* sums [rows, width] to y, of which `columns` from (row, column) on are there. */
static void finish(const struct product *p, float *sums, size_t rows, size_t width, size_t row,
    size_t column, size_t columns)
{
    activate(p->f, sums, rows * width);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (row + r) * p->ldy + column;
        const float *from = sums + r * width, *residual = p->residual ? p->residual + at : NULL;
        float *y = p->y + at;
        size_t c = 0;
        if (residual)
            for (; c + LANES <= columns; c += LANES)
                VEC(y + c) = CONST_VEC(from + c) + CONST_VEC(residual + c);
        else
            for (; c + LANES <= columns; c += LANES)
                VEC(y + c) = CONST_VEC(from + c);
        for (; c < columns; c++)
            y[c] = residual ? from[c] + residual[c] : from[c];
    }
}

/* Rows row … row + N - 1 of y in `width` columns (panels beside each other) from `column` on. */
static void panels_block(
    const struct product *p, size_t row, size_t N, size_t column, size_t width, float *sums)
{
    const size_t left = p->O - column, columns = left < width ? left : width;
    const size_t slices = (p->I + SLICE - 1) / SLICE;
    const size_t slice = slices ? (p->I + slices - 1) / slices : 0;
    const bool direct = columns == width && p->f == ACTIVATION_IDENTITY && !p->residual;
    float start[PANELS_ONE_ROW * COLUMNS] __attribute__((aligned(64))) = { 0 };
    if (p->bias) memcpy(start, p->bias + column, columns * sizeof *start);

    size_t k = 0;
    do {
        const size_t K = p->I - k < slice ? p->I - k : slice;
        const bool last = k + K == p->I;
        size_t rows;
        for (size_t r = 0; r < N; r += rows) {
            rows = next_rows(N - r);
            float *const here = sums + r * width;
            const struct tile t = {
                .out = last && direct ? p->y + (row + r) * p->ldy + column : here,
                .ld_out = last && direct ? p->ldy : width,
                .from = k ? here : start,
                .ld_from = k ? width : 0,
                .x = p->x + (row + r) * p->ldx + k,
                .ldx = p->ldx,
                .b = p->panels + column * p->I + k * COLUMNS,
                .panel = p->I * COLUMNS,
                .K = K,
            };
            (width == COLUMNS ? tile_of_rows : tile_beside)[rows](&t);
        }
        k += K;
    } while (k < p->I);
    if (!direct) finish(p, sums, N, width, row, column, columns);
}

static void run_product(const struct product *p)
{
    float sums[BLOCK_ROWS * COLUMNS] __attribute__((aligned(64)));
    size_t block = BLOCK_BYTES / sizeof(float) / (p->I + 1) / ROWS * ROWS, rows;
    block = block < 4 * (size_t)ROWS ? 4 * ROWS : block > BLOCK_ROWS ? BLOCK_ROWS : block;
    for (size_t row = 0; row < p->N; row += rows) {
        rows = p->N - row < block ? p->N - row : block;
        const size_t panels = rows == 1 ? PANELS_ONE_ROW : rows <= FEW_ROWS ? PANELS_FEW_ROWS : 1;
        size_t width;
        for (size_t column = 0; column < p->O; column += width) {
            width = column + panels * COLUMNS <= p->O ? panels * COLUMNS : COLUMNS;
            panels_block(p, row, rows, column, width, sums);
        }
    }
}

static void packed_linear_run(float *y, const float *x, size_t N, const struct packed_linear *w,
    const struct packed_after *after)
{
    const struct product p = { .y = y,
        .x = x,
        .panels = w->panels,
        .bias = w->bias,
        .residual = after->residual,
        .N = N,
        .I = w->I,
        .O = w->O,
        .ldy = w->O,
        .ldx = w->I,
        .f = after->f };
    run_product(&p);
}

#endif
