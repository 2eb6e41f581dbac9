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
 * A vector is kept as a fixed-point number of 24 (or 12) bits a value, in two planes: the high byte, by which
 * graph and scans find their way, and the rest, with which what they found is scored again. Scores
 * are exact to about 1e-7 of the vectors' lengths (12 bits: some 1e-5 to 1e-4): index/README.md, "Codes".
 *
 * Deleted and replaced vectors stay as tombstones until index_maintain has taken them out of the graph; then
 * their places are used again.
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
    unsigned bits; /* 24 (0: the same), or 12: about half the memory, scores to some 1e-5 */
    uint64_t seed; /* level draws and the rotation of the codes */
    const struct vec_kernels *kernels; /* NULL: the best; the code kernels are those of its level */
};
#define INDEX_OPTIONS_DEFAULTS                                                                     \
    {                                                                                              \
        .metric = INDEX_COSINE, .m = 16, .ef_construction = 200, .ef_search = 128, .bits = 24,     \
        .seed = 1                                                                                  \
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

/** How a search was answered. */
enum index_plan {
    INDEX_PLAN_SCAN,    /* exact, over all (allowed) vectors */
    INDEX_PLAN_WALK,    /* the graph, results that the filter turns down being passed through */
    INDEX_PLAN_TWO_HOP, /* the graph of allowed nodes: neighbours of neighbours stand in */
    INDEX_PLAN_FALLBACK, /* a walk that found too little or became dearer than the scan it ended as */
    INDEX_PLAN_COUNT
};
const char *index_plan_name(enum index_plan plan);

struct index_query {
    const float *vector;             /* [dim], finite; need not be normalised */
    size_t k;                        /* 1…INDEX_K_MAX */
    size_t ef;                       /* 0: the default; ≤ INDEX_EF_MAX; raised to k if smaller */
    float target_recall;             /* 0: none; ]0, 1[: ef from the measured curve, if ef is 0 */
    bool exact;                      /* scan everything */
    const struct index_allow *allow; /* NULL: all */
    bool has_min_score; /* range search: hits below min_score are left out, and the walk
                                        goes no further than their radius */
    float min_score;
    int64_t deadline_ns; /* time_mono_ns; 0: none */
};

/** What a search did; optional. */
struct index_report {
    enum index_plan plan;
    size_t ef;        /* that was used; 0 for a scan */
    size_t estimated; /* vectors compared by their codes */
    size_t scored;    /* vectors scored exactly */
};

struct index_stats {
    size_t live;    /* ids that a search can return */
    size_t deleted; /* tombstones: in the graph or waiting to be freed */
    size_t vacant;  /* places that the next puts will use */
    size_t pending; /* live but not linked yet: scanned exactly */
    size_t size_bytes;
    size_t dim, max_level;
    uint64_t repairs;     /* rounds of index_maintain that took tombstones out */
    bool has_curve;       /* target_recall has a measured curve to go by */
    size_t curve_at_live; /* `live` when it was measured */
};

/** Errors: INVALID (an option out of range), NOMEM. */
MUST_USE enum err_code index_new(
    const struct index_options *o, struct index **ret_ix, struct err *e);
/** No other thread may be inside. Accepts NULL. */
void index_free(struct index *ix);
const struct index_options *index_options(const struct index *ix);
/** The documented formula for what n linked vectors take, without the share of unused room:
 * index/README.md, "Memory". */
size_t index_bytes_for(const struct index_options *o, size_t n);

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
/** The stored (for cosine: normalised) vector, to the precision it is kept in. NOT_FOUND. */
MUST_USE enum err_code index_get(
    const struct index *ix, uint64_t id, float *ret_vector, struct err *e);

/**
 * Link up to `max` waiting vectors into the graph; returns how many were taken, 0 when none waits.
 * Threads: any number at once, each with its own scratch; searches go on meanwhile.
 * ERR_NOMEM leaves the vector waiting (it stays exactly scanned).
 */
MUST_USE enum err_code index_link(
    struct index *ix, size_t max, struct index_scratch *s, size_t *ret_linked, struct err *e);

/**
 * One slice of upkeep: takes tombstones out of the graph once a fifth of it is dead, links around them, hands
 * their places and whole blocks back, and moves vectors together where more than half of the places are vacant
 * (moved vectors wait to be linked again). `max` bounds the nodes looked at.
 * ret_worked  nodes looked at; 0: nothing to do now (or another thread is at it, or a reader is still inside what
 *             is to be freed: a later call goes on)
 * force       starts with the first tombstone, instead of a fifth
 * Threads: any number, one of them works; together with everything else. NOMEM: a later call goes on.
 */
MUST_USE enum err_code index_maintain(struct index *ix, size_t max, bool force,
    struct index_scratch *s, size_t *ret_worked, struct err *e);

/** Scratch grows with the index. NULL: no memory. */
struct index_scratch *index_scratch_new(void);
void index_scratch_free(struct index_scratch *s);

/**
 * The k best live ids. ret_hits: room for q->k; descending score, ties by ascending id; no id twice.
 * When `exact`, or when few ids are allowed, or for vectors not linked yet, hits are those of an exact scan.
 * k live (and allowed, and near enough) hits are returned whenever k exist.
 * ret_report: NULL, or what it took.
 * Errors: INVALID (non-finite, zero vector with cosine, k, ef, target_recall), TIMEOUT, NOMEM.
 * Threads: any number, each with its own scratch; blocks neither puts nor links nor deletes.
 * Source: Algorithms 2 and 5; where we differ: index/README.md.
 */
MUST_USE enum err_code index_search(const struct index *ix, const struct index_query *q,
    struct index_scratch *s, struct index_hit *ret_hits, size_t *ret_n,
    struct index_report *ret_report, struct err *e);

/**
 * n searches with one scratch; those that are scans read the vectors once for several queries.
 * ret_hits[i] has room for q[i].k. Stops at the first error, whose number is *ret_failed.
 */
MUST_USE enum err_code index_search_batch(const struct index *ix, const struct index_query *q,
    size_t n, struct index_scratch *s, struct index_hit *const *ret_hits, size_t *ret_n,
    size_t *ret_failed, struct err *e);

/* ---- how good are the answers ---- */

enum { INDEX_CURVE_POINTS = 8 };
/** Recall by ef, for k = 10. n = 0: not measured. */
struct index_curve {
    size_t n;
    size_t ef[INDEX_CURVE_POINTS];    /* ascending */
    float recall[INDEX_CURVE_POINTS]; /* not descending */
    size_t n_queries, at_live;
};
/**
 * Measure the curve: each of n queries is answered exactly and with each ef of a ladder.
 * queries  [n][dim], such as people ask; NULL: n stored vectors, each left out of its own answer
 * Takes n scans and n * INDEX_CURVE_POINTS walks; between two queries `go_on(arg)`, if given, may say stop
 * (CANCELLED, the old curve stays). Threads: any number; the last one counts.
 * Errors: INVALID (n = 0, a query), CANCELLED, NOMEM; NOT_FOUND: fewer than 100 vectors are linked.
 */
MUST_USE enum err_code index_measure(struct index *ix, const float *queries, size_t n,
    bool (*go_on)(void *arg), void *arg, struct index_scratch *s, struct err *e);
void index_curve(const struct index *ix, struct index_curve *ret);
/** The ef that reaches the recall for k hits by the curve; without a curve a cautious guess. */
size_t index_ef_for(const struct index *ix, float target_recall, size_t k);

/* ---- on disk: index/snapshot.h ---- */

/** Counts at one moment. Threads: any; keeps puts and deletes waiting while it looks. */
void index_stats(const struct index *ix, struct index_stats *ret);

/** Walk all invariants (degree bounds, links in range and on both nodes' layers, no self-links,
 * id map and nodes agree, counts agree, linked nodes reachable on layer 0 up to a stated share; vacant and
 * dead places are referred to by nothing).
 * Quiescent index only. ERR_INTERNAL names the first that is broken. */
MUST_USE enum err_code index_verify(const struct index *ix, struct err *e);
