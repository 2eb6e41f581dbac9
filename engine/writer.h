/* Layer: engine. May include: core, index, catalog, base.
 *
 * The writer: the one thread that changes the catalog, the indexes' content
 * and the filter columns. It takes many tasks into one transaction (a savepoint
 * each), and after the commit publishes them in the same order: index first,
 * then filter columns, then each task hears of it.
 */
#pragma once

#include "base/arena.h"
#include "base/queue.h"
#include "base/thread.h"
#include "engine/collection.h"

struct engine;
struct config;

struct write_task {
    /* filled by who pushes it */
    struct engine_op *op;
    struct collection *col; /* borrowed from the operation's state; NULL with `alone` */
    size_t items;           /* what it counts in a commit */
    bool grows;             /* brings vectors: may have to wait for the graph */
    bool committed_part;    /* something of it is on disk: no deadline any more */
    /** Inside the transaction. An error undoes this task alone. */
    enum err_code (*apply)(struct write_task *t, struct arena *a, struct err *e);
    void (*publish)(struct write_task *t); /* after the commit */
    /** Last call; why == NULL: committed and published. The task may be gone after. */
    void (*finish)(struct write_task *t, const struct err *why);
    /** Instead of the three: outside any transaction; ends with engine__finish. */
    void (*alone)(struct write_task *t);
    /* private to the writer */
    struct queue_node node;
    struct write_task *next;
    enum queue_lane lane;
    int64_t parked_ns;
    struct err err;
};

struct task_list {
    struct write_task *head, **tail;
    size_t n, items;
};

struct writer {
    struct engine *engine; /* set once */
    struct queue *queue;   /* set once */
    struct thread thread;
    atomic_bool stop;
    atomic_bool nudged; /* `wake` is in the queue */
    atomic_bool has_parked;
    struct write_task wake;
    /* owner: writer thread */
    struct arena *arena; /* one batch */
    struct task_list
        parked; /* tasks whose collection has too many pending vectors, or is about to swap */
    struct write_task *held;  /* popped, runs after the present batch */
    struct collection *dirty; /* list, a reference each */
    int64_t retry_ns;         /* when to try repairing them again */
    int64_t retry_delay_ns;
    bool checkpoint_due;
    bool purge_due; /* deleted collections may have rows left */
    /** For tests: true makes the next publication fail as if memory were out. Set before any write. */
    bool (*fail_publish)(void);
};

/** NOMEM, IO; writer_stop and writer_done clean up. */
MUST_USE enum err_code writer_start(struct writer *w, struct engine *g, struct err *e);
/** Ends the thread; nothing may be under way. Accepts a zeroed struct. */
void writer_stop(struct writer *w);
/** Frees what it held, once nobody nudges any more. Accepts a zeroed struct. */
void writer_done(struct writer *w);
/** Hand a task over. Never refuses: permits were taken before. */
void writer_push(struct writer *w, enum queue_lane lane, struct write_task *t);
/** Wake the writer if it waits for a graph. Any thread. */
void writer_nudge(struct writer *w);

/** The generation that serves, for the writer thread, which alone changes it: borrowed until its turn ends. */
static inline struct generation *writer_generation(const struct collection *col)
{
    return col->generation;
}

/* From `publish`, on the writer thread: into the generation that serves. vector NULL: only the metadata
 * changed. */
struct catalog_put_result;
void writer_publish_put(struct writer *w, struct collection *col,
    const struct catalog_put_result *put, const float *vector, const struct field_value *values,
    size_t n_values);
void writer_publish_delete(
    struct writer *w, struct collection *col, const struct catalog_put_result *del);

/** Repair what a lack of memory left out of index and columns (dirty.c). */
void writer__mark_dirty(struct writer *w, struct collection *col, int64_t seq, bool columns);
void writer__repair(struct writer *w);
/** This collection now, whenever its turn would be. Writer thread; the errors of trying. */
MUST_USE enum err_code writer__repair_index(
    struct writer *w, struct collection *col, struct err *e);

/** Check, store, register. Writer thread, or before it runs. *ret_col is borrowed from the registry. */
MUST_USE enum err_code writer__create_collection(struct engine *g,
    const struct collection_spec *spec, struct collection **ret_col, struct err *e);
