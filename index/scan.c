/* Exact scans: over all nodes, over the tail, or over the allowed ids.
 *
 * Codes first: four at a time are compared by estimate, and only those that could be among the best, by a bound that
 * holds for every vector (codes__estimate_bound), are scored exactly. So a scan reads a third of what it
 * would, and its hits are exact all the same.
 *
 * A scan over all nodes ends with the tail as it has grown meanwhile. So it never misses an id that is replaced
 * meanwhile: if the old node was found deleted, the new one was published before that, and stands in the tail.
 */
#include "index/index_internal.h"

#include <math.h>

enum { ID_BATCH = 128, TAIL_BATCH = 64, AHEAD = 8 };

/** Nodes that wait to be compared, four of them. */
struct quad {
    uint32_t nodes[4];
    uint64_t ids[4];
    size_t n, seen;
    float bound, bound_scale, limit; /* of which `limit` is the estimate bound */
};

/** The largest estimate worth scoring; kept while neither the worst hit nor the scale is another. */
static inline float limit_of(
    const struct index *ix, struct quad *f, const struct index_scratch *s, uint32_t node)
{
    float scale = row__head(index__row(ix, node))->scale;
    if (s->top.n < s->top.cap) return INFINITY;
    if (f->bound > s->top.bound || f->bound < s->top.bound || scale > f->bound_scale) {
        f->bound = s->top.bound;
        if (scale > f->bound_scale) f->bound_scale = scale;
        f->limit = codes__estimate_bound(ix, &s->query, f->bound, f->bound_scale);
    }
    return f->limit;
}

static void score(const struct index *ix, uint32_t node, uint64_t id, struct index_scratch *s)
{
    float d = codes__distance(ix, &s->query, node);
    s->report.scored++;
    if (d <= s->top.bound) top__offer(&s->top, d, node, id);
}

static enum err_code quad_flush(const struct index *ix, const struct index_query *q, struct quad *f,
    struct index_scratch *s, struct err *e)
{
    float d[4];
    if (f->n == 0) return ERR_OK;
    size_t n = f->n;
    for (size_t j = n; j < 4; j++)
        f->nodes[j] = f->nodes[0];
    codes__estimate4(ix, ix->o.metric == INDEX_DOT ? INDEX_DOT : INDEX_L2, &s->query, f->nodes, d);
    for (size_t j = 0; j < n; j++)
        if (d[j] <= limit_of(ix, f, s, f->nodes[j])) score(ix, f->nodes[j], f->ids[j], s);
    f->n = 0;
    f->seen += 4;
    s->report.estimated += n;
    if (q->deadline_ns && f->seen % DEADLINE_STRIDE == 0 && time_mono_ns() > q->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
    return ERR_OK;
}

static inline enum err_code quad_add(const struct index *ix, const struct index_query *q,
    struct quad *f, uint32_t node, uint64_t id, struct index_scratch *s, struct err *e)
{
    f->nodes[f->n] = node;
    f->ids[f->n] = id;
    return ++f->n == 4 ? quad_flush(ix, q, f, s, e) : ERR_OK;
}

static inline bool is_wanted(const struct index_query *q, unsigned state, const struct node_meta *m)
{
    return state__is_live(state) && (!q->allow || index__allows(q->allow, m->id));
}

/** A node of the tail and all that hangs on it (repair.c). Its place may be vacant by now, or given back, at any step. */
static enum err_code tail_node(const struct index *ix, const struct index_query *q, struct quad *f,
    uint32_t node, struct index_scratch *s, struct err *e)
{
    for (char *block; node != NODE_NONE && (block = index__block(ix, node));) {
        const struct node_meta *m = block__meta(ix, block, node);
        unsigned state = atomic_load(block__state_at(ix, block, node));
        if (!(state & NODE_USED)) break;
        if (is_wanted(q, state, m)) TRY(quad_add(ix, q, f, node, m->id, s, e));
        node = atomic_load_explicit(&m->twin, memory_order_acquire);
    }
    return ERR_OK;
}

static void fetch_ahead(const struct index *ix, uint32_t node)
{
    const char *block = index__block(ix, node);
    if (block) codes__prefetch_row(ix, block + (node & ix->block_mask) * ix->row_bytes);
}

enum err_code scan__tail(const struct index *ix, const struct index_query *q, struct tail_view v,
    struct index_scratch *s, struct err *e)
{
    struct quad f = { .bound_scale = -1 };
    uint32_t nodes[TAIL_BATCH];
    for (size_t n; (n = tail__read(&ix->tail, &v, nodes, TAIL_BATCH)) > 0;)
        for (size_t i = 0; i < n; i++) {
            if (i + AHEAD < n) fetch_ahead(ix, nodes[i + AHEAD]);
            TRY(tail_node(ix, q, &f, nodes[i], s, e));
        }
    return quad_flush(ix, q, &f, s, e);
}

enum err_code scan__all(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    struct quad f = { .bound_scale = -1 };
    struct tail_view later = tail__view_end(&ix->tail);
    uint32_t n = atomic_load_explicit(&ix->n_nodes, memory_order_acquire);
    for (uint32_t node = 0; node < n; node++) {
        char *block = index__block(ix, node);
        if (!block) break; /* given back: nothing lives beyond */
        const struct node_meta *m = block__meta(ix, block, node);
        unsigned state = atomic_load(block__state_at(ix, block, node));
        if (is_wanted(q, state, m)) TRY(quad_add(ix, q, &f, node, m->id, s, e));
    }
    TRY(quad_flush(ix, q, &f, s, e));
    return scan__tail(ix, q, later, s, e);
}

/** The nodes of n ids; ids that are not there are dropped. Returns how many are left. */
static size_t look_up(const struct index *ix, uint64_t *ids, size_t n, uint32_t *ret_nodes)
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
static enum err_code scan_ids(const struct index *ix, const struct index_query *q, uint64_t *ids,
    size_t n, struct quad *f, struct index_scratch *s, struct err *e)
{
    uint32_t nodes[ID_BATCH];
    n = look_up(ix, ids, n, nodes);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) codes__prefetch(ix, nodes[i + AHEAD]);
        TRY(quad_add(ix, q, f, nodes[i], ids[i], s, e));
    }
    return ERR_OK;
}

enum err_code scan__allowed(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    const struct index_allow *a = q->allow;
    struct quad f = { .bound_scale = -1 };
    uint64_t ids[ID_BATCH];
    size_t n = 0;
    for (size_t w = 0; w < a->n_bits / 64 + (a->n_bits % 64 != 0); w++) {
        uint64_t bits = a->bits[w];
        if (w == a->n_bits / 64) bits &= (UINT64_C(1) << a->n_bits % 64) - 1;
        for (; bits; bits &= bits - 1) {
            ids[n++] = w * 64 + (uint64_t)__builtin_ctzll(bits);
            if (n < ID_BATCH) continue;
            TRY(scan_ids(ix, q, ids, n, &f, s, e));
            n = 0;
        }
    }
    TRY(scan_ids(ix, q, ids, n, &f, s, e));
    return quad_flush(ix, q, &f, s, e);
}
