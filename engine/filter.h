/* Layer: engine. May include: core, index, catalog, base.
 *
 * Filters: which items of a collection a search may return. A filter is a
 * tree of plain structs (made by the caller, in its arena) and is evaluated to
 * a set of slots.
 *
 * Meaning, as in Qdrant's filters: `must` all hold, `should` at least one
 * holds (if there are any), `must_not` none holds, `min_should` at least
 * min_count of its conditions hold. A condition on a list field holds if it
 * holds for any element. A field that is declared filterable is answered from
 * memory; any other by reading the metadata: same answer, slower.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "catalog/catalog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILTER_DEPTH_MAX = 8, FILTER_CONDITIONS_MAX = 1024, FILTER_VALUES_MAX = 10000 };

enum condition_kind {
    CONDITION_MATCH_ANY,    /* equals one of values[n_values] (match.value has one) */
    CONDITION_MATCH_EXCEPT, /* has a value that is none of values */
    CONDITION_MATCH_TEXT,   /* a string that contains values[0], ASCII case ignored */
    CONDITION_RANGE,        /* a number, or an RFC 3339 time, within the bounds */
    CONDITION_IS_EMPTY,     /* missing, null or [] */
    CONDITION_IS_NULL,      /* there, and null */
    CONDITION_HAS_ID,       /* key is one of ids[n_ids] */
    CONDITION_NESTED,       /* filter */
};

/** Match values: strings, integers, booleans (numbers match by range only, except integers, which
 * also match a number of the same value, as 5 and 5.0). */
struct filter_value {
    enum field_value_type type; /* VALUE_INTEGER, VALUE_NUMBER, VALUE_STRING or VALUE_BOOLEAN */
    union {
        int64_t i;
        double d;
        struct str s;
    } v;
};

struct filter_range {
    bool has_gt, has_gte, has_lt, has_lte;
    bool is_time; /* bounds are Unix milliseconds, compared with strings that are RFC 3339 times */
    double gt, gte, lt, lte;
};

struct filter;
struct filter_condition {
    enum condition_kind kind;
    struct str key; /* "a.b"; not for HAS_ID and NESTED */
    const struct filter_value *values;
    size_t n_values;
    struct filter_range range;
    const struct str *ids;
    size_t n_ids;
    const struct filter *nested;
};

struct filter_conditions {
    const struct filter_condition *c;
    size_t n;
};
struct filter {
    struct filter_conditions must, should, must_not, min_should;
    size_t min_count; /* of min_should */
};

/** RFC 3339 date-time ("2024-05-01T10:00:00Z", offsets, fractions) or full date ("2024-05-01", UTC
 * midnight) to Unix milliseconds; false if it is neither. */
bool filter_time_parse(struct str s, int64_t *ret_unix_ms);
