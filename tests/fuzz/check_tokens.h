/* Layer: tests. May include: base, core.
 *
 * What must hold of the tokens of any text, whatever the tokenizer.
 */
#pragma once

#include "core/text/tokenizer.h"

/** Encode `text` in all ways (with and without special tokens, whole and cut at max_tokens, with a used
 * scratch and a fresh one) and compare: FUZZ_CHECK. */
void check_tokens(const struct tokenizer *t, struct str text, size_t max_tokens);
