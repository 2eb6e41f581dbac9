/* Layer: engine. May include: core, index, catalog, base.
 *
 * Link threads: put vectors that were stored into the graphs, behind the
 * searches' back, at a lower priority. Generations with waiting vectors stand
 * in a ring; each thread takes the next, links a slice, and puts it back at the
 * end, so that a large import does not keep a small collection waiting. One that is
 * to serve soon gets larger slices (link_share): under an import that never ends it
 * would else never catch up with the one that serves.
 */
#pragma once

#include "base/thread.h"
#include "engine/collection.h"

struct engine;
struct linker {
    struct mutex lock;
    struct cond work;
    struct generation *head, **tail; /* with a reference each; guarded by lock */
    bool stop;                       /* guarded by lock */
    struct engine *engine;           /* set once */
    struct thread *threads;
    size_t n_threads;
    atomic_size_t since_idle; /* vectors linked since all was linked last */
};

/** NOMEM, IO; linker_stop cleans up. */
MUST_USE enum err_code linker_start(struct linker *l, struct engine *g, struct err *e);
/** Ends the threads; what waits stays waiting. Accepts a zeroed struct. */
void linker_stop(struct linker *l);
/** This generation has waiting vectors. Any thread; holds no lock of a lower rank. */
void linker_schedule(struct linker *l, struct generation *gen);
