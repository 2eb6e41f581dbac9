/* Layer: core. May include: base. Internal to core/model, core/learn and
 * engine/model_*.
 *
 * modules.json: sentence-transformers' list of what is done in turn.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { MODULES_MAX = 16, MODULE_PATH_BYTES = 64 };

struct model_module {
    char type
        [128]; /* "sentence_transformers.models.Pooling"; cut if longer, "" if it is no string */
    char path[MODULE_PATH_BYTES]; /* its folder in the model's: "1_Pooling"; "": the model's own */
};
struct model_modules {
    bool given; /* is there a modules.json? */
    size_t n;
    struct model_module list[MODULES_MAX];
};

/** Read DIR/modules.json; no such file is no error. Errors: CORRUPT, UNPROCESSABLE (a path that leaves the
 * folder or is too long, too many modules), LIMIT, IO, NOMEM. */
MUST_USE enum err_code modules_read(const char *dir, struct model_modules *ret, struct err *e);
/** The class of a module, "Pooling"; what stands after the last dot of its type. */
const char *module_class(const struct model_module *m);
/** Is it a path downwards: relative, without "." and ".." and empty names? */
bool module_path_is_inside(const char *path);
