/* Upkeep: taking tombstones out of the graph, and giving memory back.
 *
 * One round, done in slices by whoever calls index_maintain:
 *
 *   MARK    every tombstone is marked dying. From then on no thread links to it.
 *   SETTLE  until those have left who might have chosen it before that. Then no list gets a new link to a dying node.
 *           The entry point moves if it is dying.
 *   SWEEP   every list with a link to a dying node is chosen anew, under its node's lock: from what it has that lives,
 *           and the neighbours of the dying ones; where most of them are dying too, from what lies behind. Those
 *           that are chosen link back, or nodes would stay to which no list leads. Twins leave the lists of dying
 *           heads, or dying twins their heads.
 *   LEAVE   until those have left who may stand on a dying node. Nobody can come upon one now.
 *   FREE    their places are vacant; blocks at the end that are wholly vacant leave the directory,
 *   UNMAP   and are given back to the system when nobody can be in them.
 *
 * A round looks at every list, and chooses nearly all of them anew; that costs about what it costs to link a sixth of the
 * graph. So it waits until a fifth is dead: then replacing everything takes not quite twice the work of linking it.
 *
 * Where more than half of all places are vacant, what lives in the last blocks is moved to vacant places in front: put again
 * under the same id, found in the tail until it is linked, its old node a tombstone for the next round. So
 * an index that shrank gives its blocks back.
 *
 * A dying head with living twins: the first of them becomes a vector that waits to be linked, with the others hanging
 * on it (scans of the tail look at them too); when it is linked it is an ordinary head.
 *
 * Source: Singh et al. 2021, "FreshDiskANN", section 5.2 and Algorithm 4 (consolidation), per layer.
 */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"

enum {
    TOMBSTONES_MIN = 64, /* fewer are not worth a round */
    DEAD_SHARE = 5,      /* one in so many */
    DYING_MOST = 512,    /* dying nodes that are gone through for one list */
    PENDING_MOST = 4096, /* moving waits for linking above this */
};

static bool is_dying(const struct index *ix, uint32_t node)
{
    return (index__state(ix, node) & NODE_DYING) != 0;
}

static void begin_phase(struct index *ix, enum repair_phase phase)
{
    struct repair *r = &ix->repair;
    r->since = epoch__now(ix);
    r->at = 0;
    r->end = atomic_load(&ix->n_nodes);
    atomic_store(&r->phase, (int)phase);
}

/* ---- MARK ---- */
static void mark(struct index *ix, uint32_t node)
{
    struct node_meta *m = index__meta(ix, node);
    unsigned state = index__state(ix, node);
    if (!(state & NODE_DELETED) || state & NODE_DYING) return;
    if (!(state & NODE_LINKED)) {
        if (state & NODE_CLAIMED || atomic_load(&m->twin) != NODE_NONE) return; /* next time */
        /* Nobody claims a deleted node without twins, so this cannot meet a claim. */
    }
    atomic_fetch_or(index__state_at(ix, node), NODE_DYING);
    ix->repair.n_dying++;
}

/* ---- entry point ---- */
static void move_entry(struct index *ix)
{
    AUTO_LOCK(&ix->entry_lock);
    uint64_t entry = atomic_load(&ix->entry), best = ENTRY_NONE;
    if (entry == ENTRY_NONE || !is_dying(ix, (uint32_t)entry)) return;
    uint32_t n = atomic_load(&ix->n_nodes);
    for (uint32_t node = 0; node < n; node++) {
        unsigned state = index__state(ix, node), level = state >> STATE_LEVEL_SHIFT;
        if (!state__is_graph_node(state) || state & NODE_DYING) continue;
        if (best == ENTRY_NONE || level > best >> 32) best = (uint64_t)level << 32 | node;
    }
    atomic_store_explicit(&ix->entry, best, memory_order_release);
}

/* ---- SWEEP ---- */
/** What a list is chosen from, in s->batch [n], and the dying nodes by way of which it was found. */
struct gathered {
    size_t n, n_dying;
    uint32_t dying[DYING_MOST];
};

/** The links of `of`, each once: those that live are candidates. */
static void gather_from(const struct index *ix, uint32_t of, unsigned layer,
    struct index_scratch *s, struct gathered *g)
{
    const _Atomic uint32_t *links = index__links(ix, of, layer);
    size_t max = index__max_links(ix, layer);
    for (size_t i = 0; i < max; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to == NODE_NONE) return;
        if (to >= s->visited_cap || s->visited[to] == s->epoch) continue;
        s->visited[to] = s->epoch;
        unsigned state = index__state(ix, to);
        if (state & NODE_DYING) {
            if (g->n_dying < DYING_MOST) g->dying[g->n_dying++] = to;
        } else if (!(state & NODE_DELETED) && g->n < POOL_MAX) {
            codes__prefetch(ix, to);
            s->batch[g->n++] = to;
        }
    }
}

/** Candidates for a list in which some are dying: those that live, and the neighbours of the others; where all of these
 * are dying too, their neighbours, and so on. */
static void gather_candidates(const struct index *ix, uint32_t node, unsigned layer,
    struct index_scratch *s, struct gathered *g)
{
    g->n = g->n_dying = 0;
    s->visited[node] = s->epoch;
    gather_from(ix, node, layer, s, g);
    size_t first = g->n_dying, enough = index__max_links(ix, layer);
    for (size_t i = 0; i < g->n_dying && (i < first || g->n < enough); i++)
        gather_from(ix, g->dying[i], layer, s, g);
}

/** Returns whether the list is empty now. */
static enum err_code repair_list(struct index *ix, uint32_t node, unsigned layer,
    struct index_scratch *s, bool *ret_empty, struct err *e)
{
    uint32_t kept[LINKS_MAX];
    size_t max = index__max_links(ix, layer);
    struct gathered g;
    size_t n = 0;
    *ret_empty = false;
    if (scratch__begin(s, atomic_load(&ix->n_nodes)) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    mutex_lock(index__node_lock(ix, node));
    gather_candidates(ix, node, layer, s, &g);
    if (g.n_dying > 0) {
        n = hnsw__choose_from_batch(ix, node, g.n, max, s, kept);
        hnsw__store_list(index__links(ix, node, layer), max, kept, n);
        *ret_empty = n == 0;
    }
    mutex_unlock(index__node_lock(ix, node));
    for (size_t i = 0; i < n; i++)
        hnsw__add_link(ix, kept[i], node, layer, s);
    return ERR_OK;
}

void repair__filter_twins(const struct index *ix, struct node_meta *m)
{
    while (m) {
        uint32_t next = atomic_load_explicit(&m->twin, memory_order_relaxed), old = next;
        while (next != NODE_NONE && is_dying(ix, next))
            next = atomic_load_explicit(&index__meta(ix, next)->twin, memory_order_relaxed);
        if (next != old) atomic_store_explicit(&m->twin, next, memory_order_release);
        m = next == NODE_NONE ? NULL : index__meta(ix, next);
    }
}

/** The twins of a dying head wait to be linked, as one. */
static enum err_code release_twins(struct index *ix, uint32_t head, struct err *e)
{
    struct node_meta *m = index__meta(ix, head);
    TRY(tail__reserve(&ix->tail, e));
    AUTO_LOCK(index__node_lock(ix, head));
    repair__filter_twins(ix, m);
    uint32_t first = atomic_load_explicit(&m->twin, memory_order_relaxed);
    if (first == NODE_NONE) return ERR_OK;
    _Atomic uint16_t *state = index__state_at(ix, first);
    atomic_fetch_add(&ix->pending, 1);
    atomic_fetch_or(state, NODE_HAS_TWINS);
    unsigned old = atomic_fetch_and(state, (uint16_t) ~(NODE_LINKED | NODE_CLAIMED | NODE_IS_TWIN));
    if (old & NODE_DELETED) atomic_fetch_sub(&ix->pending, 1);
    tail__append(&ix->tail, first); /* found there from now on; only then it leaves the head */
    atomic_store_explicit(&m->twin, NODE_NONE, memory_order_release);
    return ERR_OK;
}

/** As release_twins left it: a head that waits, with others behind it. Claims are made under the same lock; who has
 * claimed it since SETTLE drops dying twins itself (hnsw__link). */
static void filter_waiting(struct index *ix, uint32_t node)
{
    AUTO_LOCK(&ix->tail.lock);
    if (!(index__state(ix, node) & NODE_CLAIMED)) repair__filter_twins(ix, index__meta(ix, node));
}

static enum err_code sweep(struct index *ix, uint32_t node, struct index_scratch *s, struct err *e)
{
    struct node_meta *m = index__meta(ix, node);
    unsigned state = index__state(ix, node);
    bool empty, alone = false;
    if (!(state & NODE_LINKED)) {
        if (state & NODE_USED && atomic_load(&m->twin) != NODE_NONE) filter_waiting(ix, node);
        return ERR_OK;
    }
    if (state & NODE_IS_TWIN) return ERR_OK;
    if (state & NODE_DYING)
        return atomic_load(&m->twin) == NODE_NONE ? ERR_OK : release_twins(ix, node, e);
    if (atomic_load(&m->twin) != NODE_NONE) {
        AUTO_LOCK(index__node_lock(ix, node));
        repair__filter_twins(ix, m);
    }
    for (unsigned l = 0; l <= state >> STATE_LEVEL_SHIFT; l++) {
        TRY(repair_list(ix, node, l, s, &empty, e));
        if (l == 0) alone = empty;
    }
    return alone ? hnsw__reconnect(ix, node, s, e) : ERR_OK;
}

/* ---- FREE ---- */
static void free_node(struct index *ix, uint32_t node)
{
    struct node_meta *m = index__meta(ix, node);
    if (index__is_graph_node(ix, node)) atomic_fetch_sub(&ix->in_graph, 1);
    if (m->upper != NODE_NONE) upper__give(ix, m->upper, index__level(ix, node));
    m->upper = NODE_NONE;
    atomic_fetch_sub(&ix->tombstones, 1);
    store__vacate(ix, node);
}

/** From the highest number down, so that each block's vacant places are taken from the lowest up. */
static size_t free_some(struct index *ix, size_t max)
{
    struct repair *r = &ix->repair;
    size_t n = 0;
    rwlock_wrlock(&ix->ids_lock);
    for (; r->end > 0 && n < max; n++)
        if (is_dying(ix, --r->end)) free_node(ix, r->end);
    if (r->end == 0) {
        r->n_limbo = store__trim(ix, r->limbo, REPAIR_LIMBO);
        u64_map_shrink(&ix->ids);
        atomic_fetch_add(&r->rounds, 1);
    }
    rwlock_unlock(&ix->ids_lock);
    return n;
}

static void unmap_limbo(struct index *ix)
{
    struct repair *r = &ix->repair;
    while (r->n_limbo > 0)
        mem_unmap(r->limbo[--r->n_limbo], ix->shape.bytes);
}

void repair__free(struct index *ix)
{
    unmap_limbo(ix);
}

/* ---- moving together ---- */
/** Where what lives would end if it stood together, with room to breathe. */
static uint32_t packed_end(const struct index *ix)
{
    size_t live = atomic_load(&ix->live), block = (size_t)ix->block_mask + 1;
    size_t blocks = (live + live / 8 + block - 1) / block;
    return (uint32_t)((blocks ? blocks : 1) * block);
}

static bool is_loose(const struct index *ix)
{
    size_t n = atomic_load(&ix->n_nodes);
    return atomic_load(&ix->vacant) > n / 2 && n > packed_end(ix);
}

/** Put the vector of a node again, in a vacant place below `end`. false: there is none, or no memory now. */
static bool move_node(struct index *ix, uint32_t node, uint32_t end)
{
    struct err e = ERR_INIT;
    struct node_meta *m = index__meta(ix, node);
    uint32_t to, now;
    bool moved = false;
    if (tail__reserve(&ix->tail, &e) != ERR_OK) return false;
    rwlock_wrlock(&ix->ids_lock);
    bool mine = index__is_live(ix, node) && u64_map_get(&ix->ids, m->id, &now) && now == node;
    if (!mine) {
        rwlock_unlock(&ix->ids_lock);
        return true;
    }
    if (atomic_load(&ix->vacant) > 0 && store__allot(ix, &to, &e) == ERR_OK) {
        if (to < end) {
            memcpy(index__row(ix, to), index__row(ix, node), ix->row_bytes);
            memcpy(index__low(ix, to), index__low(ix, node), ix->low_bytes);
            moved = index__replace(ix, m->id, to, node);
        }
        if (!moved) store__vacate(ix, to);
    }
    rwlock_unlock(&ix->ids_lock);
    return moved;
}

static size_t move_some(struct index *ix, size_t max, const void *who)
{
    struct repair *r = &ix->repair;
    uint32_t end = packed_end(ix);
    size_t n = 0;
    if (atomic_load(&ix->pending) > PENDING_MOST) { /* later; rounds go on meanwhile */
        r->round_due |= r->moving;
        r->moving = false;
        return 0;
    }
    if (!r->moving) {
        if (!is_loose(ix) || atomic_load(&ix->vacant) == r->vacant_tried) return 0;
        r->moving = true;
        r->at = atomic_load(&ix->n_nodes);
    }
    unsigned token = epoch__enter(ix, who);
    bool room = true;
    for (; n < max && room && r->at > end; n++)
        room = move_node(ix, --r->at, end);
    epoch__leave(ix, who, token);
    if (room && r->at > end) return n;
    r->moving = false;
    r->vacant_tried = atomic_load(&ix->vacant);
    r->round_due = true; /* for few moved nodes too: whole blocks wait for them */
    if (atomic_load(&ix->tombstones) == 0) begin_phase(ix, REPAIR_LEAVE); /* straight to FREE */
    return n + 1;
}

/* ---- slices ---- */
static bool is_due(const struct index *ix, bool force)
{
    size_t dead = atomic_load(&ix->tombstones), live = atomic_load(&ix->live);
    if (dead == 0 || ix->repair.moving) return false;
    if (force) return true;
    return ix->repair.round_due || (dead >= TOMBSTONES_MIN && dead * DEAD_SHARE > dead + live);
}

/** The next `max` nodes of MARK or SWEEP. */
static enum err_code go_through(struct index *ix, size_t max, enum repair_phase phase,
    struct index_scratch *s, size_t *ret_n, struct err *e)
{
    struct repair *r = &ix->repair;
    enum err_code code = ERR_OK;
    unsigned token = epoch__enter(ix, s);
    for (; r->at < r->end && *ret_n < max && code == ERR_OK; (*ret_n)++) {
        if (phase == REPAIR_MARK)
            mark(ix, r->at);
        else
            code = sweep(ix, r->at, s, e);
        if (code == ERR_OK) r->at++;
    }
    epoch__leave(ix, s, token);
    return code;
}

/** One slice; the lock is held. */
static enum err_code slice(
    struct index *ix, size_t max, bool force, struct index_scratch *s, size_t *ret_n, struct err *e)
{
    struct repair *r = &ix->repair;
    enum repair_phase phase = (enum repair_phase)atomic_load(&r->phase);
    switch (phase) {
    case REPAIR_IDLE:
        if ((*ret_n = move_some(ix, max, s)) > 0) return ERR_OK;
        if (!is_due(ix, force)) return ERR_OK;
        r->n_dying = 0;
        r->round_due = false;
        begin_phase(ix, REPAIR_MARK);
        *ret_n = 1;
        return ERR_OK;
    case REPAIR_MARK:
        TRY(go_through(ix, max, phase, s, ret_n, e));
        if (r->at == r->end) begin_phase(ix, r->n_dying ? REPAIR_SETTLE : REPAIR_IDLE);
        return ERR_OK;
    case REPAIR_SETTLE:
        if (!epoch__passed(ix, r->since)) return ERR_OK;
        move_entry(ix);
        begin_phase(ix, REPAIR_SWEEP);
        *ret_n = 1;
        return ERR_OK;
    case REPAIR_SWEEP:
        TRY(go_through(ix, max, phase, s, ret_n, e));
        if (r->at == r->end) begin_phase(ix, REPAIR_LEAVE);
        return ERR_OK;
    case REPAIR_LEAVE:
        if (!epoch__passed(ix, r->since)) return ERR_OK;
        begin_phase(ix, REPAIR_FREE);
        *ret_n = 1;
        return ERR_OK;
    case REPAIR_FREE:
        *ret_n = free_some(ix, max);
        if (r->end == 0) begin_phase(ix, REPAIR_UNMAP);
        return ERR_OK;
    case REPAIR_UNMAP:
        if (!epoch__passed(ix, r->since)) return ERR_OK;
        *ret_n = 1;
        begin_phase(ix, r->n_limbo == REPAIR_LIMBO ? REPAIR_FREE : REPAIR_IDLE);
        unmap_limbo(ix);
        return ERR_OK;
    }
    return ERR_OK;
}

enum err_code index_maintain(struct index *ix, size_t max, bool force, struct index_scratch *s,
    size_t *ret_worked, struct err *e)
{
    size_t n = 0;
    enum err_code code = ERR_OK;
    if (mutex_trylock(&ix->repair.lock)) {
        tail__collect(ix);
        code = slice(ix, max ? max : 1, force, s, &n, e);
        mutex_unlock(&ix->repair.lock);
    }
    if (code == ERR_OK) *ret_worked = n;
    return code;
}
