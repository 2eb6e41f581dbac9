#include "core/model/modules.h"

#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <string.h>

static struct tmpdir dir;

static void set_up(void)
{
    tmpdir_make(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

START_TEST(paths)
{
    static const char *const inside[] = { "1_Pooling", "a/b", "a..b", "...", ".a" };
    static const char *const outside[] = { "", "/", "/a", "..", "../a", "a/..", "a/../b", ".",
        "./a", "a//b", "a/" };
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        ck_assert_msg(module_path_is_inside(inside[i]), "%s", inside[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        ck_assert_msg(!module_path_is_inside(outside[i]), "%s", outside[i]);
}
END_TEST

START_TEST(reads_a_list)
{
    struct model_modules m;
    struct err e = ERR_INIT;
    ck_assert_ok(modules_read(dir.path, &m, &e), &e);
    ck_assert(!m.given && m.n == 0);
    fixture_write(&dir, "modules.json",
        "[{\"path\":\"\",\"type\":\"a.b.Transformer\"},{\"path\":\"1_P\",\"type\":\"Pooling\"},7]");
    ck_assert_ok(modules_read(dir.path, &m, &e), &e);
    ck_assert(m.given && m.n == 3);
    ck_assert_str_eq(module_class(&m.list[0]), "Transformer");
    ck_assert_str_eq(m.list[1].path, "1_P");
    ck_assert_str_eq(module_class(&m.list[1]), ""); /* a class has a module of Python's before it */
    ck_assert_str_eq(m.list[2].type, "");
}
END_TEST

static const struct {
    const char *text;
    enum err_code code;
    const char *mentions;
} ROWS[] = {
    { "{}", ERR_CORRUPT, "array" },
    { "[", ERR_CORRUPT, "modules.json" },
    { "[{\"path\":\"../other\"}]", ERR_UNPROCESSABLE, "../other" },
    { "[{\"path\":\"/etc\"}]", ERR_UNPROCESSABLE, "/etc" },
    { "[{\"path\":\"0123456789012345678901234567890123456789012345678901234567890123\"}]",
        ERR_UNPROCESSABLE, "module 0" },
    { "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", ERR_UNPROCESSABLE, "17 modules" },
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

START_TEST(rows)
{
    struct model_modules m;
    struct err e = ERR_INIT;
    fixture_write(&dir, "modules.json", ROWS[_i].text);
    enum err_code code = modules_read(dir.path, &m, &e);
    ck_assert_msg(code == ROWS[_i].code && strstr(e.msg, ROWS[_i].mentions), "%s: %s, %s",
        ROWS[_i].text, err_name(code), e.msg);
}
END_TEST

TEST_SUITE(modules)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, paths);
    tcase_add_test(tc, reads_a_list);
    tcase_add_loop_test(tc, rows, 0, N_ROWS);
    suite_add_tcase(s, tc);
}
