/* Layer: core. May include: base.
 *
 * Adam with sparse rows, and the learning rate over time.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>
#include <stdint.h>

struct adam_options {
    real_t beta1, beta2, eps;
};
#define ADAM_OPTIONS_DEFAULTS ((struct adam_options){ (real_t)0.9, (real_t)0.999, (real_t)1e-8 })

/**
 * One step for the rows in use; all others, and their moments, stay as they are. The bias is corrected by
 * the global step, as PyTorch's SparseAdam does.
 * table, m, v [V,D]; rows [U] distinct; drows [U,D] their gradients; step counts from 1.
 * Source: Kingma & Ba 2015, Algorithm 1.
 */
void adam_step_rows(real_t *restrict table, real_t *restrict m, real_t *restrict v,
    const uint32_t *restrict rows, const real_t *restrict drows, size_t U, size_t D, int64_t step,
    double rate, const struct adam_options *o);

/**
 * One AdamW step over n parameters that all have gradients: decoupled decay w -= rate * decay * w, then Adam with the
 * bias of both moments corrected before eps is added, as PyTorch's AdamW does. step counts from 1.
 * Source: Loshchilov & Hutter 2019, Algorithm 2.
 */
void adamw_step(real_t *restrict w, real_t *restrict m, real_t *restrict v,
    const real_t *restrict g, size_t n, int64_t step, double rate, double decay,
    const struct adam_options *o);

/** Learning rate of step 0 … steps-1: linear from 0 over the first `warmup` steps, then a half cosine from
 * `peak` to `peak * floor`. */
double schedule_rate(int64_t step, int64_t steps, int64_t warmup, double peak, double floor);
