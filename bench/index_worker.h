/* Layer: bench. May include: base.
 *
 * A library under bench-index: a process of its own that answers the driver's lines (bench/peer.h), so that rounds of
 * all libraries take turns and each one's memory is seen alone. Timing, threads, memory and answers are done here,
 * the same for all that are written in C or C++; bench/peers/index_python.py does the same in Python.
 *
 *   load BASE QUERY METRIC          -> ok N DIM QUERIES
 *   build THREADS M EFC [OPTION...] -> ok SECONDS KIB HUGE NOTE
 *                                                            an index of all of base, in place of the one before;
 *                                                            KIB: growth of the process's own resident memory;
 *                                                            HUGE: KiB of the process that are in huge pages
 *   search EF THREADS K             -> ok SECONDS            every query once; the mean of several times if that is short
 *   results FILE                    -> ok                    ids that the last search found, uint32 [QUERIES, K];
 *                                                            UINT32_MAX where there are fewer
 *
 * An answer "no REASON" means that it cannot be had; the driver goes on without. Also for C++.
 */
#pragma once

#include "bench/index_data.h"

#ifdef __cplusplus
extern "C" {
#endif

struct index_build {
    const struct matrix *base;
    enum matrix_metric metric;
    unsigned threads;
    size_t m, ef_construction;
    const char *options; /* "KEY=VALUE KEY=VALUE", may be "" */
    char note[96];       /* out: one word on the index, or why there is none */
};

struct index_library {
    const char *name, *version;
    /** NULL: b->note says why. */
    void *(*build)(struct index_build *b);
    void (*release)(void *index);
    /** What a searching thread needs for itself; may be NULL. */
    void *(*searcher_new)(void *index);
    void (*searcher_free)(void *searcher);
    /** Called before a round. */
    void (*set_ef)(void *index, size_t ef);
    /** Up to k ids, in any order; how many. query: of length 1 with the cosine. */
    size_t (*search)(
        void *index, void *searcher, const float *query, size_t k, size_t ef, uint32_t *ret_ids);
};

/** Call fn(arg, i) for all i < n from several threads, the calling one among them; `grain` in a row each time. */
void worker_parallel(
    size_t n, size_t grain, unsigned threads, void (*fn)(void *arg, size_t i), void *arg);
/** x / |x|; a zero vector as it is. */
void worker_normalize(float *out, const float *x, size_t n);
/** Answer lines until standard input ends; the exit status. */
int index_worker_run(const struct index_library *lib);

#ifdef __cplusplus
}
#endif
