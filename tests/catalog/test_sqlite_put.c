/* Puts and deletes: kinds, slots, counters, hashes, old values. */
#include "tests/catalog/fixture.h"

#include <math.h>
#include <stdio.h>

static struct catalog_item get(struct fixture *f, const char *key)
{
    struct err e = ERR_INIT;
    struct catalog_item item;
    ck_assert_ok(catalog_item_get(f->c, &f->col, &f->col.serving, str_from(key),
                     ITEM_WITH_TEXT | ITEM_WITH_METADATA | ITEM_WITH_VECTOR, f->a, &item, &e),
        &e);
    return item;
}

START_TEST(new_item_is_stored)
{
    struct fixture f;
    fixture_open(&f);
    struct catalog_put_result r = fixture_put(&f, "a", "hello", "{\"year\":1}", 0.5F);
    ck_assert_int_eq(r.kind, PUT_NEW);
    ck_assert_uint_eq(r.slot, 0);
    ck_assert(r.vector_written);
    ck_assert_uint_eq(r.n_old_values, 0);
    struct catalog_item item = get(&f, "a");
    ck_assert(str_is(item.key, "a") && str_is(item.text, "hello"));
    ck_assert(str_is(item.metadata, "{\"year\":1}"));
    ck_assert_uint_eq(item.n_vector, FIXTURE_DIM);
    ck_assert_near(item.vector, ((float[]){ 0.5F, 0.5F, 0.5F, 0.5F }), 4, 0, 0);
    ck_assert_int_eq(item.model_version, 1);
    ck_assert_int_eq(item.seq, r.seq);
    ck_assert_int_eq(item.created_ms, item.updated_ms);
    ck_assert_int_gt(item.created_ms, INT64_C(1600000000000));
    fixture_close(&f);
}
END_TEST

START_TEST(text_may_be_missing_or_empty)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 0 };
    struct catalog_put put = { .key = STR("none"), .metadata = STR("{}"), .vector = v };
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    (void)fixture_put(&f, "empty", "", "{}", 1);
    ck_assert_ptr_null(get(&f, "none").text.p);
    ck_assert_ptr_nonnull(get(&f, "empty").text.p);
    ck_assert_uint_eq(get(&f, "empty").text.n, 0);
    fixture_close(&f);
}
END_TEST

START_TEST(replace_keeps_slot_and_tells_old_values)
{
    struct fixture f;
    fixture_open(&f);
    (void)fixture_put(&f, "x", "first", "{}", 1);
    struct catalog_put_result a =
        fixture_put(&f, "a", "one", "{\"year\":1,\"tags\":[\"p\",\"q\"]}", 1);
    struct catalog_item before = get(&f, "a");
    struct catalog_put_result b = fixture_put(&f, "a", "two", "{\"year\":2}", 2);
    struct catalog_item after = get(&f, "a");
    ck_assert_int_eq(b.kind, PUT_REPLACED);
    ck_assert_uint_eq(b.slot, a.slot);
    ck_assert(b.vector_written);
    ck_assert_int_gt(b.seq, a.seq);
    ck_assert_uint_eq(b.n_old_values, 3);
    ck_assert_int_eq(b.old_values[0].v.i, 1);
    ck_assert(str_is(b.old_values[2].v.s, "q"));
    ck_assert_int_eq(after.created_ms, before.created_ms);
    ck_assert_float_eq(after.vector[0], 2);
    ck_assert(str_is(after.text, "two"));
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item_field"), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(unchanged_stale_and_metadata_only)
{
    struct fixture f;
    fixture_open(&f);
    ck_assert_int_eq(fixture_put(&f, "a", "one", "{}", NAN).kind, PUT_STALE);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item"), 0);
    struct catalog_put_result a = fixture_put(&f, "a", "one", "{\"year\":1}", 1);
    for (int i = 0; i < 2; i++) { /* without and with a vector */
        struct catalog_put_result r = fixture_put(&f, "a", "one", "{\"year\":1}", i ? 9 : NAN);
        ck_assert_int_eq(r.kind, PUT_UNCHANGED);
        ck_assert_uint_eq(r.slot, a.slot);
        ck_assert_int_eq(get(&f, "a").seq, a.seq);
        ck_assert_float_eq(get(&f, "a").vector[0], 1);
    }
    struct catalog_put_result r = fixture_put(&f, "a", "two", "{}", NAN);
    ck_assert_int_eq(r.kind, PUT_STALE);
    ck_assert_uint_eq(r.slot, a.slot);
    ck_assert(str_is(get(&f, "a").text, "one"));
    r = fixture_put(&f, "a", "one", "{\"year\":5}", NAN);
    ck_assert_int_eq(r.kind, PUT_REPLACED);
    ck_assert(!r.vector_written);
    ck_assert_int_eq(r.old_values[0].v.i, 1);
    ck_assert_float_eq(get(&f, "a").vector[0], 1);
    ck_assert(str_is(get(&f, "a").metadata, "{\"year\":5}"));
    ck_assert_int_eq(fixture_query(&f, "SELECT value FROM item_field"), 5);
    fixture_close(&f);
}
END_TEST

START_TEST(missing_vector_is_stale)
{
    struct fixture f;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "one", "{}", 1);
    ck_assert_int_eq(
        sqlite3_exec(f.c->writer.db, "DELETE FROM vector", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_uint_eq(get(&f, "a").n_vector, 0);
    ck_assert_int_eq(fixture_put(&f, "a", "one", "{}", NAN).kind, PUT_STALE);
    struct catalog_put_result r = fixture_put(&f, "a", "one", "{}", 4);
    ck_assert(r.kind == PUT_REPLACED && r.vector_written);
    ck_assert_float_eq(get(&f, "a").vector[0], 4);
    fixture_close(&f);
}
END_TEST

START_TEST(deleted_slots_are_never_given_again)
{
    struct fixture f;
    struct catalog_put_result r;
    struct err e = ERR_INIT;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "one", "{\"year\":1}", 1);
    (void)fixture_put(&f, "b", "one", "{\"year\":2}", 1);
    ck_assert_err(fixture_delete_code(&f, "b", &r), ERR_OK);
    ck_assert_uint_eq(r.slot, 1);
    ck_assert_uint_eq(r.n_old_values, 1);
    ck_assert_int_eq(r.old_values[0].v.i, 2);
    ck_assert_err(fixture_delete_code(&f, "b", &r), ERR_NOT_FOUND);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM vector"), 1);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item_field"), 1);
    fixture_reopen(&f);
    r = fixture_put(&f, "b", "one", "{\"year\":2}", 1);
    ck_assert_int_eq(r.kind, PUT_NEW);
    ck_assert_uint_eq(r.slot, 2);
    struct catalog_item item;
    ck_assert_err(
        catalog_item_get(f.c, &f.col, &f.col.serving, STR("c"), 0, f.a, &item, &e), ERR_NOT_FOUND);
    size_t n;
    ck_assert_ok(catalog_items_count(f.c, &f.col, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    fixture_close(&f);
}
END_TEST

START_TEST(one_key_twice_in_a_request)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 0 };
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(fixture_put_code(&f, &f.col, "a", "1", "{}", v, &r, &e), &e);
    ck_assert_int_eq(r.kind, PUT_NEW);
    ck_assert_ok(fixture_put_code(&f, &f.col, "a", "2", "{}", v, &r, &e), &e);
    ck_assert_int_eq(r.kind, PUT_REPLACED);
    ck_assert_ok(catalog_item_delete(f.c, &f.col, STR("a"), f.a, &r, &e), &e);
    ck_assert_ok(fixture_put_code(&f, &f.col, "a", "3", "{}", v, &r, &e), &e);
    ck_assert_int_eq(r.kind, PUT_NEW);
    ck_assert_uint_eq(r.slot, 1);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert(str_is(get(&f, "a").text, "3"));
    fixture_close(&f);
}
END_TEST

START_TEST(bad_puts)
{
    static char longer[CATALOG_KEY_MAX + 1];
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 0 };
    struct field_value stranger = { .field = FIXTURE_FIELDS };
    struct catalog_put put = { .key = STR("k"), .metadata = STR("{}"), .vector = v };
    fixture_open(&f);
    memset(longer, 'k', sizeof longer);
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e),
        ERR_INTERNAL); /* no begin */
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    put.key = (struct str){ longer, sizeof longer };
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_INVALID);
    put.key.n = 0;
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_INVALID);
    put.key = STR("k");
    put.values = &stranger;
    put.n_values = 1;
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_INVALID);
    put.n_values = 0;
    put.metadata.p = NULL;
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_INVALID);
    put.metadata = STR("{}");
    f.col.id += 100;
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_NOT_FOUND);
    f.col.id -= 100;
    put.key = (struct str){ longer, CATALOG_KEY_MAX };
    ck_assert_ok(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), &e);
    put.key = (struct str){ "a\0b", 3 }; /* a key is bytes */
    ck_assert_ok(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    struct catalog_item item;
    ck_assert_err(
        catalog_item_get(f.c, &f.col, &f.col.serving, STR("a"), 0, f.a, &item, &e), ERR_NOT_FOUND);
    ck_assert_ok(
        catalog_item_get(f.c, &f.col, &f.col.serving, (struct str){ "a\0b", 3 }, 0, f.a, &item, &e),
        &e);
    ck_assert_uint_eq(item.key.n, 3);
    fixture_close(&f);
}
END_TEST

START_TEST(the_last_slot)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 0 };
    fixture_open(&f);
    ck_assert_int_eq(sqlite3_exec(f.c->writer.db, "UPDATE collection SET next_slot = 4294967294",
                         NULL, NULL, NULL),
        SQLITE_OK);
    ck_assert_uint_eq(fixture_put(&f, "a", "t", "{}", 1).slot, UINT32_MAX - 1);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_err(fixture_put_code(&f, &f.col, "b", "t", "{}", v, &r, &e), ERR_LIMIT);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    uint32_t slots[2];
    ck_assert_ok(
        catalog_slots_by_key(f.c, &f.col, (const struct str[]){ STR("a"), STR("b") }, 2, slots, &e),
        &e);
    ck_assert_uint_eq(slots[0], UINT32_MAX - 1);
    ck_assert_uint_eq(slots[1], UINT32_MAX);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_put)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, new_item_is_stored);
    tcase_add_test(tc, text_may_be_missing_or_empty);
    tcase_add_test(tc, replace_keeps_slot_and_tells_old_values);
    tcase_add_test(tc, unchanged_stale_and_metadata_only);
    tcase_add_test(tc, missing_vector_is_stale);
    tcase_add_test(tc, deleted_slots_are_never_given_again);
    tcase_add_test(tc, one_key_twice_in_a_request);
    tcase_add_test(tc, bad_puts);
    tcase_add_test(tc, the_last_slot);
    suite_add_tcase(s, tc);
}
