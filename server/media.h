/* Layer: server. May include: engine, base.
 *
 * Media types: the headers Content-Type and Accept (RFC 9110, 8.3 and 12.5.1).
 *
 * Threads: any.
 */
#pragma once

#include "base/str.h"

#include <stdbool.h>

/** The type of a Content-Type header, without parameters and blanks; borrowed. */
struct str media_type(struct str content_type);
/** Equal but for case: media_is(media_type(h), "application/json"). */
bool media_is(struct str type, const char *want);
/** Does an Accept header allow `type`? An absent (p == NULL), empty or unreadable one allows everything. The most
 * precise range that matches decides; q=0 forbids. */
bool media_accepts(struct str accept, const char *type);
