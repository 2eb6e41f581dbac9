/* Layer: engine. May include: core, index, catalog, base.
 *
 * A set of slots (32-bit item numbers), compressed. The only place that knows
 * CRoaring. Threads: one writer, or any number of readers.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "index/index.h"

#include <stdbool.h>
#include <stdint.h>

struct slot_set;

/** NULL: no memory. */
struct slot_set *slot_set_new(void);
/** Accepts NULL. */
void slot_set_free(struct slot_set *s);
static inline void slot_set__auto_free(struct slot_set **s)
{
    slot_set_free(*s);
}
#define AUTO_SLOT_SET __attribute__((cleanup(slot_set__auto_free)))
/** NULL: no memory. */
struct slot_set *slot_set_copy(const struct slot_set *s);

/** Nothing happens if it is in already. */
void slot_set_add(struct slot_set *s, uint32_t slot);
/** Nothing happens if it is not in. */
void slot_set_remove(struct slot_set *s, uint32_t slot);
/** Is it in? */
bool slot_set_contains(const struct slot_set *s, uint32_t slot);
/** How many slots are in. */
size_t slot_set_count(const struct slot_set *s);
/** Memory it takes, about. */
size_t slot_set_size_bytes(const struct slot_set *s);

/** a becomes the slots that are in both. */
void slot_set_and(struct slot_set *a, const struct slot_set *b);
/** a becomes the slots that are in either. */
void slot_set_or(struct slot_set *a, const struct slot_set *b);
/** a loses the slots that are in b. */
void slot_set_and_not(struct slot_set *a, const struct slot_set *b);

/** Up to `max` slots ≥ first, ascending, into ret; returns how many. */
size_t slot_set_read(const struct slot_set *s, uint32_t first, uint32_t *ret, size_t max);

/** As the bitmap that index_search takes, in the arena. */
MUST_USE enum err_code slot_set_allow(
    const struct slot_set *s, struct arena *a, struct index_allow *ret, struct err *e);
