/* Layer: engine. May include: core, index, catalog, base.
 *
 * One filter column: value -> slots. See engine/fields.h. Not thread-safe.
 */
#pragma once

#include "base/err.h"
#include "base/map.h"
#include "catalog/catalog.h"
#include "engine/filter.h"
#include "engine/slot_set.h"

struct column_entry {
    enum field_value_type type; /* INTEGER, NUMBER, STRING or BOOLEAN */
    union {
        int64_t i;
        double d;
    } v;
    struct str text;       /* STRING: points at the entry's own copy */
    uint32_t one;          /* the only slot, while many == NULL and n == 1 */
    size_t n;              /* slots */
    struct slot_set *many; /* NULL until a second slot came */
};

/* Entries in ascending order of a number; the last `n - n_sorted` wait to be sorted in. */
struct column_order {
    struct column_order_key {
        double at;
        uint32_t entry;
    } * keys;
    size_t n, n_sorted, cap;
};

struct column {
    struct str_map *by_value; /* type and bytes of a value -> entry */
    struct column_entry *entries;
    size_t n, cap, n_vacant; /* vacant: no slot has the value any more */
    size_t text_bytes;       /* of all entries */
    size_t n_many;           /* entries with a set, vacant ones counted */
    size_t slots_in_many;    /* in all these sets */
    struct column_order numbers, times;
    struct slot_set *present; /* slots with anything that is not null and not [] */
    struct slot_set *nulls;   /* slots with a null */
};

MUST_USE enum err_code column_init(struct column *c, struct err *e);
/** Accepts a zeroed struct. */
void column_done(struct column *c);
MUST_USE enum err_code column_add(
    struct column *c, uint32_t slot, const struct field_value *v, struct err *e);
/** The slot has no longer any of the values that were added for it: call once with each of them. */
void column_remove(struct column *c, uint32_t slot, const struct field_value *v);
/** Sort what waits and drop vacant values when there are many of either; by the writer, after a batch. */
MUST_USE enum err_code column_tidy(struct column *c, struct err *e);

/** `out` |= the slots that a match, range, is_null condition holds for (not HAS_ID, NESTED). For
 * IS_EMPTY: `out` |= the slots that are NOT empty; the caller complements. */
MUST_USE enum err_code column_select(
    const struct column *c, const struct filter_condition *k, struct slot_set *out, struct err *e);
/** Memory it takes, about; from counters, so that asking costs nothing. */
size_t column_size_bytes(const struct column *c);
