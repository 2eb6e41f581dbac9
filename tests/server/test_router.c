#include "server/router.h"

#include "server/url.h"
#include "tests/support/test.h"

#include <string.h>

static enum err_code nothing(struct exchange *x, struct err *e)
{
    (void)x, (void)e;
    return ERR_OK;
}
static enum err_code nothing_data(struct exchange *x, struct str chunk, struct err *e)
{
    (void)x, (void)chunk, (void)e;
    return ERR_OK;
}
static const struct route_stream stream = { .data = nothing_data, .end = nothing };

#define ROW(m, p, b)                                                                               \
    {                                                                                              \
        .method = (m), .pattern = (p), .body = (b), .handler = nothing                             \
    }
static const struct route table[] = {
    ROW("GET", "/", BODY_NONE),
    ROW("GET", "/items", BODY_NONE),
    ROW("POST", "/items", BODY_JSON),
    { .method = "POST",
        .pattern = "/items",
        .body = BODY_NDJSON,
        .kind = ROUTE_STREAM,
        .stream = &stream },
    ROW("POST", "/items/count", BODY_JSON),
    ROW("GET", "/items/{id}", BODY_NONE),
    ROW("PUT", "/items/{id}", BODY_JSON),
    ROW("GET", "/a/{b}/c/{d}", BODY_NONE),
};
static const struct router router = { table, sizeof table / sizeof table[0] };

static struct router_match find(const char *method, const char *path, const char *type)
{
    struct arena *a = arena_new(1024, 0);
    struct str s[ROUTER_SEGMENTS_MAX];
    size_t n = 0;
    ck_assert_ok(url_segments(str_from(path), a, s, ROUTER_SEGMENTS_MAX, &n, NULL));
    struct router_match m;
    router_find(&router, str_from(method), s, n, str_from(type), &m);
    static char kept[2][64]; /* the arena goes */
    for (int i = 0; i < 2; i++) {
        if (!m.captures[i].p) continue;
        memcpy(kept[i], m.captures[i].p, m.captures[i].n);
        m.captures[i].p = kept[i];
    }
    arena_free(a);
    return m;
}

START_TEST(finds_rows)
{
    static const struct {
        const char *method, *path, *type;
        int row; /* -1 no path, -2 no method, -3 no type */
    } rows[] = { { "GET", "/", NULL, 0 }, { "HEAD", "/items", NULL, 1 },
        { "POST", "/items", "application/json", 2 }, { "POST", "/items", NULL, 2 },
        { "POST", "/items", "application/json; charset=utf-8", 2 },
        { "POST", "/items", "application/x-ndjson", 3 },
        { "POST", "/items", "application/jsonl", 3 }, { "POST", "/items", "text/plain", -3 },
        { "POST", "/items/count", "application/json", 4 }, { "GET", "/items/count", NULL, 5 },
        { "GET", "/items/x", "text/plain", 5 }, { "PUT", "/items/x%2Fy", NULL, 6 },
        { "DELETE", "/items/x", NULL, -2 }, { "get", "/items", NULL, -2 },
        { "OPTIONS", "/items", NULL, -2 }, { "GET", "/nothing", NULL, -1 },
        { "GET", "/items/", NULL, -1 }, { "GET", "/items/x/y", NULL, -1 },
        { "GET", "/Items", NULL, -1 }, { "GET", "/a/1/c/2", NULL, 7 },
        { "GET", "/a/1/d/2", NULL, -1 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct router_match m = find(rows[i].method, rows[i].path, rows[i].type);
        int got = m.result == ROUTER_FOUND ? (int)(m.route - table)
            : m.result == ROUTER_NO_PATH   ? -1
            : m.result == ROUTER_NO_METHOD ? -2
                                           : -3;
        ck_assert_msg(got == rows[i].row, "%s %s: %d", rows[i].method, rows[i].path, got);
    }
}
END_TEST

START_TEST(captures_and_allows)
{
    struct router_match m = find("GET", "/a/x%2Fy/c/z", NULL);
    ck_assert(str_is(m.captures[0], "x/y") && str_is(m.captures[1], "z"));
    m = find("DELETE", "/items/x", NULL);
    ck_assert_str_eq(m.allow, "GET, HEAD, PUT");
    m = find("PUT", "/items/count", NULL);
    ck_assert_int_eq(m.result, ROUTER_FOUND); /* "count" is an id */
    m = find("PUT", "/items", NULL);
    ck_assert_str_eq(m.allow, "GET, HEAD, POST");
}
END_TEST

START_TEST(checks_tables)
{
    struct err e = ERR_INIT;
    ck_assert_ok(router_check(&router, &e), &e);
    static const struct route bad[][2] = { { ROW("GET", "/a", BODY_NONE),
                                               ROW("GET", "/a", BODY_NONE) },
        { ROW("GET", "/{a}", BODY_NONE), ROW("GET", "/b", BODY_NONE) },
        { ROW("GET", "/{a}", BODY_NONE), ROW("GET", "/{b}", BODY_NONE) },
        { ROW("GET", "/a", BODY_NONE), ROW("GET", "b", BODY_NONE) },
        { ROW("GET", "/a", BODY_NONE), { .method = "GET", .pattern = "/b" } },
        { ROW("GET", "/a", BODY_NONE), ROW("POST", "/b", BODY_NDJSON) },
        { ROW("GET", "/a", BODY_NONE), { .method = "GET", .pattern = "/b", .kind = ROUTE_STREAM } },
        { ROW("GET", "/a", BODY_NONE), ROW("GET", "/{a}/{b}/{c}/{d}/{e}", BODY_NONE) },
        { ROW("GET", "/a", BODY_NONE), ROW("GET", "/b//c", BODY_NONE) } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct router r = { bad[i], 2 };
        ck_assert_msg(router_check(&r, &e) == ERR_INTERNAL, "table %zu", i);
    }
}
END_TEST

START_TEST(errors_below_v1_are_openais)
{
    ck_assert_int_eq(router_errors_of_path(STR("/v1/nothing")), ERRORS_OPENAI);
    ck_assert_int_eq(router_errors_of_path(STR("/v1x")), ERRORS_PROBLEM);
    ck_assert_int_eq(router_errors_of_path(STR("")), ERRORS_PROBLEM);
}
END_TEST

TEST_SUITE(router)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, finds_rows);
    tcase_add_test(tc, captures_and_allows);
    tcase_add_test(tc, checks_tables);
    tcase_add_test(tc, errors_below_v1_are_openais);
    suite_add_tcase(s, tc);
}
