/* Layer: engine. May include: core, index, catalog, base.
 *
 * Run a function on the writer thread, outside of any transaction, and wait for
 * it: for the threads of learning, which change the catalog now and then.
 */
#pragma once

#include "base/err.h"

struct engine;
/** Blocking; not from the writer, search, encode or link threads, and not after writer_stop. Returns what `call`
 * returned. */
MUST_USE enum err_code writer_call(struct engine *g,
    enum err_code (*call)(struct engine *g, void *arg, struct err *e), void *arg, struct err *e);
