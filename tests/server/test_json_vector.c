#include "server/json_vector.h"

#include "base/mem.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <math.h>
#include <string.h>

static const char *const paths[] = { "/vector", "/items/[]/vector", NULL };

struct lifted {
    struct arena *a;
    char text[8192];
    size_t n;
    struct json_vectors v;
    struct err e;
    enum err_code code;
};

static void lift(struct lifted *l, const char *json)
{
    l->a = arena_new(1024, 0);
    ck_assert_ptr_nonnull(l->a);
    l->n = strlen(json);
    ck_assert_uint_lt(l->n, sizeof l->text);
    memcpy(l->text, json, l->n + 1);
    l->v = (struct json_vectors){ 0 };
    l->e = ERR_INIT;
    l->code = json_vector_lift(l->text, &l->n, paths, 64, l->a, &l->v, &l->e);
}

START_TEST(lifts_at_the_paths)
{
    struct lifted l;
    lift(&l,
        "{\"vector\": [1, -2.5 ,3e2\n], \"other\": [4,5,6], \"items\": [{\"vector\":[7,8]},"
        " {\"id\":\"[1]\",\"vector\":\"AAAA\"},{\"x\":{\"vector\":[9,9]},\"vector\":[10]}]}");
    ck_assert_ok(l.code, &l.e);
    ck_assert_str_eq(l.text,
        "{\"vector\": 0 , \"other\": [4,5,6], \"items\": [{\"vector\":1 },"
        " {\"id\":\"[1]\",\"vector\":\"AAAA\"},{\"x\":{\"vector\":[9,9]},\"vector\":2 }]}");
    ck_assert_uint_eq(l.n, strlen(l.text));
    ck_assert_uint_eq(l.v.n, 3);
    static const float first[] = { 1, -2.5f, 300 }, second[] = { 7, 8 };
    ck_assert_uint_eq(l.v.p[0].v.n, 3);
    ck_assert_near(l.v.p[0].v.p, first, 3, 0, 0);
    ck_assert_uint_eq(l.v.p[1].v.n, 2);
    ck_assert_near(l.v.p[1].v.p, second, 2, 0, 0);
    ck_assert_uint_eq(l.v.p[2].v.n, 1);
    arena_free(l.a);
}
END_TEST

START_TEST(sees_through_escaped_names)
{
    struct lifted l;
    lift(&l, "{\"v\\u0065ctor\":[1,2]}");
    ck_assert_ok(l.code, &l.e);
    ck_assert_uint_eq(l.v.n, 1);
    arena_free(l.a);
    lift(&l, "{\"v\\u0065ctor\":0}"); /* no forged placeholder */
    ck_assert_err(l.code, ERR_INVALID);
    ck_assert_str_eq(l.e.field, "/vector");
    arena_free(l.a);
}
END_TEST

START_TEST(refuses_numbers)
{
    static const struct {
        const char *json, *field;
    } rows[] = { { "{\"vector\":5}", "/vector" }, { "{\"vector\":0}", "/vector" },
        { "{\"vector\": -1.5}", "/vector" }, { "{\"vector\":-[1]}", "/vector" },
        { "{\"vector\":[1,2],\"items\":[{},{\"vector\":[1,2]},{\"vector\":7}]}",
            "/items/2/vector" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lifted l;
        lift(&l, rows[i].json);
        ck_assert_msg(l.code == ERR_INVALID, "accepted: %s", rows[i].json);
        ck_assert_str_eq(l.e.field, rows[i].field);
        arena_free(l.a);
    }
}
END_TEST

/* Each list has more bytes than a placeholder, so that nothing but its content keeps it. */
START_TEST(leaves_what_is_no_list_of_floats)
{
    static const char *const rows[] = { "{\"vector\":{\"a\":1}}", "{\"vector\":true}",
        "{\"vector\":[1,\"2\"]}", "{\"vector\":[1,[2,3]]}", "{\"vector\":[1,null]}",
        "{\"vector\":[1,NaN]}", "{\"vector\":[1,2,]}", "{\"vector\":[1 2]}", "{\"vector\":[01]}",
        "{\"vector\":[1", "{\"vector\":[", "{\"vector\":[1,", "{\"vector\":{\"vector\":[5,6]}}" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lifted l;
        lift(&l, rows[i]);
        ck_assert_ok(l.code, &l.e);
        ck_assert_str_eq(l.text, rows[i]);
        ck_assert_uint_eq(l.v.n, 0);
        arena_free(l.a);
    }
}
END_TEST

START_TEST(too_large_numbers_are_infinite)
{
    struct lifted l;
    lift(&l, "{\"vector\":[1,-1e39,1e400]}");
    ck_assert_ok(l.code, &l.e);
    ck_assert_uint_eq(l.v.n, 1);
    ck_assert(l.v.p[0].v.n == 3 && isinf(l.v.p[0].v.p[1]) && isinf(l.v.p[0].v.p[2]));
    arena_free(l.a);
}
END_TEST

START_TEST(leaves_the_rest_alone)
{
    static const char *const rows[] = { "", "{}", "[]", "[[1,2],[3,4]]", "{\"vector\":[]}",
        "{\"vector\":null}", "{\"vector\":\"abc\"}", "{\"items\":[[{\"vector\":[1,2]}]]}",
        "{\"a\":{\"vector\":[1,2]}}", "{\"vector\" [1,2]}", "}{", "[}", "\"abc", "\"abc\\",
        "{\"a\\", "{\"items\":{\"0\":{\"vector\":[1,2]}}}", "{\"vectors\":[1,2]}",
        "{\"vecto\":[1,2]}" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lifted l;
        lift(&l, rows[i]);
        ck_assert_msg(l.code == ERR_OK, "%s: %s", rows[i], l.e.msg);
        ck_assert_str_eq(l.text, rows[i]);
        ck_assert_uint_eq(l.v.n, 0);
        arena_free(l.a);
    }
}
END_TEST

START_TEST(bounds_the_nesting)
{
    char text[400];
    struct arena *a = arena_new(1024, 0);
    for (size_t depth = 60; depth < 70; depth++) {
        memset(text, depth % 2 ? '[' : '{', depth);
        text[depth] = '\0';
        struct json_vectors v;
        size_t n = depth;
        enum err_code code = json_vector_lift(text, &n, NULL, 64, a, &v, NULL);
        ck_assert_int_eq(code, depth <= 64 ? ERR_OK : ERR_INVALID);
    }
    arena_free(a);
}
END_TEST

/* A number that directly follows a list must not grow together with its placeholder. */
START_TEST(cannot_be_forged)
{
    struct lifted l;
    lift(&l, "{\"vector\":[1]5}");
    ck_assert_ok(l.code, &l.e);
    ck_assert_str_eq(l.text, "{\"vector\":0 5}");
    arena_free(l.a);
}
END_TEST

START_TEST(maps_positions_back)
{
    struct lifted l;
    const char *json = "{\"vector\":[1.25,2.5,3.75],\"x\":?}";
    lift(&l, json);
    ck_assert_ok(l.code, &l.e);
    size_t at = (size_t)(strchr(l.text, '?') - l.text);
    ck_assert_uint_eq(json_vectors_offset(&l.v, at), (size_t)(strchr(json, '?') - json));
    ck_assert_uint_eq(json_vectors_offset(&l.v, 3), 3);
    arena_free(l.a);
}
END_TEST

START_TEST(keeps_many_and_long_lists)
{
    enum { LISTS = 2500, LONG = 5000 };
    char *text = mem_alloc(LISTS * 40 + LONG * 8, 1);
    size_t n = 0;
    n += (size_t)sprintf(text, "{\"items\":[");
    for (int i = 0; i < LISTS; i++)
        n += (size_t)sprintf(text + n, "%s{\"vector\":[%d]}", i ? "," : "", i);
    n += (size_t)sprintf(text + n, "],\"vector\":[0");
    for (int i = 1; i < LONG; i++)
        n += (size_t)sprintf(text + n, ",%d", i);
    n += (size_t)sprintf(text + n, "]}");
    struct arena *a = arena_new(1024, 0);
    struct json_vectors v;
    struct err e = ERR_INIT;
    ck_assert_ok(json_vector_lift(text, &n, paths, 64, a, &v, &e), &e);
    /* "[1000]" has room for "1000 ", and so have all here */
    ck_assert_uint_eq(v.n, LISTS + 1);
    for (int i = 0; i < LISTS; i++)
        ck_assert(v.p[i].v.n == 1 && v.p[i].v.p[0] == (float)i);
    ck_assert_uint_eq(v.p[LISTS].v.n, LONG);
    for (int i = 0; i < LONG; i++)
        ck_assert(v.p[LISTS].v.p[i] == (float)i);
    ck_assert(text[n] == '\0');
    arena_free(a);
    mem_free(text);
}
END_TEST

static enum err_code lift_all(void)
{
    char text[] = "{\"vector\":[1,2,3]}";
    size_t n = sizeof text - 1;
    struct arena *a = arena_new(64, 0);
    if (!a) return ERR_NOMEM;
    struct json_vectors v;
    struct err e = ERR_INIT;
    enum err_code code = json_vector_lift(text, &n, paths, 64, a, &v, &e);
    arena_free(a);
    return code;
}

START_TEST(survives_no_memory)
{
    (void)OOM_LOOP(lift_all);
}
END_TEST

TEST_SUITE(json_vector)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, lifts_at_the_paths);
    tcase_add_test(tc, sees_through_escaped_names);
    tcase_add_test(tc, refuses_numbers);
    tcase_add_test(tc, leaves_what_is_no_list_of_floats);
    tcase_add_test(tc, too_large_numbers_are_infinite);
    tcase_add_test(tc, leaves_the_rest_alone);
    tcase_add_test(tc, bounds_the_nesting);
    tcase_add_test(tc, cannot_be_forged);
    tcase_add_test(tc, maps_positions_back);
    tcase_add_test(tc, keeps_many_and_long_lists);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, survives_no_memory);
    suite_add_tcase(s, oom);
}
