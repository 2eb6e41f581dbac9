/* Learning: runs, versions, promotion, rollback, feedback. */
#include "server/api.h"

#include "engine/learn.h"
#include "server/run_json.h"

#include <string.h>

enum { RUNS_PAGE_DEFAULT = 20, RUNS_PAGE_MAX = 200 };

/* ---- a run as an answer ---- */

static double progress_of(struct engine *g, const struct catalog_run *r)
{
    struct run_progress p;
    if (run_is_final(r->status)) return 1;
    return engine_run_progress(g, r->id, &p) ? p.progress : 0;
}

enum err_code api_run_id(struct exchange *x, int64_t *ret, struct err *e)
{
    struct str s = exchange_capture(x, "run");
    int64_t v = 0;
    bool good = s.n > 0 && s.n <= 15;
    for (size_t i = 0; good && i < s.n; i++) {
        good = s.p[i] >= '0' && s.p[i] <= '9';
        v = v * 10 + (s.p[i] - '0');
    }
    if (!good)
        return err_set(e, ERR_NOT_FOUND, "there is no run \"%.*s\"", s.n < 40 ? (int)s.n : 40, s.p);
    *ret = v;
    return ERR_OK;
}

static enum err_code add_location(struct exchange *x, int64_t run, struct err *e)
{
    char *path = arena_printf(x->arena, "/admin/runs/%lld", (long long)run);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    response_header_add(&x->rs, "Location", path);
    return ERR_OK;
}

static enum err_code answer_run(struct exchange *x, const struct catalog_run *r, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    run_json(&w, r, progress_of(x->engine, r));
    return buf_check(&x->rs.body, e);
}

/* ---- POST /admin/retrain ---- */

struct pairs_body {
    struct str anchor, positive;
};
struct retrain_body {
    struct str collection, objective, labels, method;
    struct pairs_body pairs;
    double max_seconds;
    int64_t max_steps, seed, layers;
    bool has_seed;
    int promote;
};

static const struct json_field pairs_fields[] = {
    { "anchor", JSON_STR, JSON_AT(struct pairs_body, anchor), .min = 1, .max = 256,
        .required = true },
    { "positive", JSON_STR, JSON_AT(struct pairs_body, positive), .min = 1, .max = 256,
        .required = true },
};
static const struct json_spec pairs_spec = JSON_SPEC(pairs_fields);

static enum err_code read_pairs(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    if (json_is_null(v)) return ERR_OK;
    return json_spec_object(r, at, &pairs_spec, v, field, e);
}

static const char *const promote_names[] = { "auto", "never", "always", NULL };

#define AT(member) JSON_AT(struct retrain_body, member)
static const struct json_field retrain_fields[] = {
    { "collection", JSON_STR, AT(collection), .required = true },
    { "objective", JSON_STR, AT(objective), .min = 1, .max = 64 },
    { "pairs", JSON_CUSTOM, AT(pairs), .read = read_pairs },
    { "labels", JSON_STR, AT(labels), .min = 1, .max = 256 },
    { "max_seconds", JSON_F64, AT(max_seconds), .min = 5, .max = 604800 },
    { "max_steps", JSON_I64, AT(max_steps), .min = 1, .max = 1e9 },
    { "seed", JSON_I64, AT(seed), .min = 0, .max = 9007199254740991.0,
        JSON_HAS(struct retrain_body, has_seed) },
    { "promote", JSON_ENUM, AT(promote), .names = promote_names },
    { "method", JSON_STR, AT(method), .min = 1, .max = 64 },
    { "layers", JSON_I64, AT(layers), .min = 1, .max = 64 },
};
static const struct json_spec retrain_spec = JSON_SPEC(retrain_fields);
#undef AT

static enum err_code retrain_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct run_op *run = (const struct run_op *)(const void *)op;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    x->rs.status = 202;
    TRY(add_location(x, run->info.id, e));
    json_write_object(&w);
    json_write_key(&w, "run");
    json_write_i64(&w, run->info.id);
    json_write_key(&w, "status");
    json_write_z(
        &w, run_status_name(RUN_QUEUED)); /* as it was inserted; it may have begun meanwhile */
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_retrain(struct exchange *x, struct err *e)
{
    struct retrain_body b = { .promote = 0 };
    struct run_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");
    TRY(exchange_read_json(x, &retrain_spec, &b, e));
    op->action = RUN_DO_RETRAIN;
    op->retrain = (struct retrain_spec){
        .collection = b.collection,
        .objective = b.objective,
        .pairs_anchor = b.pairs.anchor,
        .pairs_positive = b.pairs.positive,
        .labels = b.labels,
        .max_seconds = b.max_seconds,
        .max_steps = b.max_steps,
        .has_seed = b.has_seed,
        .seed = b.seed,
        .promote = (enum run_promote)b.promote,
        .method = b.method,
        .layers = b.layers,
    };
    exchange_await(x, &op->op, retrain_render);
    return engine_run_submit(x->engine, op, e);
}

/* ---- reading runs ---- */

enum err_code api_runs_list(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct str collection = STR("");
    struct catalog_run *rows;
    uint64_t limit, before;
    size_t n;

    TRY(exchange_query_u64(x, "limit", 1, RUNS_PAGE_MAX, RUNS_PAGE_DEFAULT, &limit, e));
    TRY(exchange_query_u64(x, "before", 1, INT64_MAX, 0, &before, e));
    (void)exchange_query(x, "collection", &collection);
    TRY(engine_runs(x->engine, collection, (int64_t)before, (size_t)limit, x->arena, &rows, &n, e));
    json_write_object(&w);
    json_write_key(&w, "runs");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++)
        run_json(&w, &rows[i], progress_of(x->engine, &rows[i]));
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_run_get(struct exchange *x, struct err *e)
{
    struct catalog_run r;
    int64_t id;
    TRY(api_run_id(x, &id, e));
    TRY(engine_run_get(x->engine, id, x->arena, &r, e));
    return answer_run(x, &r, e);
}

/* ---- cancel, promote, roll back ---- */

static enum err_code cancel_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct run_op *run = (const struct run_op *)(const void *)op;
    x->rs.status = run_is_final(run->info.status) ? 200 : 202;
    return answer_run(x, &run->info, e);
}

enum err_code api_run_cancel(struct exchange *x, struct err *e)
{
    struct run_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");
    op->action = RUN_DO_CANCEL;
    TRY(api_run_id(x, &op->run, e));
    exchange_await(x, &op->op, cancel_render);
    return engine_run_submit(x->engine, op, e);
}

/* 200 when it is done, 202 when it goes on after the request's time. */
static enum err_code switch_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct run_op *run = (const struct run_op *)(const void *)op;
    const struct catalog_run *r = &run->info;
    if (r->status == RUN_FAILED || r->status == RUN_CANCELLED)
        return err_set(e, r->status == RUN_FAILED ? ERR_UNPROCESSABLE : ERR_CONFLICT,
            "run %lld %s: %.*s", (long long)r->id, run_status_name(r->status),
            r->error.n < 160 ? (int)r->error.n : 160, r->error.n ? r->error.p : "");
    if (!run_is_final(r->status)) {
        x->rs.status = 202;
        TRY(add_location(x, r->id, e));
    }
    return answer_run(x, r, e);
}

static enum err_code submit_switch(
    struct exchange *x, enum run_action action, int64_t version, struct err *e)
{
    struct run_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");
    op->action = action;
    op->collection = exchange_capture(x, "collection");
    op->version = version;
    exchange_await(x, &op->op, switch_render);
    return engine_run_submit(x->engine, op, e);
}

struct promote_body {
    int64_t version;
};
static const struct json_field promote_fields[] = {
    { "version", JSON_I64, JSON_AT(struct promote_body, version), .min = 1, .max = 1e15,
        .required = true },
};
static const struct json_spec promote_spec = JSON_SPEC(promote_fields);

enum err_code api_promote(struct exchange *x, struct err *e)
{
    struct promote_body b = { .version = 0 };
    TRY(exchange_read_json(x, &promote_spec, &b, e));
    return submit_switch(x, RUN_DO_PROMOTE, b.version, e);
}

enum err_code api_rollback(struct exchange *x, struct err *e)
{
    return submit_switch(x, RUN_DO_ROLLBACK, 0, e);
}

/* ---- versions, base models ---- */

enum err_code api_versions(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct str collection = exchange_capture(x, "collection");
    struct version_info *rows;
    size_t n;
    TRY(engine_versions(x->engine, collection, x->arena, &rows, &n, e));
    json_write_object(&w);
    json_write_key(&w, "collection");
    json_write_str(&w, collection);
    json_write_key(&w, "versions");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++)
        run_json_version(&w, &rows[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_admin_models(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct model_info *rows;
    size_t n;
    engine_models_refresh(x->engine, false);
    TRY(engine_models(x->engine, x->arena, &rows, &n, e));
    json_write_object(&w);
    json_write_key(&w, "models");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++) {
        json_write_object(&w);
        json_write_key(&w, "name");
        json_write_str(&w, rows[i].name);
        json_write_key(&w, "version");
        json_write_i64(&w, rows[i].version);
        json_write_key(&w, "architecture");
        json_write_str(&w, rows[i].architecture);
        json_write_key(&w, "dimensions");
        json_write_u64(&w, rows[i].dimensions);
        json_write_key(&w, "max_tokens");
        json_write_u64(&w, rows[i].max_tokens);
        json_write_key(&w, "bytes");
        json_write_u64(&w, rows[i].size_bytes);
        api_write_time(&w, "created_at", rows[i].created_ms);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

/* ---- feedback ---- */

struct feedback_query {
    struct str text, id;
    const json_t *image;
};
struct feedback_body {
    struct feedback_query query;
    struct str item;
    int signal;
};

static const struct json_field query_fields[] = {
    { "text", JSON_STR, JSON_AT(struct feedback_query, text) },
    { "id", JSON_STR, JSON_AT(struct feedback_query, id) },
    { "image", JSON_VALUE, JSON_AT(struct feedback_query, image) },
};
static const struct json_spec query_spec = JSON_SPEC(query_fields);

static enum err_code read_query(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    struct feedback_query *q = field;
    TRY(json_spec_object(r, at, &query_spec, v, q, e));
    if (q->image && !json_is_null(q->image))
        return json_fail(&JSON_MEMBER(at, "image"), e, ERR_UNPROCESSABLE,
            "cannot be kept: there is no image model");
    if (!q->text.p == !q->id.p)
        return json_fail(at, e, ERR_INVALID, "must have exactly one of \"text\" and \"id\"");
    return ERR_OK;
}

static const char *const signal_names[] = { [FEEDBACK_CLICK] = "click",
    [FEEDBACK_RELEVANT] = "relevant",
    [FEEDBACK_IRRELEVANT] = "irrelevant",
    NULL };
static const struct json_field feedback_fields[] = {
    { "query", JSON_CUSTOM, JSON_AT(struct feedback_body, query), .read = read_query,
        .required = true },
    { "item", JSON_STR, JSON_AT(struct feedback_body, item), .min = 1, .max = 256,
        .required = true },
    { "signal", JSON_ENUM, JSON_AT(struct feedback_body, signal), .names = signal_names,
        .required = true },
};
static const struct json_spec feedback_spec = JSON_SPEC(feedback_fields);

static enum err_code feedback_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    (void)op;
    x->rs.status = 202;
    json_write_object(&w);
    json_write_key(&w, "status");
    json_write_z(&w, "stored");
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_feedback(struct exchange *x, struct err *e)
{
    struct feedback_body b = { .signal = 0 };
    struct feedback_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");
    TRY(exchange_read_json(x, &feedback_spec, &b, e));
    op->collection = exchange_capture(x, "collection");
    op->query_text = b.query.text;
    op->query_id = b.query.id;
    op->item = b.item;
    op->signal = (enum feedback_signal)b.signal;
    exchange_await(x, &op->op, feedback_render);
    return engine_feedback(x->engine, op, e);
}
