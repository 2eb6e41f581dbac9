/* Layer: engine. May include: core, index, catalog, base.
 *
 * The maintenance thread, niced: upkeep that nobody waits for. About once a second it looks at every generation in
 * memory, and
 *
 *   takes deleted vectors out of graphs       index_maintain, a slice at a time
 *   saves indexes of which enough has changed snapshots.h; all that have changed when it stops
 *   answers a search again to measure recall  recall.h
 *   measures what `ef` gives what recall      index_measure, when a graph is whole, and again when it has grown by half
 *   removes snapshots that nobody needs
 *
 * It holds no lock that a search needs: what takes such a lock (looking at the generations, asking the catalog) is done
 * by the writer for it, which is not niced (writer_call.h). An index is searched while all this is done to it.
 */
#pragma once

#include "base/thread.h"
#include "engine/collection.h"

struct engine;
struct maintenance_view;

struct maintenance {
    struct engine *engine; /* set once */
    struct thread thread;
    struct mutex lock;
    struct cond wake;
    bool stop;         /* guarded by lock */
    atomic_bool calm;  /* draining: begin nothing long */
    atomic_bool sweep; /* generations have gone: so should their files */
    /* owner: the thread; the writer thread within a writer_call */
    struct index_scratch *scratch;
    struct maintenance_view *views;
    size_t n_views, cap_views;
};

/** NOMEM, IO; maintenance_stop cleans up. The writer and the link threads must run. */
MUST_USE enum err_code maintenance_start(struct maintenance *m, struct engine *g, struct err *e);
/** Nothing long is begun any more. Any thread; accepts that it was never started. */
void maintenance_drain(struct maintenance *m);
/** Saves all indexes that have changed and ends the thread. The writer must run still. Accepts a zeroed struct. */
void maintenance_stop(struct maintenance *m);
/** A collection or a generation was removed. Any thread; accepts that it was never started. */
void maintenance_sweep(struct maintenance *m);
