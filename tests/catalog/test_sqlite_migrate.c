/* Migrations: fresh, again, changed, newer, failing half-way, and other people's files. */
#include "tests/catalog/fixture.h"

#include "base/fileio.h"

enum { RELEASED = 2 }; /* migrations that the program carries */
static const struct embedded_file end = { NULL, NULL, 0 };

static struct embedded_file script(const char *name, const char *sql)
{
    return (struct embedded_file){ name, (const unsigned char *)sql, strlen(sql) };
}

static enum err_code open_with(struct fixture *f, const struct embedded_file *files, struct err *e)
{
    catalog_close(f->c);
    f->c = NULL;
    return catalog__open(f->path, files, &f->c, e);
}

START_TEST(fresh_and_again)
{
    struct fixture f;
    fixture_open(&f);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM schema_migrations"), RELEASED);
    ck_assert_int_eq(fixture_query(&f, "SELECT min(length(sha256)) FROM schema_migrations"), 32);
    ck_assert_int_eq(fixture_query(&f,
                         "SELECT count(*) FROM schema_migrations "
                         "WHERE name IN ('0001_init.sql', '0002_learning.sql')"),
        RELEASED);
    fixture_reopen(&f);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM schema_migrations"), RELEASED);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM collection"), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(next_migration_applies_once)
{
    struct err e = ERR_INIT;
    struct fixture f;
    fixture_open(&f);
    const struct embedded_file files[] = { embedded_migrations_sqlite[0],
        embedded_migrations_sqlite[1],
        script("0003_more.sql", "CREATE TABLE more (a INTEGER); INSERT INTO more VALUES (7); "),
        end };
    for (int i = 0; i < 2; i++) {
        ck_assert_ok(open_with(&f, files, &e), &e);
        ck_assert_int_eq(fixture_query(&f, "SELECT sum(a) FROM more"), 7);
        ck_assert_int_eq(fixture_query(&f, "SELECT max(version) FROM schema_migrations"), 3);
    }
    ck_assert_err(open_with(&f, embedded_migrations_sqlite, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "newer"));
    ck_assert_ptr_null(f.c);
    fixture_close(&f);
}
END_TEST

START_TEST(changed_checksum_is_refused)
{
    struct err e = ERR_INIT;
    struct fixture f;
    fixture_open(&f);
    struct embedded_file files[] = { embedded_migrations_sqlite[0], embedded_migrations_sqlite[1],
        end };
    files[0].size--;
    ck_assert_err(open_with(&f, files, &e), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(e.msg, "0001_init.sql"));
    fixture_close(&f);
}
END_TEST

START_TEST(failed_migration_leaves_nothing)
{
    struct err e = ERR_INIT;
    struct fixture f;
    fixture_open(&f);
    const struct embedded_file files[] = { embedded_migrations_sqlite[0],
        embedded_migrations_sqlite[1],
        script("0003_bad.sql", "CREATE TABLE more (a INTEGER); CREATE TABLE more (b INTEGER);"),
        end };
    ck_assert_err(open_with(&f, files, &e), ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(e.msg, "0003_bad.sql"));
    ck_assert_ok(open_with(&f, embedded_migrations_sqlite, &e), &e);
    ck_assert_int_eq(
        fixture_query(&f, "SELECT count(*) FROM sqlite_schema WHERE name = 'more'"), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(numbers_must_follow)
{
    struct err e = ERR_INIT;
    struct fixture f;
    fixture_open(&f);
    const struct embedded_file files[] = { embedded_migrations_sqlite[0],
        embedded_migrations_sqlite[1], script("0004_gap.sql", "SELECT 1"), end };
    ck_assert_err(open_with(&f, files, &e), ERR_INTERNAL);
    fixture_close(&f);
}
END_TEST

START_TEST(other_files_are_refused)
{
    struct err e = ERR_INIT;
    struct fixture f;
    char other[TMPDIR_PATH_BYTES];
    struct catalog *c = NULL;
    sqlite3 *db;
    fixture_open(&f);
    static const char garbage[5000] = "this is not a database, and it is long enough to be none";
    (void)tmpdir_file(&f.dir, "garbage.db", other);
    ck_assert_ok(file_write_atomic(other, garbage, sizeof garbage, &e), &e);
    ck_assert_err(catalog_open(other, &c, &e), ERR_CORRUPT);
    (void)tmpdir_file(&f.dir, "foreign.db", other);
    ck_assert_int_eq(sqlite3_open(other, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_err(catalog_open(other, &c, &e), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(e.msg, "not made by Kindred"));
    ck_assert_err(catalog_open("/nonexistent/folder/x.db", &c, &e), ERR_NOT_FOUND);
    ck_assert_ptr_null(c);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_migrate)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, fresh_and_again);
    tcase_add_test(tc, next_migration_applies_once);
    tcase_add_test(tc, changed_checksum_is_refused);
    tcase_add_test(tc, failed_migration_leaves_nothing);
    tcase_add_test(tc, numbers_must_follow);
    tcase_add_test(tc, other_files_are_refused);
    suite_add_tcase(s, tc);
}
