/* The promoter's thread: versions that passed, promotions by hand, and rollbacks (which go first), one at a time.
 * What is done is in promote.h; here is what becomes of the run. A promotion that fails leaves the old version
 * serving and the new one as it was, to be promoted by hand. */
#include "base/log.h"
#include "base/metrics.h"
#include "engine/runs_internal.h"

#include <stdio.h>

enum { PROMOTER_NICE = 5, PROMOTION_METRICS = 5, DECISION_BYTES = 128 };

static struct metric promotion_seconds = METRIC_HISTOGRAM(
    "kindred_promotion_seconds", "Time of one promotion or rollback, from start to swap.");
static struct metric hold_seconds = METRIC_HISTOGRAM(
    "kindred_promotion_hold_seconds", "Time that a collection's writes waited for a swap.");
static struct metric last_seconds =
    METRIC_GAUGE("kindred_promotion_last_seconds", "Time of the latest promotion or rollback.");

/* What was measured, under names of the kind. */
static void add_metrics(
    struct catalog_run *row, const struct promote_report *rep, struct run_metric m[])
{
    static const char *const promotion[] = { "promotion.seconds", "promotion.replayed",
        "promotion.encoded", "promotion.without_vector", "promotion.hold_seconds" };
    static const char *const rollback[] = { "rollback.seconds", "rollback.replayed",
        "rollback.encoded", "rollback.without_vector", "rollback.hold_seconds" };
    const char *const *names = row->kind == RUN_ROLLBACK ? rollback : promotion;
    const double values[PROMOTION_METRICS] = { rep->seconds, (double)rep->replayed,
        (double)rep->encoded, (double)rep->without_vector, rep->hold_seconds };
    for (size_t i = 0; i < PROMOTION_METRICS; i++)
        m[i] = (struct run_metric){ str_from(names[i]), values[i] };
    row->metrics = m; /* those that the row has already stay in the catalog */
    row->n_metrics = PROMOTION_METRICS;
    metric_observe(&promotion_seconds, NULL, rep->seconds);
    metric_observe(&hold_seconds, NULL, rep->hold_seconds);
    metric_set(&last_seconds, NULL, rep->seconds);
}

static void succeed(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    const struct promote_report *rep)
{
    struct run_metric metrics[PROMOTION_METRICS];
    char decision[DECISION_BYTES];
    add_metrics(row, rep, metrics);
    row->status = RUN_SUCCEEDED;
    if (row->kind != RUN_TRAIN) {
        (void)snprintf(decision, sizeof decision,
            "version %lld serves in place of version %lld, %s", (long long)row->to_version,
            (long long)row->from_version,
            row->kind == RUN_ROLLBACK ? "gone back to" : "promoted by hand");
        row->decision = str_from(decision);
    }
    runs__end(r, entry, row);
}

static enum err_code promote(struct runs *r, struct run_entry *entry, const struct catalog_run *row,
    struct promote_report *rep, struct err *e)
{
    struct engine *g = r->engine;
    AUTO_COLLECTION struct collection *col = runs__collection(g, row->collection_id);
    double rate = row->kind == RUN_ROLLBACK ? 0 : (double)g->cfg->learn_reembed_rate;
    if (!col) return err_set(e, ERR_CANCELLED, "the collection was deleted");
    return promote_version(g, col, row->to_version, row->id, rate, &entry->watch, rep, e);
}

static void retire(struct runs *r, int64_t collection_id)
{
    AUTO_COLLECTION struct collection *col = runs__collection(r->engine, collection_id);
    if (col) promote_retire(r->engine, col, r->engine->cfg->learn_keep_versions);
}

/* The run's end, or, when the server stops, nothing: it is still promoting in the catalog then. */
static void finish(struct runs *r, struct run_entry *entry, struct catalog_run *row,
    const struct err *why, const struct promote_report *rep, struct arena *a)
{
    bool asked = runs__is_cancelled(r, entry);
    if (why->code == ERR_OK) {
        succeed(r, entry, row, rep);
    } else if (why->code == ERR_CANCELLED && asked) {
        runs__end_cancelled(r, entry, row, a);
    } else if (why->code == ERR_DRAINING || (why->code == ERR_CANCELLED && runs__is_stopping(r))) {
        LOG(INFO, "run_paused", F_INT("run", row->id));
    } else {
        runs__set_failed(row, why, a);
        runs__end(r, entry, row);
    }
}

static void promote_run(
    struct runs *r, struct run_entry *entry, struct catalog_run *row, struct arena *a)
{
    struct promote_report rep = { 0 };
    struct err why = ERR_INIT;
    const int64_t collection_id = row->collection_id;
    row->status = RUN_PROMOTING;
    if (row->started_ms == 0) row->started_ms = time_unix_ms();
    if (!runs__is_cancelled(r, entry)) {
        runs__show(r, entry, row);
        (void)runs__save(r, row, NULL);
        LOG(INFO, "promotion_started", F_INT("run", row->id),
            F_STR("kind", run_kind_name(row->kind)), F_INT("version", row->to_version));
        if (promote(r, entry, row, &rep, &why) == ERR_OK) why = ERR_INIT;
    } else {
        (void)err_set(&why, ERR_CANCELLED, "cancelled before it began");
    }
    finish(r, entry, row, &why, &rep, a);
    if (why.code == ERR_OK) retire(r, collection_id);
}

void runs__promoter_main(void *arg)
{
    struct runs *r = arg;
    struct run_entry *entry;
    struct arena *a = arena_new(1 << 14, 0);
    if (!a) LOG(ERROR, "promoter_has_no_memory");
    thread_nice(PROMOTER_NICE);
    while (a && (entry = runs__take(r, true)) != NULL) {
        struct catalog_run row;
        if (runs__read_row(r, entry, a, &row)) promote_run(r, entry, &row, a);
        arena_clear(a);
    }
    arena_free(a);
}
