/* Items, reading: by slot, by key, pages, probes. */
#include "tests/catalog/fixture.h"

#include <stdio.h>

enum { ALL = ITEM_WITH_TEXT | ITEM_WITH_METADATA | ITEM_WITH_VECTOR };

static void fill(struct fixture *f, int n)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    for (int i = 0; i < n; i++) {
        const float v[FIXTURE_DIM] = { (float)i };
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        ck_assert_ok(fixture_put_code(f, &f->col, key, key, "{\"year\":1}", v, &r, &e), &e);
    }
    ck_assert_ok(catalog_commit(f->c, &e), &e);
}

START_TEST(by_slot_in_the_order_given)
{
    const uint32_t slots[] = { 3, 0, 99, 3, UINT32_MAX };
    struct catalog_item rows[5];
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    fixture_open(&f);
    fill(&f, 5);
    ck_assert_err(fixture_delete_code(&f, "k0", &r), ERR_OK);
    ck_assert_ok(
        catalog_items_by_slot(f.c, &f.col, &f.col.serving, slots, 5, ALL, f.a, rows, &e), &e);
    ck_assert(str_is(rows[0].key, "k3") && str_is(rows[3].key, "k3"));
    ck_assert_float_eq(rows[0].vector[0], 3);
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_eq(rows[i].slot, slots[i]);
        if (i != 0 && i != 3) ck_assert_ptr_null(rows[i].key.p);
    }
    ck_assert_ok(
        catalog_items_by_slot(f.c, &f.col, &f.col.serving, slots, 1, 0, f.a, rows, &e), &e);
    ck_assert(!rows[0].text.p && !rows[0].metadata.p && !rows[0].vector);
    ck_assert_ok(
        catalog_items_by_slot(f.c, &f.col, &f.col.serving, NULL, 0, ALL, f.a, rows, &e), &e);
    fixture_close(&f);
}
END_TEST

START_TEST(ten_thousand_by_slot)
{
    enum { N = 10000 };
    static uint32_t slots[N];
    static struct catalog_item rows[N];
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    fill(&f, N);
    for (uint32_t i = 0; i < N; i++)
        slots[i] = (i * 7919) % N;
    ck_assert_ok(
        catalog_items_by_slot(f.c, &f.col, &f.col.serving, slots, N, ALL, f.a, rows, &e), &e);
    for (uint32_t i = 0; i < N; i++)
        ck_assert(
            rows[i].key.p && rows[i].slot == slots[i] && rows[i].vector[0] == (float)slots[i]);
    fixture_close(&f);
}
END_TEST

START_TEST(pages_follow_each_other)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_item *rows;
    struct catalog_put_result r;
    int64_t after = -1;
    size_t n, total = 0;
    fixture_open(&f);
    fill(&f, 200);
    /* Written to between the pages: what was there and stays is seen once, in slot order. */
    for (int page = 0;; page++) {
        ck_assert_ok(
            catalog_items_page(f.c, &f.col, &f.col.serving, after, 30, ALL, f.a, &rows, &n, &e),
            &e);
        if (n == 0) break;
        for (size_t i = 0; i < n; i++) {
            ck_assert_int_gt((int64_t)rows[i].slot, after);
            after = rows[i].slot;
            if (rows[i].slot < 200 && rows[i].slot % 50 != 0) total++;
            ck_assert_uint_eq(rows[i].n_vector, FIXTURE_DIM);
        }
        if (page < 4) { /* before, behind and beyond the cursor */
            char key[16];
            (void)snprintf(key, sizeof key, "k%d", page * 50);
            ck_assert_err(fixture_delete_code(&f, key, &r), ERR_OK);
            (void)fixture_put(&f, key, "again", "{}", 1);
            (void)fixture_put(&f, "k199", key, "{}", 1);
        }
    }
    ck_assert_uint_eq(total, 196);
    for (int64_t end = UINT32_MAX - 1; end <= (int64_t)UINT32_MAX + 5; end++) {
        ck_assert_ok(
            catalog_items_page(f.c, &f.col, &f.col.serving, end, 10, 0, f.a, &rows, &n, &e), &e);
        ck_assert_uint_eq(n, 0);
    }
    ck_assert_ok(
        catalog_items_page(f.c, &f.col, &f.col.serving, INT64_MAX, 10, 0, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_ok(catalog_items_page(f.c, &f.col, &f.col.serving, -1, 0, 0, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_ok(
        catalog_items_page(f.c, &f.col, &f.col.serving, INT64_MIN, SIZE_MAX, 0, f.a, &rows, &n, &e),
        &e);
    ck_assert_uint_eq(n, 200);
    fixture_close(&f);
}
END_TEST

START_TEST(collections_do_not_see_each_other)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_item *rows, item;
    struct catalog_put_result r;
    size_t n;
    const float v[FIXTURE_DIM] = { 0 };
    fixture_open(&f);
    fill(&f, 3);
    struct catalog_collection other = fixture_collection("other");
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    ck_assert_err(
        catalog_item_get(f.c, &other, &other.serving, STR("k1"), 0, f.a, &item, &e), ERR_NOT_FOUND);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(fixture_put_code(&f, &other, "k1", "mine", "{}", v, &r, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert_uint_eq(r.slot, 0);
    ck_assert_ok(
        catalog_items_page(f.c, &other, &other.serving, -1, 10, ALL, f.a, &rows, &n, &e), &e);
    ck_assert(n == 1 && str_is(rows[0].text, "mine"));
    ck_assert_ok(
        catalog_items_page(f.c, &f.col, &f.col.serving, -1, 10, ALL, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 3);
    fixture_close(&f);
}
END_TEST

START_TEST(probes)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_probe out[3];
    unsigned char want[CATALOG_HASH_BYTES];
    const struct str keys[] = { STR("k1"), STR("nobody"), STR("k0") };
    fixture_open(&f);
    fill(&f, 2);
    ck_assert_ok(catalog_probe(f.c, &f.col, keys, 3, out, &e), &e);
    ck_assert(out[0].found && !out[1].found && out[2].found);
    ck_assert(out[0].slot == 1 && out[1].slot == UINT32_MAX && out[2].slot == 0);
    fixture_hash(STR("k1"), want);
    ck_assert_mem_eq(out[0].content_hash, want, sizeof want);
    fixture_hash(STR("{\"year\":1}"), want);
    ck_assert_mem_eq(out[0].metadata_hash, want, sizeof want);
    fixture_close(&f);
}
END_TEST

START_TEST(wrong_stored_lengths_are_corrupt)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_item item;
    struct catalog_probe probe;
    const struct str key = STR("k0");
    fixture_open(&f);
    fill(&f, 1);
    ck_assert_int_eq(sqlite3_exec(f.c->writer.db,
                         "UPDATE vector SET data = x'0011'; UPDATE item SET content_hash = x'00'",
                         NULL, NULL, NULL),
        SQLITE_OK);
    ck_assert_err(
        catalog_item_get(f.c, &f.col, &f.col.serving, key, ALL, f.a, &item, &e), ERR_CORRUPT);
    ck_assert_err(catalog_probe(f.c, &f.col, &key, 1, &probe, &e), ERR_CORRUPT);
    ck_assert_ok(
        catalog_item_get(f.c, &f.col, &f.col.serving, key, ITEM_WITH_TEXT, f.a, &item, &e), &e);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_items)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, by_slot_in_the_order_given);
    tcase_add_test(tc, ten_thousand_by_slot);
    tcase_add_test(tc, pages_follow_each_other);
    tcase_add_test(tc, collections_do_not_see_each_other);
    tcase_add_test(tc, probes);
    tcase_add_test(tc, wrong_stored_lengths_are_corrupt);
    suite_add_tcase(s, tc);
}
