#include "server/auth.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/config.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <string.h>

static const char key[] = "0123456789abcdef0123456789abcdef";

static struct auth *open_with(const char *api_key, const char *file, enum err_code want)
{
    struct config cfg;
    struct err e = ERR_INIT;
    struct auth *a = NULL;
    ck_assert_ok(config_init(&cfg, &e), &e);
    ck_assert_ok(config_set(&cfg, "api_key", api_key, &e), &e);
    ck_assert_ok(config_set(&cfg, "api_key_file", file, &e), &e);
    ck_assert_err(auth_open(&cfg, &a, &e), want);
    config_done(&cfg);
    return a;
}

START_TEST(lets_the_key_in)
{
    struct auth *a = open_with(key, "", ERR_OK);
    static const struct {
        const char *header;
        bool in;
    } rows[] = { { "Bearer 0123456789abcdef0123456789abcdef", true },
        { "bearer   0123456789abcdef0123456789abcdef", true }, { NULL, false }, { "", false },
        { "Bearer", false }, { "Bearer ", false },
        { "Bearer 0123456789abcdef0123456789abcdeF", false },
        { "Bearer 0123456789abcdef0123456789abcdef ", false }, { "Basic 0123456789abcdef", false },
        { "0123456789abcdef0123456789abcdef", false } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum problem p = PROBLEM_INTERNAL;
        const char *detail = NULL;
        bool in = auth_allows(a, SCOPE_ADMIN, str_from(rows[i].header), &p, &detail);
        ck_assert_msg(in == rows[i].in, "row %zu", i);
        if (!in) ck_assert(p == PROBLEM_UNAUTHORIZED && detail);
        ck_assert(auth_allows(a, SCOPE_NONE, str_from(rows[i].header), &p, &detail));
    }
    auth_close(a);
}
END_TEST

START_TEST(reads_key_files)
{
    struct tmpdir t;
    char path[TMPDIR_PATH_BYTES], text[80];
    tmpdir_make(&t);
    tmpdir_file(&t, "key", path);
    (void)strcat(strcpy(text, key), "\nanother line\n");
    ck_assert_ok(file_write_atomic(path, text, strlen(text), NULL));
    struct auth *a = open_with("", path, ERR_OK);
    ck_assert(auth_has_key(a));
    enum problem p;
    const char *detail;
    ck_assert(
        auth_allows(a, SCOPE_WRITE, STR("Bearer 0123456789abcdef0123456789abcdef"), &p, &detail));
    auth_close(a);
    ck_assert_ok(file_write_atomic(path, "\n", 1, NULL));
    (void)open_with("", path, ERR_INVALID);
    (void)open_with("", "/nonexistent/key", ERR_NOT_FOUND);
    tmpdir_remove(&t);
}
END_TEST

START_TEST(refuses_bad_keys)
{
    (void)open_with("short", "", ERR_INVALID);
    (void)open_with("0123456789 abcdef", "", ERR_INVALID);
    (void)open_with("0123456789\xc3\xa4"
                    "abcdef",
        "", ERR_INVALID);
    (void)open_with(key, "/some/file", ERR_INVALID);
}
END_TEST

START_TEST(guards_the_address)
{
    struct auth *none = open_with("", "", ERR_OK), *one = open_with(key, "", ERR_OK);
    ck_assert_ok(auth_check_listen(none, true, false, NULL));
    ck_assert_ok(auth_check_listen(none, false, true, NULL));
    ck_assert_err(auth_check_listen(none, false, false, NULL), ERR_INVALID);
    ck_assert_ok(auth_check_listen(one, false, false, NULL));
    enum problem p;
    const char *detail;
    ck_assert(auth_allows(none, SCOPE_ADMIN, (struct str){ NULL, 0 }, &p, &detail));
    ck_assert(auth_allows(NULL, SCOPE_ADMIN, (struct str){ NULL, 0 }, &p, &detail));
    auth_close(none);
    auth_close(one);
    auth_close(NULL);
}
END_TEST

TEST_SUITE(auth)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, lets_the_key_in);
    tcase_add_test(tc, reads_key_files);
    tcase_add_test(tc, refuses_bad_keys);
    tcase_add_test(tc, guards_the_address);
    suite_add_tcase(s, tc);
}
