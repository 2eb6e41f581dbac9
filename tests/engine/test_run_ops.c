/* engine_run_submit: what is refused, cancelling, promotions by hand and rollbacks. Also
 * engine/promoter_thread.c and engine/versions.c. */
#include "engine/runs_internal.h"
#include "tests/engine/runs_rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct rig r;

static void setup(void)
{
    runs_rig_init(&r);
    rig_open(&r);
    rig_put_many(&r, "default", 0, RUNS_ITEMS);
}
static void teardown(void)
{
    runs_rig_done(&r);
}

static const char waits[] =
    "start; : >$dir/here; trap 'exit 75' TERM; while [ ! -e $data/go ]; do sleep 0.02; done\n"
    "model; judged promote";

static void wait_here(int64_t run)
{
    char path[400];
    rig_wait_file(runs_rig_file(&r, run, "here", path));
}

static void make_collection(const char *name, enum catalog_modality modality)
{
    CALL c;
    call_init(&c);
    struct collection_op op = { .action = COLLECTION_PUT,
        .spec = { .name = str_from(name), .modality = modality, .dimensions = 4 } };
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
}

/* ---- what is refused ---- */

static void refuse(struct retrain_spec spec, enum err_code want, const char *field)
{
    CALL c;
    call_init(&c);
    struct run_op op = { .action = RUN_DO_RETRAIN, .retrain = spec };
    if (!op.retrain.collection.p) op.retrain.collection = STR("default");
    ck_assert_err(rig_run(&r, &c, &op), want);
    ck_assert_str_eq(op.op.err.field, field);
}

START_TEST(bad_requests)
{
    make_collection("own", MODALITY_VECTOR);
    refuse((struct retrain_spec){ .collection = STR("nowhere") }, ERR_NOT_FOUND, "");
    refuse((struct retrain_spec){ .collection = STR("own") }, ERR_UNPROCESSABLE, "");
    refuse((struct retrain_spec){ .objective = STR("magic") }, ERR_INVALID, "/objective");
    refuse((struct retrain_spec){ .objective = STR("simclr") }, ERR_UNPROCESSABLE, "/objective");
    refuse((struct retrain_spec){ .pairs_anchor = STR("text") }, ERR_INVALID, "/pairs/positive");
    refuse((struct retrain_spec){ .pairs_positive = STR("text") }, ERR_INVALID, "/pairs/anchor");
    refuse((struct retrain_spec){ .pairs_anchor = STR("text"),
               .pairs_positive = STR("metadata.a"),
               .labels = STR("metadata.b") },
        ERR_INVALID, "/labels");
    refuse((struct retrain_spec){ .max_seconds = 1 }, ERR_INVALID, "/max_seconds");
    refuse((struct retrain_spec){ .max_seconds = 1e9 }, ERR_INVALID, "/max_seconds");
    refuse((struct retrain_spec){ .max_seconds = (double)NAN }, ERR_INVALID, "/max_seconds");
    refuse((struct retrain_spec){ .max_steps = -1 }, ERR_INVALID, "/max_steps");
    refuse((struct retrain_spec){ .method = STR("magic") }, ERR_INVALID, "/method");
    refuse((struct retrain_spec){ .layers = 2 }, ERR_INVALID, "/layers");
    refuse((struct retrain_spec){ .method = STR("last_layers"), .layers = 65 }, ERR_INVALID,
        "/layers");
    refuse((struct retrain_spec){ .method = STR("adapter") }, ERR_UNPROCESSABLE, "/method");
    ck_assert_err(rig_cancel(&r, 77), ERR_NOT_FOUND);
}
END_TEST

START_TEST(what_was_asked_for_is_kept)
{
    CALL c;
    call_init(&c);
    runs_rig_behave(&r, waits);
    struct run_op op = { .action = RUN_DO_RETRAIN,
        .retrain = { .collection = STR("default"),
            .objective = STR("mnrl"),
            .max_seconds = 60,
            .max_steps = 1000,
            .has_seed = true,
            .seed = 42,
            .promote = PROMOTE_NEVER } };
    ck_assert_ok(rig_run(&r, &c, &op), &op.op.err);
    struct catalog_run run = rig_run_get(&r, &c, op.info.id);
    ck_assert(str_is(run.objective, "mnrl"));
    ck_assert_double_eq(run.max_seconds, 60);
    ck_assert_int_eq(run.max_steps, 1000);
    ck_assert_int_eq(run.seed, 42);
    ck_assert_int_eq(run.promote, PROMOTE_NEVER);
    ck_assert_int_eq(run.from_version, 1);
}
END_TEST

START_TEST(no_more_than_the_queue_holds)
{
    rig_close(&r);
    rig_set(&r, "learn.queue", "1");
    rig_open(&r);
    make_collection("second", MODALITY_TEXT);
    rig_put_many(&r, "second", 0, RUNS_ITEMS);
    runs_rig_behave(&r, waits);
    wait_here(rig_retrain(&r, "default", PROMOTE_AUTO));
    refuse((struct retrain_spec){ .collection = STR("second") }, ERR_BUSY, "");
    refuse((struct retrain_spec){ .collection = STR("default") }, ERR_RUN_IN_PROGRESS, "");
}
END_TEST

START_TEST(draining_refuses)
{
    engine_drain(r.g);
    refuse((struct retrain_spec){ 0 }, ERR_DRAINING, "");
}
END_TEST

/* ---- cancelling ---- */

START_TEST(cancel_while_queued)
{
    make_collection("second", MODALITY_TEXT);
    rig_put_many(&r, "second", 0, RUNS_ITEMS);
    runs_rig_behave(&r, waits);
    int64_t first = rig_retrain(&r, "default", PROMOTE_AUTO);
    wait_here(first);
    int64_t second = rig_retrain(&r, "second", PROMOTE_AUTO);
    CALL c;
    call_init(&c);
    struct run_op op = { .action = RUN_DO_CANCEL, .run = second };
    ck_assert_ok(rig_run(&r, &c, &op), &op.op.err);
    ck_assert_int_eq(op.info.status, RUN_CANCELLED); /* at once */
    ck_assert(str_is(op.info.error_code, "cancelled"));
    ck_assert_int_eq(op.info.attempts, 0);
    ck_assert_err(rig_cancel(&r, second), ERR_CONFLICT);
    ck_assert_int_eq(rig_run_get(&r, &c, first).status, RUN_RUNNING);
    second = rig_retrain(&r, "second", PROMOTE_AUTO); /* there is room for another */
    ck_assert_ok(rig_cancel(&r, second));
    ck_assert_ok(rig_cancel(&r, first));
    rig_wait_status(&r, first, RUN_CANCELLED);
}
END_TEST

START_TEST(cancel_while_it_trains)
{
    CALL c;
    call_init(&c);
    runs_rig_behave(&r, waits);
    int64_t run = rig_retrain(&r, "default", PROMOTE_AUTO);
    wait_here(run);
    ck_assert_ok(rig_cancel(&r, run));
    rig_wait_status(&r, run, RUN_CANCELLED);
    ck_assert_int_eq(rig_run_get(&r, &c, run).to_version, 0);
    /* One that does not listen. */
    runs_rig_behave(&r, "start; : >$dir/here; trap '' TERM; while :; do sleep 0.05; done");
    run = rig_retrain(&r, "default", PROMOTE_AUTO);
    wait_here(run);
    ck_assert_ok(rig_cancel(&r, run));
    ck_assert_ok(rig_cancel(&r, run)); /* twice is no harm */
    rig_wait_status(&r, run, RUN_CANCELLED);
    /* One between two attempts. */
    runs__tuning.retry_ms = 30000;
    runs_rig_behave(&r, "start; : >$dir/here; kill -9 $$");
    run = rig_retrain(&r, "default", PROMOTE_AUTO);
    wait_here(run);
    ck_assert_ok(rig_cancel(&r, run));
    rig_wait_status(&r, run, RUN_CANCELLED);
}
END_TEST

START_TEST(cancel_while_it_promotes)
{
    CALL c;
    call_init(&c);
    rig_close(&r);
    rig_set(&r, "learn.reembed_rate", "10"); /* half a minute */
    rig_open(&r);
    int64_t run = rig_retrain(&r, "default", PROMOTE_AUTO);
    rig_wait_status(&r, run, RUN_PROMOTING);
    ck_assert_ok(rig_cancel(&r, run));
    rig_wait_status(&r, run, RUN_CANCELLED);
    struct catalog_run row = rig_run_get(&r, &c, run);
    ck_assert_int_eq(row.to_version, 2);
    ck_assert_int_eq(rig_version(&r, "default"), 1);
    ck_assert_uint_eq(rig_find(&r, "default", "w1 w0 w0 w31", 3, NULL), 3);
}
END_TEST

/* ---- by hand ---- */

static enum err_code by_hand(struct call *c, enum run_action action, int64_t version,
    struct catalog_run *ret, const char **ret_field)
{
    struct run_op op = { .action = action, .collection = STR("default"), .version = version };
    enum err_code code = rig_run(&r, c, &op);
    if (code == ERR_OK) *ret = op.info;
    if (ret_field)
        *ret_field =
            code == ERR_OK ? "" : arena_strndup(c->arena, op.op.err.field, strlen(op.op.err.field));
    return code;
}

START_TEST(promoted_by_hand)
{
    CALL c;
    call_init(&c);
    struct catalog_run run;
    const char *field;
    int64_t version = rig_make_version(&r, "default", 11);
    ck_assert_ok(by_hand(&c, RUN_DO_PROMOTE, version, &run, NULL));
    ck_assert_int_eq(run.status, RUN_SUCCEEDED); /* it was waited for */
    ck_assert_int_eq(run.kind, RUN_PROMOTE);
    ck_assert_int_eq(run.from_version, 1);
    ck_assert_int_eq(run.to_version, version);
    ck_assert_ptr_nonnull(strstr(run.decision.p, "by hand"));
    ck_assert_double_eq(run_metric(&run, "promotion.encoded"), RUNS_ITEMS);
    ck_assert_int_eq(rig_version(&r, "default"), version);
    ck_assert_err(by_hand(&c, RUN_DO_PROMOTE, version, &run, &field), ERR_CONFLICT);
    ck_assert_str_eq(field, "/version");
    ck_assert_err(by_hand(&c, RUN_DO_PROMOTE, 99, &run, &field), ERR_NOT_FOUND);
    ck_assert_str_eq(field, "/version");
}
END_TEST

START_TEST(not_while_a_run_is_open)
{
    CALL c;
    call_init(&c);
    struct catalog_run run;
    int64_t version = rig_make_version(&r, "default", 11);
    runs_rig_behave(&r, waits);
    wait_here(rig_retrain(&r, "default", PROMOTE_AUTO));
    ck_assert_err(by_hand(&c, RUN_DO_PROMOTE, version, &run, NULL), ERR_RUN_IN_PROGRESS);
    ck_assert_err(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL), ERR_RUN_IN_PROGRESS);
}
END_TEST

START_TEST(answers_before_its_deadline)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    rig_close(&r);
    rig_set(&r, "learn.reembed_rate", "10");
    rig_open(&r);
    int64_t version = rig_make_version(&r, "default", 11);
    struct run_op op = {
        .action = RUN_DO_PROMOTE, .collection = STR("default"), .version = version
    };
    call_begin(&c, &op.op);
    op.op.deadline_ns = time_mono_ns() + 2 * NS_PER_S;
    enum err_code code = engine_run_submit(r.g, &op, &e);
    ck_assert_ok(call_wait(&c, &op.op, code, &e), &op.op.err);
    ck_assert(!run_is_final(op.info.status));
    ck_assert(test_is_slow_run() || time_mono_ns() < op.op.deadline_ns);
    ck_assert_ok(rig_cancel(&r, op.info.id));
    rig_wait_status(&r, op.info.id, RUN_CANCELLED);
}
END_TEST

static void stop_waiting(struct call *c, struct run_op *op)
{
    struct err e = ERR_INIT;
    call_begin(c, &op->op);
    enum err_code code = engine_run_submit(r.g, op, &e);
    ck_assert_ok(code, &e);
}

START_TEST(stopping_answers_and_the_next_start_goes_on)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct run_progress p;
    rig_close(&r);
    rig_set(&r, "learn.reembed_rate", "10");
    rig_open(&r);
    int64_t version = rig_make_version(&r, "default", 11);
    struct run_op op = {
        .action = RUN_DO_PROMOTE, .collection = STR("default"), .version = version
    };
    stop_waiting(&c, &op);
    while (!engine_run_progress(r.g, version, &p) && rig_metric("kindred_runs_open") < 1)
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    engine_drain(r.g);
    ck_assert_ok(call_wait(&c, &op.op, ERR_OK, &e), &op.op.err);
    ck_assert(!run_is_final(op.info.status));
    int64_t run = op.info.id;
    rig_close(&r);
    rig_set(&r, "learn.reembed_rate", "0");
    rig_open(&r);
    rig_wait_status(&r, run, RUN_SUCCEEDED);
    ck_assert_int_eq(rig_version(&r, "default"), version);
}
END_TEST

/* ---- going back ---- */

START_TEST(back_and_further_back)
{
    CALL c;
    call_init(&c);
    struct catalog_run run;
    ck_assert_err(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL), ERR_CONFLICT);
    int64_t two = rig_make_version(&r, "default", 11), three = rig_make_version(&r, "default", 12);
    ck_assert_ok(by_hand(&c, RUN_DO_PROMOTE, two, &run, NULL));
    ck_assert_ok(by_hand(&c, RUN_DO_PROMOTE, three, &run, NULL));
    rig_put_many(&r, "default", RUNS_ITEMS, 5);
    ck_assert_ok(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL));
    ck_assert_int_eq(run.kind, RUN_ROLLBACK);
    ck_assert_int_eq(run.status, RUN_SUCCEEDED);
    ck_assert_int_eq(run.to_version, two);
    ck_assert_ptr_nonnull(strstr(run.decision.p, "gone back to"));
    ck_assert_double_eq(run_metric(&run, "rollback.encoded"), 5);
    ck_assert_int_eq(rig_version(&r, "default"), two);
    ck_assert_ok(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL));
    ck_assert_int_eq(run.to_version, 1); /* not three again */
    ck_assert_err(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL), ERR_CONFLICT);
    ck_assert_ok(by_hand(&c, RUN_DO_PROMOTE, three, &run, NULL));
    ck_assert_ok(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL));
    ck_assert_int_eq(run.to_version, 1); /* what served before three this time */
    rig_check_items(&r, "default", RUNS_ITEMS + 5);
}
END_TEST

START_TEST(what_was_kept_only_is_not_gone_back_to)
{
    CALL c;
    call_init(&c);
    struct catalog_run run;
    int64_t kept = rig_retrain(&r, "default", PROMOTE_NEVER);
    rig_wait_status(&r, kept, RUN_SUCCEEDED);
    int64_t served = rig_retrain(&r, "default", PROMOTE_AUTO);
    rig_wait_status(&r, served, RUN_SUCCEEDED);
    ck_assert_int_eq(rig_version(&r, "default"), 3);
    ck_assert_ok(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL));
    ck_assert_int_eq(run.to_version, 1);
}
END_TEST

START_TEST(only_so_many_versions_are_kept)
{
    CALL c;
    call_init(&c);
    struct catalog_run run;
    struct version_info *rows;
    struct err e = ERR_INIT;
    size_t n, removed = 0;
    for (int i = 0; i < 5; i++) {
        int64_t id = rig_retrain(&r, "default", PROMOTE_AUTO);
        rig_wait_status(&r, id, RUN_SUCCEEDED);
    }
    for (int i = 0; i < 400 && removed != 2; i++) { /* retired just after */
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        ck_assert_ok(engine_versions(r.g, STR("default"), c.arena, &rows, &n, &e), &e);
        removed = 0;
        for (size_t k = 0; k < n; k++)
            removed += rows[k].row.state == VERSION_REMOVED;
    }
    ck_assert_uint_eq(n, 6); /* 1 stays as the base, 2 and 3 go, 4 and 5 are kept, 6 serves */
    ck_assert_uint_eq(removed, 2);
    ck_assert_err(by_hand(&c, RUN_DO_PROMOTE, 2, &run, NULL), ERR_CONFLICT);
    ck_assert_ok(by_hand(&c, RUN_DO_ROLLBACK, 0, &run, NULL));
    ck_assert_int_eq(run.to_version, 5);
}
END_TEST

TEST_SUITE(run_ops)
{
    TCase *tc = tcase_create("refused");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bad_requests);
    tcase_add_test(tc, what_was_asked_for_is_kept);
    tcase_add_test(tc, no_more_than_the_queue_holds);
    tcase_add_test(tc, draining_refuses);
    suite_add_tcase(s, tc);
    tc = tcase_create("cancel");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, cancel_while_queued);
    tcase_add_test(tc, cancel_while_it_trains);
    tcase_add_test(tc, cancel_while_it_promotes);
    suite_add_tcase(s, tc);
    tc = tcase_create("by_hand");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, promoted_by_hand);
    tcase_add_test(tc, not_while_a_run_is_open);
    tcase_add_test(tc, answers_before_its_deadline);
    tcase_add_test(tc, stopping_answers_and_the_next_start_goes_on);
    tcase_add_test(tc, back_and_further_back);
    tcase_add_test(tc, what_was_kept_only_is_not_gone_back_to);
    tcase_add_test(tc, only_so_many_versions_are_kept);
    suite_add_tcase(s, tc);
}
