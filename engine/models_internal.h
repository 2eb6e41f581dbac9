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
