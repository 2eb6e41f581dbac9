/* Items of requests: ids, what is needed, and the limits. */
#include "server/item_json.h"

#include "engine/config.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

START_TEST(ids_are_checked)
{
    static char longest[CATALOG_KEY_MAX + 2];
    static const char *const good[] = { "a", " ", "a b", "..", "/", "%", "\xc3\xa9", "\xe2\x82\xac",
        "\xf0\x9f\x90\x88", "a\"b\\c", "\xc2\xa0" };
    static const char *const bad[] = { "", "\n", "a\tb", "\x7f", "\x1f", "a\xc2\x80",
        ("\xc2\x9f"
         "b") };
    struct err e = ERR_INIT;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_ok(item_id_check(&JSON_ROOT, str_from(good[i]), &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_err(item_id_check(&JSON_ROOT, str_from(bad[i]), &e), ERR_INVALID);
    memset(longest, 'x', CATALOG_KEY_MAX);
    ck_assert_ok(item_id_check(&JSON_ROOT, str_from(longest), &e), &e);
    longest[CATALOG_KEY_MAX] = 'x';
    ck_assert_err(item_id_check(&JSON_ROOT, str_from(longest), &e), ERR_INVALID);
}
END_TEST

static struct config cfg;
static struct arena *arena;

static void setup(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(config_init(&cfg, &e), &e);
    cfg.text_max_bytes = 100;
    cfg.metadata_max_bytes = 50;
    arena = arena_new(4096, 0);
    ck_assert_ptr_nonnull(arena);
}

static void teardown(void)
{
    arena_free(arena);
    config_done(&cfg);
}

/* ' stands for " */
static enum err_code read(const char *json, struct upsert_item *ret, struct err *e)
{
    size_t n = strlen(json);
    char *text = arena_strndup(arena, json, n);
    struct json_doc doc;
    struct item_body body = { 0 };
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    TRY(json_read(text, n, item_spec.vectors, arena, &doc, e));
    const struct json_reader r = { .arena = arena, .doc = &doc };
    enum err_code code = json_spec_object(&r, &JSON_ROOT, &item_spec, doc.root, &body, e);
    if (code == ERR_OK) code = item_of_body(&JSON_ROOT, &cfg, arena, &body, ret, e);
    if (code == ERR_OK) { /* strings borrow from the document */
        ret->key.p = arena_strndup(arena, ret->key.p, ret->key.n);
        if (ret->text.p) ret->text.p = arena_strndup(arena, ret->text.p, ret->text.n);
    }
    json_doc_done(&doc);
    return code;
}

START_TEST(items_come_out)
{
    struct upsert_item it = { 0 };
    struct err e = ERR_INIT;
    ck_assert_ok(
        read("{'id':'a','text':'b','metadata':{'z':1,'a':[1.0,{'y':2,'x':3}]}}", &it, &e), &e);
    ck_assert(str_is(it.key, "a"));
    ck_assert(str_is(it.text, "b"));
    ck_assert_msg(str_is(it.metadata, "{\"a\":[1.0,{\"x\":3,\"y\":2}],\"z\":1}"), "%.*s",
        STR_ARG(it.metadata));
    ck_assert_ptr_null(it.vector);

    ck_assert_ok(read("{'vector':[1,2.5],'metadata':null}", &it, &e), &e);
    ck_assert(str_is(it.metadata, "{}"));
    ck_assert_uint_eq(it.n_vector, 2);
    ck_assert_float_eq(it.vector[1], 2.5f);
    ck_assert_ptr_null(it.text.p);
}
END_TEST

START_TEST(ids_are_made)
{
    enum { N = 1000 };
    static char made[N][37];
    struct err e = ERR_INIT;
    for (int i = 0; i < N; i++) {
        struct upsert_item it = { 0 };
        ck_assert_ok(read("{'text':'b'}", &it, &e), &e);
        ck_assert_uint_eq(it.key.n, 36);
        memcpy(made[i], it.key.p, 36);
        ck_assert(
            made[i][8] == '-' && made[i][13] == '-' && made[i][18] == '-' && made[i][23] == '-');
        ck_assert(made[i][14] == '7' && strchr("89ab", made[i][19]));
        /* made later, sorted later, by the millisecond */
        if (i > 0) ck_assert_int_le(strncmp(made[i - 1], made[i], 13), 0);
    }
    qsort(made, N, sizeof made[0], (int (*)(const void *, const void *))strcmp);
    for (int i = 1; i < N; i++)
        ck_assert_str_ne(made[i - 1], made[i]);
}
END_TEST

START_TEST(limits_hold)
{
    struct upsert_item it = { 0 };
    struct err e = ERR_INIT;
    char text[300] = "{'text':'";
    memset(text + 9, 'x', 101);
    strcpy(text + 9 + 100, "'}");
    ck_assert_ok(read(text, &it, &e), &e);
    memset(text + 9, 'x', 101);
    strcpy(text + 9 + 101, "'}");
    ck_assert_err(read(text, &it, &e), ERR_LIMIT);
    ck_assert_str_eq(e.field, "/text");
    ck_assert_err(
        read("{'text':'a','metadata':{'a':'0123456789012345678901234567890123456789012345'}}", &it,
            &e),
        ERR_LIMIT);
    ck_assert_str_eq(e.field, "/metadata");
    ck_assert_err(read("{'text':''}", &it, &e), ERR_EMPTY);
    ck_assert_err(read("{'image':'a'}", &it, &e), ERR_UNPROCESSABLE);
    ck_assert_err(read("{'metadata':{}}", &it, &e), ERR_INVALID);
    ck_assert_err(read("{'text':'a','metadata':5}", &it, &e), ERR_INVALID);
    ck_assert_err(read("{'text':'a','colour':5}", &it, &e), ERR_UNKNOWN_FIELD);
}
END_TEST

TEST_SUITE(item_json)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ids_are_checked);
    tcase_add_test(tc, items_come_out);
    tcase_add_test(tc, ids_are_made);
    tcase_add_test(tc, limits_hold);
    suite_add_tcase(s, tc);
}
