/* The course of one encode: check the UTF-8, cut the text at added tokens, give
 * what lies between to tokenizer_words.c, put the model's special tokens around.
 *
 * A text is given up as soon as it has more tokens than asked for, so that the
 * cost of a long text is bounded by max_tokens, the UTF-8 check apart.
 */
#include "core/text/tokenizer_internal.h"

#include "base/mem.h"
#include "core/text/utf8.h"

#include <string.h>

void token_ids_done(struct token_ids *t)
{
    mem_free(t->ids);
    mem_free(t->spans);
    *t = (struct token_ids){ 0 };
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) return;
    wordpiece_done(&t->wp);
    added_tokens_done(&t->added);
    mem_free(t->bytes);
    mem_free(t->offsets);
    mem_free(t);
}

struct tokenizer_scratch *tokenizer_scratch_new(void)
{
    return mem_zalloc(1, sizeof(struct tokenizer_scratch));
}

void tokenizer_scratch_free(struct tokenizer_scratch *s)
{
    if (!s) return;
    mem_free(s->word);
    mem_free(s->begin);
    mem_free(s->end);
    mem_free(s->ends);
    mem_free(s);
}

static enum err_code scratch_grow(struct tokenizer_scratch *s, size_t cap, struct err *e)
{
    if (s->cap >= cap) return ERR_OK;
    char *word = mem_realloc(s->word, cap + WORDPIECE_PAD_BYTES, 1);
    if (word) s->word = word;
    uint32_t *begin = mem_realloc(s->begin, cap, sizeof *begin);
    if (begin) s->begin = begin;
    uint32_t *end = mem_realloc(s->end, cap, sizeof *end);
    if (end) s->end = end;
    uint32_t *ends = mem_realloc(s->ends, cap, sizeof *ends);
    if (ends) s->ends = ends;
    if (!word || !begin || !end || !ends) return err_set(e, ERR_NOMEM, "no memory to tokenise");
    memset(s->word, 0, cap + WORDPIECE_PAD_BYTES);
    s->cap = cap;
    return ERR_OK;
}

size_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->n_pieces;
}

struct str tokenizer_piece(const struct tokenizer *t, uint32_t id)
{
    if (id >= t->n_pieces) return (struct str){ "", 0 };
    return (struct str){ t->bytes + t->offsets[id], t->offsets[id + 1] - t->offsets[id] };
}

bool tokenizer_id(const struct tokenizer *t, struct str piece, uint32_t *ret_id)
{
    const struct added_token *a = added_tokens_find(&t->added, piece);
    if (a) {
        *ret_id = a->id;
        return true;
    }
    return wordpiece_find(&t->wp, piece, ret_id);
}

enum err_code tokenizer__reserve(struct token_ids *out, size_t n, struct err *e)
{
    size_t need;
    if (!mem_add(out->n, n, &need)) return err_set(e, ERR_NOMEM, "too many tokens");
    if (need > out->cap) {
        size_t cap = out->cap + out->cap / 2;
        if (cap < need) cap = need;
        if (cap < 64) cap = 64;
        uint32_t *ids = mem_realloc(out->ids, cap, sizeof *ids);
        if (!ids) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", cap);
        out->ids = ids;
        if (out->spans) {
            struct token_span *spans = mem_realloc(out->spans, cap, sizeof *spans);
            if (!spans) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", cap);
            out->spans = spans;
        }
        out->cap = cap;
    }
    if (out->want_spans && !out->spans) {
        out->spans = mem_alloc(out->cap ? out->cap : 1, sizeof *out->spans);
        if (!out->spans) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", out->cap);
    }
    return ERR_OK;
}

static enum err_code put_token(
    struct token_ids *out, uint32_t id, size_t begin, size_t end, struct err *e)
{
    TRY(tokenizer__reserve(out, 1, e));
    if (out->want_spans) out->spans[out->n] = (struct token_span){ (uint32_t)begin, (uint32_t)end };
    out->ids[out->n++] = id;
    return ERR_OK;
}

/* White space before `at`, down to `from`, or after it. */
static size_t strip_left(struct str text, size_t from, size_t at)
{
    while (at > from) {
        size_t prev = at - 1;
        while (prev > from && ((unsigned char)text.p[prev] & 0xC0) == 0x80)
            prev--;
        uint32_t cp;
        utf8_decode(text.p + prev, text.p + at, &cp);
        if (!bert_is_space(cp)) break;
        at = prev;
    }
    return at;
}

static size_t strip_right(struct str text, size_t at)
{
    while (at < text.n) {
        uint32_t cp;
        unsigned len = utf8_decode(text.p + at, text.p + text.n, &cp);
        if (!bert_is_space(cp)) break;
        at += len;
    }
    return at;
}

static enum err_code encode_text(struct tokenizer_run *r, struct err *e)
{
    size_t done = 0, search = 0; /* what is encoded; where the next added token may begin */
    while (done < r->text.n && r->out->n <= r->limit) {
        size_t at = r->text.n;
        const struct added_token *a = added_tokens_next(&r->t->added, r->text, search, &at);
        if (!a) return tokenizer__words(r, done, r->text.n, e);
        search = at + a->len;
        size_t begin = a->lstrip && at > done ? strip_left(r->text, done, at) : at;
        size_t end = a->rstrip ? strip_right(r->text, search) : search;
        if (begin < done) begin = done; /* it began in white space that the one before took */
        TRY(tokenizer__words(r, done, begin, e));
        if (r->out->n <= r->limit) TRY(put_token(r->out, a->id, begin, end, e));
        done = end;
    }
    return ERR_OK;
}

enum err_code tokenizer_encode(const struct tokenizer *t, struct str text, size_t max_tokens,
    struct tokenizer_scratch *s, struct token_ids *out, struct err *e)
{
    size_t bad;
    if (!utf8_valid(text, &bad))
        return err_set(e, ERR_INVALID, "the text is not valid UTF-8: byte %zu", bad);
    if (text.n > UINT32_MAX) return err_set(e, ERR_INVALID, "the text has more than 4 GiB");
    TRY(scratch_grow(s, (t->wp.max_chars + 1) * 4, e));

    size_t n_lead = out->no_specials ? 0 : t->n_lead;
    size_t n_trail = out->no_specials ? 0 : t->n_trail;
    size_t room = SIZE_MAX;
    if (max_tokens) room = max_tokens > n_lead + n_trail ? max_tokens - n_lead - n_trail : 0;
    out->n = 0;
    out->truncated = false;
    for (size_t i = 0; i < n_lead; i++)
        TRY(put_token(out, t->lead[i], 0, 0, e));
    struct tokenizer_run r = { t, s, out, text, room == SIZE_MAX ? SIZE_MAX - 1 : n_lead + room };
    TRY(encode_text(&r, e));
    if (out->n > r.limit) {
        out->n = r.limit;
        out->truncated = true;
    }
    for (size_t i = 0; i < n_trail; i++)
        TRY(put_token(out, t->trail[i], 0, 0, e));
    if (max_tokens && out->n > max_tokens) out->n = max_tokens;
    return ERR_OK;
}
