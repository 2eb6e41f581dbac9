/* Layer: core. May include: base.
 *
 * Losses on unit vectors, each a forward and a backward pass over the caller's
 * memory. Forward returns the mean over the batch; backward adds to gradients
 * and is scaled by `scale` (the loss's weight).
 *
 * Similarity softmax, shared by them: s_ij = a_i·b_j / temperature.
 */
#pragma once

#include "core/nn/real.h"

#include <stdbool.h>
#include <stddef.h>

/* N anchors, M ≥ N candidates: candidate i < N is anchor i's positive, those from N on are hard
 * negatives that everybody shares. */
struct infonce_shape {
    size_t N, M, D;
    real_t temperature;
    bool symmetric; /* also candidate i (< N) among the anchors; the loss is the mean of both */
};
/** floats of `saved` for a shape */
size_t infonce_saved(const struct infonce_shape *s);
/**
 * In-batch-negative InfoNCE ("multiple negatives ranking").
 * a [N,D], b [M,D] unit rows; masked [N,M] or NULL: true takes candidate j out of anchor i's softmax
 * (a false negative); the diagonal must be false. Masks hold in both directions.
 * Source: van den Oord et al. 2018, eq. 4; Henderson et al. 2017, section 4.4; symmetric as in Radford et
 * al. 2021, figure 3.
 */
real_t infonce_forward(real_t *restrict saved, const real_t *restrict a, const real_t *restrict b,
    const bool *restrict masked, const struct infonce_shape *s);
/** Adds to da [N,D] and db [M,D]. `saved` is used up. */
void infonce_backward(real_t *restrict da, real_t *restrict db, real_t *restrict saved,
    const real_t *restrict a, const real_t *restrict b, real_t scale,
    const struct infonce_shape *s);

/** floats of `saved` */
size_t distill_saved(size_t N, size_t D, size_t T);
/**
 * Similarity distillation: the softmax over the other members of the batch is to match the teacher's.
 * x [N,D], teacher [N,T] unit rows. Mean Kullback–Leibler divergence, same temperature on both sides; a
 * row's similarity to itself is left out.
 * Source: Fang et al. 2021 (SEED), eq. 4, with the batch in place of the queue.
 */
real_t distill_forward(real_t *restrict saved, const real_t *restrict x,
    const real_t *restrict teacher, size_t N, size_t D, size_t T, real_t temperature);
/** Adds to dx [N,D]. `saved` is used up. */
void distill_backward(real_t *restrict dx, real_t *restrict saved, const real_t *restrict x,
    size_t N, size_t D, real_t temperature, real_t scale);

/** Mean of 1 - x_i·p_i: keeps vectors near those of the parent model. x, p [N,D] unit rows. */
real_t anchor_forward(const real_t *restrict x, const real_t *restrict p, size_t N, size_t D);
/** Adds to dx [N,D]. */
void anchor_backward(
    real_t *restrict dx, const real_t *restrict p, size_t N, size_t D, real_t scale);
