/* Start, end, and the life of an operation.
 *
 * Start: open the catalog, load the models, then every collection, sing the canary, start the threads.
 * End, in this order: refuse, wait until nothing is under way (so all queues between stages are empty), save the indexes and
 * stop the maintenance thread (which needs the writer for it), stop the
 * writer (which may be repairing a collection, and schedules its linking), the link threads (which may nudge the
 * writer, stopped or not), the pool, the encoders; then drop collections, models, catalog.
 * engine_close undoes a start that failed half-way by the same code: every stop accepts what never started.
 */
#include "engine/engine.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/text/utf8.h"
#include "engine/engine_internal.h"
#include "engine/runs.h"
#include "engine/hash.h"
#include "engine/learned.h"
#include "engine/snapshots.h"

#include <string.h>

/* ---- the life of an operation ---- */

enum err_code engine__accept(
    struct engine *g, struct engine_op *op, size_t state_bytes, struct err *e)
{
    op->state = arena_zalloc(op->arena, 1, state_bytes);
    if (!op->state) return err_set(e, ERR_NOMEM, "out of memory for an operation");
    op->engine = g;
    op->err = ERR_INIT;
    op->queue_ns = op->work_ns = 0;
    op->since_ns = time_mono_ns();
    AUTO_LOCK(&g->life_lock);
    if (g->draining) return err_set(e, ERR_DRAINING, "the server is shutting down");
    g->under_way++;
    return ERR_OK;
}

static void give_back(struct engine *g, struct op_state *s)
{
    if (s->release) s->release(s);
    gate_release(&g->search_gate, s->search_permits);
    gate_release(&g->write_gate, s->write_permits);
    gate_release(&g->encode_gate[s->encode_lane], s->encode_permits);
    model_unref(s->model);
    generation_unref(s->gen);
    collection_unref(s->col);
    *s = (struct op_state){ 0 };
}

static void count_out(struct engine *g)
{
    AUTO_LOCK(&g->life_lock);
    if (--g->under_way == 0) cond_broadcast(&g->idle);
}

enum err_code engine__reject(struct engine_op *op, enum err_code code)
{
    struct engine *g = op->engine;
    give_back(g, op->state);
    count_out(g);
    return code;
}

void engine__finish(struct engine_op *op, const struct err *why)
{
    struct engine *g = op->engine;
    if (why) op->err = *why;
    op->work_ns += time_mono_ns() - op->since_ns;
    give_back(g, op->state);
    op->done(op); /* the operation may be gone */
    count_out(g);
}

void engine__wait_begins(struct engine_op *op)
{
    int64_t now = time_mono_ns();
    op->work_ns += now - op->since_ns;
    op->since_ns = now;
}

void engine__work_begins(struct engine_op *op)
{
    int64_t now = time_mono_ns();
    op->queue_ns += now - op->since_ns;
    op->since_ns = now;
}

enum err_code engine__check_deadline(const struct engine_op *op, struct err *e)
{
    if (op->deadline_ns && time_mono_ns() > op->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the deadline passed while the request waited");
    return ERR_OK;
}

/* ---- permits ---- */

enum err_code engine__take_search(
    struct engine *g, struct op_state *s, size_t searches, struct err *e)
{
    if (!gate_try(&g->search_gate, searches))
        return err_set(
            e, ERR_BUSY, "%zu searches and reads are waiting already", g->search_gate.max);
    s->search_permits = searches;
    return ERR_OK;
}

enum err_code engine__take_write(struct engine *g, struct op_state *s, size_t items, struct err *e)
{
    if (!gate_try(&g->write_gate, items))
        return err_set(
            e, ERR_BUSY, "%zu items are waiting to be written already", gate_used(&g->write_gate));
    s->write_permits = items;
    return ERR_OK;
}

enum err_code engine__take_encode(
    struct engine *g, struct op_state *s, enum queue_lane lane, size_t units, struct err *e)
{
    if (!gate_try(&g->encode_gate[lane], units))
        return err_set(e, ERR_BUSY,
            "texts that cost as much as %zu tokens of a static model are waiting to be encoded "
            "already",
            gate_used(&g->encode_gate[lane]));
    s->encode_permits = units;
    s->encode_lane = lane;
    return ERR_OK;
}

unsigned engine_retry_after_s(struct engine *g)
{
    size_t units = 0;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        units += gate_used(&g->encode_gate[lane]);
    return encode_seconds_for(&g->encoders, units);
}

/* ---- what several operations check ---- */

enum err_code engine__text_model(const struct collection *col, const struct generation *gen,
    const struct model **ret_m, struct err *e)
{
    if (col->row.modality == MODALITY_VECTOR)
        return err_set(e, ERR_UNPROCESSABLE,
            "collection \"%.*s\" holds vectors of the user's own; it has no model for texts",
            STR_ARG(col->row.name));
    if (!gen->model)
        return err_set(e, ERR_UNPROCESSABLE,
            "model \"%.*s\" of collection \"%.*s\" is not installed, or not the one that made its "
            "vectors: "
            "start with --models and the folder that has it",
            STR_ARG(gen->row.model_name), STR_ARG(col->row.name));
    *ret_m = gen->model;
    return ERR_OK;
}

enum err_code engine__model_ref(
    struct arena *a, const struct generation *gen, struct model_ref *ret, struct err *e)
{
    struct str name = gen->row.model_name;
    const char *copy = arena_strndup(a, name.p, name.n);
    if (!copy) return err_set(e, ERR_NOMEM, "out of memory for an answer");
    *ret = (struct model_ref){ { copy, name.n }, gen->row.model_version };
    return ERR_OK;
}

enum err_code engine__check_text(
    const struct engine *g, struct str text, const char *field, struct err *e)
{
    size_t at;
    if (text.n == 0) return err_set_field(e, ERR_EMPTY, field, "the text is empty");
    if (text.n > g->cfg->text_max_bytes)
        return err_set_field(e, ERR_LIMIT, field, "the text has %zu bytes, at most %llu are taken",
            text.n, (unsigned long long)g->cfg->text_max_bytes);
    if (!utf8_valid(text, &at))
        return err_set_field(e, ERR_INVALID, field, "the text is not UTF-8 at byte %zu", at);
    return ERR_OK;
}

/* ---- start ---- */

static enum err_code load_collections(struct engine *g, struct err *e)
{
    struct catalog_collection *rows;
    size_t n;
    struct arena *a = arena_new(1 << 16, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory while loading collections");
    enum err_code code = catalog_collections(g->catalog, a, &rows, &n, e);
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        struct collection *col;
        int64_t started = time_mono_ns();
        code = learned_load_all(g, &rows[i], e);
        if (code == ERR_OK) code = collection_load(g, &rows[i], true, &col, e);
        if (code != ERR_OK) {
            if (e) (void)err_wrap(e, "collection \"%.*s\"", STR_ARG(rows[i].name));
            break;
        }
        struct index_stats stats;
        index_stats(col->generation->index, &stats);
        LOG(INFO, "collection_loaded", F_STR("collection", col->row.name.p),
            F_UINT("items", stats.live), F_UINT("pending", stats.pending),
            F_NUM("seconds", (double)(time_mono_ns() - started) / (double)NS_PER_S));
        code = registry_add(&g->registry, col, e);
        if (code != ERR_OK) collection_unref(col);
    }
    arena_free(a);
    return code;
}

/* The collection that is there from the start. */
static enum err_code ensure_default(struct engine *g, struct err *e)
{
    struct collection *col = registry_find(&g->registry, STR("default"));
    if (col) {
        collection_unref(col);
        return ERR_OK;
    }
    struct collection_spec spec = { .name = STR("default"), .modality = MODALITY_MULTIMODAL };
    return writer__create_collection(g, &spec, &col, e);
}

static enum err_code start_threads(struct engine *g, struct err *e)
{
    TRY(encode_start(&g->encoders, g->cfg, e));
    TRY(pool_start(&g->pool, g->cfg, e));
    TRY(writer_start(&g->writer, g, e));
    TRY(linker_start(&g->linker, g, e));
    for (size_t i = 0; i < g->registry.n; i++) { /* nobody else knows of the engine yet */
        struct index_stats stats;
        index_stats(g->registry.rows[i]->generation->index, &stats);
        if (stats.pending) linker_schedule(&g->linker, g->registry.rows[i]->generation);
    }
    TRY(runs_start(g, e));
    return maintenance_start(&g->maintenance, g, e);
}

static enum err_code open_data(struct engine *g, struct err *e)
{
    TRY(dir_make(g->cfg->data, e));
    AUTO_FREE char *db = path_join(g->cfg->data, "catalog.db");
    if (!db) return err_set(e, ERR_NOMEM, "out of memory while opening the data folder");
    if (catalog_open(db, &g->catalog, e) != ERR_OK) /* its lock keeps a second server out */
        return err_wrap(e, "%s", db);
    TRY(models_load(&g->models, g->cfg, g->kernels, e));
    g->default_model = models_find(&g->models, str_from(g->cfg->default_model));
    return ERR_OK;
}

static enum err_code open_all(struct engine *g, struct err *e)
{
    int64_t started = time_mono_ns();
    TRY(hash_start(e));
    TRY(open_data(g, e));
    snapshots_tidy(g);
    TRY(load_collections(g, e));
    TRY(ensure_default(g, e));
    if (models_canary(g->default_model, &g->not_ready) != ERR_OK)
        LOG(ERROR, "canary_failed", F_STR("error", g->not_ready.msg));
    TRY(start_threads(g, e));
    LOG(INFO, "engine_opened", F_STR("data", g->cfg->data), F_UINT("models", g->models.n),
        F_UINT("collections", g->registry.n), F_STR("kernels", g->kernels->name),
        F_NUM("seconds", (double)(time_mono_ns() - started) / (double)NS_PER_S));
    return ERR_OK;
}

enum err_code engine_open(const struct config *cfg, struct engine **ret_engine, struct err *e)
{
    int level = vec_level_parse(cfg->simd);
    if (level < 0)
        return err_set(e, ERR_INVALID,
            "simd is \"%s\", it must be scalar, neon, avx2, avx512 or best", cfg->simd);
    struct engine *g = mem_zalloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_NOMEM, "out of memory for the engine");
    g->cfg = cfg;
    g->kernels = vec_select((enum vec_level)level);
    g->not_ready = ERR_INIT;
    registry_init(&g->registry);
    mutex_init(&g->life_lock, RANK_ENGINE);
    cond_init(&g->idle);
    recall_init(&g->recall, cfg->recall_sample_seconds);
    gate_init(&g->search_gate, cfg->search_queue);
    gate_init(&g->write_gate, cfg->write_queue_items);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        gate_init(&g->encode_gate[lane], cfg->encode_queue_tokens);

    enum err_code code = open_all(g, e);
    if (code == ERR_OK)
        *ret_engine = g;
    else
        engine_close(g);
    return code;
}

/* ---- end ---- */

void engine_drain(struct engine *g)
{
    mutex_lock(&g->life_lock);
    g->draining = true;
    mutex_unlock(&g->life_lock);
    maintenance_drain(&g->maintenance);
    runs_drain(g);
}

void engine_close(struct engine *g)
{
    if (!g) return;
    engine_drain(g);
    runs_stop(g); /* first: operations wait for runs, and runs for the writer */
    mutex_lock(&g->life_lock);
    while (g->under_way)
        cond_wait(&g->idle, &g->life_lock);
    mutex_unlock(&g->life_lock);

    maintenance_stop(&g->maintenance); /* saves the indexes, with the writer's help */
    writer_stop(&g->writer);
    linker_stop(&g->linker);
    writer_done(&g->writer);
    pool_stop(&g->pool);
    encode_stop(&g->encoders);
    recall_done(&g->recall);
    runs_done(g);
    registry_done(&g->registry);
    if (g->catalog) LOG(INFO, "engine_closed", F_STR("data", g->cfg->data));
    models_done(&g->models);
    catalog_close(g->catalog);
    cond_done(&g->idle);
    mutex_done(&g->life_lock);
    mem_free(g);
}

enum err_code engine_ready(struct engine *g, struct err *e)
{
    if (g->not_ready.code != ERR_OK)
        return err_set(e, ERR_NOT_READY, "the encoder is not right: %s", g->not_ready.msg);
    AUTO_LOCK(&g->life_lock);
    if (g->draining) return err_set(e, ERR_DRAINING, "the server is shutting down");
    return ERR_OK;
}
