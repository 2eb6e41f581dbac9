/* Layer: engine. May include: core, index, catalog, base.
 *
 * What tells two models apart: a hash of all files that decide what vectors come out; and when the weights were written.
 *
 * Threads: any.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>

enum { MODEL_HASH_CHARS = 64 };

/**
 * BLAKE2b-256 in hex. Of a static encoder without prompts whose weights are model.safetensors: of that file, whatever
 * else is in the folder. Otherwise of names, sorted, each with a zero byte and the hash of its file. These are the files
 * of the weights, also those of modules ("2_Dense/model.safetensors"), and of any other architecture, and where there are
 * prompts, all that decides vectors, as far as it is there: config.json, modules.json, the modules' config.json,
 * sentence_bert_config.json, config_sentence_transformers.json, tokenizer.json, tokenizer_config.json, vocab.txt.
 * Errors: weights_list's, modules_read's, prompts_read's, file_map_open's, CORRUPT (config.json), NOMEM.
 */
MUST_USE enum err_code model_hash(const char *dir, char ret[MODEL_HASH_CHARS + 1], struct err *e);
/** When the newest of the weights' files was written, in Unix milliseconds; 0: not known. */
int64_t model_written_ms(const char *dir);
