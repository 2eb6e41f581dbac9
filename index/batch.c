/* Many searches in one call. Walks are done one after the other; of scans, those that stand in a row and have the same
 * filter are done in one pass over the vectors, up to SCAN_LANES at a time, since a scan waits for memory and not for
 * arithmetic. */
#include "index/index_internal.h"

struct batch {
    const struct index *ix;
    const struct index_query *q;
    size_t n;
    struct index_scratch *s;
    struct index_hit *const *ret_hits;
    size_t *ret_n;
};

/** Lane i: the caller's scratch, or one of those behind it; NULL: no memory. */
static struct index_scratch *lane_scratch(struct index_scratch *s, size_t i)
{
    if (i == 0) return s;
    if (!s->more[i - 1]) s->more[i - 1] = index_scratch_new();
    return s->more[i - 1];
}

/** How many queries from `first` on can share a scan; 1 where there is none to share. */
static size_t count_run(const struct batch *b, size_t first, bool *ret_by_id)
{
    const struct index_query *q = &b->q[first];
    size_t n = 0;
    for (; n < SCAN_LANES && first + n < b->n; n++) {
        const struct index_query *next = q + n;
        struct plan plan = plan__make(b->ix, next, b->s->forced);
        if (plan.kind != INDEX_PLAN_SCAN || next->allow != q->allow ||
            next->deadline_ns != q->deadline_ns)
            break;
        *ret_by_id = plan.by_id;
    }
    return n ? n : 1;
}

/** Query `at` made ready in a lane. */
static enum err_code make_ready(
    const struct batch *b, size_t at, struct index_scratch *s, struct err *e)
{
    const struct index_query *q = &b->q[at];
    double scale;
    TRY(search__check(b->ix, q, &scale, e));
    if (!s || scratch__query(b->ix, s) != ERR_OK ||
        top__begin(&s->top, q->k + REPLACED_SLACK) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a search");
    codes__prepare(b->ix, q->vector, scale, &s->query);
    s->report = (struct index_report){ .plan = INDEX_PLAN_SCAN };
    return ERR_OK;
}

/** n queries from `first` on, in one scan. *ret_failed: which of them an error is about. */
static enum err_code scan_run(
    const struct batch *b, size_t first, size_t n, bool by_id, size_t *ret_failed, struct err *e)
{
    struct scan_lane lanes[SCAN_LANES];
    for (size_t i = 0; i < n; i++) {
        lanes[i].s = lane_scratch(b->s, i);
        *ret_failed = first + i;
        TRY(make_ready(b, first + i, lanes[i].s, e));
    }
    *ret_failed = first;
    TRY(scan__lanes(b->ix, &b->q[first], by_id, lanes, n, e));
    for (size_t i = 0; i < n; i++) {
        struct top *t = &lanes[i].s->top;
        size_t at = first + i;
        bool full = t->n == t->cap;
        top__finish(b->ix, t);
        if (full && t->n < b->q[at].k) /* many were replaced meanwhile */
            b->ret_n[at] = SIZE_MAX;
        else
            search__write_hits(&b->q[at], t, b->ret_hits[at], &b->ret_n[at]);
    }
    return ERR_OK;
}

static enum err_code search_one(const struct batch *b, size_t at, size_t *ret_failed, struct err *e)
{
    *ret_failed = at;
    return index_search(b->ix, &b->q[at], b->s, b->ret_hits[at], &b->ret_n[at], NULL, e);
}

enum err_code index_search_batch(const struct index *ix, const struct index_query *q, size_t n,
    struct index_scratch *s, struct index_hit *const *ret_hits, size_t *ret_n, size_t *ret_failed,
    struct err *e)
{
    const struct batch b = { ix, q, n, s, ret_hits, ret_n };
    size_t failed;
    for (size_t at = 0, run; at < n; at += run) {
        bool by_id = false;
        run = count_run(&b, at, &by_id);
        enum err_code code;
        if (run == 1) {
            code = search_one(&b, at, &failed, e);
        } else {
            unsigned token = epoch__enter(ix, s);
            code = scan_run(&b, at, run, by_id, &failed, e);
            epoch__leave(ix, s, token);
            for (size_t i = at; i < at + run && code == ERR_OK; i++)
                if (ret_n[i] == SIZE_MAX) code = search_one(&b, i, &failed, e);
        }
        if (code == ERR_OK) continue;
        *ret_failed = failed;
        return code;
    }
    return ERR_OK;
}
