/* Layer: engine. May include: core, index, catalog, base.
 *
 * Snapshots of indexes in the data folder: DATA/index/C-G.idx is that of generation G of collection C. A file is used
 * only if this catalog goes on from what it has seen: its label names the generation (with the time it was made, since
 * a catalog that was restored may give a number again) and the history of changes (catalog_history) in which it was
 * written. Whatever is not usable is removed: the catalog has everything.
 *
 * Files are written and removed by the maintenance thread, and before the engine's threads run; by one thread at a time.
 */
#pragma once

#include "engine/collection.h"
#include "index/snapshot.h"

struct engine;

/**
 * The index of a generation from its file. false: there is none, or it is of no use, which is logged, with the reason.
 * *ret_seq: the change up to which it knows all. Any thread; not while the file is written.
 */
bool snapshot_load(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, const struct index_options *o, struct index **ret_ix,
    int64_t *ret_seq);

/** What to write into it for changes up to `seq`, in the history that goes on now: writer thread, between its transactions. */
MUST_USE enum err_code snapshot_mark_make(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, int64_t seq, struct snapshot_mark *ret, struct err *e);

/** Write the file, which is then the old one or the new one. FULL, IO, NOMEM. */
MUST_USE enum err_code snapshot_save(struct engine *g, const struct catalog_collection *col,
    struct generation *gen, const struct snapshot_mark *mark, struct err *e);

/* The generations that the catalog knows, in the arena. */
struct snapshots_known {
    struct arena *arena; /* in */
    struct snapshot_of {
        int64_t collection, generation;
    } * p;
    size_t n, cap;
};
/** Ask the catalog. Any thread; the catalog's errors, NOMEM. */
MUST_USE enum err_code snapshots_known(struct engine *g, struct snapshots_known *k, struct err *e);
/** Remove the files of all other generations, and those that were not finished. Best effort. */
void snapshots_sweep(const struct engine *g, const struct snapshots_known *k);
/** Both, before the engine's threads run. */
void snapshots_tidy(struct engine *g);
