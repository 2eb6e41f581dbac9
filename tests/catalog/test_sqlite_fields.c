/* Field values out of metadata: types, lists, nesting, hostile paths; in and out of item_field. */
#include "tests/catalog/fixture.h"

#include "base/buf.h"

#include <stdio.h>

struct want {
    enum field_value_type type;
    double number;
    const char *text;
};

static void check_value(const struct field_value *v, const struct want *w)
{
    ck_assert_int_eq(v->type, w->type);
    if (w->type == VALUE_INTEGER || w->type == VALUE_BOOLEAN)
        ck_assert_int_eq(v->v.i, (int64_t)w->number);
    else if (w->type == VALUE_NUMBER)
        ck_assert_double_eq(v->v.d, w->number);
    else if (w->type == VALUE_STRING)
        ck_assert_msg(str_is(v->v.s, w->text), "got %.*s", STR_ARG(v->v.s));
}

START_TEST(extracts)
{
    static const struct {
        const char *path, *metadata;
        size_t n;
        struct want want[3];
    } rows[] = {
        { "k", "{}", 0, { { 0 } } },
        { "k", "{\"k\":null}", 1, { { .type = VALUE_NULL } } },
        { "k", "{\"k\":7}", 1, { { VALUE_INTEGER, 7, NULL } } },
        { "k", "{\"k\":-3}", 1, { { VALUE_INTEGER, -3, NULL } } },
        { "k", "{\"k\":9223372036854775808}", 1,
            { { VALUE_NUMBER, 9223372036854775808.0, NULL } } },
        { "k", "{\"k\":1.5}", 1, { { VALUE_NUMBER, 1.5, NULL } } },
        { "k", "{\"k\":2.0}", 1, { { VALUE_NUMBER, 2, NULL } } },
        { "k", "{\"k\":true}", 1, { { VALUE_BOOLEAN, 1, NULL } } },
        { "k", "{\"k\":false}", 1, { { VALUE_BOOLEAN, 0, NULL } } },
        { "k", "{\"k\":\"\"}", 1, { { VALUE_STRING, 0, "" } } },
        { "k", "{\"k\":\"true\"}", 1, { { VALUE_STRING, 0, "true" } } },
        { "k", "{\"k\":\"h\xc3\xa9\\n\\u00e9\"}", 1,
            { { VALUE_STRING, 0, "h\xc3\xa9\n\xc3\xa9" } } },
        { "k", "{\"k\":[]}", 0, { { 0 } } },
        { "k", "{\"k\":[1,\"x\",false]}", 3,
            { { VALUE_INTEGER, 1, NULL }, { VALUE_STRING, 0, "x" }, { VALUE_BOOLEAN, 0, NULL } } },
        { "k", "{\"k\":[null,{\"a\":1},[2]]}", 3,
            { { .type = VALUE_NULL }, { .type = VALUE_OTHER }, { .type = VALUE_OTHER } } },
        { "k", "{\"k\":{}}", 1, { { .type = VALUE_OTHER } } },
        { "k", "{\"k\":{\"a\":1,\"b\":2}}", 1, { { .type = VALUE_OTHER } } },
        { "a.b", "{\"a\":{\"b\":4},\"b\":5}", 1, { { VALUE_INTEGER, 4, NULL } } },
        { "a.b", "{\"a\":[{\"b\":4}]}", 0, { { 0 } } },
        { "a.b", "{\"a\":3}", 0, { { 0 } } },
        { "a.b.c", "{\"a\":{\"b\":{\"c\":\"deep\"}}}", 1, { { VALUE_STRING, 0, "deep" } } },
        { "x[0]", "{\"x\":[1],\"x[0]\":2}", 1, { { VALUE_INTEGER, 2, NULL } } },
        { "$", "{\"$\":2}", 1, { { VALUE_INTEGER, 2, NULL } } },
        { "a b#-'", "{\"a b#-'\":2}", 1, { { VALUE_INTEGER, 2, NULL } } },
        { "jahr\xc3\xa4", "{\"jahr\xc3\xa4\":2}", 1, { { VALUE_INTEGER, 2, NULL } } },
    };
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct catalog_field field = { str_from(rows[i].path), FIELD_STRING };
        struct catalog_collection col = { .fields = &field, .n_fields = 1 };
        struct field_value *v;
        size_t n;
        ck_assert_ok(
            catalog_fields_extract(f.c, &col, str_from(rows[i].metadata), f.a, &v, &n, &e), &e);
        ck_assert_msg(n == rows[i].n, "%s: %zu values", rows[i].metadata, n);
        for (size_t j = 0; j < n; j++)
            check_value(&v[j], &rows[i].want[j]);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(hostile_paths_are_refused)
{
    static const char *const paths[] = { "", ".", "a.", ".a", "a..b", "a\"b", "a\\b", "a\nb", "\"",
        "a\".\"b" };
    static char longer[2000];
    struct fixture f;
    struct err e = ERR_INIT;
    struct str out = STR("untouched");
    fixture_open(&f);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        ck_assert_err(catalog__json_path(str_from(paths[i]), f.a, &out, &e), ERR_INVALID);
        struct catalog_field field = { str_from(paths[i]), FIELD_STRING };
        struct catalog_collection row = fixture_collection("other");
        row.fields = &field;
        row.n_fields = 1;
        ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_INVALID);
    }
    memset(longer, 'a', sizeof longer);
    ck_assert_err(
        catalog__json_path((struct str){ longer, sizeof longer }, f.a, &out, &e), ERR_INVALID);
    ck_assert_err(catalog__json_path((struct str){ "a\0b", 3 }, f.a, &out, &e), ERR_INVALID);
    ck_assert(str_is(out, "untouched"));
    ck_assert_ok(catalog__json_path(STR("a.bc.d"), f.a, &out, &e), &e);
    ck_assert(str_is(out, "$.\"a\".\"bc\".\"d\""));
    fixture_close(&f);
}
END_TEST

START_TEST(bad_metadata_is_refused)
{
    static const char *const texts[] = { "", "{", "{\"year\":}", "{\"year\":1}x", "nonsense" };
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct field_value *v;
        size_t n;
        ck_assert_err(
            catalog_fields_extract(f.c, &f.col, str_from(texts[i]), f.a, &v, &n, &e), ERR_INVALID);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(long_lists_are_cut)
{
    struct buf text = BUF_INIT(0);
    struct fixture f;
    struct err e = ERR_INIT;
    struct field_value *v;
    size_t n;
    fixture_open(&f);
    (void)buf_puts(&text, "{\"year\":[0");
    for (int i = 1; i < 3000; i++)
        (void)buf_printf(&text, ",%d", i);
    (void)buf_puts(&text, "]}");
    ck_assert_ok(buf_check(&text, &e), &e);
    ck_assert_ok(catalog_fields_extract(f.c, &f.col, buf_str(&text), f.a, &v, &n, &e), &e);
    ck_assert_uint_eq(n, CATALOG_FIELD_VALUES_MAX);
    ck_assert_int_eq(v[n - 1].v.i, CATALOG_FIELD_VALUES_MAX - 1);
    buf_done(&text);
    fixture_close(&f);
}
END_TEST

struct seen {
    size_t n, stop_at;
    uint32_t slot[16];
    struct field_value v[16];
};

static enum err_code note(void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    struct seen *s = arg;
    if (s->stop_at && s->n + 1 >= s->stop_at) return err_set(e, ERR_CANCELLED, "enough");
    ck_assert_uint_lt(s->n, 16);
    s->slot[s->n] = slot;
    s->v[s->n++] = *v;
    return ERR_OK;
}

START_TEST(scans_give_what_was_put)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct seen s = { 0 };
    fixture_open(&f);
    (void)fixture_put(
        &f, "k0", "t", "{\"year\":1999,\"tags\":[\"x\",\"y\"],\"other\":{\"n\":1}}", 1);
    (void)fixture_put(&f, "k1", "t", "{\"a\":{\"b\":2.5},\"other\":3}", 1);
    (void)fixture_put(&f, "k2", "t", "{}", 1);
    ck_assert_ok(catalog_fields_scan(f.c, &f.col, note, &s, &e), &e);
    ck_assert_uint_eq(s.n, 4);
    ck_assert_uint_eq(s.slot[0], 0);
    ck_assert_uint_eq(s.v[0].field, 0);
    ck_assert_int_eq(s.v[0].v.i, 1999);
    ck_assert_uint_eq(s.v[2].field, 1);
    ck_assert_int_eq(s.v[2].type, VALUE_STRING);
    ck_assert_uint_eq(s.slot[3], 1);
    ck_assert_uint_eq(s.v[3].field, 2);
    ck_assert_double_eq(s.v[3].v.d, 2.5);
    s = (struct seen){ 0 };
    ck_assert_ok(catalog_path_scan(f.c, &f.col, STR("other"), 0, note, &s, &e), &e);
    ck_assert_uint_eq(s.n, 2);
    ck_assert_int_eq(s.v[0].type, VALUE_OTHER);
    ck_assert_uint_eq(s.slot[1], 1);
    ck_assert_int_eq(s.v[1].v.i, 3);
    ck_assert_err(catalog_path_scan(f.c, &f.col, STR("a\"b"), 0, note, &s, &e), ERR_INVALID);
    s = (struct seen){ .stop_at = 2 };
    ck_assert_err(catalog_fields_scan(f.c, &f.col, note, &s, &e), ERR_CANCELLED);
    fixture_close(&f);
}
END_TEST

static enum err_code ignore(void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    (void)arg;
    (void)slot;
    (void)v;
    (void)e;
    return ERR_OK;
}

START_TEST(path_scan_keeps_its_deadline)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 1, 2, 3, 4 };
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    for (int i = 0; i < 3000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        ck_assert_ok(fixture_put_code(&f, &f.col, key, "t", "{\"z\":1}", v, &r, &e), &e);
    }
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    /* Also where no item has the path, and nothing comes back between the items. */
    ck_assert_err(catalog_path_scan(f.c, &f.col, STR("none"), time_mono_ns() + 1, ignore, NULL, &e),
        ERR_TIMEOUT);
    ck_assert_ok(catalog_path_scan(f.c, &f.col, STR("none"), 0, ignore, NULL, &e), &e);
    ck_assert_ok(
        catalog_path_scan(f.c, &f.col, STR("z"), time_mono_ns() + 60 * NS_PER_S, ignore, NULL, &e),
        &e);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_fields)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, extracts);
    tcase_add_test(tc, hostile_paths_are_refused);
    tcase_add_test(tc, bad_metadata_is_refused);
    tcase_add_test(tc, long_lists_are_cut);
    tcase_add_test(tc, scans_give_what_was_put);
    tcase_add_test(tc, path_scan_keeps_its_deadline);
    suite_add_tcase(s, tc);
}
