/* Exact scans: over the nodes in order, or over the allowed ids.
 *
 * A scan over nodes looks at n_nodes again at its end. So it never misses an id
 * that is replaced meanwhile: if the old node was found deleted, the new one
 * was published before that and has a higher number.
 */
#include "index/index_internal.h"

enum { ID_BATCH = 128 }; /* ids looked up under one hold of ids_lock */

/** Up to four nodes that wait for their distance. */
struct quad {
    uint32_t nodes[4];
    uint64_t ids[4];
    size_t n;
    size_t computed;
};

static enum err_code quad_flush(const struct index *ix, const struct index_query *q, struct quad *f,
    struct index_scratch *s, struct err *e)
{
    const float *rows[4];
    float d[4];
    if (f->n == 0) return ERR_OK;
    for (size_t j = 0; j < 4; j++)
        rows[j] = index__row(ix, f->nodes[j < f->n ? j : 0]);
    index__distance4(ix, ix->o.metric, s->query, rows, d);
    for (size_t j = 0; j < f->n; j++)
        if (d[j] <= s->top.bound) top__offer(&s->top, d[j], f->nodes[j], f->ids[j]);
    f->n = 0;
    f->computed += 4;
    if (q->deadline_ns && f->computed % DEADLINE_STRIDE == 0 && time_mono_ns() > q->deadline_ns)
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

enum err_code exact__scan(const struct index *ix, const struct index_query *q, uint32_t first,
    struct index_scratch *s, struct err *e)
{
    struct quad f = { .n = 0 };
    for (uint32_t node = first; node < atomic_load_explicit(&ix->n_nodes, memory_order_acquire);
         node++) {
        const struct node_meta *m = index__meta(ix, node);
        if (q->allow && !index__allows(q->allow, m->id)) continue;
        if (!index__is_live(m)) continue;
        TRY(quad_add(ix, q, &f, node, m->id, s, e));
    }
    return quad_flush(ix, q, &f, s, e);
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

static enum err_code scan_ids(const struct index *ix, const struct index_query *q, uint64_t *ids,
    size_t n, struct quad *f, struct index_scratch *s, struct err *e)
{
    uint32_t nodes[ID_BATCH];
    n = look_up(ix, ids, n, nodes);
    for (size_t i = 0; i < n; i++) {
        if (i + 4 < n) __builtin_prefetch(index__row(ix, nodes[i + 4]));
        TRY(quad_add(ix, q, f, nodes[i], ids[i], s, e));
    }
    return ERR_OK;
}

enum err_code exact__allowed(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    const struct index_allow *a = q->allow;
    struct quad f = { .n = 0 };
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
