/* Layer: engine. May include: core, index, catalog, base.
 *
 * From one version of a collection to another, while it is searched and written to.
 *
 *   1. the version's generation: the one kept in memory, or what the catalog holds of it, or a new one
 *   2. catch up: changes it does not know are read page by page (catalog_changes_page), encoded with its
 *      model in the bulk lane, written (catalog_generation_put), put into its index; again and again,
 *      until little is left. Its graph is linked meanwhile
 *   3. when the graph has caught up and less than PROMOTE_HOLD_CHANGES changes are left: the writer holds this
 *      collection's writes back (they wait, nothing is refused), the rest is caught up, and the writer swaps:
 *      catalog_generation_serve, then one pointer. If that takes longer than PROMOTE_HOLD_MS, the writes
 *      go on and it is tried again
 *   4. writes that were encoded for the old generation come to the writer as stale and are encoded again;
 *      searches that hold it finish on it
 *
 * Building the first time and going back are the same: a new generation knows no change, a retired one all
 * but the last. A promotion that a crash cut goes on from what the catalog says.
 *
 * Writes may come faster than they can be encoded a second time. Then step 2 does not get nearer, and step 3 is
 * taken all the same, with pauses of PROMOTE_GAP_MS between the holds: nothing is written while they last, so each
 * brings it nearer, and writers have what time is left.
 *
 * An item whose text the model cannot encode has no vector in the new generation: it is read and filtered as
 * ever, and no search by similarity finds it, until it is written again with another text. It is counted, and not
 * a reason to stop: one odd text would else keep a collection from learning for ever.
 */
#pragma once

#include "engine/collection.h"

#include <stdatomic.h>

enum {
    PROMOTE_PAGE = 512,
    PROMOTE_HOLD_CHANGES = 256,
    PROMOTE_HOLD_MS = 2000,
    PROMOTE_GAP_MS = 250,
    PROMOTE_PENDING = 1000, /* unlinked vectors with which a generation may begin to serve */
};

struct promote_watch {
    atomic_bool
        cancel; /* any thread: give up before the swap; what was built stays for another try */
    atomic_size_t done;  /* changes caught up */
    atomic_size_t total; /* guess of how many there are */
};
struct promote_report {
    size_t replayed;       /* changes since the generation was current (all items for a new one) */
    size_t encoded;        /* texts */
    size_t without_vector; /* texts that the model could not encode */
    double seconds;        /* all of it */
    double hold_seconds;   /* how long writes were held back */
};

/**
 * Make `version` serve. Blocking; the promoter's thread (one at a time for a collection).
 * rate: most items re-encoded a second, 0: no limit. run_id: ends as SUCCEEDED in the swap's transaction; 0: none.
 * Errors: NOT_FOUND (no such version, or its folder; the collection was deleted), CONFLICT (it serves; the run has
 * ended), CANCELLED, DRAINING, UNPROCESSABLE and CORRUPT (its model does not load), FULL, IO, NOMEM: then the old
 * one serves on.
 */
MUST_USE enum err_code promote_version(struct engine *g, struct collection *col, int64_t version,
    int64_t run_id, double rate, struct promote_watch *watch, struct promote_report *ret,
    struct err *e);

/** Drop generations, models and folders of retired versions but the `keep` last that served, and of candidates that
 * never served but the `keep` newest. Best effort: nothing while a promotion of the collection is due, which will
 * call this in its turn. Blocking; the promoter's thread or the trainer's. The base model's vectors are dropped like those of others; it can be gone back to at any
 * time, by encoding everything again. */
void promote_retire(struct engine *g, struct collection *col, size_t keep);
