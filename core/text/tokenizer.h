/* Layer: core. May include: base.
 *
 * Text to token ids. A tokenizer is immutable after loading and can be used by
 * any number of threads, each with its own scratch.
 *
 * Arguments are borrowed for the call; what `ret_` returns belongs to the caller.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;
struct tokenizer_scratch; /* work space of one thread, grows as needed, reused */

struct token_span {
    uint32_t begin, end; /* byte offsets into the text given, end exclusive */
};

/** Ids of one text; `ids` grows as needed and is reused between calls. */
struct token_ids {
    uint32_t *ids;
    struct token_span *spans; /* NULL unless asked for */
    size_t n, cap;
    bool truncated; /* the text had more than max_tokens tokens */
    bool want_spans;
    bool no_specials; /* leave out what the post-processor adds around the text */
};
void token_ids_done(struct token_ids *t);

/**
 * Load from a model folder: `tokenizer.json` (Hugging Face format; models: WordPiece; normalizers:
 * none or BertNormalizer; pre-tokenizers: BertPreTokenizer; post-processors: none,
 * TemplateProcessing or BertProcessing; each also as a Sequence of one), else `vocab.txt`, one piece
 * a line. Everything unknown in tokenizer.json is an error that names file and field.
 *
 * Around vocab.txt everything is as in BERT: [CLS] and [SEP] are put around a text, if the vocabulary
 * has both; texts are lower-cased, stripped of accents, ideographs are split. `tokenizer_config.json`
 * may say otherwise (`do_lower_case`, `strip_accents`, `tokenize_chinese_chars`), name the special
 * tokens (`cls_token` and its like) and list added tokens (`added_tokens_decoder`); those that
 * vocab.txt does not hold, there or in `added_tokens.json`, are UNPROCESSABLE.
 *
 * Added tokens are matched in the raw text; those that ask for `single_word` or `normalized` are
 * UNPROCESSABLE, and so is a max_input_chars_per_word above 10,000. The file's `truncation` and
 * `padding` are not applied: the caller's max_tokens is.
 *
 * Errors: NOT_FOUND, CORRUPT (not JSON, ids not 0…n-1, missing [UNK]), UNPROCESSABLE (a kind we
 * do not have), IO, NOMEM.
 */
MUST_USE enum err_code tokenizer_load(
    const char *model_dir, struct tokenizer **ret_t, struct err *e);
/** As tokenizer_load, from the text of a tokenizer.json, of which nothing is kept. */
MUST_USE enum err_code tokenizer_load_json(
    struct str json, struct tokenizer **ret_t, struct err *e);
void tokenizer_free(struct tokenizer *t);

struct tokenizer_scratch *tokenizer_scratch_new(void);
void tokenizer_scratch_free(struct tokenizer_scratch *s);

/** Pieces and added tokens: ids are 0 … size - 1. */
size_t tokenizer_vocab_size(const struct tokenizer *t);
/** The piece of an id (borrowed from t), or an empty str. */
struct str tokenizer_piece(const struct tokenizer *t, uint32_t id);
bool tokenizer_id(const struct tokenizer *t, struct str piece, uint32_t *ret_id);

/**
 * Encode one text: normalise, split, WordPiece (greedy longest match first, Devlin et al. 2018 and
 * Schuster & Nakajima 2012), add the model's special tokens if its post-processor has any.
 *
 * text        UTF-8, any length, may hold NUL bytes (dropped like other control characters)
 * max_tokens  0: no limit; special tokens count. Longer texts keep their beginning.
 *
 * Errors: INVALID (not UTF-8; says at which byte), NOMEM.
 * Threads: any number, one scratch and one out each.
 * Output equals that of the `tokenizers` library for the kinds that load, but for characters that
 * are newer than the library's Unicode tables (here: utf8proc's).
 * Special tokens put around the text have the span 0, 0.
 */
MUST_USE enum err_code tokenizer_encode(const struct tokenizer *t, struct str text,
    size_t max_tokens, struct tokenizer_scratch *s, struct token_ids *out, struct err *e);
