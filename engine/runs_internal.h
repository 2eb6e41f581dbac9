/* Layer: engine. May include: core, index, catalog, base.
 *
 * What the files about runs share.
 *
 * A run that is not final has one entry in the table. It is either free (in its
 * thread's queue) or taken: then the thread that took it, alone, changes its
 * row, hands it on (frees it) or ends it (runs__end). Everybody else only asks,
 * by `cancel`. A free entry can be taken by the writer thread, to cancel it.
 *
 *   trainer   trains RUN_TRAIN that is queued, running or evaluating (the latter two after a restart)
 *   promoter  RUN_ROLLBACK first, then RUN_PROMOTE and RUN_TRAIN that is promoting, the oldest first
 */
#pragma once

#include "engine/engine_internal.h"
#include "engine/learn.h"
#include "engine/promote.h"
#include "engine/runs.h"
#include "engine/writer_call.h"

/* The state of a run_op. */
struct run_state {
    struct op_state base;
    struct run_op *op;
    struct write_task task;
    struct catalog_run row;  /* what will be inserted */
    struct run_entry *entry; /* made on the search thread, goes into the table */
    int64_t give_up_ns;      /* waiting for the end of the run until then; 0: however long */
    struct run_state *next;  /* of the operations that wait for the same run */
};

struct run_entry {
    int64_t id, collection_id; /* set once in the table */
    enum run_kind kind;        /* set once */
    /* guarded by runs.lock */
    enum run_status status;
    int64_t step, steps;
    double loss;
    uint64_t change;
    bool taken;
    bool cancel;  /* asked for */
    bool deleted; /* its collection is gone */
    struct run_state *waiting;
    struct run_entry *next;
    struct promote_watch watch; /* atomics */
};

struct runs {
    struct engine *engine; /* set once */
    struct mutex lock;
    struct cond changed;
    struct run_entry *open; /* by id; guarded by lock, as all below */
    size_t n_open;
    uint64_t changes;
    bool stopping;
    bool sweep_due; /* folders may lie about that nobody needs */
    struct thread trainer, promoter;
};

/* Set by tests before an engine is opened, constant while one is open. */
struct runs_tuning {
    const char *program;     /* the trainer; NULL: this program */
    int64_t silence_ms;      /* a child that trains says something within this, or is killed */
    int64_t long_silence_ms; /* while it reads, or judges */
    int64_t term_ms;         /* from SIGTERM to SIGKILL */
    int64_t retry_ms;        /* before a child that died is started again */
    size_t attempts;         /* without progress in between */
};
extern struct runs_tuning runs__tuning;

/* ---- the table (runs.c) ---- */

/** The run that is not final; the lock is held. NULL: there is none. */
struct run_entry *runs__find(struct runs *r, int64_t id);
/** That of a collection; the lock is held. */
struct run_entry *runs__of_collection(struct runs *r, int64_t collection_id);
/** Insert; the lock is held. */
void runs__add(struct runs *r, struct run_entry *entry);
/** The next free run for the trainer or the promoter, taken; waits. NULL: stop. */
struct run_entry *runs__take(struct runs *r, bool promoter);
/** Give it back to the queue. */
void runs__release(struct runs *r, struct run_entry *entry);
/** Show a new status or progress. */
void runs__show(struct runs *r, struct run_entry *entry, const struct catalog_run *row);
bool runs__is_cancelled(struct runs *r, const struct run_entry *entry);
bool runs__is_stopping(struct runs *r);
/** Wait, unless the server stops or the run is cancelled. */
void runs__pause(struct runs *r, const struct run_entry *entry, int64_t ms);
/** Answer operations whose time is nearly over, or all when the server stops; from the trainer's thread.
 * Returns when to call again. */
int64_t runs__give_up(struct runs *r, int64_t now_ns);

/** Write the row, from the trainer's or the promoter's thread. Failure is logged. */
enum err_code runs__save(struct runs *r, const struct catalog_run *row, struct err *e);
/** A final row: written (tried until it is), the entry leaves the table and is freed, waiting operations hear
 * of it, the folder is tidied. When the server stops before it could be written, the run stays as it is. Not
 * from the writer thread. */
void runs__end(struct runs *r, struct run_entry *entry, struct catalog_run *row);
/** CANCELLED, with the reason; then runs__end. */
void runs__end_cancelled(
    struct runs *r, struct run_entry *entry, struct catalog_run *row, struct arena *a);
/** The row of a run that was taken. false: it cannot be read, and the run was ended. */
bool runs__read_row(
    struct runs *r, struct run_entry *entry, struct arena *a, struct catalog_run *ret);
/** What follows a final row that is written: entry out and freed, waiting operations finished. Any thread. */
void runs__close(struct runs *r, struct run_entry *entry, const struct catalog_run *row);
/** FAILED, with this error. The texts are copied into `a`. */
void runs__set_failed(struct catalog_run *row, const struct err *why, struct arena *a);
/** The row as the catalog has it, with what the table knows better. NOT_FOUND. */
MUST_USE enum err_code runs__read(
    struct engine *g, int64_t id, struct arena *a, struct catalog_run *ret, struct err *e);
/** A reference to the collection of this id; NULL: it was deleted. */
struct collection *runs__collection(struct engine *g, int64_t collection_id);
/** The version that served last before the one that serves (versions.c). CONFLICT: none that can be gone back to. */
MUST_USE enum err_code runs__version_before(struct engine *g, struct collection *col,
    struct arena *a, struct catalog_version *ret, struct err *e);
/** Can it be promoted: NOT_FOUND, CONFLICT (it serves; its folder is gone). */
MUST_USE enum err_code runs__version_check(struct engine *g, struct collection *col,
    int64_t version, struct arena *a, struct catalog_version *ret, struct err *e);

/* ---- threads and folders ---- */

void runs__trainer_main(void *arg);  /* trainer_thread.c */
void runs__promoter_main(void *arg); /* promoter_thread.c */
/** Tidy or remove the folders of runs that are final, unknown, or of deleted collections (run_sweep.c). */
void runs__sweep(struct runs *r);
/** The folder of a run that is final now. */
void runs__tidy(struct runs *r, const struct catalog_run *row);
