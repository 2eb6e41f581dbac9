#include "tests/engine/rig.h"

#include <stdio.h>
#include <string.h>

static struct rig r;

static void setup(void)
{
    rig_init(&r);
    rig_open(&r);
}
static void teardown(void)
{
    rig_done(&r);
}

/* {"n": {"gte": from, "lt": to}} */
static struct filter filter_n(struct filter_condition *c, double from, double to)
{
    *c = (struct filter_condition){ .kind = CONDITION_RANGE,
        .key = STR("n"),
        .range = { .has_gte = true, .gte = from, .has_lt = true, .lt = to } };
    return (struct filter){ .must = { c, 1 } };
}

START_TEST(hits_carry_what_was_asked_for)
{
    CALL c;
    call_init(&c);
    rig_put(&r, "default", "a", "w1 w2", "{\"n\":1}");
    struct search_op op = { .collection = STR("default"), .text = STR("w1 w2"), .k = 3 };
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_hits, 1);
    ck_assert(str_is(op.hits[0].key, "a"));
    ck_assert_ptr_null(op.hits[0].text.p);
    ck_assert_ptr_null(op.hits[0].vector);
    ck_assert(op.hits[0].score > 0.9999f);
    ck_assert(str_is(op.model.name, "tiny"));
    ck_assert_int_eq(op.model.version, 1);
    op.with = VIEW_TEXT | VIEW_METADATA | VIEW_VECTOR;
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert(str_is(op.hits[0].text, "w1 w2"));
    ck_assert(str_is(op.hits[0].metadata, "{\"n\":1}"));
    ck_assert_uint_eq(op.hits[0].n_vector, RIG_DIM);
}
END_TEST

START_TEST(pages_are_stable_and_do_not_overlap)
{
    rig_put_many(&r, "default", 0, 500);
    CALL all;
    call_init(&all);
    struct search_op whole = {
        .collection = STR("default"), .text = STR("w1 w2"), .k = 100, .exact = true
    };
    ck_assert_ok(rig_search(&r, &all, &whole), &whole.op.err);
    ck_assert_uint_eq(whole.n_hits, 100);
    for (size_t offset = 0; offset < 100; offset += 20) {
        CALL c;
        call_init(&c);
        struct search_op op = whole;
        op.k = 20;
        op.offset = offset;
        ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
        ck_assert_uint_eq(op.n_hits, 20);
        for (size_t i = 0; i < 20; i++)
            ck_assert(str_eq(op.hits[i].key, whole.hits[offset + i].key));
    }
    struct search_op beyond = whole;
    beyond.offset = 600;
    ck_assert_ok(rig_search(&r, &all, &beyond), &beyond.op.err);
    ck_assert_uint_eq(beyond.n_hits, 0);
}
END_TEST

START_TEST(like_an_item_without_itself)
{
    CALL c;
    call_init(&c);
    rig_put(&r, "default", "a", "w1 w2 w3", NULL);
    rig_put(&r, "default", "b", "w1 w2 w4", NULL);
    rig_put(&r, "default", "c", "w7 w8 w9", NULL);
    struct search_op op = { .collection = STR("default"), .id = STR("a"), .k = 2 };
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_hits, 2);
    ck_assert(str_is(op.hits[0].key, "b"));
    ck_assert(str_is(op.hits[1].key, "c"));
    op.offset = 1;
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_hits, 1);
    ck_assert(str_is(op.hits[0].key, "c"));
    op.id = STR("nobody");
    ck_assert_err(rig_search(&r, &c, &op), ERR_NOT_FOUND);
    ck_assert_str_eq(op.op.err.field, "/id");
}
END_TEST

START_TEST(filter_and_min_score)
{
    CALL c;
    call_init(&c);
    rig_put_many(&r, "default", 0, 200);
    struct filter_condition cond;
    struct filter f = filter_n(&cond, 50, 60);
    struct search_op op = {
        .collection = STR("default"), .text = STR("w1 w2"), .k = 100, .filter = &f
    };
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_hits, 10);
    for (size_t i = 0; i < 10; i++) {
        int n;
        ck_assert_int_eq(sscanf(op.hits[i].key.p, "k%d", &n), 1);
        ck_assert(n >= 50 && n < 60);
    }
    op.filter = NULL;
    op.has_min_score = true;
    op.min_score = 0.3f;
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert_uint_lt(op.n_hits, 100);
    for (size_t i = 0; i < op.n_hits; i++)
        ck_assert(op.hits[i].score >= 0.3f);
}
END_TEST

START_TEST(bad_queries)
{
    CALL c;
    call_init(&c);
    rig_put(&r, "default", "a", "w1", NULL);
    float v[RIG_DIM] = { 1 };
    const struct search_op ok = { .collection = STR("default"), .text = STR("w1"), .k = 1 };
    struct search_op op = ok;
    op.k = 0;
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID);
    ck_assert_str_eq(op.op.err.field, "/k");
    op = ok;
    op.offset = 10000;
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID);
    op = ok;
    op.vector = v;
    op.n_vector = RIG_DIM;
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID); /* two queries */
    op.text = (struct str){ 0 };
    op.n_vector = 3;
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID);
    ck_assert_str_eq(op.op.err.field, "/vector");
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "3 values"));
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "32"));
    op.n_vector = RIG_DIM;
    v[0] = 0;
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID);
    v[0] = __builtin_inff();
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID);
    op = ok;
    op.collection = STR("nowhere");
    ck_assert_err(rig_search(&r, &c, &op), ERR_NOT_FOUND);
    op = ok;
    op.text = STR("  ");
    ck_assert_err(rig_search(&r, &c, &op), ERR_EMPTY);
    ck_assert_str_eq(op.op.err.field, "/text");
    op = ok;
    op.text = (struct str){ 0 };
    ck_assert_err(rig_search(&r, &c, &op), ERR_INVALID); /* none */
    op = ok;
    op.has_model_version = true;
    op.model_version = 2;
    ck_assert_err(rig_search(&r, &c, &op), ERR_VERSION);
    op.model_version = 1;
    ck_assert_err(rig_search(&r, &c, &op), ERR_OK);
    rig_make_vectors(&r, "v", 3, METRIC_DOT);
    op = ok;
    op.collection = STR("v");
    ck_assert_err(rig_search(&r, &c, &op), ERR_UNPROCESSABLE);
}
END_TEST

/* 3-4-5 triangles: a score is minus the distance, and a bound is one on scores. */
START_TEST(euclidean_scores_are_distances)
{
    CALL c;
    call_init(&c);
    rig_make_vectors(&r, "v", 2, METRIC_L2);
    static const float at[3][2] = { { 0, 0 }, { 3, 4 }, { 6, 8 } }, origin[2] = { 0, 0 };
    static const char *const keys[3] = { "zero", "five", "ten" };
    struct upsert_item items[3];
    for (size_t i = 0; i < 3; i++)
        items[i] = (struct upsert_item){
            .key = str_from(keys[i]), .vector = at[i], .n_vector = 2, .metadata = STR("{}")
        };
    struct upsert_op up = { .collection = STR("v"), .items = items, .n = 3 };
    ck_assert_ok(rig_upsert(&r, &c, &up), &up.op.err);
    for (int exact = 0; exact < 2; exact++) {
        struct search_op op = {
            .collection = STR("v"), .vector = origin, .n_vector = 2, .k = 9, .exact = exact
        };
        ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
        ck_assert_uint_eq(op.n_hits, 3);
        for (size_t i = 0; i < 3; i++)
            ck_assert_float_eq(op.hits[i].score, -5 * (float)i);
        op.has_min_score = true;
        static const struct {
            float bound;
            size_t n;
        } bounds[] = { { -1e30f, 3 }, { -10, 3 }, { -9.999f, 2 }, { -5, 2 }, { -4.999f, 1 },
            { 0, 1 }, { 1, 0 } };
        for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
            op.min_score = bounds[i].bound;
            ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
            ck_assert_uint_eq(op.n_hits, bounds[i].n);
        }
    }
}
END_TEST

START_TEST(past_its_deadline)
{
    CALL c;
    call_init(&c);
    rig_put(&r, "default", "a", "w1", NULL);
    struct search_op op = { .collection = STR("default"), .text = STR("w1"), .k = 1 };
    op.op.deadline_ns = 1;
    ck_assert_err(rig_search(&r, &c, &op), ERR_TIMEOUT);
    ck_assert_str_eq(op.op.err.field, ""); /* not the text's fault */
    struct search_op by_id = { .collection = STR("default"), .id = STR("a"), .k = 1 };
    by_id.op.deadline_ns = 1;
    ck_assert_err(rig_search(&r, &c, &by_id), ERR_TIMEOUT);
    struct upsert_item item = { .key = STR("b"), .text = STR("w2"), .metadata = STR("{}") };
    struct upsert_op up = { .collection = STR("default"), .items = &item, .n = 1 };
    up.op.deadline_ns = 1;
    ck_assert_err(rig_upsert(&r, &c, &up), ERR_TIMEOUT);
    rig_check_items(&r, "default", 1);
}
END_TEST

START_TEST(reads_pages_and_counts)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    rig_put_many(&r, "default", 0, 25);
    struct item_view *rows, view;
    size_t n, seen = 0;
    int64_t after = -1;
    do {
        ck_assert_ok(engine_items_page(r.g, STR("default"), NULL, after, 10, VIEW_TEXT, 0, c.arena,
                         &rows, &n, &after, &e),
            &e);
        for (size_t i = 0; i < n; i++) {
            char key[32];
            snprintf(key, sizeof key, "k%zu", seen++);
            ck_assert(str_is(rows[i].key, key));
            ck_assert_ptr_nonnull(rows[i].text.p);
            ck_assert_ptr_null(rows[i].vector);
        }
    } while (after >= 0);
    ck_assert_uint_eq(seen, 25);

    struct filter_condition cond;
    struct filter f = filter_n(&cond, 5, 16);
    ck_assert_ok(engine_items_count(r.g, STR("default"), &f, 0, &n, &e), &e);
    ck_assert_uint_eq(n, 11);
    size_t first = 5;
    after = -1;
    seen = 0;
    do {
        ck_assert_ok(engine_items_page(
                         r.g, STR("default"), &f, after, 4, 0, 0, c.arena, &rows, &n, &after, &e),
            &e);
        ck_assert_uint_le(n, 4);
        for (size_t i = 0; i < n; i++) {
            char key[32];
            snprintf(key, sizeof key, "k%zu", first + seen++);
            ck_assert(str_is(rows[i].key, key));
        }
    } while (after >= 0);
    ck_assert_uint_eq(seen, 11);

    ck_assert_ok(engine_item_get(r.g, STR("default"), STR("k3"),
                     VIEW_TEXT | VIEW_METADATA | VIEW_VECTOR, c.arena, &view, &e),
        &e);
    ck_assert(str_is(view.metadata, "{\"n\":3}"));
    ck_assert_uint_eq(view.n_vector, RIG_DIM);
    ck_assert_int_eq(view.model.version, 1);
    ck_assert_int_gt(view.created_ms, 0);
    ck_assert_err(
        engine_item_get(r.g, STR("default"), STR("no"), 0, c.arena, &view, &e), ERR_NOT_FOUND);
    ck_assert_err(engine_item_get(r.g, STR("no"), STR("k3"), 0, c.arena, &view, &e), ERR_NOT_FOUND);
    ck_assert_err(
        engine_items_page(r.g, STR("default"), NULL, -1, 0, 0, 0, c.arena, &rows, &n, &after, &e),
        ERR_INVALID);
}
END_TEST

START_TEST(deletes_by_filter)
{
    CALL c;
    call_init(&c);
    rig_put_many(&r, "default", 0, 100);
    struct filter_condition cond;
    struct filter f = filter_n(&cond, 10, 40);
    struct delete_op op = { .collection = STR("default"), .filter = &f };
    ck_assert_ok(rig_delete(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.deleted, 30);
    rig_check_items(&r, "default", 70);
    ck_assert_ok(rig_delete(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.deleted, 0);
    struct search_op s = {
        .collection = STR("default"), .text = STR("w1"), .k = 100, .exact = true
    };
    ck_assert_ok(rig_search(&r, &c, &s), &s.op.err);
    ck_assert_uint_eq(s.n_hits, 70);
    const struct str keys[] = { STR("k1"), STR("k15"), STR("k2"), STR("k2") };
    op = (struct delete_op){ .collection = STR("default"), .keys = keys, .n = 4 };
    ck_assert_ok(rig_delete(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.deleted, 2);
    rig_reopen(&r);
    rig_check_items(&r, "default", 68);
}
END_TEST

static size_t n_worked; /* handed over with the operation */
static void count_work(struct engine_op *op)
{
    n_worked++;
    (void)err_set(&op->err, ERR_CONFLICT, "found at work");
}
START_TEST(work_runs_on_a_search_thread)
{
    CALL c;
    struct engine_op op = { 0 };
    struct err e = ERR_INIT;
    call_init(&c);
    call_begin(&c, &op);
    ck_assert_err(call_wait(&c, &op, engine_run(r.g, &op, count_work, &e), &e), ERR_CONFLICT);
    ck_assert_uint_eq(n_worked, 1);
    ck_assert_err(engine_ready(r.g, &e), ERR_OK);
    engine_drain(r.g);
    ck_assert_err(engine_run(r.g, &op, count_work, &e), ERR_DRAINING);
    ck_assert_err(engine_ready(r.g, &e), ERR_DRAINING);
}
END_TEST

TEST_SUITE(search)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, hits_carry_what_was_asked_for);
    tcase_add_test(tc, pages_are_stable_and_do_not_overlap);
    tcase_add_test(tc, like_an_item_without_itself);
    tcase_add_test(tc, filter_and_min_score);
    tcase_add_test(tc, bad_queries);
    tcase_add_test(tc, euclidean_scores_are_distances);
    tcase_add_test(tc, past_its_deadline);
    tcase_add_test(tc, reads_pages_and_counts);
    tcase_add_test(tc, deletes_by_filter);
    tcase_add_test(tc, work_runs_on_a_search_thread);
    suite_add_tcase(s, tc);
}
