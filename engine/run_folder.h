/* Layer: engine. May include: core, index, catalog, base.
 *
 * A run's folder, DATA/runs/N:
 *
 *   train.tsv      pairs to learn from; only while the run is open
 *   heldout.tsv    queries and documents to judge by, as `kindred eval --task retrieval` reads them
 *   work/          log.csv, loss.svg, and while the run is open the checkpoint
 *   model/         the candidate: a model folder. Kept while its version is kept
 *   log.txt        what the process wrote to its standard error
 *   lock           held by the process that works in it
 *
 * Threads: any; of one folder one at a time, and not while its process lives.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** "DATA/runs/N/tail" ("": the folder itself); NULL: no memory. Freed with mem_free. */
char *run_path(const char *data, int64_t run, const char *tail);
/** Remove what a finished run does not need: everything that is not named above, and of that train.tsv, the
 * checkpoint and, unless `keep_model` (its version lives), the model. Goes on after a failure and returns the
 * first: IO, NOMEM. A folder that is not there is tidy. */
MUST_USE enum err_code run_folder_tidy(
    const char *data, int64_t run, bool keep_model, struct err *e);
/** Remove all of it; links are removed, not followed. OK if it is not there. IO, NOMEM. */
MUST_USE enum err_code run_folder_remove(const char *data, int64_t run, struct err *e);
/** Ids of run folders that are there: up to `cap` into ret, ascending; returns how many. Beyond `cap` it
 * is not said which are left out: call again when these are dealt with. */
size_t run_folders(const char *data, int64_t *ret, size_t cap);
