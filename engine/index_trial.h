/* Layer: engine. May include: core, index, base.
 *
 * What the index does with somebody's own vectors: recall and rate by ef, for graphs of several shapes.
 * `kindred bench index` prints it.
 *
 * A trial holds the queries and their exact answers; each graph is built, measured and dropped. Vectors come from .npy
 * files, mapped; rows that the index would not take (not finite, or all zeros with cosine) are an error.
 *
 * Threads: one trial, one thread; building uses as many as the request says.
 */
#pragma once

#include "base/err.h"
#include "index/index.h"

#include <stdbool.h>
#include <stddef.h>

enum { TRIAL_POINTS = 9, TRIAL_QUERIES_MAX = 2000, TRIAL_QUERIES_FEW = 10 };

struct trial_request {
    const char *vectors; /* .npy, [n, dim] */
    const char *
        queries; /* .npy, [q, dim]; NULL: every so many rows of the vectors, which are then not indexed */
    enum metric_kind metric;
    size_t k;         /* 1…1000 */
    unsigned threads; /* that link */
    /** Called while something takes long; NULL: silence. `done` of `total`. */
    void (*progress)(void *arg, const char *what, size_t done, size_t total);
    void *arg;
};

struct trial_shape {
    size_t m, ef_construction;
    unsigned bits;
};

struct trial_point {
    size_t ef;
    double recall; /* @k, of exact answers; equal scores count */
    double qps;    /* one thread */
    double p50_us, p99_us;
};

struct trial_graph {
    struct trial_shape shape;
    double put_s, link_s;
    size_t bytes; /* index_stats.size_bytes */
    size_t n_points;
    struct trial_point points[TRIAL_POINTS]; /* ascending ef, from k on */
};

struct trial;

/** Errors: those of npy_open; INVALID: files that do not fit, too few rows, a row that the index refuses, k; NOMEM. */
MUST_USE enum err_code trial_open(
    const struct trial_request *rq, struct trial **ret_t, struct err *e);
void trial_close(struct trial *t);
size_t trial_vectors(const struct trial *t);
size_t trial_queries(const struct trial *t);
size_t trial_dimensions(const struct trial *t);
/** Exact scans, one thread: of the whole of what is indexed. */
double trial_scan_qps(const struct trial *t);
/** Build a graph and measure it. INVALID: the shape; NOMEM. */
MUST_USE enum err_code trial_graph(
    struct trial *t, const struct trial_shape *shape, struct trial_graph *ret, struct err *e);
/** The rate at which a graph reaches a recall, its logarithm taken as linear in log(1 - recall) between two points;
 * *ret_ef the ef for it. 0: it does not reach it. */
double trial_qps_at(const struct trial_graph *g, double recall, size_t *ret_ef);
