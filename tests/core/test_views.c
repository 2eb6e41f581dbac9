#include "core/learn/views.h"

#include "core/text/utf8.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

enum { DRAWS = 400, WORDS_MAX = 64 };

static struct arena *arena;
static struct rng rng;

static void setup(void)
{
    arena = arena_new(1 << 16, 0);
    rng_init(&rng, 7);
}

static void teardown(void)
{
    arena_free(arena);
}

struct views {
    const char *anchor, *positive;
};

/* Views as C strings, always valid and with words in them; anchor NULL if none were drawn. */
static struct views draw(const char *text)
{
    struct err e = ERR_INIT;
    struct str l, r;
    bool drawn;
    ck_assert_ok(views_draw(str_from(text), &rng, arena, &l, &r, &drawn, &e), &e);
    if (!drawn) return (struct views){ NULL, NULL };
    ck_assert(l.n > 0 && r.n > 0);
    ck_assert(utf8_valid(l, NULL) && utf8_valid(r, NULL));
    return (struct views){ arena_strndup(arena, l.p, l.n), arena_strndup(arena, r.p, r.n) };
}

static size_t count_words(const char *text)
{
    size_t n = *text != '\0';
    for (; *text; text++)
        n += *text == ' ';
    return n;
}

START_TEST(a_sentence_and_the_text_without_it)
{
    static const char *const anchors[] = { "One went to market.", "\"Two stayed at home!\"",
        "Three had roast beef?" };
    static const char *const rests[] = { "\"Two stayed at home!\" Three had roast beef? No more",
        "One went to market. Three had roast beef? No more",
        "One went to market. \"Two stayed at home!\" No more" };
    const char *all = "One went to market. \"Two stayed at home!\" Three had roast beef? No more";
    size_t drawn[3] = { 0 }, kept = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct views v = draw("One  went to market. \"Two stayed at home!\"\nThree had roast beef? "
                              "No more");
        size_t k = 0;
        while (k < 3 && strcmp(v.anchor, anchors[k]) != 0)
            k++;
        ck_assert_msg(k < 3, "%s", v.anchor);
        drawn[k]++;
        if (strcmp(v.positive, all) == 0)
            kept++;
        else
            ck_assert_str_eq(v.positive, rests[k]);
    }
    for (size_t k = 0; k < 3; k++)
        ck_assert(drawn[k] > DRAWS / 5);
    ck_assert(kept > DRAWS / 40 && kept < DRAWS / 5);
}
END_TEST

START_TEST(an_abbreviation_or_a_number_ends_no_sentence)
{
    struct views v = draw("Bread, e.g. rye or 3.5 pounds of wheat.");
    ck_assert_uint_eq(count_words(v.anchor) + count_words(v.positive), 8);
}
END_TEST

START_TEST(a_quote_that_opens_a_line_stays_with_its_word)
{
    for (int i = 0; i < 20; i++) {
        struct views v = draw("one two three\n\"four five six\" (seven)");
        if (strcmp(v.anchor, "one two three") != 0)
            ck_assert_str_eq(v.anchor, "\"four five six\" (seven)");
    }
}
END_TEST

START_TEST(ideographs_are_words)
{
    /* Two sentences of four characters each. */
    size_t first = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct views v = draw("我喜欢猫。「他喜欢狗。」");
        if (strcmp(v.anchor, "我喜欢猫。") == 0) {
            first++;
            ck_assert(strcmp(v.positive, "「他喜欢狗。」") == 0 || strlen(v.positive) > 30);
        } else {
            ck_assert_str_eq(v.anchor, "「他喜欢狗。」");
        }
    }
    ck_assert(first > DRAWS / 4 && first < DRAWS * 3 / 4);
    ck_assert_ptr_nonnull(draw("我喜欢").anchor);
    ck_assert_ptr_null(draw("喜欢").anchor);
    ck_assert_ptr_null(draw("喜欢。").anchor);
}
END_TEST

START_TEST(two_runs_of_words)
{
    size_t shortest = 99, longest = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct views v = draw("a b c d\te  f g h i j");
        size_t n = count_words(v.anchor);
        char both[64];
        ck_assert_uint_eq(n + count_words(v.positive), 10);
        if (n < shortest) shortest = n;
        if (n > longest) longest = n;
        bool first = v.anchor[0] == 'a';
        (void)snprintf(both, sizeof both, "%s %s", first ? v.anchor : v.positive,
            first ? v.positive : v.anchor);
        ck_assert_str_eq(both, "a b c d e f g h i j");
    }
    ck_assert_uint_eq(shortest, 3);
    ck_assert_uint_eq(longest, 7);
}
END_TEST

START_TEST(deletions_differ_and_keep_the_order)
{
    size_t words = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct views v = draw("a b c d e f");
        ck_assert_str_ne(v.anchor, v.positive);
        for (const char *p = v.anchor; p[0] && p[1]; p += 2)
            ck_assert(!p[2] || p[2] > p[0]);
        words += count_words(v.anchor) + count_words(v.positive);
    }
    double share = 1 - (double)words / (2 * 6 * DRAWS);
    ck_assert_msg(share > 0.25 && share < 0.33, "%f of the words were deleted", share);
}
END_TEST

START_TEST(too_short_or_no_text)
{
    static const char *const none[] = { "", " ", "one", "one two", "\n\t one \n two ", "\xFF a b c",
        "a b\xC3" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_ptr_null(draw(none[i]).anchor);
    ck_assert_ptr_nonnull(draw("a b c").anchor);
    /* Sentences too short to ask with. */
    ck_assert_ptr_nonnull(draw("No. Yes. No. Yes. No. Yes. No. Yes. No.").anchor);
    /* One that would leave too little. */
    ck_assert_ptr_nonnull(draw("One two three four five. Six.").anchor);
}
END_TEST

START_TEST(equal_seeds_give_equal_views)
{
    for (int i = 0; i < 20; i++) {
        struct rng before = rng;
        struct views a = draw("Red fish or blue fish. Old fish, or new fish. One is near.");
        rng = before;
        struct views b = draw("Red fish or blue fish. Old fish, or new fish. One is near.");
        ck_assert_str_eq(a.anchor, b.anchor);
        ck_assert_str_eq(a.positive, b.positive);
    }
}
END_TEST

/* Any bytes: nothing is read outside, and views are made of the text's words only. */
START_TEST(random_texts)
{
    static const char *const parts[] = { "a", "Bb", ".", "!", " ", " ", "\n", "\xC3\xA9",
        "\xE3\x80\x82", "\xE7\x8C\xAB", "\"", ")", "\xE2\x80\xA6", "\xF0\x9F\x90\x9F", "\x01",
        "\xC2\xA0" };
    for (int i = 0; i < 5000; i++) {
        char text[WORDS_MAX * 4 + 1] = "";
        size_t n = rng_below(&rng, WORDS_MAX);
        for (size_t k = 0; k < n; k++)
            (void)strcat(text, parts[rng_below(&rng, sizeof parts / sizeof *parts)]);
        struct views v = draw(text);
        if (v.anchor) {
            ck_assert_ptr_null(strstr(v.anchor, "  "));
            ck_assert_uint_le(strlen(v.anchor), strlen(text));
            ck_assert_uint_le(strlen(v.positive), strlen(text));
        }
        arena_clear(arena);
    }
}
END_TEST

static enum err_code draw_once(void *arg)
{
    struct str l, r;
    bool drawn;
    struct arena *a = arena_new(16, 0);
    struct rng own;
    rng_init(&own, 1);
    enum err_code code =
        a ? views_draw(*(struct str *)arg, &own, a, &l, &r, &drawn, NULL) : ERR_NOMEM;
    arena_free(a);
    return code;
}

START_TEST(out_of_memory)
{
    struct str text = STR("One went to market. Two stayed at home. Three had roast beef.");
    oom_loop(draw_once, &text);
}
END_TEST

TEST_SUITE(views)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_sentence_and_the_text_without_it);
    tcase_add_test(tc, an_abbreviation_or_a_number_ends_no_sentence);
    tcase_add_test(tc, a_quote_that_opens_a_line_stays_with_its_word);
    tcase_add_test(tc, ideographs_are_words);
    tcase_add_test(tc, two_runs_of_words);
    tcase_add_test(tc, deletions_differ_and_keep_the_order);
    tcase_add_test(tc, too_short_or_no_text);
    tcase_add_test(tc, equal_seeds_give_equal_views);
    tcase_add_test(tc, random_texts);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
