/* Layer: core. May include: base.
 *
 * Attention of packed.h, by the product of packed_internal.h: keys are packed as the
 * weights that give scores, values as those that give the result. One head of one
 * sequence at a time, its rows in blocks whose scores stay in the cache; what is done
 * for a row depends on its sequence only. Ends in PACKED_TABLE.
 */
#pragma once

#ifndef KINDRED_REAL_DOUBLE

#include "core/nn/packed_internal.h"

enum { SCORE_ROWS = 24 };

/* Where one head's things lie in the work space. */
struct head {
    float *keys, *values,
        *scores; /* [n_wide / COLUMNS, D, COLUMNS], [.., n, COLUMNS], [SCORE_ROWS, n_wide] */
    size_t n, n_wide, D, ld; /* ld: from one token to the next in qkv */
    float scale;
};

static void pack_keys(const struct head *h, const float *k)
{
    for (size_t j0 = 0; j0 < h->n; j0 += COLUMNS) {
        float *panel = h->keys + j0 * h->D;
        const size_t columns = h->n - j0 < COLUMNS ? h->n - j0 : COLUMNS;
        if (columns < COLUMNS) memset(panel, 0, h->D * COLUMNS * sizeof *panel);
        for (size_t j = 0; j < columns; j++)
            for (size_t d = 0; d < h->D; d++)
                panel[d * COLUMNS + j] = k[(j0 + j) * h->ld + d];
    }
}

static void pack_values(const struct head *h, const float *v)
{
    for (size_t d0 = 0; d0 < h->D; d0 += COLUMNS) {
        float *panel = h->values + d0 * h->n;
        const size_t columns = h->D - d0 < COLUMNS ? h->D - d0 : COLUMNS;
        for (size_t j = 0; j < h->n; j++) {
            memcpy(panel + j * COLUMNS, v + j * h->ld + d0, columns * sizeof *v);
            memset(panel + j * COLUMNS + columns, 0, (COLUMNS - columns) * sizeof *v);
        }
    }
}

/* exp of one row of scores, its largest taken away; returns 1 / their sum. */
static float exp_row(float *s, const struct head *h)
{
    for (size_t j = h->n; j < h->n_wide; j++)
        s[j] = -1e30F;
    float most[COLUMNS], sums[COLUMNS] = { 0 };
    memcpy(most, s, sizeof most);
    for (size_t j = COLUMNS; j < h->n_wide; j += COLUMNS)
        for (size_t l = 0; l < COLUMNS; l++)
            most[l] = s[j + l] > most[l] ? s[j + l] : most[l];
    for (size_t half = LANES; half; half /= 2)
        for (size_t l = 0; l < half; l++)
            most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
    const float largest = most[0], scale = h->scale;
    for (size_t j = 0; j < h->n_wide; j += COLUMNS)
        for (size_t l = 0; l < COLUMNS; l++) {
            const float e = exp_of((s[j + l] - largest) * scale);
            s[j + l] = e;
            sums[l] += e;
        }
    for (size_t half = LANES; half; half /= 2)
        for (size_t l = 0; l < half; l++)
            sums[l] += sums[l + half];
    return 1 / sums[0];
}

/* out: this head's columns of the sequence's first row, rows C apart. */
static void attend(const struct head *h, float *out, size_t C, const float *q)
{
    size_t rows;
    for (size_t i = 0; i < h->n; i += rows) {
        rows = h->n - i < SCORE_ROWS ? h->n - i : SCORE_ROWS;
        const struct product scores = { .y = h->scores,
            .x = q + i * h->ld,
            .panels = h->keys,
            .N = rows,
            .I = h->D,
            .O = h->n_wide,
            .ldy = h->n_wide,
            .ldx = h->ld,
            .f = ACTIVATION_IDENTITY };
        run_product(&scores);
        float factors[SCORE_ROWS];
        for (size_t r = 0; r < rows; r++)
            factors[r] = exp_row(h->scores + r * h->n_wide, h);
        const struct product result = { .y = out + i * C,
            .x = h->scores,
            .panels = h->values,
            .N = rows,
            .I = h->n,
            .O = h->D,
            .ldy = C,
            .ldx = h->n_wide,
            .f = ACTIVATION_IDENTITY };
        run_product(&result);
        for (size_t r = 0; r < rows; r++)
            for (size_t d = 0; d < h->D; d++)
                out[(i + r) * C + d] *= factors[r];
    }
}

static void packed_attention_run(float *restrict out, float *restrict work,
    const float *restrict qkv, const struct attention_shape *s, bool scaled)
{
    const size_t C = s->H * s->D;
    struct head h = { .D = s->D, .ld = 3 * C, .scale = scaled ? 1 : 1 / sqrtf((float)s->D) };
    for (size_t i = 0; i < s->count; i++) {
        const float *tokens = qkv + s->starts[i] * 3 * C;
        h.n = s->starts[i + 1] - s->starts[i];
        h.n_wide = (h.n + COLUMNS - 1) / COLUMNS * COLUMNS;
        h.keys = work;
        h.values = h.keys + h.n_wide * h.D;
        h.scores = h.values + (h.D + COLUMNS - 1) / COLUMNS * COLUMNS * h.n;
        for (size_t head = 0; head < s->H; head++) {
            pack_keys(&h, tokens + C + head * h.D);
            pack_values(&h, tokens + 2 * C + head * h.D);
            attend(&h, out + s->starts[i] * C + head * h.D, C, tokens + head * h.D);
        }
    }
}

#define PACKED_TABLE(name_)                                                                        \
    {                                                                                              \
        .name = (name_), .tile_rows = ROWS, .tile_columns = COLUMNS, .linear = packed_linear_run,  \
        .attention = packed_attention_run                                                          \
    }

#if defined(__x86_64__)
extern const struct packed_ops packed_avx2;   /* needs AVX2 and FMA */
extern const struct packed_ops packed_avx512; /* needs AVX-512 F, BW, VL and DQ */
#endif

#endif
