/* Collections: create, list, remove, and what an interrupted removal leaves. */
#include "tests/catalog/fixture.h"

#include <stdio.h>

START_TEST(listed_as_created)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_collection *rows,
        raw = { .name = STR("raw"),
            .modality = MODALITY_VECTOR,
            .metric = METRIC_L2,
            .serving = { .dimensions = 4096 },
            .m = 8,
            .ef_construction = 64,
            .ef_search = 32,
            .bits = 12 };
    size_t n;
    fixture_open(&f);
    ck_assert_ok(catalog_collection_create(f.c, &raw, &e), &e);
    fixture_reopen(&f);
    ck_assert_ok(catalog_collections(f.c, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(rows[0].id, f.col.id);
    ck_assert_int_eq(rows[0].serving.id, f.col.serving.id);
    ck_assert(str_is(rows[0].name, "things") && str_is(rows[0].serving.model_name, "text-small"));
    ck_assert_int_eq(rows[0].serving.model_version, 1);
    ck_assert_int_eq(rows[0].created_ms, f.col.created_ms);
    ck_assert_uint_eq(rows[0].n_fields, FIXTURE_FIELDS);
    ck_assert(str_is(rows[0].fields[2].path, "a.b") && rows[0].fields[2].type == FIELD_NUMBER);
    ck_assert(rows[1].modality == MODALITY_VECTOR && rows[1].metric == METRIC_L2);
    ck_assert_uint_eq(rows[1].serving.dimensions, 4096);
    ck_assert(rows[0].bits == 24 && rows[1].bits == 12);
    ck_assert(rows[1].m == 8 && rows[1].ef_construction == 64 && rows[1].ef_search == 32);
    ck_assert(rows[1].serving.model_name.n == 0 && rows[1].serving.model_version == 0 &&
        rows[1].n_fields == 0);
    fixture_close(&f);
}
END_TEST

START_TEST(names_and_limits)
{
    static struct catalog_field many[CATALOG_FIELDS_MAX + 1];
    static char longer[CATALOG_NAME_MAX + 1];
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_collection row = fixture_collection("things");
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_CONFLICT);
    ck_assert_int_eq(row.id, 0);
    row.name.n = 0;
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_INVALID);
    memset(longer, 'n', sizeof longer);
    row.name = (struct str){ longer, sizeof longer };
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_INVALID);
    row.name.n--;
    ck_assert_ok(catalog_collection_create(f.c, &row, &e), &e);
    row = fixture_collection("zero");
    row.serving.dimensions = 0;
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_INVALID);
    row = fixture_collection("many");
    row.fields = many;
    row.n_fields = CATALOG_FIELDS_MAX + 1;
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_TOO_MANY);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM collection"), 2);
    fixture_close(&f);
}
END_TEST

START_TEST(part_of_a_transaction)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_collection row = fixture_collection("inside"), again = row;
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    ck_assert_ok(catalog_collection_create(f.c, &row, &e), &e);
    ck_assert_err(catalog_collection_create(f.c, &again, &e), ERR_CONFLICT);
    ck_assert_ok(catalog_undo(f.c, &e), &e);
    ck_assert_ok(catalog_collection_create(f.c, &again, &e), &e);
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_CONFLICT);
    ck_assert_ok(catalog_commit(f.c, &e), &e); /* a conflict has written nothing */
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM collection"), 2);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM generation"), 2);
    fixture_close(&f);
}
END_TEST

static void fill(struct fixture *f, struct catalog_collection *col, int n)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 1, 2, 3, 4 };
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    for (int i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        ck_assert_ok(fixture_put_code(f, col, key, "t", "{\"year\":1}", v, &r, &e), &e);
        if (i % 10 == 0)
            ck_assert_ok(catalog_item_delete(f->c, col, str_from(key), f->a, &r, &e), &e);
    }
    ck_assert_ok(catalog_commit(f->c, &e), &e);
}

static int64_t rows_left(struct fixture *f)
{
    return fixture_query(f,
        "SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM vector) + "
        "(SELECT count(*) FROM item_field) + (SELECT count(*) FROM tombstone) + "
        "(SELECT count(*) FROM collection_field) + "
        "(SELECT count(*) FROM generation) + (SELECT count(*) FROM collection)");
}

/* Everything, slice by slice; returns how many slices it took. */
static size_t purge(struct fixture *f)
{
    struct err e = ERR_INIT;
    bool more = true;
    size_t n = 0;
    for (; more; n++)
        ck_assert_ok(catalog_purge(f->c, &more, &e), &e);
    return n;
}

START_TEST(removal_takes_everything_of_one)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    fill(&f, &f.col, 50);
    int64_t kept = rows_left(&f);
    struct catalog_collection other = fixture_collection("other");
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    fill(&f, &other, CATALOG_PURGE_ROWS + 500); /* more than one slice */
    ck_assert_ok(catalog_collection_delete(f.c, other.id, &e), &e);
    ck_assert_uint_gt(purge(&f), 2 * (1 + 500 / CATALOG_PURGE_ROWS));
    ck_assert_int_eq(rows_left(&f), kept);
    ck_assert_err(catalog_collection_delete(f.c, other.id, &e), ERR_NOT_FOUND);
    size_t n;
    ck_assert_ok(catalog_items_count(f.c, &other, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    int64_t old = other.id;
    other = fixture_collection("other");
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    ck_assert_int_gt(other.id, old); /* ids are not given twice */
    fixture_close(&f);
}
END_TEST

START_TEST(interrupted_removal_goes_on_after_reopen)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_collection *rows;
    struct catalog_put_result r;
    size_t n;
    fixture_open(&f);
    fill(&f, &f.col, 100);
    ck_assert_ok(catalog_collection_delete(f.c, f.col.id, &e), &e);
    ck_assert_ok(catalog_collections(f.c, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_gt(rows_left(&f), 100);
    ck_assert_ok(catalog_begin(f.c, &e), &e); /* no more writes to it */
    ck_assert_err(catalog_item_delete(f.c, &f.col, STR("k1"), f.a, &r, &e), ERR_NOT_FOUND);
    catalog_rollback(f.c);
    struct catalog_collection again = fixture_collection("things"); /* the name is free */
    ck_assert_ok(catalog_collection_create(f.c, &again, &e), &e);
    fixture_reopen(&f);
    (void)purge(&f);
    ck_assert_int_eq(rows_left(&f), 2 + FIXTURE_FIELDS);
    ck_assert_ok(catalog_collections(f.c, f.a, &rows, &n, &e), &e);
    ck_assert(n == 1 && rows[0].id == again.id);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_collections)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, listed_as_created);
    tcase_add_test(tc, names_and_limits);
    tcase_add_test(tc, part_of_a_transaction);
    tcase_add_test(tc, removal_takes_everything_of_one);
    tcase_add_test(tc, interrupted_removal_goes_on_after_reopen);
    suite_add_tcase(s, tc);
}
