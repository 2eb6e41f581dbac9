/* Layer: engine. May include: core, index, catalog, base.
 *
 * The base models found at start. The table is filled once, before any thread
 * starts, and never changes: base models are immutable, so whoever holds a
 * `struct model *` may use it as long as the engine lives.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "core/model/encoder.h"
#include "engine/config.h"

#include <stdint.h>

struct model {
    struct encoder *encoder;
    const struct encoder_info *info;
    struct str name;    /* info->name */
    int64_t version;    /* 1: a base model */
    int64_t created_ms; /* of its weights file */
    size_t slot;        /* position in the table: where threads keep their workspaces for it */
};

struct models {
    struct model *rows; /* sorted by name once loaded */
    size_t n, cap;
    char **
        broken; /* names of folders that did not load: they hide those of the same name further on */
    size_t n_broken;
};

/**
 * Load every model in cfg->models, DATA/models, the folders beside the program and the installed ones, in
 * this order; the first folder with a name wins. One that does not load is logged and left out.
 * Errors: NOT_FOUND (the default model is not there), whatever kept the default model from loading, NOMEM.
 */
MUST_USE enum err_code models_load(
    struct models *m, const struct config *cfg, const struct vec_kernels *k, struct err *e);
/** Accepts a zeroed struct. */
void models_done(struct models *m);
/** "name" or "name@1"; NULL: there is none. */
const struct model *models_find(const struct models *m, struct str ref);
/** One text twice: finite, not zero, the same both times; CORRUPT if not. (Length 1 is not asked for: a
 * model need not normalise.) */
MUST_USE enum err_code models_canary(const struct model *m, struct err *e);
