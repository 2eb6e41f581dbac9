/* The fast way through a text against the general one: a character that is
 * dropped (U+200B) forces a word through the general way and must change nothing
 * but the places.
 */
#include "core/text/tokenizer.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tokenizer *t;
static struct tokenizer_scratch *scratch;

static void set_up(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(tokenizer_load("tests/data/core/wordpiece", &t, &e), &e);
    scratch = tokenizer_scratch_new();
    ck_assert_ptr_nonnull(scratch);
}

static void tear_down(void)
{
    tokenizer_free(t);
    tokenizer_scratch_free(scratch);
}

/* A word of n letters and digits. */
static void random_word(struct rng *rng, char *ret, size_t n)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789eeeeaaat";
    for (size_t i = 0; i < n; i++)
        ret[i] = letters[rng_below(rng, sizeof letters - 1)];
    ret[n] = '\0';
}

START_TEST(fast_equals_general)
{
    struct rng rng;
    rng_init(&rng, 21);
    struct token_ids fast = { .want_spans = true }, general = { .want_spans = true };
    for (int round = 0; round < 15000; round++) {
        char word[160], text[200];
        size_t n = 1 + rng_below(&rng, round % 50 == 0 ? 130 : 36), cut = 1 + rng_below(&rng, n);
        random_word(&rng, word, n);
        ck_assert_ok(tokenizer_encode(t, str_from(word), 0, scratch, &fast, NULL));
        (void)snprintf(text, sizeof text, "%.*s\u200b%s", (int)cut, word, word + cut);
        ck_assert_ok(tokenizer_encode(t, str_from(text), 0, scratch, &general, NULL));
        bool same =
            fast.n == general.n && !memcmp(fast.ids, general.ids, fast.n * sizeof *fast.ids);
        for (size_t i = 0; i < fast.n && same; i++) {
            struct token_span f = fast.spans[i], g = general.spans[i];
            same = f.begin + (f.begin >= cut ? 3 : 0) == g.begin &&
                f.end + (f.end > cut ? 3 : 0) == g.end;
        }
        if (!same) ck_abort_msg("other tokens or spans of %s", text);
    }
    token_ids_done(&fast);
    token_ids_done(&general);
}
END_TEST

/* At the end of a block of exactly the text's size, so that a read beyond it is seen by ASan. */
START_TEST(nothing_is_read_beyond_the_text)
{
    struct rng rng;
    rng_init(&rng, 22);
    struct token_ids ids = { 0 };
    for (size_t n = 0; n < 70; n++) {
        char word[80];
        random_word(&rng, word, n);
        char *exact = malloc(n ? n : 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, word, n);
        ck_assert_ok(tokenizer_encode(t, (struct str){ exact, n }, 0, scratch, &ids, NULL));
        free(exact);
    }
    token_ids_done(&ids);
}
END_TEST

START_TEST(words_join_to_the_same_tokens_as_alone)
{
    struct rng rng;
    rng_init(&rng, 23);
    struct token_ids one = { .no_specials = true }, all = { .no_specials = true };
    for (int round = 0; round < 2000; round++) {
        char text[2048] = "", word[64];
        uint32_t want[1024];
        size_t n = 0, at = 0;
        for (int w = 0; w < 12; w++) {
            random_word(&rng, word, 1 + rng_below(&rng, 20));
            if (w % 5 == 4) memcpy(word + strlen(word), "\u00e9", 3);
            ck_assert_ok(tokenizer_encode(t, str_from(word), 0, scratch, &one, NULL));
            memcpy(want + n, one.ids, one.n * sizeof *want);
            n += one.n;
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", word, w % 3 ? " " : "\t\n");
        }
        ck_assert_ok(tokenizer_encode(t, str_from(text), 0, scratch, &all, NULL));
        ck_assert_uint_eq(all.n, n);
        ck_assert_mem_eq(all.ids, want, n * sizeof *want);
    }
    token_ids_done(&one);
    token_ids_done(&all);
}
END_TEST

TEST_SUITE(tokenizer_words)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, fast_equals_general);
    tcase_add_test(tc, nothing_is_read_beyond_the_text);
    tcase_add_test(tc, words_join_to_the_same_tokens_as_alone);
    suite_add_tcase(s, tc);
}
