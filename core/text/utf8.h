/* Layer: core. May include: base.
 *
 * UTF-8 as of RFC 3629: no surrogates, no overlong forms, at most U+10FFFF.
 * Threads: any.
 */
#pragma once

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/** true, or false with the offset of the first bad byte. Fast on ASCII. */
bool utf8_valid(struct str s, size_t *ret_bad_at);
/** Decode the code point at p (p < end, valid UTF-8 required); returns its length 1…4. */
unsigned utf8_decode(const char *p, const char *end, uint32_t *ret_cp);
/** Encode; returns its length 1…4. cp must be a scalar value. */
unsigned utf8_encode(uint32_t cp, char out[4]);
