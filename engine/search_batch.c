/* engine_search_batch: several searches in one operation.
 *
 *   submit        each search is prepared as one of its own; permits for all
 *   encode queue  one request for all texts of one model (interactive lane)
 *   search pool   BATCH_SLICE searches at a time, then the operation goes to the end of the queue: a batch is one
 *                 thread's work, and what comes in meanwhile does not wait for all of it
 *
 * Neighbours without a filter that search the same vectors are handed to the index together where it answers them by
 * scans, since then it reads the vectors once for several of them. The first of them shows whether it does.
 */
#include "engine/search_internal.h"

#include <stdio.h>
#include <string.h>

enum { BATCH_SLICE = 16 };

struct batch_state;
/* The texts of one model. */
struct batch_request {
    struct encode_request encode;
    struct batch_state *batch;
    size_t *of; /* [encode.n] the search of each */
};

struct batch_state {
    struct op_state base;
    struct search_batch_op *op;
    struct search_state *each;      /* [op->n] */
    struct batch_request *requests; /* [n_requests] */
    size_t n_requests;
    atomic_size_t requests_left;
    size_t next; /* the first that was not answered yet */
};

/* What is wrong is wrong with search i. Returns its code. */
static enum err_code blame(size_t i, struct err *e)
{
    char inner[ERR_FIELD_BYTES];
    if (!e) return ERR_INTERNAL;
    memcpy(inner, e->field, sizeof inner);
    (void)snprintf(e->field, sizeof e->field, "/searches/%zu%.80s", i, inner);
    return e->code;
}

static void release_each(struct op_state *base)
{
    struct batch_state *b = container_of(base, struct batch_state, base);
    for (size_t i = 0; b->each && i < b->op->n; i++) {
        generation_unref(b->each[i].base.gen);
        collection_unref(b->each[i].base.col);
    }
    b->each = NULL;
}

/* ---- search threads ---- */

/* Those from `first` on that the index may be asked together with it. */
static size_t neighbours(const struct batch_state *b, size_t first, size_t end)
{
    const struct search_state *one = &b->each[first];
    size_t n = 0;
    for (; first + n < end; n++) {
        const struct search_state *s = &b->each[first + n];
        const struct search_op *x = s->op, *y = one->op;
        if (x->filter || x->id.p || s->base.gen != one->base.gen) break;
        if (x->exact != y->exact || x->ef != y->ef || x->target_recall != y->target_recall ||
            x->k + x->offset != y->k + y->offset || x->has_min_score != y->has_min_score)
            break;
    }
    return n;
}

/* Ask for n searches at once, the first of which is answered already. All are scans. */
static enum err_code ask_together(struct batch_state *b, size_t first, size_t n,
    struct search_found found[BATCH_SLICE], struct err *e)
{
    struct index_query q[BATCH_SLICE];
    struct index_hit *hits[BATCH_SLICE];
    size_t counts[BATCH_SLICE], failed = 0;
    const struct search_state *one = &b->each[first];
    struct index_scratch *scratch = pool_scratch();
    int64_t known = atomic_load(&one->base.col->published);
    for (size_t i = 1; i < n; i++) {
        search__query(&b->each[first + i], &q[i]);
        hits[i] = arena_alloc(b->op->op.arena, q[i].k, sizeof **hits);
        if (!scratch || !hits[i]) return err_set(e, ERR_NOMEM, "out of memory for a search");
    }
    enum err_code code = index_search_batch(one->base.gen->index, q + 1, n - 1, scratch,
        (struct index_hit *const *)(hits + 1), counts + 1, &failed, e);
    if (code != ERR_OK) {
        blame(first + 1 + failed, e);
        return code;
    }
    for (size_t i = 1; i < n; i++)
        found[i] = (struct search_found){ hits[i], counts[i], known, INDEX_PLAN_SCAN };
    return ERR_OK;
}

/* Answers some, one at least, and moves on to the next. */
static enum err_code answer_some(struct batch_state *b, size_t end, struct err *e)
{
    struct search_found found[BATCH_SLICE];
    size_t first = b->next, n = neighbours(b, first, end);
    bool together = false;
    enum err_code code = ERR_OK;
    if (n > 1) {
        struct index_query q;
        search__query(&b->each[first], &q);
        code = search__ask(&b->each[first], &q, &found[0], e);
        if (code != ERR_OK) {
            blame(first, e);
            return code;
        }
        together = found[0].plan == INDEX_PLAN_SCAN;
        if (together) TRY(ask_together(b, first, n, found, e));
    }
    for (size_t i = 0; i < n || i == 0; i++, b->next++) {
        bool asked = n > 1 && (i == 0 || together);
        code = search__run(&b->each[first + i], asked ? &found[i] : NULL, e);
        if (code == ERR_OK) continue;
        blame(first + i, e);
        return code;
    }
    return ERR_OK;
}

static void batch_step(struct engine_op *op)
{
    struct batch_state *b = op->state;
    struct err e = ERR_INIT;
    size_t end = b->next + BATCH_SLICE < b->op->n ? b->next + BATCH_SLICE : b->op->n;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && b->next < end)
        code = answer_some(b, end, &e);
    if (code != ERR_OK)
        engine__finish(op, &e);
    else if (b->next == b->op->n)
        engine__finish(op, NULL);
    else
        pool_push(&op->engine->pool, LANE_INTERACTIVE, op, batch_step);
}

/* ---- encoding ---- */

/* The first text that failed, *ret_at is its search; NULL: none did. */
static const struct err *first_failure(const struct batch_state *b, size_t *ret_at, bool *ret_fatal)
{
    const struct err *first = NULL;
    for (size_t r = 0; r < b->n_requests; r++)
        for (size_t t = 0; t < b->requests[r].encode.n; t++) {
            const struct err *why = b->requests[r].encode.texts[t].failure;
            if (!why || (first && b->requests[r].of[t] > *ret_at)) continue;
            first = why;
            *ret_at = b->requests[r].of[t];
            *ret_fatal = encode_fatal(&b->requests[r].encode) != NULL;
        }
    return first;
}

static void encode_finished(struct encode_request *r)
{
    struct batch_state *b = container_of(r, struct batch_request, encode)->batch;
    struct engine_op *op = &b->op->op;
    size_t at;
    bool fatal;
    if (atomic_fetch_sub(&b->requests_left, 1) != 1) return;
    op->queue_ns += r->queue_ns;
    op->since_ns = time_mono_ns() - r->work_ns;
    gate_release(&op->engine->encode_gate[b->base.encode_lane], b->base.encode_permits);
    b->base.encode_permits = 0;
    const struct err *failure = first_failure(b, &at, &fatal);
    if (!failure) {
        pool_push(&op->engine->pool, LANE_INTERACTIVE, op, batch_step);
        return;
    }
    struct err why = *failure;
    if (!fatal) {
        memcpy(why.field, "/text", sizeof "/text");
        (void)blame(at, &why);
    }
    engine__finish(op, &why);
}

static struct batch_request *request_of(struct batch_state *b, const struct model *m)
{
    for (size_t r = 0; r < b->n_requests; r++)
        if (b->requests[r].encode.model == m) return &b->requests[r];
    return &b->requests[b->n_requests++];
}

static enum err_code add_text(
    struct batch_state *b, size_t i, size_t n_texts, size_t *cost, struct err *e)
{
    struct search_state *s = &b->each[i];
    struct encode_request like = { 0 };
    TRY(search__request(s, &like, e));
    struct batch_request *r = request_of(b, like.model);
    if (r->encode.n == 0) {
        struct arena *a = b->op->op.arena;
        r->batch = b;
        r->encode.model = like.model;
        r->encode.kind = like.kind;
        r->encode.truncate = like.truncate;
        r->encode.lane = like.lane;
        r->encode.deadline_ns = like.deadline_ns;
        r->encode.arena = like.arena;
        r->encode.finished = encode_finished;
        r->encode.texts = arena_zalloc(a, n_texts, sizeof *r->encode.texts);
        r->of = arena_alloc(a, n_texts, sizeof *r->of);
        if (!r->encode.texts || !r->of) return err_set(e, ERR_NOMEM, "out of memory for searches");
    }
    r->of[r->encode.n] = i;
    r->encode.texts[r->encode.n++] = s->text;
    *cost += encode_cost(like.model, like.kind, s->op->text);
    return ERR_OK;
}

/* Requests for the texts, prepared, and permits for them. */
static enum err_code prepare_texts(struct engine *g, struct batch_state *b, struct err *e)
{
    size_t n_texts = 0, cost = 0;
    for (size_t i = 0; i < b->op->n; i++)
        n_texts += b->op->searches[i].text.p != NULL;
    if (n_texts == 0) return ERR_OK;
    b->requests = arena_zalloc(b->op->op.arena, n_texts, sizeof *b->requests);
    if (!b->requests) return err_set(e, ERR_NOMEM, "out of memory for searches");
    for (size_t i = 0; i < b->op->n; i++)
        if (b->op->searches[i].text.p) TRY(add_text(b, i, n_texts, &cost, e));
    TRY(engine__take_encode(g, &b->base, LANE_INTERACTIVE, cost, e));
    for (size_t r = 0; r < b->n_requests; r++)
        TRY(encode_prepare(&b->requests[r].encode, g->encoders.batch_units, e));
    atomic_init(&b->requests_left, b->n_requests);
    return ERR_OK;
}

/* ---- submit ---- */

static enum err_code prepare(struct engine *g, struct batch_state *b, struct err *e)
{
    struct search_batch_op *op = b->op;
    if (op->n == 0) return err_set_field(e, ERR_EMPTY, "/searches", "there are no searches");
    b->each = arena_zalloc(op->op.arena, op->n, sizeof *b->each);
    if (!b->each) return err_set(e, ERR_NOMEM, "out of memory for searches");
    for (size_t i = 0; i < op->n; i++) {
        struct search_op *one = &op->searches[i];
        struct search_state *s = &b->each[i];
        one->op.arena = op->op.arena;
        one->op.deadline_ns = op->op.deadline_ns;
        one->op.engine = g;
        s->op = one;
        enum err_code code = search__prepare(g, s, e);
        if (code == ERR_OK) continue;
        blame(i, e);
        return code;
    }
    TRY(engine__take_search(g, &b->base, op->n, e));
    return prepare_texts(g, b, e);
}

enum err_code engine_search_batch(struct engine *g, struct search_batch_op *op, struct err *e)
{
    TRY(engine__accept(g, &op->op, sizeof(struct batch_state), e));
    struct batch_state *b = op->op.state;
    b->op = op;
    b->base.release = release_each;
    enum err_code code = prepare(g, b, e);
    if (code != ERR_OK) return engine__reject(&op->op, code);
    if (b->n_requests == 0) {
        pool_push(&g->pool, LANE_INTERACTIVE, &op->op, batch_step);
        return ERR_OK;
    }
    engine__wait_begins(&op->op);
    size_t n = b->n_requests; /* b may be gone once the last is pushed */
    struct batch_request *requests = b->requests;
    for (size_t r = 0; r < n; r++)
        encode_push(&g->encoders, &requests[r].encode);
    return ERR_OK;
}
