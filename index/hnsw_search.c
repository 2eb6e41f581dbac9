/* Walking the graph: Algorithm 2 and the descent of Algorithm 5 (Malkov &
 * Yashunin 2018).
 *
 * No lock is taken. A link list may be rewritten while it is read: the reader
 * then sees some old and some new links, or one twice, which costs a little
 * recall at worst; the visited marks take care of the rest. An entry is loaded
 * with acquire and was stored with release by a thread that knew the node, so
 * vector, id and lists behind a node number are always there.
 *
 * Where it differs from the paper:
 * - Results and traversal are two things. Tombstones and nodes that the filter
 *   turns down lead on but are not results, and the walk goes on until there
 *   are ef results nearer than every candidate.
 * - A node found stands for its twins too: nodes with the very same vector that
 *   have no links of their own.
 * - Distances are computed four at a time, the rows of the next four being
 *   fetched meanwhile.
 * - It gives up when it has computed more distances than an exact scan would
 *   cost; the caller then scans.
 */
#include "index/index_internal.h"

#include <math.h>

enum {
    CACHE_LINE = 64,
    PREFETCH_BYTES = 1024, /* of a row; what follows is left to the hardware */
};

static inline void prefetch_row(const struct index *ix, uint32_t node)
{
    const char *p = (const char *)index__row(ix, node);
    size_t bytes = ix->row_floats * sizeof(float);
    if (bytes > PREFETCH_BYTES) bytes = PREFETCH_BYTES;
    for (size_t at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch(p + at);
}

void index__distances(const struct index *ix, enum metric_kind metric, const float *q,
    const uint32_t *nodes, size_t n, float *ret)
{
    for (size_t i = 0; i < n && i < 4; i++)
        prefetch_row(ix, nodes[i]);
    for (size_t i = 0; i < n; i += 4) {
        const float *rows[4];
        float d[4];
        size_t k = n - i < 4 ? n - i : 4;
        for (size_t j = i + 4; j < n && j < i + 8; j++)
            prefetch_row(ix, nodes[j]);
        for (size_t j = 0; j < 4; j++)
            rows[j] = index__row(ix, nodes[i + (j < k ? j : 0)]);
        index__distance4(ix, metric, q, rows, d);
        for (size_t j = 0; j < k; j++)
            ret[i + j] = d[j];
    }
}

/** The links of a node that have not been visited, marked and put into s->batch. Nodes that came
 * after the traversal began are left out: they are in the tail that is scanned anyway. */
static size_t gather(const struct index *ix, uint32_t node, unsigned layer, struct index_scratch *s)
{
    const _Atomic uint32_t *links = index__links(ix, node, layer);
    size_t max = index__max_links(ix, layer), n = 0;
    for (size_t i = 0; i < max; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to == NODE_NONE) break;
        if (to >= s->visited_cap || s->visited[to] == s->epoch) continue;
        s->visited[to] = s->epoch;
        s->batch[n++] = to;
    }
    return n;
}

uint64_t hnsw__descend(
    const struct index *ix, const struct layer_search *ls, uint64_t entry, struct index_scratch *s)
{
    uint32_t at = (uint32_t)entry;
    float best;
    index__distances(ix, ls->metric, ls->query, &at, 1, &best);
    for (unsigned l = (unsigned)(entry >> 32); l > ls->layer; l--) {
        for (bool moved = true; moved;) {
            const _Atomic uint32_t *links = index__links(ix, at, l);
            size_t n = 0;
            for (; n < ix->o.m; n++) {
                s->batch[n] = atomic_load_explicit(&links[n], memory_order_acquire);
                if (s->batch[n] == NODE_NONE) break;
            }
            index__distances(ix, ls->metric, ls->query, s->batch, n, s->batch_distance);
            moved = false;
            for (size_t i = 0; i < n; i++) {
                if (s->batch_distance[i] >= best) continue;
                best = s->batch_distance[i];
                at = s->batch[i];
                moved = true;
            }
        }
    }
    return key_make(best, at);
}

static bool is_result(const struct index *ix, const struct layer_search *ls, uint32_t node)
{
    const struct node_meta *m = index__meta(ix, node);
    return index__is_live(m) && (!ls->allow || index__allows(ls->allow, m->id));
}

/** Into s->found, which has room for ef. */
static inline void keep(const struct layer_search *ls, uint64_t key, struct key_heap *found)
{
    if (found->n < ls->ef)
        key_heap__push_max(found, key);
    else if (key < found->v[0])
        key_heap__replace_max(found, key);
}

/** A node nearer than the worst result: a result itself, or not; and its twins. */
static void offer(const struct index *ix, const struct layer_search *ls, float distance,
    uint32_t node, struct index_scratch *s)
{
    if (!ls->live_only) {
        keep(ls, key_make(distance, node), &s->found);
        return;
    }
    size_t taken = 0; /* more than ef equals add nothing */
    for (uint32_t t = node; t != NODE_NONE && taken < ls->ef;) {
        if (is_result(ix, ls, t)) {
            keep(ls, key_make(distance, t), &s->found);
            taken++;
        }
        t = atomic_load_explicit(&index__meta(ix, t)->twin, memory_order_acquire);
    }
}

/** Distances to the gathered nodes; the promising ones become candidates. */
static enum err_code visit(
    const struct index *ix, const struct layer_search *ls, size_t n, struct index_scratch *s)
{
    if (s->cands.n > 0) { /* most likely the next to be expanded */
        const char *links = (const char *)index__links(ix, key_node(s->cands.v[0]), ls->layer);
        __builtin_prefetch(links);
        __builtin_prefetch(links + CACHE_LINE);
    }
    index__distances(ix, ls->metric, ls->query, s->batch, n, s->batch_distance);
    TRY(key_heap__reserve(&s->cands, s->cands.n + n));
    for (size_t i = 0; i < n; i++) {
        float d = s->batch_distance[i];
        if (s->found.n == ls->ef && d >= key_distance(s->found.v[0])) continue;
        key_heap__push_min(&s->cands, key_make(d, s->batch[i]));
        offer(ix, ls, d, s->batch[i], s);
    }
    return ERR_OK;
}

enum err_code hnsw__search_layer(const struct index *ix, const struct layer_search *ls,
    uint64_t start, struct index_scratch *s, struct err *e)
{
    if (scratch__begin(s, atomic_load_explicit(&ix->n_nodes, memory_order_acquire)) != ERR_OK ||
        key_heap__reserve(&s->found, ls->ef) != ERR_OK ||
        key_heap__reserve(&s->cands, ls->ef) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a search");
    s->found.n = 0;
    s->cands.n = 0;
    s->visited[key_node(start)] = s->epoch;
    key_heap__push_min(&s->cands, start);
    offer(ix, ls, key_distance(start), key_node(start), s);

    size_t computed = 0, look_at_clock = DEADLINE_STRIDE;
    while (s->cands.n > 0) {
        uint64_t next = key_heap__pop_min(&s->cands);
        if (s->found.n == ls->ef && key_distance(next) > key_distance(s->found.v[0])) break;
        size_t n = gather(ix, key_node(next), ls->layer, s);
        if (visit(ix, ls, n, s) != ERR_OK)
            return err_set(e, ERR_NOMEM, "out of memory for a search");
        computed += n;
        if (ls->max_distances && computed > ls->max_distances) return ERR_LIMIT;
        if (ls->deadline_ns && computed >= look_at_clock) {
            if (time_mono_ns() > ls->deadline_ns)
                return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
            look_at_clock = computed + DEADLINE_STRIDE;
        }
    }
    return ERR_OK;
}
