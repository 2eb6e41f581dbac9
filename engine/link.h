/* Layer: engine. May include: core, index, catalog, base.
 *
 * Link threads: put vectors that were stored into the graphs, behind the
 * searches' back, at a lower priority. Generations with waiting vectors stand
 * in a ring; each thread takes the next, links a slice, and puts it back at the
 * end, so that a large import does not keep a small collection waiting.
 *
 * There are two rings with threads of their own: one for generations that serve,
 * and one for those that are being built, which nobody waits for: its threads
 * have the lowest priority there is and share no lock with a search or a write.
 * A generation may stand in both, when it has just come to serve.
 */
#pragma once

#include "base/thread.h"
#include "engine/collection.h"

struct engine;

struct link_ring {
    struct mutex lock;
    struct cond work;
    struct generation *head, **tail; /* with a reference each; guarded by lock */
    bool stop;                       /* guarded by lock */
};

struct link_thread {
    struct linker *linker;
    enum link_ring_id ring;
    struct thread thread;
};

struct linker {
    struct engine *engine; /* set once */
    struct link_ring rings[RING_COUNT];
    struct link_thread *threads;
    size_t n_threads;
    atomic_size_t since_idle; /* vectors linked since all was linked last */
};

/** NOMEM, IO; linker_stop cleans up. */
MUST_USE enum err_code linker_start(struct linker *l, struct engine *g, struct err *e);
/** Ends the threads; what waits stays waiting. Accepts a zeroed struct. */
void linker_stop(struct linker *l);
/** This generation has waiting vectors. Any thread; holds no lock of a lower rank. */
void linker_schedule(struct linker *l, struct generation *gen);
