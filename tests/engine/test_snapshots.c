/* Restarts: from a snapshot of the index, with what changed since, and from the catalog where the snapshot is of no use. Also
 * engine/generation.c, engine/replay.c. */
#include "engine/snapshots.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/promote.h"
#include "engine/writer_call.h"
#include "tests/engine/rig.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 300 };
static struct rig r;

/* ---- files of the data folder ---- */

static char *data_file(const char *name, char ret[TMPDIR_PATH_BYTES])
{
    char inner[TMPDIR_PATH_BYTES];
    (void)snprintf(inner, sizeof inner, "data/%s", name);
    return tmpdir_file(&r.dir, inner, ret);
}

static bool has_file(const char *name)
{
    char path[TMPDIR_PATH_BYTES];
    return file_exists(data_file(name, path));
}

static void copy(const char *from, const char *to)
{
    char a[TMPDIR_PATH_BYTES], b[TMPDIR_PATH_BYTES], *p;
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(file_read(data_file(from, a), 1 << 28, &p, &n, &e), &e);
    ck_assert_ok(file_write_atomic(data_file(to, b), p, n, &e), &e);
    mem_free(p);
}

static void make_file(const char *name)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    ck_assert_ok(file_write_atomic(data_file(name, path), "x", 1, &e), &e);
}

/* ---- the log ---- */

static int log_fd = -1;

static void log_begin(void)
{
    char path[TMPDIR_PATH_BYTES];
    if (log_fd >= 0) close(log_fd);
    log_fd = open(tmpdir_file(&r.dir, "log", path), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(log_fd, 0);
    log_set_fd(log_fd);
    log_set_level(LOG_INFO);
}

static bool log_has(const char *text)
{
    char path[TMPDIR_PATH_BYTES], *p;
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(file_read(tmpdir_file(&r.dir, "log", path), 1 << 24, &p, &n, &e), &e);
    bool found = strstr(p, text) != NULL;
    mem_free(p);
    return found;
}

/* ---- the collection "default" ---- */

static struct index_stats stats_now(void)
{
    struct index_stats stats;
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    index_stats(gen->index, &stats);
    return stats;
}

static void wait_linked(void)
{
    while (stats_now().pending)
        usleep(2000);
}

static void verify(size_t items)
{
    struct err e = ERR_INIT;
    rig_check_items(&r, "default", items);
    wait_linked();
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    ck_assert_ok(index_verify(gen->index, &e), &e);
}

static void check_found(size_t i)
{
    char text[64], key[64], want[64];
    rig_text(i, text);
    (void)snprintf(want, sizeof want, "k%zu", i);
    ck_assert_uint_eq(rig_find(&r, "default", text, 1, key), 1);
    ck_assert_str_eq(key, want);
}

static void setup(void)
{
    rig_init(&r);
    rig_set(
        &r, "index.snapshot_seconds", "0"); /* at the end only, but where a test says otherwise */
    rig_open(&r);
    rig_put_many(&r, "default", 0, ITEMS);
    wait_linked();
}

static void teardown(void)
{
    rig_done(&r);
    log_set_level(LOG_OFF);
    log_set_fd(STDERR_FILENO);
    if (log_fd >= 0) close(log_fd);
    log_fd = -1;
}

/* ---- with it ---- */

START_TEST(a_restart_links_nothing_again)
{
    rig_close(&r);
    ck_assert(has_file("index/1-1.idx"));
    double linked = rig_metric("kindred_index_linked_total");
    log_begin();
    rig_open(&r);
    ck_assert_uint_eq(stats_now().pending, 0);
    ck_assert(log_has("event=snapshot_loaded collection=default generation=1 vectors=300 pending=0 "
                      "changes_replayed=0"));
    ck_assert_double_eq(rig_metric("kindred_index_linked_total"), linked);
    for (size_t i = 0; i < ITEMS; i += 17)
        check_found(i);
    verify(ITEMS);
    log_begin();
    rig_close(&r); /* nothing has changed: nothing is written */
    ck_assert(!log_has("event=snapshot_written"));
    rig_open(&r);
}
END_TEST

START_TEST(changes_after_it_are_replayed)
{
    rig_close(&r);
    copy("index/1-1.idx", "kept.idx");
    rig_open(&r);
    rig_put_many(&r, "default", ITEMS, 50);
    for (size_t i = 0; i < 20; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "k%zu", i);
        ck_assert_err(rig_remove(&r, "default", key), ERR_OK);
    }
    rig_put(&r, "default", "k100", "w7 w8 w9", NULL); /* replaced */
    rig_put(&r, "default", "new", "w1 w2", NULL);
    ck_assert_err(rig_remove(&r, "default", "new"), ERR_OK);
    rig_close(&r);
    copy("kept.idx", "index/1-1.idx"); /* as if it had been killed */
    log_begin();
    rig_open(&r);
    ck_assert(log_has("event=snapshot_loaded"));
    ck_assert(log_has("changes_replayed=72"));
    char key[64];
    ck_assert_uint_eq(rig_find(&r, "default", "w7 w8 w9", 1, key), 1);
    ck_assert_str_eq(key, "k100");
    for (size_t i = 20; i < ITEMS + 50; i += 13)
        if (i != 100) check_found(i);
    verify(ITEMS + 50 - 20);
    rig_reopen(&r);
    verify(ITEMS + 50 - 20);
}
END_TEST

/* What is mapped is read when it is needed, and replaced by its own like. */
START_TEST(it_may_be_mapped)
{
    rig_close(&r);
    rig_set(&r, "index.snapshot_map", "true");
    for (size_t round = 0; round < 3; round++) {
        rig_open(&r);
        ck_assert_uint_eq(stats_now().live, ITEMS + round);
        check_found(7);
        rig_put(&r, "default", round ? "b" : "a", "w1 w2 w3 w4 w5", NULL);
        verify(ITEMS + round + (round < 2));
        rig_close(&r);
    }
    rig_open(&r);
}
END_TEST

START_TEST(it_may_be_switched_off)
{
    rig_close(&r);
    rig_set(&r, "index.snapshots", "false");
    log_begin();
    rig_open(&r);
    ck_assert_uint_eq(stats_now().live, ITEMS);
    ck_assert(!log_has("event=snapshot_loaded"));
    verify(ITEMS);
}
END_TEST

/* ---- without it ---- */

static void check_rebuilt(const char *why, size_t items)
{
    log_begin();
    rig_open(&r);
    ck_assert(!log_has("event=snapshot_loaded"));
    ck_assert_msg(log_has("level=warn event=snapshot_unusable"), "no warning");
    ck_assert_msg(log_has(why), "the log does not say why");
    for (size_t i = 0; i < items && i < ITEMS; i += 17)
        check_found(i);
    verify(items);
    rig_reopen(&r); /* and the next one is good again */
    ck_assert(log_has("event=snapshot_loaded"));
}

static void damage(const char *name, long at)
{
    char path[TMPDIR_PATH_BYTES], c;
    int fd = open(data_file(name, path), O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    off_t end = lseek(fd, 0, SEEK_END), place = at >= 0 ? at : end + at;
    ck_assert_int_eq(pread(fd, &c, 1, place), 1);
    c ^= 0x40;
    ck_assert_int_eq(pwrite(fd, &c, 1, place), 1);
    close(fd);
}

START_TEST(a_damaged_one_is_not_used)
{
    static const long places[] = { 3, 100, 4096 + 7, -5 };
    rig_close(&r);
    damage("index/1-1.idx", places[_i]);
    check_rebuilt("code=corrupt", ITEMS);
}
END_TEST

START_TEST(one_cut_short_is_not_used)
{
    char path[TMPDIR_PATH_BYTES];
    rig_close(&r);
    ck_assert_int_eq(truncate(data_file("index/1-1.idx", path), 5000), 0);
    check_rebuilt("code=corrupt", ITEMS);
}
END_TEST

START_TEST(a_missing_one_is_no_trouble)
{
    char path[TMPDIR_PATH_BYTES];
    rig_close(&r);
    ck_assert_int_eq(unlink(data_file("index/1-1.idx", path)), 0);
    log_begin();
    rig_open(&r);
    ck_assert(!log_has("level=warn"));
    verify(ITEMS);
}
END_TEST

/* A copy of the catalog was put back and has gone on, to the same change numbers even: what the snapshot has seen is not what
 * is there. */
START_TEST(one_of_a_catalog_that_was_undone_is_not_used)
{
    rig_close(&r);
    copy("catalog.db", "older.db");
    rig_open(&r);
    rig_put_many(&r, "default", ITEMS, 10);
    rig_close(&r);
    copy("index/1-1.idx", "lost.idx");
    copy("older.db", "catalog.db");
    check_rebuilt("older copy", ITEMS);

    for (size_t i = 0; i < 10; i++) {
        char key[64], text[64];
        (void)snprintf(key, sizeof key, "other%zu", i);
        (void)snprintf(text, sizeof text, "w%zu w%zu", i + 30, i + 60);
        rig_put(&r, "default", key, text, NULL);
    }
    rig_close(&r);
    copy("lost.idx", "index/1-1.idx");
    check_rebuilt("older copy", ITEMS + 10);
}
END_TEST

/* Another generation's file under its name. */
START_TEST(one_of_other_vectors_is_not_used)
{
    rig_make_vectors(&r, "v", RIG_DIM, METRIC_COSINE);
    CALL c;
    call_init(&c);
    float vector[RIG_DIM] = { 1, 2 };
    struct upsert_item item = { .key = STR("a"), .vector = vector, .n_vector = RIG_DIM };
    struct upsert_op op = { .collection = STR("v"), .items = &item, .n = 1 };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    rig_close(&r);
    ck_assert(has_file("index/2-2.idx"));
    copy("index/2-2.idx", "index/1-1.idx");
    log_begin();
    rig_open(&r);
    ck_assert(log_has("event=snapshot_unusable collection=default generation=1"));
    verify(ITEMS);
}
END_TEST

static void edit_catalog(const char *sql)
{
    char path[TMPDIR_PATH_BYTES], *msg = NULL;
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(data_file("catalog.db", path), &db), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &msg) == SQLITE_OK, "%s", msg ? msg : "");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

START_TEST(another_number_of_vectors_is_not_believed)
{
    rig_close(&r);
    edit_catalog("DELETE FROM vector WHERE id & 0xffffffff = 299;"
                 "DELETE FROM item WHERE id & 0xffffffff = 299;"
                 "UPDATE collection SET n_items = 299 WHERE id = 1");
    check_rebuilt("another number of vectors", ITEMS - 1);
}
END_TEST

/* Items without a vector make the number of items no measure: then vectors are counted. */
START_TEST(items_without_vectors_are_not_missed)
{
    rig_close(&r);
    edit_catalog("DELETE FROM vector WHERE id & 0xffffffff = 299");
    char path[TMPDIR_PATH_BYTES];
    ck_assert_int_eq(unlink(data_file("index/1-1.idx", path)), 0);
    rig_open(&r);
    ck_assert_uint_eq(stats_now().live, ITEMS - 1);
    rig_close(&r);
    log_begin();
    rig_open(&r);
    ck_assert(log_has("event=snapshot_loaded"));
    ck_assert_uint_eq(stats_now().live, ITEMS - 1);
}
END_TEST

/* ---- writing it ---- */

START_TEST(it_is_written_while_serving)
{
    rig_close(&r);
    rig_set(&r, "index.snapshot_seconds", "1");
    rig_open(&r);
    copy("index/1-1.idx", "kept.idx");
    log_begin();
    rig_put_many(&r, "default", ITEMS, ITEMS);
    for (int i = 0; i < 2000 && !log_has("event=snapshot_written"); i++)
        usleep(5000);
    ck_assert(log_has("event=snapshot_written collection=default generation=1"));
}
END_TEST

static atomic_bool stop_changes;
static void change_much(void *arg)
{
    (void)arg;
    for (size_t i = 0; !atomic_load(&stop_changes); i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "k%zu", i % ITEMS);
        if (i % 3 == 2)
            rig_put_many(&r, "default", i % ITEMS, 1);
        else
            (void)!rig_remove(&r, "default", key);
        if (i % 5 == 0) rig_put_many(&r, "default", ITEMS + i, 3);
    }
}

struct save_call {
    struct collection *col;
    struct snapshot_mark mark;
};
static enum err_code take_mark(struct engine *g, void *arg, struct err *e)
{
    struct save_call *s = arg;
    return snapshot_mark_make(
        g, &s->col->row, &s->col->generation->row, atomic_load(&s->col->published), &s->mark, e);
}

/* Each is as good as one of a quiet moment, once what came after its mark is replayed. */
START_TEST(changes_go_on_while_it_is_written)
{
    struct thread thread = { 0 };
    struct err e = ERR_INIT;
    struct save_call s = { .col = registry_find(&r.g->registry, STR("default")) };
    AUTO_GENERATION struct generation *gen = collection_generation(s.col);
    atomic_store(&stop_changes, false);
    ck_assert_ok(thread_start(&thread, "changes", change_much, NULL, &e), &e);
    for (int i = 0; i < 20; i++) {
        ck_assert_ok(writer_call(r.g, take_mark, &s, &e), &e);
        ck_assert_ok(snapshot_save(r.g, &s.col->row, gen, &s.mark, &e), &e);
        usleep(3000);
    }
    copy("index/1-1.idx", "kept.idx");
    atomic_store(&stop_changes, true);
    thread_join(&thread);
    size_t live = stats_now().live;
    collection_unref(s.col);
    generation_unref(steal_ptr(&gen));
    rig_close(&r);
    copy("kept.idx", "index/1-1.idx");
    log_begin();
    rig_open(&r);
    ck_assert(log_has("event=snapshot_loaded"));
    verify(live);
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_one)
{
    rig_close(&r);
    rig_set(&r, "index.snapshot_seconds", "1");
    rig_open(&r);
    rig_put_many(&r, "default", ITEMS, ITEMS);
    wait_linked();
    log_begin();
    fault_disk_full(true);
    for (int i = 0; i < 2000 && !log_has("event=snapshot_failed"); i++)
        usleep(5000);
    fault_disk_full(false);
    ck_assert(
        log_has("level=warn event=snapshot_failed collection=default generation=1 code=full"));
    ck_assert(has_file("index/1-1.idx"));
    check_found(3);
    rig_put(&r, "default", "after", "w1 w2", NULL);
    rig_reopen(&r);
    verify(2 * ITEMS + 1);
}
END_TEST

/* A collection that lacks something is not saved: what it had before stays. */
static bool always(void)
{
    return true;
}
START_TEST(a_dirty_collection_is_not_saved)
{
    rig_close(&r);
    rig_open(&r);
    r.g->writer.fail_publish = always;
    rig_put_many(&r, "default", ITEMS, 5);
    log_begin();
    rig_reopen(&r);
    ck_assert(!log_has("event=snapshot_written"));
    ck_assert(log_has("changes_replayed=5"));
    verify(ITEMS + 5);
}
END_TEST

/* ---- removing it ---- */

static bool is_gone(const char *name)
{
    for (int i = 0; i < 1000 && has_file(name); i++)
        usleep(10000);
    return !has_file(name);
}

START_TEST(it_goes_with_its_collection)
{
    rig_make_vectors(&r, "v", 3, METRIC_L2);
    CALL c;
    call_init(&c);
    float vector[3] = { 1, 2, 3 };
    struct upsert_item item = { .key = STR("a"), .vector = vector, .n_vector = 3 };
    struct upsert_op op = { .collection = STR("v"), .items = &item, .n = 1 };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    rig_reopen(&r);
    ck_assert(has_file("index/2-2.idx"));
    struct collection_op del = { .action = COLLECTION_DELETE, .spec = { .name = STR("v") } };
    ck_assert_ok(rig_collection(&r, &c, &del), &del.op.err);
    ck_assert(is_gone("index/2-2.idx"));
    ck_assert(has_file("index/1-1.idx"));
}
END_TEST

START_TEST(what_nobody_knows_is_swept_up)
{
    rig_close(&r);
    make_file("index/7-9.idx");
    make_file("index/1-1.idx.tmp");
    make_file("index/1-2.idx.tmp.77.0");
    make_file("index/1-1.idx.mine");
    make_file("index/notes.txt");
    rig_open(&r);
    ck_assert(!has_file("index/7-9.idx"));
    ck_assert(!has_file("index/1-1.idx.tmp"));
    ck_assert(!has_file("index/1-2.idx.tmp.77.0"));
    ck_assert(has_file("index/1-1.idx.mine") && has_file("index/notes.txt"));
    ck_assert(has_file("index/1-1.idx"));
}
END_TEST

/* The one that served before keeps its own, so that going back after a restart links nothing; it goes when the version
 * does. */
START_TEST(versions_have_their_own)
{
    int64_t two = rig_make_version(&r, "default", 99);
    ck_assert_err(rig_promote(&r, "default", two, NULL), ERR_OK);
    rig_put_many(&r, "default", ITEMS, 20);
    wait_linked();
    rig_close(&r);
    ck_assert(has_file("index/1-1.idx") && has_file("index/1-2.idx"));
    log_begin();
    rig_open(&r);
    ck_assert(log_has("event=snapshot_loaded collection=default generation=2 vectors=320"));
    ck_assert(!log_has("generation=1"));
    struct promote_report report;
    ck_assert_err(rig_promote(&r, "default", 1, &report), ERR_OK);
    ck_assert_uint_eq(report.replayed, 20);
    ck_assert(log_has("event=snapshot_loaded collection=default generation=1 vectors=300"));
    verify(ITEMS + 20);
    for (size_t i = 0; i < ITEMS + 20; i += 11)
        check_found(i);
    rig_reopen(&r);
    verify(ITEMS + 20);

    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    promote_retire(r.g, col, 0);
    ck_assert(is_gone("index/1-2.idx"));
    ck_assert(has_file("index/1-1.idx"));
}
END_TEST

TEST_SUITE(snapshots)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_restart_links_nothing_again);
    tcase_add_test(tc, changes_after_it_are_replayed);
    tcase_add_test(tc, it_may_be_mapped);
    tcase_add_test(tc, it_may_be_switched_off);
    tcase_add_loop_test(tc, a_damaged_one_is_not_used, 0, 4);
    tcase_add_test(tc, one_cut_short_is_not_used);
    tcase_add_test(tc, a_missing_one_is_no_trouble);
    tcase_add_test(tc, one_of_a_catalog_that_was_undone_is_not_used);
    tcase_add_test(tc, one_of_other_vectors_is_not_used);
    tcase_add_test(tc, another_number_of_vectors_is_not_believed);
    tcase_add_test(tc, items_without_vectors_are_not_missed);
    tcase_add_test(tc, it_is_written_while_serving);
    tcase_add_test(tc, changes_go_on_while_it_is_written);
    tcase_add_test(tc, a_full_disk_leaves_the_old_one);
    tcase_add_test(tc, a_dirty_collection_is_not_saved);
    tcase_add_test(tc, it_goes_with_its_collection);
    tcase_add_test(tc, what_nobody_knows_is_swept_up);
    tcase_add_test(tc, versions_have_their_own);
    suite_add_tcase(s, tc);
}
