/* Layer: core. May include: base, CBLAS (gemm.c only).
 *
 * Matrix products. Matrices are row-major and dense: a matrix [M,N] has rows of
 * N values, one after the other.
 *
 * Threads: any number at once, each on outputs of its own. Products are exact
 * to rounding and, with one thread a product, the same bits every time.
 */
#pragma once

#include "core/nn/real.h"

#include <stdbool.h>
#include <stddef.h>

/** How many threads one product may use from now on, in the whole process. The default is 1. */
void gemm_set_threads(unsigned n);

/** c [M,N] = alpha * op(a) op(b) + beta * c; op(a) is [M,K], op(b) is [K,N]. With beta 0, c need not be
 * initialised. ta: a is stored [K,M]; tb: b is stored [N,K]. */
void gemm(bool ta, bool tb, size_t M, size_t N, size_t K, real_t alpha, const real_t *restrict a,
    const real_t *restrict b, real_t beta, real_t *restrict c);

/** The same by three loops: what the tests compare with. */
void gemm_naive(bool ta, bool tb, size_t M, size_t N, size_t K, real_t alpha,
    const real_t *restrict a, const real_t *restrict b, real_t beta, real_t *restrict c);
