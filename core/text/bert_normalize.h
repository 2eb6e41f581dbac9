/* Layer: core. May include: base. Internal to core/text.
 *
 * What BERT's normaliser and pre-tokenizer do to a single character. Every
 * rule is local to one character, apart from the canonical order of combining
 * marks, for which the caller gets each character's combining class.
 *
 * Source: Devlin et al. 2018, its published tokenizer; Unicode data of utf8proc.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bert_options {
    bool clean_text;           /* drop control characters, make all white space a space */
    bool handle_chinese_chars; /* every ideograph is a word */
    bool strip_accents;        /* decompose (NFD), drop non-spacing marks */
    bool lowercase;
};

enum bert_class { BERT_LETTER, BERT_SPACE, BERT_PUNCTUATION };

/* One character after normalisation. */
struct bert_char {
    uint32_t cp;
    uint8_t combining_class; /* 0: a starter. Always 0 unless strip_accents is set */
    enum bert_class class;
};

enum { BERT_EXPANSION_MAX = 8 };

/* What becomes of one source character. */
struct bert_expansion {
    struct bert_char out[BERT_EXPANSION_MAX];
    unsigned n;   /* 0: dropped */
    bool alone;   /* a word by itself, whatever stands beside it */
    bool new_run; /* a starter was dropped: later marks are not ordered before it */
};

/** cp must be a scalar value. */
void bert_expand(const struct bert_options *o, uint32_t cp, struct bert_expansion *ret);
/** White_Space of Unicode. */
bool bert_is_space(uint32_t cp);
/** ASCII's punctuation and symbols, and Unicode's categories P*. */
bool bert_is_punctuation(uint32_t cp);
/** Canonical combining class; 0: a starter. */
uint8_t bert_combining_class(uint32_t cp);
