#include "engine/models.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/learned.h"
#include "engine/run_folder.h"
#include "tests/engine/rig.h"
#include "tests/support/tiny_model.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct rig r;

static void setup(void)
{
    rig_init(&r);
}
static void teardown(void)
{
    rig_done(&r);
}

static void folder(const char *name, char ret[TMPDIR_PATH_BYTES])
{
    tmpdir_file(&r.dir, name, ret);
}

/* A model that cannot be loaded. */
static void break_model(const char *dir, const char *name)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = path_join(dir, name);
    ck_assert_ok(dir_make(path, &e), &e);
    AUTO_FREE char *config = path_join(path, "config.json");
    ck_assert_ok(file_write_atomic(config, "{", 1, &e), &e);
}

START_TEST(first_folder_wins)
{
    char models[TMPDIR_PATH_BYTES], data[TMPDIR_PATH_BYTES];
    folder("models", models);
    folder("data/models", data);
    tiny_model_write(data, "tiny", 16, 1);   /* hidden by models/tiny */
    tiny_model_write(data, "second", 24, 2); /* only here */
    rig_open(&r);
    struct err e = ERR_INIT;
    struct model_info info, *rows;
    size_t n;
    CALL c;
    call_init(&c);
    ck_assert_ok(engine_model_find(r.g, STR("tiny@1"), c.arena, &info, &e), &e);
    ck_assert_uint_eq(info.dimensions, RIG_DIM);
    ck_assert_int_eq(info.version, 1);
    ck_assert_int_gt(info.created_ms, 0);
    ck_assert_ok(engine_model_find(r.g, STR("second"), c.arena, &info, &e), &e);
    ck_assert_uint_eq(info.dimensions, 24);
    ck_assert_err(engine_model_find(r.g, STR("second@2"), c.arena, &info, &e), ERR_NOT_FOUND);
    ck_assert_ok(engine_models(r.g, c.arena, &rows, &n, &e), &e);
    ck_assert_uint_ge(n, 2); /* what is installed on the machine counts too */
    for (size_t i = 1; i < n; i++)
        ck_assert_int_lt(strcmp(rows[i - 1].name.p, rows[i].name.p), 0);
    ck_assert_ok(engine_ready(r.g, &e), &e);
}
END_TEST

START_TEST(a_broken_one_is_left_out)
{
    char models[TMPDIR_PATH_BYTES], data[TMPDIR_PATH_BYTES];
    folder("models", models);
    folder("data/models", data);
    break_model(models, "hurt");
    tiny_model_write(data, "hurt", 16, 1); /* not taken instead */
    rig_open(&r);
    struct err e = ERR_INIT;
    struct model_info info;
    CALL c;
    call_init(&c);
    ck_assert_err(engine_model_find(r.g, STR("hurt"), c.arena, &info, &e), ERR_NOT_FOUND);
    ck_assert_ok(engine_model_find(r.g, STR("tiny"), c.arena, &info, &e), &e);
}
END_TEST

START_TEST(without_the_default_model_no_start)
{
    struct err e = ERR_INIT;
    rig_set(&r, "default_model", "nobody");
    ck_assert_err(engine_open(&r.cfg, &r.g, &e), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.msg, "nobody"));
    char models[TMPDIR_PATH_BYTES];
    folder("models", models);
    break_model(models, "nobody");
    enum err_code code = engine_open(&r.cfg, &r.g, &e);
    ck_assert(code == ERR_CORRUPT || code == ERR_UNPROCESSABLE);
    ck_assert_ptr_null(r.g);
}
END_TEST

START_TEST(one_server_a_folder)
{
    struct err e = ERR_INIT;
    struct engine *other = NULL;
    rig_open(&r);
    ck_assert_err(engine_open(&r.cfg, &other, &e), ERR_CONFLICT);
    ck_assert_ptr_null(other);
    rig_close(&r);
    rig_open(&r);
}
END_TEST

START_TEST(a_collection_outlives_its_model)
{
    char models[TMPDIR_PATH_BYTES];
    folder("models", models);
    tiny_model_write(models, "second", 24, 2);
    rig_open(&r);
    CALL c;
    call_init(&c);
    struct collection_op op = { .action = COLLECTION_PUT,
        .spec = { .name = STR("s"), .modality = MODALITY_TEXT, .model = STR("second") } };
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    rig_put(&r, "s", "a", "w1 w2", NULL);
    rig_put(&r, "s", "b", "w1 w3", NULL);
    rig_close(&r);
    tiny_model_write(models, "second", 16, 2); /* another dimension: not its model any more */
    rig_open(&r);
    struct search_op s = { .collection = STR("s"), .text = STR("w1"), .k = 2 };
    ck_assert_err(rig_search(&r, &c, &s), ERR_UNPROCESSABLE);
    s.text = (struct str){ 0 };
    s.id = STR("a");
    ck_assert_ok(rig_search(&r, &c, &s), &s.op.err);
    ck_assert_uint_eq(s.n_hits, 1);
    rig_check_items(&r, "s", 2);
}
END_TEST

/* Other weights under the same name would compare vectors of two models. */
START_TEST(other_weights_are_another_model)
{
    char models[TMPDIR_PATH_BYTES];
    folder("models", models);
    tiny_model_write(models, "second", 24, 2);
    rig_open(&r);
    CALL c;
    call_init(&c);
    struct collection_op op = { .action = COLLECTION_PUT,
        .spec = { .name = STR("s"), .modality = MODALITY_TEXT, .model = STR("second") } };
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    rig_put(&r, "s", "a", "w1 w2", NULL);
    for (uint64_t seed = 3; seed >= 2; seed--) {
        rig_close(&r);
        tiny_model_write(models, "second", 24, seed);
        rig_open(&r);
        struct search_op s = { .collection = STR("s"), .text = STR("w1 w2"), .k = 1 };
        ck_assert_err(rig_search(&r, &c, &s), seed == 2 ? ERR_OK : ERR_UNPROCESSABLE);
    }
}
END_TEST

/* Nor does a version that was learned go on under its number with the weights of another one. */
START_TEST(other_weights_are_another_version)
{
    AUTO_FREE char *leftover = run_path(r.cfg.data, 99, "");
    ck_assert_ptr_nonnull(leftover);
    ck_assert_int_eq(dir_make(leftover, NULL), ERR_OK);
    rig_open(&r);
    while (
        dir_exists(leftover)) /* folders of no run are removed at a start, run 1's would be too */
        (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    AUTO_FREE char *run = run_path(r.cfg.data, 1, "");
    ck_assert_ptr_nonnull(run);
    const struct catalog_collection col = { .id = 1, .name = STR("s") };
    struct catalog_version v = { .version = 2, .run_id = 1, .base_model = STR("tiny") };
    struct err e = ERR_INIT;
    char hash[MODEL_HASH_CHARS + 1];
    for (uint64_t seed = 1; seed <= 2; seed++) {
        AUTO_MODEL struct model *m = NULL;
        tiny_model_write(run, "model", RIG_DIM, seed);
        ck_assert_err(learned_load(r.g, &col, &v, &m, &e), seed == 1 ? ERR_OK : ERR_CORRUPT);
        learned_drop(r.g, col.id, v.version);
        if (!m) continue;
        memcpy(hash, m->weights_hash, sizeof hash);
        ck_assert_uint_eq(strlen(hash), MODEL_HASH_CHARS);
        v.weights_hash = str_from(hash);
    }
    ck_assert_ptr_null(models_take_learned(&r.g->models, col.id, v.version));
}
END_TEST

struct loading {
    struct thread thread;
    const struct catalog_collection *col;
    struct catalog_version version;
    struct model *model;
};
static void load_it(void *arg)
{
    struct loading *l = arg;
    struct err e = ERR_INIT;
    if (learned_load(r.g, l->col, &l->version, &l->model, &e) != ERR_OK) l->model = NULL;
}

/* Whoever is later takes what is there: a version has one model, by which its generation is known. */
START_TEST(loaded_twice_at_once)
{
    enum { THREADS = 4 };
    struct err e = ERR_INIT;
    rig_open(&r);
    int64_t version = rig_make_version(&r, "default", 7);
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    for (int round = 0; round < 10; round++) {
        struct loading l[THREADS] = { 0 };
        learned_drop(r.g, col->row.id, version);
        for (size_t i = 0; i < THREADS; i++) {
            l[i].col = &col->row;
            l[i].version = (struct catalog_version){
                .version = version, .run_id = 1, .base_model = STR("tiny")
            };
            ck_assert_ok(thread_start(&l[i].thread, "load", load_it, &l[i], &e), &e);
        }
        for (size_t i = 0; i < THREADS; i++)
            thread_join(&l[i].thread);
        for (size_t i = 0; i < THREADS; i++) {
            ck_assert_ptr_nonnull(l[i].model);
            ck_assert_ptr_eq(l[i].model, l[0].model);
            model_unref(l[i].model);
        }
    }
    ck_assert_uint_eq(r.g->models.n_learned, 1);
}
END_TEST

START_TEST(loaded_while_its_collection_is_deleted)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    rig_open(&r);
    struct collection_op op = { .action = COLLECTION_PUT,
        .spec = { .name = STR("s"), .modality = MODALITY_TEXT } };
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    int64_t version = rig_make_version(&r, "s", 7);
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("s"));
    AUTO_MODEL struct model *m = models_take_learned(&r.g->models, col->row.id, version);
    ck_assert_ptr_nonnull(m);
    learned_settle(r.g, col);
    ck_assert_uint_eq(r.g->models.n_learned, 1);
    char models[TMPDIR_PATH_BYTES];
    folder("models", models);
    AUTO_FREE char *dir = path_join(models, "tiny"); /* the run's folder goes with the collection */
    op.action = COLLECTION_DELETE;
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(r.g->models.n_learned, 0);
    const struct model_spec spec = { .collection = STR("s"),
        .collection_id = col->row.id,
        .base = STR("tiny"),
        .version = version,
        .dir = dir };
    AUTO_MODEL struct model *late = NULL;
    ck_assert_ok(models_add(&r.g->models, &spec, r.g->kernels, &late, &e), &e);
    learned_settle(r.g, col);
    ck_assert_uint_eq(r.g->models.n_learned, 0);
}
END_TEST

TEST_SUITE(models)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, first_folder_wins);
    tcase_add_test(tc, a_broken_one_is_left_out);
    tcase_add_test(tc, without_the_default_model_no_start);
    tcase_add_test(tc, one_server_a_folder);
    tcase_add_test(tc, a_collection_outlives_its_model);
    tcase_add_test(tc, other_weights_are_another_model);
    tcase_add_test(tc, other_weights_are_another_version);
    tcase_add_test(tc, loaded_twice_at_once);
    tcase_add_test(tc, loaded_while_its_collection_is_deleted);
    suite_add_tcase(s, tc);
}
