/* Layer: index. May include: base.
 *
 * What the sources of the index share. Nothing outside index/ and its tests includes this file.
 *
 * Memory of one node, number `node`, in block node >> block_shift:
 *
 *   offset in the block   size of an entry         content
 *   0                     row_bytes                struct row_head, then the code [dim], to 16 bytes
 *   shape.low             low_bytes                the lower bits of the values; below DIM_BY_VALUE dimensions the values
 *   shape.links           m0 * 4                   links on layer 0, NODE_NONE ends the list
 *   shape.meta            sizeof(struct node_meta) id, twin, upper
 *   shape.state           2                        enum node_state; above STATE_LEVEL_SHIFT the level. Apart from the
 *                                                  rest, so that a walk finds those of all nodes in a near cache
 *
 * Blocks never move. A node goes vacant -> USED -> CLAIMED -> LINKED; a deleted one stays until index_maintain
 * has taken every link to it away and every reader that could know it has left; then its place is
 * vacant again. How threads meet:
 *
 *   ids, allotment, vacant    ids_lock (RANK_INDEX); a traversal never takes it
 *   row, id                   written before the node is published (release store of its state); constant until the
 *                             place is vacant again. index_maintain frees it after all who entered (epoch.c)
 *                             before the node's last link went have left
 *   upper                     written by the one linker that claimed the node, before the first link to it is stored
 *   links, twin               written under the node's striped lock (RANK_INDEX_NODE), one such lock at a time;
 *                             release stores, acquire loads, each entry by itself: whoever sees a node number also
 *                             sees the node's memory
 *   state                     read-modify-write only, but for the first store
 *   entry                     entry_lock (RANK_INDEX_ENTRY) to change it, acquire load to read
 *   tail                      tail.c
 *   centre                    changed only while nobody is inside (epoch__close)
 */
#pragma once

#include "base/map.h"
#include "base/thread.h"
#include "base/veccode.h"
#include "index/force.h"
#include "index/index.h"

#include <stdatomic.h>
#include <string.h>

#define NODE_NONE UINT32_MAX
enum {
    LEVEL_MAX = 16,
    ROTATION_ROUNDS = 4,
    DIM_BY_VALUE = 32, /* fewer dimensions: codes are too coarse to walk by */
    NODE_LOCKS = 512,  /* stripes; a power of two */
    LINKS_MAX = 2 * INDEX_M_MAX,
    POOL_MAX = 1024,       /* candidates for one list */
    DEADLINE_STRIDE = 256, /* vectors between two looks at the clock */
    HUGE_PAGE = 2 << 20,
};

enum node_state {
    NODE_USED = 1,       /* has a vector */
    NODE_CLAIMED = 2,    /* a thread is linking it or has linked it */
    NODE_LINKED = 4,     /* the graph finds it */
    NODE_DELETED = 8,    /* tombstone: passed through, never returned */
    NODE_DYING = 16,     /* a tombstone that the running repair takes out */
    NODE_IS_TWIN = 32,   /* linked through a twin list, has no links of its own */
    NODE_HAS_TWINS = 64, /* others hang on it, or did */
    STATE_LEVEL_SHIFT = 8,
};

struct node_meta { /* 16 bytes */
    uint64_t id;
    _Atomic uint32_t twin; /* next node with the very same vector that hangs on the same graph
                              node; of a vacant place: the next vacant one of the block */
    uint32_t upper;        /* first unit of its lists above layer 0 (upper.c); NODE_NONE */
};

/** Where the arrays of a block begin, and its size. */
struct block_shape {
    size_t low, links, meta, state, bytes;
};

/** Before the code. x ≈ scale * (code - 128), in the rotated space, seen from the centre. */
struct row_head {
    float
        scale; /* of the code: 65536 (16) times that of the fixed point; 0: the vector is the centre */
    float
        norm; /* |x̂|^2 - |x - x̂|^2: |q-x̂|^2 with it in place of |x̂|^2 estimates |q-x|^2 without bias */
};

/** Block pointers. A grown copy replaces it; the older ones live until the index is freed, since a
 * reader may still hold one. */
struct store_dir {
    struct store_dir *older;
    size_t cap;
    _Atomic(char *) blocks[]; /* NULL: given back */
};

/** Vacant places of a block. Guarded by ids_lock. */
struct block_vacancy {
    uint32_t head, n;
};

/** A piece of the tail: nodes in the order of their puts. */
enum { TAIL_CHUNK = 1024 };
struct tail_chunk {
    uint64_t first; /* place of nodes[0] */
    _Atomic(struct tail_chunk *) next;
    uint64_t retired_at; /* epoch */
    struct tail_chunk *retired_next;
    _Atomic uint32_t nodes[TAIL_CHUNK];
};
struct tail {
    struct mutex lock;
    _Atomic(struct tail_chunk *) head; /* holds `watermark`; moves under lock */
    struct tail_chunk *last;           /* holds `end`; guarded by lock */
    struct tail_chunk *spare;          /* guarded by lock */
    struct tail_chunk *retired;        /* guarded by lock */
    _Atomic uint64_t end;              /* place of the next put; changed under lock */
    _Atomic uint64_t watermark;        /* all before it were linked or deleted when it was stored */
    uint64_t cursor;                   /* none before it waits for a linker; guarded by lock */
    struct tail_chunk *cursor_chunk;
};
/** A reader's hold on the tail: everything from `at` on. Valid while inside. */
struct tail_view {
    struct tail_chunk *chunk;
    uint64_t at;
};

enum { EPOCH_STRIPES = 16 };
struct epoch {
    _Alignas(64) _Atomic uint64_t now;
    atomic_bool closed;
    struct mutex gate; /* held while closed */
    struct {
        _Alignas(64) atomic_size_t in[2];
    } stripes[EPOCH_STRIPES];
};

/** Lists above layer 0: units of m links, `level` units a node, in slabs. Guarded by lock but for reading. */
enum { UPPER_SLAB_UNITS = 2048, UPPER_SLABS_MAX = 1 << 17 };
struct upper {
    struct mutex lock;
    _Atomic(_Atomic uint32_t **) slabs; /* grown by copying; older ones are kept */
    void **older;                       /* [n_older] */
    size_t n_older, cap;
    size_t n_slabs, used; /* units used of the last slab */
    uint32_t vacant[LEVEL_MAX + 1];
};

/** The centre of the codes: rotated; and how many vectors it was taken from. */
struct centre {
    float *rotated; /* [dim]; zeros for INDEX_DOT */
    atomic_size_t n_from;
};

enum repair_phase {
    REPAIR_IDLE,
    REPAIR_MARK,
    REPAIR_SETTLE,
    REPAIR_SWEEP,
    REPAIR_LEAVE,
    REPAIR_FREE,
    REPAIR_UNMAP
};
enum { REPAIR_LIMBO = 64 };
struct repair {
    struct mutex lock; /* who has it works; a snapshot that is written has it too */
    _Atomic int phase;
    uint64_t since;   /* epoch at which the phase began */
    uint32_t at, end; /* nodes that the phase has yet to look at */
    atomic_size_t rounds;
    size_t n_dying;
    bool moving;               /* IDLE: what lives above `at` was moved */
    bool round_due;            /* something was moved since the last round began */
    char *limbo[REPAIR_LIMBO]; /* blocks that left the directory */
    size_t n_limbo;
    size_t
        vacant_tried; /* `vacant` when moving ended last: with the same it would end the same way */
};

struct index {
    /* set once by index_new */
    struct index_options o;
    const struct code_kernels *codes;
    enum metric_kind link_metrics[2]; /* L2, and the dot product if that is the metric */
    size_t n_link_metrics;
    size_t m0; /* links on layer 0 */
    bool
        by_value; /* too few dimensions for codes: the lower plane has the values as float, unrotated */
    float value_unit; /* scale of a code over that of the fixed point */
    unsigned block_shift;
    uint32_t block_mask;
    size_t row_bytes, low_bytes;
    struct block_shape shape;
    double level_scale; /* 1 / ln m */
    float *signs;       /* [ROTATION_ROUNDS * dim], ±1 */
    struct centre centre;

    _Alignas(64) _Atomic(struct store_dir *) dir;
    _Atomic uint64_t entry; /* level << 32 | node; ENTRY_NONE before the first */

    /* changed by every put, link or delete: away from what each step of a traversal reads */
    _Alignas(64) _Atomic uint32_t n_nodes; /* places ever used: numbers below it */
    atomic_size_t live, pending, tombstones, vacant, upper_units;
    atomic_size_t in_graph; /* nodes with links, dead ones counted */
    struct rwlock ids_lock;
    struct u64_map ids;            /* guarded by ids_lock: id -> its one live node */
    size_t n_blocks;               /* guarded by ids_lock */
    struct block_vacancy *vacancy; /* [vacancy_cap] guarded by ids_lock */
    size_t vacancy_cap, vacant_hint;
    struct mutex entry_lock;
    struct tail tail;
    struct epoch epoch;
    struct upper upper;
    struct repair repair;
    struct mutex curve_lock;
    struct index_curve curve; /* guarded by curve_lock */
    struct mutex node_locks[NODE_LOCKS];
};
#define ENTRY_NONE UINT64_MAX

/* ---- nodes ---- */
static inline char *index__block(const struct index *ix, uint32_t node)
{
    const struct store_dir *d = atomic_load_explicit(&ix->dir, memory_order_acquire);
    return atomic_load_explicit(&d->blocks[node >> ix->block_shift], memory_order_acquire);
}
static inline char *index__row(const struct index *ix, uint32_t node)
{
    return index__block(ix, node) + (node & ix->block_mask) * ix->row_bytes;
}
static inline const struct row_head *row__head(const char *row)
{
    return (const struct row_head *)(const void *)row;
}
static inline const uint8_t *row__code(const char *row)
{
    return (const uint8_t *)row + sizeof(struct row_head);
}
/** int16 [dim], or nibbles; float [dim] if ix->by_value. */
static inline void *index__low(const struct index *ix, uint32_t node)
{
    return index__block(ix, node) + ix->shape.low + (node & ix->block_mask) * ix->low_bytes;
}
/** Of a node of that block, for who has a number that may name a place which is given back meanwhile: then the block
 * that was there when it was looked for is still readable (to who is inside), but index__block may say NULL now. */
static inline struct node_meta *block__meta(const struct index *ix, char *block, uint32_t node)
{
    return (struct node_meta *)(void *)(block + ix->shape.meta) + (node & ix->block_mask);
}
static inline _Atomic uint16_t *block__state_at(const struct index *ix, char *block, uint32_t node)
{
    return (_Atomic uint16_t *)(void *)(block + ix->shape.state) + (node & ix->block_mask);
}
static inline struct node_meta *index__meta(const struct index *ix, uint32_t node)
{
    return block__meta(ix, index__block(ix, node), node);
}
static inline size_t index__max_links(const struct index *ix, unsigned layer)
{
    return layer == 0 ? ix->m0 : ix->o.m;
}
/** Unit number `unit` of the upper lists. */
static inline _Atomic uint32_t *upper__list(const struct index *ix, uint32_t unit)
{
    _Atomic uint32_t **slabs = atomic_load_explicit(&ix->upper.slabs, memory_order_acquire);
    return slabs[unit / UPPER_SLAB_UNITS] + (size_t)(unit % UPPER_SLAB_UNITS) * ix->o.m;
}
/** The link list [index__max_links] of a node that exists on that layer. */
static inline _Atomic uint32_t *index__links(const struct index *ix, uint32_t node, unsigned layer)
{
    if (layer == 0)
        return (_Atomic uint32_t *)(void *)(index__block(ix, node) + ix->shape.links) +
            (node & ix->block_mask) * ix->m0;
    return upper__list(ix, index__meta(ix, node)->upper + layer - 1);
}
static inline _Atomic uint16_t *index__state_at(const struct index *ix, uint32_t node)
{
    return block__state_at(ix, index__block(ix, node), node);
}
static inline unsigned index__state(const struct index *ix, uint32_t node)
{
    return atomic_load_explicit(index__state_at(ix, node), memory_order_acquire);
}
static inline unsigned index__level(const struct index *ix, uint32_t node)
{
    return index__state(ix, node) >> STATE_LEVEL_SHIFT;
}
static inline bool state__is_live(unsigned state)
{
    return (state & (NODE_USED | NODE_DELETED)) == NODE_USED;
}
static inline bool index__is_live(const struct index *ix, uint32_t node)
{
    return state__is_live(index__state(ix, node));
}
/** Has links of its own (or is the only node of the graph). */
static inline bool state__is_graph_node(unsigned state)
{
    return (state & (NODE_LINKED | NODE_IS_TWIN)) == NODE_LINKED;
}
static inline bool index__is_graph_node(const struct index *ix, uint32_t node)
{
    return state__is_graph_node(index__state(ix, node));
}
static inline bool index__allows(const struct index_allow *a, uint64_t id)
{
    return id < a->n_bits && (a->bits[id / 64] >> (id % 64) & 1) != 0;
}
static inline struct mutex *index__node_lock(struct index *ix, uint32_t node)
{
    return &ix->node_locks[node & (NODE_LOCKS - 1)];
}

/* ---- index.c ---- */
/** Of a block of so many nodes. */
struct block_shape index__shape(const struct index *ix, size_t nodes);
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
    float *rotated;         /* [dim] the vector (for cosine: normalised) */
    float *centred;         /* [dim] minus the centre */
    struct code_query code; /* of centred / unit; points at the three below */
    int16_t *q16;
    int8_t *hi, *lo;
    float unit;
    float norm;        /* |centred|^2 */
    float length;      /* |centred|, though its square be too small for a float */
    double centre_dot; /* rotated · centre */
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
