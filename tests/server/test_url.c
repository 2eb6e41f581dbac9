#include "server/url.h"

#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* Segments joined by '|'; "!" for an error. */
static const char *segments_of(const char *path, char ret[256])
{
    struct arena *a = arena_new(1024, 0);
    struct str s[4];
    size_t n = 0, at = 0;
    ret[0] = '\0';
    if (url_segments(str_from(path), a, s, 4, &n, NULL) != ERR_OK) {
        (void)strcpy(ret, "!");
    } else if (n > 4) {
        (void)strcpy(ret, "many");
    } else {
        for (size_t i = 0; i < n; i++)
            at += (size_t)snprintf(ret + at, 256 - at, "%s%.*s", i ? "|" : "", STR_ARG(s[i]));
    }
    arena_free(a);
    return ret;
}

START_TEST(splits_then_decodes)
{
    static const struct {
        const char *path, *want;
    } rows[] = { { "/", "" }, { "", "" }, { "/a", "a" }, { "/a/b%2Fc", "a|b/c" }, { "/a/", "a|" },
        { "//a", "|a" }, { "/%e4%BD%a0", "\xe4\xbd\xa0" }, { "/a+b", "a+b" }, { "/%", "!" },
        { "/%4", "!" }, { "/%zz", "!" }, { "/a%00b", "!" }, { "/%0a", "!" }, { "/%ff", "!" },
        { "/%c0%af", "!" }, { "/%ed%a0%80", "!" }, { "/%f4%90%80%80", "!" },
        { "/%f4%8f%bf%bf", "\xf4\x8f\xbf\xbf" }, { "/a/b/c/d", "a|b|c|d" },
        { "/a/b/c/d/e", "many" }, { "/..", ".." }, { "/%2e%2e/x", "..|x" }, { "/\x80", "!" },
        { "/%7f", "!" } };
    char got[256];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(segments_of(rows[i].path, got), rows[i].want);
}
END_TEST

START_TEST(splits_targets)
{
    static const struct {
        const char *target, *path, *query;
    } rows[] = { { "/a?b=c", "/a", "b=c" }, { "/a", "/a", "" }, { "/a?", "/a", "" },
        { "/a?b?c", "/a", "b?c" }, { "*", "", "" }, { "http://h:80/a?b", "/a", "b" },
        { "http://h", "", "" }, { "h:80", "", "" }, { "", "", "" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str path, query;
        url_split(str_from(rows[i].target), &path, &query);
        ck_assert_msg(str_is(path, rows[i].path) && str_is(query, rows[i].query), "%s: %.*s %.*s",
            rows[i].target, STR_ARG(path), STR_ARG(query));
    }
}
END_TEST

START_TEST(decodes_queries)
{
    struct arena *a = arena_new(1024, 0);
    struct url_param p[3];
    size_t n = 0;
    ck_assert_ok(url_query(STR("a=1&&b=x%26y+z&c"), a, p, 3, &n, NULL));
    ck_assert_uint_eq(n, 3);
    ck_assert(str_is(p[0].name, "a") && str_is(p[0].value, "1"));
    ck_assert(str_is(p[1].name, "b") && str_is(p[1].value, "x&y z"));
    ck_assert(str_is(p[2].name, "c") && p[2].value.n == 0);
    ck_assert_err(url_query(STR("a&b&c&d"), a, p, 3, &n, NULL), ERR_INVALID);
    ck_assert_err(url_query(STR("a=%00"), a, p, 3, &n, NULL), ERR_INVALID);
    ck_assert_ok(url_query(STR(""), a, p, 3, &n, NULL));
    ck_assert_uint_eq(n, 0);
    arena_free(a);
}
END_TEST

START_TEST(knows_utf8)
{
    ck_assert(url_is_utf8(STR("a\xc3\xa4\xe4\xbd\xa0\xf0\x9f\x98\x80")));
    ck_assert(!url_is_utf8(STR("\xc3")));
    ck_assert(!url_is_utf8(STR("\xe4\xbd")));
    ck_assert(!url_is_utf8(STR("\xc1\xbf")));
    ck_assert(!url_is_utf8(STR("\xe0\x9f\xbf")));
    ck_assert(!url_is_utf8(STR("\xf0\x8f\xbf\xbf")));
    ck_assert(!url_is_utf8(STR("\x80")));
}
END_TEST

TEST_SUITE(url)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, splits_then_decodes);
    tcase_add_test(tc, splits_targets);
    tcase_add_test(tc, decodes_queries);
    tcase_add_test(tc, knows_utf8);
    suite_add_tcase(s, tc);
}
