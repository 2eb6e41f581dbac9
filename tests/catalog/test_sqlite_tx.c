/* The writer's transaction: savepoints, a full disk, the change sequence, kill -9. */
#include "tests/catalog/fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const float vec[FIXTURE_DIM] = { 1, 2, 3, 4 };

static void put(struct fixture *f, const char *key)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    ck_assert_ok(fixture_put_code(f, &f->col, key, key, "{\"year\":1}", vec, &r, &e), &e);
}

static size_t count(struct fixture *f)
{
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(catalog_items_count(f->c, &f->col, &n, &e), &e);
    ck_assert_int_eq(fixture_query(f, "SELECT count(*) FROM item"), (int64_t)n);
    ck_assert_int_eq(fixture_query(f, "SELECT count(*) FROM vector"), (int64_t)n);
    return n;
}

START_TEST(a_request_is_undone_alone)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    put(&f, "a");
    ck_assert_ok(catalog_release(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    put(&f, "b");
    put(&f, "c");
    ck_assert_ok(catalog_item_delete(f.c, &f.col, STR("a"), f.a, &r, &e), &e);
    ck_assert_ok(catalog_undo(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    put(&f, "d");
    ck_assert_ok(catalog_release(f.c, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert_uint_eq(count(&f), 2);
    uint32_t slots[4];
    ck_assert_ok(catalog_slots_by_key(f.c, &f.col,
                     (const struct str[]){ STR("a"), STR("b"), STR("c"), STR("d") }, 4, slots, &e),
        &e);
    ck_assert_uint_eq(slots[0], 0);
    ck_assert_uint_eq(slots[1], UINT32_MAX);
    ck_assert_uint_eq(slots[3], 1); /* dense: undone slots are given to the next item */
    fixture_close(&f);
}
END_TEST

START_TEST(rollback_undoes_all)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    put(&f, "a");
    catalog_rollback(f.c);
    catalog_rollback(f.c);
    ck_assert_uint_eq(count(&f), 0);
    ck_assert_uint_eq(fixture_put(&f, "b", "t", "{}", 1).slot, 0);
    fixture_close(&f);
}
END_TEST

START_TEST(order_of_calls_is_checked)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    ck_assert_err(catalog_commit(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_savepoint(f.c, &e), ERR_INTERNAL);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_err(catalog_begin(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_release(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_undo(f.c, &e), ERR_INTERNAL);
    ck_assert_err(catalog_collection_delete(f.c, f.col.id, &e), ERR_INTERNAL);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    ck_assert_err(catalog_savepoint(f.c, &e), ERR_INTERNAL);
    put(&f, "a");
    ck_assert_err(catalog_commit(f.c, &e), ERR_INTERNAL); /* savepoint open: all is undone */
    ck_assert_uint_eq(count(&f), 0);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    fixture_close(&f);
}
END_TEST

static void limit_pages(struct fixture *f, int64_t pages)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA max_page_count = %lld", (long long)pages);
    (void)fixture_query(f, sql);
}

/* Puts until the database may not grow any more; returns the code of the failure. */
static enum err_code put_until_full(struct fixture *f)
{
    static char text[20000];
    struct err e = ERR_INIT;
    enum err_code code = ERR_OK;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 100 && code == ERR_OK; i++) {
        struct catalog_put_result r;
        char key[16];
        (void)snprintf(key, sizeof key, "big%d", i);
        code = fixture_put_code(f, &f->col, key, text, "{\"year\":3}", vec, &r, &e);
    }
    return code;
}

START_TEST(a_full_disk_loses_nothing_else)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    (void)fixture_put(&f, "kept", "t", "{\"year\":1}", 1);
    limit_pages(&f, fixture_query(&f, "PRAGMA page_count") + 20);
    for (int with_savepoint = 0; with_savepoint < 2; with_savepoint++) {
        ck_assert_ok(catalog_begin(f.c, &e), &e);
        if (with_savepoint) ck_assert_ok(catalog_savepoint(f.c, &e), &e);
        ck_assert_err(put_until_full(&f), ERR_FULL);
        if (with_savepoint) ck_assert_err(catalog_release(f.c, &e), ERR_FULL);
        ck_assert_err(catalog_commit(f.c, &e), ERR_FULL); /* never a half one */
        ck_assert(sqlite3_get_autocommit(f.c->writer.db));
        ck_assert_uint_eq(count(&f), 1);
    }
    /* Undo of the request that met it saves the others, unless SQLite rolled all back. */
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    put(&f, "small");
    ck_assert_ok(catalog_release(f.c, &e), &e);
    ck_assert_ok(catalog_savepoint(f.c, &e), &e);
    ck_assert_err(put_until_full(&f), ERR_FULL);
    enum err_code undone = catalog_undo(f.c, &e);
    if (undone == ERR_OK) {
        ck_assert_ok(catalog_commit(f.c, &e), &e);
    } else {
        ck_assert_int_eq(undone, ERR_FULL);
        catalog_rollback(f.c);
    }
    ck_assert_uint_eq(count(&f), undone == ERR_OK ? 2 : 1);
    limit_pages(&f, 1000000);
    ck_assert_err(put_until_full(&f), ERR_INTERNAL); /* a put without begin */
    ck_assert_uint_eq(fixture_put(&f, "again", "t", "{}", 1).kind, PUT_NEW);
    ck_assert_int_eq(fixture_query(&f,
                         "SELECT count(*) FROM pragma_integrity_check "
                         "WHERE integrity_check <> 'ok'"),
        0);
    fixture_close(&f);
}
END_TEST

START_TEST(sequence_never_goes_back)
{
    struct fixture f;
    struct err e = ERR_INIT;
    int64_t last = 0;
    fixture_open(&f);
    for (int i = 0; i < 4; i++) {
        struct catalog_put_result r = fixture_put(&f, "a", i % 2 ? "odd" : "even", "{}", 1);
        ck_assert_int_gt(r.seq, last);
        last = r.seq;
        if (i == 1) {
            ck_assert_err(fixture_delete_code(&f, "a", &r), ERR_OK);
            ck_assert_int_gt(r.seq, last);
            last = r.seq;
        }
        if (i == 2) { /* all that holds a number goes; the sequence stays */
            ck_assert_ok(catalog_collection_delete(f.c, f.col.id, &e), &e);
            f.col = fixture_collection("things");
            ck_assert_ok(catalog_collection_create(f.c, &f.col, &e), &e);
        }
        fixture_reopen(&f);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(checkpoint_moves_the_wal)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "t", "{}", 1);
    size_t before = catalog_size_bytes(f.c);
    ck_assert_uint_gt(before, 0);
    ck_assert_ok(catalog_checkpoint(f.c, &e), &e);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_checkpoint(f.c, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert_uint_gt(catalog_size_bytes(f.c), 0);
    ck_assert_uint_eq(count(&f), 1);
    fixture_close(&f);
}
END_TEST

/* ---- kill -9 ---- */

enum { KILLS = 5, PER_COMMIT = 7 };

/* Commits batches and writes each one's number to the pipe once commit has returned. */
static void child_commits(struct fixture *f, int from, int fd)
{
    struct err e = ERR_INIT;
    if (catalog_open(f->path, &f->c, &e) != ERR_OK) _exit(2);
    for (int batch = from;; batch++) {
        if (catalog_begin(f->c, &e) != ERR_OK) _exit(3);
        for (int i = 0; i < PER_COMMIT; i++) {
            struct catalog_put_result r;
            char key[32];
            (void)snprintf(key, sizeof key, "b%d-%d", batch, i);
            if (fixture_put_code(f, &f->col, key, key, "{\"tags\":[\"x\"]}", vec, &r, &e) != ERR_OK)
                _exit(4);
        }
        if (catalog_commit(f->c, &e) != ERR_OK) _exit(5);
        if (write(fd, &batch, sizeof batch) != (ssize_t)sizeof batch) _exit(6);
        arena_clear(f->a);
    }
}

/* Highest batch that the child acknowledged before it was killed. */
static int kill_in_the_middle(struct fixture *f, int from)
{
    int fds[2], batch, last = from - 1;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)close(fds[0]);
        child_commits(f, from, fds[1]);
    }
    (void)close(fds[1]);
    /* After some tens of commits; what it still writes before the signal arrives counts as well. */
    while (
        last < from + 10 + from % 7 && read(fds[0], &batch, sizeof batch) == (ssize_t)sizeof batch)
        last = batch;
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    while (read(fds[0], &batch, sizeof batch) == (ssize_t)sizeof batch)
        last = batch;
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    (void)close(fds[0]);
    return last;
}

START_TEST(acknowledged_survives_kill)
{
    struct fixture f;
    struct err e = ERR_INIT;
    int next = 0;
    fixture_open(&f);
    for (int round = 0; round < KILLS; round++) {
        catalog_close(f.c);
        f.c = NULL;
        int last = kill_in_the_middle(&f, next);
        ck_assert_int_ge(last, next);
        ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
        size_t n = count(&f);
        ck_assert_uint_eq(n % PER_COMMIT, 0);
        ck_assert_uint_ge(n, (size_t)(last + 1) * PER_COMMIT);
        ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item_field"), (int64_t)n);
        for (int b = 0; b <= last; b++) {
            struct catalog_item item;
            char key[32];
            (void)snprintf(key, sizeof key, "b%d-%d", b, PER_COMMIT - 1);
            ck_assert_ok(catalog_item_get(f.c, &f.col, &f.col.serving, str_from(key),
                             ITEM_WITH_VECTOR, f.a, &item, &e),
                &e);
            ck_assert_uint_eq(item.n_vector, FIXTURE_DIM);
        }
        ck_assert_int_eq(fixture_query(&f,
                             "SELECT count(*) FROM pragma_integrity_check "
                             "WHERE integrity_check <> 'ok'"),
            0);
        ck_assert_int_eq(fixture_query(&f,
                             "SELECT (SELECT max(seq) FROM item) <= seq "
                             "FROM catalog_state"),
            1);
        next = (int)(n / PER_COMMIT);
    }
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_tx)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_request_is_undone_alone);
    tcase_add_test(tc, rollback_undoes_all);
    tcase_add_test(tc, order_of_calls_is_checked);
    tcase_add_test(tc, a_full_disk_loses_nothing_else);
    tcase_add_test(tc, sequence_never_goes_back);
    tcase_add_test(tc, checkpoint_moves_the_wal);
    tcase_add_test(tc, acknowledged_survives_kill);
    suite_add_tcase(s, tc);
}
