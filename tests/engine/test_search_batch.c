/* Batches: what each search gives by itself, whatever stands beside it; and who is named when one is wrong. Also
 * engine/search_run.c. */
#include "engine/search_internal.h"

#include "tests/engine/rig.h"
#include "tests/support/oom.h"

#include <stdio.h>

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

static enum err_code run(struct call *c, struct search_op *ops, size_t n, struct err *e)
{
    struct search_batch_op op = { .searches = ops, .n = n };
    struct err submitted = ERR_INIT;
    call_begin(c, &op.op);
    enum err_code code = engine_search_batch(r.g, &op, &submitted);
    code = call_wait(c, &op.op, code, &submitted);
    *e = op.op.err;
    return code;
}

static void check_same(const struct search_op *got, const struct search_op *want)
{
    ck_assert_uint_eq(got->n_hits, want->n_hits);
    for (size_t i = 0; i < got->n_hits; i++) {
        ck_assert(str_eq(got->hits[i].key, want->hits[i].key));
        ck_assert(got->hits[i].score == want->hits[i].score);
        ck_assert(str_eq(got->hits[i].text, want->hits[i].text));
    }
    ck_assert(str_eq(got->model.name, want->model.name));
    ck_assert_int_eq(got->model.version, want->model.version);
}

/* Texts, vectors, items, filters, two collections, in any order. */
START_TEST(each_as_by_itself)
{
    enum { N = 70 };
    static struct search_op ops[N];
    static float vectors[N][RIG_DIM];
    static char texts[N][64];
    struct filter_condition cond = { .kind = CONDITION_RANGE,
        .key = STR("n"),
        .range = { .has_gte = true, .gte = 40, .has_lt = true, .lt = 120 } };
    const struct filter filter = { .must = { &cond, 1 } };
    struct err e = ERR_INIT;
    rig_put_many(&r, "default", 0, 400);
    rig_make_vectors(&r, "v", RIG_DIM, METRIC_L2);
    for (size_t i = 0; i < 300; i++) {
        CALL c;
        call_init(&c);
        char key[16];
        float v[RIG_DIM] = { (float)(i % 17), (float)(i % 23), (float)i / 10 };
        (void)snprintf(key, sizeof key, "v%zu", i);
        struct upsert_item item = { .key = str_from(key), .vector = v, .n_vector = RIG_DIM };
        struct upsert_op op = { .collection = STR("v"), .items = &item, .n = 1 };
        ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    }
    for (size_t i = 0; i < N; i++) {
        struct search_op *op = &ops[i];
        *op = (struct search_op){
            .collection = STR("default"), .k = 1 + i % 9, .with = VIEW_TEXT, .offset = i % 4
        };
        rig_text(i * 3, texts[i]);
        vectors[i][0] = (float)(i % 5);
        vectors[i][1] = (float)(i % 7);
        vectors[i][2] = (float)i;
        switch (i < 40 ? i % 5 : 5) {
        case 0: op->text = str_from(texts[i]); break;
        case 1: op->id = STR("k11"); break;
        case 2:
            op->text = str_from(texts[i]);
            op->filter = &filter;
            break;
        case 3:
            op->text = str_from(texts[i]);
            op->has_min_score = true;
            op->min_score = 0.5f;
            break;
        default:
            op->collection = STR("v");
            op->vector = vectors[i];
            op->n_vector = RIG_DIM;
            op->k = 5;
            op->offset = 0;
            op->exact = i % 2 == 0 && i < 50;
        }
    }
    CALL c;
    call_init(&c);
    ck_assert_ok(run(&c, ops, N, &e), &e);
    for (size_t i = 0; i < N; i++) {
        CALL one;
        call_init(&one);
        struct search_op want = ops[i];
        ck_assert_ok(rig_search(&r, &one, &want), &want.op.err);
        check_same(&ops[i], &want);
        ck_assert_int_gt(ops[i].done_ns, 0);
    }
}
END_TEST

START_TEST(the_wrong_one_is_named)
{
    rig_put_many(&r, "default", 0, 5);
    rig_make_vectors(&r, "v", 3, METRIC_DOT);
    static const float vector[3] = { 1, 2, 3 };
    const struct {
        struct search_op op;
        enum err_code code;
        const char *field;
    } rows[] = {
        { { .collection = STR("default"), .text = STR("w1"), .k = 0 }, ERR_INVALID,
            "/searches/2/k" },
        { { .collection = STR("nowhere"), .text = STR("w1"), .k = 1 }, ERR_NOT_FOUND,
            "/searches/2" },
        { { .collection = STR("default"), .text = STR(""), .k = 1 }, ERR_EMPTY,
            "/searches/2/text" },
        { { .collection = STR("default"), .id = STR("nobody"), .k = 1 }, ERR_NOT_FOUND,
            "/searches/2/id" },
        { { .collection = STR("v"), .vector = vector, .n_vector = 2, .k = 1 }, ERR_INVALID,
            "/searches/2/vector" },
        { { .collection = STR("v"), .text = STR("w1"), .k = 1 }, ERR_UNPROCESSABLE, "/searches/2" },
        { { .collection = STR("default"),
              .text = STR("w1"),
              .k = 1,
              .ef = 3,
              .target_recall = 0.5f },
            ERR_INVALID, "/searches/2/target_recall" },
        { { .collection = STR("default"), .text = STR("w1"), .k = 1, .target_recall = 1 },
            ERR_INVALID, "/searches/2/target_recall" },
        { { .collection = STR("default"),
              .text = STR("w1"),
              .k = 1,
              .has_model_version = true,
              .model_version = 5 },
            ERR_VERSION, "/searches/2/model_version" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct search_op good = { .collection = STR("default"), .text = STR("w1 w2"), .k = 2 };
        struct search_op ops[4] = { good, good, rows[i].op, good };
        struct err e = ERR_INIT;
        CALL c;
        call_init(&c);
        ck_assert_err(run(&c, ops, 4, &e), rows[i].code);
        ck_assert_str_eq(e.field, rows[i].field);
    }
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    ck_assert_err(run(&c, NULL, 0, &e), ERR_EMPTY);
}
END_TEST

/* A text that only its encoder can refuse. */
START_TEST(a_text_without_a_known_word_is_named)
{
    struct search_op good = { .collection = STR("default"), .text = STR("w1 w2"), .k = 2 };
    struct search_op ops[3] = { good, good, good };
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    ops[1].text = STR("\xe2\x98\x83");
    enum err_code code = run(&c, ops, 3, &e);
    if (code == ERR_OK) return; /* this tokenizer has a word for everything */
    ck_assert_str_eq(e.field, "/searches/1/text");
}
END_TEST

START_TEST(time_runs_out)
{
    rig_put_many(&r, "default", 0, 5);
    struct search_op good = { .collection = STR("default"), .text = STR("w1 w2"), .k = 2 };
    struct search_op ops[3] = { good, good, good };
    struct search_batch_op op = { .searches = ops, .n = 3 };
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    call_begin(&c, &op.op);
    op.op.deadline_ns = 1;
    ck_assert_err(call_wait(&c, &op.op, engine_search_batch(r.g, &op, &e), &e), ERR_TIMEOUT);
}
END_TEST

/* All are counted: while they wait there is room for no other. */
START_TEST(each_takes_its_permit)
{
    rig_close(&r);
    rig_set(&r, "search.queue", "4");
    rig_open(&r);
    rig_put_many(&r, "default", 0, 5);
    struct search_op good = { .collection = STR("default"), .text = STR("w1 w2"), .k = 2 };
    struct search_op ops[3] = { good, good, good };
    struct err e = ERR_INIT;
    for (int i = 0; i < 5; i++) {
        CALL c;
        call_init(&c);
        ck_assert_ok(run(&c, ops, 3, &e), &e);
    }
    ck_assert_uint_eq(gate_used(&r.g->search_gate), 0);
    ck_assert_uint_eq(gate_used(&r.g->encode_gate[LANE_INTERACTIVE]), 0);
}
END_TEST

static enum err_code submit(void *arg)
{
    struct search_op ops[3] = { { .collection = STR("default"), .text = STR("w1"), .k = 2 },
        { .collection = STR("default"), .id = STR("k1"), .k = 2 },
        { .collection = STR("default"), .text = STR("w2"), .k = 2 } };
    struct err e = ERR_INIT;
    CALL c;
    (void)arg;
    mutex_init(&c.lock, RANK_SERVER);
    cond_init(&c.changed);
    c.arena = arena_new(16, 0);
    return c.arena ? run(&c, ops, 3, &e) : ERR_NOMEM;
}
START_TEST(memory_runs_out)
{
    rig_put_many(&r, "default", 0, 3);
    oom_loop(submit, NULL);
    ck_assert_uint_eq(gate_used(&r.g->search_gate), 0);
}
END_TEST

TEST_SUITE(search_batch)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, each_as_by_itself);
    tcase_add_test(tc, the_wrong_one_is_named);
    tcase_add_test(tc, a_text_without_a_known_word_is_named);
    tcase_add_test(tc, time_runs_out);
    tcase_add_test(tc, each_takes_its_permit);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, memory_runs_out);
    suite_add_tcase(s, tc);
}
