/* engine_search: one operation from its query to its hits.
 *
 *   submit        references, version and dimension, permits
 *   encode queue  a text query (interactive lane)
 *   search pool   the search (search_run.c)
 */
#include "engine/search_internal.h"

#include <string.h>

/* ---- steps ---- */

static void search_step(struct engine_op *op)
{
    struct err e = ERR_INIT;
    enum err_code code = search__run(op->state, NULL, &e);
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

/* ---- what is checked before ---- */

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
    if (op->target_recall != 0 && !(op->target_recall > 0 && op->target_recall < 1))
        return err_set_field(e, ERR_INVALID, "/target_recall",
            "target_recall is %g, it must be above 0 and below 1", (double)op->target_recall);
    if (op->target_recall != 0 && op->ef)
        return err_set_field(
            e, ERR_INVALID, "/target_recall", "target_recall chooses ef: give only one of the two");
    return ERR_OK;
}

static enum err_code prepare_text(struct engine *g, struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    const struct model *m;
    TRY(engine__text_model(s->base.col, s->base.gen, &m, e));
    TRY(engine__check_text(g, op->text, "/text", e));
    float *row = arena_alloc(op->op.arena, m->info->dimensions, sizeof *row);
    if (!row) return err_set(e, ERR_NOMEM, "out of memory for a search");
    s->text = (struct encode_text){ .text = op->text, .out = row };
    s->vector = row;
    return ERR_OK;
}

enum err_code search__prepare(struct engine *g, struct search_state *s, struct err *e)
{
    struct search_op *op = s->op;
    op->hits = NULL;
    op->n_hits = 0;
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
    return op->text.p ? prepare_text(g, s, e) : ERR_OK;
}

enum err_code search__request(const struct search_state *s, struct encode_request *r, struct err *e)
{
    TRY(engine__text_model(s->base.col, s->base.gen, &r->model, e));
    r->kind = ENCODE_QUERY;
    r->truncate = true;
    r->lane = LANE_INTERACTIVE;
    r->deadline_ns = s->op->op.deadline_ns;
    r->arena = s->op->op.arena;
    return ERR_OK;
}

/* ---- submit ---- */

static enum err_code prepare_request(struct engine *g, struct search_state *s, struct err *e)
{
    struct encode_request *r = &s->encode;
    TRY(search__request(s, r, e));
    r->texts = &s->text;
    r->n = 1;
    r->finished = encode_finished;
    TRY(engine__take_encode(
        g, &s->base, LANE_INTERACTIVE, encode_cost(r->model, r->kind, s->op->text), e));
    return encode_prepare(r, g->encoders.batch_units, e);
}

static enum err_code prepare(struct engine *g, struct search_state *s, struct err *e)
{
    TRY(search__prepare(g, s, e));
    TRY(engine__take_search(g, &s->base, 1, e));
    return s->op->text.p ? prepare_request(g, s, e) : ERR_OK;
}

enum err_code engine_search(struct engine *g, struct search_op *op, struct err *e)
{
    TRY(engine__accept(g, &op->op, sizeof(struct search_state), e));
    struct search_state *s = op->op.state;
    s->op = op;
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
