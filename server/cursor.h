/* Layer: server. May include: base.
 *
 * Cursors: where the next page of a list starts, as opaque text for a URL.
 *
 * Threads: any.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum { CURSOR_TEXT_BYTES = 13 }; /* with the NUL */

/** at ≥ 0 to 12 characters of base64url. */
void cursor_write(int64_t at, char ret[CURSOR_TEXT_BYTES]);
/** INVALID, field "/cursor": no cursor that cursor_write made. */
MUST_USE enum err_code cursor_read(struct str s, int64_t *ret_at, struct err *e);
