/* Layer: tests. May include: libcheck, base, core.
 *
 * Judges backward passes by finite differences, in double precision: what is
 * in tests/grad, and the ops below it, are compiled with KINDRED_REAL_DOUBLE.
 */
#pragma once

#include "base/rng.h"
#include "core/nn/real.h"

#include <stddef.h>

/** The loss as a function of whatever arg holds. */
typedef double loss_fn(void *arg);

/**
 * Fails the test unless want [n], what backward says, is the gradient of f by x [n].
 *
 * size: how large the values of x are, the steps being 1e-4 of that. Five-point differences: the error is
 * of the fourth order of the step. The limit is 1e-6 of each value, plus, where a gradient all but
 * vanishes, 1e-9 of the largest and the rounding of f over the step.
 */
void check_gradient(
    const char *what, loss_fn *f, void *arg, real_t *x, size_t n, const real_t *want, double size);

/** Standard normal times size. */
void fill_random(real_t *x, size_t n, double size, struct rng *r);
/** Rows of length 1. */
void fill_unit(real_t *x, size_t N, size_t D, struct rng *r);
