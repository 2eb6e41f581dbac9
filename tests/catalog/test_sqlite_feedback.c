/* Feedback: by text and by item, once each, with the texts of now, gone with its items. */
#include "tests/catalog/fixture.h"

#include "tests/support/oom.h"

static enum err_code put(struct fixture *f, const char *text, uint32_t query_slot, uint32_t slot,
    enum feedback_signal signal)
{
    struct err e = ERR_INIT;
    struct catalog_feedback fb = { .query_slot = query_slot, .slot = slot, .signal = signal };
    if (text) fb.query_text = str_from(text);
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    enum err_code code = catalog_feedback_put(f->c, &f->col, &fb, &e);
    ck_assert_ok(catalog_commit(f->c, &e), &e); /* a refusal has written nothing */
    return code;
}

static size_t page(struct fixture *f, int64_t after, size_t limit, struct feedback_row **ret_rows)
{
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(catalog_feedback_page(f->c, &f->col, after, limit, f->a, ret_rows, &n, &e), &e);
    return n;
}

static size_t count(struct fixture *f)
{
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(catalog_feedback_count(f->c, &f->col, &n, &e), &e);
    return n;
}

/* Three items, a to c in slots 0 to 2, with the texts "text a" to "text c". */
static void open_three(struct fixture *f)
{
    fixture_open(f);
    (void)fixture_put(f, "a", "text a", "{}", 1);
    (void)fixture_put(f, "b", "text b", "{}", 1);
    (void)fixture_put(f, "c", "text c", "{}", 1);
}

START_TEST(once_each)
{
    struct fixture f;
    struct feedback_row *rows;
    open_three(&f);
    ck_assert_uint_eq(page(&f, 0, 10, &rows), 0);
    ck_assert_ok(put(&f, "query", 0, 1, FEEDBACK_CLICK));
    ck_assert_int_eq(
        fixture_query(&f, "UPDATE feedback SET created_ms = 1 RETURNING created_ms"), 1);
    ck_assert_ok(put(&f, "query", 2, 1, FEEDBACK_CLICK)); /* with a text, the slot says nothing */
    ck_assert_uint_eq(count(&f), 1);
    ck_assert_int_gt(fixture_query(&f, "SELECT created_ms FROM feedback"), 1);
    ck_assert_ok(put(&f, "query", 0, 1, FEEDBACK_RELEVANT));
    ck_assert_ok(put(&f, "query", 0, 2, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, "Query", 0, 1, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, NULL, 0, 1, FEEDBACK_IRRELEVANT));
    ck_assert_ok(put(&f, NULL, 0, 1, FEEDBACK_IRRELEVANT));
    ck_assert_uint_eq(count(&f), 5);
    ck_assert_uint_eq(page(&f, 0, 2, &rows), 2);
    ck_assert(str_is(rows[0].query, "query") && str_is(rows[0].item, "text b"));
    ck_assert(rows[0].signal == FEEDBACK_CLICK && rows[1].signal == FEEDBACK_RELEVANT);
    ck_assert_uint_eq(page(&f, rows[1].id, 10, &rows), 3);
    ck_assert(str_is(rows[0].item, "text c") && str_is(rows[1].query, "Query"));
    ck_assert(str_is(rows[2].query, "text a") && rows[2].signal == FEEDBACK_IRRELEVANT);
    ck_assert_uint_eq(page(&f, rows[2].id, 10, &rows), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(refusals)
{
    struct fixture f;
    struct err e = ERR_INIT;
    const struct catalog_feedback fb = { .query_text = STR("q") };
    open_three(&f);
    ck_assert_err(put(&f, "", 0, 1, FEEDBACK_CLICK), ERR_INVALID);
    ck_assert_err(put(&f, "q", 0, 9, FEEDBACK_CLICK), ERR_NOT_FOUND);
    ck_assert_err(put(&f, NULL, 9, 1, FEEDBACK_CLICK), ERR_NOT_FOUND);
    ck_assert_err(put(&f, NULL, UINT32_MAX, 1, FEEDBACK_CLICK), ERR_NOT_FOUND);
    ck_assert_err(catalog_feedback_put(f.c, &f.col, &fb, &e), ERR_INTERNAL); /* no begin */
    struct catalog_collection nowhere = f.col;
    f.col.id += 100;
    ck_assert_err(put(&f, "q", 0, 1, FEEDBACK_CLICK), ERR_NOT_FOUND);
    ck_assert_uint_eq(count(&f), 0);
    f.col = nowhere;
    ck_assert_uint_eq(count(&f), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(follows_its_items)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    struct feedback_row *rows;
    open_three(&f);
    struct catalog_collection other = fixture_collection("other"), things = f.col;
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    f.col = other; /* the same slots elsewhere */
    (void)fixture_put(&f, "x", "other x", "{}", 1);
    (void)fixture_put(&f, "y", "other y", "{}", 1);
    ck_assert_ok(put(&f, NULL, 1, 0, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, "q", 0, 1, FEEDBACK_CLICK));
    f.col = things;
    ck_assert_ok(put(&f, "q", 0, 0, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, "q", 0, 1, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, NULL, 1, 2, FEEDBACK_RELEVANT));
    ck_assert_ok(put(&f, NULL, 0, 2, FEEDBACK_RELEVANT));
    (void)fixture_put(&f, "a", "new a", "{}", 2); /* a new text is the one that counts */
    ck_assert_uint_eq(page(&f, 0, 9, &rows), 4);
    ck_assert(str_is(rows[0].item, "new a") && str_is(rows[3].query, "new a"));
    ck_assert_ok(fixture_delete_code(&f, "b", &r)); /* as item and as query */
    ck_assert_uint_eq(count(&f), 2);
    ck_assert_uint_eq(page(&f, 0, 9, &rows), 2);
    ck_assert(str_is(rows[0].item, "new a") && str_is(rows[1].item, "text c"));
    f.col = other;
    ck_assert_uint_eq(count(&f), 2);
    ck_assert_uint_eq(page(&f, 0, 9, &rows), 2);
    ck_assert(str_is(rows[0].query, "other y") && str_is(rows[0].item, "other x"));
    fixture_close(&f);
}
END_TEST

START_TEST(without_texts_there_is_nothing_to_learn)
{
    struct fixture f;
    struct feedback_row *rows;
    open_three(&f);
    ck_assert_ok(put(&f, "q", 0, 0, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, NULL, 0, 1, FEEDBACK_CLICK));
    ck_assert_ok(put(&f, NULL, 2, 1, FEEDBACK_CLICK));
    ck_assert_int_eq(
        fixture_query(&f, "UPDATE item SET text = NULL WHERE key = 'a' RETURNING 1"), 1);
    ck_assert_uint_eq(count(&f), 3);
    ck_assert_uint_eq(page(&f, 0, 9, &rows), 1);
    ck_assert(str_is(rows[0].query, "text c") && str_is(rows[0].item, "text b"));
    fixture_close(&f);
}
END_TEST

START_TEST(undone_with_its_request)
{
    struct fixture f;
    struct err e = ERR_INIT;
    const struct catalog_feedback fb = { .query_text = STR("q"), .slot = 1 };
    open_three(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    ck_assert_ok(catalog_feedback_put(f.c, &f.col, &fb, &e), &e);
    ck_assert_ok(catalog_undo(f.c, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert_uint_eq(count(&f), 0);
    fixture_close(&f);
}
END_TEST

static enum err_code put_and_read(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    struct feedback_row *rows;
    const struct catalog_feedback fb = { .query_slot = 0, .slot = 1 };
    size_t n;
    TRY(catalog_begin(f->c, &e));
    enum err_code code = catalog_feedback_put(f->c, &f->col, &fb, &e);
    if (code == ERR_OK) code = catalog_item_delete(f->c, &f->col, STR("b"), f->a, &r, &e);
    catalog_rollback(f->c);
    if (code == ERR_OK) code = catalog_feedback_page(f->c, &f->col, 0, 9, f->a, &rows, &n, &e);
    return code == ERR_OK ? catalog_feedback_count(f->c, &f->col, &n, &e) : code;
}

START_TEST(no_memory)
{
    struct fixture f;
    open_three(&f);
    ck_assert_ok(put(&f, "q", 0, 1, FEEDBACK_CLICK));
    ck_assert_uint_eq(count(&f), 1);
    (void)oom_loop(put_and_read, &f);
    ck_assert_uint_eq(count(&f), 1);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_feedback)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, once_each);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, follows_its_items);
    tcase_add_test(tc, without_texts_there_is_nothing_to_learn);
    tcase_add_test(tc, undone_with_its_request);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory);
    suite_add_tcase(s, oom);
}
