/* Layer: tests. May include: libcheck, base.
 *
 * Fail every allocation of a piece of code in turn.
 *
 *   static enum err_code round_trip(void *arg) { ...; return code; }
 *   oom_loop(round_trip, &arg);
 *
 * Tag such a test case with OOM_TAG, so that `make check-oom` runs it under
 * AddressSanitizer, where a leak or a wild pointer after the failure shows:
 *   tcase_set_tags(tc, OOM_TAG);
 */
#pragma once

#include "base/err.h"

#define OOM_TAG "oom"

/** Calls fn with the 1st, 2nd, 3rd … allocation of this thread failing, until it gets through with none
 * failed. Each time fn must return ERR_OK (the allocation could be done without) or ERR_NOMEM, and undo
 * what it did; the last call must return ERR_OK. Without KINDRED_CHECKED fn is called once. Returns the
 * number of allocations that were failed. */
long oom_loop(enum err_code (*fn)(void *arg), void *arg);
/** As above, for a function without argument that returns an err_code. */
#define OOM_LOOP(fn) oom_loop(oom__call_plain, &(struct oom__plain){ (fn) })

struct oom__plain {
    enum err_code (*fn)(void);
};
enum err_code oom__call_plain(void *arg);
