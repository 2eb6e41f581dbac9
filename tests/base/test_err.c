#include "tests/support/test.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>

START_TEST(every_code_has_a_name)
{
#define X(name, text) ck_assert_str_eq(err_name(ERR_##name), text);
    ERR_MAP(X)
#undef X
    ck_assert_str_eq(err_name((enum err_code)999), "unknown");
}
END_TEST

START_TEST(set_fills_and_returns)
{
    struct err e = ERR_INIT;
    ck_assert_err(err_set(&e, ERR_CONFLICT, "name %s is taken by %d", "x", 7), ERR_CONFLICT);
    ck_assert_int_eq(e.code, ERR_CONFLICT);
    ck_assert_str_eq(e.msg, "name x is taken by 7");
    ck_assert_str_eq(e.field, "");
    ck_assert_err(err_set_field(&e, ERR_INVALID, "/filter/must/0", "no %s", "good"), ERR_INVALID);
    ck_assert_str_eq(e.field, "/filter/must/0");
    err_set(&e, ERR_IO, "later");
    ck_assert_str_eq(e.field, "");
}
END_TEST

START_TEST(null_is_allowed)
{
    ck_assert_err(err_set(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    ck_assert_err(err_set_field(NULL, ERR_LIMIT, "/a", "x"), ERR_LIMIT);
    ck_assert_err(err_errno(NULL, ERR_IO, ENOSPC, "x"), ERR_FULL);
    ck_assert_err(err_wrap(NULL, "x"), ERR_INTERNAL);
}
END_TEST

START_TEST(own_message_as_argument)
{
    struct err e = ERR_INIT;
    err_set_field(&e, ERR_IO, "/a/b", "inner");
    err_set_field(&e, ERR_CORRUPT, e.field, "outer (%s)", e.msg);
    ck_assert_str_eq(e.msg, "outer (inner)");
    ck_assert_str_eq(e.field, "/a/b");
}
END_TEST

START_TEST(long_text_is_cut_between_characters)
{
    struct err e = ERR_INIT;
    char text[3 * ERR_MSG_BYTES];
    /* Three bytes a character and every offset of the cut within one. */
    for (size_t lead = 0; lead < 3; lead++) {
        memset(text, 'a', lead);
        size_t n = lead;
        for (; n + 3 < sizeof text; n += 3)
            memcpy(text + n, "\xE2\x82\xAC", 3);
        text[n] = '\0';
        err_set_field(&e, ERR_INVALID, text, "%s", text);
        ck_assert_uint_lt(strlen(e.msg), sizeof e.msg);
        ck_assert_uint_gt(strlen(e.msg), sizeof e.msg - 5);
        ck_assert_uint_eq((strlen(e.msg) - lead) % 3, 0);
        ck_assert_uint_gt(strlen(e.field), sizeof e.field - 5);
        ck_assert_uint_eq((strlen(e.field) - lead) % 3, 0);
    }
}
END_TEST

START_TEST(errno_keeps_its_reason)
{
    struct err e = ERR_INIT;
    char path[2 * ERR_MSG_BYTES];
    ck_assert_err(err_errno(&e, ERR_IO, EACCES, "cannot open %s", "f"), ERR_IO);
    ck_assert_str_eq(e.msg, "cannot open f: Permission denied");
    ck_assert_err(err_errno(&e, ERR_IO, ENOSPC, "w"), ERR_FULL);
    ck_assert_err(err_errno(&e, ERR_IO, EDQUOT, "w"), ERR_FULL);
    ck_assert_err(err_errno(&e, ERR_IO, ENOMEM, "w"), ERR_NOMEM);
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    err_errno(&e, ERR_IO, EACCES, "%s", path);
    ck_assert_ptr_nonnull(strstr(e.msg, "ppp: Permission denied"));
}
END_TEST

START_TEST(wrap_puts_context_first)
{
    struct err e = ERR_INIT;
    err_set_field(&e, ERR_CORRUPT, "/x", "bad header");
    ck_assert_err(err_wrap(&e, "loading %s", "m"), ERR_CORRUPT);
    ck_assert_str_eq(e.msg, "loading m: bad header");
    ck_assert_str_eq(e.field, "/x");
    for (int i = 0; i < 100; i++)
        err_wrap(&e, "again and again");
    ck_assert_uint_lt(strlen(e.msg), sizeof e.msg);
}
END_TEST

static enum err_code tries(enum err_code inner)
{
    TRY(inner);
    return ERR_INTERNAL;
}

START_TEST(try_returns_errors_only)
{
    ck_assert_err(tries(ERR_BUSY), ERR_BUSY);
    ck_assert_err(tries(ERR_OK), ERR_INTERNAL);
}
END_TEST

START_TEST(assert_bug_aborts)
{
    ASSERT_BUG(1 + 1 == 2);
    ASSERT_BUG(1 + 1 == 3);
}
END_TEST

TEST_SUITE(err)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, every_code_has_a_name);
    tcase_add_test(tc, set_fills_and_returns);
    tcase_add_test(tc, null_is_allowed);
    tcase_add_test(tc, own_message_as_argument);
    tcase_add_test(tc, long_text_is_cut_between_characters);
    tcase_add_test(tc, errno_keeps_its_reason);
    tcase_add_test(tc, wrap_puts_context_first);
    tcase_add_test(tc, try_returns_errors_only);
    tcase_add_abort_test(tc, assert_bug_aborts);
    suite_add_tcase(s, tc);
}
