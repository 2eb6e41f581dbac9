/* Layer: engine. May include: core, index, catalog, base.
 *
 * Versions that collections have learned, from their run's folder into memory and out of it.
 */
#pragma once

#include "catalog/learning.h"
#include "engine/models.h"

struct collection;
struct engine;

/**
 * The model of a version: version 1 is the base model, any other is loaded from its run's folder and kept with
 * the models of the engine. If the collection may be deleted meanwhile, learned_settle is due afterwards.
 * *ret_m: the caller's reference.
 * Errors: NOT_FOUND (no folder), UNPROCESSABLE (the base model is not installed; another architecture), CORRUPT,
 * IO, NOMEM.
 */
MUST_USE enum err_code learned_load(struct engine *g, const struct catalog_collection *col,
    const struct catalog_version *v, struct model **ret_m, struct err *e);
/** All versions of a collection whose folder is kept; what does not load is logged and left out. Before the
 * engine's threads run. Errors: the catalog's, NOMEM. */
MUST_USE enum err_code learned_load_all(
    struct engine *g, const struct catalog_collection *col, struct err *e);
/** Forget a version, or all of a collection (version 0). Who holds a reference goes on with it. */
void learned_drop(struct engine *g, int64_t collection_id, int64_t version);
/** After learned_load: a collection that was deleted meanwhile leaves no model behind. Not from the writer thread. */
void learned_settle(struct engine *g, struct collection *col);
