#include "core/text/fold.h"

#include "core/text/utf8.h"
#include "tests/support/test.h"

static const struct {
    const char *text, *want;
} CASES[] = {
    { "", "" },
    { " \t\n", "" },
    { "?!\xE2\x80\xA6 -- \xF0\x9F\x90\x9F", "" },
    { "abc", "abc" },
    { "  Hello,  WORLD!\r\n", "hello world" },
    { "it's 3.5", "it s 3 5" },
    { "Caf\xC3\xA9", "cafe" },
    { "Cafe\xCC\x81", "cafe" },
    { "\xC3\x89T\xC3\x89", "ete" },
    { "Stra\xC3\x9F"
      "e",
        "strasse" },
    { "\xEF\xAC\x81ne", "fine" },                               /* ligature */
    { "\xEF\xBC\xA1\xEF\xBC\x91", "a1" },                       /* full width */
    { "\xD0\x9C\xD0\xB8\xD1\x80", "\xD0\xBC\xD0\xB8\xD1\x80" }, /* Cyrillic */
    { "\xE6\x88\x91\xE3\x80\x82\xE7\x8C\xAB", "\xE6\x88\x91 \xE7\x8C\xAB" },
    { "\xE0\xA4\x95\xE0\xA4\xBF", "\xE0\xA4\x95\xE0\xA4\xBF" }, /* a vowel sign is no accent */
    { "a\xFF"
      "b",
        "a b" },
    { "\xC3", "" },
    { "a\xC3\xA9\xC3", "ae" },
};

START_TEST(known_answers)
{
    struct buf b = BUF_INIT(0);
    struct err e = ERR_INIT;
    ck_assert_ok(buf_puts(&b, "x"));
    ck_assert_ok(text_fold(str_from(CASES[_i].text), &b, &e), &e);
    ck_assert_str_eq(b.p + 1, CASES[_i].want);
    ck_assert(utf8_valid(buf_str(&b), NULL));
    buf_done(&b);
}
END_TEST

START_TEST(folding_again_changes_nothing)
{
    struct buf once = BUF_INIT(0), twice = BUF_INIT(0);
    struct err e = ERR_INIT;
    for (uint32_t cp = 1; cp < 0x110000; cp++) {
        char text[6] = { 'A' };
        if (cp >= 0xD800 && cp < 0xE000) continue;
        size_t n = 1 + utf8_encode(cp, text + 1);
        text[n++] = 'B';
        buf_clear(&once);
        buf_clear(&twice);
        ck_assert_ok(text_fold((struct str){ text, n }, &once, &e), &e);
        ck_assert_ok(text_fold(buf_str(&once), &twice, &e), &e);
        if (!str_eq(buf_str(&once), buf_str(&twice)))
            ck_abort_msg("U+%04X: \"%s\" becomes \"%s\"", cp, once.p, twice.p);
        ck_assert(once.n >= 2 && once.p[0] == 'a' && once.p[once.n - 1] == 'b');
    }
    buf_done(&once);
    buf_done(&twice);
}
END_TEST

START_TEST(a_full_buffer_is_an_error)
{
    struct buf b = BUF_INIT(4);
    ck_assert_err(text_fold(STR("five words are too many"), &b, NULL), ERR_LIMIT);
    buf_done(&b);
}
END_TEST

TEST_SUITE(fold)
{
    TCase *tc = tcase_create("core");
    tcase_add_loop_test(tc, known_answers, 0, sizeof CASES / sizeof *CASES);
    tcase_add_test(tc, folding_again_changes_nothing);
    tcase_add_test(tc, a_full_buffer_is_an_error);
    suite_add_tcase(s, tc);
}
