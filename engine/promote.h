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
 *      go on and step 2 is repeated
 *   4. writes that were encoded for the old generation come to the writer as stale and are encoded again;
 *      searches that hold it finish on it
 *
 * Building the first time and going back are the same: a new generation knows no change, a retired one all
 * but the last. A promotion that a crash cut goes on from what the catalog says.
 */
#pragma once

#include "engine/collection.h"

#include <stdatomic.h>

enum { PROMOTE_PAGE = 512, PROMOTE_HOLD_CHANGES = 256, PROMOTE_HOLD_MS = 2000 };

struct promote_watch {
    atomic_bool cancel;   /* any thread: give up before the swap; what was built stays for another try */
    atomic_size_t done;   /* changes caught up */
    atomic_size_t total;  /* guess of how many there are */
};
struct promote_report {
    size_t replayed;       /* changes since the generation was current (all items for a new one) */
    size_t encoded;        /* texts */
    double seconds;        /* all of it */
    double hold_seconds;   /* how long writes were held back */
};

/**
 * Make `version` serve. Blocking; the promoter's thread (one at a time in the server).
 * rate: most items re-encoded a second, 0: no limit. run_id: ends as SUCCEEDED in the swap's transaction; 0: none.
 * Errors: NOT_FOUND (no such version, or its folder), CONFLICT (it serves), CANCELLED, DRAINING, UNPROCESSABLE and
 * CORRUPT (its model does not load), FULL, IO, NOMEM: then the old one serves on.
 */
MUST_USE enum err_code promote_version(struct engine *g, struct collection *col, int64_t version,
    int64_t run_id, double rate, struct promote_watch *watch, struct promote_report *ret,
    struct err *e);

/** Drop generations, models and folders of retired versions but the `keep` last that served. Best effort. Blocking. */
void promote_retire(struct engine *g, struct collection *col, size_t keep);
