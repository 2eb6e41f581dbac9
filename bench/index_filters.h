/* Layer: bench. May include: base.
 *
 * Filters for a set's queries: at random, or by where a vector lies, near to a query or far from it.
 *
 * Some vectors of the set are pivots; the others belong to the nearest of them, and so do the queries. A filter that
 * goes with a query lets the vectors of the pivots nearest to the query's own pass until the wanted share is
 * reached, one that contradicts it those of the pivots farthest away. So queries with one pivot share their filters.
 */
#pragma once

#include "bench/index_truth.h"

#include <stddef.h>
#include <stdint.h>

enum filter_kind { FILTER_RANDOM, FILTER_NEAR, FILTER_FAR };

struct filters {
    const struct truth *t;
    size_t n_pivots;
    float *pivots;         /* [n_pivots, dim]; with the cosine of length 1 */
    uint32_t *order;       /* [base->n] vectors by pivot, those of one in random order */
    size_t *start;         /* [n_pivots + 1] */
    uint32_t *query_pivot; /* [query->n] */
};

void filters_open(struct filters *f, const struct truth *t, size_t n_pivots, unsigned threads);
void filters_close(struct filters *f);
/** bits [base->n / 64, rounded up]: a share of the vectors. FILTER_RANDOM: by the seed; else by the pivot. */
void filter_make(const struct filters *f, enum filter_kind kind, double share, size_t pivot,
    uint64_t seed, uint64_t *ret_bits);
