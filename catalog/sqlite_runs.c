/* Runs: what was asked for, how far it is, what became of it.
 *
 * A run's row is written by whoever follows it, time and again, until its status is final; what was asked
 * for is written once. The index run_open keeps a collection from having two that are not final.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* In the order of RUN_COLUMNS. */
enum {
    COL_ID,
    COL_COLLECTION_ID,
    COL_COLLECTION,
    COL_KIND,
    COL_STATUS,
    COL_OBJECTIVE,
    COL_ANCHOR,
    COL_POSITIVE,
    COL_LABELS,
    COL_MAX_SECONDS,
    COL_MAX_STEPS,
    COL_SEED,
    COL_PROMOTE,
    COL_FROM,
    COL_TO,
    COL_STEP,
    COL_STEPS,
    COL_LOSS,
    COL_DECISION,
    COL_ERROR_CODE,
    COL_ERROR,
    COL_DATA_HASH,
    COL_ATTEMPTS,
    COL_CREATED,
    COL_STARTED,
    COL_FINISHED,
    COL_METHOD,
    COL_LAYERS
};
_Static_assert(RUN_SUCCEEDED == 4, "the index run_open and sqlite_stmts.def say status < 4");

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "catalog: no memory for the runs");
}

/* ---- reading ---- */

static enum err_code strings_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_run *run, struct err *e)
{
    const struct {
        int at;
        struct str *to;
    } strings[] = { { COL_COLLECTION, &run->collection }, { COL_OBJECTIVE, &run->objective },
        { COL_ANCHOR, &run->pairs_anchor }, { COL_POSITIVE, &run->pairs_positive },
        { COL_LABELS, &run->labels }, { COL_DECISION, &run->decision },
        { COL_ERROR_CODE, &run->error_code }, { COL_ERROR, &run->error },
        { COL_DATA_HASH, &run->data_hash }, { COL_METHOD, &run->method } };
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        TRY(catalog__column_str(s, strings[i].at, a, strings[i].to, e));
    return ERR_OK;
}

static enum err_code row_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_run *run, struct err *e)
{
    int64_t kind = sqlite3_column_int64(s, COL_KIND);
    int64_t status = sqlite3_column_int64(s, COL_STATUS);
    int64_t promote = sqlite3_column_int64(s, COL_PROMOTE);
    *run = (struct catalog_run){ .id = sqlite3_column_int64(s, COL_ID),
        .collection_id = sqlite3_column_int64(s, COL_COLLECTION_ID),
        .kind = (enum run_kind)kind,
        .status = (enum run_status)status,
        .max_seconds = catalog__column_double(s, COL_MAX_SECONDS),
        .max_steps = sqlite3_column_int64(s, COL_MAX_STEPS),
        .seed = sqlite3_column_int64(s, COL_SEED),
        .promote = (enum run_promote)promote,
        .layers = sqlite3_column_int64(s, COL_LAYERS),
        .from_version = sqlite3_column_int64(s, COL_FROM),
        .to_version = sqlite3_column_int64(s, COL_TO),
        .step = sqlite3_column_int64(s, COL_STEP),
        .steps = sqlite3_column_int64(s, COL_STEPS),
        .loss = catalog__column_double(s, COL_LOSS),
        .attempts = sqlite3_column_int64(s, COL_ATTEMPTS),
        .created_ms = sqlite3_column_int64(s, COL_CREATED),
        .started_ms = sqlite3_column_int64(s, COL_STARTED),
        .finished_ms = sqlite3_column_int64(s, COL_FINISHED) };
    if (kind < RUN_TRAIN || kind > RUN_ROLLBACK || status < RUN_QUEUED || status > RUN_CANCELLED ||
        promote < PROMOTE_AUTO || promote > PROMOTE_ALWAYS)
        return err_set(
            e, ERR_CORRUPT, "catalog: the row of run %" PRId64 " is out of range", run->id);
    return strings_read(s, a, run, e);
}

static enum err_code metrics_read(
    struct conn *cn, struct arena *a, struct catalog_run *run, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_METRICS);
    struct run_metric *rows = NULL;
    size_t cap = 0;
    catalog__bind_int(s, 1, run->id);
    for (size_t n = 0;; n++) {
        bool more;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return no_memory(e);
        TRY(catalog__step(cn, s, &more, e, "reading a run's metrics"));
        if (!more) {
            run->metrics = rows;
            run->n_metrics = n;
            return ERR_OK;
        }
        TRY(catalog__column_str(s, 0, a, &rows[n].name, e));
        rows[n].value = catalog__column_double(s, 1);
    }
}

/* The rows of a statement that has its bindings, with their metrics. */
static enum err_code runs_read(struct conn *cn, sqlite3_stmt *s, struct arena *a,
    struct catalog_run **ret_rows, size_t *ret_n, struct err *e)
{
    struct catalog_run *rows = NULL;
    size_t cap = 0;
    for (size_t n = 0;; n++) {
        bool more;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return no_memory(e);
        TRY(catalog__step(cn, s, &more, e, "reading runs"));
        if (!more) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        TRY(row_read(s, a, &rows[n], e));
        TRY(metrics_read(cn, a, &rows[n], e));
    }
}

enum err_code catalog_runs(struct catalog *c, int64_t collection_id, int64_t before, size_t limit,
    struct arena *a, struct catalog_run **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, collection_id ? STMT_RUNS_OF : STMT_RUNS);
    catalog__bind_int(s, 1, before ? before : INT64_MAX);
    catalog__bind_int(s, 2, catalog__limit(limit));
    if (collection_id) catalog__bind_int(s, 3, collection_id);
    return runs_read(r.conn, s, a, ret_rows, ret_n, e);
}

enum err_code catalog_run_get(
    struct catalog *c, int64_t id, struct arena *a, struct catalog_run *ret, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_run *rows;
    size_t n;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_RUN_GET);
    catalog__bind_int(s, 1, id);
    TRY(runs_read(r.conn, s, a, &rows, &n, e));
    if (n == 0) return err_set(e, ERR_NOT_FOUND, "there is no run %" PRId64, id);
    *ret = rows[0];
    return ERR_OK;
}

static int by_id(const void *a, const void *b)
{
    const struct catalog_run *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

enum err_code catalog_runs_open(
    struct catalog *c, struct arena *a, struct catalog_run **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_run *rows;
    size_t n;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_RUNS_OPEN);
    TRY(runs_read(r.conn, s, a, &rows, &n, e));
    qsort(rows, n, sizeof *rows, by_id);
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err_code catalog_runs_judged(
    struct catalog *c, int64_t collection_id, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_RUNS_WITH_METRIC);
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_str(s, 2, STR("gate.tested"));
    return catalog__count(r.conn, s, SIZE_MAX, ret_n, e);
}

/* ---- writing ---- */

static enum err_code create(struct conn *cn, struct catalog_run *run, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_INSERT);
    catalog__bind_int(s, 1, run->collection_id);
    catalog__bind_int(s, 2, run->kind);
    catalog__bind_int(s, 3, run->status);
    catalog__bind_text(s, 4, run->objective);
    catalog__bind_text(s, 5, run->pairs_anchor);
    catalog__bind_text(s, 6, run->pairs_positive);
    catalog__bind_text(s, 7, run->labels);
    catalog__bind_double(s, 8, run->max_seconds);
    catalog__bind_int(s, 9, run->max_steps);
    catalog__bind_int(s, 10, run->seed);
    catalog__bind_int(s, 11, run->promote);
    catalog__bind_int(s, 12, run->from_version);
    catalog__bind_int(s, 13, run->to_version);
    catalog__bind_int(s, 14, run->created_ms);
    catalog__bind_text(s, 15, run->method.n ? run->method : STR("auto"));
    catalog__bind_int(s, 16, run->layers);
    enum err_code code = catalog__run_one(cn, s, ERR_NOT_FOUND, "the collection does not exist", e);
    if (code == ERR_CONFLICT) /* the index run_open */
        return err_set(e, code, "the collection has a run that has not ended");
    run->id = sqlite3_last_insert_rowid(cn->db);
    return code;
}

enum err_code catalog_run_create(struct catalog *c, struct catalog_run *run, struct err *e)
{
    struct catalog_run made = *run;
    if (!(made.max_seconds >= 0)) return err_set(e, ERR_INVALID, "max_seconds must be 0 or more");
    made.status = RUN_QUEUED;
    made.created_ms = time_unix_ms();
    TRY(catalog_begin(c, e));
    TRY(catalog__finish(c, create(&c->writer, &made, e), e));
    *run = made;
    return ERR_OK;
}

static enum err_code metrics_write(struct conn *cn, const struct catalog_run *run, struct err *e)
{
    for (size_t i = 0; i < run->n_metrics; i++) {
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_METRIC_SET);
        catalog__bind_int(s, 1, run->id);
        catalog__bind_text(s, 2, run->metrics[i].name);
        catalog__bind_double(s, 3, run->metrics[i].value);
        TRY(catalog__run(cn, s, e, "writing a run's metrics"));
    }
    return ERR_OK;
}

static enum err_code update(struct conn *cn, const struct catalog_run *run, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_UPDATE);
    catalog__bind_int(s, 1, run->id);
    catalog__bind_int(s, 2, run->status);
    catalog__bind_int(s, 3, run->to_version);
    catalog__bind_int(s, 4, run->step);
    catalog__bind_int(s, 5, run->steps);
    catalog__bind_double(s, 6, run->loss);
    catalog__bind_text(s, 7, run->decision);
    catalog__bind_text(s, 8, run->error_code);
    catalog__bind_text(s, 9, run->error);
    catalog__bind_text(s, 10, run->data_hash);
    catalog__bind_int(s, 11, run->attempts);
    catalog__bind_int(s, 12, run->started_ms);
    catalog__bind_int(s, 13, run->finished_ms);
    TRY(catalog__run_one(
        cn, s, ERR_CONFLICT, "the run has ended with another status, or never was", e));
    return metrics_write(cn, run, e);
}

enum err_code catalog_run_update(struct catalog *c, const struct catalog_run *run, struct err *e)
{
    TRY(catalog_begin(c, e));
    return catalog__finish(c, update(&c->writer, run, e), e);
}
