/* Layer: core. May include: base. Internal to core/text.
 *
 * The tokenizer's inside, shared by loading (tokenizer_load.c, tokenizer_json.c)
 * and encoding (tokenizer.c, tokenizer_words.c).
 */
#pragma once

#include "core/text/added_tokens.h"
#include "core/text/bert_normalize.h"
#include "core/text/tokenizer.h"
#include "core/text/wordpiece.h"

enum { TOKENIZER_SPECIALS_MAX = 8, TOKENIZER_WORD_CHARS_MAX = 10000 };

/* What a byte does in a text; the first four are ASCII. */
enum byte_class { BYTE_LETTER, BYTE_SPACE, BYTE_PUNCTUATION, BYTE_DROPPED, BYTE_HIGH };

struct tokenizer {
    char *bytes;       /* all pieces, one after the other */
    uint32_t *offsets; /* [n_pieces + 1] into bytes */
    size_t n_pieces;
    struct wordpiece wp;
    struct bert_options norm;
    struct added_tokens added;
    uint32_t lead[TOKENIZER_SPECIALS_MAX], trail[TOKENIZER_SPECIALS_MAX];
    size_t n_lead, n_trail; /* special tokens around every text */
    uint8_t byte_class[256];
};

/* A word under construction, and where each of its bytes came from. Room for `cap` bytes and
 * WORDPIECE_PAD_BYTES after them. */
struct tokenizer_scratch {
    char *word;
    uint32_t *begin, *end; /* [cap] source span of the character that the byte belongs to */
    uint32_t *ends;        /* [cap] ends of pieces */
    size_t cap;
};

/* ---- loading ---- */

/* One piece of the vocabulary while it is being read; borrowed from the file's memory. */
struct vocab_entry {
    struct str piece;
    bool present;
    bool added_only; /* an added token beyond the model's own vocabulary */
};
/* What a tokenizer is made from. */
struct tokenizer_parts {
    struct vocab_entry *vocab; /* [cap] by id; whoever declares the parts releases it */
    size_t n_vocab, cap;
    size_t max_ids; /* ids are below it; 0: not known */
    struct str prefix, unk;
    size_t max_chars;
};

/** Read tokenizer.json into parts and t's settings (norm, added, lead, trail); path is for messages. The
 * strings in parts are borrowed from *ret_keep, which is set on failure too; release it after
 * tokenizer__assemble. */
MUST_USE enum err_code tokenizer__read_json(struct str text, const char *path, struct tokenizer *t,
    struct tokenizer_parts *parts, void **ret_keep, struct err *e);
void tokenizer__release_json(void *keep);
/** All of t from dir/vocab.txt and what stands beside it. */
MUST_USE enum err_code tokenizer__load_vocab(const char *dir, struct tokenizer *t, struct err *e);
/** The id of a piece of the model's own vocabulary. Looks at all of them. */
bool tokenizer__vocab_find(const struct tokenizer_parts *parts, struct str piece, uint32_t *ret_id);
/** Store the vocabulary and build the tables. */
MUST_USE enum err_code tokenizer__assemble(
    struct tokenizer *t, const struct tokenizer_parts *parts, const char *file, struct err *e);
/** Add an entry for `id`; grows the table. CORRUPT: taken, or out of range. */
MUST_USE enum err_code tokenizer__vocab_put(struct tokenizer_parts *parts, size_t id,
    struct str piece, bool added_only, const char *file, struct err *e);

/* ---- encoding ---- */

/* The state of one tokenizer_encode. */
struct tokenizer_run {
    const struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct token_ids *out;
    struct str text;
    size_t limit; /* of out->n, trailing special tokens not counted */
};

/** Make room for n more tokens. */
MUST_USE enum err_code tokenizer__reserve(struct token_ids *out, size_t n, struct err *e);
/** Split text[begin, end), which holds no added token, into words, and them into pieces. Stops
 * early once out->n > limit. */
MUST_USE enum err_code tokenizer__words(
    struct tokenizer_run *r, size_t begin, size_t end, struct err *e);
