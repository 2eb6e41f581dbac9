/* Layer: engine. May include: core, index, catalog, base, jansson. */
#pragma once

#include "core/text/json_file.h"
#include "engine/model_store.h"

/** The object in dir/name; *ret NULL if there is no such file. */
MUST_USE enum err_code model__read_json(
    const char *dir, const char *name, json_t **ret, struct err *e);
/** As text with line ends, whole. object NULL: NOMEM. */
MUST_USE enum err_code model__write_json(
    const char *dir, const char *name, const json_t *object, struct err *e);
