/* Layer: engine. May include: core, index, catalog, base.
 *
 * What tells the weights of two models apart: a hash of all files that hold them, and when the last of them was written.
 *
 * Threads: any.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>

enum { MODEL_HASH_CHARS = 64 };

/**
 * BLAKE2b-256 in hex. Of a folder whose weights are model.safetensors and nothing else: of that file. Otherwise (several
 * files, or those of modules: "2_Dense/model.safetensors"): of their names, sorted, each with a zero byte and the hash of
 * its file. Errors: weights_list's, file_map_open's, NOMEM.
 */
MUST_USE enum err_code model_hash(const char *dir, char ret[MODEL_HASH_CHARS + 1], struct err *e);
/** When the newest of these files was written, in Unix milliseconds; 0: not known. */
int64_t model_written_ms(const char *dir);
