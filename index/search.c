/* One search: which way, and what if that way was not enough.
 *
 *   exact, or cheap enough to be exact?  scan (all, or the allowed ids)
 *   else                                 1. read the watermark
 *                                        2. walk the graph
 *                                        3. scan every node from the watermark on
 *   fewer hits than there could be, or the walk gave up: scan
 *
 * Why it misses no vector that was put before it started: such a node is either
 * below the watermark, then it was linked before step 2 began, or it is scanned
 * in step 3, linked meanwhile or not. Nodes above the watermark that step 2
 * found are dropped, step 3 finds them again. Why it misses no id that is being
 * replaced: step 2 turns the old node down only after the new one was
 * published, and step 3 comes later.
 *
 * The choice (exact_is_cheaper): a walk that shall find ef allowed nodes when a
 * share p of the nodes is allowed computes about c*ef/p distances; a scan
 * computes one for each of the A = p*n allowed nodes, at about a quarter of the
 * price, since it does not jump about. The scan wins while A*A < 4*c*ef*n. So
 * collections of a few thousand vectors are always scanned.
 */
#include "index/index_internal.h"

#include <math.h>

enum {
    SCAN_FACTOR = 40,    /* 4*c above, as measured by bench_index */
    META_SHARE = 16,     /* a scan's look at a node that is not allowed, in distances: 1/16 */
    REPLACED_SLACK = 16, /* room beside k for ids that were seen twice while being replaced */
};

static enum err_code check_query(
    const struct index *ix, const struct index_query *q, double *ret_scale, struct err *e)
{
    if (q->k < 1 || q->k > INDEX_K_MAX)
        return err_set(e, ERR_INVALID, "k must be between 1 and %d", INDEX_K_MAX);
    if (q->ef > INDEX_EF_MAX) return err_set(e, ERR_INVALID, "ef must be at most %d", INDEX_EF_MAX);
    if (q->has_min_score && isnan(q->min_score))
        return err_set(e, ERR_INVALID, "min_score is not a number");
    TRY(store__check(ix, q->vector, ret_scale, e));
    if (q->deadline_ns && time_mono_ns() > q->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
    return ERR_OK;
}

/** The most hits that there can be. */
static size_t possible_hits(const struct index *ix, const struct index_query *q)
{
    size_t live = atomic_load_explicit(&ix->live, memory_order_relaxed);
    return q->allow && q->allow->count < live ? q->allow->count : live;
}

static bool exact_is_cheaper(const struct index *ix, const struct index_query *q, size_t ef)
{
    double a = (double)possible_hits(ix, q);
    double n = (double)atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    return a * a <= SCAN_FACTOR * (double)ef * n;
}

static enum err_code scan(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    size_t n = atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    if (q->allow && q->allow->count < n / META_SHARE) return exact__allowed(ix, q, s, e);
    return exact__scan(ix, q, 0, s, e);
}

/** Steps 1 to 3. LIMIT: the walk gave up. */
static enum err_code walk_and_scan_tail(const struct index *ix, const struct index_query *q,
    size_t ef, struct index_scratch *s, struct err *e)
{
    uint32_t watermark = atomic_load_explicit(&ix->watermark, memory_order_acquire);
    uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    if (entry != ENTRY_NONE) {
        struct layer_search ls = { .query = s->query,
            .metric = ix->o.metric,
            .ef = ef,
            .live_only = true,
            .allow = q->allow,
            .deadline_ns = q->deadline_ns,
            .max_distances = possible_hits(ix, q) +
                atomic_load_explicit(&ix->n_nodes, memory_order_relaxed) / META_SHARE };
        TRY(hnsw__search_layer(ix, &ls, hnsw__descend(ix, &ls, entry, s), s, e));
        for (size_t i = 0; i < s->found.n; i++) {
            uint32_t node = key_node(s->found.v[i]);
            if (node < watermark)
                top__offer(&s->top, key_distance(s->found.v[i]), node, index__meta(ix, node)->id);
        }
    }
    return exact__scan(ix, q, watermark, s, e);
}

static void write_hits(
    const struct index_query *q, const struct top *t, struct index_hit *ret_hits, size_t *ret_n)
{
    size_t n = 0;
    for (; n < t->n && n < q->k; n++) {
        float score = 0.0f - t->v[n].distance;
        if (q->has_min_score && score < q->min_score) break;
        ret_hits[n] = (struct index_hit){ .id = t->v[n].id, .score = score };
    }
    *ret_n = n;
}

enum err_code index_search(const struct index *ix, const struct index_query *q,
    struct index_scratch *s, struct index_hit *ret_hits, size_t *ret_n, struct err *e)
{
    double scale;
    TRY(check_query(ix, q, &scale, e));
    size_t ef = q->ef ? q->ef : ix->o.ef_search;
    if (ef < q->k) ef = q->k;
    if (scratch__query(s, ix->row_floats) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a search");
    store__write_row(ix, s->query, q->vector, scale);

    bool exact = q->exact || exact_is_cheaper(ix, q, ef);
    for (size_t room = q->k + REPLACED_SLACK;; room *= 2) {
        if (top__begin(&s->top, room) != ERR_OK)
            return err_set(e, ERR_NOMEM, "out of memory for a search");
        enum err_code code = exact ? scan(ix, q, s, e) : walk_and_scan_tail(ix, q, ef, s, e);
        if (code != ERR_OK && code != ERR_LIMIT) return code;

        bool full = s->top.n == room;
        top__finish(&s->top);
        bool enough = s->top.n >= q->k || (!full && (exact || s->top.n >= possible_hits(ix, q)));
        if (code == ERR_OK && enough) break;
        exact = true;
    }
    write_hits(q, &s->top, ret_hits, ret_n);
    return ERR_OK;
}
