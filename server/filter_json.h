/* Layer: server. May include: engine, base, jansson.
 *
 * Filters of a request, in Qdrant's JSON, to engine/filter.h:
 *
 *     {"must": [{"key": "year", "range": {"gte": 1990}}, {"key": "lang", "match": {"any": ["en", "de"]}}],
 *      "must_not": {"has_id": ["cat"]}, "min_should": {"conditions": [...], "min_count": 1}}
 *
 * must, should and must_not take a list, or a single condition.
 *
 * Threads: any.
 */
#pragma once

#include "engine/filter.h"
#include "server/json_spec.h"

enum { FILTER_KEY_MAX_BYTES = 256 };

/**
 * A json_read_fn: field is a `const struct filter *`; null leaves NULL. The filter is in the reader's
 * arena and borrows strings from the document.
 * Errors: INVALID, UNKNOWN_FIELD with the JSON pointer; NOMEM.
 */
MUST_USE enum err_code filter_json_read(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e);
