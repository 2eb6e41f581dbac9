#include "engine/models.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "tests/engine/rig.h"
#include "tests/support/tiny_model.h"

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
    engine_models_refresh(r.g);
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
    engine_models_refresh(r.g);
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
    engine_models_refresh(r.g);
    ck_assert_ptr_null(models_find(&r.g->models, STR("late")));
    size_t seen = r.g->models.n_seen;
    AUTO_FREE char *weights = path_join(half, "model.safetensors");
    for (int i = 0; i < 2; i++) { /* its parent does not change any more */
        tiny_model_write(models, "late", 24, 2);
        r.g->models.scanned_ns -= 2 * NS_PER_S;
        if (i == 0) ck_assert_int_eq(truncate(weights, 100), 0);
        engine_models_refresh(r.g);
        ck_assert(!models_find(&r.g->models, STR("late")) == (i == 0));
    }
    ck_assert_uint_eq(r.g->models.n_seen, seen);
    ck_assert_uint_eq(models_find(&r.g->models, STR("late"))->info->dimensions, 24);
}
END_TEST

enum { THREADS = 4 };
static atomic_bool stop;

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
    atomic_store(&stop, true);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(&t[i]);
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
    tcase_add_test(tc, found_while_others_look);
    suite_add_tcase(s, tc);
}
