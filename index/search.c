/* One search: which way, and what if that way was not enough.
 *
 *   scan, if plan.c says so
 *   else   1. take a view of the tail
 *          2. walk the graph by estimates, score the best exactly
 *          3. scan the tail from the view on
 *   fewer hits than there could be, or the walk gave up: scan
 *
 * Why it misses no vector that was put before it started: such a node is either
 * before the view, then it was linked before step 2 began, or it is scanned
 * in step 3, linked meanwhile or not. What both find is kept once. Why it misses no id that is being
 * replaced: step 2 turns the old node down only after the new one was
 * published, and step 3 comes later.
 *
 * Scoring what a walk has found: in the order of their estimates; an exact score is taken of the first k and of all that
 * could by the error of estimates still be among the best k (codes__likely_bound), which are a few more.
 */
#include "index/index_internal.h"

#include <math.h>

const char *index_plan_name(enum index_plan plan)
{
    static const char *const names[INDEX_PLAN_COUNT] = { [INDEX_PLAN_SCAN] = "scan",
        [INDEX_PLAN_WALK] = "walk",
        [INDEX_PLAN_TWO_HOP] = "two_hop",
        [INDEX_PLAN_FALLBACK] = "fallback" };
    return names[plan];
}

enum err_code search__check(
    const struct index *ix, const struct index_query *q, double *ret_scale, struct err *e)
{
    if (q->k < 1 || q->k > INDEX_K_MAX)
        return err_set(e, ERR_INVALID, "k must be between 1 and %d", INDEX_K_MAX);
    if (q->ef > INDEX_EF_MAX) return err_set(e, ERR_INVALID, "ef must be at most %d", INDEX_EF_MAX);
    if (!(q->target_recall >= 0) || q->target_recall >= 1)
        return err_set(e, ERR_INVALID, "target_recall must be above 0 and below 1");
    if (q->has_min_score && isnan(q->min_score))
        return err_set(e, ERR_INVALID, "min_score is not a number");
    TRY(codes__check(ix, q->vector, ret_scale, e));
    if (q->deadline_ns && time_mono_ns() > q->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the search did not finish in time");
    return ERR_OK;
}

static enum err_code scan(const struct index *ix, const struct index_query *q,
    const struct plan *plan, struct index_scratch *s, struct err *e)
{
    return plan->by_id ? scan__allowed(ix, q, s, e) : scan__all(ix, q, s, e);
}

static void score(const struct index *ix, uint32_t node, struct index_scratch *s)
{
    s->report.scored++;
    float d = codes__distance(ix, &s->query, node);
    top__offer(&s->top, d, node, index__meta(ix, node)->id);
}

/** The found, exactly scored as far as they matter, offered to s->top. */
static void score_found(
    const struct index *ix, const struct index_query *q, struct index_scratch *s)
{
    enum { AHEAD = 2 };
    key_heap__sort_max(&s->found);
    for (size_t i = 0; i < s->found.n; i++) {
        uint32_t node = key_node(s->found.v[i]);
        if (i >= q->k) {
            float kth = key_distance(s->found.v[q->k - 1]);
            float scale = row__head(index__row(ix, node))->scale;
            if (key_distance(s->found.v[i]) > codes__likely_bound(ix, &s->query, kth, scale)) break;
        }
        if (i + AHEAD < s->found.n) codes__prefetch_low(ix, key_node(s->found.v[i + AHEAD]));
        score(ix, node, s);
    }
    for (size_t i = 0; i < s->within.n; i++)
        score(ix, key_node(s->within.v[i]), s);
}

/** A range search walks through all within the radius; one for fewer hits than ef only cuts its hits. */
static void set_radius(const struct index *ix, const struct index_query *q,
    const struct prepared *p, struct layer_search *ls)
{
    ls->radius = -INFINITY;
    if (!q->has_min_score || q->k <= ls->ef) return;
    float at = codes__to_estimate(ix, p, -q->min_score);
    ls->radius = codes__likely_bound(ix, p, at, p->unit * 128);
    ls->n_within = q->k;
}

/** Steps 1 to 3. LIMIT: the walk gave up. */
static enum err_code walk_and_scan_tail(const struct index *ix, const struct index_query *q,
    const struct plan *plan, struct index_scratch *s, struct err *e)
{
    struct tail_view view = tail__view(&ix->tail);
    uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire);
    if (entry != ENTRY_NONE) {
        struct layer_search ls = { .query = &s->query,
            .metric = ix->o.metric == INDEX_DOT ? INDEX_DOT : INDEX_L2,
            .ef = plan->keep,
            .around = plan->around,
            .live_only = true,
            .two_hop = plan->kind == INDEX_PLAN_TWO_HOP,
            .allow = q->allow,
            .seed_every = plan->seed_every,
            .deadline_ns = q->deadline_ns,
            .max_estimates = plan->max_estimates,
            .least_pass = plan->least_pass };
        set_radius(ix, q, &s->query, &ls);
        TRY(hnsw__search_layer(ix, &ls, hnsw__descend(ix, &ls, entry, s), s, e));
        score_found(ix, q, s);
    }
    return scan__tail(ix, q, view, s, e);
}

void search__write_hits(
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

/** Is a result of n hits all that can be asked for? A range search may find few because few are near. */
static bool is_enough(const struct index *ix, const struct index_query *q, const struct top *t,
    bool full, bool scanned)
{
    if (t->n >= q->k) return true;
    if (full) return false;
    return scanned || t->n >= plan__possible_hits(ix, q) || (q->has_min_score && t->n > 0);
}

/** Inside, the query prepared. */
static enum err_code answer(
    const struct index *ix, const struct index_query *q, struct index_scratch *s, struct err *e)
{
    struct plan plan = plan__make(ix, q, s->forced);
    s->report = (struct index_report){ .plan = plan.kind };
    for (size_t room = q->k + REPLACED_SLACK;;) {
        bool exact = plan.kind == INDEX_PLAN_SCAN;
        if (top__begin(&s->top, room) != ERR_OK)
            return err_set(e, ERR_NOMEM, "out of memory for a search");
        if (!exact) s->report.ef = plan.ef;
        enum err_code code =
            exact ? scan(ix, q, &plan, s, e) : walk_and_scan_tail(ix, q, &plan, s, e);
        if (code != ERR_OK && code != ERR_LIMIT) return code;

        bool full = s->top.n == room;
        top__finish(ix, &s->top);
        if (code == ERR_OK && is_enough(ix, q, &s->top, full, exact)) return ERR_OK;
        if (full) room *= 2;
        if (exact) continue;
        plan = plan__instead(ix, q, &plan);
        s->report.plan = plan.kind == INDEX_PLAN_SCAN ? INDEX_PLAN_FALLBACK : plan.kind;
    }
}

enum err_code index_search(const struct index *ix, const struct index_query *q,
    struct index_scratch *s, struct index_hit *ret_hits, size_t *ret_n,
    struct index_report *ret_report, struct err *e)
{
    double scale;
    TRY(search__check(ix, q, &scale, e));
    if (scratch__query(ix, s) != ERR_OK) return err_set(e, ERR_NOMEM, "out of memory for a search");
    unsigned token = epoch__enter(ix, s);
    codes__prepare(ix, q->vector, scale, &s->query);
    enum err_code code = answer(ix, q, s, e);
    epoch__leave(ix, s, token);
    TRY(code);
    search__write_hits(q, &s->top, ret_hits, ret_n);
    if (ret_report) *ret_report = s->report;
    return ERR_OK;
}
