/* Layer: index. May include: base.
 *
 * What the sources of the index share: the store of vectors, the graph over
 * it, the scratch of one thread. Nothing outside index/ and its tests includes
 * this file.
 *
 * Memory of one node, number `node`, in block node >> block_shift:
 *
 *   offset in the block   size of an entry         content
 *   0                     row_floats * 4           vector, rows start on 64 bytes
 *   links_offset          m0 * 4                   links on layer 0, NODE_NONE ends the list
 *   meta_offset           sizeof(struct node_meta) id, twin, state, level
 *   upper_offset          sizeof(void *)           links on layers 1…level, NULL below level 1
 *
 * Blocks never move and are freed with the index, so a node's number is all
 * that anybody needs to keep. How threads meet:
 *
 *   ids, allotment of nodes   ids_lock (RANK_INDEX); a traversal never takes it
 *   vector, id                written before the node is published (release store of n_nodes,
 *                             or the claim of the linker and then its links), constant after
 *   level, upper              written by the one linker that claimed the node, before the first
 *                             link to it is stored; constant after
 *   links, twin               written under the node's striped lock (RANK_INDEX_NODE), one such
 *                             lock at a time; release stores, acquire loads, each entry by
 *                             itself: whoever sees a node number also sees the node's memory
 *   state                     read-modify-write only
 *   entry                     entry_lock (RANK_INDEX_ENTRY) to change it, acquire load to read
 *   watermark                 every node below it was linked (or deleted) before it was stored;
 *                             only grows, by compare and swap
 */
#pragma once

#include "base/map.h"
#include "base/thread.h"
#include "index/index.h"

#include <stdatomic.h>
#include <string.h>

#define NODE_NONE UINT32_MAX
enum {
    LEVEL_MAX = 16,
    NODE_LOCKS = 512, /* stripes; a power of two */
    LINKS_MAX = 2 * INDEX_M_MAX,
    DEADLINE_STRIDE = 256, /* distances between two looks at the clock */
};

enum node_state {
    NODE_USED = 1,    /* has a vector; set once, when allotted */
    NODE_CLAIMED = 2, /* a thread is linking it or has linked it */
    NODE_LINKED = 4,  /* the graph finds it */
    NODE_DELETED = 8, /* tombstone: passed through, never returned */
};

struct node_meta { /* 16 bytes, four to a cache line */
    uint64_t id;
    _Atomic uint32_t
        twin; /* next node with the very same vector that hangs on the same graph node */
    _Atomic uint8_t state; /* enum node_state */
    uint8_t level;
    bool is_twin; /* linked through a twin list, has no links of its own */
};

/** Block pointers. A grown copy replaces it; the older ones live until the index is freed, since a
 * reader may still hold one. */
struct store_dir {
    struct store_dir *older;
    size_t cap;
    char *blocks[];
};

struct index {
    /* set once by index_new */
    struct index_options o;
    enum metric_kind link_metrics[2]; /* L2, and the dot product if that is the metric */
    size_t n_link_metrics;
    size_t row_floats, m0; /* dim rounded up to 16; links on layer 0 */
    unsigned block_shift;
    uint32_t block_mask;
    size_t links_offset, meta_offset, upper_offset, block_bytes;
    double level_scale; /* 1 / ln m */

    _Alignas(64) _Atomic(struct store_dir *) dir;
    _Atomic uint64_t entry; /* level << 32 | node; ENTRY_NONE before the first */

    /* changed by every put, link or delete: away from what each step of a traversal reads */
    _Alignas(64) _Atomic uint32_t n_nodes;
    _Atomic uint32_t watermark;
    _Atomic uint32_t link_cursor; /* no node below it waits for a linker */
    atomic_size_t live, pending, upper_bytes;
    struct rwlock ids_lock;
    struct u64_map ids; /* guarded by ids_lock: id -> its one live node */
    size_t n_blocks;    /* guarded by ids_lock */
    struct mutex entry_lock;
    struct mutex node_locks[NODE_LOCKS];
};
#define ENTRY_NONE UINT64_MAX

/* ---- nodes ---- */
static inline char *index__block(const struct index *ix, uint32_t node)
{
    const struct store_dir *d = atomic_load_explicit(&ix->dir, memory_order_acquire);
    return d->blocks[node >> ix->block_shift];
}
static inline float *index__row(const struct index *ix, uint32_t node)
{
    return (float *)(void *)index__block(ix, node) + (node & ix->block_mask) * ix->row_floats;
}
static inline struct node_meta *index__meta(const struct index *ix, uint32_t node)
{
    return (struct node_meta *)(void *)(index__block(ix, node) + ix->meta_offset) +
        (node & ix->block_mask);
}
static inline _Atomic uint32_t **index__upper(const struct index *ix, uint32_t node)
{
    return (_Atomic uint32_t **)(void *)(index__block(ix, node) + ix->upper_offset) +
        (node & ix->block_mask);
}
static inline size_t index__max_links(const struct index *ix, unsigned layer)
{
    return layer == 0 ? ix->m0 : ix->o.m;
}
/** The link list [index__max_links] of a node that exists on that layer. */
static inline _Atomic uint32_t *index__links(const struct index *ix, uint32_t node, unsigned layer)
{
    if (layer == 0)
        return (_Atomic uint32_t *)(void *)(index__block(ix, node) + ix->links_offset) +
            (node & ix->block_mask) * ix->m0;
    return *index__upper(ix, node) + (layer - 1) * ix->o.m;
}
static inline unsigned index__state(const struct node_meta *m)
{
    return atomic_load_explicit(&m->state, memory_order_acquire);
}
static inline bool index__is_live(const struct node_meta *m)
{
    return (index__state(m) & (NODE_USED | NODE_DELETED)) == NODE_USED;
}
static inline bool index__allows(const struct index_allow *a, uint64_t id)
{
    return id < a->n_bits && (a->bits[id / 64] >> (id % 64) & 1) != 0;
}

/* ---- distances: lower is nearer; minus the dot product, or squared L2 ---- */
/** Always through the kernels for four rows, so that a pair has one distance, to the last bit,
 * whichever way a search comes upon it. `metric`: that of the index, or one it is linked by. */
static inline void index__distance4(const struct index *ix, enum metric_kind metric, const float *q,
    const float *const rows[4], float ret[4])
{
    if (metric == INDEX_L2) {
        ix->o.kernels->l2sq4(q, rows, ix->o.dim, ret);
        return;
    }
    ix->o.kernels->dot4(q, rows, ix->o.dim, ret);
    for (int j = 0; j < 4; j++)
        ret[j] = -ret[j];
}
/** ret[i] = distance(q, nodes[i]) for n nodes. */
void index__distances(const struct index *ix, enum metric_kind metric, const float *q,
    const uint32_t *nodes, size_t n, float *ret);

/* ---- store.c ---- */
/** Finite, not too large, not zero with cosine? The factor that index__write_row shall use. */
MUST_USE enum err_code store__check(
    const struct index *ix, const float *vector, double *ret_scale, struct err *e);
/** row [row_floats]: the vector times scale, then zeros. */
void store__write_row(const struct index *ix, float *row, const float *vector, double scale);
/** The next node, its block allocated, its lists empty, not yet published. Under ids_lock. */
MUST_USE enum err_code store__allot(struct index *ix, uint32_t *ret_node, struct err *e);
/** Tombstone a node and keep the counts. Under ids_lock. */
void store__tombstone(struct index *ix, uint32_t node);
/** Move the watermark over everything that no longer waits. */
void store__advance_watermark(struct index *ix);
/** Next waiting node, claimed for the caller; false: none waits. */
bool store__claim(struct index *ix, uint32_t *ret_node);
/** Linked: the caller's claim is done. */
void store__linked(struct index *ix, uint32_t node);
/** Give a claim back; the node waits again. */
void store__unclaim(struct index *ix, uint32_t node);
void store__free(struct index *ix);

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
/** Of entries with the same id only the newest node stays; then ascending by distance and id. */
void top__finish(struct top *t);

struct index_scratch {
    uint8_t *visited; /* == epoch: seen by the running traversal */
    size_t visited_cap;
    uint8_t epoch;
    struct key_heap cands; /* smallest on top: to be expanded */
    struct key_heap found; /* largest on top: best so far */
    struct top top;
    float *query; /* [query_cap], as store__write_row leaves it */
    size_t query_cap;
    uint32_t batch[LINKS_MAX + 1]; /* the nodes at hand, and their distances */
    float batch_distance[LINKS_MAX + 1];
    uint32_t chosen[LEVEL_MAX + 1][INDEX_M_MAX]; /* linking: what each layer gets */
    size_t n_chosen[LEVEL_MAX + 1];
};
/** A new epoch over at least n nodes: nothing visited. */
MUST_USE enum err_code scratch__begin(struct index_scratch *s, size_t n);
MUST_USE enum err_code scratch__query(struct index_scratch *s, size_t n_floats);

/* ---- hnsw_search.c ---- */
struct layer_search {
    const float *query; /* as in a row */
    enum metric_kind metric;
    unsigned layer;
    size_t ef;
    bool live_only;                  /* results are live (and allowed) nodes and their twins */
    const struct index_allow *allow; /* NULL: all */
    int64_t deadline_ns;             /* 0: none */
    size_t max_distances;            /* give up beyond; 0: never */
};
/** Greedy walk from the entry point down to the layer above ls->layer: the nearest node's key. */
uint64_t hnsw__descend(
    const struct index *ix, const struct layer_search *ls, uint64_t entry, struct index_scratch *s);
/** Algorithm 2 from node `start`: s->found, largest on top. LIMIT (without a message): gave up.
 * Also TIMEOUT, NOMEM. */
MUST_USE enum err_code hnsw__search_layer(const struct index *ix, const struct layer_search *ls,
    uint64_t start, struct index_scratch *s, struct err *e);

/* ---- hnsw_insert.c ---- */
/** The level of a node: depends on the seed and the number alone. */
unsigned hnsw__level(const struct index *ix, uint32_t node);
/** Link a claimed node. NOMEM: nothing was changed. */
MUST_USE enum err_code hnsw__link(
    struct index *ix, uint32_t node, struct index_scratch *s, struct err *e);

/* ---- exact.c: offer to s->top ---- */
/** Every live (and allowed) node from `first` on, those included that come while it runs. */
MUST_USE enum err_code exact__scan(const struct index *ix, const struct index_query *q,
    uint32_t first, struct index_scratch *s, struct err *e);
/** The nodes of the allowed ids. */
MUST_USE enum err_code exact__allowed(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e);
