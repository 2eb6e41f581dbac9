/* Migrations: fresh, again, changed, newer, failing half-way, and other people's files. */
#include "tests/catalog/fixture.h"

#include "base/fileio.h"

enum { RELEASED = 4 }; /* migrations that the program carries */
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
                         "WHERE name IN ('0001_init.sql', '0002_learning.sql', "
                         "'0003_train_method.sql', '0004_index.sql')"),
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
        embedded_migrations_sqlite[1], embedded_migrations_sqlite[2], embedded_migrations_sqlite[3],
        script("0005_more.sql", "CREATE TABLE more (a INTEGER); INSERT INTO more VALUES (7); "),
        end };
    for (int i = 0; i < 2; i++) {
        ck_assert_ok(open_with(&f, files, &e), &e);
        ck_assert_int_eq(fixture_query(&f, "SELECT sum(a) FROM more"), 7);
        ck_assert_int_eq(
            fixture_query(&f, "SELECT max(version) FROM schema_migrations"), RELEASED + 1);
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
        embedded_migrations_sqlite[2], embedded_migrations_sqlite[3], end };
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
        embedded_migrations_sqlite[1], embedded_migrations_sqlite[2], embedded_migrations_sqlite[3],
        script("0005_bad.sql", "CREATE TABLE more (a INTEGER); CREATE TABLE more (b INTEGER);"),
        end };
    ck_assert_err(open_with(&f, files, &e), ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(e.msg, "0005_bad.sql"));
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
        embedded_migrations_sqlite[1], embedded_migrations_sqlite[2], embedded_migrations_sqlite[3],
        script("0006_gap.sql", "SELECT 1"), end };
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

/* ---- a database of the first schema, as its program left it ---- */

static void exec(sqlite3 *db, const char *sql)
{
    char *msg = NULL;
    int rc = sqlite3_exec(db, sql, NULL, NULL, &msg);
    ck_assert_msg(rc == SQLITE_OK, "%s", msg ? msg : "error");
}

/* Collections 1 "docs" (generation 1; slots 0 and 2 live, 1 deleted), 2 (deleted, not yet purged), 3 "raw" (own
 * vectors), 4 "late" (its generation is 5). */
static void write_first_schema(const char *path)
{
    const struct embedded_file files[] = { embedded_migrations_sqlite[0], end };
    struct err e = ERR_INIT;
    struct conn cn = { 0 };
    ck_assert_int_eq(sqlite3_open(path, &cn.db), SQLITE_OK);
    exec(cn.db, "PRAGMA journal_mode = WAL");
    ck_assert_ok(catalog__migrate(&cn, files, &e), &e);
    exec(cn.db,
        "INSERT INTO collection VALUES"
        " (1, 'docs', 0, 0, 4, 16, 200, 64, 1111, 1, 3, 2, 0),"
        " (2, 'gone', 0, 0, 4, 16, 200, 64, 1112, 2, 1, 1, 1),"
        " (3, 'raw', 3, 2, 2, 16, 200, 64, 1113, 3, 0, 0, 0),"
        " (4, 'late', 0, 0, 4, 16, 200, 64, 1114, 5, 0, 0, 0);"
        "INSERT INTO generation VALUES (1, 1, 'text-small', 1, 4, 1, 1111),"
        " (2, 2, 'text-small', 1, 4, 1, 1112), (3, 3, '', 0, 2, 1, 1113),"
        " (5, 4, 'text-small', 1, 4, 1, 1114);"
        "INSERT INTO item (id, key, seq, created_ms, updated_ms, content_hash, metadata_hash, "
        "metadata, text) VALUES"
        " (1 << 32, 'a', 7, 1, 1, zeroblob(32), zeroblob(32), '{}', 'text a'),"
        " ((1 << 32) + 2, 'c', 3, 1, 1, zeroblob(32), zeroblob(32), '{\"year\":1}', 'text c'),"
        " (2 << 32, 'x', 4, 1, 1, zeroblob(32), zeroblob(32), '{}', 'text x');"
        "INSERT INTO tombstone VALUES (1, 6, 1);"
        "INSERT INTO vector VALUES (1 << 32, x'0000803f0000803f0000803f0000803f'),"
        " ((1 << 32) + 2, x'00000040000000400000004000000040'),"
        " (2 << 32, zeroblob(16));"
        "INSERT INTO collection_field VALUES (1, 0, 'year', 0);"
        "INSERT INTO item_field VALUES ((1 << 32) + 2, 0, 0, 1, 1);"
        "UPDATE catalog_state SET seq = 7");
    ck_assert_int_eq(sqlite3_close(cn.db), SQLITE_OK);
}

/* The fixture with that database, opened by this program; f.col is "docs". */
static void open_first_schema(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct catalog *r = NULL;
    fixture_open(f);
    (void)tmpdir_file(&f->dir, "first.db", f->path);
    write_first_schema(f->path);
    catalog_close(f->c);
    f->c = NULL;
    ck_assert_err(catalog_open_reader(f->path, &r, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "older"));
    ck_assert_ok(catalog_open(f->path, &f->c, &e), &e);
    ck_assert_ok(catalog_collection_find(f->c, 0, STR("docs"), f->a, &f->col, &e), &e);
}

START_TEST(first_schema_keeps_its_content)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_generation *gens;
    struct catalog_version *versions;
    struct catalog_collection *cols;
    size_t n;
    open_first_schema(&f);
    ck_assert_int_eq(fixture_query(&f, "SELECT max(version) FROM schema_migrations"), RELEASED);
    ck_assert_ok(catalog_collections(f.c, f.a, &cols, &n, &e), &e);
    ck_assert(n == 3 && cols[0].id == 1 && cols[1].id == 3 && cols[2].id == 4);
    ck_assert(cols[2].serving.id == 5 && cols[1].serving.dimensions == 2);
    ck_assert(cols[0].serving.state == GENERATION_SERVING && cols[0].n_fields == 1);
    ck_assert(cols[0].bits == 24 && cols[0].serving.created_ms == 1111);
    ck_assert_ok(catalog_generations(f.c, &f.col, f.a, &gens, &n, &e), &e);
    ck_assert(n == 1 && gens[0].id == 1 && gens[0].seq == 0);
    ck_assert_ok(catalog_versions(f.c, &f.col, f.a, &versions, &n, &e), &e);
    ck_assert(n == 1 && versions[0].version == 1 && versions[0].state == VERSION_SERVING);
    ck_assert(str_is(versions[0].base_model, "text-small") && versions[0].served_ms == 1111);
    ck_assert_ok(catalog_versions(f.c, &cols[1], f.a, &versions, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM model_version"), 2);
    ck_assert_float_eq(fixture_vector(&f, &f.col.serving, "c"), 2);
    fixture_close(&f);
}
END_TEST

START_TEST(first_schema_learns)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    int64_t seq;
    bool more = true;
    open_first_schema(&f);
    struct catalog_generation next = fixture_generation(&f);
    ck_assert_int_eq(next.id, 6); /* ids go on */
    ck_assert_int_eq(next.model_version, 2);
    fixture_catch_up(&f, &next, 5);
    ck_assert_int_eq(next.seq, 7);
    ck_assert_ok(catalog_generation_serve(f.c, &f.col, &next, 0, &seq, &e), &e);
    f.col.serving = next;
    r = fixture_put(&f, "d", "text d", "{}", 6);
    ck_assert(r.slot == 3 && r.seq == 8);
    while (more) /* what the other program left of the deleted collection */
        ck_assert_ok(catalog_purge(f.c, &more, &e), &e);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM generation"), 4);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item"), 3);
    fixture_reopen(&f);
    ck_assert_float_eq(fixture_vector(&f, &next, "a"), 5);
    ck_assert_int_eq(fixture_query(&f,
                         "SELECT count(*) FROM pragma_integrity_check "
                         "WHERE integrity_check <> 'ok'"),
        0);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
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
    tcase_add_test(tc, first_schema_keeps_its_content);
    tcase_add_test(tc, first_schema_learns);
    suite_add_tcase(s, tc);
}
