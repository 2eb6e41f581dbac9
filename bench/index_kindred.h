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
/** Link up to `max` of what waits; how many. */
size_t kindred_link_some(struct kindred *x, size_t max, struct kindred_searcher *s);
/** A slice of upkeep; how many nodes were looked at. */
size_t kindred_maintain(struct kindred *x, size_t max, struct kindred_searcher *s);

struct kindred_stats {
    size_t live, deleted, vacant, pending;
    size_t size_bytes; /* what the index says of its own size */
    size_t repairs;
};
void kindred_stats(const struct kindred *x, struct kindred_stats *ret);
/** What the documented formula says of n vectors. */
size_t kindred_bytes_for(const struct kindred *x, size_t n);
/** Ends the program if an invariant is broken. No other thread may be inside. */
void kindred_verify(const struct kindred *x);

/**
 * All of `base`, its rows' numbers being the ids, linked by so many threads. `path`: if it is not NULL, the index is read
 * from there if it can, and else written there; whoever changes how an index is built has to delete such files.
 */
struct kindred *kindred_of(
    const struct matrix *base, const struct kindred_options *o, unsigned threads, const char *path);

/** Size of the file. */
size_t kindred_save(struct kindred *x, const char *path);
/** NULL: `why` [size] says what is wrong with the file. */
struct kindred *kindred_load(
    const char *path, const struct kindred_options *o, bool map, char *why, size_t size);

struct kindred_searcher *kindred_searcher_new(void);
void kindred_searcher_free(struct kindred_searcher *s);

/** Which way a search goes. */
enum kindred_way {
    KINDRED_CHOOSES,
    KINDRED_SCAN_ALL, /* an exact scan through all vectors, */
    KINDRED_SCAN_IDS, /* or of the allowed ids, that are looked up */
    KINDRED_WALK,
    KINDRED_TWO_HOP,
};

struct kindred_query {
    const float *vector;
    size_t k, ef; /* ef 0: the default */
    bool exact;
    const uint64_t *allow; /* bitmap of n_bits ids, `count` of them set; NULL: all */
    size_t n_bits, count;
    enum kindred_way way;
};
/** Ids, best first; how many. */
size_t kindred_search(const struct kindred *x, const struct kindred_query *q,
    struct kindred_searcher *s, uint64_t *ret_ids);

struct kindred_report {
    const char *plan;
    size_t ef, estimated, scored;
};
/** How the searcher's last search was answered. */
void kindred_report(const struct kindred_searcher *s, struct kindred_report *ret);

extern const struct index_library kindred_library;
