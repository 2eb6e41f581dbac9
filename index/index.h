/* Layer: index. May include: base.
 *
 * Nearest-neighbour search over vectors with 64-bit ids: knows nothing else.
 *
 * One store, two ways to search it. Vectors live in blocks that never move.
 * A vector that was put is found at once: until it is linked into the HNSW
 * graph (index_link, by background threads) every search scans it exactly;
 * afterwards the graph finds it. `exact` scans all. So an acknowledged write
 * is visible without waiting for the graph, and a restart can serve before the
 * graph is whole.
 *
 * Arguments are borrowed for the call. `ret_` outputs are not touched on failure.
 *
 * Source: Malkov & Yashunin 2018, "Efficient and robust approximate nearest
 * neighbor search using Hierarchical Navigable Small World graphs", Algorithms 1–5.
 */
#pragma once

#include "base/err.h"
#include "base/vecmath.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind { INDEX_COSINE, INDEX_DOT, INDEX_L2 };
enum {
    INDEX_DIM_MAX = 4096,
    INDEX_K_MAX = 10000,
    INDEX_EF_MAX = 20000,
    INDEX_M_MIN = 4,
    INDEX_M_MAX = 64,
};

struct index_options {
    size_t dim; /* 1…INDEX_DIM_MAX */
    enum metric_kind metric;
    size_t m;               /* links a node and layer (2m on layer 0) */
    size_t ef_construction; /* 8…2000 */
    size_t ef_search;       /* default ef of a search */
    uint64_t seed;          /* level draws */
    const struct vec_kernels *kernels;
};
#define INDEX_OPTIONS_DEFAULTS                                                                     \
    {                                                                                              \
        .metric = INDEX_COSINE, .m = 16, .ef_construction = 200, .ef_search = 128, .seed = 1       \
    }

struct index;         /* see index_internal.h */
struct index_scratch; /* one thread's visited set and heaps */

/** Set of ids that a search may return: bit id of `bits` (64 a word), ids ≥ n_bits are not in it. */
struct index_allow {
    const uint64_t *bits;
    size_t n_bits;
    size_t count; /* bits set; picks exact scan or traversal */
};

struct index_hit {
    uint64_t id;
    float score; /* higher is better: cosine, dot product, or minus the squared L2 distance */
};

struct index_query {
    const float *vector;             /* [dim], finite; need not be normalised */
    size_t k;                        /* 1…INDEX_K_MAX */
    size_t ef;                       /* 0: the default; raised to k if smaller; ≤ INDEX_EF_MAX */
    bool exact;                      /* scan everything */
    const struct index_allow *allow; /* NULL: all */
    bool has_min_score;
    float min_score;     /* hits below are left out */
    int64_t deadline_ns; /* time_mono_ns; 0: none */
};

struct index_stats {
    size_t live;    /* ids that a search can return */
    size_t deleted; /* tombstones still holding memory */
    size_t pending; /* live but not linked yet: scanned exactly */
    size_t size_bytes;
    size_t dim, max_level;
};

/** Errors: INVALID (an option out of range), NOMEM. */
MUST_USE enum err_code index_new(
    const struct index_options *o, struct index **ret_ix, struct err *e);
/** No other thread may be inside. Accepts NULL. */
void index_free(struct index *ix);
const struct index_options *index_options(const struct index *ix);

/**
 * Store a vector under an id, replacing the one it had. Visible to searches that start after return.
 * vector  [dim], finite; for cosine it must not be all zero (INVALID), it is stored normalised
 * Errors: INVALID, NOMEM, LIMIT (2^32-1 nodes). On error the old vector stays.
 * Threads: any number, together with searches, links and deletes.
 */
MUST_USE enum err_code index_put(struct index *ix, uint64_t id, const float *vector, struct err *e);
/** Tombstone; false: was not there. Threads: as index_put. */
bool index_delete(struct index *ix, uint64_t id);
bool index_contains(const struct index *ix, uint64_t id);
/** Copy of the stored (for cosine: normalised) vector. NOT_FOUND. */
MUST_USE enum err_code index_get(
    const struct index *ix, uint64_t id, float *ret_vector, struct err *e);

/**
 * Link up to `max` waiting vectors into the graph; returns how many were taken, 0 when none waits.
 * Threads: any number at once, each with its own scratch; searches go on meanwhile.
 * ERR_NOMEM leaves the vector waiting (it stays exactly scanned).
 */
MUST_USE enum err_code index_link(
    struct index *ix, size_t max, struct index_scratch *s, size_t *ret_linked, struct err *e);

/** Scratch grows with the index. NULL: no memory. */
struct index_scratch *index_scratch_new(void);
void index_scratch_free(struct index_scratch *s);

/**
 * The k best live ids. ret_hits: room for q->k; descending score, ties by ascending id; no id twice.
 * When `exact`, or when few ids are allowed, or for vectors not linked yet, scores are exact scans.
 * k live (and allowed) hits are returned whenever k exist.
 * Errors: INVALID (dim is the caller's; non-finite, zero vector with cosine, k, ef), TIMEOUT, NOMEM.
 * Threads: any number, each with its own scratch; blocks neither puts nor links nor deletes.
 * Source: Algorithms 2 and 5; where we differ: index/README.md.
 */
MUST_USE enum err_code index_search(const struct index *ix, const struct index_query *q,
    struct index_scratch *s, struct index_hit *ret_hits, size_t *ret_n, struct err *e);

/** Counts at one moment. Threads: any; keeps puts and deletes waiting while it looks. */
void index_stats(const struct index *ix, struct index_stats *ret);

/** Walk all invariants (degree bounds, links in range and on both nodes' layers, no self-links,
 * id map and nodes agree, counts agree, linked nodes reachable on layer 0 up to a stated share).
 * Quiescent index only. ERR_INTERNAL names the first that is broken. */
MUST_USE enum err_code index_verify(const struct index *ix, struct err *e);
