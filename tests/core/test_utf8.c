#include "core/text/utf8.h"

#include "tests/support/test.h"

START_TEST(round_trip_of_every_scalar_value)
{
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp < 0xE000) continue;
        char bytes[4];
        uint32_t back;
        unsigned n = utf8_encode(cp, bytes);
        if (!utf8_valid((struct str){ bytes, n }, NULL) ||
            utf8_decode(bytes, bytes + n, &back) != n || back != cp)
            ck_abort_msg("U+%04X does not come back", cp);
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t n, bad_at;
} BAD[] = {
    { "\x80", 1, 0 },
    { "\xC0\x80", 2, 0 },         /* overlong NUL */
    { "\xC1\xBF", 2, 0 },         /* overlong */
    { "a\xC3", 2, 1 },            /* cut */
    { "\xC3(", 2, 0 },            /* no continuation */
    { "\xE0\x9F\xBF", 3, 0 },     /* overlong */
    { "\xED\xA0\x80", 3, 0 },     /* surrogate */
    { "\xE2\x82", 2, 0 },         /* cut */
    { "\xE2\x82\x28", 3, 0 },     /* no continuation */
    { "\xF0\x8F\xBF\xBF", 4, 0 }, /* overlong */
    { "\xF4\x90\x80\x80", 4, 0 }, /* above U+10FFFF */
    { "\xF5\x80\x80\x80", 4, 0 },
    { "\xFF", 1, 0 },
    { "0123456789abcdef0123456789abcdef\xFE", 33, 32 },
    { "0123456789abcde\xC3\xA9xyz\xC3", 21, 20 },
};

START_TEST(bad_sequences_are_found_where_they_are)
{
    size_t at = 99;
    ck_assert(!utf8_valid((struct str){ BAD[_i].bytes, BAD[_i].n }, &at));
    ck_assert_uint_eq(at, BAD[_i].bad_at);
}
END_TEST

START_TEST(empty_and_nul_are_valid)
{
    ck_assert(utf8_valid((struct str){ NULL, 0 }, NULL));
    ck_assert(utf8_valid((struct str){ "a\0b", 3 }, NULL));
}
END_TEST

TEST_SUITE(utf8)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, round_trip_of_every_scalar_value);
    tcase_add_loop_test(tc, bad_sequences_are_found_where_they_are, 0, sizeof BAD / sizeof *BAD);
    tcase_add_test(tc, empty_and_nul_are_valid);
    suite_add_tcase(s, tc);
}
