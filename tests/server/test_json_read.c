#include "server/json_read.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <string.h>

static enum err_code read_n(
    const char *json, size_t n, struct arena *a, struct json_doc *d, struct err *e)
{
    char *copy = mem_strndup(json, n);
    if (!copy) return ERR_NOMEM;
    enum err_code code = json_read(copy, n, NULL, a, d, e);
    mem_free(copy);
    return code;
}

START_TEST(refuses_what_is_not_strict)
{
    static const struct {
        const char *json;
        size_t n;
    } rows[] = {
#define ROW(s) { (s), sizeof(s) - 1 }
        ROW(""), ROW(" "), ROW("{"), ROW("{} x"), ROW("{}{}"), ROW("5"), ROW("\"a\""), ROW("null"),
        ROW("{\"a\":1,\"a\":2}"), ROW("{\"a\":1,\"\\u0061\":2}"), ROW("{\"a\":}"), ROW("{'a':1}"),
        ROW("{\"a\":01}"), ROW("{\"a\":1,}"), ROW("{\"a\":NaN}"), ROW("{\"a\":Infinity}"),
        ROW("{\"a\":1e400}"), ROW("{\"a\":99999999999999999999}"), ROW("{\"a\":\"\\u0000\"}"),
        ROW("{\"a\0b\":1}"), ROW("{\"a\":\"\0\"}"), ROW("{\"a\":\"\xff\"}"),
        ROW("{\"a\":\"\xc0\xaf\"}"), ROW("{\"a\":\"\xed\xa0\x80\"}"), ROW("{\"a\":\"\\ud800\"}"),
        ROW("{\"a\":\"\n\"}"), ROW("\xef\xbb\xbf{}"), ROW("{\"a\":tru}"), ROW("[1,2")
#undef ROW
    };
    struct arena *a = arena_new(1024, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_doc d = { 0 };
        struct err e = ERR_INIT;
        ck_assert_msg(read_n(rows[i].json, rows[i].n, a, &d, &e) == ERR_INVALID, "row %zu: %s", i,
            rows[i].json);
        ck_assert_uint_gt(strlen(e.msg), 10);
        ck_assert_ptr_null(d.root);
    }
    arena_free(a);
}
END_TEST

START_TEST(says_where)
{
    struct arena *a = arena_new(1024, 0);
    struct json_doc d = { 0 };
    struct err e = ERR_INIT;
    ck_assert_err(read_n("{\n  \"a\": ?}", 11, a, &d, &e), ERR_INVALID);
    ck_assert_msg(strstr(e.msg, "line 2, column 8") != NULL, "%s", e.msg);
    char text[] = "{\"vector\":[1.5,2.5,3.5], \"a\": ?}";
    static const char *const paths[] = { "/vector", NULL };
    ck_assert_err(json_read(text, sizeof text - 1, paths, a, &d, &e), ERR_INVALID);
    ck_assert_msg(strstr(e.msg, "byte 31") != NULL, "%s", e.msg);
    /* but not what: messages are logged */
    ck_assert_err(read_n("{\"a\": secret}", 13, a, &d, &e), ERR_INVALID);
    ck_assert_msg(strstr(e.msg, "secret") == NULL, "%s", e.msg);
    arena_free(a);
}
END_TEST

START_TEST(bounds_the_nesting)
{
    struct arena *a = arena_new(1024, 0);
    char text[200];
    for (size_t depth = 60; depth <= 70; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct json_doc d = { 0 };
        struct err e = ERR_INIT;
        ck_assert_int_eq(read_n(text, 2 * depth, a, &d, &e), depth <= 64 ? ERR_OK : ERR_INVALID);
        json_doc_done(&d);
    }
    enum { MANY = 1 << 20 };
    char *deep = mem_alloc(MANY, 1);
    memset(deep, '[', MANY);
    struct json_doc d = { 0 };
    struct err e = ERR_INIT;
    ck_assert_err(read_n(deep, MANY, a, &d, &e), ERR_INVALID);
    mem_free(deep);
    arena_free(a);
}
END_TEST

START_TEST(writes_trees_back)
{
    static const struct {
        const char *json, *text;
    } rows[] = {
        { "{\"b\": [1, 2.50, -0.1, 1e2, 5.0], \"a\": {\"z\": null, \"y\": true}, \"aa\": "
          "\"x\\ty\"}",
            "{\"a\":{\"y\":true,\"z\":null},\"aa\":\"x\\ty\",\"b\":[1,2.5,-0.1,100.0,5.0]}" },
        { "{}", "{}" }, { "[]", "[]" }, { "{\"\":{\"\":[[]]}}", "{\"\":{\"\":[[]]}}" },
        { "[9223372036854775807,-9223372036854775808]",
            "[9223372036854775807,-9223372036854775808]" }
    };
    struct arena *a = arena_new(1024, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_doc d = { 0 };
        struct err e = ERR_INIT;
        struct str text = { 0 };
        ck_assert_ok(read_n(rows[i].json, strlen(rows[i].json), a, &d, &e), &e);
        ck_assert_ok(json_text(d.root, a, &text, &e), &e);
        ck_assert_str_eq(text.p, rows[i].text);
        json_doc_done(&d);
    }
    arena_free(a);
}
END_TEST

/* Random pieces of JSON, most of them malformed. What we take must be what jansson alone takes: lifting
 * vectors out must not make bad text good, and must not change the rest. */
START_TEST(agrees_with_the_parser_alone)
{
    static const char *const pieces[] = { "{", "}", "[", "]", ",", ":", "\"vector\"", "\"items\"",
        "\"a\"", "1", "2.5", "-0", "[1]", "[1,2,3]", "[0.5,-1e3,7]", "5", "null", "\"x\"", " ",
        "{\"vector\":[1,2,3]", "\"v\\u0065ctor\":", "{\"items\":[", "{\"vector\":", "]}", "[1 ]",
        "e", "\\", "\"" };
    static const char *const paths[] = { "/vector", "/items/[]/vector", NULL };
    struct rng r;
    rng_init(&r, 4242);
    size_t taken = 0, lifted = 0;
    struct arena *a = arena_new(1024, 0);
    for (int i = 0; i < 300000; i++) {
        char text[256] = "", copy[256];
        size_t n = 1 + rng_below(&r, 10);
        for (size_t j = 0; j < n; j++)
            (void)strcat(text, pieces[rng_below(&r, sizeof pieces / sizeof pieces[0])]);
        (void)strcpy(copy, text);
        json_t *alone = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        struct json_doc d = { 0 };
        struct err e = ERR_INIT;
        arena_clear(a);
        if (json_read(copy, strlen(copy), paths, a, &d, &e) == ERR_OK) {
            ck_assert_msg(alone != NULL, "only we take %s", text);
            taken++;
            lifted += d.vectors.n;
            const json_t *v = json_object_get(d.root, "vector"),
                         *w = json_object_get(alone, "vector");
            if (json_is_integer(v)) {
                const struct json_vector *x = &d.vectors.p[json_integer_value(v)].v;
                ck_assert_uint_eq(json_array_size(w), x->n);
                for (size_t j = 0; j < x->n; j++)
                    ck_assert(x->p[j] == (float)json_number_value(json_array_get(w, j)));
            } else {
                ck_assert_msg(json_equal(v, w) || (!v && !w), "%s", text);
            }
        }
        json_doc_done(&d);
        json_decref(alone);
    }
    arena_free(a);
    ck_assert_uint_gt(taken, 100);
    ck_assert_uint_gt(lifted, 50);
}
END_TEST

static enum err_code read_and_write(void)
{
    struct arena *a = arena_new(64, 0);
    if (!a) return ERR_NOMEM;
    struct json_doc d = { 0 };
    struct str text;
    struct err e = ERR_INIT;
    static const char json[] = "{\"a\":[1,2,{\"b\":\"some text\"}],\"c\":{\"d\":1.5}}";
    enum err_code code = read_n(json, sizeof json - 1, a, &d, &e);
    if (code == ERR_OK) code = json_text(d.root, a, &text, &e);
    json_doc_done(&d);
    arena_free(a);
    return code;
}

START_TEST(survives_no_memory)
{
    json_init();
    (void)OOM_LOOP(read_and_write);
}
END_TEST

TEST_SUITE(json_read)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, refuses_what_is_not_strict);
    tcase_add_test(tc, says_where);
    tcase_add_test(tc, bounds_the_nesting);
    tcase_add_test(tc, writes_trees_back);
    tcase_add_test(tc, agrees_with_the_parser_alone);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, survives_no_memory);
    suite_add_tcase(s, oom);
}
