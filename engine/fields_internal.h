/* Layer: engine. May include: core, index, catalog, base.
 *
 * Between fields.c and filter.c.
 */
#pragma once

#include "engine/fields.h"

/** `out` |= slots that a condition on a field holds for; of IS_EMPTY: slots that are not empty. */
MUST_USE enum err_code fields__select(const struct filter_target *t,
    const struct filter_condition *k, int64_t deadline_ns, struct slot_set *out, struct err *e);
