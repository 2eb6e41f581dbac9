/* engine_embed, and the calls about models. The work is all in the encode queue; what is left here is to find
 * the model, and to cut and normalise the rows, which the thread that ended the last job does. */
#include "base/mem.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- models ---- */

static struct model_info describe(const struct model *m)
{
    return (struct model_info){
        .name = m->name,
        .version = m->version,
        .architecture = str_from(m->info->architecture),
        .dimensions = m->info->dimensions,
        .max_tokens = m->info->max_tokens,
        .size_bytes = m->info->size_bytes,
        .created_ms = m->created_ms,
    };
}

enum err_code engine_models(
    struct engine *g, struct arena *a, struct model_info **ret_rows, size_t *ret_n, struct err *e)
{
    struct model **all;
    size_t n;
    TRY(models_all(&g->models, a, &all, &n, e));
    struct model_info *rows = arena_alloc(a, n, sizeof *rows);
    if (!rows) return err_set(e, ERR_NOMEM, "out of memory for the list of models");
    for (size_t i = 0; i < n; i++)
        rows[i] = describe(all[i]);
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

void engine_models_refresh(struct engine *g, bool wait)
{
    models_refresh(&g->models, wait);
}

static enum err_code take_model(
    struct engine *g, struct str ref, struct model **ret_m, struct err *e)
{
    struct model *m = models_take(&g->models, ref);
    if (!m) return models_missing(&g->models, "model", ref, "/model", e);
    *ret_m = m;
    return ERR_OK;
}

enum err_code engine_model_find(
    struct engine *g, struct str ref, struct arena *a, struct model_info *ret, struct err *e)
{
    AUTO_MODEL struct model *m = NULL;
    TRY(take_model(g, ref, &m, e));
    struct model_info info = describe(m);
    info.name.p = arena_strndup(a, info.name.p, info.name.n);
    info.architecture.p = arena_strndup(a, info.architecture.p, info.architecture.n);
    if (!info.name.p || !info.architecture.p)
        return err_set(e, ERR_NOMEM, "out of memory for a model's description");
    *ret = info;
    return ERR_OK;
}

/* ---- engine_embed ---- */

struct embed_state {
    struct op_state base;
    struct embed_op *op;
    struct encode_request encode;
    float *rows; /* [n, model's dimensions] */
};

static enum err_code name_of(
    struct arena *a, const struct model *m, struct model_ref *ret, struct err *e)
{
    const char *copy = arena_strndup(a, m->name.p, m->name.n);
    if (!copy) return err_set(e, ERR_NOMEM, "out of memory for an answer");
    *ret = (struct model_ref){ { copy, m->name.n }, m->version };
    return ERR_OK;
}

/* A collection and a model may both be named if they agree. The state holds what is chosen. */
static enum err_code choose_model(struct engine *g, struct embed_op *op, struct embed_state *s,
    const struct model **ret_m, struct err *e)
{
    if (op->model.n) TRY(take_model(g, op->model, &s->base.model, e));
    const struct model *named = s->base.model;
    if (op->collection.n == 0) {
        *ret_m = named ? named : g->default_model;
        return name_of(op->op.arena, *ret_m, &op->ret_model, e);
    }
    TRY(registry_get(&g->registry, op->collection, &s->base.col, e));
    s->base.gen = collection_generation(s->base.col);
    TRY(engine__text_model(s->base.col, s->base.gen, ret_m, e));
    if (named && named != *ret_m)
        return err_set_field(e, ERR_CONFLICT, "/model",
            "collection \"%.*s\" encodes with model \"%.*s\", version %lld",
            STR_ARG(op->collection), STR_ARG((*ret_m)->name), (long long)(*ret_m)->version);
    return engine__model_ref(op->op.arena, s->base.gen, &op->ret_model, e);
}

static void cut_rows(struct embed_state *s)
{
    struct embed_op *op = s->op;
    const struct vec_kernels *k = op->op.engine->kernels;
    size_t dim = s->encode.model->info->dimensions, to = op->ret_dimensions;
    for (size_t i = 0; i < op->n; i++) {
        float *row = s->rows + i * to;
        if (to != dim) memmove(row, s->rows + i * dim, to * sizeof *row);
        if (op->normalize && fabsf(k->dot(row, row, to) - 1.0f) > 1e-6f)
            (void)vec_normalize(k, row, row, to);
    }
    op->vectors = s->rows;
}

static void embed_finished(struct encode_request *r)
{
    struct embed_state *s = container_of(r, struct embed_state, encode);
    struct embed_op *op = s->op;
    struct err why = ERR_INIT;

    op->op.queue_ns += r->queue_ns;
    op->op.since_ns = time_mono_ns() - r->work_ns;
    for (size_t i = 0; i < r->n && why.code == ERR_OK; i++)
        if (r->texts[i].failure) {
            why = *r->texts[i].failure;
            snprintf(why.field, sizeof why.field, "/%zu", i);
        }
    const struct err *fatal = encode_fatal(r);
    if (fatal) why = *fatal;
    if (why.code == ERR_OK) {
        for (size_t i = 0; i < r->n; i++)
            op->ret_tokens += r->texts[i].tokens;
        cut_rows(s);
    }
    engine__finish(&op->op, why.code == ERR_OK ? NULL : &why);
}

static enum err_code fill_request(struct engine *g, struct embed_state *s, struct err *e)
{
    struct embed_op *op = s->op;
    struct encode_request *r = &s->encode;
    size_t dim = r->model->info->dimensions, floats, units = 0;
    char field[32];

    if (op->dimensions > dim)
        return err_set_field(e, ERR_INVALID, "/dimensions",
            "model \"%.*s\" has %zu dimensions, %zu were asked for", STR_ARG(r->model->name), dim,
            op->dimensions);
    r->kind = op->kind == EMBED_QUERY ? ENCODE_QUERY : ENCODE_DOCUMENT;
    op->ret_dimensions = op->dimensions ? op->dimensions : dim;
    for (size_t i = 0; i < op->n; i++) {
        snprintf(field, sizeof field, "/%zu", i);
        TRY(engine__check_text(g, op->texts[i], field, e));
        units += encode_cost(r->model, r->kind, op->texts[i]);
    }
    TRY(engine__take_encode(g, &s->base, op->lane, units, e));
    if (!mem_mul(op->n, dim, &floats)) return err_set(e, ERR_NOMEM, "out of memory for vectors");
    s->rows = arena_alloc(op->op.arena, floats, sizeof *s->rows);
    r->texts = arena_zalloc(op->op.arena, op->n, sizeof *r->texts);
    if (!s->rows || !r->texts) return err_set(e, ERR_NOMEM, "out of memory for vectors");
    for (size_t i = 0; i < op->n; i++) {
        r->texts[i].text = op->texts[i];
        r->texts[i].out = s->rows + i * dim;
    }
    r->n = op->n;
    r->truncate = op->keep_long;
    r->lane = op->lane;
    r->deadline_ns = op->op.deadline_ns;
    r->arena = op->op.arena;
    r->finished = embed_finished;
    return encode_prepare(r, g->encoders.batch_units, e);
}

static enum err_code embed_push(struct engine *g, struct embed_state *s, struct err *e)
{
    TRY(choose_model(g, s->op, s, &s->encode.model, e));
    TRY(fill_request(g, s, e));
    engine__wait_begins(&s->op->op);
    encode_push(&g->encoders, &s->encode);
    return ERR_OK;
}

/* On a search thread: its model may have come in since the start. */
static void embed_late(struct engine_op *op)
{
    struct embed_state *s = op->state;
    struct err e = ERR_INIT;
    models_refresh(&op->engine->models, true);
    if (embed_push(op->engine, s, &e) != ERR_OK) engine__finish(op, &e);
}

static bool is_unknown(struct engine *g, struct str ref)
{
    AUTO_MODEL struct model *m = ref.n ? models_take(&g->models, ref) : NULL;
    return ref.n && !m;
}

enum err_code engine_embed(struct engine *g, struct embed_op *op, struct err *e)
{
    if (op->n == 0) return err_set(e, ERR_EMPTY, "there is nothing to embed");
    TRY(engine__accept(g, &op->op, sizeof(struct embed_state), e));
    struct embed_state *s = op->op.state;
    s->op = op;
    op->vectors = NULL;
    op->ret_tokens = 0;
    bool late = is_unknown(g, op->model);
    enum err_code code = late ? engine__take_search(g, &s->base, 1, e) : embed_push(g, s, e);
    if (code != ERR_OK) return engine__reject(&op->op, code);
    if (late) pool_push(&g->pool, LANE_INTERACTIVE, &op->op, embed_late);
    return ERR_OK;
}
