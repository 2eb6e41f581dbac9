/* Text to words, words to pieces: the hot loop of the encoder.
 *
 * Two ways through a text:
 *
 *   fast     A run of ASCII letters and digits that ends at white space or
 *            punctuation is a word, and its lower-case form has the same bytes
 *            but for bit 5. Sixteen bytes are loaded, classified and lowered as
 *            two integers (no loop over bytes, no table, no store), which are
 *            also the key of the vocabulary. Most words end here, as one piece.
 *   general  Anything else (a byte above 0x7F, a control character to be dropped)
 *            is normalised character by character into the scratch's word, up to
 *            the next ASCII white space, where the fast way takes over. Nothing
 *            that normalisation does reaches across that: a space is a starter.
 *
 * A word longer than the model allows is not stored, only counted.
 */
#include "core/text/tokenizer_internal.h"

#include "core/text/utf8.h"

#include <string.h>

static const uint64_t ONES = UINT64_C(0x0101010101010101);
static const uint64_t HIGHS = UINT64_C(0x8080808080808080);

enum { LOAD_BYTES = 16 };

static void store_u64(char *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof v);
}

/* The high bit of each byte: is it an ASCII letter? */
static uint64_t letters(uint64_t x)
{
    uint64_t y = (x & ~HIGHS) | 0x20 * ONES;
    return (y + (0x80 - 'a') * ONES) & ~(y + (0x80 - 'z' - 1) * ONES) & ~x & HIGHS;
}

static uint64_t digits(uint64_t x)
{
    uint64_t y = x & ~HIGHS;
    return (y + (0x80 - '0') * ONES) & ~(y + (0x80 - '9' - 1) * ONES) & ~x & HIGHS;
}

/* ---- one word of the general way ---- */

struct builder {
    struct tokenizer_run *r;
    size_t n, chars;  /* in r->s->word: bytes, characters; chars counts on where storing stopped */
    size_t run_start; /* marks are put in order from here on */
    size_t last;      /* where the last character ends in the text */
};

/* Pieces of the word in r->s->word. begin, last: its place in the text; plain: byte i of the word
 * is byte begin + i of the text. */
static enum err_code put_word(struct tokenizer_run *r, size_t n, size_t chars, size_t begin,
    bool plain, size_t last, struct err *e)
{
    struct token_ids *out = r->out;
    struct tokenizer_scratch *s = r->s;
    TRY(tokenizer__reserve(out, n, e));
    size_t k = wordpiece_split(&r->t->wp, s->word, n, chars, out->ids + out->n, s->ends);
    if (out->want_spans) {
        for (size_t i = 0, from = 0; i < k; from = s->ends[i++]) {
            struct token_span *span = &out->spans[out->n + i];
            size_t to = s->ends[i];
            span->begin = plain ? (uint32_t)(begin + from) : s->begin[from];
            span->end = plain ? (uint32_t)(begin + to) : s->end[to - 1];
        }
        if (chars > r->t->wp.max_chars) out->spans[out->n].end = (uint32_t)last;
    }
    out->n += k;
    return ERR_OK;
}

static enum err_code flush(struct builder *b, struct err *e)
{
    if (b->n > 0) TRY(put_word(b->r, b->n, b->chars, 0, false, b->last, e));
    b->n = b->chars = b->run_start = 0;
    return ERR_OK;
}

/* Where a mark of class `ccc` belongs among the marks since run_start. */
static size_t mark_place(const struct builder *b, uint8_t ccc)
{
    const char *word = b->r->s->word;
    size_t at = b->n;
    while (at > b->run_start) {
        size_t prev = at - 1;
        while (prev > b->run_start && ((unsigned char)word[prev] & 0xC0) == 0x80)
            prev--;
        uint32_t cp;
        utf8_decode(word + prev, word + at, &cp);
        if (bert_combining_class(cp) <= ccc) break;
        at = prev;
    }
    return at;
}

static void append(struct builder *b, const struct bert_char *c, size_t begin, size_t end)
{
    struct tokenizer_scratch *s = b->r->s;
    b->last = end;
    if (b->chars++ > b->r->t->wp.max_chars) return;
    char bytes[4];
    unsigned len = utf8_encode(c->cp, bytes);
    size_t at = c->combining_class ? mark_place(b, c->combining_class) : b->n;
    memmove(s->word + at + len, s->word + at, b->n - at);
    memcpy(s->word + at, bytes, len);
    /* Places stay where they are when marks change theirs, so that spans never run backwards. */
    for (size_t i = b->n; i < b->n + len; i++) {
        s->begin[i] = (uint32_t)begin;
        s->end[i] = (uint32_t)end;
    }
    b->n += len;
    if (c->combining_class == 0) b->run_start = b->n;
}

/* What a character does, ASCII without a look into the Unicode tables. */
static void expand(const struct tokenizer *t, uint32_t cp, struct bert_expansion *ret)
{
    enum byte_class class = cp < 0x80 ? t->byte_class[cp] : BYTE_HIGH;
    if (class == BYTE_HIGH) {
        bert_expand(&t->norm, cp, ret);
        return;
    }
    *ret = (struct bert_expansion){ .n = class != BYTE_DROPPED };
    bool upper = cp >= 'A' && cp <= 'Z' && t->norm.lowercase;
    ret->out[0] = (struct bert_char){ upper ? cp + 32 : cp, 0,
        class == BYTE_PUNCTUATION ? BERT_PUNCTUATION : BERT_LETTER };
}

/* From `at` on, up to and with the next ASCII white space; its end in ret_at. */
static enum err_code words_general(
    struct tokenizer_run *r, size_t at, size_t end, size_t *ret_at, struct err *e)
{
    struct builder b = { .r = r };
    while (at < end && r->out->n <= r->limit) {
        uint32_t cp;
        size_t next = at + utf8_decode(r->text.p + at, r->text.p + end, &cp);
        if (cp < 0x80 && r->t->byte_class[cp] == BYTE_SPACE) {
            at = next;
            break;
        }
        struct bert_expansion x;
        expand(r->t, cp, &x);
        if (x.alone) TRY(flush(&b, e));
        for (unsigned i = 0; i < x.n; i++) {
            bool single = x.out[i].class != BERT_LETTER;
            if (single) TRY(flush(&b, e));
            if (x.out[i].class != BERT_SPACE) append(&b, &x.out[i], at, next);
            if (single) TRY(flush(&b, e));
        }
        if (x.new_run) b.run_start = b.n;
        if (x.alone) TRY(flush(&b, e));
        at = next;
    }
    *ret_at = at;
    return flush(&b, e);
}

/* ---- the fast way ---- */

static void put_one(struct tokenizer_run *r, uint32_t id, size_t begin, size_t end)
{
    struct token_ids *out = r->out;
    if (out->want_spans) out->spans[out->n] = (struct token_span){ (uint32_t)begin, (uint32_t)end };
    out->ids[out->n++] = id;
}

/* A run of more than LOAD_BYTES letters and digits beginning at `at`; the length of the run. */
static size_t long_run(const struct tokenizer_run *r, size_t at, size_t end)
{
    size_t i = at + LOAD_BYTES;
    while (i + 8 <= end &&
        ((letters(wordpiece_load(r->text.p + i)) | digits(wordpiece_load(r->text.p + i))) == HIGHS))
        i += 8;
    for (; i < end; i++) {
        unsigned char c = (unsigned char)r->text.p[i], low = c | 0x20;
        if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9'))) break;
    }
    return i - at;
}

static enum err_code put_long(struct tokenizer_run *r, size_t at, size_t n, struct err *e)
{
    size_t stored = n <= r->t->wp.max_chars ? n : 1; /* unknown whatever it is */
    for (size_t i = 0; i < stored; i++) {
        char c = r->text.p[at + i];
        r->s->word[i] = c >= 'A' && c <= 'Z' && r->t->norm.lowercase ? (char)(c + 32) : c;
    }
    return put_word(r, stored, n, at, true, at + n, e);
}

/* The word of letters and digits at `at`, or, if it goes on with something else, all up to the next
 * white space. */
static enum err_code word_fast(
    struct tokenizer_run *r, size_t at, size_t end, size_t *ret_at, struct err *e)
{
    const struct tokenizer *t = r->t;
    const char *p = r->text.p + at;
    char padded[LOAD_BYTES] = { 0 };
    if (r->text.n - at < LOAD_BYTES) {
        memcpy(padded, p, r->text.n - at);
        p = padded;
    }
    uint64_t x0 = wordpiece_load(p), x1 = wordpiece_load(p + 8);
    uint64_t l0 = letters(x0), l1 = letters(x1);
    uint64_t stop0 = (l0 | digits(x0)) ^ HIGHS, stop1 = (l1 | digits(x1)) ^ HIGHS;
    size_t n = LOAD_BYTES;
    if (stop0)
        n = (size_t)__builtin_ctzll(stop0) / 8;
    else if (stop1)
        n = 8 + (size_t)__builtin_ctzll(stop1) / 8;
    else if (end - at > LOAD_BYTES)
        n = long_run(r, at, end);
    if (n > end - at) n = end - at;
    if (at + n < end) {
        enum byte_class next = t->byte_class[(unsigned char)r->text.p[at + n]];
        if (next != BYTE_SPACE && next != BYTE_PUNCTUATION)
            return words_general(r, at, end, ret_at, e);
    }
    *ret_at = at + n;
    if (n > LOAD_BYTES) return put_long(r, at, n, e);

    if (t->norm.lowercase) {
        x0 |= l0 >> 2; /* 0x80 >> 2 is the bit between upper and lower case */
        x1 |= l1 >> 2;
    }
    x1 = n > 8 ? wordpiece_keep(x1, n - 8) : 0;
    x0 = wordpiece_keep(x0, n);
    uint32_t id;
    if (n <= WORDPIECE_SHORT_BYTES && n <= t->wp.max_chars &&
        wordpiece_find_short(&t->wp.head, x0, (uint32_t)x1, n, &id)) {
        put_one(r, id, at, at + n);
        return ERR_OK;
    }
    store_u64(r->s->word, x0);
    store_u64(r->s->word + 8, x1);
    return put_word(r, n, n, at, true, at + n, e);
}

enum err_code tokenizer__words(struct tokenizer_run *r, size_t begin, size_t end, struct err *e)
{
    const struct tokenizer *t = r->t;
    size_t at = begin;
    while (at < end && r->out->n <= r->limit) {
        unsigned char c = (unsigned char)r->text.p[at];
        uint32_t id = t->wp.unk_id;
        switch ((enum byte_class)t->byte_class[c]) {
        case BYTE_SPACE:
        case BYTE_DROPPED: at++; break;
        case BYTE_PUNCTUATION:
            if (r->out->n >= r->out->cap || r->out->want_spans)
                TRY(tokenizer__reserve(r->out, 1, e));
            wordpiece_find_short(&t->wp.head, c, 0, 1, &id);
            put_one(r, id, at, at + 1);
            at++;
            break;
        case BYTE_LETTER:
            if (r->out->n >= r->out->cap || r->out->want_spans)
                TRY(tokenizer__reserve(r->out, 1, e));
            TRY(word_fast(r, at, end, &at, e));
            break;
        case BYTE_HIGH: TRY(words_general(r, at, end, &at, e)); break;
        }
    }
    return ERR_OK;
}
