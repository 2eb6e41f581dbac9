/* The trainer's thread: takes one training run after the other, has it trained by a process, and decides by what
 * the gate said and what was asked for:
 *
 *              promote: auto          never                    always
 *   passed     version, promoting     version, succeeded       version, promoting
 *   failed     rejected               version, succeeded       version, promoting, and said so in the log
 *
 * A process that dies is started again, as long as it gets further each few times. */
#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/learned.h"
#include "engine/promote.h"
#include "engine/run_folder.h"
#include "engine/trainer_child.h"

#include <stdio.h>

enum { DECISION_BYTES = RUN_LINE_MAX + 200 };

/* ---- the candidate becomes a version ---- */

static void say_decision(
    char ret[DECISION_BYTES], const struct catalog_run *row, const struct trainer_result *res)
{
    const long long v = row->to_version;
    if (row->promote == PROMOTE_NEVER)
        (void)snprintf(ret, DECISION_BYTES,
            "kept as version %lld and not promoted, as asked for; the gate would have %s it: %s", v,
            res->promote ? "promoted" : "rejected", res->text);
    else if (!res->promote)
        (void)snprintf(ret, DECISION_BYTES,
            "version %lld promoted by the operator's override, although the gate rejected it: %s",
            v, res->text);
    else
        (void)snprintf(ret, DECISION_BYTES, "%s", res->text);
}

struct candidate {
    const struct catalog_collection *col;
    const struct trainer_result *res;
    struct catalog_version version;
    struct catalog_run *row;
    char decision[DECISION_BYTES];
};

/* Writer thread. The second time, after a crash between the two writes, the version is there already. */
static enum err_code store_candidate(struct engine *g, void *arg, struct err *e)
{
    struct candidate *c = arg;
    struct catalog_run *row = c->row;
    if (row->to_version == 0) {
        TRY(catalog_version_create(g->catalog, c->col, &c->version, e));
        row->to_version = c->version.version;
    }
    say_decision(c->decision, row, c->res);
    row->decision = str_from(c->decision);
    row->status = RUN_PROMOTING;
    if (row->promote == PROMOTE_NEVER) {
        row->status = RUN_SUCCEEDED;
        row->finished_ms = time_unix_ms();
    }
    return catalog_run_update(g->catalog, row, e);
}

/* From now on it can be named ("words/text-small@3"), whether it comes to serve or not. */
static void load_version(
    struct engine *g, struct collection *col, struct catalog_version v, int64_t version)
{
    AUTO_MODEL struct model *m = NULL;
    struct err e = ERR_INIT;
    v.version = version;
    if (learned_load(g, &col->row, &v, &m, &e) != ERR_OK)
        LOG(ERROR, "version_broken", F_INT("run", v.run_id), F_INT("version", version),
            F_STR("error", e.msg));
    learned_settle(g, col);
}

static enum err_code make_version(struct runs *r, struct catalog_run *row,
    const struct trainer_result *res, struct arena *a, struct err *e)
{
    struct engine *g = r->engine;
    AUTO_COLLECTION struct collection *col = runs__collection(g, row->collection_id);
    AUTO_FREE char *model = run_path(g->cfg->data, row->id, "model");
    struct candidate *c = arena_zalloc(a, 1, sizeof *c);
    if (!col) return err_set(e, ERR_CANCELLED, "the collection was deleted");
    if (!c || !model) return err_set(e, ERR_NOMEM, "out of memory for a version");
    if (!dir_exists(model))
        return err_set(e, ERR_INTERNAL, "the training process left no model behind");
    c->col = &col->row;
    c->res = res;
    c->row = row;
    c->version = (struct catalog_version){
        .parent_version = row->from_version,
        .run_id = row->id,
        .base_model = col->base_model,
        .data_hash = str_from(res->data_hash),
        .weights_hash = str_from(res->weights_hash),
    };
    TRY(writer_call(g, store_candidate, c, e));
    LOG(INFO, "version_made", F_INT("run", row->id), F_STR("collection", col->row.name.p),
        F_INT("version", row->to_version));
    load_version(g, col, c->version, row->to_version);
    if (!res->promote && row->promote == PROMOTE_ALWAYS)
        LOG(WARN, "promotion_forced", F_INT("run", row->id), F_STR("collection", col->row.name.p),
            F_INT("version", row->to_version), F_STR("gate", res->text));
    return ERR_OK;
}

/* ---- what becomes of a run ---- */

static void fail(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    const struct err *why, struct arena *a)
{
    runs__set_failed(row, why, a);
    runs__end(r, entry, row);
}

static void decide(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    const struct trainer_result *res, struct arena *a)
{
    struct err why = ERR_INIT;
    row->metrics = res->metrics;
    row->n_metrics = res->n_metrics;
    row->data_hash = str_from(res->data_hash);
    if (!res->promote && row->promote == PROMOTE_AUTO) {
        row->status = RUN_REJECTED;
        row->decision = str_from(res->text);
        runs__end(r, entry, row);
        return;
    }
    if (make_version(r, row, res, a, &why) != ERR_OK) {
        fail(r, entry, row, &why, a);
    } else if (row->status == RUN_SUCCEEDED) {
        AUTO_COLLECTION struct collection *col = runs__collection(r->engine, row->collection_id);
        runs__end(r, entry, row);
        if (col) promote_retire(r->engine, col, r->engine->cfg->learn_keep_versions);
    } else {
        runs__show(r, entry, row);
        runs__release(r, entry); /* to the promoter */
    }
}

static void fail_with_result(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    const struct trainer_result *res, struct arena *a)
{
    struct err why = ERR_INIT;
    (void)err_set(&why, res->code == ERR_CANCELLED ? ERR_INTERNAL : res->code, "%s", res->text);
    fail(r, entry, row, &why, a);
}

/* One process after the other until one has a result. false: `entry` was dealt with. */
static bool run_processes(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    struct trainer_result *res, struct arena *a)
{
    int64_t best_step = row->step;
    for (size_t in_vain = 0; !runs__is_cancelled(r, entry);) {
        row->attempts++;
        (void)runs__save(r, row, NULL);
        trainer_child_run(r, entry, row, &best_step, res);
        if (res->end == TRAINER_STOPPED) return false;
        if (res->end != TRAINER_DIED) break;
        in_vain = res->progressed ? 1 : in_vain + 1;
        LOG(WARN, "trainer_died", F_INT("run", row->id), F_INT("attempt", row->attempts),
            F_STR("error", res->text));
        if (in_vain >= runs__tuning.attempts) {
            res->end = TRAINER_FAILED;
            break;
        }
        runs__pause(r, entry, runs__tuning.retry_ms);
        if (runs__is_stopping(r)) return false;
    }
    if (runs__is_cancelled(r, entry)) {
        runs__end_cancelled(r, entry, row, a);
        return false;
    }
    return true;
}

static void train(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    struct trainer_result *res, struct arena *a)
{
    if (row->status == RUN_QUEUED) row->status = RUN_RUNNING;
    if (row->started_ms == 0) row->started_ms = time_unix_ms();
    runs__show(r, entry, row);
    if (!run_processes(r, entry, row, res, a)) {
        if (runs__is_stopping(r)) LOG(INFO, "run_paused", F_INT("run", row->id));
        return;
    }
    if (res->end == TRAINER_TOLD)
        decide(r, entry, row, res, a);
    else
        fail_with_result(r, entry, row, res, a);
}

void runs__trainer_main(void *arg)
{
    struct runs *r = arg;
    struct run_entry *entry;
    struct arena *a = arena_new(1 << 14, 0);
    struct trainer_result *res = mem_zalloc(1, sizeof *res);
    if (!a || !res) LOG(ERROR, "trainer_has_no_memory");
    while (a && res && (entry = runs__take(r, false)) != NULL) {
        struct catalog_run row;
        if (runs__read_row(r, entry, a, &row)) train(r, entry, &row, res, a);
        arena_clear(a);
    }
    mem_free(res);
    arena_free(a);
}
