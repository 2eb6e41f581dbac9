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
/** Of an absolute path, the folder that its links may lead into: itself; of a snapshot in a download cache
 * (models--X/snapshots/COMMIT), whose files are links to models--X/blobs, models--X. Never the whole file
 * system. */
void model__cut_snapshot(char *real);
/** dir becomes `place`, both a folder beside each other, where the file system cannot swap names: what is
 * there is renamed to .NAME.old-PID meanwhile, and back if that fails. place: with a slash. IO, NOMEM. */
MUST_USE enum err_code model__swap_in_steps(const char *dir, const char *place, struct err *e);
