/* Layer: engine. May include: core, index, catalog, base. */
#pragma once

#include "engine/models.h"

/** A zeroed model with one reference, its folder, and the time of its weights; NULL: no memory. */
struct model *model__new(const char *dir);
void model__free(struct model *m);
