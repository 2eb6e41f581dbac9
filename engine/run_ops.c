/* engine_run_submit and reading runs.
 *
 * RETRAIN:            names and numbers (caller), is there anything to learn from (search thread), insert (writer)
 * PROMOTE, ROLLBACK:  which version, is it there (search thread), insert (writer), wait for the end
 * CANCEL:             writer
 *
 * A run is inserted on the writer thread, where collections are removed too and runs end by cancelling, and by the
 * catalog's rule that a collection has one that is not final. */
#include "base/log.h"
#include "base/mem.h"
#include "core/learn/trainable.h"
#include "engine/pairs.h"
#include "engine/runs_internal.h"

#include <math.h>

enum {
    MIN_SECONDS = 5,
    MAX_SECONDS = 604800,
    PATH_MAX_BYTES = 256,
    ANSWER_MS = 1000,
    LAYERS_MAX = 64
};

/* Objectives that are known by name; those to come are refused as such. */
static const struct {
    const char *name;
    bool available;
} objectives[] = {
    { "auto", true },
    { "mnrl", true },
    { "simclr", false },
    { "moco", false },
    { "byol", false },
    { "simcse", false },
    { "tsdae", false },
    { "margin", false },
    { "triplet", false },
    { "supcon", false },
    { "nnclr", false },
    { "clip", false },
    { "distill", false },
};
enum { OBJECTIVES = sizeof objectives / sizeof *objectives };

/* ---- checks that need nothing but the request ---- */

static enum err_code check_objective(struct str name, struct err *e)
{
    if (name.n == 0) return ERR_OK;
    for (size_t i = 0; i < OBJECTIVES; i++) {
        if (!str_is(name, objectives[i].name)) continue;
        if (objectives[i].available) return ERR_OK;
        return err_set_field(e, ERR_UNPROCESSABLE, "/objective",
            "objective \"%s\" is not available; there are \"auto\" and \"mnrl\"",
            objectives[i].name);
    }
    return err_set_field(e, ERR_INVALID, "/objective",
        "there is no objective \"%.*s\"; there are \"auto\" and \"mnrl\"",
        name.n < 40 ? (int)name.n : 40, name.p);
}

static enum err_code check_path(struct str path, const char *field, struct err *e)
{
    if (path.n <= PATH_MAX_BYTES) return ERR_OK;
    return err_set_field(e, ERR_INVALID, field, "a path has at most %d bytes, this one has %zu",
        PATH_MAX_BYTES, path.n);
}

/* false: there is none of this name. */
static bool find_method(struct str name, enum train_method *ret)
{
    *ret = TRAIN_AUTO;
    if (name.n == 0) return true;
    for (int m = TRAIN_AUTO; m < TRAIN_NONE; m++) {
        if (!str_is(name, train_method_name((enum train_method)m))) continue;
        *ret = (enum train_method)m;
        return true;
    }
    return false;
}

static enum err_code check_method(const struct retrain_spec *s, struct err *e)
{
    enum train_method method;
    if (!find_method(s->method, &method))
        return err_set_field(e, ERR_INVALID, "/method",
            "there is no method \"%.*s\"; there are auto, full, last_layers, lora and adapter",
            s->method.n < 40 ? (int)s->method.n : 40, s->method.p);
    if (s->layers == 0) return ERR_OK;
    if (method != TRAIN_LAST_LAYERS)
        return err_set_field(
            e, ERR_INVALID, "/layers", "\"layers\" goes with the method \"last_layers\" only");
    if (s->layers < 1 || s->layers > LAYERS_MAX)
        return err_set_field(e, ERR_INVALID, "/layers", "layers must be 1 to %d", LAYERS_MAX);
    return ERR_OK;
}

static enum err_code check_spec(const struct retrain_spec *s, struct err *e)
{
    TRY(check_objective(s->objective, e));
    TRY(check_method(s, e));
    if ((s->pairs_anchor.n == 0) != (s->pairs_positive.n == 0))
        return err_set_field(e, ERR_INVALID,
            s->pairs_anchor.n ? "/pairs/positive" : "/pairs/anchor",
            "pairs need both an anchor and a positive");
    if (s->pairs_anchor.n && s->labels.n)
        return err_set_field(
            e, ERR_INVALID, "/labels", "a run learns from pairs or from labels, not from both");
    TRY(check_path(s->pairs_anchor, "/pairs/anchor", e));
    TRY(check_path(s->pairs_positive, "/pairs/positive", e));
    TRY(check_path(s->labels, "/labels", e));
    if (s->max_seconds != 0 && !(s->max_seconds >= MIN_SECONDS && s->max_seconds <= MAX_SECONDS))
        return err_set_field(e, ERR_INVALID, "/max_seconds", "max_seconds must be %d to %d",
            MIN_SECONDS, MAX_SECONDS);
    if (s->max_steps < 0)
        return err_set_field(e, ERR_INVALID, "/max_steps", "max_steps must not be negative");
    return ERR_OK;
}

/* ---- search thread ---- */

/* When to answer at the latest, so that the answer still comes in time; 0: no matter. */
static int64_t answer_before(const struct engine_op *op)
{
    int64_t now = time_mono_ns(), margin = ANSWER_MS * NS_PER_MS;
    if (!op->deadline_ns) return 0;
    if (margin > (op->deadline_ns - now) / 4) margin = (op->deadline_ns - now) / 4;
    return op->deadline_ns - margin;
}

static enum err_code check_trainable(struct run_state *s, struct err *e)
{
    const struct model *model;
    TRY(engine__text_model(s->base.col, s->base.gen, &model, e));
    const char *architecture = model->info->architecture;
    const bool is_static = strcmp(architecture, "static") == 0;
    enum train_method method;
    if (!is_static && strcmp(architecture, "bert") != 0)
        return err_set(e, ERR_UNPROCESSABLE,
            "models of architecture \"%s\" cannot be trained; static and BERT ones can",
            architecture);
    if (find_method(s->op->retrain.method, &method) && is_static && method != TRAIN_AUTO &&
        method != TRAIN_FULL)
        return err_set_field(e, ERR_UNPROCESSABLE, "/method",
            "model \"%.*s\" is static: all of it learns (\"full\", \"auto\"), or nothing",
            STR_ARG(model->name));
    return ERR_OK;
}

static enum err_code prepare_retrain(struct run_state *s, struct err *e)
{
    const struct retrain_spec *spec = &s->op->retrain;
    struct pairs_request rq = PAIRS_REQUEST_DEFAULTS;
    TRY(check_trainable(s, e));
    rq.catalog = s->op->op.engine->catalog;
    rq.col = &s->base.col->row;
    rq.anchor = spec->pairs_anchor.n ? spec->pairs_anchor : STR("");
    rq.positive = spec->pairs_positive.n ? spec->pairs_positive : STR("");
    rq.labels = spec->labels.n ? spec->labels : STR("");
    TRY(pairs_check(&rq, answer_before(&s->op->op), e));
    s->row = (struct catalog_run){
        .kind = RUN_TRAIN,
        .objective = spec->objective.n ? spec->objective : STR("auto"),
        .pairs_anchor = rq.anchor,
        .pairs_positive = rq.positive,
        .labels = rq.labels,
        .max_seconds = spec->max_seconds,
        .max_steps = spec->max_steps,
        .seed = spec->has_seed ? spec->seed : time_unix_ms() % INT32_MAX,
        .promote = spec->promote,
        .method = spec->method.n ? spec->method : STR("auto"),
        .layers = spec->layers,
    };
    return ERR_OK;
}

static enum err_code prepare_version(struct run_state *s, struct err *e)
{
    struct run_op *op = s->op;
    struct engine *g = op->op.engine;
    struct catalog_version v;
    const bool back = op->action == RUN_DO_ROLLBACK;
    if (back)
        TRY(runs__version_before(g, s->base.col, op->op.arena, &v, e));
    else
        TRY(runs__version_check(g, s->base.col, op->version, op->op.arena, &v, e));
    s->row = (struct catalog_run){
        .kind = back ? RUN_ROLLBACK : RUN_PROMOTE,
        .to_version = v.version,
    };
    return ERR_OK;
}

/* Said again, for certain, when the run is inserted. The table alone is not asked: a run that has ended may
 * stand there for a moment longer. */
static enum err_code check_alone(struct run_state *s, struct err *e)
{
    struct engine *g = s->op->op.engine;
    struct catalog_run row;
    mutex_lock(&g->runs->lock);
    const struct run_entry *other = runs__of_collection(g->runs, s->base.col->row.id);
    const int64_t id = other ? other->id : 0;
    mutex_unlock(&g->runs->lock);
    if (!id) return ERR_OK;
    TRY(catalog_run_get(g->catalog, id, s->op->op.arena, &row, e));
    if (run_is_final(row.status)) return ERR_OK;
    return err_set(e, ERR_RUN_IN_PROGRESS, "run %lld of collection \"%.*s\" has not ended",
        (long long)id, STR_ARG(s->base.col->row.name));
}

static enum err_code check_room(struct run_state *s, struct err *e)
{
    struct engine *g = s->op->op.engine;
    struct runs *r = g->runs;
    AUTO_LOCK(&r->lock);
    if (s->op->action == RUN_DO_RETRAIN && r->n_open >= g->cfg->learn_queue)
        return err_set(e, ERR_BUSY, "%zu runs are waiting already", r->n_open);
    return ERR_OK;
}

static enum err_code prepare(struct run_state *s, struct err *e)
{
    TRY(check_alone(s, e));
    TRY(check_room(s, e));
    if (s->op->action == RUN_DO_RETRAIN)
        TRY(prepare_retrain(s, e));
    else
        TRY(prepare_version(s, e));
    s->row.collection_id = s->base.col->row.id;
    s->row.collection = s->base.col->row.name;
    s->row.from_version = s->base.gen->row.model_version;
    s->entry = mem_zalloc(1, sizeof *s->entry);
    return s->entry ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a run");
}

static void prepare_step(struct engine_op *op)
{
    struct run_state *s = op->state;
    struct err e = ERR_INIT;
    if (prepare(s, &e) == ERR_OK)
        writer_push(&op->engine->writer, LANE_INTERACTIVE, &s->task);
    else
        engine__finish(op, &e);
}

/* ---- writer thread: a new run ---- */

static enum err_code insert(struct engine *g, struct run_state *s, struct err *e)
{
    AUTO_GENERATION struct generation *serving = collection_generation(s->base.col);
    if (s->base.col->deleted)
        return err_set(
            e, ERR_NOT_FOUND, "collection \"%.*s\" was deleted", STR_ARG(s->base.col->row.name));
    if (serving->row.model_version != s->row.from_version)
        return err_set(e, ERR_RUN_IN_PROGRESS, "another version began to serve just now");
    enum err_code code = catalog_run_create(g->catalog, &s->row, e);
    if (code == ERR_CONFLICT)
        return err_set(e, ERR_RUN_IN_PROGRESS, "collection \"%.*s\" has a run that has not ended",
            STR_ARG(s->base.col->row.name));
    return code;
}

/* What must not be held while waiting for the end of a run. */
static void release_permits(struct engine *g, struct op_state *s)
{
    gate_release(&g->search_gate, s->search_permits);
    gate_release(&g->write_gate, s->write_permits);
    s->search_permits = s->write_permits = 0;
}

static void insert_run(struct run_state *s)
{
    struct engine *g = s->op->op.engine;
    struct runs *r = g->runs;
    struct run_op *op = s->op;
    struct err e = ERR_INIT;
    if (insert(g, s, &e) != ERR_OK) {
        mem_free(s->entry);
        engine__finish(&op->op, &e);
        return;
    }
    LOG(INFO, "run_queued", F_INT("run", s->row.id), F_STR("kind", run_kind_name(s->row.kind)),
        F_STR("collection", s->base.col->row.name.p), F_INT("from_version", s->row.from_version),
        F_INT("to_version", s->row.to_version));
    *s->entry = (struct run_entry){ .id = s->row.id,
        .collection_id = s->row.collection_id,
        .kind = s->row.kind,
        .status = RUN_QUEUED };
    op->info = s->row; /* its texts are replaced below, or when it is answered */
    bool waits = op->action != RUN_DO_RETRAIN;
    if (waits) {
        release_permits(g, &s->base);
        s->give_up_ns = answer_before(&op->op);
    }
    mutex_lock(&r->lock);
    waits = waits && !r->stopping;
    if (waits) s->entry->waiting = s;
    runs__add(r, s->entry); /* from here on the operation may be gone, if it waits */
    mutex_unlock(&r->lock);
    if (waits) return;
    enum err_code code = runs__read(g, op->info.id, op->op.arena, &op->info, &e);
    engine__finish(&op->op, code == ERR_OK ? NULL : &e);
}

/* ---- writer thread: cancelling ---- */

/* Take the entry out of its queue, or else ask its thread. true: taken. The lock is held. */
static bool cancel_entry(struct runs *r, struct run_entry *entry, bool deleted)
{
    entry->cancel = true;
    entry->deleted = entry->deleted || deleted;
    atomic_store(&entry->watch.cancel, true);
    entry->change = ++r->changes;
    cond_broadcast(&r->changed);
    if (entry->taken) return false;
    entry->taken = true;
    return true;
}

/* A run that nobody works on: final at once. */
static enum err_code end_taken(struct engine *g, struct run_entry *entry, struct err *e)
{
    struct catalog_run row;
    struct err why = ERR_INIT;
    struct arena *a = arena_new(1 << 12, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory for cancelling a run");
    enum err_code code = catalog_run_get(g->catalog, entry->id, a, &row, e);
    if (code == ERR_OK && !run_is_final(row.status)) { /* else the collection's end was its end */
        (void)err_set(&why, ERR_CANCELLED, "cancelled on request");
        runs__set_failed(&row, &why, a);
        row.finished_ms = time_unix_ms();
        code = catalog_run_update(g->catalog, &row, e);
    }
    if (code == ERR_OK) runs__close(g->runs, entry, &row);
    arena_free(a);
    return code;
}

static enum err_code has_ended(const struct run_op *op, struct err *e)
{
    return err_set(e, ERR_CONFLICT, "run %lld has ended: %s", (long long)op->run,
        run_status_name(op->info.status));
}

static enum err_code cancel(struct engine *g, struct run_op *op, struct err *e)
{
    struct runs *r = g->runs;
    /* The row is final a moment before the entry goes; who has seen that is told so. */
    TRY(catalog_run_get(g->catalog, op->run, op->op.arena, &op->info, e));
    if (run_is_final(op->info.status)) return has_ended(op, e);
    mutex_lock(&r->lock);
    struct run_entry *entry = runs__find(r, op->run);
    bool taken = entry && cancel_entry(r, entry, false);
    mutex_unlock(&r->lock);
    if (!entry) {
        TRY(catalog_run_get(g->catalog, op->run, op->op.arena, &op->info, e));
        return has_ended(op, e);
    }
    if (taken) {
        enum err_code code = end_taken(g, entry, e);
        if (code != ERR_OK) { /* its thread will do it */
            runs__release(r, entry);
            return code;
        }
    }
    return runs__read(g, op->run, op->op.arena, &op->info, e);
}

void runs_collection_deleted(struct engine *g, int64_t collection_id)
{
    struct runs *r = g->runs;
    if (!r) return;
    mutex_lock(&r->lock);
    struct run_entry *entry = runs__of_collection(r, collection_id);
    bool taken = entry && cancel_entry(r, entry, true);
    r->sweep_due = true;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    if (taken && end_taken(g, entry, NULL) != ERR_OK) runs__release(r, entry);
}

static void run_alone(struct write_task *t)
{
    struct run_state *s = container_of(t, struct run_state, task);
    struct engine_op *op = &s->op->op;
    struct err e = ERR_INIT;
    enum err_code code = engine__check_deadline(op, &e);
    if (code == ERR_OK && s->op->action != RUN_DO_CANCEL) {
        insert_run(s);
        return;
    }
    if (code == ERR_OK) code = cancel(op->engine, s->op, &e);
    mem_free(s->entry);
    engine__finish(op, code == ERR_OK ? NULL : &e);
}

/* ---- submitting ---- */

static enum err_code submit(struct engine *g, struct run_op *op, struct err *e)
{
    struct run_state *s = op->op.state;
    s->op = op;
    s->task = (struct write_task){ .op = &op->op, .items = 1, .alone = run_alone };
    if (op->action == RUN_DO_CANCEL) {
        TRY(engine__take_write(g, &s->base, 1, e));
        writer_push(&g->writer, LANE_INTERACTIVE, &s->task);
        return ERR_OK;
    }
    const struct str name = op->action == RUN_DO_RETRAIN ? op->retrain.collection : op->collection;
    TRY(registry_get(&g->registry, name, &s->base.col, e));
    s->base.gen = collection_generation(s->base.col);
    TRY(engine__take_search(g, &s->base, 1, e));
    TRY(engine__take_write(g, &s->base, 1, e));
    pool_push(&g->pool, LANE_INTERACTIVE, &op->op, prepare_step);
    return ERR_OK;
}

enum err_code engine_run_submit(struct engine *g, struct run_op *op, struct err *e)
{
    if (op->action == RUN_DO_RETRAIN) TRY(check_spec(&op->retrain, e));
    TRY(engine__accept(g, &op->op, sizeof(struct run_state), e));
    enum err_code code = submit(g, op, e);
    return code == ERR_OK ? ERR_OK : engine__reject(&op->op, code);
}

/* ---- reading ---- */

/* What the table knows better than the row. */
static void refresh(struct engine *g, struct catalog_run *row)
{
    struct runs *r = g->runs;
    AUTO_LOCK(&r->lock);
    const struct run_entry *entry = runs__find(r, row->id);
    if (!entry || run_is_final(row->status)) return;
    row->status = entry->status;
    row->step = entry->step;
    row->steps = entry->steps;
    row->loss = entry->loss;
}

enum err_code runs__read(
    struct engine *g, int64_t id, struct arena *a, struct catalog_run *ret, struct err *e)
{
    struct catalog_run row;
    TRY(catalog_run_get(g->catalog, id, a, &row, e));
    refresh(g, &row);
    *ret = row;
    return ERR_OK;
}

enum err_code engine_run_get(
    struct engine *g, int64_t run, struct arena *a, struct catalog_run *ret, struct err *e)
{
    return runs__read(g, run, a, ret, e);
}

enum err_code engine_runs(struct engine *g, struct str collection, int64_t before, size_t limit,
    struct arena *a, struct catalog_run **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    struct catalog_run *rows;
    size_t n;
    if (collection.n) TRY(registry_get(&g->registry, collection, &col, e));
    TRY(catalog_runs(g->catalog, col ? col->row.id : 0, before, limit, a, &rows, &n, e));
    for (size_t i = 0; i < n; i++)
        refresh(g, &rows[i]);
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}
