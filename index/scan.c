/* Exact scans: over all nodes, over the tail, or over the allowed ids.
 *
 * Codes first: four at a time are compared by estimate, and only those that could be among the best, by a bound that
 * holds for every vector (codes__estimate_bound), are scored exactly. So a scan reads a third of what it
 * would, and its hits are exact all the same.
 *
 * Several queries go in lanes: four rows are fetched once and compared with each of them.
 *
 * A scan over all nodes ends with the tail as it has grown meanwhile. So it never misses an id that is replaced
 * meanwhile: if the old node was found deleted, the new one was published before that, and stands in the tail.
 */
#include "index/index_internal.h"

#include <math.h>

enum { ID_BATCH = 128, TAIL_BATCH = 64, AHEAD = 8 };

/** A scan under way: for one query, or for several at once. */
struct scan {
    const struct index *ix;
    const struct index_allow *allow; /* of all of them */
    int64_t deadline_ns;
    struct scan_lane *lanes;
    size_t n_lanes;
    uint32_t nodes[4]; /* that wait to be compared */
    uint64_t ids[4];
    size_t n, seen;
};

/** The largest estimate worth scoring; kept while neither the worst hit nor the scale is another. */
static inline float limit_of(const struct index *ix, struct scan_lane *l, uint32_t node)
{
    const struct index_scratch *s = l->s;
    float scale = row__head(index__row(ix, node))->scale;
    if (s->top.n < s->top.cap) return INFINITY;
    if (l->bound > s->top.bound || l->bound < s->top.bound || scale > l->bound_scale) {
        l->bound = s->top.bound;
        if (scale > l->bound_scale) l->bound_scale = scale;
        l->limit = codes__estimate_bound(ix, &s->query, l->bound, l->bound_scale);
    }
    return l->limit;
}

static void score(const struct index *ix, uint32_t node, uint64_t id, struct index_scratch *s)
{
    float d = codes__distance(ix, &s->query, node);
    s->report.scored++;
    if (d <= s->top.bound) top__offer(&s->top, d, node, id);
}

static enum err_code flush(struct scan *c, struct err *e)
{
    const struct index *ix = c->ix;
    enum metric_kind metric = ix->o.metric == INDEX_DOT ? INDEX_DOT : INDEX_L2;
    if (c->n == 0) return ERR_OK;
    for (size_t j = c->n; j < 4; j++)
        c->nodes[j] = c->nodes[0];
    for (size_t i = 0; i < c->n_lanes; i++) {
        struct scan_lane *l = &c->lanes[i];
        float d[4];
        codes__estimate4(ix, metric, &l->s->query, c->nodes, d);
        for (size_t j = 0; j < c->n; j++)
            if (d[j] <= limit_of(ix, l, c->nodes[j])) score(ix, c->nodes[j], c->ids[j], l->s);
        l->s->report.estimated += c->n;
    }
    c->n = 0;
    c->seen += 4;
    if (c->deadline_ns && c->seen % DEADLINE_STRIDE == 0 && time_mono_ns() > c->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
    return ERR_OK;
}

static inline enum err_code add(struct scan *c, uint32_t node, uint64_t id, struct err *e)
{
    c->nodes[c->n] = node;
    c->ids[c->n] = id;
    return ++c->n == 4 ? flush(c, e) : ERR_OK;
}

static inline bool is_wanted(const struct scan *c, unsigned state, const struct node_meta *m)
{
    return state__is_live(state) && (!c->allow || index__allows(c->allow, m->id));
}

/** A node of the tail and all that hangs on it (repair.c); but not what stands behind it in the chain where it hangs itself:
 * that has places of its own, or was found by the walk. Its place may be vacant by now, or given back, at any step. */
static enum err_code tail_node(struct scan *c, uint32_t node, struct err *e)
{
    const struct index *ix = c->ix;
    unsigned goes_on = NODE_HAS_TWINS;
    for (char *block; node != NODE_NONE && (block = index__block(ix, node));) {
        const struct node_meta *m = block__meta(ix, block, node);
        unsigned state = atomic_load(block__state_at(ix, block, node));
        if (!(state & NODE_USED)) break;
        if (is_wanted(c, state, m)) TRY(add(c, node, m->id, e));
        if (!(state & goes_on)) break;
        goes_on |= NODE_IS_TWIN;
        node = atomic_load_explicit(&m->twin, memory_order_acquire);
    }
    return ERR_OK;
}

static void fetch_ahead(const struct index *ix, uint32_t node)
{
    const char *block = index__block(ix, node);
    if (block) codes__prefetch_row(ix, block + (node & ix->block_mask) * ix->row_bytes);
}

static enum err_code scan_tail(struct scan *c, struct tail_view v, struct err *e)
{
    const struct index *ix = c->ix;
    uint32_t nodes[TAIL_BATCH];
    for (size_t n; (n = tail__read(&ix->tail, &v, nodes, TAIL_BATCH)) > 0;)
        for (size_t i = 0; i < n; i++) {
            if (i + AHEAD < n) fetch_ahead(ix, nodes[i + AHEAD]);
            TRY(tail_node(c, nodes[i], e));
        }
    return flush(c, e);
}

/** As add, of n nodes, fetched ahead. */
static enum err_code add_many(
    struct scan *c, const uint32_t *nodes, const uint64_t *ids, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) codes__prefetch(c->ix, nodes[i + AHEAD]);
        TRY(add(c, nodes[i], ids[i], e));
    }
    return ERR_OK;
}

static enum err_code scan_all(struct scan *c, struct err *e)
{
    const struct index *ix = c->ix;
    struct tail_view later = tail__view_end(&ix->tail);
    uint32_t end = atomic_load_explicit(&ix->n_nodes, memory_order_acquire);
    uint32_t nodes[ID_BATCH];
    uint64_t ids[ID_BATCH];
    size_t n = 0;
    for (uint32_t node = 0; node < end; node++) {
        char *block = index__block(ix, node);
        if (!block) break; /* given back: nothing lives beyond */
        const struct node_meta *m = block__meta(ix, block, node);
        unsigned state = atomic_load(block__state_at(ix, block, node));
        if (!is_wanted(c, state, m)) continue;
        nodes[n] = node;
        ids[n++] = m->id;
        if (n < ID_BATCH) continue;
        TRY(add_many(c, nodes, ids, n, e));
        n = 0;
    }
    TRY(add_many(c, nodes, ids, n, e));
    TRY(flush(c, e));
    return scan_tail(c, later, e);
}

size_t scan__look_up(const struct index *ix, uint64_t *ids, size_t n, uint32_t *ret_nodes)
{
    struct rwlock *lock = (struct rwlock *)&ix->ids_lock; /* a lock is not part of the value */
    size_t found = 0;
    rwlock_rdlock(lock);
    for (size_t i = 0; i < n; i++) {
        uint32_t node;
        if (!u64_map_get(&ix->ids, ids[i], &node)) continue;
        ret_nodes[found] = node;
        ids[found++] = ids[i];
    }
    rwlock_unlock(lock);
    return found;
}

/** What was an id's node when it was looked up is scored, even if it is replaced by now. */
static enum err_code scan_ids(struct scan *c, uint64_t *ids, size_t n, struct err *e)
{
    uint32_t nodes[ID_BATCH];
    n = scan__look_up(c->ix, ids, n, nodes);
    return add_many(c, nodes, ids, n, e);
}

static enum err_code scan_allowed(struct scan *c, struct err *e)
{
    const struct index_allow *a = c->allow;
    uint64_t ids[ID_BATCH];
    size_t n = 0;
    for (size_t w = 0; w < a->n_bits / 64 + (a->n_bits % 64 != 0); w++) {
        uint64_t bits = a->bits[w];
        if (w == a->n_bits / 64) bits &= (UINT64_C(1) << a->n_bits % 64) - 1;
        for (; bits; bits &= bits - 1) {
            ids[n++] = w * 64 + (uint64_t)__builtin_ctzll(bits);
            if (n < ID_BATCH) continue;
            TRY(scan_ids(c, ids, n, e));
            n = 0;
        }
    }
    TRY(scan_ids(c, ids, n, e));
    return flush(c, e);
}

/* ---- for one query, or for several ---- */
static struct scan scan_of(
    const struct index *ix, const struct index_query *q, struct scan_lane *lanes, size_t n_lanes)
{
    for (size_t i = 0; i < n_lanes; i++)
        lanes[i].bound_scale = -1;
    return (struct scan){ .ix = ix,
        .allow = q->allow,
        .deadline_ns = q->deadline_ns,
        .lanes = lanes,
        .n_lanes = n_lanes };
}

enum err_code scan__lanes(const struct index *ix, const struct index_query *q, bool by_id,
    struct scan_lane *lanes, size_t n_lanes, struct err *e)
{
    struct scan c = scan_of(ix, q, lanes, n_lanes);
    return by_id ? scan_allowed(&c, e) : scan_all(&c, e);
}

enum err_code scan__all(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    struct scan_lane lane = { .s = s };
    return scan__lanes(ix, q, false, &lane, 1, e);
}

enum err_code scan__allowed(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    struct scan_lane lane = { .s = s };
    return scan__lanes(ix, q, true, &lane, 1, e);
}

enum err_code scan__tail(const struct index *ix, const struct index_query *q, struct tail_view v,
    struct index_scratch *s, struct err *e)
{
    struct scan_lane lane = { .s = s };
    struct scan c = scan_of(ix, q, &lane, 1);
    return scan_tail(&c, v, e);
}
