/* Layer: bench. May include: base.
 *
 * Kindred's index as the index benches use it: the only place there that knows index/index.h.
 * A failure that no input explains ends the program.
 */
#pragma once

#include "bench/index_worker.h"

#include <stdbool.h>

struct kindred;          /* an index */
struct kindred_searcher; /* one thread's */

struct kindred_options {
    size_t dim, m, ef_construction;
    enum matrix_metric metric;
    /* "KEY=VALUE KEY=VALUE":
     *   simd=scalar|avx2|avx512   kernels
     *   bits=24|12                how much of a value is kept
     *   seed=N                    level draws */
    const char *options;
};

/** NULL: `why` [size] says what it does not take. */
struct kindred *kindred_new(const struct kindred_options *o, char *why, size_t size);
void kindred_free(struct kindred *x);
void kindred_put(struct kindred *x, uint64_t id, const float *vector);
void kindred_delete(struct kindred *x, uint64_t id);
/** Link what waits, by this many threads, the calling one among them. */
void kindred_link(struct kindred *x, unsigned threads);
/** Link up to `max` of what waits; how many. Then look after the graph for a while, as a server's threads do between
 * links. */
size_t kindred_work(struct kindred *x, size_t max, struct kindred_searcher *s);
/** What the index says of its own size. */
size_t kindred_size_bytes(const struct kindred *x);
/** Ends the program if an invariant is broken. No other thread may be inside. */
void kindred_verify(const struct kindred *x);

struct kindred_searcher *kindred_searcher_new(void);
void kindred_searcher_free(struct kindred_searcher *s);

struct kindred_query {
    const float *vector;
    size_t k, ef;
    bool exact;
    const uint64_t *allow; /* bitmap of n_bits ids, `count` of them set; NULL: all */
    size_t n_bits, count;
};
/** Ids, best first; how many. */
size_t kindred_search(const struct kindred *x, const struct kindred_query *q,
    struct kindred_searcher *s, uint64_t *ret_ids);

extern const struct index_library kindred_library;
