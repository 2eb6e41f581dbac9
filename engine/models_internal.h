/* Layer: engine. May include: core, index, catalog, base. */
#pragma once

#include "engine/models.h"

/** A zeroed model with one reference, its folder, and the time of its weights; NULL: no memory. */
struct model *model__new(const char *dir);
void model__free(struct model *m);
/** Names in a folder but hidden ones, sorted, so that the outcome does not depend on the file system; none if it cannot
 * be read. The caller frees each and the array (mem_free), also after an error. NOMEM. */
MUST_USE enum err_code model__list_folder(
    const char *folder, char ***ret_names, size_t *ret_n, struct err *e);
/** Under scan_lock. Is a folder new, or changed since it was looked at? Then *ret: its entry, not broken. NOMEM. */
MUST_USE enum err_code model__look(
    struct models *m, const char *dir, const char *name, struct model_seen **ret, struct err *e);
/** Under scan_lock: is there a folder of this name, other than `but`, that did not load? */
bool model__is_broken(const struct models *m, const char *name, const struct model_seen *but);
/** Under scan_lock: every folder in its order; late: no longer at the start. NOMEM, and early what keeps the default
 * model from loading. */
MUST_USE enum err_code model__scan(struct models *m, bool late, struct err *e);
void model__seen_done(struct models *m);
