/* Layer: bench. May include: base.
 *
 * The true nearest neighbours of a set's queries, found by comparing with every vector, and kept in a file beside
 * the set; and recall against them.
 */
#pragma once

#include "bench/index_data.h"

enum { TRUTH_K = 10 };

struct truth {
    const struct matrix *base, *query;
    enum matrix_metric metric;
    float *scale;  /* [base->n]: with the cosine 1 / length, else NULL */
    uint32_t *ids; /* [query->n, TRUTH_K], best first */
    float *least;  /* [query->n]: score of the last of them */
};

/** Read `path`, or compute with `threads` and write it. The matrices must stay. */
void truth_open(struct truth *t, const struct matrix *base, const struct matrix *query,
    enum matrix_metric metric, const char *path, unsigned threads);
void truth_close(struct truth *t);
/** Higher is nearer: cosine times |q|, dot product, or minus the squared distance. */
float truth_score(const struct truth *t, size_t query, uint32_t id);
/**
 * Share of the TRUTH_K nearest of query i that are among ids [n]: an id counts if it is as near as the last true
 * one, so any of several at equal distance will do; one that comes twice counts once.
 */
double truth_recall(const struct truth *t, size_t query, const uint32_t *ids, size_t n);
/** Of each query, the score of the TRUTH_K-th best among ids [n], into ret_least [n_queries]. Threads: any. */
void truth_least_among(const struct truth *t, const uint32_t *queries, size_t n_queries,
    const uint32_t *ids, size_t n, float *ret_least);
/** As truth_recall, where `least` takes the place of the query's own. */
double truth_recall_from(
    const struct truth *t, size_t query, float least, const uint32_t *ids, size_t n);
