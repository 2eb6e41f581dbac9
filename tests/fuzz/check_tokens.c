#include "tests/fuzz/check_tokens.h"

#include "core/text/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_span(struct str text, struct token_span span)
{
    FUZZ_CHECK(span.begin <= span.end && span.end <= text.n);
    FUZZ_CHECK(span.begin == text.n || ((unsigned char)text.p[span.begin] & 0xC0) != 0x80);
    FUZZ_CHECK(span.end == text.n || ((unsigned char)text.p[span.end] & 0xC0) != 0x80);
}

/* lead, trail: numbers of special tokens, which have empty spans. */
static void check_one(const struct tokenizer *t, struct str text, const struct token_ids *ids,
    size_t lead, size_t trail)
{
    struct token_span before = { 0, 0 };
    FUZZ_CHECK(ids->n <= ids->cap);
    for (size_t i = 0; i < ids->n; i++) {
        struct token_span span = ids->spans[i];
        FUZZ_CHECK(ids->ids[i] < tokenizer_vocab_size(t));
        if (i < lead || i + trail >= ids->n) continue;
        check_span(text, span);
        FUZZ_CHECK(span.begin >= before.begin && span.end >= before.end);
        before = span;
    }
}

static void encode(const struct tokenizer *t, struct str text, size_t max_tokens,
    struct tokenizer_scratch *s, struct token_ids *out)
{
    struct err e = ERR_INIT;
    FUZZ_CHECK(tokenizer_encode(t, text, max_tokens, s, out, &e) == ERR_OK);
    FUZZ_CHECK(max_tokens == 0 || out->n <= max_tokens);
    FUZZ_CHECK(max_tokens != 0 || !out->truncated);
}

/* n ids of a from a_at on, and of b from b_at on. */
static bool same_ids(
    const struct token_ids *a, size_t a_at, const struct token_ids *b, size_t b_at, size_t n)
{
    return n == 0 || memcmp(a->ids + a_at, b->ids + b_at, n * sizeof *a->ids) == 0;
}

/* Is `cut` what `whole` becomes when it may have max_tokens, where `lead` of the special tokens stand before
 * the text? */
static bool is_cut(const struct token_ids *cut, const struct token_ids *whole, size_t specials,
    size_t lead, size_t max_tokens)
{
    size_t n_text = whole->n - specials, trail = specials - lead;
    size_t room = max_tokens > specials ? max_tokens - specials : 0;
    if (cut->truncated != (n_text > room)) return false;
    if (max_tokens < specials) return cut->n == max_tokens;
    size_t kept = n_text < room ? n_text : room;
    return cut->n == kept + specials && same_ids(cut, 0, whole, 0, lead + kept) &&
        same_ids(cut, lead + kept, whole, whole->n - trail, trail);
}

static void check_valid(const struct tokenizer *t, struct str text, size_t max_tokens)
{
    struct tokenizer_scratch *used = tokenizer_scratch_new(), *fresh = tokenizer_scratch_new();
    struct token_ids empty = { .want_spans = true },
                     bare = { .want_spans = true, .no_specials = true };
    struct token_ids whole = { .want_spans = true }, cut = { .want_spans = true }, quick = { 0 };
    FUZZ_CHECK(used && fresh);
    encode(t, STR(""), 0, used, &empty);
    encode(t, text, 0, used, &bare);
    encode(t, text, 0, used, &whole);
    size_t specials = empty.n;
    FUZZ_CHECK(whole.n == bare.n + specials);
    check_one(t, text, &bare, 0, 0);
    check_one(t, text, &whole, specials, specials);

    /* Without spans, and with a scratch that has seen nothing. */
    encode(t, text, 0, fresh, &quick);
    FUZZ_CHECK(quick.n == whole.n && same_ids(&quick, 0, &whole, 0, whole.n));
    if (max_tokens) {
        encode(t, text, max_tokens, used, &cut);
        encode(t, text, max_tokens, used, &quick);
        FUZZ_CHECK(quick.n == cut.n && same_ids(&quick, 0, &cut, 0, cut.n));
        /* How many of the special tokens come first is not known: it must fit for one number. */
        bool fits = false;
        for (size_t lead = 0; lead <= specials && !fits; lead++)
            fits = same_ids(&whole, lead, &bare, 0, bare.n) &&
                is_cut(&cut, &whole, specials, lead, max_tokens);
        FUZZ_CHECK(fits);
        cut.no_specials = true;
        encode(t, text, max_tokens, used, &cut);
        FUZZ_CHECK(is_cut(&cut, &bare, 0, 0, max_tokens));
        check_one(t, text, &cut, 0, 0);
    }
    token_ids_done(&empty);
    token_ids_done(&bare);
    token_ids_done(&whole);
    token_ids_done(&cut);
    token_ids_done(&quick);
    tokenizer_scratch_free(used);
    tokenizer_scratch_free(fresh);
}

void check_tokens(const struct tokenizer *t, struct str text, size_t max_tokens)
{
    size_t bad = 0;
    if (utf8_valid(text, &bad)) {
        check_valid(t, text, max_tokens);
        return;
    }
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    struct token_ids ids = { 0 };
    FUZZ_CHECK(s && bad < text.n && utf8_valid((struct str){ text.p, bad }, NULL));
    FUZZ_CHECK(tokenizer_encode(t, text, max_tokens, s, &ids, NULL) == ERR_INVALID);
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
}
