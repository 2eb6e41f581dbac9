/* Layer: catalog. May include: base.
 *
 * What learning stores: generations beside the one that serves, versions of a
 * collection's model, runs, and feedback. The rules of catalog.h hold: reading
 * from any thread, writing from the writer thread only, outside begin/commit
 * unless it says otherwise, each call its own transaction.
 *
 * A collection's version 1 is its base model; every version after it is a folder
 * that a run made. A generation is the set of vectors that one version made:
 * at most one a version. Exactly one serves; others are being built, or were
 * replaced and are kept to go back to. Both are brought up to date the same way:
 * `seq` is the last change they know, catalog_changes_page tells what came after.
 */
#pragma once

#include "catalog/catalog.h"

/* ---- generations ---- */

/** All generations of a collection but those being removed, by id. */
MUST_USE enum err_code catalog_generations(struct catalog *c, const struct catalog_collection *col,
    struct arena *a, struct catalog_generation **ret_rows, size_t *ret_n, struct err *e);

/** Number of the collection's last change; 0: none yet. */
MUST_USE enum err_code catalog_last_change(
    struct catalog *c, const struct catalog_collection *col, int64_t *ret_seq, struct err *e);

struct catalog_change {
    int64_t seq;
    uint32_t slot;
    bool deleted;
    struct str text; /* of a live item; p == NULL: it has none */
};
enum { CATALOG_CHANGES_BYTES = 8 << 20 };
/** Up to `limit` changes after `since`, ascending, of one snapshot: of an item that changed several times
 * only the last. Fewer, but one at least, once their texts have CATALOG_CHANGES_BYTES. None: there are no more. */
MUST_USE enum err_code catalog_changes_page(struct catalog *c, const struct catalog_collection *col,
    int64_t since, size_t limit, struct arena *a, struct catalog_change **ret_rows, size_t *ret_n,
    struct err *e);

/** A new generation, state BUILDING, seq 0. In: model_name, model_version, dimensions; sets id, state, seq.
 * CONFLICT: the version has one. NOT_FOUND: there is no such collection or version, or it was removed. */
MUST_USE enum err_code catalog_generation_create(struct catalog *c,
    const struct catalog_collection *col, struct catalog_generation *gen, struct err *e);

struct catalog_vector_put {
    uint32_t slot;
    int64_t seq;         /* of the change that the vector was made from */
    const float *vector; /* NULL: it has none, and loses the one it had */
    bool
        written; /* out; false: the item is gone or has changed since, its change is still to come */
};
/** Write vectors into a generation that does not serve, in one transaction, and note that it knows all
 * changes up to `seq`: the last one of the page that they come from, deletions included. CONFLICT: it
 * serves, or is being removed. NOT_FOUND: it was removed. INVALID: seq is less than what it knew or more than
 * there is, other dimensions than its own. */
MUST_USE enum err_code catalog_generation_put(struct catalog *c,
    const struct catalog_collection *col, const struct catalog_generation *gen,
    struct catalog_vector_put *puts, size_t n, int64_t seq, struct err *e);

/**
 * The swap: `next` serves from now on, the one that served is RETIRED and knows all changes up to now; with
 * it the states of both versions (catalog_version) and, if run_id is not 0, the run's status SUCCEEDED.
 * CONFLICT: `next` does not know the last change, serves already or is being removed; the run has ended.
 * NOT_FOUND. *ret_seq: the last change at the swap.
 */
MUST_USE enum err_code catalog_generation_serve(struct catalog *c,
    const struct catalog_collection *col, const struct catalog_generation *next, int64_t run_id,
    int64_t *ret_seq, struct err *e);
/** Take it away; its vectors go slice by slice (catalog_purge). CONFLICT: it serves. NOT_FOUND. */
MUST_USE enum err_code catalog_generation_drop(
    struct catalog *c, const struct catalog_collection *col, int64_t generation_id, struct err *e);

/* ---- versions ---- */

enum version_state {
    VERSION_CANDIDATE, /* trained, kept, never served */
    VERSION_SERVING,
    VERSION_RETIRED, /* served once */
    VERSION_REMOVED, /* its folder is gone; the row stays for the lineage */
};
struct catalog_version {
    int64_t version;        /* 1: the base model */
    int64_t parent_version; /* 0: none */
    int64_t run_id;         /* 0: the base model */
    enum version_state state;
    struct str base_model;              /* "text-small" */
    struct str data_hash, weights_hash; /* hex; "" for the base model */
    int64_t created_ms, served_ms;      /* served_ms: last time it began to serve; 0: never */
};
/** All versions of a collection, ascending; there is always version 1 for a collection with a model. */
MUST_USE enum err_code catalog_versions(struct catalog *c, const struct catalog_collection *col,
    struct arena *a, struct catalog_version **ret_rows, size_t *ret_n, struct err *e);
/** The next version: in: parent_version, run_id, base_model, hashes; sets version, created_ms; state
 * CANDIDATE. The run's to_version is set with it. CONFLICT: the run has made one already, or has ended.
 * NOT_FOUND: the collection (with a model), the parent. */
MUST_USE enum err_code catalog_version_create(struct catalog *c,
    const struct catalog_collection *col, struct catalog_version *v, struct err *e);
/** Its folder is to be removed: no generation may be left of it, but for one being removed (CONFLICT), and
 * version 1 stays (CONFLICT). NOT_FOUND: there is none, or it was removed before. */
MUST_USE enum err_code catalog_version_removed(
    struct catalog *c, const struct catalog_collection *col, int64_t version, struct err *e);

/* ---- runs ---- */

enum run_kind { RUN_TRAIN, RUN_PROMOTE, RUN_ROLLBACK };
enum run_status {
    RUN_QUEUED,
    RUN_RUNNING,
    RUN_EVALUATING,
    RUN_PROMOTING,
    RUN_SUCCEEDED, /* this and what follows are final */
    RUN_REJECTED,
    RUN_FAILED,
    RUN_CANCELLED,
};
static inline bool run_is_final(enum run_status s)
{
    return s >= RUN_SUCCEEDED;
}
enum run_promote { PROMOTE_AUTO, PROMOTE_NEVER, PROMOTE_ALWAYS };

struct run_metric {
    struct str name; /* "before.recall_at_10" */
    double value;
};

struct catalog_run {
    int64_t id;
    int64_t collection_id;
    struct str collection; /* its name, also after it was deleted */
    enum run_kind kind;
    enum run_status status;
    /* what was asked for; RUN_TRAIN only */
    struct str objective;                    /* "auto", "mnrl" */
    struct str pairs_anchor, pairs_positive; /* "metadata.title", "text"; "" : not named */
    struct str labels;                       /* "metadata.topic"; "": not named */
    double max_seconds;                      /* 0: the setting's */
    int64_t max_steps;                       /* 0: none */
    int64_t seed;
    enum run_promote promote;
    struct str method; /* which parameters learn: "auto", "adapter", …; "" on the way in: "auto" */
    int64_t layers;    /* "last_layers": how many; 0: not named */
    /* what became of it */
    int64_t from_version, to_version; /* to_version 0: none (yet) */
    int64_t step, steps;
    double loss;         /* may be NaN, as a metric may */
    struct str decision; /* a sentence: why it was promoted or not; "" before */
    struct str error_code, error;
    struct str data_hash;
    int64_t attempts;                            /* how often its process was started */
    int64_t created_ms, started_ms, finished_ms; /* 0: not yet */
    const struct run_metric *metrics;
    size_t n_metrics;
};

/** The newest first; before: only ids below (0: all). collection_id 0: of all collections. Metrics too. */
MUST_USE enum err_code catalog_runs(struct catalog *c, int64_t collection_id, int64_t before,
    size_t limit, struct arena *a, struct catalog_run **ret_rows, size_t *ret_n, struct err *e);
/** NOT_FOUND. */
MUST_USE enum err_code catalog_run_get(
    struct catalog *c, int64_t id, struct arena *a, struct catalog_run *ret, struct err *e);
/** All that are not final, oldest first: what a start has to go on with. */
MUST_USE enum err_code catalog_runs_open(struct catalog *c, struct arena *a,
    struct catalog_run **ret_rows, size_t *ret_n, struct err *e);
/** Runs of this collection whose candidate was judged (their metrics have "gate.tested"), for the
 * correction of repeated tests. */
MUST_USE enum err_code catalog_runs_judged(
    struct catalog *c, int64_t collection_id, size_t *ret_n, struct err *e);

/** QUEUED. In: collection_id, kind, what was asked for, from_version, to_version (0, or the version that a
 * promotion or rollback goes to); sets id and created_ms. CONFLICT: the collection has a run that is not
 * final. NOT_FOUND: the collection. */
MUST_USE enum err_code catalog_run_create(
    struct catalog *c, struct catalog_run *run, struct err *e);
/** Write status, step, steps, loss, decision, error, data_hash, attempts, to_version, started_ms,
 * finished_ms, and add or replace the metrics. A final status is never left (CONFLICT; also when there is
 * no such run), but the rest of its row may be written again. */
MUST_USE enum err_code catalog_run_update(
    struct catalog *c, const struct catalog_run *run, struct err *e);

/* ---- feedback ---- */

enum feedback_signal { FEEDBACK_CLICK, FEEDBACK_RELEVANT, FEEDBACK_IRRELEVANT };
struct catalog_feedback {
    struct str query_text; /* or, p == NULL, the text of an item: */
    uint32_t query_slot;
    uint32_t slot; /* the item that the signal is about */
    enum feedback_signal signal;
    int64_t created_ms; /* set */
};
/** Inside begin/commit, as puts are. The same query, item and signal again only renews its time. Goes away
 * with its items. NOT_FOUND: an item, the collection. INVALID: an empty query. */
MUST_USE enum err_code catalog_feedback_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_feedback *f, struct err *e);
struct feedback_row {
    int64_t id;
    struct str query, item; /* their texts */
    enum feedback_signal signal;
};
/** Up to `limit` rows with id > after, ascending; only those whose items are there and have texts. */
MUST_USE enum err_code catalog_feedback_page(struct catalog *c,
    const struct catalog_collection *col, int64_t after, size_t limit, struct arena *a,
    struct feedback_row **ret_rows, size_t *ret_n, struct err *e);
MUST_USE enum err_code catalog_feedback_count(
    struct catalog *c, const struct catalog_collection *col, size_t *ret_n, struct err *e);

/* ---- texts and values to learn from ---- */

enum { CATALOG_PATHS_MAX = 2, CATALOG_PATH_VALUES_MAX = 8 };
struct catalog_values_query {
    int64_t after; /* items with a larger slot; first page: -1 */
    size_t limit;
    const struct str *paths; /* [n_paths], into the metadata: "a.b" */
    size_t n_paths;          /* ≤ CATALOG_PATHS_MAX */
    bool with_text;
    size_t bytes_max; /* texts and values are cut there, at the end of a character */
};
struct catalog_values {
    uint32_t slot;
    struct str text; /* p == NULL: none, or not asked for */
    /* what is at each path: a string; a number as JSON writes it; true or false; of a list the first
     * CATALOG_PATH_VALUES_MAX of these; nothing where there is nothing, null or an object */
    const struct str *values[CATALOG_PATHS_MAX];
    size_t n_values[CATALOG_PATHS_MAX];
};
/** A page of items, ascending by slot. INVALID: a path; CORRUPT: stored metadata is no JSON. */
MUST_USE enum err_code catalog_values_page(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_values_query *q, struct arena *a, struct catalog_values **ret_rows,
    size_t *ret_n, struct err *e);

/* ---- reading beside a server ---- */

/** Open an existing catalog for reading beside its server, also in another process: takes no lock file,
 * migrates and writes nothing (but for SQLite's -shm), never checkpoints, not even at close. Errors: NOT_FOUND,
 * CORRUPT, UNPROCESSABLE (another schema). Writing calls are INTERNAL. */
MUST_USE enum err_code catalog_open_reader(const char *path, struct catalog **ret_c, struct err *e);
/** The collection of this id or, id 0, of this name. NOT_FOUND. */
MUST_USE enum err_code catalog_collection_find(struct catalog *c, int64_t id, struct str name,
    struct arena *a, struct catalog_collection *ret, struct err *e);
