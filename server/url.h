/* Layer: server. May include: engine, base.
 *
 * The request target: a raw path and query, split before they are decoded, so
 * that an encoded slash is part of a segment and %00 is refused.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct url_param {
    struct str name, value;
};

/** s is UTF-8: no overlong forms, surrogates, or values beyond U+10FFFF. */
bool url_is_utf8(struct str s);
/** Path and query of a target such as "/a/b?c=d"; a target that is no path ("*", "host:80") has an empty path. An
 * absolute one ("http://host/a") loses scheme and host. */
void url_split(struct str target, struct str *ret_path, struct str *ret_query);
/** Segments of a path, decoded: "/a/b%2Fc" is "a", "b/c"; "/" has none. *ret_n > max if there are more than max.
 * INVALID: bad escape, NUL or other control character, not UTF-8. */
MUST_USE enum err_code url_segments(struct str path, struct arena *a, struct str *ret_segments,
    size_t max, size_t *ret_n, struct err *e);
/** Parameters of a query, decoded ('+' is a space); the order is kept. INVALID as above, or more than max. */
MUST_USE enum err_code url_query(struct str query, struct arena *a, struct url_param *ret_params,
    size_t max, size_t *ret_n, struct err *e);
