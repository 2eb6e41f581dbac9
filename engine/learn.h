/* Layer: engine. May include: core, index, catalog, base.
 *
 * Learning without HTTP: runs, versions, promotion, rollback, feedback.
 *
 * A run belongs to one collection. Three kinds: training (whose candidate is judged
 * and, if proven better, promoted), promotion of a version by hand, and rollback.
 * A collection has at most one that is not final; the rest wait for nothing but
 * their turn: one trains at a time, one promotes at a time, in the whole server.
 * Runs are in the catalog, so a restart goes on with those it finds open.
 *
 * Operations and rules of memory and threads are those of engine.h.
 */
#pragma once

#include "catalog/learning.h"
#include "engine/engine.h"

struct retrain_spec {
    struct str collection;
    struct str objective;                    /* "": "auto" */
    struct str pairs_anchor, pairs_positive; /* "text", "metadata.a.b"; both or none */
    struct str labels;                       /* "metadata.a.b"; not beside pairs */
    double max_seconds;                      /* 0: the setting learn.max_seconds */
    int64_t max_steps;                       /* 0: none */
    bool has_seed;
    int64_t seed;
    enum run_promote promote;
    struct str method; /* which parameters learn: "auto", "full", …; "": "auto" */
    int64_t layers;    /* "last_layers": how many, 1 to 64; 0: not named */
};

/** "queued", "running", …: as the API and the log say it. */
const char *run_status_name(enum run_status s);
/** "train", "promote", "rollback" */
const char *run_kind_name(enum run_kind k);

enum run_action { RUN_DO_RETRAIN, RUN_DO_CANCEL, RUN_DO_PROMOTE, RUN_DO_ROLLBACK };
struct run_op {
    struct engine_op op;
    enum run_action action;
    struct retrain_spec retrain; /* RETRAIN */
    int64_t run;                 /* CANCEL */
    struct str collection;       /* PROMOTE, ROLLBACK */
    int64_t version;             /* PROMOTE */
    /* PROMOTE, ROLLBACK: `done` comes when the run is final or, before its deadline, with the run still on
     * its way: info.status tells. RETRAIN, CANCEL: at once. */
    /* out */
    struct catalog_run info; /* in op.arena */
};
/**
 * RETRAIN errors: NOT_FOUND (collection), RUN_IN_PROGRESS, INVALID (a field, named), UNPROCESSABLE (a
 * collection of vectors; a model that cannot be trained, or not by this method; an objective that is not available; too little to
 * learn from).
 * CANCEL: NOT_FOUND; CONFLICT (final already). Cancelling is asked for, and done when the status says so; a run
 * that has begun its swap finishes it.
 * PROMOTE: NOT_FOUND (collection, version), CONFLICT (it serves already; its folder is gone), RUN_IN_PROGRESS.
 * ROLLBACK: as PROMOTE, of the version that served last before this one, so a second one goes further back; CONFLICT:
 * none did that is still there.
 * All: BUSY, DRAINING, FULL, IO, NOMEM.
 */
MUST_USE enum err_code engine_run_submit(struct engine *g, struct run_op *op, struct err *e);

/* ---- reading: blocking, call from engine_run ---- */

/** Newest first. collection "": all. before: only ids below it; 0: all. NOT_FOUND (collection). */
MUST_USE enum err_code engine_runs(struct engine *g, struct str collection, int64_t before,
    size_t limit, struct arena *a, struct catalog_run **ret_rows, size_t *ret_n, struct err *e);
/** With the progress of this moment. NOT_FOUND. */
MUST_USE enum err_code engine_run_get(
    struct engine *g, int64_t run, struct arena *a, struct catalog_run *ret, struct err *e);

/** Where a run that is not final stands; does not block. false: it is final, or there is none.
 * change: counts up with every change, so that a watcher can tell. */
struct run_progress {
    uint64_t change;
    enum run_status status;
    int64_t step, steps;
    double loss, progress; /* 0…1 of the whole run */
};
bool engine_run_progress(struct engine *g, int64_t run, struct run_progress *ret);

struct version_info {
    struct catalog_version row;
    struct str model;                 /* "text-small@1", "words/text-small@3" */
    bool has_vectors;                 /* going to it replays changes only */
    const struct run_metric *metrics; /* of its run */
    size_t n_metrics;
};
/** Ascending. NOT_FOUND. */
MUST_USE enum err_code engine_versions(struct engine *g, struct str collection, struct arena *a,
    struct version_info **ret_rows, size_t *ret_n, struct err *e);

/* ---- feedback ---- */

struct feedback_op {
    struct engine_op op;
    struct str collection;
    struct str query_text; /* p == NULL: query_id */
    struct str query_id;
    struct str item;
    enum feedback_signal signal;
};
/** When `done` runs without error it is on disk. NOT_FOUND (collection, item: field "/item", "/query/id"),
 * EMPTY, LIMIT, INVALID, UNPROCESSABLE (no texts here), BUSY, DRAINING, FULL, IO, NOMEM. */
MUST_USE enum err_code engine_feedback(struct engine *g, struct feedback_op *op, struct err *e);
