/* Layer: core. May include: base.
 *
 * Mean of embedding rows ("bag of tokens") and scaling to unit length: the
 * forward and backward pass of a static encoder.
 */
#pragma once

#include "core/nn/real.h"

#include <stddef.h>
#include <stdint.h>

/** out [N,D]: mean of the rows of table [V,D] that ids name; bag n has ids[starts[n]] …
 * ids[starts[n+1]-1], at least one. starts [N+1]. */
void bag_mean_forward(real_t *restrict out, const real_t *restrict table,
    const uint32_t *restrict ids, const size_t *restrict starts, size_t N, size_t D);
/** Adds to drows [U,D], the gradients of the rows in use. at [starts[N]]: which of the U rows each
 * token is (bag_rows). */
void bag_mean_backward(real_t *restrict drows, const real_t *restrict dout,
    const uint32_t *restrict at, const size_t *restrict starts, size_t N, size_t D);
/** The distinct ids in order of first use into rows, and each token's place among them into at [n].
 * place [V] is scratch, all UINT32_MAX before and after. Returns their number, U ≤ n. */
size_t bag_rows(uint32_t *restrict rows, uint32_t *restrict at, uint32_t *restrict place,
    const uint32_t *restrict ids, size_t n);

/** out, x [N,D]; norms [N]: out = x / ||x||. A row of zeros stays zero, its norm is 0. */
void unit_forward(
    real_t *restrict out, real_t *restrict norms, const real_t *restrict x, size_t N, size_t D);
/** Adds to dx [N,D]. out, norms: what forward made. */
void unit_backward(real_t *restrict dx, const real_t *restrict dout, const real_t *restrict out,
    const real_t *restrict norms, size_t N, size_t D);
