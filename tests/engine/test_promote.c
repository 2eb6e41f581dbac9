/* Promotions and rollbacks. Covers engine/promote.c, engine/catch_up.c, engine/retire.c, engine/learned.c and
 * engine/models_learned.c; under load: test_promote_load.c. */
#include "engine/promote.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/learned.h"
#include "engine/run_folder.h"
#include "engine/runs_internal.h"
#include "tests/engine/promote_fixture.h"
#include "tests/support/oom.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 300 };

/* ---- there and back ---- */

START_TEST(there_and_back)
{
    rig_put_many(&promo_rig, "default", 0, ITEMS);
    ck_assert_int_eq(rig_make_version(&promo_rig, "default", PROMO_SEED_2), 2);
    promo_check_version(1);
    struct promote_report there = promo_to(2);
    ck_assert_uint_eq(there.replayed, ITEMS);
    ck_assert_uint_eq(there.encoded, ITEMS);
    ck_assert_uint_eq(there.without_vector, 0);
    promo_check_version(2);
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS);

    rig_put_many(&promo_rig, "default", ITEMS, 10);
    rig_put(&promo_rig, "default", "k5", "w77 w78", NULL);
    for (int i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", 20 + i);
        ck_assert_err(rig_remove(&promo_rig, "default", key), ERR_OK);
    }
    rig_check_items(&promo_rig, "default", ITEMS + 7);
    struct promote_report back = promo_to(1);
    ck_assert_uint_eq(back.replayed, 10 + 1 + 3);
    ck_assert_uint_eq(back.encoded, 10 + 1);
    rig_check_items(&promo_rig, "default", ITEMS + 7);
    promo_check_version(1);
    ck_assert_uint_eq(promo_check_vectors(1), ITEMS + 7);
    char key[64];
    ck_assert_uint_eq(rig_find(&promo_rig, "default", "w77 w78", 1, key), 1);
    ck_assert_str_eq(key, "k5");

    struct promote_report again = promo_to(2);
    ck_assert_uint_eq(again.replayed, 0);
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS + 7);
}
END_TEST

/* It does not begin to serve with more to scan than it is said to. */
START_TEST(linked_before_it_serves)
{
    struct err e = ERR_INIT;
    for (size_t i = 0; i < 5; i++)
        rig_put_many(&promo_rig, "default", i * 500, 500);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    AUTO_GENERATION struct generation *old = collection_generation(promo_col);
    struct index_stats stats;
    for (index_stats(old->index, &stats); stats.pending; index_stats(old->index, &stats))
        promo_sleep(5);
    promo_to(2);
    AUTO_GENERATION struct generation *gen = collection_generation(promo_col);
    index_stats(gen->index, &stats);
    ck_assert_uint_le(stats.pending, PROMOTE_PENDING);
    for (; stats.pending; index_stats(gen->index, &stats))
        promo_sleep(5);
    ck_assert_ok(index_verify(gen->index, &e), &e);
    promo_check_version(2);
}
END_TEST

START_TEST(what_cannot_be_promoted)
{
    struct err e = ERR_INIT;
    rig_put_many(&promo_rig, "default", 0, 10);
    ck_assert_err(rig_promote(&promo_rig, "default", 1, NULL), ERR_CONFLICT);
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_NOT_FOUND);
    rig_make_vectors(&promo_rig, "v", 3, METRIC_DOT);
    ck_assert_err(rig_promote(&promo_rig, "v", 1, NULL), ERR_NOT_FOUND);
    ck_assert_err(rig_promote(&promo_rig, "v", 0, NULL), ERR_NOT_FOUND);

    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    learned_drop(promo_rig.g, promo_col->row.id, 0);
    ck_assert_ok(run_folder_remove(promo_rig.cfg.data, 1, &e), &e);
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_NOT_FOUND);
    promo_check_version(1);
    engine_drain(promo_rig.g);
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_DRAINING);
}
END_TEST

START_TEST(of_an_empty_collection)
{
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    struct promote_report report = promo_to(2);
    ck_assert_uint_eq(report.replayed, 0);
    rig_put_many(&promo_rig, "default", 0, 5);
    ck_assert_uint_eq(promo_check_vectors(2), 5);
    promo_check_version(2);
}
END_TEST

/* ---- restart ---- */

START_TEST(after_a_restart)
{
    rig_put_many(&promo_rig, "default", 0, ITEMS);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    rig_make_version(&promo_rig, "default", PROMO_SEED_3); /* stays a candidate */
    promo_to(2);
    rig_put_many(&promo_rig, "default", ITEMS, 5);
    promo_reopen();
    ck_assert_int_eq(rig_version(&promo_rig, "default"), 2);
    promo_check_version(2);
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS + 5);
    rig_put(&promo_rig, "default", "k1", "w100", NULL);
    ck_assert_err(rig_remove(&promo_rig, "default", "k2"), ERR_OK);
    struct promote_report back = promo_to(1); /* from the catalog */
    ck_assert_uint_eq(back.replayed, 7);
    ck_assert_uint_eq(promo_check_vectors(1), ITEMS + 4);
    promo_check_version(1);
    ck_assert_uint_eq(promo_to(3).replayed, ITEMS + 5); /* all: 304 items and a deletion */
    promo_check_version(3);
}
END_TEST

START_TEST(without_its_folder_it_serves_vectors)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    rig_put_many(&promo_rig, "default", 0, 20);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_to(2);
    collection_unref(promo_col);
    promo_col = NULL;
    rig_close(&promo_rig);
    ck_assert_ok(run_folder_remove(promo_rig.cfg.data, 1, &e), &e);
    rig_open(&promo_rig);
    promo_use();
    ck_assert_int_eq(rig_version(&promo_rig, "default"), 2);
    struct search_op s = { .collection = STR("default"), .text = STR("w1"), .k = 2 };
    ck_assert_err(rig_search(&promo_rig, &c, &s), ERR_UNPROCESSABLE);
    s.text = (struct str){ 0 };
    s.id = STR("k1");
    ck_assert_ok(rig_search(&promo_rig, &c, &s), &s.op.err);
    promo_to(1);
    promo_check_version(1);
}
END_TEST

/* ---- names ---- */

START_TEST(versions_have_names)
{
    struct err e = ERR_INIT;
    struct model_info info;
    CALL c;
    call_init(&c);
    const struct str text = STR("w1 w2");
    struct oracle one, two;
    float want[RIG_DIM];
    rig_put_many(&promo_rig, "default", 0, 10);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    ck_assert_ok(engine_model_find(promo_rig.g, STR("default/tiny@2"), c.arena, &info, &e), &e);
    ck_assert(str_eq(info.name, STR("default/tiny")) && info.version == 2);
    static const char *const nobody[] = { "default/tiny", "default/tiny@1", "default/tiny@3",
        "default/tiny@02", "default/tiny@", "@2", "default/tiny@99999999999999999999", "2" };
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++)
        ck_assert_err(
            engine_model_find(promo_rig.g, str_from(nobody[i]), c.arena, &info, &e), ERR_NOT_FOUND);

    struct embed_op op = { .model = STR("default/tiny@2"), .texts = &text, .n = 1 };
    ck_assert_ok(rig_embed(&promo_rig, &c, &op), &op.op.err);
    ck_assert_int_eq(op.ret_model.version, 2);
    oracle_init(&two, 2);
    oracle_vector(&two, text, ENCODE_DOCUMENT, want);
    ck_assert_mem_eq(op.vectors, want, sizeof want);
    op.collection = STR("default"); /* which serves another */
    ck_assert_err(rig_embed(&promo_rig, &c, &op), ERR_CONFLICT);
    promo_to(2);
    ck_assert_ok(rig_embed(&promo_rig, &c, &op), &op.op.err);
    op.model = STR("tiny");
    ck_assert_err(rig_embed(&promo_rig, &c, &op), ERR_CONFLICT);
    op.collection = STR("");
    ck_assert_ok(rig_embed(&promo_rig, &c, &op), &op.op.err);
    oracle_init(&one, 1);
    oracle_vector(&one, text, ENCODE_DOCUMENT, want);
    ck_assert_mem_eq(op.vectors, want, sizeof want);
    oracle_done(&one);
    oracle_done(&two);

    /* The collection is still one of its base model. */
    struct collection_op put = { .action = COLLECTION_PUT,
        .spec = { .name = STR("default"),
            .modality = MODALITY_MULTIMODAL,
            .model = STR("tiny"),
            .has_modality = true,
            .has_model = true } };
    ck_assert_ok(rig_collection(&promo_rig, &c, &put), &put.op.err);
    ck_assert(!put.created && put.info.model.version == 2);
    put.spec.model = STR("default/tiny@2");
    ck_assert_err(rig_collection(&promo_rig, &c, &put), ERR_CONFLICT);
    put.spec.name = STR("other");
    ck_assert_err(rig_collection(&promo_rig, &c, &put), ERR_NOT_FOUND);
}
END_TEST

/* ---- retiring ---- */

START_TEST(retired_ones_are_dropped)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    struct model_info info;
    rig_put_many(&promo_rig, "default", 0, 50);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    rig_make_version(&promo_rig, "default", PROMO_SEED_3);
    rig_make_version(&promo_rig, "default", PROMO_SEED_3 + 1);
    promo_to(2);
    promo_sleep(2); /* times of serving are in milliseconds */
    promo_to(3);
    promote_retire(promo_rig.g, promo_col, 1); /* keeps 2, drops the base model's vectors */
    ck_assert_uint_eq(promo_to(2).replayed, 0);
    ck_assert_uint_eq(promo_to(1).replayed, 50);
    promo_sleep(2);
    promo_to(3);
    promote_retire(promo_rig.g, promo_col, 1); /* keeps 1, drops 2 */
    ck_assert_err(
        engine_model_find(promo_rig.g, STR("default/tiny@2"), c.arena, &info, &e), ERR_NOT_FOUND);
    AUTO_FREE char *gone = run_path(promo_rig.cfg.data, 1, "model");
    AUTO_FREE char *kept = run_path(promo_rig.cfg.data, 2, "model");
    ck_assert(!dir_exists(gone) && dir_exists(kept));
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_NOT_FOUND);
    ck_assert_ok(engine_model_find(promo_rig.g, STR("default/tiny@4"), c.arena, &info, &e), &e);
    promo_check_version(3);
    rig_make_version(&promo_rig, "default", PROMO_SEED_3 + 2);
    struct run_entry *asked =
        mem_zalloc(1, sizeof *asked); /* a promotion that waits for its turn */
    *asked = (struct run_entry){
        .id = 1000, .collection_id = promo_col->row.id, .kind = RUN_PROMOTE, .taken = true
    };
    mutex_lock(&promo_rig.g->runs->lock);
    runs__add(promo_rig.g->runs, asked);
    mutex_unlock(&promo_rig.g->runs->lock);
    promote_retire(promo_rig.g, promo_col, 1);
    ck_assert_ok(engine_model_find(promo_rig.g, STR("default/tiny@4"), c.arena, &info, &e), &e);
    const struct catalog_run ended = { .kind = RUN_PROMOTE, .status = RUN_CANCELLED };
    runs__close(promo_rig.g->runs, asked, &ended);
    promote_retire(promo_rig.g, promo_col, 1); /* of the two that never served, the newest stays */
    ck_assert_err(
        engine_model_find(promo_rig.g, STR("default/tiny@4"), c.arena, &info, &e), ERR_NOT_FOUND);
    ck_assert_ok(engine_model_find(promo_rig.g, STR("default/tiny@5"), c.arena, &info, &e), &e);
    promo_reopen(); /* what is left of it is purged */
    promo_check_version(3);
    ck_assert_uint_eq(promo_to(1).replayed, 0);
    promo_check_version(1);
}
END_TEST

/* ---- giving up ---- */

START_TEST(cancelled_and_tried_again)
{
    struct promo b = { .version = 2, .rate = 200 };
    rig_put_many(&promo_rig, "default", 0, ITEMS);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_start(&b);
    while (atomic_load(&b.watch.done) < 20)
        promo_sleep(1);
    ck_assert_uint_eq(atomic_load(&b.watch.total), ITEMS);
    atomic_store(&b.watch.cancel, true);
    thread_join(&b.thread);
    ck_assert_err(b.code, ERR_CANCELLED);
    size_t done = atomic_load(&b.watch.done);
    ck_assert_uint_lt(done, ITEMS);
    ck_assert_int_eq(rig_version(&promo_rig, "default"), 1);
    ck_assert_ptr_null(promo_col->building);
    promo_check_version(1);
    ck_assert_uint_eq(promo_to(2).replayed, ITEMS - done); /* goes on */
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS);

    /* Going back is given up, the generation in memory is used again. */
    struct promo back = { .version = 1, .rate = 50 };
    rig_put_many(&promo_rig, "default", 0, ITEMS); /* unchanged */
    rig_put_many(&promo_rig, "default", ITEMS, 100);
    promo_start(&back);
    while (atomic_load(&back.watch.done) == 0)
        promo_sleep(1);
    atomic_store(&back.watch.cancel, true);
    thread_join(&back.thread);
    ck_assert_err(back.code, ERR_CANCELLED);
    done = atomic_load(&back.watch.done);
    ck_assert_ptr_nonnull(promo_col->previous);
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS + 100);
    ck_assert_uint_eq(promo_to(1).replayed, 100 - done);
    ck_assert_uint_eq(promo_check_vectors(1), ITEMS + 100);
}
END_TEST

START_TEST(the_collection_is_deleted_meanwhile)
{
    struct promo b = { .version = 2, .rate = 100 };
    CALL c;
    call_init(&c);
    rig_put_many(&promo_rig, "default", 0, ITEMS);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_start(&b);
    while (atomic_load(&b.watch.done) == 0)
        promo_sleep(1);
    struct collection_op del = { .action = COLLECTION_DELETE, .spec = { .name = STR("default") } };
    ck_assert_ok(rig_collection(&promo_rig, &c, &del), &del.op.err);
    thread_join(&b.thread);
    ck_assert_err(b.code, ERR_NOT_FOUND);
    ck_assert_uint_eq(promo_rig.g->models.n_learned, 0);
}
END_TEST

START_TEST(full_disk)
{
    rig_put_many(&promo_rig, "default", 0, ITEMS);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    fault_disk_full(true);
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_FULL);
    fault_disk_full(false);
    promo_check_version(1);
    promo_to(2);
    ck_assert_uint_eq(promo_check_vectors(2), ITEMS);
}
END_TEST

/* ---- texts that the model cannot encode ---- */

/* Row `word` of the version's embedding becomes zeros: "w<word>" alone has no direction there. */
static void blank_word(int64_t run, size_t word)
{
    struct err e = ERR_INIT;
    char *bytes;
    size_t n;
    AUTO_FREE char *path = run_path(promo_rig.cfg.data, run, "model/model.safetensors");
    ck_assert_ok(file_read(path, 1 << 20, &bytes, &n, &e), &e);
    size_t first = n - (256 - word) * RIG_DIM * sizeof(float); /* the words come last */
    memset(bytes + first, 0, RIG_DIM * sizeof(float));
    ck_assert_ok(file_write_atomic(path, bytes, n, &e), &e);
    mem_free(bytes);
}

START_TEST(texts_without_a_vector)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    rig_put(&promo_rig, "default", "a", "w1 w2", NULL);
    rig_put(&promo_rig, "default", "b", "w7", NULL);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    learned_drop(promo_rig.g, promo_col->row.id, 2);
    blank_word(1, 7);
    struct promote_report report = promo_to(2);
    ck_assert_uint_eq(report.without_vector, 1);
    struct collection_info info;
    size_t count;
    ck_assert_ok(engine_collection_get(promo_rig.g, STR("default"), c.arena, &info, &e), &e);
    ck_assert_ok(engine_items_count(promo_rig.g, STR("default"), NULL, 0, &count, &e), &e);
    ck_assert_uint_eq(info.items, 1);
    ck_assert_uint_eq(count, 2); /* it is not lost */
    struct item_view view;
    ck_assert_ok(engine_item_get(promo_rig.g, STR("default"), STR("b"), VIEW_TEXT | VIEW_VECTOR,
                     c.arena, &view, &e),
        &e);
    ck_assert(str_eq(view.text, STR("w7")) && !view.vector);
    ck_assert_uint_eq(rig_find(&promo_rig, "default", "w1", 10, NULL), 1);

    /* An item that had a vector in that generation loses it when its text changes to such a one. */
    promo_to(1);
    rig_put(&promo_rig, "default", "a", "w7", "{\"x\":1}");
    ck_assert_uint_eq(promo_to(2).without_vector, 1);
    ck_assert_uint_eq(rig_find(&promo_rig, "default", "w1", 10, NULL), 0);
    promo_reopen();
    ck_assert_uint_eq(rig_find(&promo_rig, "default", "w1", 10, NULL), 0);
    rig_put(&promo_rig, "default", "a", "w1 w3", NULL);
    ck_assert_uint_eq(rig_find(&promo_rig, "default", "w1", 10, NULL), 1);
    promo_to(1);
    ck_assert_uint_eq(promo_check_vectors(1), 2);
}
END_TEST

/* ---- memory ---- */

static enum err_code promote_other(void *arg)
{
    (void)arg;
    AUTO_GENERATION struct generation *gen = collection_generation(promo_col);
    return rig_promote(&promo_rig, "default", gen->row.model_version == 1 ? 2 : 1, NULL);
}
START_TEST(every_allocation_fails)
{
    rig_put_many(&promo_rig, "default", 0, 5);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    oom_loop(promote_other, NULL);
    int64_t version = rig_version(&promo_rig, "default");
    ck_assert_uint_eq(promo_check_vectors(version), 5);
    promo_to(version == 1 ? 2 : 1);
    ck_assert_uint_eq(promo_check_vectors(version == 1 ? 2 : 1), 5);
}
END_TEST

static enum err_code open_and_close(void *arg)
{
    (void)arg;
    struct err e = ERR_INIT;
    struct engine *g = NULL;
    enum err_code code = engine_open(&promo_rig.cfg, &g, &e);
    engine_close(g);
    return code;
}
START_TEST(every_allocation_of_a_start_fails)
{
    rig_put_many(&promo_rig, "default", 0, 3);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_to(2);
    collection_unref(promo_col);
    promo_col = NULL;
    rig_close(&promo_rig);
    oom_loop(open_and_close, NULL);
    rig_open(&promo_rig);
    promo_use();
    ck_assert_uint_eq(promo_check_vectors(2), 3);
}
END_TEST

static atomic_int fail_left;
static bool fail_some(void)
{
    int left = atomic_load(&fail_left);
    if (left > 0) atomic_store(&fail_left, left - 1);
    return left > 0;
}
START_TEST(a_dirty_collection_is_repaired_first)
{
    rig_put_many(&promo_rig, "default", 0, 20);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_reopen();
    promo_rig.g->writer.fail_publish = fail_some;
    atomic_store(&fail_left, 25);
    rig_put_many(
        &promo_rig, "default", 20, 20); /* none of them is published, nor by the first repairs */
    promo_to(2);
    ck_assert_uint_eq(promo_check_vectors(2), 40);
    ck_assert_uint_eq(promo_to(1).replayed, 0); /* and what is gone back to is whole */
    ck_assert_uint_eq(promo_check_vectors(1), 40);
}
END_TEST

TEST_SUITE(promote)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, promo_setup, promo_teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, there_and_back);
    tcase_add_test(tc, linked_before_it_serves);
    tcase_add_test(tc, what_cannot_be_promoted);
    tcase_add_test(tc, of_an_empty_collection);
    tcase_add_test(tc, after_a_restart);
    tcase_add_test(tc, without_its_folder_it_serves_vectors);
    tcase_add_test(tc, versions_have_names);
    tcase_add_test(tc, retired_ones_are_dropped);
    tcase_add_test(tc, cancelled_and_tried_again);
    tcase_add_test(tc, the_collection_is_deleted_meanwhile);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, texts_without_a_vector);
    tcase_add_test(tc, a_dirty_collection_is_repaired_first);
    suite_add_tcase(s, tc);

    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, promo_setup, promo_teardown);
    tcase_set_timeout(oom, 120);
    tcase_add_test(oom, every_allocation_fails);
    tcase_add_test(oom, every_allocation_of_a_start_fails);
    suite_add_tcase(s, oom);
}
