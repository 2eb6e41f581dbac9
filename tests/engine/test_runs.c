/* The life of training runs: engine/runs.c, engine/trainer_thread.c, engine/trainer_child.c,
 * engine/run_sweep.c. */
#include "base/fileio.h"
#include "engine/runs_internal.h"
#include "engine/trainer_child.h"
#include "tests/engine/runs_rig.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
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

static size_t count_versions(const char *collection)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct version_info *rows;
    size_t n;
    ck_assert_ok(engine_versions(r.g, str_from(collection), c.arena, &rows, &n, &e), &e);
    return n;
}

static bool has(int64_t run, const char *tail)
{
    char path[400];
    runs_rig_file(&r, run, tail, path);
    return file_exists(path) || dir_exists(path);
}

/* Trains to the final status and returns the row. */
static struct catalog_run run_through(
    struct call *c, const char *behaviour, enum run_promote promote, enum run_status want)
{
    runs_rig_behave(&r, behaviour);
    int64_t run = rig_retrain(&r, "default", promote);
    rig_wait_status(&r, run, want);
    return rig_run_get(&r, c, run);
}

/* ---- results ---- */

START_TEST(passed_is_promoted)
{
    CALL c;
    call_init(&c);
    double before = rig_metric("kindred_runs_total{kind=\"train\",status=\"succeeded\"}");
    struct catalog_run run =
        run_through(&c, "start; model; judged promote", PROMOTE_AUTO, RUN_SUCCEEDED);
    ck_assert_int_eq(run.kind, RUN_TRAIN);
    ck_assert_int_eq(run.from_version, 1);
    ck_assert_int_eq(run.to_version, 2);
    ck_assert_int_eq(run.attempts, 1);
    ck_assert_int_eq(run.step, 10);
    ck_assert_int_eq(run.steps, 100);
    ck_assert(str_is(run.objective, "auto"));
    ck_assert(str_is(run.decision, "the gain is 0.125"));
    ck_assert(str_is(run.data_hash, "d1d1"));
    ck_assert_uint_eq(run.error.n, 0);
    ck_assert(run.created_ms && run.started_ms >= run.created_ms);
    ck_assert_int_ge(run.finished_ms, run.started_ms);
    ck_assert_double_eq(run_metric(&run, "before.recall_at_10"), 0.5);
    ck_assert_double_eq(run_metric(&run, "after.recall_at_10"), 0.625);
    ck_assert(run_metric(&run, "promotion.seconds") > 0);
    ck_assert(!isnan(run_metric(&run, "promotion.replayed")));
    ck_assert(!isnan(run_metric(&run, "promotion.encoded")));
    ck_assert(!isnan(run_metric(&run, "promotion.hold_seconds")));
    ck_assert(has(run.id, "model/config.json"));
    ck_assert_double_eq(
        rig_metric("kindred_runs_total{kind=\"train\",status=\"succeeded\"}"), before + 1);
    ck_assert_double_eq(rig_metric("kindred_runs_open"), 0);
}
END_TEST

START_TEST(versions_tell_their_run)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct version_info *rows;
    size_t n;
    struct catalog_run run =
        run_through(&c, "start; model; judged reject", PROMOTE_NEVER, RUN_SUCCEEDED);
    ck_assert_ok(engine_versions(r.g, STR("default"), c.arena, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    ck_assert(str_is(rows[0].model, "tiny@1"));
    ck_assert_int_eq(rows[0].row.state, VERSION_SERVING);
    ck_assert(rows[0].has_vectors);
    ck_assert(str_is(rows[1].model, "default/tiny@2"));
    ck_assert_int_eq(rows[1].row.state, VERSION_CANDIDATE);
    ck_assert(!rows[1].has_vectors);
    ck_assert_int_eq(rows[1].row.run_id, run.id);
    ck_assert_int_eq(rows[1].row.parent_version, 1);
    ck_assert(str_is(rows[1].row.weights_hash, "beef"));
    ck_assert(str_is(rows[1].row.data_hash, "d1d1"));
    ck_assert_uint_eq(rows[1].n_metrics, 3);
    ck_assert_err(engine_versions(r.g, STR("nowhere"), c.arena, &rows, &n, &e), ERR_NOT_FOUND);
}
END_TEST

START_TEST(failed_the_gate)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(
        &c, "start; : >$dir/train.tsv; model; judged reject", PROMOTE_AUTO, RUN_REJECTED);
    ck_assert(str_is(run.decision, "the gain is 0.125"));
    ck_assert_int_eq(run.to_version, 0);
    ck_assert_double_eq(run_metric(&run, "gate.tested"), 1);
    ck_assert_uint_eq(count_versions("default"), 1);
    /* Tidied just after. */
    for (int i = 0; i < 400 && (has(run.id, "model") || has(run.id, "train.tsv")); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    ck_assert(!has(run.id, "model"));
    ck_assert(!has(run.id, "train.tsv"));
    ck_assert(has(run.id, "log.txt"));
}
END_TEST

START_TEST(kept_as_asked)
{
    CALL c;
    call_init(&c);
    struct catalog_run run =
        run_through(&c, "start; model; judged promote", PROMOTE_NEVER, RUN_SUCCEEDED);
    ck_assert_int_eq(run.to_version, 2);
    ck_assert_ptr_nonnull(strstr(run.decision.p, "kept as version 2"));
    ck_assert_ptr_nonnull(strstr(run.decision.p, "would have promoted it: the gain is 0.125"));
    ck_assert(isnan(run_metric(&run, "promotion.seconds")));
    ck_assert(has(run.id, "model/config.json"));
}
END_TEST

START_TEST(promoted_by_override)
{
    CALL c;
    call_init(&c);
    struct catalog_run run =
        run_through(&c, "start; model; judged reject", PROMOTE_ALWAYS, RUN_SUCCEEDED);
    ck_assert_int_eq(run.to_version, 2);
    ck_assert_ptr_nonnull(strstr(run.decision.p, "operator's override"));
    ck_assert(run_metric(&run, "promotion.seconds") > 0);
}
END_TEST

/* ---- processes that misbehave ---- */

START_TEST(says_why_it_failed)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c,
        "start; echo 'error unprocessable there are 12 pairs, 200 are needed'; echo end; exit 1",
        PROMOTE_AUTO, RUN_FAILED);
    ck_assert(str_is(run.error_code, "unprocessable"));
    ck_assert(str_is(run.error, "there are 12 pairs, 200 are needed"));
    ck_assert_int_eq(run.attempts, 1);
    ck_assert_int_eq(run.to_version, 0);
}
END_TEST

START_TEST(cannot_even_start)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c, "echo oops >&2; exit 2", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_int_eq(run.attempts, 1);
    ck_assert_ptr_nonnull(strstr(run.error.p, "status 2"));
    ck_assert(str_is(run.error_code, "internal"));
    runs__tuning.program = "/nowhere/trainer";
    run = run_through(&c, "", PROMOTE_AUTO, RUN_FAILED);
    ck_assert(str_is(run.error_code, "not_found"));
}
END_TEST

START_TEST(dies_again_and_again)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c, "start; kill -9 $$", PROMOTE_AUTO, RUN_FAILED);
    /* The first one made progress; then nobody got further. */
    ck_assert_int_eq(run.attempts, 3);
    ck_assert_ptr_nonnull(strstr(run.error.p, "signal 9"));
    ck_assert_ptr_nonnull(strstr(run.error.p, "4096 MiB"));
    run = run_through(&c, "exit 75", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_int_eq(run.attempts, 3);
    run = run_through(&c, "start; exit 0", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_int_eq(run.attempts, 3);
    ck_assert_ptr_nonnull(strstr(run.error.p, "without a result"));
}
END_TEST

START_TEST(dies_but_gets_further)
{
    CALL c;
    call_init(&c);
    /* Twelve deaths, every second one without getting further. */
    struct catalog_run run = run_through(&c,
        "echo x >>$dir/starts; n=$(wc -l <$dir/starts)\n"
        "[ $n -lt 13 ] && { echo 'phase running'; echo \"progress $((n / 2)) 100 1\"; kill -9 $$; "
        "}\n"
        "model; judged promote",
        PROMOTE_AUTO, RUN_SUCCEEDED);
    ck_assert_int_eq(run.attempts, 13);
}
END_TEST

/* What an earlier process said of the data is not lost with it. */
START_TEST(dies_and_then_fails_early)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c,
        "echo x >>$dir/starts; [ $(wc -l <$dir/starts) -lt 2 ] && { start; kill -9 $$; }\n"
        "echo 'error io the disk is gone'; echo end; exit 1",
        PROMOTE_AUTO, RUN_FAILED);
    ck_assert_int_eq(run.attempts, 2);
    ck_assert(str_is(run.error, "the disk is gone"));
    ck_assert(str_is(run.data_hash, "d1d1"));
}
END_TEST

START_TEST(no_sign_of_life)
{
    CALL c;
    call_init(&c);
    runs__tuning.silence_ms = 300;
    struct catalog_run run =
        run_through(&c, "start; echo $$ >$dir/pid; sleep 1000", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_ptr_nonnull(strstr(run.error.p, "no sign of life"));
    ck_assert(str_is(run.error_code, "timeout"));
    runs__tuning.long_silence_ms = 200; /* before it trains, and while it judges */
    run = run_through(&c, "sleep 1000", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_ptr_nonnull(strstr(run.error.p, "no sign of life"));
    run = run_through(
        &c, "start; echo 'phase evaluating'; exec >&-; sleep 1000", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_ptr_nonnull(strstr(run.error.p, "no sign of life"));
}
END_TEST

START_TEST(nonsense_is_passed_over)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c,
        "echo nonsense; head -c 100000 /dev/urandom; echo; start\n"
        "head -c 5000 /dev/zero | tr '\\0' x; echo; echo 'progress -1 x'; echo 'metric A 1'\n"
        "i=0; while [ $i -lt 100 ]; do echo \"metric m$i $i\"; i=$((i + 1)); done\n"
        "model; judged promote",
        PROMOTE_AUTO, RUN_SUCCEEDED);
    ck_assert_int_eq(run.step, 10);
    ck_assert_uint_le(run.n_metrics, RUN_METRICS_MAX + 5);
}
END_TEST

START_TEST(decision_without_a_model)
{
    CALL c;
    call_init(&c);
    struct catalog_run run = run_through(&c, "start; judged promote", PROMOTE_AUTO, RUN_FAILED);
    ck_assert_ptr_nonnull(strstr(run.error.p, "left no model"));
    ck_assert_uint_eq(count_versions("default"), 1);
}
END_TEST

/* ---- order, progress ---- */

START_TEST(one_after_the_other)
{
    CALL c;
    call_init(&c);
    char go[400];
    struct collection_op put = { .action = COLLECTION_PUT,
        .spec = { .name = STR("second"), .modality = MODALITY_TEXT } };
    ck_assert_ok(rig_collection(&r, &c, &put), &put.op.err);
    rig_put_many(&r, "second", 0, RUNS_ITEMS);
    runs_rig_behave(&r,
        "start; : >$dir/here; while [ ! -e $data/go ]; do sleep 0.02; done; model; judged promote");
    int64_t first = rig_retrain(&r, "default", PROMOTE_NEVER);
    int64_t second = rig_retrain(&r, "second", PROMOTE_NEVER);
    struct run_op op = { .action = RUN_DO_RETRAIN, .retrain = { .collection = STR("second") } };
    ck_assert_err(rig_run(&r, &c, &op), ERR_RUN_IN_PROGRESS);
    rig_wait_file(runs_rig_file(&r, first, "here", go));
    ck_assert_int_eq(rig_run_get(&r, &c, second).status, RUN_QUEUED);
    ck_assert(!has(second, "here"));
    struct catalog_run *rows;
    struct err e = ERR_INIT;
    size_t n;
    while (rig_run_get(&r, &c, first).step < 10) {} /* it was said, and is yet to be read */
    ck_assert_ok(engine_runs(r.g, STR(""), 0, 10, c.arena, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(rows[0].id, second);
    ck_assert_int_eq(rows[1].status, RUN_RUNNING);
    ck_assert_int_eq(rows[1].step, 10); /* of this moment */
    ck_assert_ok(engine_runs(r.g, STR("default"), 0, 10, c.arena, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 1);
    ck_assert_err(engine_runs(r.g, STR("nowhere"), 0, 10, c.arena, &rows, &n, &e), ERR_NOT_FOUND);
    (void)snprintf(go, sizeof go, "%s/go", r.cfg.data);
    ck_assert_ok(file_write_atomic(go, "", 0, &e), &e);
    rig_wait_status(&r, first, RUN_SUCCEEDED);
    rig_wait_status(&r, second, RUN_SUCCEEDED);
}
END_TEST

START_TEST(progress_counts_up)
{
    struct run_progress p, before = { 0 };
    runs_rig_behave(&r,
        "echo 'phase running'; i=0; while [ $i -le 50 ]; do echo \"progress $i 50 1.5\"; "
        "sleep 0.01; i=$((i + 1)); done; model; judged promote");
    ck_assert(!engine_run_progress(r.g, 1, &p));
    int64_t run = rig_retrain(&r, "default", PROMOTE_NEVER);
    size_t changes = 0;
    while (engine_run_progress(r.g, run, &p)) {
        ck_assert(p.progress >= before.progress - 1e-9);
        ck_assert(p.progress <= 1);
        ck_assert_uint_ge(p.change, before.change);
        changes += p.change != before.change;
        if (p.step) ck_assert_double_eq(p.loss, 1.5);
        before = p;
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    ck_assert_uint_gt(changes, 5);
    ck_assert(before.progress > 0.5);
    rig_wait_status(&r, run, RUN_SUCCEEDED);
}
END_TEST

/* ---- restart ---- */

START_TEST(restart_goes_on)
{
    CALL c;
    call_init(&c);
    char path[400];
    struct collection_op put = { .action = COLLECTION_PUT,
        .spec = { .name = STR("second"), .modality = MODALITY_TEXT } };
    ck_assert_ok(rig_collection(&r, &c, &put), &put.op.err);
    rig_put_many(&r, "second", 0, RUNS_ITEMS);
    runs_rig_behave(&r, "start; : >$dir/here; trap 'exit 75' TERM; while :; do sleep 0.02; done");
    int64_t first = rig_retrain(&r, "default", PROMOTE_NEVER);
    int64_t second = rig_retrain(&r, "second", PROMOTE_NEVER);
    rig_wait_file(runs_rig_file(&r, first, "here", path));
    rig_close(&r);
    runs_rig_behave(&r, "start; model; judged promote");
    rig_open(&r);
    rig_wait_status(&r, first, RUN_SUCCEEDED);
    rig_wait_status(&r, second, RUN_SUCCEEDED);
    ck_assert_int_eq(rig_run_get(&r, &c, first).attempts, 2);
    ck_assert_int_eq(rig_run_get(&r, &c, second).attempts, 1);
}
END_TEST

START_TEST(stubborn_process_does_not_keep_the_server)
{
    char path[400];
    runs_rig_behave(&r, "start; : >$dir/here; trap '' TERM; while :; do sleep 0.05; done");
    int64_t run = rig_retrain(&r, "default", PROMOTE_NEVER);
    rig_wait_file(runs_rig_file(&r, run, "here", path));
    int64_t began = time_mono_ns();
    rig_close(&r);
    ck_assert_int_lt(time_mono_ns() - began, 20 * NS_PER_S);
    runs_rig_behave(&r, "start; model; judged promote");
    rig_open(&r);
    rig_wait_status(&r, run, RUN_SUCCEEDED);
}
END_TEST

/* ---- folders ---- */

START_TEST(folders_are_swept)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    char path[400];
    struct catalog_run run =
        run_through(&c, "start; model; judged promote", PROMOTE_NEVER, RUN_SUCCEEDED);
    rig_close(&r);
    ck_assert_ok(dir_make(runs_rig_file(&r, 999, "model", path), &e), &e);
    ck_assert_ok(dir_make(runs_rig_file(&r, run.id, "leftover", path), &e), &e);
    rig_open(&r);
    for (int i = 0; i < 1000 && (has(999, "") || has(run.id, "leftover")); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    ck_assert(!has(999, ""));
    ck_assert(!has(run.id, "leftover"));
    ck_assert(has(run.id, "model/config.json"));
    for (int i = 0; i < 12; i++) /* without a model only the latest are kept */
        run = run_through(&c, "start; judged reject", PROMOTE_AUTO, RUN_REJECTED);
    int left = 0;
    for (int wait = 0; wait < 400 && (left == 0 || left > 8); wait++) {
        left = 0;
        for (int i = 0; i < 12; i++)
            left += has(run.id - i, "");
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
    ck_assert_int_eq(left, 8);
}
END_TEST

START_TEST(collection_deleted_while_it_trains)
{
    CALL c;
    call_init(&c);
    char path[400];
    runs_rig_behave(&r, "start; : >$dir/here; while :; do sleep 0.02; done");
    int64_t run = rig_retrain(&r, "default", PROMOTE_AUTO);
    rig_wait_file(runs_rig_file(&r, run, "here", path));
    struct collection_op op = { .action = COLLECTION_DELETE, .spec = { .name = STR("default") } };
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    rig_wait_status(&r, run, RUN_CANCELLED);
    struct catalog_run row = rig_run_get(&r, &c, run);
    ck_assert(str_is(row.collection, "default"));
    ck_assert_ptr_nonnull(strstr(row.error.p, "deleted"));
    for (int i = 0; i < 1000 && has(run, ""); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    ck_assert(!has(run, ""));
}
END_TEST

START_TEST(arguments_hold_no_key)
{
    CALL c;
    call_init(&c);
    rig_set(&r, "api_key", "topsecret-topsecret");
    rig_set(&r, "learn.threads", "3");
    bool run = false, data = false, threads = false, memory = false;
    for (const char *const *at = trainer_child_argv(&r.cfg, 77, c.arena); *at; at++) {
        ck_assert_ptr_null(strstr(*at, "secret"));
        ck_assert_ptr_null(strstr(*at, "listen"));
        run |= strcmp(*at, "77") == 0;
        data |= strncmp(*at, "--data=/", 8) == 0;
        threads |= strcmp(*at, "--learn-threads=3") == 0;
        memory |= strcmp(*at, "--learn-memory-mb=4096") == 0;
    }
    ck_assert(run && data && threads && memory);
}
END_TEST

TEST_SUITE(runs)
{
    TCase *tc = tcase_create("results");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, passed_is_promoted);
    tcase_add_test(tc, versions_tell_their_run);
    tcase_add_test(tc, failed_the_gate);
    tcase_add_test(tc, kept_as_asked);
    tcase_add_test(tc, promoted_by_override);
    suite_add_tcase(s, tc);
    tc = tcase_create("processes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, says_why_it_failed);
    tcase_add_test(tc, cannot_even_start);
    tcase_add_test(tc, dies_again_and_again);
    tcase_add_test(tc, dies_but_gets_further);
    tcase_add_test(tc, dies_and_then_fails_early);
    tcase_add_test(tc, no_sign_of_life);
    tcase_add_test(tc, nonsense_is_passed_over);
    tcase_add_test(tc, decision_without_a_model);
    tcase_add_test(tc, arguments_hold_no_key);
    suite_add_tcase(s, tc);
    tc = tcase_create("order");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_after_the_other);
    tcase_add_test(tc, progress_counts_up);
    tcase_add_test(tc, restart_goes_on);
    tcase_add_test(tc, stubborn_process_does_not_keep_the_server);
    tcase_add_test(tc, folders_are_swept);
    tcase_add_test(tc, collection_deleted_while_it_trains);
    suite_add_tcase(s, tc);
}
