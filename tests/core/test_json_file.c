#include "core/text/json_file.h"

#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

static const struct json_place AT = { "f.json", "part." };

static enum err_code read_text(const char *text, json_t **ret, struct err *e)
{
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    tmpdir_make(&dir);
    fixture_write(&dir, "f.json", text);
    enum err_code code = json_file_read(tmpdir_file(&dir, "f.json", path), 1000, ret, e);
    tmpdir_remove(&dir);
    return code;
}

START_TEST(broken_files)
{
    static const char *const bad[] = { "", "{", "[]", "1", "{\"a\":1,\"a\":2}",
        "{\"a\":\"\\u0000\"}", "{\"a\":1e999}", "{} x", "{\"a\":\"\xFF\"}",
        "{\"a\":123456789012345678901234567890}" };
    json_t *j = NULL;
    ck_assert_err(read_text(bad[_i], &j, NULL), ERR_CORRUPT);
    ck_assert_ptr_null(j);
}
END_TEST

START_TEST(from_memory)
{
    AUTO_JSON json_t *j = NULL;
    struct err e = ERR_INIT;
    const char text[] = "{\"a\":1}{"; /* only what is given is read */
    ck_assert_ok(json_text_read((struct str){ text, 7 }, "name", &j, &e), &e);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "a")), 1);
    json_t *none = NULL;
    ck_assert_err(json_text_read((struct str){ text, 8 }, "name", &none, &e), ERR_CORRUPT);
    ck_assert_msg(strncmp(e.msg, "name, line 1", 12) == 0, "%s", e.msg);
    ck_assert_err(json_text_read(STR("[]"), "name", &none, &e), ERR_CORRUPT);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(numbers_beyond_integers)
{
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    AUTO_JSON json_t *j = NULL;
    struct err e = ERR_INIT;
    tmpdir_make(&dir);
    fixture_write(&dir, "f.json", "{\"a\":1000000000000000019884624838656,\"b\":2}");
    tmpdir_file(&dir, "f.json", path);
    ck_assert_err(json_file_read(path, 1000, &j, NULL), ERR_CORRUPT);
    ck_assert_ok(json_file_read_reals(path, 1000, &j, &e), &e);
    ck_assert(json_is_real(json_object_get(j, "b")));
    tmpdir_remove(&dir);
}
END_TEST

START_TEST(missing_and_too_large)
{
    json_t *j = NULL;
    ck_assert_err(json_file_read("/nonexistent/f.json", 10, &j, NULL), ERR_NOT_FOUND);
    char large[1100];
    memset(large, ' ', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    ck_assert_err(read_text(large, &j, NULL), ERR_LIMIT);
}
END_TEST

START_TEST(fields)
{
    AUTO_JSON json_t *j = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(read_text("{\"b\":true,\"n\":7,\"s\":\"text\",\"null\":null}", &j, &e), &e);
    bool b = false;
    size_t n = 0;
    struct str s = STR("before");
    ck_assert_ok(json_read_bool(j, "b", &AT, &b, &e), &e);
    ck_assert_ok(json_read_size(j, "n", &AT, 1, 7, &n, &e), &e);
    ck_assert(b && n == 7);
    ck_assert_ok(json_read_str(j, "missing", &AT, &s, &e), &e);
    ck_assert_ok(json_read_str(j, "null", &AT, &s, &e), &e);
    ck_assert(str_is(s, "before"));
    ck_assert_ok(json_read_str(j, "s", &AT, &s, &e), &e);
    ck_assert(str_is(s, "text"));
    ck_assert_err(json_read_bool(j, "n", &AT, &b, &e), ERR_CORRUPT);
    ck_assert_str_eq(e.msg, "f.json: part.n must be true or false");
    ck_assert_err(json_read_size(j, "s", &AT, 0, 9, &n, &e), ERR_CORRUPT);
    ck_assert_err(json_read_str(j, "b", &AT, &s, &e), ERR_CORRUPT);
    ck_assert_err(json_read_size(j, "n", &AT, 8, 9, &n, &e), ERR_UNPROCESSABLE);
    ck_assert_err(json_read_size(j, "n", &AT, 0, 6, &n, &e), ERR_UNPROCESSABLE);
    ck_assert_ok(
        json_check_names(j, &AT, (const char *const[]){ "b", "n", "s", "null", NULL }, &e), &e);
    ck_assert_err(json_check_names(j, &AT, (const char *const[]){ "b", "n", "s", NULL }, &e),
        ERR_UNPROCESSABLE);
    ck_assert_str_eq(e.msg, "f.json: field part.null is not known");
}
END_TEST

TEST_SUITE(json_file)
{
    TCase *tc = tcase_create("core");
    tcase_add_loop_test(tc, broken_files, 0, 10);
    tcase_add_test(tc, from_memory);
    tcase_add_test(tc, numbers_beyond_integers);
    tcase_add_test(tc, missing_and_too_large);
    tcase_add_test(tc, fields);
    suite_add_tcase(s, tc);
}
