#include "server/media.h"

#include "tests/support/test.h"

START_TEST(reads_types)
{
    ck_assert(media_is(media_type(STR("application/json")), "application/json"));
    ck_assert(media_is(media_type(STR(" Application/JSON ; charset=utf-8")), "application/json"));
    ck_assert(!media_is(media_type(STR("application/jsonx")), "application/json"));
    ck_assert(media_type(STR("")).n == 0);
    ck_assert(media_type((struct str){ NULL, 0 }).n == 0);
}
END_TEST

START_TEST(obeys_accept)
{
    static const struct {
        const char *accept;
        bool json;
    } rows[] = { { NULL, true }, { "", true }, { "*/*", true }, { "*", true },
        { "application/json", true }, { "application/*", true }, { "APPLICATION/Json;q=0.5", true },
        { "text/html", false }, { "text/html, */*;q=0.1", true }, { "application/json;q=0", false },
        { "application/json;q=0.000, */*", false }, { "*/*;q=0", false },
        { "*/*;q=0, application/json", true }, { "text/*", false }, { ",,", true },
        { "text/html;x=\"a,b\", application/json", true }, { "application/problem+json", false },
        { "application/*;q=0, application/json;v=1", true }, { "a/b;x=\"", false }, { ";", true } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(media_accepts(str_from(rows[i].accept), "application/json") == rows[i].json,
            "row %zu: %s", i, rows[i].accept);
    ck_assert(media_accepts(STR("text/plain"), "text/plain; version=0.0.4"));
}
END_TEST

TEST_SUITE(media)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, reads_types);
    tcase_add_test(tc, obeys_accept);
    suite_add_tcase(s, tc);
}
