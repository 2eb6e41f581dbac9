/* Judging a model on a file: who is found among which documents, and the comparison of two models. */
#include "engine/evaluate.h"

#include "base/buf.h"
#include "base/rng.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <math.h>
#include <string.h>

static struct tmpdir dir;
static char small[TMPDIR_PATH_BYTES], large[TMPDIR_PATH_BYTES];

static void setup(void)
{
    tmpdir_make(&dir);
    tiny_model_write(dir.path, "small", 3, 1);
    tiny_model_write(dir.path, "large", 64, 1);
    tmpdir_file(&dir, "small", small);
    tmpdir_file(&dir, "large", large);
}
static void teardown(void)
{
    tmpdir_remove(&dir);
}

static struct eval_report retrieval(const char *model, const char *data)
{
    struct eval_request rq = { .model_dir = model, .task = EVAL_RETRIEVAL, .data = str_from(data) };
    struct eval_report r;
    struct err e = ERR_INIT;
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    return r;
}

static enum err_code fails(const char *data, struct err *e)
{
    struct eval_request rq = { .model_dir = small, .task = EVAL_RETRIEVAL, .data = str_from(data) };
    struct eval_report r;
    return evaluate(&rq, &r, e);
}

START_TEST(documents_that_answer_no_query)
{
    struct eval_report r = retrieval(large, "w1 w2\tw1 w2 w3\nw4 w5\tw4 w5 w6\n");
    ck_assert_uint_eq(r.cases, 2);
    ck_assert_uint_eq(r.documents, 2);
    ck_assert(r.retrieval.recall_at_1 > 0.99);
    /* Nearer to the first query than its own document, before and after the cases. */
    const char *with = "\tw1 w2\nw1 w2\tw1 w2 w3\n\tw2 w1\nw4 w5\tw4 w5 w6\r\n\tw200\n";
    r = retrieval(large, with);
    ck_assert_uint_eq(r.cases, 2);
    ck_assert_uint_eq(r.documents, 5);
    ck_assert(fabs(r.retrieval.recall_at_1 - 0.5) < 1e-9);
    ck_assert(fabs(r.retrieval.mrr_at_10 - (1.0 / 3 + 1) / 2) < 1e-9);
}
END_TEST

START_TEST(equal_documents_are_one)
{
    struct eval_report r = retrieval(large, "w1 w2\tw1 w3\nw1 w4\tw1 w3\n\tw1 w3\n\tw9\n");
    ck_assert_uint_eq(r.cases, 2);
    ck_assert_uint_eq(r.documents, 2);
    ck_assert(r.retrieval.recall_at_1 > 0.99);
}
END_TEST

START_TEST(texts_without_a_known_word_find_nothing)
{
    struct eval_report r = retrieval(large, "w1\tw1\n  \tw2\nw3\t  \n\tw4\n\tw5\n");
    ck_assert_uint_eq(r.cases, 3);
    ck_assert_uint_eq(r.unknown, 2);
    /* The second query is as near to all five: the last of them. The third's document is as near as
     * whatever is at a right angle: it is not found. */
    ck_assert(fabs(r.retrieval.recall_at_1 - 1.0 / 3) < 1e-9);
    ck_assert(r.retrieval.mrr_at_10 < (1 + 1.0 / 5 + 1) / 3);
}
END_TEST

START_TEST(each_nth_line)
{
    struct eval_request rq = { .model_dir = large,
        .task = EVAL_RETRIEVAL,
        .data = STR("w1\tw1\n\tw2\nw3\tw3\n\tw4\nw5\tw5\n"),
        .every = 2 };
    struct eval_report r;
    ck_assert_ok(evaluate(&rq, &r, NULL));
    ck_assert_uint_eq(r.cases, 3);
    ck_assert_uint_eq(r.documents, 3);
}
END_TEST

START_TEST(lines_of_another_form)
{
    struct err e = ERR_INIT;
    ck_assert_err(fails("w1\tw1\nw2 w2\n", &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "line 2: expected query TAB document"));
    ck_assert_err(fails("w1\tw1\nw2\tw2\tw2\n", &e), ERR_INVALID);
    ck_assert_err(fails("w1\tw1\n\tw2\n\tw3\n", &e), ERR_INVALID); /* one query */
    ck_assert_err(fails("", &e), ERR_INVALID);
    struct eval_request rq = { .model_dir = "/nowhere", .task = EVAL_GENERAL };
    struct eval_report r;
    ck_assert_err(evaluate(&rq, &r, &e), ERR_NOT_FOUND);
}
END_TEST

START_TEST(general_sentences)
{
    struct eval_request rq = { .model_dir = "models/text-small", .task = EVAL_GENERAL };
    struct eval_report r;
    struct err e = ERR_INIT;
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    ck_assert_uint_ge(r.cases, 400);
    ck_assert_uint_eq(r.documents, r.cases);
    ck_assert(r.spearman > 0.7 && r.spearman < 0.9); /* room above, and far to fall */
    rq.model_dir = large;                            /* knows hardly a word */
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    ck_assert(fabs(r.spearman) < 0.5);
}
END_TEST

START_TEST(models_by_name)
{
    struct config cfg;
    struct eval_report r;
    struct err e = ERR_INIT;
    struct eval_request rq = {
        .cfg = &cfg, .task = EVAL_RETRIEVAL, .data = STR("w1\tw1\nw2\tw2\n")
    };
    ck_assert_ok(config_init(&cfg, &e), &e);
    ck_assert_ok(config_set(&cfg, "models", dir.path, &e), &e);
    ck_assert_ok(config_set(&cfg, "default_model", "small", &e), &e);
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    ck_assert_uint_eq(r.dimensions, 3);
    rq.model_dir = "large";
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    ck_assert_uint_eq(r.dimensions, 64);
    rq.model_dir = "other";
    ck_assert_err(evaluate(&rq, &r, &e), ERR_NOT_FOUND);
    config_done(&cfg);
}
END_TEST

/* Queries share two of three words with their document. */
static void write_cases(struct buf *b, size_t n)
{
    struct rng rng;
    rng_init(&rng, 9);
    for (size_t i = 0; i < n; i++) {
        unsigned w[4];
        for (size_t k = 0; k < 4; k++)
            w[k] = (unsigned)rng_below(&rng, TINY_MODEL_WORDS);
        buf_printf(b, "w%u w%u w%u\tw%u w%u w%u\n", w[0], w[1], w[2], w[1], w[2], w[3]);
    }
    buf_puts(b, "\tw1 w2 w3\n");
    ck_assert_ok(buf_check(b, NULL));
}

START_TEST(two_models_and_the_gate)
{
    struct buf b = BUF_INIT(0);
    struct err e = ERR_INIT;
    write_cases(&b, 300);
    struct eval_gate_request rq = {
        .before = small, .after = large, .data = { b.p, b.n }, .gate = GATE_OPTIONS_DEFAULTS
    };
    struct eval_gate_report r;
    rq.gate.anchor_fall_max = 2; /* neither knows the language */
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(r.gate.promote && r.gate.recall_at_10.low > 0);
    ck_assert_uint_eq(r.documents, 301);
    ck_assert_uint_eq(r.dimensions, 64);
    /* The figures of each are what evaluate says of it. */
    struct eval_report alone = retrieval(small, b.p);
    ck_assert_int_eq(memcmp(&alone.retrieval, &r.gate.before, sizeof alone.retrieval), 0);
    alone = retrieval(large, b.p);
    ck_assert_int_eq(memcmp(&alone.retrieval, &r.gate.after, sizeof alone.retrieval), 0);
    rq.before = large;
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(!r.gate.promote && !r.gate.vetoed && r.gate.up == 0 && r.gate.down == 0);
    rq.after = small;
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(!r.gate.promote && r.gate.recall_at_10.high < 0);
    buf_done(&b);
}
END_TEST

START_TEST(threads_change_no_figure)
{
    struct buf b = BUF_INIT(0);
    struct err e = ERR_INIT;
    write_cases(&b, 600);
    struct eval_request rq = {
        .model_dir = small, .task = EVAL_RETRIEVAL, .data = { b.p, b.n }, .threads = 3
    };
    struct eval_report one = retrieval(small, b.p), three;
    ck_assert_ok(evaluate(&rq, &three, &e), &e);
    ck_assert_int_eq(memcmp(&one.retrieval, &three.retrieval, sizeof one.retrieval), 0);
    ck_assert(one.retrieval.recall_at_1 > 0 && one.retrieval.recall_at_1 < 1);
    struct eval_gate_request gate = { .before = small,
        .after = large,
        .data = { b.p, b.n },
        .threads = 2,
        .gate = GATE_OPTIONS_DEFAULTS };
    struct eval_gate_report r;
    ck_assert_ok(evaluate_gate(&gate, &r, &e), &e);
    ck_assert_int_eq(memcmp(&one.retrieval, &r.gate.before, sizeof one.retrieval), 0);
    buf_done(&b);
}
END_TEST

START_TEST(a_known_general_figure_is_taken)
{
    struct err e = ERR_INIT;
    struct eval_gate_request rq = { .before = small,
        .after = large,
        .base = small,
        .data = STR("w1\tw1\nw2\tw2\n"),
        .general_after = { true, 0.625 },
        .gate = GATE_OPTIONS_DEFAULTS };
    struct eval_request general = { .model_dir = small, .task = EVAL_GENERAL };
    struct eval_report alone;
    struct eval_gate_report asked, r;
    ck_assert_ok(evaluate(&general, &alone, &e), &e);
    ck_assert_ok(evaluate_gate(&rq, &asked, &e), &e);
    ck_assert(asked.gate.anchor_before == alone.spearman); /* not known: asked */
    ck_assert(asked.gate.anchor_after == 0.625);
    /* The base's is the parent's where they are one model, whatever is said of it. */
    rq.general_base = (struct eval_general){ true, 0.875 };
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(r.gate.anchor_floor == asked.gate.anchor_floor);
    rq.base = large;
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(r.gate.anchor_floor > asked.gate.anchor_floor);
    rq.general_before = (struct eval_general){ true, 0.5 };
    ck_assert_ok(evaluate_gate(&rq, &r, &e), &e);
    ck_assert(r.gate.anchor_before == 0.5);
}
END_TEST

START_TEST(judging_can_be_stopped)
{
    static volatile sig_atomic_t stop = 1;
    struct eval_request rq = { .model_dir = small, .task = EVAL_GENERAL, .stop = &stop };
    struct eval_gate_request gate = { .before = small,
        .after = large,
        .data = STR("w1\tw1\nw2\tw2\n"),
        .stop = &stop,
        .gate = GATE_OPTIONS_DEFAULTS };
    struct eval_report r;
    struct eval_gate_report report;
    ck_assert_err(evaluate(&rq, &r, NULL), ERR_CANCELLED);
    ck_assert_err(evaluate_gate(&gate, &report, NULL), ERR_CANCELLED);
    gate.general_before = gate.general_after = (struct eval_general){ true, 0.5 };
    ck_assert_err(evaluate_gate(&gate, &report, NULL), ERR_CANCELLED);
    stop = 0;
    ck_assert_ok(evaluate_gate(&gate, &report, NULL));
}
END_TEST

TEST_SUITE(evaluate)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, documents_that_answer_no_query);
    tcase_add_test(tc, equal_documents_are_one);
    tcase_add_test(tc, texts_without_a_known_word_find_nothing);
    tcase_add_test(tc, each_nth_line);
    tcase_add_test(tc, lines_of_another_form);
    tcase_add_test(tc, general_sentences);
    tcase_add_test(tc, models_by_name);
    tcase_add_test(tc, two_models_and_the_gate);
    tcase_add_test(tc, threads_change_no_figure);
    tcase_add_test(tc, a_known_general_figure_is_taken);
    tcase_add_test(tc, judging_can_be_stopped);
    suite_add_tcase(s, tc);
}
