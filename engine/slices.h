/* Layer: engine. May include: core, index, catalog, base.
 *
 * One piece of work cut over several threads, for tools and training processes, which have no pools.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>

/** Do from … to - 1. May be called from several threads at once. */
typedef enum err_code slice_fn(void *arg, size_t from, size_t to, struct err *e);

/**
 * Cut 0 … n - 1 into as many slices as there are threads, neighbours together and of about equal length, and do each
 * on a thread of its own, the first on the caller's. threads: 0 is 1; never more than n. n may be 0.
 *
 * Returns when all are done, with the error of the first slice that failed; CANCELLED only if none failed otherwise.
 * NOMEM. Where no thread can be had, the caller's does it all.
 */
MUST_USE enum err_code slices_run(
    unsigned threads, size_t n, slice_fn *fn, void *arg, struct err *e);
