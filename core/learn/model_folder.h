/* Layer: core. May include: base.
 *
 * A new model folder made from another one: what belongs to both is copied, the
 * weights are the caller's, and the folder appears under its name only when it
 * is whole.
 *
 * Threads: any, each with a folder of its own.
 */
#pragma once

#include "base/err.h"

/**
 * Make to_dir from from_dir: its files and folders, links followed, but no README.md and no SHA256SUMS (the
 * new model needs its own), no hidden files and no weights; those `write_weights(arg, dir)` writes into
 * the new folder, dir, where it may write anything else.
 * It is put together in to_dir.tmp-PID and renamed; what a process that no longer lives left there is
 * removed.
 * Errors: CONFLICT (to_dir is there), NOT_FOUND, FULL, IO, NOMEM, LIMIT (folders too deep, names too long),
 * and those of write_weights.
 */
MUST_USE enum err_code model_folder_make(const char *from_dir, const char *to_dir,
    enum err_code (*write_weights)(const void *arg, const char *dir, struct err *e),
    const void *arg, struct err *e);
/** CONFLICT if something of that name is there. */
MUST_USE enum err_code model_folder_free_name(const char *to_dir, struct err *e);
