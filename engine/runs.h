/* Layer: engine. May include: core, index, catalog, base.
 *
 * The runs that are under way: a table in memory of those that are not final, a
 * thread that trains them one after the other (each in a child process), and a
 * thread that promotes versions, one after the other.
 *
 * What has to survive is in the catalog before anything is done about it; the
 * table only says who works on a run and how far it is.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>

struct engine;
struct runs;

/** Read the runs that are not final and start both threads; sets g->runs. Before it the writer must run.
 * The catalog's errors, NOMEM, IO; runs_stop cleans up. */
MUST_USE enum err_code runs_start(struct engine *g, struct err *e);
/** Ask both threads to stop, and to answer operations that wait for a run. Does not wait; accepts that
 * runs_start was never called. A child writes its checkpoint; runs go on at the next start. */
void runs_drain(struct engine *g);
/** runs_drain, then end the threads. Before the writer stops. Accepts that runs_start was never called. */
void runs_stop(struct engine *g);
/** Frees the table, once nothing is under way. Accepts that runs_start was never called. */
void runs_done(struct engine *g);
/** Writer thread: a collection was deleted. Its run is cancelled, its folders are removed soon. */
void runs_collection_deleted(struct engine *g, int64_t collection_id);
