/* Layer: engine. May include: core, index, catalog, base.
 *
 * The search pool: threads that run one step of an operation each: searches,
 * exact scans, hydration, reads, and the preparation of writes.
 */
#pragma once

#include "base/queue.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "index/index.h"

struct pool {
    struct queue *queue;
    struct thread *threads;
    size_t n_threads;
};

/** NOMEM, IO; pool_stop cleans up. */
MUST_USE enum err_code pool_start(struct pool *p, const struct config *cfg, struct err *e);
/** Ends the threads; the queue must be empty. Accepts a zeroed struct. */
void pool_stop(struct pool *p);
/** Run `step` on a search thread. It must end with engine__finish or hand the operation on. An
 * operation past its deadline is finished with TIMEOUT instead. Never refuses. */
void pool_push(
    struct pool *p, enum queue_lane lane, struct engine_op *op, void (*step)(struct engine_op *op));
/** The calling search thread's scratch; NULL: no memory. */
struct index_scratch *pool_scratch(void);
