/* Linking a node into the graph: Algorithm 1 (Malkov & Yashunin 2018).
 *
 * In this order, so that whoever meets the new node always finds it whole:
 *   1. search every layer from the top and choose its neighbours, nothing
 *      being changed; all memory is had here, so what follows cannot fail;
 *   2. fill the node's own lists, which nobody can reach yet;
 *   3. let the neighbours point back, layer 0 first: a walk that comes down
 *      through the new node finds the layers below complete.
 * The paper links layer by layer from the top; a search between two layers
 * would then enter layer 0 at a node without links.
 *
 * One node lock is held at a time, in step 3. Threads that link close-by nodes
 * at the same time may miss each other, which costs a link or two.
 *
 * A node above the top layer holds entry_lock throughout, so that the top grows
 * one node at a time (one in m^level nodes does that).
 *
 * The graph is built by L2 distance, whatever it is searched by: for cosine that is the same order.
 *
 * Tombstones are walked through but never chosen: the repair that takes one out must know that no list gets
 * a new link to it (repair.c).
 *
 * Equal vectors: Algorithm 4 degenerates on them: lists fill up with equals
 * that all point at each other and nothing leads out, or in. So a node whose
 * vector is already in the graph is not linked at all; it hangs on the twin
 * list of that node and is found with it.
 */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"

unsigned hnsw__level(const struct index *ix, uint64_t id)
{
    struct rng r;
    rng_init(&r, ix->o.seed ^ id * UINT64_C(0x9e3779b97f4a7c15));
    double level = -log(1.0 - rng_unit(&r)) * ix->level_scale;
    return level < LEVEL_MAX ? (unsigned)level : LEVEL_MAX;
}

/** The list of `from` gets the newcomer; a full one takes the best of what it has and the newcomer. */
void hnsw__add_link(
    struct index *ix, uint32_t from, uint32_t newcomer, unsigned layer, struct index_scratch *s)
{
    uint32_t kept[LINKS_MAX];
    AUTO_LOCK(index__node_lock(ix, from));
    _Atomic uint32_t *links = index__links(ix, from, layer);
    size_t max = index__max_links(ix, layer), n = 0;
    for (; n < max; n++) {
        s->batch[n] = atomic_load_explicit(&links[n], memory_order_relaxed);
        if (s->batch[n] == NODE_NONE) break;
        if (s->batch[n] == newcomer)
            return; /* known since it was linked before (hnsw__reconnect) */
        codes__prefetch(ix, s->batch[n]);
    }
    if (n < max) {
        atomic_store_explicit(&links[n], newcomer, memory_order_release);
        return;
    }
    s->batch[n++] = newcomer;
    n = hnsw__choose_from_batch(ix, from, n, max, s, kept);
    hnsw__store_list(links, max, kept, n);
}

/** A live node of the graph with the very same vector among the n ascending keys, or NODE_NONE. */
static uint32_t find_twin(const struct index *ix, uint32_t node, const struct key_heap *found)
{
    const struct row_head *h = row__head(index__row(ix, node));
    float near = 1e-5f * fabsf(h->norm) + h->scale * h->scale; /* beyond rounding of an exact 0 */
    for (size_t i = 0; i < found->n && key_distance(found->v[i]) <= near; i++) {
        uint32_t other = key_node(found->v[i]);
        if (other != node && index__same_row(ix, node, other) && index__is_live(ix, other))
            return other;
    }
    return NODE_NONE;
}

/** Hang a node, with all that hangs on it, on `of`. */
static void add_twin(struct index *ix, uint32_t of, uint32_t node)
{
    struct node_meta *m = index__meta(ix, node), *head = index__meta(ix, of), *last = m;
    for (uint32_t t; (t = atomic_load_explicit(&last->twin, memory_order_relaxed)) != NODE_NONE;)
        last = index__meta(ix, t);
    atomic_fetch_or(index__state_at(ix, node), NODE_IS_TWIN);
    AUTO_LOCK(index__node_lock(ix, of));
    uint32_t next = atomic_load_explicit(&head->twin, memory_order_relaxed);
    atomic_store_explicit(&last->twin, next, memory_order_release);
    atomic_fetch_or(index__state_at(ix, of), NODE_HAS_TWINS); /* first, so that nobody misses it */
    atomic_store_explicit(&head->twin, node, memory_order_release);
}

/** Of the found (ascending) only what `node` may be linked to: live nodes; where there are none, tombstones that the
 * running repair does not take out. */
static void drop_tombstones(const struct index *ix, uint32_t node, struct key_heap *found)
{
    size_t n = 0, n_live = 0;
    for (size_t i = 0; i < found->n; i++)
        n_live += key_node(found->v[i]) != node &&
            !(index__state(ix, key_node(found->v[i])) & NODE_DELETED);
    unsigned mask = n_live ? NODE_DELETED : NODE_DYING;
    for (size_t i = 0; i < found->n; i++) {
        uint32_t to = key_node(found->v[i]);
        if (to != node && !(index__state(ix, to) & mask)) found->v[n++] = found->v[i];
    }
    found->n = n;
}

/** Step 1: s->chosen of layers 0…min(level, top), or the twin if there is one. BUSY, without a message: all around is
 * being taken out. */
static enum err_code find_neighbours(const struct index *ix, uint32_t node, unsigned level,
    uint64_t entry, struct index_scratch *s, uint32_t *ret_twin, struct err *e)
{
    unsigned top = (unsigned)(entry >> 32) < level ? (unsigned)(entry >> 32) : level;
    for (unsigned l = 0; l <= top; l++)
        s->n_chosen[l] = 0;
    if (scratch__query(ix, s) != ERR_OK) return err_set(e, ERR_NOMEM, "out of memory for linking");
    codes__prepare_node(ix, node, &s->query);
    for (size_t pass = 0; pass < ix->n_link_metrics; pass++) {
        struct layer_search ls = { .query = &s->query,
            .metric = ix->link_metrics[pass],
            .layer = top,
            .ef = ix->o.ef_construction,
            .radius = -INFINITY };
        uint64_t nearest = hnsw__descend(ix, &ls, entry, s);
        for (unsigned l = top + 1; l-- > 0;) {
            ls.layer = l;
            TRY(hnsw__search_layer(ix, &ls, nearest, s, e));
            key_heap__sort_max(&s->found);
            nearest = s->found.v[0];
            codes__refine(ix, ls.metric, ls.query, s->found.v, s->found.n);
            if (pass == 0) *ret_twin = find_twin(ix, node, &s->found);
            if (*ret_twin != NODE_NONE) return ERR_OK;
            drop_tombstones(ix, node, &s->found);
            if (l == 0 && s->found.n == 0) return ERR_BUSY;
            s->n_chosen[l] = hnsw__choose(ix, ls.metric, s->found.v, s->found.n, s->chosen[l],
                s->n_chosen[l], hnsw__share(ix, ix->o.m, pass));
        }
    }
    return ERR_OK;
}

/** As hnsw__link; entry_lock is held if the node is to become the entry point. */
static enum err_code link_from(struct index *ix, uint32_t node, unsigned level, uint64_t entry,
    struct index_scratch *s, struct err *e)
{
    bool first = entry == ENTRY_NONE;
    if (!first) {
        uint32_t twin = NODE_NONE;
        TRY(find_neighbours(ix, node, level, entry, s, &twin, e));
        if (twin != NODE_NONE) {
            add_twin(ix, twin, node);
            return ERR_OK;
        }
    }
    struct node_meta *m = index__meta(ix, node);
    if (level > 0) TRY(upper__take(ix, level, &m->upper, e));
    atomic_fetch_or(index__state_at(ix, node), (uint16_t)(level << STATE_LEVEL_SHIFT));

    unsigned n_layers = first ? 0 : (entry >> 32 < level ? (unsigned)(entry >> 32) : level) + 1;
    for (unsigned l = 0; l < n_layers; l++)
        hnsw__store_list(
            index__links(ix, node, l), index__max_links(ix, l), s->chosen[l], s->n_chosen[l]);
    for (unsigned l = 0; l < n_layers; l++)
        for (size_t i = 0; i < s->n_chosen[l]; i++)
            hnsw__add_link(ix, s->chosen[l][i], node, l, s);
    if (first || level > entry >> 32)
        atomic_store_explicit(&ix->entry, (uint64_t)level << 32 | node, memory_order_release);
    atomic_fetch_add(&ix->in_graph, 1);
    return ERR_OK;
}

enum err_code hnsw__link(struct index *ix, uint32_t node, struct index_scratch *s, struct err *e)
{
    struct node_meta *m = index__meta(ix, node);
    unsigned level = hnsw__level(ix, m->id);
    if (atomic_load(&m->twin) != NODE_NONE) repair__filter_twins(ix, m);
    uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    if (entry != ENTRY_NONE && level <= entry >> 32) return link_from(ix, node, level, entry, s, e);

    mutex_lock(&ix->entry_lock);
    entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    enum err_code code = link_from(ix, node, level, entry, s, e);
    mutex_unlock(&ix->entry_lock);
    return code;
}

enum err_code hnsw__reconnect(
    struct index *ix, uint32_t node, struct index_scratch *s, struct err *e)
{
    uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    uint32_t twin = NODE_NONE;
    if (entry == ENTRY_NONE || (uint32_t)entry == node) return ERR_OK;
    enum err_code code = find_neighbours(ix, node, 0, entry, s, &twin, e);
    if (code == ERR_BUSY) return ERR_OK; /* all around is dying: nothing to be had */
    TRY(code);
    if (twin != NODE_NONE) s->chosen[0][s->n_chosen[0]++] = twin;
    size_t n = s->n_chosen[0];
    mutex_lock(index__node_lock(ix, node));
    _Atomic uint32_t *links = index__links(ix, node, 0);
    bool empty = atomic_load_explicit(&links[0], memory_order_relaxed) == NODE_NONE;
    if (empty) hnsw__store_list(links, ix->m0, s->chosen[0], n);
    mutex_unlock(index__node_lock(ix, node));
    for (size_t i = 0; empty && i < n; i++)
        hnsw__add_link(ix, s->chosen[0][i], node, 0, s);
    return ERR_OK;
}

/** The repair may have moved the entry point to a lower layer after the link of `node` had begun. From its phase SETTLE on;
 * before, whoever links has left when it moves. */
static void mind_entry(struct index *ix, uint32_t node)
{
    uint64_t level = index__level(ix, node);
    if (level == 0 || atomic_load(&ix->repair.phase) == REPAIR_IDLE) return;
    AUTO_LOCK(&ix->entry_lock);
    uint64_t entry = atomic_load(&ix->entry);
    if (entry == ENTRY_NONE || level > entry >> 32)
        atomic_store_explicit(&ix->entry, level << 32 | node, memory_order_release);
}

enum err_code index_link(
    struct index *ix, size_t max, struct index_scratch *s, size_t *ret_linked, struct err *e)
{
    size_t n = 0;
    enum err_code code = ERR_OK;
    index__mind_centre(ix);
    while (n < max && code == ERR_OK) {
        uint32_t node;
        uint64_t at;
        unsigned token = epoch__enter(ix, s);
        bool claimed = tail__claim(ix, &node, &at);
        if (claimed) {
            code = hnsw__link(ix, node, s, e);
            if (code == ERR_OK) {
                tail__linked(ix, node);
                mind_entry(ix, node);
            } else {
                tail__unclaim(ix, node, at);
            }
        }
        epoch__leave(ix, s, token);
        if (!claimed || code != ERR_OK) break;
        n++;
    }
    if (n == 0 && code != ERR_OK && code != ERR_BUSY) return code;
    *ret_linked = n; /* what was linked is reported now, a failure by the next call */
    return ERR_OK;
}
