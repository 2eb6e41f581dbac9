/* Layer: core. May include: base.
 *
 * Two views of one text, for learning without pairs.
 *
 *   several sentences   one of them, and the text without it (inverse cloze)
 *   VIEW_HALF_WORDS or more words   two disjoint runs of words
 *   fewer               the text twice, each with a share of its words deleted
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

/** Views in the arena. false: the text has fewer than VIEW_MIN_WORDS words. NOMEM. text: UTF-8, any. */
MUST_USE enum err_code views_draw(struct str text, struct rng *rng, struct arena *a,
    struct str *ret_anchor, struct str *ret_positive, bool *ret_drawn, struct err *e);
