/* Opening, the pool of readers, several threads, and every allocation failing in turn. */
#include "tests/catalog/fixture.h"

#include "base/rng.h"
#include "tests/support/oom.h"

#include <stdatomic.h>
#include <stdio.h>

START_TEST(one_process_one_catalog)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog *second = NULL;
    fixture_open(&f);
    ck_assert_err(catalog_open(f.path, &second, &e), ERR_CONFLICT);
    ck_assert_ptr_null(second);
    fixture_reopen(&f);
    catalog_close(NULL);
    fixture_close(&f);
}
END_TEST

START_TEST(settings_are_in_force)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA page_size"), 8192);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA synchronous"), 2);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA secure_delete"), 0);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA foreign_keys"), 1);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA wal_autocheckpoint"), 4000);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA journal_size_limit"), 64 << 20);
    ck_assert_int_eq(fixture_query(&f, "PRAGMA temp_store"), 2);
    ck_assert_int_eq(
        fixture_query(&f, "SELECT journal_mode = 'wal' FROM pragma_journal_mode()"), 1);
    AUTO_READ struct reading r = { 0 };
    ck_assert_ok(catalog__read_begin(f.c, &r, &e), &e);
    AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
    ck_assert_int_eq(sqlite3_prepare_v2(r.conn->db, "PRAGMA wal_autocheckpoint", -1, &s, NULL), 0);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(s, 0), 0);
    ck_assert_int_eq(sqlite3_db_readonly(r.conn->db, "main"), 1);
    sqlite3_reset(s);
    catalog__read_end(&r);
    fixture_close(&f);
}
END_TEST

START_TEST(the_pool_is_bounded)
{
    struct reading r[CATALOG_READERS_MAX] = { 0 }, more = { 0 };
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    f.c->wait_ms = 20;
    for (int i = 0; i < CATALOG_READERS_MAX; i++)
        ck_assert_ok(catalog__read_begin(f.c, &r[i], &e), &e);
    int64_t start = time_mono_ns();
    ck_assert_err(catalog__read_begin(f.c, &more, &e), ERR_BUSY);
    ck_assert_int_ge(time_mono_ns() - start, 20 * NS_PER_MS);
    catalog__read_end(&r[3]);
    ck_assert_ok(catalog__read_begin(f.c, &more, &e), &e);
    catalog__read_end(&more);
    for (int i = 0; i < CATALOG_READERS_MAX; i++)
        catalog__read_end(&r[i]);
    ck_assert_uint_eq(f.c->n_readers, CATALOG_READERS_MAX);
    fixture_close(&f);
}
END_TEST

START_TEST(a_reader_sees_one_state)
{
    struct fixture f;
    struct err e = ERR_INIT;
    bool row;
    fixture_open(&f);
    AUTO_READ struct reading r = { 0 };
    ck_assert_ok(catalog__read_begin(f.c, &r, &e), &e);
    for (int i = 0; i < 2; i++) {
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_COLLECTION_ITEMS);
        catalog__bind_int(s, 1, f.col.id);
        ck_assert_ok(catalog__step(r.conn, s, &row, &e, "testing"), &e);
        ck_assert_int_eq(sqlite3_column_int(s, 0), 0);
        (void)fixture_put(&f, i ? "b" : "a", "t", "{}", 1);
    }
    catalog__read_end(&r);
    size_t n;
    ck_assert_ok(catalog_items_count(f.c, &f.col, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    fixture_close(&f);
}
END_TEST

/* ---- one writer, four readers ---- */

enum { KEYS = 64, THREADS = 4 };

struct crowd {
    struct fixture *f;
    atomic_bool stop;
    atomic_int wrong;
    atomic_long reads;
    _Atomic uint64_t seed;
};

static enum err_code check_vector(void *arg, uint32_t slot, const float *v, struct err *e)
{
    struct crowd *c = arg;
    (void)slot;
    (void)e;
    if (v[0] != v[FIXTURE_DIM - 1]) atomic_fetch_add(&c->wrong, 1);
    return ERR_OK;
}

/* The text of an item is its vector's first value: both are of one state, or this shows it. */
static bool item_is_whole(const struct catalog_item *item)
{
    char want[32];
    if (!item->key.p) return true;
    if (item->n_vector != FIXTURE_DIM) return false;
    (void)snprintf(want, sizeof want, "%d", (int)item->vector[0]);
    return str_is(item->text, want);
}

static void read_some(void *arg)
{
    struct crowd *c = arg;
    struct fixture *f = c->f;
    struct err e = ERR_INIT;
    struct rng rng;
    struct arena *a = arena_new(4096, 0);
    rng_init(&rng, atomic_fetch_add(&c->seed, 1));
    while (!atomic_load(&c->stop)) {
        struct catalog_item *rows;
        size_t n;
        unsigned with = ITEM_WITH_TEXT | ITEM_WITH_VECTOR;
        enum err_code code = catalog_items_page(f->c, &f->col, &f->col.serving,
            (int64_t)rng_below(&rng, KEYS), 20, with, a, &rows, &n, &e);
        for (size_t i = 0; code == ERR_OK && i < n; i++)
            if (!item_is_whole(&rows[i])) atomic_fetch_add(&c->wrong, 1);
        if (code == ERR_OK) code = catalog_vectors_scan(f->c, &f->col.serving, check_vector, c, &e);
        if (code == ERR_OK) code = catalog_items_count(f->c, &f->col, &n, &e);
        if (code != ERR_OK || catalog_size_bytes(f->c) == 0) atomic_fetch_add(&c->wrong, 1);
        atomic_fetch_add(&c->reads, 1);
        arena_clear(a);
    }
    arena_free(a);
}

START_TEST(one_writer_and_readers)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct thread threads[THREADS] = { 0 };
    struct rng rng;
    fixture_open(&f);
    struct crowd crowd = { .f = &f, .seed = 1 };
    f.c->readers_max = THREADS - 1; /* so that they wait for each other too */
    rng_init(&rng, 5);
    for (int i = 0; i < THREADS; i++)
        ck_assert_ok(thread_start(&threads[i], "reader", read_some, &crowd, &e), &e);
    for (int tx = 0; tx < 150 || (atomic_load(&crowd.reads) < 50 && tx < 5000); tx++) {
        ck_assert_ok(catalog_begin(f.c, &e), &e);
        for (int i = 0; i < 5; i++) {
            struct catalog_put_result r;
            int value = (int)rng_below(&rng, 1000);
            const float v[FIXTURE_DIM] = { (float)value, 0, 0, (float)value };
            char key[16], text[16];
            (void)snprintf(key, sizeof key, "k%d", (int)rng_below(&rng, KEYS));
            (void)snprintf(text, sizeof text, "%d", value);
            if (rng_below(&rng, 10) == 0)
                (void)!catalog_item_delete(f.c, &f.col, str_from(key), f.a, &r, &e);
            else
                ck_assert_ok(
                    fixture_put_code(&f, &f.col, key, text, "{\"year\":1}", v, &r, &e), &e);
        }
        ck_assert_ok(catalog_commit(f.c, &e), &e);
        if (tx % 20 == 0) ck_assert_ok(catalog_checkpoint(f.c, &e), &e);
        arena_clear(f.a);
    }
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    ck_assert_int_eq(atomic_load(&crowd.wrong), 0);
    ck_assert_int_ge(atomic_load(&crowd.reads), 50);
    fixture_close(&f);
}
END_TEST

/* ---- no memory ---- */

static enum err_code nothing(void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    (void)arg;
    (void)slot;
    (void)v;
    (void)e;
    return ERR_OK;
}

static enum err_code read_all(struct fixture *f, struct err *e)
{
    struct catalog_collection *cols;
    struct catalog_item item, *rows;
    struct catalog_probe probe;
    struct str key = STR("a");
    uint32_t slot = 0;
    size_t n;
    unsigned with = ITEM_WITH_TEXT | ITEM_WITH_METADATA | ITEM_WITH_VECTOR;
    TRY(catalog_collections(f->c, f->a, &cols, &n, e));
    TRY(catalog_item_get(f->c, &f->col, &f->col.serving, key, with, f->a, &item, e));
    TRY(catalog_items_by_slot(f->c, &f->col, &f->col.serving, &slot, 1, with, f->a, &item, e));
    TRY(catalog_items_page(f->c, &f->col, &f->col.serving, -1, 5, with, f->a, &rows, &n, e));
    TRY(catalog_slots_by_key(f->c, &f->col, &key, 1, &slot, e));
    TRY(catalog_probe(f->c, &f->col, &key, 1, &probe, e));
    TRY(catalog_fields_scan(f->c, &f->col, nothing, NULL, e));
    return catalog_path_scan(f->c, &f->col, STR("x.y"), 0, nothing, NULL, e);
}

/* Reads and writes; what was there before must be there after it, whatever failed. */
static enum err_code read_and_write(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    struct catalog_collection extra = fixture_collection("extra");
    const float v[FIXTURE_DIM] = { 0 };
    TRY(read_all(f, &e));
    TRY(catalog_begin(f->c, &e));
    enum err_code code = catalog_collection_create(f->c, &extra, &e);
    if (code == ERR_OK) code = catalog_savepoint(f->c, &e);
    if (code == ERR_OK)
        code = fixture_put_code(f, &f->col, "a", "new", "{\"tags\":[\"p\"]}", v, &r, &e);
    if (code == ERR_OK)
        code = fixture_put_code(f, &extra, "b", "new", "{\"a\":{\"b\":1}}", v, &r, &e);
    if (code == ERR_OK) code = catalog_release(f->c, &e);
    if (code == ERR_OK) code = catalog_savepoint(f->c, &e);
    if (code == ERR_OK) code = catalog_item_delete(f->c, &f->col, STR("a"), f->a, &r, &e);
    if (code == ERR_OK) code = catalog_undo(f->c, &e);
    catalog_rollback(f->c);
    return code == ERR_OK ? catalog_checkpoint(f->c, &e) : code;
}

static void check_untouched(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct catalog_item item;
    ck_assert_ok(
        catalog_item_get(f->c, &f->col, &f->col.serving, STR("a"), ITEM_WITH_TEXT, f->a, &item, &e),
        &e);
    ck_assert(str_is(item.text, "old"));
    ck_assert_int_eq(fixture_query(f, "SELECT count(*) FROM collection"), 1);
}

START_TEST(no_memory_while_open)
{
    struct fixture f;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "old", "{\"year\":[1,2],\"x\":{\"y\":\"z\"}}", 1);
    check_untouched(&f); /* and there is a reader in the pool */
    (void)oom_loop(read_and_write, &f);
    check_untouched(&f);
    (void)fixture_put(&f, "a", "next", "{}", 2);
    fixture_close(&f);
}
END_TEST

/* Preparing some eighty statements allocates a lot: the whole round is for make check-oom. */
static enum err_code open_and_read(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    f->c = NULL;
    TRY(catalog_open(f->path, &f->c, &e));
    enum err_code code = read_all(f, &e);
    catalog_close(f->c);
    f->c = NULL;
    return code;
}

START_TEST(no_memory_to_open)
{
    struct fixture f;
    struct err e = ERR_INIT;
    if (!test_is_oom_run()) return;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "old", "{}", 1);
    catalog_close(f.c);
    (void)oom_loop(open_and_read, &f);
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    check_untouched(&f);
    fixture_close(&f);
}
END_TEST

/* A new database: the migration too. */
static enum err_code first_open(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog *c = NULL;
    char path[TMPDIR_PATH_BYTES];
    (void)tmpdir_file(&f->dir, "first.db", path);
    enum err_code code = catalog_open(path, &c, &e);
    if (code == ERR_OK) catalog_close(c);
    return code;
}

START_TEST(no_memory_for_the_migration)
{
    struct fixture f;
    if (!test_is_oom_run()) return;
    fixture_open(&f);
    (void)oom_loop(first_open, &f);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_db)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, one_process_one_catalog);
    tcase_add_test(tc, settings_are_in_force);
    tcase_add_test(tc, the_pool_is_bounded);
    tcase_add_test(tc, a_reader_sees_one_state);
    tcase_add_test(tc, one_writer_and_readers);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory_while_open);
    tcase_add_test(oom, no_memory_to_open);
    tcase_add_test(oom, no_memory_for_the_migration);
    suite_add_tcase(s, oom);
}
