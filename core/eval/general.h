/* Layer: core. May include: base.
 *
 * The anchor set: about 400 pairs of general English sentences, written for this
 * purpose, each with a grade of how much the two mean the same:
 *
 *   5 the same thing in other words      2 same field, another matter
 *   4 nearly; a detail is missing        1 they share a word or a pattern, hardly more
 *   3 a matter in common, another claim  0 nothing
 *
 * A model that learns from one collection must not forget what sentences mean in
 * general; Spearman's correlation of its cosines with these grades says whether it
 * has. Many pairs are made to mislead: the same thing without a common word, other
 * things in the same words, negations, swapped roles. It is compiled into the
 * program, and it must never be learnt from.
 *
 * Threads: any.
 */
#pragma once

#include "base/str.h"

/** The whole set, as `kindred eval --task sts` reads a file: a line is grade TAB sentence TAB sentence. */
struct str general_text(void);
