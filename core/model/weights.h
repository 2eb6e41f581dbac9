/* Layer: core. May include: base.
 *
 * The weights of a model folder: model.safetensors, or the files that
 * model.safetensors.index.json names, seen as one set of tensors.
 *
 * Threads: an open set is immutable; any number of readers.
 */
#pragma once

#include "core/model/safetensors.h"

enum { WEIGHT_FILES_MAX = 256 };

struct weights;

/** Map and check the files of DIR, or of its subfolder `sub` (NULL: itself; shorter than MODULE_PATH_BYTES). A file's
 * name in the index must be a plain name. Errors: as safetensors_open; CORRUPT (the index; a tensor that is not where it
 * says, or in two files); UNPROCESSABLE (pytorch_model.bin only). */
MUST_USE enum err_code weights_open(
    const char *dir, const char *sub, struct weights **ret_w, struct err *e);
void weights_close(struct weights *w);
/** How many tensors there are in all files. */
size_t weights_count(const struct weights *w);
/** NULL: no tensor of that name. *ret_file (may be NULL): the file it is in, relative to the folder, borrowed. */
const struct safetensor *weights_find(
    const struct weights *w, const char *name, const char **ret_file);
/** Every tensor, file by file; NULL beyond the last. */
const struct safetensor *weights_at(const struct weights *w, size_t i, const char **ret_file);

/** Is there a tensor of that name, of a float type and this shape? Errors as weights_read_f32. */
MUST_USE enum err_code weights_check_float(
    const struct weights *w, const char *name, const size_t *dims, size_t n_dims, struct err *e);
/** Read a tensor of a float type as f32 into out, after checking its shape. Errors name tensor, file, expected and
 * found: UNPROCESSABLE (missing, shape, dtype), CORRUPT (a value is not finite). */
MUST_USE enum err_code weights_read_f32(const struct weights *w, const char *name,
    const size_t *dims, size_t n_dims, float *out, struct err *e);

/** Paths, relative to DIR, of all files that hold weights of the model: its own and those of its modules
 * ("2_Dense/model.safetensors"), sorted. What tells two models apart. Nothing is opened. Errors: NOT_FOUND (none),
 * UNPROCESSABLE (pytorch_model.bin only), as weights_open. */
MUST_USE enum err_code weights_list(
    const char *dir, char ***ret_paths, size_t *ret_n, struct err *e);
void weights_list_free(char **paths, size_t n);
