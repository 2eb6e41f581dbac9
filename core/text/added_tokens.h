/* Layer: core. May include: base. Internal to core/text.
 *
 * Tokens that are found in the text as it is, before anything is normalised or
 * split: "[CLS]", "[MASK]". Leftmost, then longest.
 *
 * Threads: immutable once filled.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADDED_TOKENS_MAX = 1024 };

struct added_token {
    char *content; /* owned */
    size_t len;    /* ≥ 1 */
    uint32_t id;
    bool lstrip, rstrip; /* its span includes the white space before, after it */
};

struct added_tokens {
    struct added_token *v; /* longest first */
    size_t n;
    bool first_byte[256]; /* can a token begin with it? */
    int only_first_byte;  /* where they all begin alike; else -1 */
};

/** Copies `t`, content included. Errors: NOMEM, UNPROCESSABLE (too many, or there already). */
MUST_USE enum err_code added_tokens_add(
    struct added_tokens *a, const struct added_token *t, struct err *e);
void added_tokens_done(struct added_tokens *a);

/** First token at or after `from`; its place in ret_at. NULL: none. */
const struct added_token *added_tokens_next(
    const struct added_tokens *a, struct str text, size_t from, size_t *ret_at);
/** By content; NULL: none. */
const struct added_token *added_tokens_find(const struct added_tokens *a, struct str content);
