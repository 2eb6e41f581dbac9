/* The route table and openapi.yaml say the same, in both directions, and its examples fit its schemas. */
#include "tests/http/http_test.h"

#include "server/router.h"

#include <string.h>

static const struct route *find_route(const char *method, const char *path)
{
    for (size_t i = 0; i < n_routes; i++)
        if (strcmp(routes[i].method, method) == 0 && strcmp(routes[i].pattern, path) == 0)
            return &routes[i];
    return NULL;
}

static void has_route(
    void *arg, const char *method, const char *path, const char *operation_id, bool needs_key)
{
    (void)arg;
    const struct route *r = find_route(method, path);
    ck_assert_msg(r != NULL, "openapi.yaml has %s %s, the table of routes has not", method, path);
    ck_assert_msg(operation_id != NULL, "%s %s has no operationId", method, path);
    ck_assert_msg((r->scope != SCOPE_NONE) == needs_key,
        "%s %s: table and openapi.yaml differ on whether it needs a key", method, path);
}

START_TEST(every_operation_is_a_route)
{
    openapi_each(suite_openapi(), has_route, NULL);
}
END_TEST

struct wanted {
    const struct route *route;
    bool found;
};

static void is_wanted(
    void *arg, const char *method, const char *path, const char *operation_id, bool needs_key)
{
    (void)operation_id;
    (void)needs_key;
    struct wanted *w = arg;
    if (strcmp(w->route->method, method) == 0 && strcmp(w->route->pattern, path) == 0)
        w->found = true;
}

START_TEST(every_route_is_an_operation)
{
    for (size_t i = 0; i < n_routes; i++) {
        struct wanted w = { &routes[i], false };
        openapi_each(suite_openapi(), is_wanted, &w);
        ck_assert_msg(w.found, "openapi.yaml lacks %s %s", routes[i].method, routes[i].pattern);
    }
}
END_TEST

START_TEST(the_table_is_sound)
{
    const struct router r = { routes, n_routes };
    struct err e = ERR_INIT;
    enum err_code code = router_check(&r, &e);
    ck_assert_msg(code == ERR_OK, "%s", e.msg);
}
END_TEST

START_TEST(examples_fit_their_schemas)
{
    const char *bad = openapi_check_examples(suite_openapi());
    ck_assert_msg(!bad, "%s", bad);
}
END_TEST

/* The check itself must be able to say no. */
START_TEST(the_check_refuses)
{
    const struct openapi *o = suite_openapi();
    const struct {
        const char *method, *path;
        int status;
        const char *type, *body;
    } bad[] = {
        { "GET", "/healthz", 418, "application/json", "{\"status\":\"ok\"}" },
        { "GET", "/healthz", 200, "text/html", "{\"status\":\"ok\"}" },
        { "GET", "/healthz", 200, "application/json", "{\"status\":\"bad\"}" },
        { "GET", "/healthz", 200, "application/json", "{}" },
        { "GET", "/healthz", 200, "application/json", "{\"status\":\"ok\",\"more\":1}" },
        { "GET", "/healthz", 200, "application/json", "[]" },
        { "GET", "/healthz", 200, "application/json", "{" },
        { "GET", "/nowhere", 200, "application/json", "{}" },
        { "POST", "/healthz", 200, "application/json", "{}" },
        { "POST", "/search", 200, "application/json",
            "{\"hits\":[{\"id\":\"a\",\"score\":\"1\"}],\"model\":null,\"took_ms\":1}" },
        { "POST", "/search", 200, "application/json",
            "{\"hits\":[],\"model\":{\"name\":\"m\",\"version\":0},\"took_ms\":1}" },
        { "DELETE", "/collections/a", 204, NULL, "x" },
        { "POST", "/v1/embeddings", 400, "application/json",
            "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null}}" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *why = openapi_check_reply(
            o, bad[i].method, bad[i].path, bad[i].status, bad[i].type, str_from(bad[i].body));
        ck_assert_msg(why != NULL, "row %zu was let through", i);
    }
    ck_assert_ptr_null(openapi_check_reply(
        o, "GET", "/healthz?x=1", 200, "application/json", STR("{\"status\":\"ok\"}")));
}
END_TEST

TEST_SUITE(routes)
{
    TCase *tc = tcase_create("openapi");
    tcase_add_test(tc, every_operation_is_a_route);
    tcase_add_test(tc, every_route_is_an_operation);
    tcase_add_test(tc, the_table_is_sound);
    tcase_add_test(tc, examples_fit_their_schemas);
    tcase_add_test(tc, the_check_refuses);
    suite_add_tcase(s, tc);
}
