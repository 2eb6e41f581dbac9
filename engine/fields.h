/* Layer: engine. May include: core, index, catalog, base.
 *
 * Filter columns of one collection, in memory: for each declared field the
 * slots that hold each value. A mirror of the catalog's item_field table, kept
 * by the writer after each commit and rebuilt at start.
 *
 * A column maps each distinct value to its set of slots (one slot is stored in
 * place), and keeps the numbers, and the strings that are RFC 3339 times, in
 * sorted order for ranges.
 *
 * Threads: fields_put, fields_delete and fields_load by one thread (the
 * writer); everything else by any. Guarded by a read/write lock inside.
 */
#pragma once

#include "base/err.h"
#include "catalog/catalog.h"
#include "engine/filter.h"
#include "engine/slot_set.h"

struct fields;

/** fields [n] as declared; copied. */
MUST_USE enum err_code fields_new(
    const struct catalog_field *fields, size_t n, struct fields **ret_f, struct err *e);
/** Accepts NULL. */
void fields_free(struct fields *f);

/** At start, before anybody reads: one stored value / one live slot. */
MUST_USE enum err_code fields_load(
    struct fields *f, uint32_t slot, const struct field_value *v, struct err *e);
void fields_load_slot(struct fields *f, uint32_t slot);
/** After the last of them. */
MUST_USE enum err_code fields_load_end(struct fields *f, struct err *e);

/** The item in `slot` had `old` values and now has `now`; a new item has no old ones. On ERR_NOMEM the
 * slot's values are partly missing: the caller marks the collection dirty and rebuilds. */
MUST_USE enum err_code fields_put(struct fields *f, uint32_t slot, const struct field_value *old,
    size_t n_old, const struct field_value *now, size_t n_now, struct err *e);
void fields_delete(struct fields *f, uint32_t slot, const struct field_value *old, size_t n_old);

/** All live slots: a copy, or NULL without memory. */
struct slot_set *fields_live(struct fields *f);
size_t fields_size_bytes(struct fields *f);

/** What a filter is evaluated against. */
struct filter_target {
    struct catalog *catalog;
    const struct catalog_collection *col;
    struct fields *fields;
};
/**
 * The slots that a filter passes; *ret_set belongs to the caller (slot_set_free).
 * Errors: INVALID (depth, count of conditions), TIMEOUT, NOMEM, and the catalog's for fields that are
 * not declared. Threads: any; reads the catalog, so not on an event thread.
 */
MUST_USE enum err_code filter_evaluate(const struct filter_target *t, const struct filter *f,
    int64_t deadline_ns, struct slot_set **ret_set, struct err *e);
