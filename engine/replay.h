/* Layer: engine. May include: core, index, catalog, base.
 *
 * Changes of the catalog into an index that missed them.
 */
#pragma once

#include "engine/collection.h"

/**
 * All changes of the collection after number `since`: vectors that the catalog holds for the generation are put, those that
 * it does not hold any more are taken out. Both look at what is stored now, so doing it twice does no harm. What the index
 * does not take, but for lack of memory, is logged and left out.
 * ret_n  how many items had changed
 * Errors: the catalog's, NOMEM. Threads: one at a time for a generation, nobody else putting into it; reads the catalog.
 */
MUST_USE enum err_code replay_changes(struct catalog *c, const struct catalog_collection *col,
    struct generation *gen, int64_t since, size_t *ret_n, struct err *e);
