/* engine_search: one operation from its query to its hits.
 *
 *   submit        references, version and dimension, permits
 *   encode queue  a text query (interactive lane)
 *   search pool   filter to a set of slots, index, hydration from the catalog
 *
 * Index and catalog are read one after the other, so an item may be deleted in between. Such hits are dropped;
 * if the page then has a gap that other items could fill, the search is repeated: by then the index has seen
 * the deletion, which follows the commit at once. After SEARCH_TRIES a short page is the honest answer.
 *
 * The index ranks by the squared Euclidean distance; a score is the distance itself, so roots are taken here.
 * The bound on scores is therefore passed on a little lower, and the hits are cut by their scores again.
 */
#include "base/mem.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SEARCH_TRIES = 4 };

static struct metric search_seconds = METRIC_HISTOGRAM("kindred_search_seconds",
    "Time on a search thread: filter, index and hydration; by kind of search.");

struct search_state {
    struct op_state base;
    struct search_op *op;
    struct encode_request encode;
    struct encode_text text;
    const float *vector; /* [dim] what is searched for */
    bool leave_out;      /* the slot `self` is no hit: the query is that item */
    uint32_t self;
    struct index_allow allow;
};

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

static enum err_code search_index(struct search_state *s, struct page *p, struct err *e)
{
    const struct search_op *op = s->op;
    size_t want = op->k + op->offset + s->leave_out;
    if (want > INDEX_K_MAX) want = INDEX_K_MAX;
    struct index_query q = {
        .vector = s->vector,
        .k = want,
        .ef = op->ef,
        .exact = op->exact,
        .allow = op->filter ? &s->allow : NULL,
        .has_min_score = op->has_min_score,
        .min_score = index_bound(s),
        .deadline_ns = op->op.deadline_ns,
    };
    struct index_scratch *scratch = pool_scratch();
    p->hits = arena_alloc(op->op.arena, want, sizeof *p->hits);
    if (!scratch || !p->hits) return err_set(e, ERR_NOMEM, "out of memory for a search");
    size_t n;
    TRY(index_search(s->base.gen->index, &q, scratch, p->hits, &n, NULL, e));
    take_roots(s, p->hits, &n);
    p->complete = n < want;
    p->n_hits = 0;
    for (size_t i = 0; i < n; i++)
        if (!s->leave_out || p->hits[i].id != s->self) p->hits[p->n_hits++] = p->hits[i];
    if (p->n_hits > op->k + op->offset) p->n_hits = op->k + op->offset;
    return ERR_OK;
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

static enum err_code run(struct search_state *s, struct err *e)
{
    struct arena *a = s->op->op.arena;
    if (s->op->id.p) TRY(vector_of_item(s, e));
    if (s->op->filter) TRY(evaluate_filter(s, e));
    struct arena_mark mark = arena_mark(a);
    struct page p = { 0 };
    for (int i = 0; i < SEARCH_TRIES; i++) {
        arena_rewind(a, mark);
        TRY(search_index(s, &p, e));
        TRY(hydrate(s, &p, e));
        if (p.n_gone == 0 || p.complete) break;
    }
    return fill_hits(s, &p, e);
}

/* ---- steps ---- */

static const char *kind_label(const struct search_op *op)
{
    if (op->filter) return op->exact ? "kind=\"filtered_exact\"" : "kind=\"filtered\"";
    return op->exact ? "kind=\"exact\"" : "kind=\"graph\"";
}

static void search_step(struct engine_op *op)
{
    struct search_state *s = op->state;
    struct err e = ERR_INIT;
    int64_t started = time_mono_ns();
    enum err_code code = run(s, &e);
    metric_observe(
        &search_seconds, kind_label(s->op), (double)(time_mono_ns() - started) / (double)NS_PER_S);
    engine__finish(op, code == ERR_OK ? NULL : &e);
}

static void encode_finished(struct encode_request *r)
{
    struct search_state *s = container_of(r, struct search_state, encode);
    struct engine_op *op = &s->op->op;
    op->queue_ns += r->queue_ns;
    op->since_ns = time_mono_ns() - r->work_ns;
    gate_release(&op->engine->encode_gate[s->base.encode_lane], s->base.encode_permits);
    s->base.encode_permits = 0;
    if (s->text.failure) {
        struct err why = *s->text.failure;
        if (!encode_fatal(r)) memcpy(why.field, "/text", sizeof "/text");
        engine__finish(op, &why);
        return;
    }
    pool_push(&op->engine->pool, LANE_INTERACTIVE, op, search_step);
}

/* ---- submit ---- */

static enum err_code check_query(const struct search_op *op, struct err *e)
{
    int n = (op->text.p != NULL) + (op->vector != NULL) + (op->id.p != NULL);
    if (n != 1)
        return err_set(e, ERR_INVALID,
            "a search has exactly one of text, vector and id, this one has %s",
            n ? "more" : "none");
    if (op->k < 1 || op->k > INDEX_K_MAX)
        return err_set_field(
            e, ERR_INVALID, "/k", "k is %zu, it must be 1 to %d", op->k, INDEX_K_MAX);
    if (op->offset > INDEX_K_MAX - op->k)
        return err_set_field(
            e, ERR_INVALID, "/offset", "offset and k together are at most %d", INDEX_K_MAX);
    if (op->ef > INDEX_EF_MAX)
        return err_set_field(
            e, ERR_INVALID, "/ef", "ef is %zu, at most %d is allowed", op->ef, INDEX_EF_MAX);
    return ERR_OK;
}

static enum err_code prepare_text(struct engine *g, struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    struct encode_request *r = &s->encode;
    TRY(engine__text_model(s->base.col, s->base.gen, &r->model, e));
    TRY(engine__check_text(g, op->text, "/text", e));
    float *row = arena_alloc(op->op.arena, r->model->info->dimensions, sizeof *row);
    if (!row) return err_set(e, ERR_NOMEM, "out of memory for a search");
    s->text = (struct encode_text){ .text = op->text, .out = row };
    s->vector = row;
    r->kind = ENCODE_QUERY;
    r->truncate = true;
    r->lane = LANE_INTERACTIVE;
    r->deadline_ns = op->op.deadline_ns;
    r->arena = op->op.arena;
    r->texts = &s->text;
    r->n = 1;
    r->finished = encode_finished;
    TRY(engine__take_encode(
        g, &s->base, LANE_INTERACTIVE, encode_cost(r->model, r->kind, op->text), e));
    return encode_prepare(r, g->encoders.batch_units, e);
}

static enum err_code prepare(struct engine *g, struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    TRY(check_query(op, e));
    TRY(registry_get(&g->registry, op->collection, &s->base.col, e));
    s->base.gen = collection_generation(s->base.col);
    if (op->has_model_version && op->model_version != s->base.gen->row.model_version)
        return err_set_field(e, ERR_VERSION, "/model_version",
            "the query is of model version %lld, collection \"%.*s\" serves version %lld",
            (long long)op->model_version, STR_ARG(s->base.col->row.name),
            (long long)s->base.gen->row.model_version);
    if (op->vector) {
        TRY(collection_vector_check(s->base.col, s->base.gen, op->vector, op->n_vector, e));
        s->vector = op->vector;
    }
    TRY(engine__model_ref(op->op.arena, s->base.gen, &op->model, e));
    TRY(engine__take_search(g, &s->base, e));
    return op->text.p ? prepare_text(g, s, e) : ERR_OK;
}

enum err_code engine_search(struct engine *g, struct search_op *op, struct err *e)
{
    TRY(engine__accept(g, &op->op, sizeof(struct search_state), e));
    struct search_state *s = op->op.state;
    s->op = op;
    op->hits = NULL;
    op->n_hits = 0;
    enum err_code code = prepare(g, s, e);
    if (code != ERR_OK) return engine__reject(&op->op, code);
    if (op->text.p) {
        engine__wait_begins(&op->op);
        encode_push(&g->encoders, &s->encode);
    } else {
        pool_push(&g->pool, LANE_INTERACTIVE, &op->op, search_step);
    }
    return ERR_OK;
}
