/* Layer: core. May include: base.
 *
 * Two views of one text, for learning without pairs.
 *
 *   several sentences   one of them, and the text without it; in a tenth of the draws the text keeps it, so
 *                       that equal words go on to count (inverse cloze)
 *   VIEW_HALF_WORDS or more words   two neighbouring runs of words, each at least three tenths of the text
 *   fewer               the text twice, each with three tenths of its words deleted, never the same way
 *
 * Words lie between white space; a Chinese or Japanese character is a word. Sentences end at . ! ? or … before white
 * space and no lower-case letter, at 。！？, and at a line's end. Views have single spaces where there was
 * white space.
 *
 * Source: Lee et al. 2019 (inverse cloze task), section 3; Wu et al. 2020 (CLEAR), section 3.2 (word deletion).
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

#include <stdbool.h>

enum { VIEW_HALF_WORDS = 8, VIEW_MIN_WORDS = 3 };

/** Views in the arena, each at least one word. Equal states of rng give equal views. *ret_drawn false: the text
 * has fewer than VIEW_MIN_WORDS words, or is not UTF-8; views are not touched then. text: any. NOMEM. */
MUST_USE enum err_code views_draw(struct str text, struct rng *rng, struct arena *a,
    struct str *ret_anchor, struct str *ret_positive, bool *ret_drawn, struct err *e);
