/* Cursors come back as they went, and nothing else is taken for one. */
#include "server/cursor.h"

#include "tests/support/test.h"

#include <string.h>

START_TEST(comes_back)
{
    static const int64_t rows[] = { 0, 1, 255, 256, 123456789, INT64_C(1) << 40, INT64_MAX };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[CURSOR_TEXT_BYTES];
        int64_t got = -1;
        struct err e = ERR_INIT;
        cursor_write(rows[i], text);
        ck_assert_uint_eq(strlen(text), CURSOR_TEXT_BYTES - 1);
        ck_assert_uint_eq(
            strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
            CURSOR_TEXT_BYTES - 1);
        ck_assert_ok(cursor_read(str_from(text), &got, &e), &e);
        ck_assert_int_eq(got, rows[i]);
    }
}
END_TEST

START_TEST(others_are_refused)
{
    static const char *const rows[] = { "", "a", "AAAAAAAAAAAA", "AAAAAAAAAAAAA", "nonsense",
        "!!!!!!!!!!!!", "____________", "AAAA AAAAAAA" };
    struct err e = ERR_INIT;
    int64_t got = 7;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_err(cursor_read(str_from(rows[i]), &got, &e), ERR_INVALID);
        ck_assert_str_eq(e.field, "/cursor");
    }
    /* one character changed: nearly always refused, and never negative */
    char text[CURSOR_TEXT_BYTES];
    size_t taken = 0;
    cursor_write(4711, text);
    for (size_t i = 0; i + 1 < CURSOR_TEXT_BYTES; i++) {
        char other[CURSOR_TEXT_BYTES];
        memcpy(other, text, sizeof other);
        other[i] = other[i] == 'A' ? 'B' : 'A';
        if (cursor_read(str_from(other), &got, NULL) == ERR_OK) taken++;
        ck_assert_int_ge(got, 0);
    }
    ck_assert_uint_le(taken, 1);
}
END_TEST

TEST_SUITE(cursor)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, comes_back);
    tcase_add_test(tc, others_are_refused);
    suite_add_tcase(s, tc);
}
