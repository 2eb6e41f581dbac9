#include "core/learn/train_step.h"

#include "core/learn/loss.h"
#include "base/mem.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct train_fixture f;
static struct trainable *t;
static struct train_data *d;
static struct train_step *step;
static struct train_batch b;
static struct train_cursor c;
static struct train_file file;
static struct trainer_options o;

static void set_up(void)
{
    struct err e = ERR_INIT;
    train_fixture_make(&f);
    ck_assert_ok(trainable_open(f.model, NULL, &t, &e), &e);
    c = (struct train_cursor){ .epoch_at = 0 };
    rng_init(&c.rng, 11);
    file = (struct train_file){ f.pairs, NULL, 1 };
    o = (struct trainer_options)TRAINER_OPTIONS_DEFAULTS;
    o.model_dir = f.model;
    o.pairs = &file;
    o.n_pairs = 1;
    o.anchor_weight = 0;
    o.mask_equal = false;
}

static void tear_down(void)
{
    train_step_free(step);
    step = NULL;
    train_batch_done(&b);
    train_data_free(d);
    d = NULL;
    trainable_free(t);
    train_fixture_remove(&f);
}

static void load(void)
{
    struct err e = ERR_INIT;
    const struct train_files files = { o.pairs, o.taught, o.n_pairs, o.n_taught, 1e9, 1, 0 };
    ck_assert_ok(train_data_load(&files, t, &d, &e), &e);
    ck_assert_ok(train_batch_init(&b, d, &e), &e);
    ck_assert_ok(train_step_new(&o, t, &step, &e), &e);
}

/* One step at rate 0 over all rows, so that only the losses are of interest. */
static struct train_losses losses(void)
{
    struct err e = ERR_INIT;
    struct train_losses l;
    const struct train_draw draw = { 1000, 0, train_step_wants_whole(step), false };
    ck_assert_ok(train_batch_pairs(&b, &draw, &c, &e), &e);
    ck_assert_ok(train_step_pairs(step, &b, 1, 0, &l, &e), &e);
    return l;
}

static double pair_loss(const char *text)
{
    struct err e = ERR_INIT;
    train_step_free(step);
    step = NULL;
    train_batch_done(&b);
    train_data_free(d);
    d = NULL;
    train_fixture_write(f.pairs, text);
    load();
    ck_assert_msg(e.code == ERR_OK, "%s", e.msg);
    return losses().pair;
}

/* The model's cosine of two words. */
static double cosine(const char *x, const char *y)
{
    struct err e = ERR_INIT;
    struct activations *act;
    uint32_t ids[2];
    const size_t starts[] = { 0, 1, 2 };
    float v[2 * TRAIN_DIM];
    double sum = 0;
    ck_assert(tokenizer_id(trainable_tokenizer(t), str_from(x), &ids[0]));
    ck_assert(tokenizer_id(trainable_tokenizer(t), str_from(y), &ids[1]));
    ck_assert_ok(activations_new(t, &act, &e), &e);
    ck_assert_ok(trainable_forward(t, act, &(struct packed_batch){ ids, starts, 2 }, 0, v, &e), &e);
    activations_free(act);
    for (size_t i = 0; i < TRAIN_DIM; i++)
        sum += (double)v[i] * (double)v[TRAIN_DIM + i];
    return sum;
}

/* Softmax loss of a similarity among others. */
static double softmax(double own, const double *others, size_t n)
{
    double sum = 1;
    for (size_t i = 0; i < n; i++)
        sum += exp((others[i] - own) / o.temperature);
    return log(sum);
}

START_TEST(the_loss_is_that_of_the_formula)
{
    double aa = cosine("w1", "w2"), ab = cosine("w1", "w4"), ba = cosine("w3", "w2"),
           bb = cosine("w3", "w4"), an = cosine("w1", "w5"), bn = cosine("w3", "w5");
    double forth = softmax(aa, &ab, 1) + softmax(bb, &ba, 1);
    double back = softmax(aa, &ba, 1) + softmax(bb, &ab, 1);
    ck_assert_double_eq_tol(pair_loss("w1\tw2\nw3\tw4\n"), (forth + back) / 4, 1e-4);
    o.symmetric = false;
    ck_assert_double_eq_tol(pair_loss("w1\tw2\nw3\tw4\n"), forth / 2, 1e-4);
    /* A hard negative is everybody's. */
    forth = softmax(aa, ((double[]){ ab, an }), 2) + softmax(bb, ((double[]){ ba, bn }), 2);
    ck_assert_double_eq_tol(pair_loss("w1\tw2\tw5\nw3\tw4\n"), forth / 2, 1e-4);
}
END_TEST

START_TEST(equal_texts_are_no_negatives)
{
    const struct {
        const char *text, *masked;
    } cases[] = {
        { "w1\tw2\nw3\tw2\n", "equal positives" },
        { "w1\tw2\nw1\tw4\n", "equal anchors" },
        { "w1\tw2\nw2\tw1\n", "the anchor's own text" },
        { "w1\tw2\tw1\tw2\n", "hard negatives equal to anchor and positive" },
        { "w1\tw2\nw1\tw2\n", "the row twice" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.mask_equal = false;
        double without = pair_loss(cases[i].text);
        ck_assert_msg(without > 1e-3, "%s: %g", cases[i].masked, without);
        o.mask_equal = true;
        double with = pair_loss(cases[i].text);
        ck_assert_msg(fabs(with) < 1e-6, "%s: %g", cases[i].masked, with);
    }
    double all = pair_loss("w1\tw2\nw3\tw4\n");
    o.mask_equal = false;
    ck_assert_double_eq(all, pair_loss("w1\tw2\nw3\tw4\n"));
}
END_TEST

START_TEST(what_the_parent_finds_near_is_no_negative)
{
    const char *text = "w1\tw2\nw3\tw4\n";
    double near = cosine("w2", "w4"), without = pair_loss(text);
    o.mask_above = near + 1e-3;
    ck_assert_double_eq(pair_loss(text), without);
    o.mask_above = near - 1e-3;
    ck_assert_double_lt(fabs(pair_loss(text)), 1e-6);
    /* The parent stays what it was when the model moves. */
    struct safetensor_out table;
    trainable_state_get(t, 0, &table);
    memset((void *)(uintptr_t)table.data, 0, 8 * TRAIN_DIM * sizeof(float));
    ck_assert_double_lt(fabs(losses().pair), 1e-6);
}
END_TEST

START_TEST(the_anchor_term_is_the_distance_to_the_parent)
{
    o.anchor_weight = 0.5;
    pair_loss("w1\tw2\nw3\tw4\n");
    ck_assert_double_lt(fabs(losses().anchor), 1e-6);
    struct safetensor_out table;
    uint32_t id;
    trainable_state_get(t, 0, &table);
    ck_assert(tokenizer_id(trainable_tokenizer(t), STR("w3"), &id));
    float *row = (float *)(uintptr_t)table.data + id * TRAIN_DIM;
    for (size_t i = 0; i < TRAIN_DIM; i++)
        row[i] = -row[i];
    /* One of four vectors is turned around: cosine -1, distance 2. */
    ck_assert_double_eq_tol(losses().anchor, 0.5, 1e-5);
    /* The same whether the parent's vectors are kept or made each time. */
    double kept = losses().anchor;
    o.model.memory_bytes = 0;
    pair_loss("w1\tw2\nw3\tw4\n");
    ck_assert_double_eq(losses().anchor, kept);
    o.anchor_weight = 0;
    pair_loss("w1\tw2\nw3\tw4\n");
    ck_assert(isnan(losses().anchor) && isnan(losses().distill));
    ck_assert(!train_step_wants_whole(step));
}
END_TEST

START_TEST(the_anchor_term_holds_back)
{
    double moved[2];
    for (size_t i = 0; i < 2; i++) {
        struct err e = ERR_INIT;
        struct train_losses l;
        tear_down();
        set_up();
        o.anchor_weight = i == 0 ? 1e-6 : 100;
        train_fixture_pairs(&f, 64, 9);
        load();
        for (int64_t k = 1; k <= 40; k++) {
            const struct train_draw draw = { 64, 0, true, false };
            ck_assert_ok(train_batch_pairs(&b, &draw, &c, &e), &e);
            ck_assert_ok(train_step_pairs(step, &b, k, 0.02, &l, &e), &e);
        }
        moved[i] = l.anchor;
    }
    ck_assert_msg(moved[1] < 0.5 * moved[0], "%g with, %g without", moved[1], moved[0]);
}
END_TEST

START_TEST(taught_texts_draw_near_the_teacher)
{
    struct err e = ERR_INIT;
    struct train_losses l = { 0 };
    double first = 0;
    const struct train_file taught = { f.taught, f.vectors, 1 };
    const struct train_draw draw = { 64, 0, false, false };
    train_fixture_taught(&f, 200, 8, 3);
    o.taught = &taught;
    o.n_taught = 1;
    o.n_pairs = 0;
    o.anchor_weight = 1; /* of no meaning here */
    load();
    ck_assert(!train_step_wants_whole(step));
    for (int64_t k = 1; k <= 60; k++) {
        ck_assert_ok(train_batch_taught(&b, &draw, &c, &e), &e);
        ck_assert_ok(train_step_taught(step, &b, k, 0.03, &l, &e), &e);
        ck_assert(isnan(l.pair) && isnan(l.anchor));
        if (k == 1) first = l.distill;
    }
    ck_assert_msg(l.distill < 0.5 * first, "from %g to %g", first, l.distill);
}
END_TEST

START_TEST(a_loss_that_is_not_finite_stops)
{
    struct err e = ERR_INIT;
    struct train_losses l;
    pair_loss("w1\tw2\nw3\tw4\n");
    struct safetensor_out table;
    trainable_state_get(t, 0, &table);
    for (size_t i = 0; i < table.dims[0]; i++)
        ((float *)(uintptr_t)table.data)[i * TRAIN_DIM] = NAN;
    uint64_t hash = trainable_hash(t);
    const struct train_draw draw = { 10, 0, false, false };
    ck_assert_ok(train_batch_pairs(&b, &draw, &c, &e), &e);
    ck_assert_err(train_step_pairs(step, &b, 7, 1, &l, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "step 7"));
    ck_assert(trainable_hash(t) == hash);
}
END_TEST

TEST_SUITE(train_step)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, the_loss_is_that_of_the_formula);
    tcase_add_test(tc, equal_texts_are_no_negatives);
    tcase_add_test(tc, what_the_parent_finds_near_is_no_negative);
    tcase_add_test(tc, the_anchor_term_is_the_distance_to_the_parent);
    tcase_add_test(tc, the_anchor_term_holds_back);
    tcase_add_test(tc, taught_texts_draw_near_the_teacher);
    tcase_add_test(tc, a_loss_that_is_not_finite_stops);
    suite_add_tcase(s, tc);
}
