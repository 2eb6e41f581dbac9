/* Versions of a model: the first one, lineage, states, removal. What the swap does to their states is in
 * test_sqlite_generations.c. */
#include "tests/catalog/fixture.h"

#include "tests/support/oom.h"

static struct catalog_version *versions(
    struct fixture *f, const struct catalog_collection *col, size_t want_n)
{
    struct err e = ERR_INIT;
    struct catalog_version *rows;
    size_t n;
    ck_assert_ok(catalog_versions(f->c, col, f->a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, want_n);
    return rows;
}

START_TEST(the_first_is_the_base_model)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_version *v = versions(&f, &f.col, 1);
    ck_assert(v->version == 1 && v->parent_version == 0 && v->run_id == 0);
    ck_assert(v->state == VERSION_SERVING && str_is(v->base_model, "text-small"));
    ck_assert(v->data_hash.n == 0 && v->data_hash.p && v->weights_hash.n == 0);
    ck_assert_int_eq(v->created_ms, f.col.created_ms);
    ck_assert_int_eq(v->served_ms, f.col.created_ms);
    struct catalog_collection raw = {
        .name = STR("raw"), .modality = MODALITY_VECTOR, .serving = { .dimensions = 2 }
    };
    ck_assert_ok(catalog_collection_create(f.c, &raw, &e), &e);
    (void)versions(&f, &raw, 0); /* no model, no versions */
    struct catalog_run run = { .collection_id = raw.id };
    ck_assert_ok(catalog_run_create(f.c, &run, &e), &e);
    struct catalog_version next = { .parent_version = 1, .run_id = run.id };
    ck_assert_err(catalog_version_create(f.c, &raw, &next, &e), ERR_NOT_FOUND);
    fixture_close(&f);
}
END_TEST

START_TEST(lineage)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_run run;
    fixture_open(&f);
    struct catalog_version made = { .parent_version = 1,
        .run_id = fixture_run(&f),
        .state = VERSION_SERVING, /* is what create says */
        .base_model = STR("text-small"),
        .data_hash = STR("d1"),
        .weights_hash = STR("w1") };
    ck_assert_ok(catalog_version_create(f.c, &f.col, &made, &e), &e);
    ck_assert(made.version == 2 && made.state == VERSION_CANDIDATE && made.created_ms > 0);
    ck_assert_ok(catalog_run_get(f.c, made.run_id, f.a, &run, &e), &e);
    ck_assert_int_eq(run.to_version, 2);
    struct catalog_version again = made;
    ck_assert_err(catalog_version_create(f.c, &f.col, &again, &e), ERR_CONFLICT); /* one a run */
    ck_assert_int_eq(again.version, 2);
    fixture_run_end(&f, made.run_id, RUN_FAILED);
    again.run_id = fixture_run(&f);
    again.parent_version = 9;
    ck_assert_err(catalog_version_create(f.c, &f.col, &again, &e), ERR_NOT_FOUND);
    again.parent_version = 2;
    ck_assert_ok(catalog_version_create(f.c, &f.col, &again, &e), &e);
    ck_assert_int_eq(again.version, 3);
    fixture_run_end(&f, again.run_id, RUN_CANCELLED);
    again.run_id = 99;
    ck_assert_err(catalog_version_create(f.c, &f.col, &again, &e), ERR_CONFLICT);
    fixture_reopen(&f);
    struct catalog_version *v = versions(&f, &f.col, 3);
    ck_assert(v[1].parent_version == 1 && v[1].run_id == made.run_id && v[1].served_ms == 0);
    ck_assert(str_is(v[1].data_hash, "d1") && str_is(v[1].weights_hash, "w1"));
    ck_assert(v[2].parent_version == 2 && v[2].state == VERSION_CANDIDATE);
    fixture_close(&f);
}
END_TEST

START_TEST(an_ended_run_makes_no_version)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_version made = { .parent_version = 1, .run_id = fixture_run(&f) };
    fixture_run_end(&f, made.run_id, RUN_CANCELLED);
    ck_assert_err(catalog_version_create(f.c, &f.col, &made, &e), ERR_CONFLICT);
    (void)versions(&f, &f.col, 1);
    fixture_close(&f);
}
END_TEST

START_TEST(removed_after_its_vectors)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_generation gen = fixture_generation(&f), again = gen;
    ck_assert_err(catalog_version_removed(f.c, &f.col, 1, &e), ERR_CONFLICT);
    ck_assert_err(catalog_version_removed(f.c, &f.col, 2, &e), ERR_CONFLICT);
    ck_assert_err(catalog_version_removed(f.c, &f.col, 3, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(versions(&f, &f.col, 2)[1].state, VERSION_CANDIDATE);
    ck_assert_ok(catalog_generation_drop(f.c, &f.col, gen.id, &e), &e);
    ck_assert_ok(catalog_version_removed(f.c, &f.col, 2, &e), &e);
    ck_assert_int_eq(versions(&f, &f.col, 2)[1].state, VERSION_REMOVED);
    ck_assert_err(catalog_version_removed(f.c, &f.col, 2, &e), ERR_NOT_FOUND);
    ck_assert_err(catalog_generation_create(f.c, &f.col, &again, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(fixture_version(&f), 3); /* its number is not given again */
    fixture_close(&f);
}
END_TEST

static enum err_code make_and_remove(void *arg)
{
    struct fixture *f = arg;
    struct err e = ERR_INIT;
    struct catalog_run run = { .collection_id = f->col.id, .kind = RUN_TRAIN }, *open;
    struct catalog_version v = { .parent_version = 1 }, *rows;
    size_t n;
    TRY(catalog_runs_open(f->c, f->a, &open, &n, &e));
    if (n > 0) /* of a round that failed */
        run = open[0];
    else
        TRY(catalog_run_create(f->c, &run, &e));
    v.run_id = run.id;
    if (run.to_version == 0) TRY(catalog_version_create(f->c, &f->col, &v, &e));
    TRY(catalog_versions(f->c, &f->col, f->a, &rows, &n, &e));
    ck_assert_int_eq(rows[n - 1].run_id, run.id);
    if (rows[n - 1].state != VERSION_REMOVED)
        TRY(catalog_version_removed(f->c, &f->col, rows[n - 1].version, &e));
    run.to_version = rows[n - 1].version;
    run.status = RUN_REJECTED;
    enum err_code code = catalog_run_update(f->c, &run, &e);
    arena_clear(f->a);
    return code;
}

START_TEST(no_memory)
{
    struct fixture f;
    fixture_open(&f);
    (void)versions(&f, &f.col, 1);
    (void)oom_loop(make_and_remove, &f);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM run WHERE status < 4"), 0);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM run WHERE to_version = 0"), 0);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) - max(version) FROM model_version"), 0);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_versions)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, the_first_is_the_base_model);
    tcase_add_test(tc, lineage);
    tcase_add_test(tc, an_ended_run_makes_no_version);
    tcase_add_test(tc, removed_after_its_vectors);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory);
    suite_add_tcase(s, oom);
}
