/* Layer: tests. May include: libcheck, core, base.
 *
 * Model folders small enough to be written by every test that needs one, over the words w0 … w255 and a few
 * English ones, with random weights: a static encoder, whose texts that share words are near each other, and a BERT.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TINY_MODEL_WORDS = 256 };

/** Write dir/name with config.json, vocab.txt and model.safetensors; fails the test if it cannot.
 * dir is made if missing. The same seed gives the same model. */
void tiny_model_write(const char *dir, const char *name, size_t dimensions, uint64_t seed);
/** The same, and every letter is a piece of its own, so that English sentences have vectors that differ, and the
 * anchor set (core/eval/general.h) a figure. */
void tiny_model_write_letters(const char *dir, const char *name, size_t dimensions, uint64_t seed);

/* The BERT below. */
enum { TINY_BERT_DIMENSIONS = 32, TINY_BERT_LAYERS = 2, TINY_BERT_TOKENS = 64 };

/** Write dir/name as a sentence-transformers folder: config.json, modules.json, 1_Pooling, vocab.txt,
 * sentence_bert_config.json and model.safetensors; mean pooling, normalised, every letter a piece. The same seed gives
 * the same model. */
void tiny_bert_write(const char *dir, const char *name, uint64_t seed);
