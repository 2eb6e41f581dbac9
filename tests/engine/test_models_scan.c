#include "engine/models.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/model_store.h"
#include "tests/engine/rig.h"
#include "tests/support/tiny_model.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Models that come in while the engine runs. */

static struct rig r;
static char models[TMPDIR_PATH_BYTES], staged[TMPDIR_PATH_BYTES];

static void setup(void)
{
    rig_init(&r);
    tmpdir_file(&r.dir, "models", models);
    tmpdir_file(&r.dir, "staged", staged);
    rig_open(&r);
    r.g->models.settle_ns = 0;
}
static void teardown(void)
{
    rig_done(&r);
}

/* As `kindred model add` does: whole, by one rename. */
static void move_in(const char *name)
{
    AUTO_FREE char *from = path_join(staged, name);
    AUTO_FREE char *to = path_join(models, name);
    ck_assert_int_eq(rename(from, to), 0);
}

static enum err_code put_collection(struct collection_op *op, const char *name, struct str model)
{
    CALL c;
    call_init(&c);
    *op = (struct collection_op){ .action = COLLECTION_PUT,
        .spec = { .name = str_from(name), .modality = MODALITY_TEXT, .model = model } };
    return rig_collection(&r, &c, op);
}

START_TEST(found_when_named)
{
    struct collection_op op;
    struct err e = ERR_INIT;
    ck_assert_err(put_collection(&op, "s", STR("late")), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "\"late\""));
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "tiny"));
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "kindred model pull NAME"));
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "kindred model add DIR"));
    ck_assert_str_eq(op.op.err.field, "/model");

    tiny_bert_write(staged, "late", 3);
    move_in("late");
    ck_assert_ok(put_collection(&op, "s", STR("late")), &op.op.err);
    ck_assert_uint_eq(op.info.dimensions, TINY_BERT_DIMENSIONS);
    rig_put(&r, "s", "a", "w1 w2", NULL);

    tiny_model_write(staged, "afterwards", 24, 2);
    move_in("afterwards");
    CALL c;
    call_init(&c);
    engine_models_refresh(r.g, true);
    struct model_info *rows;
    size_t n, found = 0;
    ck_assert_ok(engine_models(r.g, c.arena, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        found += str_is(rows[i].name, "late") || str_is(rows[i].name, "afterwards");
        if (i > 0) ck_assert_int_lt(strcmp(rows[i - 1].name.p, rows[i].name.p), 0);
    }
    ck_assert_uint_eq(found, 2);
    rig_close(&r);
    rig_open(&r);
    struct search_op s = { .collection = STR("s"), .text = STR("w1"), .k = 1 };
    ck_assert_ok(rig_search(&r, &c, &s), &s.op.err);
    ck_assert_uint_eq(s.n_hits, 1);
}
END_TEST

/* Whatever becomes of its folder, a model stays what it is until the next start. */
START_TEST(what_is_there_stays)
{
    struct model *before = models_find(&r.g->models, STR("tiny"));
    char hash[MODEL_HASH_CHARS + 1];
    memcpy(hash, before->weights_hash, sizeof hash);
    tiny_model_write(models, "tiny", RIG_DIM, 77);
    engine_models_refresh(r.g, true);
    ck_assert_ptr_eq(models_find(&r.g->models, STR("tiny")), before);
    ck_assert_str_eq(before->weights_hash, hash);
}
END_TEST

/* A folder that is copied file by file is broken at first. */
START_TEST(a_broken_one_is_tried_again_when_it_changes)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *half = path_join(models, "late");
    AUTO_FREE char *config = path_join(half, "config.json");
    ck_assert_ok(dir_make(half, &e), &e);
    ck_assert_ok(file_write_atomic(config, "{", 1, &e), &e);
    engine_models_refresh(r.g, true);
    ck_assert_ptr_null(models_find(&r.g->models, STR("late")));
    size_t seen = r.g->models.n_seen;
    AUTO_FREE char *weights = path_join(half, "model.safetensors");
    for (int i = 0; i < 2; i++) { /* its parent does not change any more */
        tiny_model_write(models, "late", 24, 2);
        r.g->models.scanned_ns -= 2 * NS_PER_S;
        if (i == 0) ck_assert_int_eq(truncate(weights, 100), 0);
        engine_models_refresh(r.g, true);
        ck_assert(!models_find(&r.g->models, STR("late")) == (i == 0));
    }
    ck_assert_uint_eq(r.g->models.n_seen, seen);
    ck_assert_uint_eq(models_find(&r.g->models, STR("late"))->info->dimensions, 24);
}
END_TEST

/* A second later, as far as the scan knows. */
static void look_again(void)
{
    r.g->models.scanned_ns -= 2 * NS_PER_S;
    engine_models_refresh(r.g, true);
}

static struct model *late(void)
{
    return models_find(&r.g->models, STR("late"));
}

/* Another file's text; the old text of it is kept where asked for. */
static void write_late(const char *file, const char *text, size_t n)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *dir = path_join(models, "late");
    AUTO_FREE char *path = path_join(dir, file);
    ck_assert_ok(file_write_atomic(path, text, n, &e), &e);
}

/* A BERT whose `file` comes after all others: nothing is loaded while files come, and then the whole. */
static void check_late_file(const char *file)
{
    struct err e = ERR_INIT;
    struct collection_op op;
    char whole[MODEL_HASH_CHARS + 1];
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *from = path_join(staged, "late");
    AUTO_FREE char *path = path_join(from, file);
    size_t n;
    tiny_bert_write(staged, "late", 3);
    ck_assert_ok(model_hash(from, whole, &e), &e);
    ck_assert_ok(file_read(path, 1 << 20, &text, &n, &e), &e);
    ck_assert_int_eq(unlink(path), 0);
    r.g->models.settle_ns = 3600 * NS_PER_S;
    move_in("late");
    for (int i = 0; i < 2; i++) {
        look_again();
        ck_assert_ptr_null(late());
        ck_assert_err(put_collection(&op, "s", STR("late")), ERR_NOT_FOUND);
        ck_assert_msg(strstr(op.op.err.msg, "just coming in") != NULL, "%s", op.op.err.msg);
        if (i == 0) write_late(file, text, n);
    }
    r.g->models.settle_ns = 0;
    look_again();
    ck_assert_ptr_nonnull(late());
    ck_assert_str_eq(late()->weights_hash, whole);
}

START_TEST(a_late_modules_json)
{
    check_late_file("modules.json");
}
END_TEST

START_TEST(a_late_pooling)
{
    check_late_file("1_Pooling/config.json");
}
END_TEST

/* Looked at too early, as nothing had come for a while: what does not load is tried again when it is completed. */
static void check_completed(const char *file, const char *half)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *dir = path_join(models, "late");
    AUTO_FREE char *path = path_join(dir, file);
    size_t n = 0;
    tiny_bert_write(models, "late", 3);
    if (file_exists(path)) ck_assert_ok(file_read(path, 1 << 20, &text, &n, &e), &e);
    write_late(file, half, strlen(half));
    for (int i = 0; i < 2; i++) {
        look_again();
        ck_assert_ptr_null(late());
    }
    if (text)
        write_late(file, text, n);
    else
        ck_assert_int_eq(unlink(path), 0); /* of a file that need not be there */
    look_again();
    ck_assert_ptr_nonnull(late());
}

START_TEST(a_broken_one_is_tried_again_with_any_file)
{
    static const char *const files[] = { "1_Pooling/config.json", "tokenizer.json", "vocab.txt" };
    check_completed(files[_i], _i == 2 ? "" : "{\"model\":");
}
END_TEST

/* What proves by its sums that it is whole need not wait. */
START_TEST(a_summed_one_comes_in_at_once)
{
    struct err e = ERR_INIT;
    char name[MODEL_NAME_MAX + 1];
    AUTO_FREE char *from = path_join(staged, "late");
    tiny_bert_write(staged, "late", 3);
    r.g->models.settle_ns = 3600 * NS_PER_S;
    const struct model_add add = { .from = from, .models = models, .kernels = r.g->kernels };
    ck_assert_ok(model_add(&add, name, &e), &e);
    look_again();
    ck_assert_ptr_nonnull(late());
}
END_TEST

static atomic_int holds; /* 1: the lock is held; 2: to be given back */

/* A scan that takes long. */
static void hold_scan(void *arg)
{
    (void)arg;
    mutex_lock(&r.g->models.scan_lock);
    atomic_store(&holds, 1);
    while (atomic_load(&holds) != 2)
        (void)sched_yield();
    mutex_unlock(&r.g->models.scan_lock);
}

START_TEST(a_list_does_not_wait)
{
    tiny_bert_write(staged, "late", 3);
    move_in("late");
    struct thread t;
    struct err e = ERR_INIT;
    atomic_store(&holds, 0);
    ck_assert_ok(thread_start(&t, "hold", hold_scan, NULL, &e), &e);
    while (atomic_load(&holds) != 1)
        (void)sched_yield();
    engine_models_refresh(r.g, false);
    ck_assert_ptr_null(late());
    atomic_store(&holds, 2);
    thread_join(&t);
    engine_models_refresh(r.g, false);
    ck_assert_ptr_nonnull(late());
}
END_TEST

START_TEST(a_folder_is_found_without_loading)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *dir = NULL;
    AUTO_FREE char *weights = NULL;
    tiny_model_write(models, "broken", 24, 2);
    AUTO_FREE char *want = path_join(models, "tiny");
    AUTO_FREE char *broken = path_join(models, "broken");
    weights = path_join(broken, "model.safetensors");
    ck_assert_int_eq(truncate(weights, 10), 0);
    ck_assert_ok(models_find_folder(&r.cfg, STR("tiny"), &dir, &e), &e);
    ck_assert_str_eq(dir, want);
    mem_free(dir);
    dir = NULL;
    ck_assert_ok(models_find_folder(&r.cfg, STR("broken"), &dir, &e), &e);
    ck_assert_str_eq(dir, broken);
    mem_free(dir);
    dir = NULL;
    ck_assert_err(models_find_folder(&r.cfg, STR("none"), &dir, &e), ERR_NOT_FOUND);
}
END_TEST

enum { THREADS = 4 };
static atomic_bool stop;
static atomic_size_t answered;

static void look(void *arg)
{
    size_t *found = arg;
    while (!atomic_load(&stop)) {
        CALL c;
        call_init(&c);
        struct model_info *rows;
        struct err e = ERR_INIT;
        size_t n;
        ck_assert_ok(engine_models(r.g, c.arena, &rows, &n, &e), &e);
        const struct str text = STR("w1 w2");
        struct embed_op op = { .model = STR("late7"), .texts = &text, .n = 1 };
        ck_assert_ptr_nonnull(models_find(&r.g->models, STR("tiny")));
        enum err_code code = rig_embed(&r, &c, &op);
        ck_assert(code == ERR_OK || code == ERR_NOT_FOUND);
        if (code == ERR_OK) *found += 1;
        atomic_fetch_add(&answered, code == ERR_OK);
    }
}

START_TEST(found_while_others_look)
{
    struct thread t[THREADS];
    size_t found[THREADS] = { 0 };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_ok(thread_start(&t[i], "look", look, &found[i], &e), &e);
    for (uint64_t i = 0; i < 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "late%u", (unsigned)i);
        tiny_model_write(staged, name, 24, i);
        move_in(name);
    }
    CALL c;
    call_init(&c);
    const struct str text = STR("w1 w2");
    struct embed_op op = { .model = STR("late7"), .texts = &text, .n = 1 };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.ret_dimensions, 24);
    while (atomic_load(&answered) < THREADS) /* the suite's time limit ends it */
        (void)sched_yield();
    atomic_store(&stop, true);
    size_t all = 0;
    for (size_t i = 0; i < THREADS; i++) {
        thread_join(&t[i]);
        all += found[i];
    }
    ck_assert_uint_ge(all, THREADS);
}
END_TEST

TEST_SUITE(models_scan)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, found_when_named);
    tcase_add_test(tc, what_is_there_stays);
    tcase_add_test(tc, a_broken_one_is_tried_again_when_it_changes);
    tcase_add_test(tc, a_late_modules_json);
    tcase_add_test(tc, a_late_pooling);
    tcase_add_loop_test(tc, a_broken_one_is_tried_again_with_any_file, 0, 3);
    tcase_add_test(tc, a_summed_one_comes_in_at_once);
    tcase_add_test(tc, a_list_does_not_wait);
    tcase_add_test(tc, a_folder_is_found_without_loading);
    tcase_add_test(tc, found_while_others_look);
    suite_add_tcase(s, tc);
}
