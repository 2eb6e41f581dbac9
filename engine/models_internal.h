/* Layer: engine. May include: core, index, catalog, base. */
#pragma once

#include "engine/models.h"

/** A zeroed model with one reference, its folder, and the time of its weights; NULL: no memory. */
struct model *model__new(const char *dir);
void model__free(struct model *m);
/** Of its weights file: BLAKE2b-256, hex. Errors: file_map_open's, NOMEM. */
MUST_USE enum err_code model__hash(const char *dir, char ret[MODEL_HASH_CHARS + 1], struct err *e);
