/* Linking a node into the graph: Algorithms 1 and 4 (Malkov & Yashunin 2018).
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
 * The graph is built by L2 distance, whatever it is searched by. For cosine
 * that is the same order, but 1 - dot of two vectors that nearly agree is
 * rounding noise, and lists chosen by noise fall apart into islands; the L2
 * distance of near vectors is exact. INDEX_DOT: by L2 alone it is hard to climb
 * to the long vectors, which are the answers (recall 0.68 on lengths of 1/20 to
 * 20); by the product alone the long ones are in every list and half of the
 * nodes cannot be reached. So each list is shared: one half chosen by L2, then
 * the other by the product (recall above 0.95, all but a few reached).
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

unsigned hnsw__level(const struct index *ix, uint32_t node)
{
    struct rng r;
    rng_init(&r, ix->o.seed ^ (uint64_t)node * UINT64_C(0x9e3779b97f4a7c15));
    double level = -log(1.0 - rng_unit(&r)) * ix->level_scale;
    return level < LEVEL_MAX ? (unsigned)level : LEVEL_MAX;
}

static struct mutex *node_lock(struct index *ix, uint32_t node)
{
    return &ix->node_locks[node & (NODE_LOCKS - 1)];
}

/** Is the candidate nearer to a chosen node than to the one that the list is for? */
static bool is_shadowed(const struct index *ix, enum metric_kind metric, uint64_t candidate,
    const uint32_t *chosen, size_t n)
{
    const float *q = index__row(ix, key_node(candidate));
    float distance = key_distance(candidate);
    for (size_t i = 0; i < n; i += 4) {
        const float *rows[4];
        float d[4];
        for (size_t j = 0; j < 4; j++)
            rows[j] = index__row(ix, chosen[i + j < n ? i + j : i]);
        index__distance4(ix, metric, q, rows, d);
        for (size_t j = 0; j < 4; j++)
            if (d[j] < distance) return true;
    }
    return false;
}

/** Algorithm 4 without extension: of the n candidates (ascending keys) those that lead in different
 * directions are added to the `have` nodes of another metric in list, up to `max` in all. */
static size_t choose(const struct index *ix, enum metric_kind metric, const uint64_t *cands,
    size_t n, uint32_t *list, size_t have, size_t max)
{
    size_t chosen = have;
    for (size_t i = 0; i < n && chosen < max; i++) {
        bool known = false;
        for (size_t j = 0; j < have; j++)
            known |= list[j] == key_node(cands[i]);
        if (known || is_shadowed(ix, metric, cands[i], list + have, chosen - have)) continue;
        list[chosen++] = key_node(cands[i]);
    }
    return chosen;
}

/** What a list of `max` may hold after the pass-th metric has chosen. */
static size_t share(const struct index *ix, size_t max, size_t pass)
{
    return max * (pass + 1) / ix->n_link_metrics;
}

static void sort_keys(uint64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

/** A full list takes the best of what it has and the new node. Under the node's lock. */
static void shrink_list(struct index *ix, uint32_t node, _Atomic uint32_t *links, size_t max,
    uint32_t newcomer, struct index_scratch *s)
{
    uint32_t kept[LINKS_MAX];
    uint64_t pool[LINKS_MAX + 1];
    size_t n_kept = 0;
    for (size_t i = 0; i < max; i++)
        s->batch[i] = atomic_load_explicit(&links[i], memory_order_relaxed);
    s->batch[max] = newcomer;
    for (size_t pass = 0; pass < ix->n_link_metrics; pass++) {
        enum metric_kind metric = ix->link_metrics[pass];
        index__distances(ix, metric, index__row(ix, node), s->batch, max + 1, s->batch_distance);
        for (size_t i = 0; i <= max; i++)
            pool[i] = key_make(s->batch_distance[i], s->batch[i]);
        sort_keys(pool, max + 1);
        n_kept = choose(ix, metric, pool, max + 1, kept, n_kept, share(ix, max, pass));
    }
    for (size_t i = 0; i < max; i++)
        atomic_store_explicit(&links[i], i < n_kept ? kept[i] : NODE_NONE, memory_order_release);
}

static void add_link(
    struct index *ix, uint32_t from, uint32_t newcomer, unsigned layer, struct index_scratch *s)
{
    AUTO_LOCK(node_lock(ix, from));
    _Atomic uint32_t *links = index__links(ix, from, layer);
    size_t max = index__max_links(ix, layer), n = 0;
    while (n < max && atomic_load_explicit(&links[n], memory_order_relaxed) != NODE_NONE)
        n++;
    if (n < max)
        atomic_store_explicit(&links[n], newcomer, memory_order_release);
    else
        shrink_list(ix, from, links, max, newcomer, s);
}

/** A node of the graph with the very same vector among those found, or NODE_NONE. */
static uint32_t find_twin(const struct index *ix, const float *row, const struct key_heap *found)
{
    const float *const rows[4] = { row, row, row, row };
    float self[4];
    index__distance4(ix, ix->link_metrics[0], row, rows, self);
    uint64_t least = key_make(self[0], 0), most = key_make(self[0], NODE_NONE);
    for (size_t i = 0; i < found->n; i++) {
        if (found->v[i] < least || found->v[i] > most) continue;
        const float *other = index__row(ix, key_node(found->v[i]));
        if (memcmp(row, other, ix->o.dim * sizeof *row) == 0) return key_node(found->v[i]);
    }
    return NODE_NONE;
}

static void add_twin(struct index *ix, uint32_t of, uint32_t node)
{
    struct node_meta *m = index__meta(ix, node), *head = index__meta(ix, of);
    m->is_twin = true;
    AUTO_LOCK(node_lock(ix, of));
    uint32_t next = atomic_load_explicit(&head->twin, memory_order_relaxed);
    atomic_store_explicit(&m->twin, next, memory_order_relaxed);
    atomic_store_explicit(&head->twin, node, memory_order_release);
}

/** Step 1: s->chosen of layers 0…min(level, top), or the twin if there is one. */
static enum err_code find_neighbours(const struct index *ix, uint32_t node, unsigned level,
    uint64_t entry, struct index_scratch *s, uint32_t *ret_twin, struct err *e)
{
    unsigned top = (unsigned)(entry >> 32) < level ? (unsigned)(entry >> 32) : level;
    for (unsigned l = 0; l <= top; l++)
        s->n_chosen[l] = 0;
    for (size_t pass = 0; pass < ix->n_link_metrics; pass++) {
        struct layer_search ls = { .query = index__row(ix, node),
            .metric = ix->link_metrics[pass],
            .layer = top,
            .ef = ix->o.ef_construction };
        uint64_t nearest = hnsw__descend(ix, &ls, entry, s);
        for (unsigned l = top + 1; l-- > 0;) {
            ls.layer = l;
            TRY(hnsw__search_layer(ix, &ls, nearest, s, e));
            key_heap__sort_max(&s->found);
            if (pass == 0) *ret_twin = find_twin(ix, ls.query, &s->found);
            if (*ret_twin != NODE_NONE) return ERR_OK;
            s->n_chosen[l] = choose(ix, ls.metric, s->found.v, s->found.n, s->chosen[l],
                s->n_chosen[l], share(ix, ix->o.m, pass));
            nearest = s->found.v[0];
        }
    }
    return ERR_OK;
}

/** Empty lists for layers 1…level. */
static enum err_code make_upper(struct index *ix, uint32_t node, unsigned level, struct err *e)
{
    _Atomic uint32_t *lists = NULL;
    if (level > 0) {
        lists = mem_alloc(level * ix->o.m, sizeof *lists);
        if (!lists) return err_set(e, ERR_NOMEM, "out of memory for the index");
        for (size_t i = 0; i < level * ix->o.m; i++)
            atomic_init(&lists[i], NODE_NONE);
        atomic_fetch_add(&ix->upper_bytes, level * ix->o.m * sizeof *lists);
    }
    *index__upper(ix, node) = lists;
    index__meta(ix, node)->level = (uint8_t)level;
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
    TRY(make_upper(ix, node, level, e));

    unsigned n_layers = first ? 0 : (entry >> 32 < level ? (unsigned)(entry >> 32) : level) + 1;
    for (unsigned l = 0; l < n_layers; l++) {
        _Atomic uint32_t *links = index__links(ix, node, l);
        for (size_t i = 0; i < s->n_chosen[l]; i++)
            atomic_store_explicit(&links[i], s->chosen[l][i], memory_order_release);
    }
    for (unsigned l = 0; l < n_layers; l++)
        for (size_t i = 0; i < s->n_chosen[l]; i++)
            add_link(ix, s->chosen[l][i], node, l, s);
    if (first || level > entry >> 32)
        atomic_store_explicit(&ix->entry, (uint64_t)level << 32 | node, memory_order_release);
    return ERR_OK;
}

enum err_code hnsw__link(struct index *ix, uint32_t node, struct index_scratch *s, struct err *e)
{
    unsigned level = hnsw__level(ix, node);
    uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    if (entry != ENTRY_NONE && level <= entry >> 32) return link_from(ix, node, level, entry, s, e);

    mutex_lock(&ix->entry_lock);
    entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    enum err_code code = link_from(ix, node, level, entry, s, e);
    mutex_unlock(&ix->entry_lock);
    return code;
}

enum err_code index_link(
    struct index *ix, size_t max, struct index_scratch *s, size_t *ret_linked, struct err *e)
{
    size_t n = 0;
    for (uint32_t node; n < max && store__claim(ix, &node); n++) {
        enum err_code code = hnsw__link(ix, node, s, e);
        if (code != ERR_OK) {
            store__unclaim(ix, node);
            if (n == 0) return code;
            break; /* what was linked is reported now, the failure by the next call */
        }
        store__linked(ix, node);
    }
    *ret_linked = n;
    return ERR_OK;
}
