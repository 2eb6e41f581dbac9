/* Layer: core. May include: base. Internal to core/model, core/learn and
 * engine/model_*.
 *
 * What a model wants to see before a text: sentence-transformers' prompts.
 */
#pragma once

#include "core/model/encoder.h"

/* By enum encode_kind; "": nothing. */
struct model_prompts {
    char text[2][ENCODER_PROMPT_MAX];
};

/**
 * Read DIR/config_sentence_transformers.json; no such file: no prompts.
 *
 * Queries get the prompt that is called "query", documents "document" or "passage". A default_prompt_name that is none
 * of these names the prompt of whichever of the two has none.
 *
 * Errors: CORRUPT, UNPROCESSABLE (the default is not in the list; a prompt of ENCODER_PROMPT_MAX bytes or more), LIMIT,
 * IO, NOMEM.
 */
MUST_USE enum err_code prompts_read(const char *dir, struct model_prompts *ret, struct err *e);
