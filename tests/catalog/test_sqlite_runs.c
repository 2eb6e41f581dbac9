/* Runs: one at a time in a collection, written until they end, kept as records. */
#include "tests/catalog/fixture.h"

#include "tests/support/oom.h"

#include <math.h>

static struct catalog_run get(struct fixture *f, int64_t id)
{
    struct err e = ERR_INIT;
    struct catalog_run run;
    ck_assert_ok(catalog_run_get(f->c, id, f->a, &run, &e), &e);
    return run;
}

static double metric(const struct catalog_run *run, const char *name)
{
    for (size_t i = 0; i < run->n_metrics; i++)
        if (str_is(run->metrics[i].name, name)) return run->metrics[i].value;
    ck_abort_msg("no metric %s", name);
}

START_TEST(what_was_asked_for)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_run made = { .collection_id = f.col.id,
        .collection = STR("whatever"),
        .kind = RUN_TRAIN,
        .status = RUN_SUCCEEDED, /* is what create says */
        .objective = STR("mnrl"),
        .pairs_anchor = STR("metadata.title"),
        .pairs_positive = STR("text"),
        .max_seconds = 1.5,
        .max_steps = 7,
        .method = STR("last_layers"),
        .layers = 2,
        .seed = INT64_MIN,
        .promote = PROMOTE_NEVER,
        .from_version = 1 };
    ck_assert_ok(catalog_run_create(f.c, &made, &e), &e);
    ck_assert(made.id > 0 && made.status == RUN_QUEUED && made.created_ms > 0);
    fixture_reopen(&f);
    struct catalog_run r = get(&f, made.id);
    ck_assert(r.id == made.id && r.collection_id == f.col.id && str_is(r.collection, "things"));
    ck_assert(r.kind == RUN_TRAIN && r.status == RUN_QUEUED && r.promote == PROMOTE_NEVER);
    ck_assert(str_is(r.objective, "mnrl") && str_is(r.pairs_anchor, "metadata.title"));
    ck_assert(str_is(r.pairs_positive, "text") && r.labels.p && r.labels.n == 0);
    ck_assert(r.max_seconds == 1.5 && r.max_steps == 7 && r.seed == INT64_MIN);
    ck_assert(str_is(r.method, "last_layers") && r.layers == 2);
    ck_assert(r.from_version == 1 && r.to_version == 0 && r.n_metrics == 0 && r.loss == 0);
    ck_assert(r.created_ms == made.created_ms && r.started_ms == 0 && r.finished_ms == 0);
    ck_assert(r.decision.n == 0 && r.error_code.n == 0 && r.error.n == 0 && r.data_hash.n == 0);

    struct catalog_run second = made;
    ck_assert_err(catalog_run_create(f.c, &second, &e), ERR_CONFLICT);
    ck_assert_ptr_nonnull(strstr(e.msg, "has not ended"));
    second.max_seconds = (double)NAN;
    ck_assert_err(catalog_run_create(f.c, &second, &e), ERR_INVALID);
    second.max_seconds = 0;
    second.collection_id += 10;
    ck_assert_err(catalog_run_create(f.c, &second, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM run"), 1);
    fixture_run_end(&f, made.id, RUN_REJECTED);
    second = (struct catalog_run){
        .collection_id = f.col.id, .kind = RUN_ROLLBACK, .from_version = 2, .to_version = 1
    };
    ck_assert_ok(catalog_run_create(f.c, &second, &e), &e);
    ck_assert_int_eq(get(&f, second.id).to_version, 1);
    ck_assert(str_is(get(&f, second.id).method, "auto") && get(&f, second.id).layers == 0);
    ck_assert_err(catalog_run_get(f.c, 99, f.a, &r, &e), ERR_NOT_FOUND);
    fixture_close(&f);
}
END_TEST

START_TEST(written_until_it_ends)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_run r = get(&f, fixture_run(&f)), stored;
    struct run_metric first[] = { { STR("loss.first"), 2.5 }, { STR("bad"), (double)NAN } },
                      next[] = { { STR("gate.tested"), 1 }, { STR("loss.first"), -INFINITY } };
    r.status = RUN_RUNNING;
    r.kind = RUN_PROMOTE; /* what was asked for stays */
    r.seed = 77;
    r.from_version = 5;
    r.step = 3;
    r.steps = 10;
    r.loss = (double)NAN;
    r.attempts = 2;
    r.started_ms = 1234;
    r.data_hash = STR("abc");
    r.metrics = first;
    r.n_metrics = 2;
    ck_assert_ok(catalog_run_update(f.c, &r, &e), &e);
    stored = get(&f, r.id);
    ck_assert(stored.kind == RUN_TRAIN && stored.seed == 0 && stored.from_version == 1);
    ck_assert(stored.status == RUN_RUNNING && stored.step == 3 && stored.steps == 10);
    ck_assert(isnan(stored.loss) && stored.attempts == 2 && stored.started_ms == 1234);
    ck_assert(str_is(stored.data_hash, "abc") && stored.n_metrics == 2);
    ck_assert(metric(&stored, "loss.first") == 2.5 && isnan(metric(&stored, "bad")));
    r.status = RUN_FAILED;
    r.loss = 0.25;
    r.error_code = STR("internal");
    r.error = STR("it's over; \"it\" said so");
    r.decision = STR("not promoted");
    r.finished_ms = 5678;
    r.metrics = next;
    ck_assert_ok(catalog_run_update(f.c, &r, &e), &e);
    stored = get(&f, r.id);
    ck_assert(stored.status == RUN_FAILED && stored.finished_ms == 5678 && stored.loss == 0.25);
    ck_assert(str_eq(stored.error, r.error) && str_is(stored.error_code, "internal"));
    ck_assert(stored.n_metrics == 3 && isinf(metric(&stored, "loss.first")));
    ck_assert(str_is(stored.decision, "not promoted"));

    r.status = RUN_SUCCEEDED; /* an end is an end */
    r.decision = STR("promoted");
    first[0].value = 0;
    r.metrics = first;
    ck_assert_err(catalog_run_update(f.c, &r, &e), ERR_CONFLICT);
    r.status = RUN_RUNNING;
    ck_assert_err(catalog_run_update(f.c, &r, &e), ERR_CONFLICT);
    stored = get(&f, r.id);
    ck_assert(stored.status == RUN_FAILED && str_is(stored.decision, "not promoted"));
    ck_assert(isinf(metric(&stored, "loss.first")));
    r.status = RUN_FAILED;
    ck_assert_ok(catalog_run_update(f.c, &r, &e), &e);
    r.id = 99;
    ck_assert_err(catalog_run_update(f.c, &r, &e), ERR_CONFLICT);
    fixture_close(&f);
}
END_TEST

START_TEST(lists)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_run *rows;
    int64_t ids[5];
    size_t n;
    fixture_open(&f);
    struct catalog_collection other = fixture_collection("other"), things = f.col;
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    for (size_t i = 0; i < 4; i++) {
        f.col = i == 1 ? other : things;
        ids[i] = fixture_run(&f);
        if (i == 0 || i == 2) fixture_run_end(&f, ids[i], i == 0 ? RUN_REJECTED : RUN_SUCCEEDED);
    }
    f.col = things;
    ck_assert_ok(catalog_runs(f.c, 0, 0, 3, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 3);
    ck_assert(rows[0].id == ids[3] && rows[1].id == ids[2] && rows[2].id == ids[1]);
    ck_assert(str_is(rows[2].collection, "other") && str_is(rows[0].collection, "things"));
    ck_assert_ok(catalog_runs(f.c, 0, ids[1], 3, f.a, &rows, &n, &e), &e);
    ck_assert(n == 1 && rows[0].id == ids[0]);
    ck_assert_ok(catalog_runs(f.c, things.id, ids[3], SIZE_MAX, f.a, &rows, &n, &e), &e);
    ck_assert(n == 2 && rows[0].id == ids[2] && rows[1].id == ids[0]);
    ck_assert_ok(catalog_runs(f.c, 77, 0, 10, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    /* Open ones, oldest first, whatever their collections' order. */
    fixture_run_end(&f, ids[1], RUN_FAILED);
    f.col = other;
    ids[4] = fixture_run(&f);
    ck_assert_ok(catalog_runs_open(f.c, f.a, &rows, &n, &e), &e);
    ck_assert(n == 2 && rows[0].id == ids[3] && rows[1].id == ids[4]);
    /* Judged ones. */
    ck_assert_ok(catalog_runs_judged(f.c, things.id, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    const struct run_metric judged[] = { { STR("gate.tested"), 1 }, { STR("gate.p"), 0.5 } };
    for (size_t i = 0; i < 3; i++) {
        struct catalog_run run = get(&f, ids[i]);
        run.metrics = judged;
        run.n_metrics = 2;
        ck_assert_ok(catalog_run_update(f.c, &run, &e), &e);
    }
    ck_assert_ok(catalog_runs_judged(f.c, things.id, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    ck_assert_ok(catalog_runs(f.c, 0, 0, 9, f.a, &rows, &n, &e), &e);
    ck_assert(n == 5 && rows[0].n_metrics == 0 && rows[2].n_metrics == 2);
    fixture_close(&f);
}
END_TEST

START_TEST(outlive_their_collection)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_run *rows;
    struct catalog_generation gen;
    bool more = true;
    size_t n;
    fixture_open(&f);
    struct catalog_put_result put = fixture_put(&f, "a", "a", "{}", 1);
    gen = fixture_generation(&f);
    fixture_catch_up(&f, &gen, 2);
    const struct catalog_feedback fb = { .query_text = STR("q"), .slot = put.slot };
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(catalog_feedback_put(f.c, &f.col, &fb, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    struct catalog_run run = get(&f, fixture_run(&f));
    const struct run_metric m = { STR("x"), 1 };
    run.metrics = &m;
    run.n_metrics = 1;
    run.status = RUN_EVALUATING;
    ck_assert_ok(catalog_run_update(f.c, &run, &e), &e);
    ck_assert_ok(catalog_collection_delete(f.c, f.col.id, &e), &e);
    struct catalog_run ended = get(&f, run.id);
    ck_assert(ended.status == RUN_CANCELLED && ended.finished_ms > 0);
    ck_assert(str_is(ended.error, "the collection was deleted"));
    ck_assert_err(catalog_run_update(f.c, &run, &e), ERR_CONFLICT);
    ck_assert_err(catalog_run_create(f.c, &run, &e), ERR_NOT_FOUND);
    while (more)
        ck_assert_ok(catalog_purge(f.c, &more, &e), &e);
    ck_assert_int_eq(
        fixture_query(&f,
            "SELECT (SELECT count(*) FROM vector) + (SELECT count(*) FROM generation) + (SELECT "
            "count(*) FROM model_version) + (SELECT count(*) FROM feedback) + (SELECT count(*) "
            "FROM item) + (SELECT count(*) FROM collection)"),
        0);
    ck_assert_ok(catalog_runs(f.c, f.col.id, 0, 9, f.a, &rows, &n, &e), &e);
    ck_assert(n == 2 && rows[0].n_metrics == 1 && str_is(rows[0].collection, "things"));
    ck_assert_int_eq(rows[1].status, RUN_REJECTED); /* of the candidate; it had ended */
    ck_assert_ok(catalog_runs_open(f.c, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    fixture_close(&f);
}
END_TEST

static enum err_code run_through(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog_run run = { .collection_id = f->col.id }, *rows;
    const struct run_metric m[] = { { STR("gate.tested"), 1 }, { STR("b"), 2 } };
    size_t n;
    TRY(catalog_runs_open(f->c, f->a, &rows, &n, &e));
    if (n > 0)
        run = rows[0];
    else
        TRY(catalog_run_create(f->c, &run, &e));
    run.metrics = m;
    run.n_metrics = 2;
    run.status = RUN_FAILED;
    run.error = STR("e");
    TRY(catalog_run_update(f->c, &run, &e));
    TRY(catalog_run_get(f->c, run.id, f->a, &run, &e));
    TRY(catalog_runs_judged(f->c, f->col.id, &n, &e));
    return catalog_runs(f->c, f->col.id, 0, 3, f->a, &rows, &n, &e);
}

START_TEST(no_memory)
{
    struct fixture f;
    fixture_open(&f);
    (void)get(&f, fixture_run(&f));
    (void)oom_loop(run_through, &f);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM run WHERE status <> 6"), 0);
    ck_assert_int_eq(
        fixture_query(&f, "SELECT (SELECT count(*) FROM run_metric) - 2 * count(*) FROM run"), 0);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_runs)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, what_was_asked_for);
    tcase_add_test(tc, written_until_it_ends);
    tcase_add_test(tc, lists);
    tcase_add_test(tc, outlive_their_collection);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory);
    suite_add_tcase(s, oom);
}
