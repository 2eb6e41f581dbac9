/* Layer: index. May include: base.
 *
 * What each source of the index does for the others, in the order of reading. Included by index_internal.h, at its
 * end, and by nobody else.
 */
#pragma once

#include "index/index_internal.h"

/* ---- index.c ---- */
/** Of a block of so many nodes. */
struct block_shape index__shape(const struct index *ix, size_t nodes);
/** Take the centre of the codes (codes__recentre) if it is time to; another thread being at it, or a snapshot being
 * written, it is left to a later call. Not inside. */
void index__mind_centre(struct index *ix);
/** Have two nodes the very same vector? */
bool index__same_row(const struct index *ix, uint32_t a, uint32_t b);
/** Make a node whose row is written the one of its id; the node that the id had becomes a tombstone. On
 * failure, and where the vector is the one that the id has, the node's place is vacant again. */
MUST_USE enum err_code index__publish(struct index *ix, uint64_t id, uint32_t node, struct err *e);

/** Make `node`, whose row is written, that of an id whose node is `old`, which becomes a tombstone (NODE_NONE: it has
 * none). Room in the tail is reserved. false: no memory. Under ids_lock. */
bool index__replace(struct index *ix, uint64_t id, uint32_t node, uint32_t old);

/* ---- codes.c: vectors to rows, and distances: lower is nearer ----
 *
 * A distance is minus the dot product for INDEX_DOT, minus the cosine for INDEX_COSINE (exact ones only), else squared
 * L2. Estimates are by the codes: of squared L2 for INDEX_COSINE and INDEX_L2, of minus the dot
 * product for INDEX_DOT. */

/** A vector made ready to be compared: in the rotated space. */
struct prepared {
    float *centred;         /* [dim] the vector (for cosine: normalised) minus the centre */
    struct code_query code; /* of centred / unit; points at the three below */
    int16_t *q16;
    int8_t *hi, *lo;
    float unit;
    float norm;   /* |centred|^2 */
    float length; /* |centred|, though its square be too small for a float */
};
/** Floats that a prepared vector of the index needs in its buffer. */
size_t codes__prepared_bytes(const struct index *ix);
/** Room for p in `buffer` [codes__prepared_bytes], aligned to 64. */
void codes__prepare_room(const struct index *ix, struct prepared *p, void *buffer);
/** Finite, not too large, not zero with cosine? The factor that the vector is taken times. */
MUST_USE enum err_code codes__check(
    const struct index *ix, const float *vector, double *ret_scale, struct err *e);
void codes__prepare(const struct index *ix, const float *vector, double scale, struct prepared *p);
/** A stored vector as a query: centred, norm and code only. */
void codes__prepare_node(const struct index *ix, uint32_t node, struct prepared *p);
/** Write a row and its low plane; work [dim]. */
void codes__write(
    const struct index *ix, const float *vector, double scale, char *row, void *low, float *work);
/** The stored vector, in the space that it came from. */
void codes__read(const struct index *ix, uint32_t node, float *ret_vector);
/** Are there enough more vectors than the centre was taken from? */
bool codes__wants_centre(const struct index *ix);
/** Take the centre anew from the stored vectors and write all rows again. Nobody may be inside. */
void codes__recentre(struct index *ix);

/** ret[i] = estimate for metric L2 or DOT, of n nodes; prefetches. */
void codes__estimate(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    const uint32_t *nodes, size_t n, float *ret);
/** Of four nodes whose rows are fetched already. */
void codes__estimate4(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    const uint32_t nodes[4], float ret[4]);
/** The exact distance of the index's metric. */
float codes__distance(const struct index *ix, const struct prepared *p, uint32_t node);
/** n ascending keys: where the estimate says little (very near) the exact one takes its place; sorts. For linking. */
void codes__refine(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    uint64_t *keys, size_t n);
/** ret[i]: from stored vector a to nodes[i], exact where an estimate says little. For choosing links. */
void codes__between(const struct index *ix, enum metric_kind metric, uint32_t a,
    const uint32_t *nodes, size_t n, float *ret);
/** An exact distance of the index's metric in the domain of estimates. */
float codes__to_estimate(const struct index *ix, const struct prepared *p, float distance);
/** The largest estimate of a vector, stored with that scale, whose exact distance is at most `distance`. */
float codes__estimate_bound(
    const struct index *ix, const struct prepared *p, float distance, float scale);
/** An estimate above which hardly any vector is nearer than one with `estimate`. */
float codes__likely_bound(
    const struct index *ix, const struct prepared *p, float estimate, float scale);
static inline void codes__prefetch_row(const struct index *ix, const char *row)
{
    for (size_t at = 0; at < ix->row_bytes && at < 1024; at += 64)
        __builtin_prefetch(row + at);
}
static inline void codes__prefetch(const struct index *ix, uint32_t node)
{
    codes__prefetch_row(ix, index__row(ix, node));
}

static inline void codes__prefetch_low(const struct index *ix, uint32_t node)
{
    const char *low = index__low(ix, node);
    for (size_t at = 0; at < ix->low_bytes && at < 2048; at += 64)
        __builtin_prefetch(low + at);
}

/* ---- store.c ---- */
/** A place for a node, its lists empty, not yet published; it holds no vector. Under ids_lock. */
MUST_USE enum err_code store__allot(struct index *ix, uint32_t *ret_node, struct err *e);
/** Vacant again; nobody knows it. Under ids_lock. */
void store__vacate(struct index *ix, uint32_t node);
/** Tombstone a node and keep the counts. */
void store__tombstone(struct index *ix, uint32_t node);
/** Give back blocks at the end that are wholly vacant: they leave the directory now; ret_blocks [max] is
 * unmapped by the caller when nobody can know them. Under ids_lock. */
size_t store__trim(struct index *ix, char **ret_blocks, size_t max);
MUST_USE enum err_code store__reserve_dir(struct index *ix, size_t n_blocks, struct err *e);
void store__free(struct index *ix);

/* ---- epoch.c: who is inside ---- */
/** Between enter and leave nothing that could be seen is freed. Not recursive. Returns what leave needs. */
unsigned epoch__enter(const struct index *ix, const void *who);
void epoch__leave(const struct index *ix, const void *who, unsigned token);
/** The epoch now; what is unlinked now may be freed once epoch__passed of it. */
uint64_t epoch__now(const struct index *ix);
/** Has everybody left who was inside at `since`? Moves the epoch on as far as it can. */
bool epoch__passed(struct index *ix, uint64_t since);
/** Nobody enters until epoch__open; waits until all who are inside have left. */
void epoch__close(struct index *ix);
void epoch__open(struct index *ix);

/* ---- tail.c: what is not linked yet, in the order of the puts ---- */
MUST_USE enum err_code tail__init(struct tail *t, struct err *e);
void tail__done(struct tail *t);
/** Room for one more, so that tail__append cannot fail. */
MUST_USE enum err_code tail__reserve(struct tail *t, struct err *e);
void tail__append(struct tail *t, uint32_t node);
/** From the watermark on. */
struct tail_view tail__view(const struct tail *t);
/** From what comes next on. */
struct tail_view tail__view_end(const struct tail *t);
/** The nodes at v->at…, at most max; moves v on. 0: the end for now. */
size_t tail__read(const struct tail *t, struct tail_view *v, uint32_t *ret_nodes, size_t max);
/** Next waiting node, claimed for the caller; false: none waits. */
bool tail__claim(struct index *ix, uint32_t *ret_node, uint64_t *ret_at);
/** Give a claim back; the node waits again. */
void tail__unclaim(struct index *ix, uint32_t node, uint64_t at);
/** Linked: the caller's claim is done. */
void tail__linked(struct index *ix, uint32_t node);
void tail__advance(struct index *ix);
/** Free chunks that nobody can know any more. */
void tail__collect(struct index *ix);
size_t tail__bytes(const struct tail *t);

/* ---- upper.c ---- */
/** `level` units, all NODE_NONE. */
MUST_USE enum err_code upper__take(
    struct index *ix, unsigned level, uint32_t *ret_unit, struct err *e);
void upper__give(struct index *ix, uint32_t unit, unsigned level);
void upper__free(struct index *ix);
size_t upper__bytes(const struct index *ix);

/* ---- scratch.c: heaps of keys ---- */
/* A key is a distance and a node in 64 bits that sort by distance, then node. */
static inline uint64_t key_make(float distance, uint32_t node)
{
    uint32_t u;
    memcpy(&u, &distance, sizeof u);
    u ^= (u & 0x80000000u) ? 0xffffffffu : 0x80000000u;
    return (uint64_t)u << 32 | node;
}
static inline float key_distance(uint64_t key)
{
    uint32_t u = (uint32_t)(key >> 32);
    u ^= (u & 0x80000000u) ? 0x80000000u : 0xffffffffu;
    float d;
    memcpy(&d, &u, sizeof d);
    return d;
}
static inline uint32_t key_node(uint64_t key)
{
    return (uint32_t)key;
}

struct key_heap {
    uint64_t *v;
    size_t n, cap;
};
MUST_USE enum err_code key_heap__reserve(struct key_heap *h, size_t cap);
/** Smallest on top. Room must have been reserved. */
void key_heap__push_min(struct key_heap *h, uint64_t key);
uint64_t key_heap__pop_min(struct key_heap *h);
/** Largest on top. */
void key_heap__push_max(struct key_heap *h, uint64_t key);
void key_heap__replace_max(struct key_heap *h, uint64_t key);
/** A heap with the largest on top becomes an ascending array. */
void key_heap__sort_max(struct key_heap *h);
/** Ascending; for short arrays. */
void keys__sort(uint64_t *v, size_t n);

/** The best `cap` hits so far: a heap with the worst on top. */
struct top_entry {
    float distance;
    uint32_t node;
    uint64_t id;
};
struct top {
    struct top_entry *v;
    size_t n, cap, room;
    float bound; /* distance of the worst when full, else infinity: nothing above it gets in */
};
/** Empty, for up to cap hits. */
MUST_USE enum err_code top__begin(struct top *t, size_t cap);
void top__offer(struct top *t, float distance, uint32_t node, uint64_t id);
/** Of entries with the same id only one stays, a live one if there is; then ascending by distance and id. */
void top__finish(const struct index *ix, struct top *t);

enum { SCAN_LANES = 8 };
struct index_scratch {
    struct index_scratch
        *more[SCAN_LANES - 1]; /* the other lanes of a batch; NULL until one is asked */
    uint8_t *visited;          /* == epoch: seen by the running traversal; epoch + 1: not allowed */
    size_t visited_cap;
    uint8_t epoch;          /* even */
    uint32_t absent;        /* walks go as if this node were not there (measure.c); NODE_NONE */
    struct key_heap cands;  /* smallest on top: to be expanded */
    struct key_heap found;  /* largest on top: best so far */
    struct key_heap around; /* largest on top: nearest of all, results or not */
    struct key_heap within; /* largest on top: more of them, within the radius */
    struct top top;
    struct prepared query;
    void *query_room;
    size_t query_cap; /* bytes */
    struct index_report report;
    enum index_forced forced;
    uint32_t batch[POOL_MAX + 1]; /* the nodes at hand, and their distances */
    float batch_distance[POOL_MAX + 1];
    uint64_t pool[POOL_MAX + 1];
    uint32_t chosen[LEVEL_MAX + 1][INDEX_M_MAX]; /* linking: what each layer gets */
    size_t n_chosen[LEVEL_MAX + 1];
};
/** A new epoch over at least n nodes: nothing visited. */
MUST_USE enum err_code scratch__begin(struct index_scratch *s, size_t n);
/** Room for a prepared vector of this index. */
MUST_USE enum err_code scratch__query(const struct index *ix, struct index_scratch *s);

/* ---- hnsw_search.c ---- */
struct layer_search {
    const struct prepared *query;
    enum metric_kind metric; /* of the estimates: L2 or DOT */
    unsigned layer;
    size_t ef; /* results that are kept */
    size_t
        around; /* not 0: the walk goes as far as so many nodes lie, results or not, if that is further than ef
                      results lie */
    bool live_only;                  /* results are live (and allowed) nodes and their twins */
    bool two_hop;                    /* only allowed nodes are compared */
    const struct index_allow *allow; /* NULL: all */
    size_t seed_every;    /* the nodes of every so manieth allowed id are begun at, too; 0: none */
    float radius;         /* range search: estimates up to it are results and lead on, beyond ef; */
    size_t n_within;      /* as many are kept; 0 and a radius of -INFINITY: no range search */
    int64_t deadline_ns;  /* 0: none */
    size_t max_estimates; /* give up beyond; 0: never */
    double least_pass;    /* give up where a smaller share of the nodes met are results; 0: never */
};
/** Greedy walk from the entry point down to the layer above ls->layer: the nearest node's key. */
uint64_t hnsw__descend(
    const struct index *ix, const struct layer_search *ls, uint64_t entry, struct index_scratch *s);
/** Algorithm 2 from node `start`: s->found, largest on top, by estimate. LIMIT (without a message): gave up.
 * Also TIMEOUT, NOMEM. */
MUST_USE enum err_code hnsw__search_layer(const struct index *ix, const struct layer_search *ls,
    uint64_t start, struct index_scratch *s, struct err *e);

/* ---- hnsw_choose.c ---- */
/** Algorithm 4: of n candidates (ascending keys of distances from the node the list is for) those that lead in
 * different directions are added to the `have` nodes of another metric in list, up to `max` in all. */
size_t hnsw__choose(const struct index *ix, enum metric_kind metric, const uint64_t *cands,
    size_t n, uint32_t *list, size_t have, size_t max);
/** What a list of `max` may hold after the pass-th metric has chosen. */
static inline size_t hnsw__share(const struct index *ix, size_t max, size_t pass)
{
    return max * (pass + 1) / ix->n_link_metrics;
}
/** The best `max` of the n nodes in s->batch for the list of `node`, into ret_list; returns how many. */
size_t hnsw__choose_from_batch(const struct index *ix, uint32_t node, size_t n, size_t max,
    struct index_scratch *s, uint32_t *ret_list);
/** links [max] = list [n], then NODE_NONE. Under the node's lock, or unpublished. */
void hnsw__store_list(_Atomic uint32_t *links, size_t max, const uint32_t *list, size_t n);

/* ---- hnsw_insert.c ---- */
/** The level of a node: depends on the seed and the id alone. */
unsigned hnsw__level(const struct index *ix, uint64_t id);
/** The list of `from` gets the newcomer; a full one takes the best of what it has and the newcomer. */
void hnsw__add_link(
    struct index *ix, uint32_t from, uint32_t newcomer, unsigned layer, struct index_scratch *s);
/** Link a claimed node. NOMEM: nothing was changed; BUSY, without a message: likewise, all nodes around are being taken
 * out by the repair, and it can be linked when that is done. */
MUST_USE enum err_code hnsw__link(
    struct index *ix, uint32_t node, struct index_scratch *s, struct err *e);

/** A node of the graph whose list on layer 0 is empty gets one, as if it were linked now. */
MUST_USE enum err_code hnsw__reconnect(
    struct index *ix, uint32_t node, struct index_scratch *s, struct err *e);

/* ---- scan.c: exact, into s->top ---- */
/** One query of a scan: prepared in s, its hits in s->top. */
struct scan_lane {
    struct index_scratch *s;
    float bound, bound_scale, limit; /* of the scan's own */
};
/** One scan for n_lanes queries; q: the filter and deadline of all of them. by_id: scan__allowed, else scan__all. */
MUST_USE enum err_code scan__lanes(const struct index *ix, const struct index_query *q, bool by_id,
    struct scan_lane *lanes, size_t n_lanes, struct err *e);
/** Every live (and allowed) node, those included that come while it runs. */
MUST_USE enum err_code scan__all(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e);
/** The live (and allowed) nodes of the tail from v on. */
MUST_USE enum err_code scan__tail(const struct index *ix, const struct index_query *q,
    struct tail_view v, struct index_scratch *s, struct err *e);
/** The nodes of n ids; ids that are not there are dropped from both. Returns how many are left. */
size_t scan__look_up(const struct index *ix, uint64_t *ids, size_t n, uint32_t *ret_nodes);
/** The nodes of the allowed ids. */
MUST_USE enum err_code scan__allowed(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e);

/* ---- repair.c ---- */
/** Dying twins leave the list that begins behind m. Under the head's lock, or by who has claimed it. */
void repair__filter_twins(const struct index *ix, struct node_meta *m);
void repair__free(struct index *ix);

/* ---- search.c ---- */
/** Is it a query that can be answered? The factor that its vector is taken times. INVALID, TIMEOUT. */
MUST_USE enum err_code search__check(
    const struct index *ix, const struct index_query *q, double *ret_scale, struct err *e);
/** The hits of s->top, finished, that the query asks for. */
void search__write_hits(
    const struct index_query *q, const struct top *t, struct index_hit *ret_hits, size_t *ret_n);
enum { REPLACED_SLACK = 16 }; /* room beside k for ids that are seen twice while being replaced */

/* ---- plan.c ---- */
struct plan {
    enum index_plan kind;
    bool by_id;  /* a scan looks up the allowed ids, rather than go through all nodes */
    size_t ef;   /* as asked for */
    size_t keep; /* of a walk: layer_search.ef, and fields of the same names */
    size_t around, seed_every, max_estimates;
    double least_pass;
};
struct plan plan__make(
    const struct index *ix, const struct index_query *q, enum index_forced forced);
/** The way to go after p gave up or found too little; a scan at last. */
struct plan plan__instead(
    const struct index *ix, const struct index_query *q, const struct plan *p);
/** The most hits that there can be. */
size_t plan__possible_hits(const struct index *ix, const struct index_query *q);
