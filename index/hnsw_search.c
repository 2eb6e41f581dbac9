/* Walking the graph: Algorithm 2 and the descent of Algorithm 5 (Malkov &
 * Yashunin 2018).
 *
 * No lock is taken. A link list may be rewritten while it is read: the reader
 * then sees some old and some new links, or one twice, which costs a little
 * recall at worst; the visited marks take care of the rest. An entry is loaded
 * with acquire and was stored with release by a thread that knew the node, so
 * row, id and lists behind a node number are always there; the caller is inside (epoch.c), so they stay.
 *
 * Where it differs from the paper:
 * - Nodes are compared by their codes; what comes of it is scored exactly by the caller.
 * - Results and traversal are two things. Tombstones and nodes that the filter
 *   turns down lead on but are not results, and the walk goes on until there
 *   are ef results nearer than every candidate; with a filter, fewer results,
 *   but also as many nodes of any kind (`around`).
 * - Two hops, for filters that few pass: a neighbour that is turned down is not compared; its own neighbours
 *   stand in for it, as far as they are allowed. So the walk stays among allowed nodes, though few of a node's links
 *   lead to such. It begins at many allowed nodes from all over, since around the query there may be none.
 * - A node found stands for its twins too: nodes with the very same vector that
 *   have no links of their own.
 * - Rows are fetched some steps ahead of being compared, four at a time.
 * - Range search: what lies within a radius is walked through to its end, whatever ef is, and kept beside the ef
 *   nearest, which find the way there.
 * - It gives up when it has computed more estimates than other ways would cost,
 *   or when it is foreseen that it will (plan.c).
 *
 * Source of the two hops: Patel et al. 2024, "ACORN", its variant without a denser graph.
 */
#include "index/index_internal.h"

#include <math.h>

enum { CACHE_LINE = 64, PROBE = 256, SEED_BATCH = 128 };

static inline bool visit_first(struct index_scratch *s, uint32_t node)
{
    if (node >= s->visited_cap || s->visited[node] == s->epoch) return false;
    s->visited[node] = s->epoch;
    return true;
}

/** The links of a node that have not been visited, marked and put into s->batch. Whether one was visited is
 * a toss-up, so there is no branch on it: each is written, and counted if it is new. */
static size_t gather(const struct index *ix, uint32_t node, unsigned layer, struct index_scratch *s)
{
    const _Atomic uint32_t *links = index__links(ix, node, layer);
    size_t max = index__max_links(ix, layer), n = 0;
    uint8_t *visited = s->visited, epoch = s->epoch;
    for (size_t i = 0; i < max; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to >= s->visited_cap) {
            if (to == NODE_NONE) break;
            continue; /* came after the traversal began: it is in the tail, which is scanned anyway */
        }
        s->batch[n] = to;
        n += visited[to] != epoch;
        visited[to] = epoch;
    }
    return n;
}

static inline bool is_allowed(const struct index *ix, const struct layer_search *ls, uint32_t node)
{
    return index__allows(ls->allow, index__meta(ix, node)->id);
}

/** The mark of a node of which is known only that it is not allowed. */
static inline uint8_t turned_down(const struct index_scratch *s)
{
    return (uint8_t)(s->epoch + 1);
}

/** Allowed neighbours, and those of neighbours that are not; as gather, layer 0. */
static size_t gather_two_hops(
    const struct index *ix, const struct layer_search *ls, uint32_t node, struct index_scratch *s)
{
    const _Atomic uint32_t *links = index__links(ix, node, 0);
    uint32_t bridges[LINKS_MAX];
    size_t n = 0, n_bridges = 0;
    for (size_t i = 0; i < ix->m0; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to == NODE_NONE) break;
        __builtin_prefetch(index__meta(ix, to));
    }
    for (size_t i = 0; i < ix->m0; i++) {
        uint32_t to = atomic_load_explicit(&links[i], memory_order_acquire);
        if (to == NODE_NONE) break;
        if (to >= s->visited_cap || s->visited[to] == s->epoch) continue;
        bool known = s->visited[to] == turned_down(s);
        s->visited[to] = s->epoch;
        if (!known && is_allowed(ix, ls, to)) {
            s->batch[n++] = to;
            continue;
        }
        const char *there = (const char *)index__links(ix, to, 0);
        __builtin_prefetch(there);
        __builtin_prefetch(there + CACHE_LINE);
        bridges[n_bridges++] = to;
    }
    for (size_t b = 0; b < n_bridges && n < ix->m0; b++) {
        const _Atomic uint32_t *further = index__links(ix, bridges[b], 0);
        for (size_t i = 0; i < ix->m0 && n < LINKS_MAX; i++) {
            uint32_t to = atomic_load_explicit(&further[i], memory_order_acquire);
            if (to == NODE_NONE) break;
            if (to >= s->visited_cap || s->visited[to] == s->epoch ||
                s->visited[to] == turned_down(s))
                continue;
            bool allowed = is_allowed(ix, ls, to);
            s->visited[to] = allowed ? s->epoch : turned_down(s);
            if (allowed) s->batch[n++] = to;
        }
    }
    return n;
}

uint64_t hnsw__descend(
    const struct index *ix, const struct layer_search *ls, uint64_t entry, struct index_scratch *s)
{
    uint32_t at = (uint32_t)entry;
    float best;
    codes__estimate(ix, ls->metric, ls->query, &at, 1, &best);
    for (unsigned l = (unsigned)(entry >> 32); l > ls->layer; l--) {
        for (bool moved = true; moved;) {
            const _Atomic uint32_t *links = index__links(ix, at, l);
            size_t n = 0;
            for (; n < ix->o.m; n++) {
                s->batch[n] = atomic_load_explicit(&links[n], memory_order_acquire);
                if (s->batch[n] == NODE_NONE) break;
            }
            codes__estimate(ix, ls->metric, ls->query, s->batch, n, s->batch_distance);
            s->report.estimated += n;
            moved = false;
            for (size_t i = 0; i < n; i++) {
                if (!(s->batch_distance[i] < best))
                    continue; /* no loop, whatever damaged rows say */
                best = s->batch_distance[i];
                at = s->batch[i];
                moved = true;
            }
        }
    }
    return key_make(best, at);
}

static inline bool is_result(
    const struct index *ix, const struct layer_search *ls, uint32_t node, unsigned state)
{
    return state__is_live(state) && (!ls->allow || is_allowed(ix, ls, node));
}

/** Into s->found, which has room for ef; what falls out of it but is within the radius into s->within. */
static inline void keep(const struct layer_search *ls, uint64_t key, struct index_scratch *s)
{
    struct key_heap *found = &s->found, *within = &s->within;
    if (found->n < ls->ef) {
        key_heap__push_max(found, key);
        return;
    }
    if (key < found->v[0]) {
        uint64_t worst = found->v[0];
        key_heap__replace_max(found, key);
        key = worst;
    }
    if (key_distance(key) > ls->radius) return;
    if (within->n < ls->n_within)
        key_heap__push_max(within, key);
    else if (within->n && key < within->v[0])
        key_heap__replace_max(within, key);
}

/** A node nearer than the worst result: a result itself, or not; and its twins. */
static void offer(const struct index *ix, const struct layer_search *ls, float distance,
    uint32_t node, struct index_scratch *s)
{
    if (!ls->live_only) {
        keep(ls, key_make(distance, node), s);
        return;
    }
    unsigned state = index__state(ix, node);
    size_t taken = 0; /* more than ef equals add nothing */
    for (uint32_t t = node;;) {
        if (is_result(ix, ls, t, state)) {
            keep(ls, key_make(distance, t), s);
            taken++;
        }
        if (!(state & (NODE_HAS_TWINS | NODE_IS_TWIN)) || taken == ls->ef) return;
        t = atomic_load_explicit(&index__meta(ix, t)->twin, memory_order_acquire);
        if (t == NODE_NONE) return;
        state = index__state(ix, t);
    }
}

/** Can a vector at this estimate still be a result? */
static inline bool is_near(const struct layer_search *ls, const struct index_scratch *s, float d)
{
    return s->found.n < ls->ef || d < key_distance(s->found.v[0]) || d <= ls->radius;
}

/** Or lead to one, with a filter? */
static inline bool is_around(const struct layer_search *ls, const struct index_scratch *s, float d)
{
    return ls->around && (s->around.n < ls->around || d < key_distance(s->around.v[0]));
}

/** Is the nearest candidate so far away that the walk is at its end? */
static inline bool is_beyond(const struct layer_search *ls, const struct index_scratch *s, float d)
{
    if (s->found.n < ls->ef || d <= key_distance(s->found.v[0]) || d <= ls->radius) return false;
    return !ls->around || (s->around.n == ls->around && d > key_distance(s->around.v[0]));
}

static inline void note_around(const struct layer_search *ls, uint64_t key, struct index_scratch *s)
{
    if (s->around.n < ls->around)
        key_heap__push_max(&s->around, key);
    else if (key < s->around.v[0])
        key_heap__replace_max(&s->around, key);
}

/** While there are too few results, every node met is among them if it passes: their share tells how far around the
 * others lie. */
static bool is_hopeless(
    const struct layer_search *ls, const struct index_scratch *s, size_t computed)
{
    if (ls->max_estimates && computed > ls->max_estimates) return true;
    if (computed < PROBE || s->found.n == ls->ef) return false;
    return (double)s->found.n + 0.5 < ls->least_pass * (double)computed;
}

/** Estimates of the gathered nodes; the promising ones become candidates. */
static enum err_code visit(
    const struct index *ix, const struct layer_search *ls, size_t n, struct index_scratch *s)
{
    if (s->cands.n > 0) { /* most likely the next to be expanded */
        const char *links = (const char *)index__links(ix, key_node(s->cands.v[0]), ls->layer);
        __builtin_prefetch(links);
        __builtin_prefetch(links + CACHE_LINE);
    }
    if (ls->around && s->found.n < ls->ef) /* whether they pass will be asked */
        for (size_t i = 0; i < n; i++)
            __builtin_prefetch(index__meta(ix, s->batch[i]));
    codes__estimate(ix, ls->metric, ls->query, s->batch, n, s->batch_distance);
    TRY(key_heap__reserve(&s->cands, s->cands.n + n));
    for (size_t i = 0; i < n; i++) {
        float d = s->batch_distance[i];
        bool near = is_near(ls, s, d);
        if (!near && !is_around(ls, s, d)) continue;
        uint64_t key = key_make(d, s->batch[i]);
        key_heap__push_min(&s->cands, key);
        if (ls->around) note_around(ls, key, s);
        if (near) offer(ix, ls, d, s->batch[i], s);
    }
    return ERR_OK;
}

static enum err_code visit_ids(const struct index *ix, const struct layer_search *ls, uint64_t *ids,
    size_t n, struct index_scratch *s)
{
    uint32_t nodes[SEED_BATCH];
    size_t n_new = 0;
    n = scan__look_up(ix, ids, n, nodes);
    for (size_t i = 0; i < n; i++)
        if (index__is_graph_node(ix, nodes[i]) && visit_first(s, nodes[i]))
            s->batch[n_new++] = nodes[i];
    s->report.estimated += n_new;
    return visit(ix, ls, n_new, s);
}

/** Every so manieth allowed id: the filter's words are counted, and of one that reaches the number its first bits are
 * taken. */
static enum err_code begin_at_seeds(
    const struct index *ix, const struct layer_search *ls, struct index_scratch *s)
{
    const struct index_allow *a = ls->allow;
    uint64_t ids[SEED_BATCH];
    size_t n = 0, passed = 0;
    for (size_t w = 0; w < a->n_bits / 64; w++) {
        uint64_t bits = a->bits[w];
        for (passed += (size_t)__builtin_popcountll(bits); passed >= ls->seed_every && bits;
             passed -= ls->seed_every, bits &= bits - 1) {
            ids[n++] = w * 64 + (uint64_t)__builtin_ctzll(bits);
            if (n < SEED_BATCH) continue;
            TRY(visit_ids(ix, ls, ids, n, s));
            n = 0;
        }
    }
    return visit_ids(ix, ls, ids, n, s);
}

static enum err_code begin(const struct index *ix, const struct layer_search *ls, uint64_t start,
    struct index_scratch *s, struct err *e)
{
    if (scratch__begin(s, atomic_load_explicit(&ix->n_nodes, memory_order_acquire)) != ERR_OK ||
        key_heap__reserve(&s->found, ls->ef) != ERR_OK ||
        key_heap__reserve(&s->cands, ls->ef) != ERR_OK ||
        key_heap__reserve(&s->around, ls->around) != ERR_OK ||
        key_heap__reserve(&s->within, ls->n_within) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a search");
    s->found.n = 0;
    s->around.n = 0;
    s->within.n = 0;
    s->cands.n = 0;
    (void)visit_first(s, key_node(start));
    key_heap__push_min(&s->cands, start);
    if (ls->around) note_around(ls, start, s);
    offer(ix, ls, key_distance(start), key_node(start), s);
    if (ls->seed_every && begin_at_seeds(ix, ls, s) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a search");
    return ERR_OK;
}

enum err_code hnsw__search_layer(const struct index *ix, const struct layer_search *ls,
    uint64_t start, struct index_scratch *s, struct err *e)
{
    TRY(begin(ix, ls, start, s, e));
    size_t computed = 0, look_at_clock = DEADLINE_STRIDE;
    while (s->cands.n > 0) {
        uint64_t next = key_heap__pop_min(&s->cands);
        if (is_beyond(ls, s, key_distance(next))) break;
        size_t n = ls->two_hop ? gather_two_hops(ix, ls, key_node(next), s)
                               : gather(ix, key_node(next), ls->layer, s);
        if (visit(ix, ls, n, s) != ERR_OK)
            return err_set(e, ERR_NOMEM, "out of memory for a search");
        computed += n;
        s->report.estimated += n;
        if (is_hopeless(ls, s, computed)) return ERR_LIMIT;
        if (ls->deadline_ns && computed >= look_at_clock) {
            if (time_mono_ns() > ls->deadline_ns)
                return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
            look_at_clock = computed + DEADLINE_STRIDE;
        }
    }
    return ERR_OK;
}
