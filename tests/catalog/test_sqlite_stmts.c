/* Statements: every one prepares, none reads a whole table that may be large or sorts, and readers
 * cannot write. */
#include "tests/catalog/fixture.h"

#include <stdio.h>

START_TEST(all_prepare)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    for (int id = 0; id < STMT_COUNT; id++) {
        AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
        ck_assert_ok(catalog__stmt_once(&f.c->writer, (enum stmt_id)id, &s, &e), &e);
        ck_assert_ptr_nonnull(s);
    }
    fixture_close(&f);
}
END_TEST

static bool plan_is_fine(const char *step)
{
    if (strstr(step, "TEMP B-TREE")) return false;
    if (!strstr(step, "SCAN")) return true;
    /* small tables, JSON lists, constant rows, and what pragma-like queries read */
    static const char *const small[] = { "SCAN collection", "SCAN c", "SCAN generation",
        "SCAN run USING INDEX run_open", "SCAN sqlite_schema", "SCAN schema_migrations",
        "SCAN json_each", "SCAN j ", "SCAN CONSTANT ROW" };
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
        if (strncmp(step, small[i], strlen(small[i])) == 0) return true;
    return false;
}

START_TEST(no_plan_scans_or_sorts)
{
    struct fixture f;
    char sql[2048];
    fixture_open(&f);
    for (int id = 0; id < STMT_COUNT; id++) {
        enum stmt_on on = catalog__stmt_on((enum stmt_id)id);
        if (on == STMT_ON_SETUP_WRITER || on == STMT_ON_SETUP_READER) continue;
        AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
        (void)snprintf(
            sql, sizeof sql, "EXPLAIN QUERY PLAN %s", catalog__stmt_sql((enum stmt_id)id));
        if (sqlite3_prepare_v2(f.c->writer.db, sql, -1, &s, NULL) != SQLITE_OK) continue;
        while (sqlite3_step(s) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(s, 3);
            ck_assert_msg(plan_is_fine(step), "%s: %s", catalog__stmt_sql((enum stmt_id)id), step);
        }
    }
    fixture_close(&f);
}
END_TEST

START_TEST(readers_cannot_write)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    AUTO_READ struct reading r = { 0 };
    ck_assert_ok(catalog__read_begin(f.c, &r, &e), &e);
    ck_assert_ptr_null(catalog__stmt(r.conn, STMT_ITEM_INSERT));
    ck_assert_int_ne(
        sqlite3_exec(r.conn->db, "DELETE FROM collection", NULL, NULL, NULL), SQLITE_OK);
    catalog__read_end(&r);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM collection"), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(codes_are_translated)
{
    struct conn none = { 0 };
    struct err e = ERR_INIT;
    static const struct {
        int rc;
        enum err_code code;
    } rows[] = { { SQLITE_FULL, ERR_FULL }, { SQLITE_BUSY, ERR_BUSY },
        { SQLITE_BUSY_SNAPSHOT, ERR_BUSY }, { SQLITE_CORRUPT, ERR_CORRUPT },
        { SQLITE_NOTADB, ERR_CORRUPT }, { SQLITE_NOMEM, ERR_NOMEM },
        { SQLITE_IOERR_NOMEM, ERR_NOMEM }, { SQLITE_IOERR_FSYNC, ERR_IO },
        { SQLITE_CANTOPEN, ERR_IO }, { SQLITE_READONLY, ERR_IO }, { SQLITE_TOOBIG, ERR_LIMIT },
        { SQLITE_MISUSE, ERR_INTERNAL } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(catalog__fail(&none, rows[i].rc, &e, "testing"), rows[i].code);
        ck_assert_ptr_nonnull(strstr(e.msg, "testing"));
    }
}
END_TEST

TEST_SUITE(sqlite_stmts)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, all_prepare);
    tcase_add_test(tc, no_plan_scans_or_sorts);
    tcase_add_test(tc, readers_cannot_write);
    tcase_add_test(tc, codes_are_translated);
    suite_add_tcase(s, tc);
}
