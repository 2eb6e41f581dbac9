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
/** Under scan_lock: may it be taken for whole (models_refresh)? */
bool model__is_settled(const struct models *m, const struct model_seen *seen);
/** Under scan_lock: have its files changed since it was looked at? */
bool model__has_changed(const struct model_seen *seen);
void model__set_state(struct models *m, struct model_seen *seen, enum model_seen_state state);
/** Are the files those of its SHA256SUMS, which is there? CORRUPT, NOT_FOUND, IO, NOMEM. */
MUST_USE enum err_code model__check_sums(const char *dir, struct err *e);
/** Under scan_lock: is there a folder of this name, other than `but`, that did not load or is not whole yet? */
bool model__is_broken(const struct models *m, const char *name, const struct model_seen *but);
/** Under scan_lock: every folder in its order; late: no longer at the start. NOMEM, and early what keeps the default
 * model from loading. */
MUST_USE enum err_code model__scan(struct models *m, bool late, struct err *e);
void model__seen_done(struct models *m);
