/* Is what a snapshot's blocks hold an index? Each function names the first thing that is wrong.
 *
 * After these checks no walk, scan or repair can leave the memory of the index or run for ever: every number is
 * in range, chains of twins end, lists lead to nodes that have the layer. That distances are right is not
 * needed for that, so the rows of mapped blocks are not looked at.
 */
#include "index/snapshot_internal.h"

#include "base/mem.h"

#include <math.h>

static bool is_state(unsigned state)
{
    const unsigned linked = NODE_USED | NODE_CLAIMED | NODE_LINKED;
    const unsigned twin = NODE_IS_TWIN | NODE_DELETED, node = NODE_HAS_TWINS | NODE_DELETED;
    unsigned rest = state & ~linked, level = state >> STATE_LEVEL_SHIFT;
    if (state == 0 || state == NODE_USED) return true;
    if ((state & linked) != linked || level > LEVEL_MAX) return false;
    rest &= (1u << STATE_LEVEL_SHIFT) - 1;
    if (state & NODE_IS_TWIN) return level == 0 && !(rest & ~twin);
    return !(rest & ~node);
}

static const char *check_node(const struct index *ix, uint32_t node, bool rows)
{
    const struct node_meta *m = index__meta(ix, node);
    unsigned state = index__state(ix, node);
    if (!is_state(state)) return "a node is in an impossible state";
    if (m->upper != NODE_NONE) return "a node has upper lists where none can be";
    if (!(state & (NODE_HAS_TWINS | NODE_IS_TWIN)) && atomic_load(&m->twin) != NODE_NONE)
        return "a node has twins that its state does not tell of";
    if (!rows || state == 0) return NULL;
    const struct row_head *h = row__head(index__row(ix, node));
    return isfinite(h->scale) && h->scale >= 0 && isfinite(h->norm) ? NULL : "a row is not finite";
}

enum err_code snapshot__check_nodes(
    const struct index *ix, bool rows, const char **ret_wrong, struct err *e)
{
    uint32_t n = atomic_load(&ix->n_nodes);
    (void)e;
    for (uint32_t node = 0; node < n && !*ret_wrong; node++)
        *ret_wrong = check_node(ix, node, rows);
    return ERR_OK;
}

static const char *check_list(
    const struct index *ix, uint32_t node, unsigned layer, uint32_t n, const uint8_t *levels)
{
    const _Atomic uint32_t *links = index__links(ix, node, layer);
    size_t max = index__max_links(ix, layer), degree = 0;
    while (degree < max && atomic_load_explicit(&links[degree], memory_order_relaxed) != NODE_NONE)
        degree++;
    for (size_t i = degree; i < max; i++)
        if (atomic_load_explicit(&links[i], memory_order_relaxed) != NODE_NONE)
            return "a list has a hole";
    if (degree > 0 && !levels[node]) return "a node outside the graph has links";
    for (size_t i = 0; i < degree; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_relaxed);
        if (to >= n || to == node || levels[to] <= layer) return "a link leads nowhere";
    }
    return NULL;
}

/** Each twin in one chain, each chain of twins. seen [n] is all 0. */
static const char *check_twins(const struct index *ix, uint32_t n, uint8_t *seen)
{
    for (uint32_t node = 0; node < n; node++) {
        if (!index__is_graph_node(ix, node)) continue;
        uint32_t t = atomic_load(&index__meta(ix, node)->twin);
        while (t != NODE_NONE) {
            if (t >= n || !(index__state(ix, t) & NODE_IS_TWIN) || seen[t]++)
                return "a twin is not one, or hangs twice";
            t = atomic_load(&index__meta(ix, t)->twin);
        }
    }
    for (uint32_t node = 0; node < n; node++)
        if (((index__state(ix, node) & NODE_IS_TWIN) != 0) != seen[node])
            return "a twin hangs on no node";
    return NULL;
}

static const char *check_entry(
    const struct index *ix, uint64_t entry, uint32_t n, const uint8_t *levels)
{
    unsigned most = 0;
    (void)ix;
    for (uint32_t node = 0; node < n; node++)
        if (levels[node] > most) most = levels[node];
    if (entry == ENTRY_NONE) return most ? "the graph has no entry point" : NULL;
    uint32_t node = (uint32_t)entry;
    if (node >= n || entry >> 32 > LEVEL_MAX || levels[node] != (entry >> 32) + 1 ||
        levels[node] != most)
        return "the entry point is not a node of the highest level";
    return NULL;
}

enum err_code snapshot__check_graph(
    const struct index *ix, uint64_t entry, const char **ret_wrong, struct err *e)
{
    uint32_t n = atomic_load(&ix->n_nodes);
    AUTO_FREE uint8_t *levels = mem_zalloc(n, 1); /* of a graph node its level + 1, else 0 */
    AUTO_FREE uint8_t *seen = mem_zalloc(n, 1);
    if (!levels || !seen) return err_set(e, ERR_NOMEM, "out of memory to load an index");
    for (uint32_t node = 0; node < n; node++) {
        unsigned level = index__level(ix, node);
        if (index__is_graph_node(ix, node)) levels[node] = (uint8_t)(level + 1);
        if (level && index__meta(ix, node)->upper == NODE_NONE)
            *ret_wrong = "a node lacks its upper lists";
    }
    if (!*ret_wrong) *ret_wrong = check_entry(ix, entry, n, levels);
    for (uint32_t node = 0; node < n && !*ret_wrong; node++)
        for (unsigned l = 0; l <= index__level(ix, node) && !*ret_wrong; l++)
            *ret_wrong = check_list(ix, node, l, n, levels);
    if (!*ret_wrong) *ret_wrong = check_twins(ix, n, seen);
    return ERR_OK;
}
