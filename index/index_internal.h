/* Layer: index. May include: base.
 *
 * What the sources of the index share: the memory of it, and who may write what. What each source does for the others
 * stands in parts_internal.h, which comes with this file. Nothing outside index/ and its tests includes either.
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
    CENTRE_LAST = 4096, /* vectors at which the centre is taken for the last time */
    DIM_BY_VALUE = 32,  /* fewer dimensions: codes are too coarse to walk by */
    NODE_LOCKS = 512,   /* stripes; a power of two */
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

#include "index/parts_internal.h"
