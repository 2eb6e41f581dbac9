/* Pages of texts and metadata values. */
#include "catalog/learning.h"
#include "tests/catalog/fixture.h"

#include <stdio.h>

static struct fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

static size_t page(struct catalog_values_query q, struct catalog_values **ret)
{
    struct err e = ERR_INIT;
    size_t n;
    if (!q.limit) q.limit = 100;
    if (!q.bytes_max) q.bytes_max = 1000;
    ck_assert_ok(catalog_values_page(f.c, &f.col, &q, f.a, ret, &n, &e), &e);
    return n;
}

/* Values joined by '|'. */
static const char *joined(const struct catalog_values *row, size_t path)
{
    static char text[400];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < row->n_values[path]; i++)
        n += (size_t)snprintf(
            text + n, sizeof text - n, "%s%.*s", i ? "|" : "", STR_ARG(row->values[path][i]));
    return text;
}

START_TEST(values_of_every_kind)
{
    static const struct {
        const char *metadata, *want;
    } cases[] = {
        { "{}", "" },
        { "{\"a\":{\"b\":\"word\"}}", "word" },
        { "{\"a\":{\"b\":\"\"}}", "" },
        { "{\"a\":{\"b\":\"\\u00e9\\n\\\"\"}}", "\xC3\xA9\n\"" },
        { "{\"a\":{\"b\":12}}", "12" },
        { "{\"a\":{\"b\":-1.5}}", "-1.5" },
        { "{\"a\":{\"b\":true}}", "true" },
        { "{\"a\":{\"b\":false}}", "false" },
        { "{\"a\":{\"b\":null}}", "" },
        { "{\"a\":{\"b\":{\"c\":1}}}", "" },
        { "{\"a\":[\"b\"]}", "" },
        { "{\"a\":\"b\"}", "" },
        { "{\"a\":{\"b\":[]}}", "" },
        { "{\"a\":{\"b\":[\"x\",null,[1],{\"y\":2},3,true,\"true\"]}}", "x|3|true|true" },
        { "{\"a\":{\"b\":[0,1,2,3,4,5,6,7,8,9]}}", "0|1|2|3|4|5|6|7" },
    };
    enum { N = sizeof cases / sizeof *cases };
    struct catalog_values *rows;
    for (size_t i = 0; i < N; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "%zu", i);
        fixture_put(&f, key, "t", cases[i].metadata, 1);
    }
    struct str path = STR("a.b");
    ck_assert_uint_eq(
        page((struct catalog_values_query){ .after = -1, .paths = &path, .n_paths = 1 }, &rows), N);
    for (size_t i = 0; i < N; i++) {
        ck_assert_str_eq(joined(&rows[i], 0), cases[i].want);
        ck_assert_uint_eq(rows[i].n_values[1], 0);
        ck_assert_ptr_null(rows[i].text.p);
    }
    ck_assert_uint_eq(rows[2].n_values[0], 1); /* an empty string is there */
    ck_assert_uint_eq(rows[0].n_values[0], 0);
}
END_TEST

START_TEST(two_paths_and_the_text)
{
    struct str paths[] = { STR("tags"), STR("year") };
    struct catalog_values *rows;
    fixture_put(&f, "a", "first", "{\"year\":1,\"tags\":[\"x\",\"y\"]}", 1);
    fixture_put(&f, "b", NULL, "{\"year\":[2,3]}", 1);
    struct catalog_values_query q = {
        .after = -1, .paths = paths, .n_paths = 2, .with_text = true
    };
    ck_assert_uint_eq(page(q, &rows), 2);
    ck_assert(str_is(rows[0].text, "first"));
    ck_assert_str_eq(joined(&rows[0], 0), "x|y");
    ck_assert_str_eq(joined(&rows[0], 1), "1");
    ck_assert_ptr_null(rows[1].text.p);
    ck_assert_str_eq(joined(&rows[1], 0), "");
    ck_assert_str_eq(joined(&rows[1], 1), "2|3");
    q.n_paths = 0;
    ck_assert_uint_eq(page(q, &rows), 2);
    ck_assert(str_is(rows[0].text, "first"));
}
END_TEST

START_TEST(pages_go_on_where_the_last_ended)
{
    struct catalog_values *rows;
    for (int i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        fixture_put(&f, key, "t", "{}", 1);
    }
    struct catalog_put_result gone;
    ck_assert_ok(fixture_delete_code(&f, "4", &gone));
    /* items of another collection are not in it */
    struct err e = ERR_INIT;
    struct catalog_collection other = fixture_collection("other");
    struct catalog_put_result put;
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    static const float vector[FIXTURE_DIM] = { 1 };
    ck_assert_ok(fixture_put_code(&f, &other, "x", "t", "{}", vector, &put, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    size_t seen = 0;
    for (int64_t after = -1;;) {
        size_t n = page((struct catalog_values_query){ .after = after, .limit = 4 }, &rows);
        if (n == 0) break;
        for (size_t i = 0; i < n; i++, seen++)
            ck_assert_uint_eq(rows[i].slot, seen < 4 ? seen : seen + 1);
        after = rows[n - 1].slot;
    }
    ck_assert_uint_eq(seen, 9);
    ck_assert_uint_eq(page((struct catalog_values_query){ .after = UINT32_MAX }, &rows), 0);
}
END_TEST

START_TEST(long_texts_are_cut_at_a_character)
{
    struct str path = STR("a");
    struct catalog_values *rows;
    fixture_put(&f, "a", "12\xE2\x82\xAC", "{\"a\":[\"\xE2\x82\xAC\",\"123456\"]}", 1);
    for (size_t max = 1; max < 7; max++) {
        page(
            (struct catalog_values_query){
                .after = -1, .paths = &path, .n_paths = 1, .with_text = true, .bytes_max = max },
            &rows);
        ck_assert_uint_eq(rows[0].text.n, max < 2 ? max : max < 5 ? 2 : 5);
        ck_assert_uint_eq(rows[0].values[0][0].n, max < 3 ? 0 : 3);
        ck_assert_uint_eq(rows[0].values[0][1].n, max);
    }
}
END_TEST

START_TEST(bad_paths)
{
    static const char *const bad[] = { "", ".", "a.", "a..b", "a\"b" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct str path = str_from(bad[i]);
        struct catalog_values *rows;
        size_t n;
        struct catalog_values_query q = {
            .after = -1, .limit = 1, .paths = &path, .n_paths = 1, .bytes_max = 9
        };
        ck_assert_err(catalog_values_page(f.c, &f.col, &q, f.a, &rows, &n, NULL), ERR_INVALID);
    }
}
END_TEST

TEST_SUITE(sqlite_extract)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, values_of_every_kind);
    tcase_add_test(tc, two_paths_and_the_text);
    tcase_add_test(tc, pages_go_on_where_the_last_ended);
    tcase_add_test(tc, long_texts_are_cut_at_a_character);
    tcase_add_test(tc, bad_paths);
    suite_add_tcase(s, tc);
}
