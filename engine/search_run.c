/* A search on a search thread: filter to a set of slots, index, hydration from the catalog.
 *
 * Index and catalog are read one after the other, so an item may be deleted in between. Such hits are dropped;
 * if the page then has a gap that other items could fill, the search is repeated: by then the index has seen
 * the deletion, which follows the commit at once. After SEARCH_TRIES a short page is the honest answer.
 *
 * The index ranks by the squared Euclidean distance; a score is the distance itself, so roots are taken here.
 * The bound on scores is therefore passed on a little lower, and the hits are cut by their scores again.
 */
#include "engine/search_internal.h"

#include "base/mem.h"
#include "base/metrics.h"

#include <float.h>
#include <math.h>

enum { SEARCH_TRIES = 4 };

static struct metric searches_total = METRIC_COUNTER("kindred_index_searches_total",
    "Searches of an index by how they were answered: scan (exact), walk (of the graph), two_hop "
    "(of the graph of items that "
    "a filter passes), fallback (a walk that ended as a scan).");
static struct metric search_seconds = METRIC_HISTOGRAM("kindred_search_seconds",
    "Time on a search thread: filter, index and hydration; by kind of search.");

/* ---- query vector ---- */

static enum err_code vector_of_item(struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    struct catalog_item item;
    enum err_code code = catalog_item_get(op->op.engine->catalog, &s->base.col->row,
        &s->base.gen->row, op->id, ITEM_WITH_VECTOR, op->op.arena, &item, e);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && !item.vector))
        return err_set_field(e, ERR_NOT_FOUND, "/id",
            "there is no such item in collection \"%.*s\"", STR_ARG(s->base.col->row.name));
    TRY(code);
    s->vector = item.vector;
    s->self = item.slot;
    s->leave_out = true;
    return ERR_OK;
}

/* ---- Euclidean scores ---- */

static float index_bound(const struct search_state *s)
{
    float bound = s->op->min_score;
    if (s->base.col->row.metric != METRIC_L2 || bound > 0) return bound;
    return nextafterf(-bound * bound, -INFINITY) * (1 + 4 * FLT_EPSILON);
}

static void take_roots(const struct search_state *s, struct index_hit *hits, size_t *n)
{
    if (s->base.col->row.metric != METRIC_L2) return;
    for (size_t i = 0; i < *n; i++)
        hits[i].score = -sqrtf(-hits[i].score);
    while (s->op->has_min_score && *n > 0 && hits[*n - 1].score < s->op->min_score)
        (*n)--;
}

/* ---- one try ---- */

struct page {
    struct index_hit *hits; /* [n_hits] as the index gave them, `self` taken out */
    size_t n_hits;
    bool complete;              /* the index has no more than these */
    struct catalog_item *items; /* [n_items] of hits[offset…] */
    size_t n_items, n_gone;
};

static void count_plan(enum index_plan plan)
{
    static const char *const labels[INDEX_PLAN_COUNT] = {
        [INDEX_PLAN_SCAN] = "plan=\"scan\"",
        [INDEX_PLAN_WALK] = "plan=\"walk\"",
        [INDEX_PLAN_TWO_HOP] = "plan=\"two_hop\"",
        [INDEX_PLAN_FALLBACK] = "plan=\"fallback\"",
    };
    metric_add(&searches_total, labels[plan], 1);
}

void search__query(const struct search_state *s, struct index_query *ret)
{
    const struct search_op *op = s->op;
    size_t want = op->k + op->offset + s->leave_out;
    *ret = (struct index_query){
        .vector = s->vector,
        .k = want < INDEX_K_MAX ? want : INDEX_K_MAX,
        .ef = op->ef,
        .target_recall = op->target_recall,
        .exact = op->exact,
        .allow = op->filter ? &s->allow : NULL,
        .has_min_score = op->has_min_score,
        .min_score = index_bound(s),
        .deadline_ns = op->op.deadline_ns,
    };
}

enum err_code search__ask(const struct search_state *s, const struct index_query *q,
    struct search_found *ret, struct err *e)
{
    struct index_scratch *scratch = pool_scratch();
    struct index_hit *hits = arena_alloc(s->op->op.arena, q->k, sizeof *hits);
    struct index_report report;
    struct search_found found = { hits, 0, atomic_load(&s->base.col->published), 0 };
    if (!scratch || !hits) return err_set(e, ERR_NOMEM, "out of memory for a search");
    TRY(index_search(s->base.gen->index, q, scratch, hits, &found.n, &report, e));
    found.plan = report.plan;
    *ret = found;
    return ERR_OK;
}

/* What the index found, without what is no hit. */
static void take_found(struct search_state *s, const struct index_query *q,
    const struct search_found *f, struct page *p)
{
    const struct search_op *op = s->op;
    size_t n = f->n;
    count_plan(f->plan);
    recall_offer(&op->op.engine->recall, s->base.col, s->base.gen, q, f->hits, f->n, f->known);
    p->hits = f->hits;
    take_roots(s, p->hits, &n);
    p->complete = n < q->k;
    p->n_hits = 0;
    for (size_t i = 0; i < n; i++)
        if (!s->leave_out || p->hits[i].id != s->self) p->hits[p->n_hits++] = p->hits[i];
    if (p->n_hits > op->k + op->offset) p->n_hits = op->k + op->offset;
}

static enum err_code hydrate(struct search_state *s, struct page *p, struct err *e)
{
    struct search_op *op = s->op;
    struct arena *a = op->op.arena;
    p->n_gone = p->n_items = 0;
    if (p->n_hits <= op->offset) return ERR_OK;
    size_t n = p->n_hits - op->offset;
    uint32_t *slots = arena_alloc(a, n, sizeof *slots);
    p->items = arena_alloc(a, n, sizeof *p->items);
    if (!slots || !p->items) return err_set(e, ERR_NOMEM, "out of memory for hits");
    for (size_t i = 0; i < n; i++)
        slots[i] = (uint32_t)p->hits[op->offset + i].id;
    TRY(catalog_items_by_slot(op->op.engine->catalog, &s->base.col->row, &s->base.gen->row, slots,
        n, op->with, a, p->items, e));
    p->n_items = n;
    for (size_t i = 0; i < n; i++)
        p->n_gone += p->items[i].key.p == NULL;
    return ERR_OK;
}

static enum err_code fill_hits(struct search_state *s, const struct page *p, struct err *e)
{
    struct search_op *op = s->op;
    struct search_hit *hits = arena_zalloc(op->op.arena, p->n_items, sizeof *hits);
    if (!hits) return err_set(e, ERR_NOMEM, "out of memory for hits");
    size_t n = 0;
    for (size_t i = 0; i < p->n_items; i++) {
        const struct catalog_item *item = &p->items[i];
        if (!item->key.p) continue;
        hits[n++] = (struct search_hit){
            .key = item->key,
            .text = item->text,
            .metadata = item->metadata,
            .score = p->hits[op->offset + i].score,
            .model_version = s->base.gen->row.model_version,
            .vector = item->vector,
            .n_vector = item->n_vector,
        };
    }
    op->hits = hits;
    op->n_hits = n;
    return ERR_OK;
}

static enum err_code evaluate_filter(struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    AUTO_COLUMNS struct columns *columns = collection_columns(s->base.col);
    struct filter_target target = {
        .catalog = op->op.engine->catalog,
        .col = &s->base.col->row,
        .fields = columns->fields,
    };
    AUTO_SLOT_SET struct slot_set *set = NULL;
    TRY(filter_evaluate(&target, op->filter, op->op.deadline_ns, &set, e));
    return slot_set_allow(set, op->op.arena, &s->allow, e);
}

static const char *kind_label(const struct search_op *op)
{
    if (op->filter) return op->exact ? "kind=\"filtered_exact\"" : "kind=\"filtered\"";
    return op->exact ? "kind=\"exact\"" : "kind=\"graph\"";
}

static enum err_code answer(struct search_state *s, const struct search_found *first, struct err *e)
{
    struct arena *a = s->op->op.arena;
    if (s->op->id.p) TRY(vector_of_item(s, e));
    if (s->op->filter) TRY(evaluate_filter(s, e));
    struct arena_mark mark = arena_mark(a);
    struct index_query q;
    struct page p = { 0 };
    search__query(s, &q);
    for (int i = 0; i < SEARCH_TRIES; i++) {
        struct search_found found;
        arena_rewind(a, mark);
        if (i == 0 && first)
            found = *first;
        else
            TRY(search__ask(s, &q, &found, e));
        take_found(s, &q, &found, &p);
        TRY(hydrate(s, &p, e));
        if (p.n_gone == 0 || p.complete) break;
    }
    return fill_hits(s, &p, e);
}

enum err_code search__run(struct search_state *s, const struct search_found *first, struct err *e)
{
    int64_t started = time_mono_ns();
    enum err_code code = answer(s, first, e);
    s->op->done_ns = time_mono_ns();
    metric_observe(
        &search_seconds, kind_label(s->op), (double)(s->op->done_ns - started) / (double)NS_PER_S);
    return code;
}
