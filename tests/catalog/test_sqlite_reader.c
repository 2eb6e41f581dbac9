/* Reading beside a server: in its process, in another one, after it was killed; and what is refused. */
#include "tests/catalog/fixture.h"

#include "base/fileio.h"
#include "tests/support/oom.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static enum err_code count_items(struct catalog *c, size_t *ret_n, struct err *e)
{
    struct catalog_collection col;
    struct arena *a = arena_new(4096, 0);
    if (!a) return err_set(e, ERR_NOMEM, "no memory");
    enum err_code code = catalog_collection_find(c, 0, STR("things"), a, &col, e);
    if (code == ERR_OK) code = catalog_items_count(c, &col, ret_n, e);
    arena_free(a);
    return code;
}

static int64_t file_bytes(struct fixture *f, const char *suffix)
{
    char path[TMPDIR_PATH_BYTES + 8];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s%s", f->path, suffix);
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

START_TEST(found_by_id_or_name)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_collection col;
    fixture_open(&f);
    struct catalog_collection other = fixture_collection("other");
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    ck_assert_ok(catalog_collection_find(f.c, 0, STR("other"), f.a, &col, &e), &e);
    ck_assert(col.id == other.id && col.serving.id == other.serving.id);
    ck_assert(col.n_fields == FIXTURE_FIELDS && str_is(col.fields[1].path, "tags"));
    ck_assert_ok(catalog_collection_find(f.c, f.col.id, STR("other"), f.a, &col, &e), &e);
    ck_assert(str_is(col.name, "things") && col.serving.dimensions == FIXTURE_DIM);
    ck_assert_err(catalog_collection_find(f.c, 0, STR("othe"), f.a, &col, &e), ERR_NOT_FOUND);
    ck_assert_err(catalog_collection_find(f.c, 99, STR("other"), f.a, &col, &e), ERR_NOT_FOUND);
    ck_assert_ok(catalog_collection_delete(f.c, other.id, &e), &e);
    ck_assert_err(catalog_collection_find(f.c, 0, STR("other"), f.a, &col, &e), ERR_NOT_FOUND);
    ck_assert_err(catalog_collection_find(f.c, other.id, STR(""), f.a, &col, &e), ERR_NOT_FOUND);
    fixture_close(&f);
}
END_TEST

START_TEST(beside_a_writer)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog *r = NULL;
    size_t n;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "a", "{}", 1);
    ck_assert_ok(catalog_open_reader(f.path, &r, &e), &e);
    for (size_t i = 1; i < 20; i++) {
        char key[16];
        ck_assert_ok(count_items(r, &n, &e), &e);
        ck_assert_uint_eq(n, i); /* each commit at once */
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)fixture_put(&f, key, "text", "{}", 1);
        if (i == 10) ck_assert_ok(catalog_checkpoint(f.c, &e), &e);
    }
    ck_assert_uint_gt(catalog_size_bytes(r), 0);
    int64_t wal = file_bytes(&f, "-wal"), db = file_bytes(&f, "");
    ck_assert_int_gt(wal, 0);
    catalog_close(r);
    ck_assert_int_eq(file_bytes(&f, "-wal"), wal);
    ck_assert_int_eq(file_bytes(&f, ""), db);
    (void)fixture_put(&f, "z", "z", "{}", 1);
    fixture_reopen(&f);
    ck_assert_ok(count_items(f.c, &n, &e), &e);
    ck_assert_uint_eq(n, 21);
    fixture_close(&f);
}
END_TEST

START_TEST(writes_are_refused)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    struct field_value *values;
    struct catalog_run run = { 0 };
    const float v[FIXTURE_DIM] = { 0 };
    const struct catalog_put put = { .key = STR("k"), .metadata = STR("{}"), .vector = v };
    size_t n;
    bool more;
    fixture_open(&f);
    run.collection_id = f.col.id;
    catalog_close(f.c);
    f.c = NULL;
    ck_assert_ok(catalog_open_reader(f.path, &f.c, &e), &e);
    struct catalog_collection row = fixture_collection("new");
    ck_assert_err(catalog_begin(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_commit(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_savepoint(f.c, &e), ERR_INTERNAL);
    catalog_rollback(f.c);
    ck_assert_err(catalog_item_put(f.c, &f.col, &f.col.serving, &put, f.a, &r, &e), ERR_INTERNAL);
    ck_assert_err(catalog_item_delete(f.c, &f.col, STR("k"), f.a, &r, &e), ERR_INTERNAL);
    ck_assert_err(catalog_collection_create(f.c, &row, &e), ERR_INTERNAL);
    ck_assert_err(catalog_collection_delete(f.c, f.col.id, &e), ERR_INTERNAL);
    ck_assert_err(catalog_purge(f.c, &more, &e), ERR_INTERNAL);
    ck_assert_err(catalog_checkpoint(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_run_create(f.c, &run, &e), ERR_INTERNAL);
    ck_assert_err(
        catalog_fields_extract(f.c, &f.col, STR("{}"), f.a, &values, &n, &e), ERR_INTERNAL);
    ck_assert_ok(count_items(f.c, &n, &e), &e);
    fixture_close(&f);
}
END_TEST

START_TEST(what_is_no_catalog)
{
    static const char garbage[5000] = "this is not a database, and it is long enough to be none";
    struct fixture f;
    struct err e = ERR_INIT;
    char other[TMPDIR_PATH_BYTES];
    struct catalog *c = NULL;
    sqlite3 *db;
    fixture_open(&f);
    (void)tmpdir_file(&f.dir, "none.db", other);
    ck_assert_err(catalog_open_reader(other, &c, &e), ERR_NOT_FOUND);
    ck_assert_err(catalog_open_reader("/nonexistent/folder/x.db", &c, &e), ERR_NOT_FOUND);
    ck_assert_ok(file_write_atomic(other, garbage, sizeof garbage, &e), &e);
    ck_assert_err(catalog_open_reader(other, &c, &e), ERR_CORRUPT);
    (void)tmpdir_file(&f.dir, "empty.db", other);
    ck_assert_ok(file_write_atomic(other, "", 0, &e), &e);
    ck_assert_err(catalog_open_reader(other, &c, &e), ERR_CORRUPT);
    (void)tmpdir_file(&f.dir, "foreign.db", other);
    ck_assert_int_eq(sqlite3_open(other, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_err(catalog_open_reader(other, &c, &e), ERR_CORRUPT);
    /* A newer schema; an older one is in test_sqlite_migrate.c. */
    ck_assert_int_eq(
        sqlite3_exec(f.c->writer.db, "INSERT INTO schema_migrations VALUES (99, 'x', x'00', 0)",
            NULL, NULL, NULL),
        SQLITE_OK);
    ck_assert_err(catalog_open_reader(f.path, &c, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "newer"));
    ck_assert_ptr_null(c);
    fixture_close(&f);
}
END_TEST

/* ---- other processes. Each is started before this one has the database open: SQLite's locks do not
 * survive a fork. ---- */

/* Items that a reader of its own sees, each time the parent asks; -1: an error. */
static void child_counts(const char *path, int in, int out)
{
    struct err e = ERR_INIT;
    struct catalog *c = NULL;
    char go;
    while (read(in, &go, 1) == 1) {
        int64_t n = -1;
        size_t items;
        if ((c || catalog_open_reader(path, &c, &e) == ERR_OK) &&
            count_items(c, &items, &e) == ERR_OK)
            n = (int64_t)items;
        if (write(out, &n, sizeof n) != (ssize_t)sizeof n) break;
    }
    catalog_close(c);
    _exit(0);
}

static int64_t ask(int to, int from)
{
    int64_t n = -2;
    ck_assert_int_eq(write(to, "", 1), 1);
    ck_assert_int_eq(read(from, &n, sizeof n), (ssize_t)sizeof n);
    return n;
}

START_TEST(in_another_process)
{
    struct fixture f;
    struct err e = ERR_INIT;
    int to[2], from[2], status;
    size_t n;
    fixture_open(&f);
    catalog_close(f.c);
    f.c = NULL;
    ck_assert_int_eq(pipe(to), 0);
    ck_assert_int_eq(pipe(from), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)close(to[1]);
        (void)close(from[0]);
        child_counts(f.path, to[0], from[1]);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    ck_assert_int_eq(ask(to[1], from[0]), 0); /* also without a server */
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    for (int i = 1; i <= 30; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)fixture_put(&f, key, "text", "{}", 1);
        ck_assert_int_eq(ask(to[1], from[0]), i);
        if (i == 15) ck_assert_ok(catalog_checkpoint(f.c, &e), &e);
    }
    fixture_reopen(&f); /* the server may go and come back */
    ck_assert_int_eq(ask(to[1], from[0]), 30);
    (void)fixture_put(&f, "last", "text", "{}", 1);
    ck_assert_int_eq(ask(to[1], from[0]), 31);
    catalog_close(f.c);
    f.c = NULL;
    int64_t wal = file_bytes(&f, "-wal"), db = file_bytes(&f, "");
    ck_assert_int_gt(wal, 0); /* the server was not the last to leave */
    (void)close(to[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(file_bytes(&f, "-wal"), wal); /* and the reader, who was, left it as it is */
    ck_assert_int_eq(file_bytes(&f, ""), db);
    (void)close(from[0]);
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    ck_assert_ok(count_items(f.c, &n, &e), &e);
    ck_assert_uint_eq(n, 31);
    fixture_close(&f);
}
END_TEST

/* A server that commits n items and is killed with a log that was never checkpointed. */
static void child_is_killed(struct fixture *f, int n)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 1, 2, 3, 4 };
    if (catalog_open(f->path, &f->c, &e) != ERR_OK) _exit(1);
    for (int i = 0; i <= n; i++) { /* the last one is not committed */
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        if (catalog_begin(f->c, &e) != ERR_OK) _exit(1);
        if (fixture_put_code(f, &f->col, key, "text", "{}", v, &r, &e) != ERR_OK) _exit(1);
        if (i < n && catalog_commit(f->c, &e) != ERR_OK) _exit(1);
    }
    (void)kill(getpid(), SIGKILL);
    _exit(1);
}

START_TEST(after_a_kill)
{
    enum { N = 40 };
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog *r = NULL;
    int status;
    size_t n;
    fixture_open(&f);
    catalog_close(f.c);
    f.c = NULL;
    int64_t db = file_bytes(&f, "");
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) child_is_killed(&f, N);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    int64_t wal = file_bytes(&f, "-wal");
    ck_assert_int_gt(wal, 0);
    ck_assert_ok(catalog_open_reader(f.path, &r, &e), &e);
    ck_assert_ok(count_items(r, &n, &e), &e);
    ck_assert_uint_eq(n, N);
    ck_assert_int_eq(file_bytes(&f, "-wal"), wal);
    /* The server comes back beside it. */
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    (void)fixture_put(&f, "after", "text", "{}", 1);
    ck_assert_ok(count_items(r, &n, &e), &e);
    ck_assert_uint_eq(n, N + 1);
    catalog_close(r);
    ck_assert_int_ge(file_bytes(&f, "-wal"), wal);
    ck_assert_int_eq(file_bytes(&f, ""), db);
    ck_assert_int_eq(fixture_query(&f,
                         "SELECT count(*) FROM pragma_integrity_check "
                         "WHERE integrity_check <> 'ok'"),
        0);
    fixture_close(&f);
}
END_TEST

static enum err_code open_and_find(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog *r = NULL;
    size_t n = 0;
    TRY(catalog_open_reader(f->path, &r, &e));
    enum err_code code = count_items(r, &n, &e);
    ck_assert(code != ERR_OK || n == 1);
    catalog_close(r);
    return code;
}

/* As with the server's, opening allocates a lot. */
START_TEST(no_memory_to_open)
{
    struct fixture f;
    if (!test_is_oom_run()) return;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "a", "{}", 1);
    (void)oom_loop(open_and_find, &f);
    (void)fixture_put(&f, "b", "b", "{}", 1);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_reader)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, found_by_id_or_name);
    tcase_add_test(tc, beside_a_writer);
    tcase_add_test(tc, writes_are_refused);
    tcase_add_test(tc, what_is_no_catalog);
    tcase_add_test(tc, in_another_process);
    tcase_add_test(tc, after_a_kill);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory_to_open);
    suite_add_tcase(s, oom);
}
