/* Walk all invariants of a quiescent index. What is checked, in this order:
 *
 *   nodes    states are possible; counters, id map and states agree
 *   tail     nothing before the watermark or the cursor waits; all that waits stands in it
 *   vacant   every place without a node is in its block's chain, once
 *   lists    no hole, no self-link, no link twice; every target is a graph node
 *            (linked, not a twin) that exists on the layer; waiting nodes,
 *            twins and vacant places have none
 *   twins    each hangs on exactly one graph node, or on one that waits to be linked, whose vector it has
 *   entry    a linked graph node with the highest level
 *   reach    links lead from the entry point to all but one in REACH_SHARE live graph
 *            nodes (and one or two): pruning may cut off a few
 *
 * All of it holds between any two slices of a repair, but for what it is taking out: dying nodes may lead to places that
 * are vacant already, hang on nothing, and be higher than the entry point.
 */
#include "index/index_internal.h"

#include "base/mem.h"

enum { REACH_SHARE = 20 };

static bool is_graph_node(const struct index *ix, uint32_t node)
{
    return index__is_graph_node(ix, node);
}

static bool is_waiting(const struct index *ix, uint32_t node)
{
    return (index__state(ix, node) & (NODE_USED | NODE_LINKED)) == NODE_USED;
}

static bool is_dying(const struct index *ix, uint32_t node)
{
    return (index__state(ix, node) & NODE_DYING) != 0;
}

struct counts {
    size_t live, pending, tombstones, in_graph, vacant;
};

static enum err_code verify_node(
    const struct index *ix, uint32_t node, struct counts *c, struct err *e)
{
    const struct node_meta *m = index__meta(ix, node);
    unsigned state = index__state(ix, node) & ((1u << STATE_LEVEL_SHIFT) - 1);
    if (state == 0) {
        c->vacant++;
        return ERR_OK;
    }
    if (!(state & NODE_USED) || !(state & NODE_CLAIMED) != !(state & NODE_LINKED) ||
        (state & NODE_DYING && !(state & NODE_DELETED)))
        return err_set(e, ERR_INTERNAL, "node %u is in the impossible state %u", node, state);
    c->in_graph += is_graph_node(ix, node);
    if (state & NODE_DELETED) {
        c->tombstones++;
        return ERR_OK;
    }
    c->pending += !(state & NODE_LINKED);
    c->live++;
    uint32_t mapped;
    if (!u64_map_get(&ix->ids, m->id, &mapped) || mapped != node)
        return err_set(e, ERR_INTERNAL, "live node %u is not what its id maps to", node);
    return ERR_OK;
}

static enum err_code verify_count(const char *what, size_t found, size_t counter, struct err *e)
{
    if (found == counter) return ERR_OK;
    return err_set(e, ERR_INTERNAL, "%s: %zu nodes, counter says %zu", what, found, counter);
}

static enum err_code verify_nodes(const struct index *ix, uint32_t n, struct err *e)
{
    struct counts c = { 0 };
    for (uint32_t node = 0; node < n; node++)
        TRY(verify_node(ix, node, &c, e));
    TRY(verify_count("ids", c.live, ix->ids.n, e));
    TRY(verify_count("live", c.live, atomic_load(&ix->live), e));
    TRY(verify_count("pending", c.pending, atomic_load(&ix->pending), e));
    TRY(verify_count("tombstones", c.tombstones, atomic_load(&ix->tombstones), e));
    TRY(verify_count("in graph", c.in_graph, atomic_load(&ix->in_graph), e));
    return verify_count("vacant", c.vacant, atomic_load(&ix->vacant), e);
}

/** seen [n] is all 0; it is used up. */
static enum err_code verify_tail(const struct index *ix, uint32_t n, uint8_t *seen, struct err *e)
{
    struct tail_view v = tail__view(&ix->tail);
    if (ix->tail.cursor < v.at || ix->tail.cursor > atomic_load(&ix->tail.end))
        return err_set(e, ERR_INTERNAL, "the cursor is not between watermark and end");
    for (uint32_t node; tail__read(&ix->tail, &v, &node, 1) > 0;) {
        if (node >= n) continue; /* a place that was given back */
        if (v.at > ix->tail.cursor) seen[node] = 1;
    }
    for (uint32_t node = 0; node < n; node++) {
        const struct node_meta *m = index__meta(ix, node);
        bool waits = is_waiting(ix, node) &&
            (index__is_live(ix, node) || atomic_load(&m->twin) != NODE_NONE);
        if (waits && !seen[node])
            return err_set(e, ERR_INTERNAL, "node %u waits, but not in the tail", node);
    }
    return ERR_OK;
}

/** seen [n] is all 0; it is used up. */
static enum err_code verify_vacant(const struct index *ix, uint32_t n, uint8_t *seen, struct err *e)
{
    size_t in_chains = 0;
    for (size_t b = 0; b < ix->n_blocks; b++) {
        size_t left = ix->vacancy[b].n;
        if (left && b < ix->vacant_hint)
            return err_set(e, ERR_INTERNAL, "block %zu has vacant places before the hint", b);
        for (uint32_t at = ix->vacancy[b].head; left > 0; left--, in_chains++) {
            if (at >= n || at >> ix->block_shift != b || index__state(ix, at) || seen[at]++)
                return err_set(e, ERR_INTERNAL, "block %zu: bad vacant place %u", b, at);
            at = atomic_load(&index__meta(ix, at)->twin);
        }
    }
    return verify_count("vacant chains", in_chains, atomic_load(&ix->vacant), e);
}

static enum err_code verify_list(
    const struct index *ix, uint32_t node, unsigned layer, uint32_t n, struct err *e)
{
    const _Atomic uint32_t *links = index__links(ix, node, layer);
    size_t max = index__max_links(ix, layer), degree = 0;
    while (degree < max && atomic_load(&links[degree]) != NODE_NONE)
        degree++;
    for (size_t i = degree; i < max; i++)
        if (atomic_load(&links[i]) != NODE_NONE)
            return err_set(e, ERR_INTERNAL, "node %u, layer %u: a hole in the list", node, layer);
    if (degree > 0 && !is_graph_node(ix, node))
        return err_set(e, ERR_INTERNAL, "node %u is not in the graph but has links", node);
    for (size_t i = 0; i < degree; i++) {
        uint32_t to = atomic_load(&links[i]);
        if (to >= n || to == node || !is_graph_node(ix, to) || index__level(ix, to) < layer)
            return err_set(e, ERR_INTERNAL, "node %u, layer %u: bad link to %u", node, layer, to);
        for (size_t j = 0; j < i; j++)
            if (atomic_load(&links[j]) == to)
                return err_set(
                    e, ERR_INTERNAL, "node %u, layer %u: two links to %u", node, layer, to);
    }
    return ERR_OK;
}

static enum err_code verify_lists(const struct index *ix, uint32_t n, struct err *e)
{
    for (uint32_t node = 0; node < n; node++) {
        const struct node_meta *m = index__meta(ix, node);
        unsigned level = index__level(ix, node);
        if (index__state(ix, node) == 0 || is_dying(ix, node)) continue;
        if (level > LEVEL_MAX || (level > 0) != (m->upper != NODE_NONE))
            return err_set(e, ERR_INTERNAL, "node %u: level and lists do not agree", node);
        for (unsigned layer = 0; layer <= level; layer++)
            TRY(verify_list(ix, node, layer, n, e));
    }
    return ERR_OK;
}

/** seen [n] is all 0. */
static enum err_code verify_twins(const struct index *ix, uint32_t n, uint8_t *seen, struct err *e)
{
    for (uint32_t node = 0; node < n; node++) {
        if (!is_graph_node(ix, node) && !is_waiting(ix, node)) continue;
        for (uint32_t t = atomic_load(&index__meta(ix, node)->twin); t != NODE_NONE;
             t = atomic_load(&index__meta(ix, t)->twin)) {
            if (t >= n || seen[t]++ || !(index__state(ix, t) & NODE_IS_TWIN) ||
                !(index__state(ix, t) & NODE_LINKED))
                return err_set(e, ERR_INTERNAL, "node %u: bad twin %u", node, t);
            if (!(index__state(ix, node) & NODE_HAS_TWINS))
                return err_set(e, ERR_INTERNAL, "node %u has twins, its state says no", node);
            if (!index__same_row(ix, node, t))
                return err_set(e, ERR_INTERNAL, "nodes %u and %u are no twins", node, t);
        }
    }
    for (uint32_t node = 0; node < n; node++) {
        if (((index__state(ix, node) & NODE_IS_TWIN) != 0) != seen[node] && !is_dying(ix, node))
            return err_set(e, ERR_INTERNAL, "twin %u hangs on no node", node);
    }
    return ERR_OK;
}

static enum err_code verify_entry(const struct index *ix, uint32_t n, struct err *e)
{
    uint64_t entry = atomic_load(&ix->entry);
    size_t in_graph = 0;
    unsigned top = 0;
    for (uint32_t node = 0; node < n; node++) {
        if (!is_graph_node(ix, node) || is_dying(ix, node)) continue;
        in_graph++;
        if (index__level(ix, node) > top) top = index__level(ix, node);
    }
    if (entry == ENTRY_NONE) {
        if (in_graph == 0) return ERR_OK;
        return err_set(e, ERR_INTERNAL, "%zu nodes in the graph, no entry point", in_graph);
    }
    uint32_t node = (uint32_t)entry;
    if (node >= n || !is_graph_node(ix, node) || index__level(ix, node) != entry >> 32 ||
        entry >> 32 < top)
        return err_set(e, ERR_INTERNAL, "entry point %u is not a node of the top layer", node);
    return ERR_OK;
}

/** Is the graph to lead to it? Not to a tombstone: a repair under way may have taken the links to it away. */
static bool is_sought(const struct index *ix, uint32_t node)
{
    return is_graph_node(ix, node) && index__is_live(ix, node);
}

/** Nodes, of those sought, that the entry point leads to by links of any layer. seen [n] is
 * all 0; stack has room for n. */
static size_t count_reached(const struct index *ix, uint8_t *seen, uint32_t *stack)
{
    size_t depth = 0, reached = 0;
    stack[depth++] = (uint32_t)atomic_load(&ix->entry);
    seen[stack[0]] = 1;
    while (depth > 0) {
        uint32_t node = stack[--depth];
        reached += is_sought(ix, node);
        for (unsigned layer = 0; layer <= index__level(ix, node); layer++) {
            const _Atomic uint32_t *links = index__links(ix, node, layer);
            for (size_t i = 0; i < index__max_links(ix, layer); i++) {
                uint32_t to = atomic_load(&links[i]);
                if (to == NODE_NONE) break;
                if (seen[to]) continue;
                seen[to] = 1;
                stack[depth++] = to;
            }
        }
    }
    return reached;
}

static enum err_code verify_reach(
    const struct index *ix, uint32_t n, uint8_t *seen, uint32_t *stack, struct err *e)
{
    if (atomic_load(&ix->entry) == ENTRY_NONE) return ERR_OK;
    size_t sought = 0;
    for (uint32_t node = 0; node < n; node++)
        sought += is_sought(ix, node);
    size_t reached = count_reached(ix, seen, stack);
    if (reached + sought / REACH_SHARE + 2 < sought)
        return err_set(
            e, ERR_INTERNAL, "only %zu of %zu graph nodes can be reached", reached, sought);
    return ERR_OK;
}

enum err_code index_verify(const struct index *ix, struct err *e)
{
    uint32_t n = atomic_load(&ix->n_nodes);
    AUTO_FREE uint8_t *seen = mem_zalloc(n, 1);
    AUTO_FREE uint32_t *stack = mem_alloc(n, sizeof *stack);
    if (!seen || !stack) return err_set(e, ERR_NOMEM, "out of memory to verify the index");
    TRY(verify_nodes(ix, n, e));
    TRY(verify_tail(ix, n, seen, e));
    memset(seen, 0, n);
    TRY(verify_vacant(ix, n, seen, e));
    memset(seen, 0, n);
    TRY(verify_lists(ix, n, e));
    TRY(verify_twins(ix, n, seen, e));
    TRY(verify_entry(ix, n, e));
    memset(seen, 0, n);
    return verify_reach(ix, n, seen, stack, e);
}
