/* Layer: core. May include: base.
 *
 * Texts as what they say, so that copies of one text that differ in case, accents, punctuation or white space
 * compare equal.
 * Threads: any.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/** Append the letters and digits of a text, compatibility forms resolved, in lower case, without accents; what
 * lies between them as a single space. Nothing is appended for a text without letters and digits. text: any
 * bytes; those that are not UTF-8 lie between. LIMIT, NOMEM: of the buffer. */
MUST_USE enum err_code text_fold(struct str text, struct buf *out, struct err *e);
