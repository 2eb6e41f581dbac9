/* core/learn/bert_train_batch.c: chunks, threads and memory decide how a batch is worked off, not what comes of it;
 * core/learn/bert_train_lora.c */
#include "core/learn/trainable.h"

#include "base/mem.h"
#include "tests/core/bert_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <string.h>

/* Some 2,600 tokens: six chunks. */
enum { COUNT = 190, LONGEST = 24, D = BERT_TINY_DIM };

static const enum train_method METHODS[] = { TRAIN_FULL, TRAIN_LAST_LAYERS, TRAIN_LORA,
    TRAIN_ADAPTER };
enum { N_METHODS = sizeof METHODS / sizeof *METHODS };

static struct packed_batch batch;
static float *dout;

static void set_up(void)
{
    bert_fixture_batch(&batch, COUNT, LONGEST, 8);
    dout = bert_fixture_normal((size_t)COUNT * D, 9);
}

static void tear_down(void)
{
    bert_fixture_batch_free(&batch);
    mem_free(dout);
}

struct outcome {
    float *out, *gradients; /* [COUNT,D], [n] */
    size_t n;
};

static struct trainable_options options(enum train_method m)
{
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    o.method = m;
    o.clip = 0;
    return o;
}

/* Of two rounds, the second of which finds what the first has kept. */
static void run(const struct trainable_options *o, uint64_t seed, struct outcome *ret)
{
    struct bert_fixture f;
    bert_fixture_open(&f, BERT_TINY, o);
    const float *g = bert_fixture_gradients(&f, &batch, seed, dout, &ret->n);
    AUTO_FREE float *first = mem_alloc(ret->n, sizeof *first);
    ck_assert_ptr_nonnull(first);
    memcpy(first, g, ret->n * sizeof *first);
    g = bert_fixture_gradients(&f, &batch, seed, dout, NULL);
    ck_assert_msg(memcmp(first, g, ret->n * sizeof *g) == 0, "again is not the same");
    ret->gradients = steal_ptr(&first);
    ret->out = mem_alloc((size_t)COUNT * D, sizeof *ret->out);
    bert_fixture_forward(&f, &batch, seed, ret->out);
    bert_fixture_close(&f);
}

static void outcome_done(struct outcome *x)
{
    mem_free(x->out);
    mem_free(x->gradients);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    ck_assert_uint_eq(a->n, b->n);
    ck_assert_mem_eq(a->out, b->out, (size_t)COUNT * D * sizeof *a->out);
    ck_assert_msg(memcmp(a->gradients, b->gradients, a->n * sizeof *a->out) == 0, "gradients");
}

START_TEST(memory_changes_no_bit)
{
    struct trainable_options o = options(METHODS[_i]);
    struct outcome large, small, some;
    o.dropout = 0.1;
    o.threads = 2;
    run(&o, 5, &large);
    o.memory_bytes = 0;
    run(&o, 5, &small);
    check_same(&large, &small);
    o.memory_bytes = (size_t)2 << 20; /* a part of the chunks, or of the texts */
    run(&o, 5, &some);
    check_same(&large, &some);
    outcome_done(&large);
    outcome_done(&small);
    outcome_done(&some);
}
END_TEST

START_TEST(threads_change_rounding_only)
{
    struct trainable_options o = options(METHODS[_i]);
    struct outcome one, many, again;
    run(&o, 0, &one);
    for (unsigned threads = 2; threads <= 5; threads++) {
        o.threads = threads;
        run(&o, 0, &many);
        run(&o, 0, &again);
        check_same(&many, &again);
        ck_assert_near(many.out, one.out, (size_t)COUNT * D, 2e-6, 1e-5);
        /* The gradients are sums over 2,600 tokens. */
        ck_assert_near(many.gradients, one.gradients, one.n, 5e-4, 1e-3);
        outcome_done(&many);
        outcome_done(&again);
    }
    outcome_done(&one);
}
END_TEST

START_TEST(dropout_is_another_for_each_seed)
{
    struct trainable_options o = options(TRAIN_FULL);
    struct bert_fixture f;
    float *out[3];
    o.dropout = 0.1;
    bert_fixture_open(&f, BERT_TINY, &o);
    for (uint64_t i = 0; i < 3; i++) {
        out[i] = mem_alloc((size_t)COUNT * D, sizeof **out);
        bert_fixture_forward(&f, &batch, i, out[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(memcmp(out[0] + i * D, out[1] + i * D, D * sizeof(float)) != 0);
        ck_assert(memcmp(out[1] + i * D, out[2] + i * D, D * sizeof(float)) != 0);
    }
    bert_fixture_close(&f);
    o.dropout = 0;
    bert_fixture_open(&f, BERT_TINY, &o);
    bert_fixture_forward(&f, &batch, 1, out[1]);
    ck_assert_mem_eq(out[0], out[1], (size_t)COUNT * D * sizeof **out);
    bert_fixture_close(&f);
    for (size_t i = 0; i < 3; i++)
        mem_free(out[i]);
}
END_TEST

START_TEST(gradients_of_two_batches_add_up)
{
    struct trainable_options o = options(METHODS[_i]);
    const struct adam_options adam = { 0, 0, 1 };
    struct err e = ERR_INIT;
    struct bert_fixture f;
    struct activations *other;
    size_t n, half = COUNT / 2;
    float out[COUNT * D];
    AUTO_FREE size_t *rest = mem_alloc(COUNT - half + 1, sizeof *rest);
    for (size_t i = half; i <= COUNT; i++)
        rest[i - half] = batch.starts[i] - batch.starts[half];
    const struct packed_batch first = { batch.ids, batch.starts, half },
                              second = { batch.ids + batch.starts[half], rest, COUNT - half };
    o.threads = 2;
    bert_fixture_open(&f, BERT_TINY, &o);
    const float *g = bert_fixture_gradients(&f, &batch, 0, dout, &n);
    AUTO_FREE float *want = mem_alloc(n, sizeof *want);
    memcpy(want, g, n * sizeof *want);
    ck_assert_ok(activations_new(f.t, &other, &e), &e);
    bert_fixture_forward(&f, &first, 0, out);
    ck_assert_ok(trainable_forward(f.t, other, &second, 0, out, &e), &e);
    ck_assert_ok(trainable_backward(f.t, f.act, dout, &e), &e);
    ck_assert_ok(trainable_backward(f.t, other, dout + half * D, &e), &e);
    activations_free(other);
    trainable_step(f.t, 1, 0, &adam);
    ck_assert_near(bert_fixture_state(&f, 1, NULL), want, n, 5e-4, 1e-3);
    bert_fixture_close(&f);
}
END_TEST

START_TEST(odd_batches)
{
    struct trainable_options o = options(METHODS[_i]);
    struct err e = ERR_INIT;
    struct bert_fixture f;
    float out[COUNT * D];
    o.threads = 7;
    bert_fixture_open(&f, BERT_TINY, &o);
    for (size_t n = 1; n <= 9; n++) {
        const struct packed_batch few = { batch.ids, batch.starts, n };
        bert_fixture_gradients(&f, &few, 0, dout, NULL);
    }
    /* The same text again and again: what is kept of it is made once. */
    size_t starts[10], len = batch.starts[1];
    uint32_t ids[9 * LONGEST];
    for (size_t i = 0; i < 10; i++) {
        starts[i] = i * len;
        if (i < 9) memcpy(ids + i * len, batch.ids, len * sizeof *ids);
    }
    bert_fixture_forward(&f, &(struct packed_batch){ ids, starts, 9 }, 0, out);
    for (size_t i = 1; i < 9; i++)
        ck_assert_near(out + i * D, out, D, 1e-6, 1e-5);
    uint32_t too_long[100] = { 0 };
    ck_assert_err(trainable_forward(f.t, f.act,
                      &(struct packed_batch){ too_long, (const size_t[]){ 0, 33 }, 1 }, 0, out, &e),
        ERR_INVALID);
    bert_fixture_close(&f);
}
END_TEST

START_TEST(the_norm_of_gradients_is_limited)
{
    struct trainable_options o = options(TRAIN_LAST_LAYERS);
    struct bert_fixture f;
    double sums[2] = { 0 };
    for (size_t k = 0; k < 2; k++) {
        size_t n;
        o.clip = k ? 0.5 : 0;
        bert_fixture_open(&f, BERT_TINY, &o);
        const float *g = bert_fixture_gradients(&f, &batch, 0, dout, &n);
        for (size_t i = 0; i < n; i++)
            sums[k] += (double)g[i] * (double)g[i];
        bert_fixture_close(&f);
    }
    ck_assert_double_gt(sums[0], 1);
    ck_assert_double_eq_tol(sums[1], 0.25, 1e-4);
}
END_TEST

/* ---- out of memory ---- */

static enum err_code train_a_little(void *arg)
{
    const struct trainable_options *o = arg;
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    const struct packed_batch few = { batch.ids, batch.starts, 12 };
    struct trainable *t = NULL;
    struct activations *a = NULL;
    float out[12 * D];
    enum err_code code = trainable_open(BERT_TINY, o, &t, NULL);
    if (code == ERR_OK) code = activations_new(t, &a, NULL);
    if (code == ERR_OK) code = trainable_forward(t, a, &few, 1, out, NULL);
    if (code == ERR_OK) code = trainable_backward(t, a, out, NULL);
    if (code == ERR_OK) trainable_step(t, 1, 1e-3, &adam);
    if (code == ERR_OK) code = trainable_forward(t, a, &batch, 1, (float[COUNT * D]){ 0 }, NULL);
    activations_free(a);
    trainable_free(t);
    return code;
}

START_TEST(out_of_memory)
{
    struct trainable_options o = options(METHODS[_i]);
    o.threads = 2;
    oom_loop(train_a_little, &o);
}
END_TEST

TEST_SUITE(bert_train_batch)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, memory_changes_no_bit, 0, N_METHODS);
    tcase_add_loop_test(tc, threads_change_rounding_only, 0, N_METHODS);
    tcase_add_test(tc, dropout_is_another_for_each_seed);
    tcase_add_loop_test(tc, gradients_of_two_batches_add_up, 0, N_METHODS);
    tcase_add_loop_test(tc, odd_batches, 0, N_METHODS);
    tcase_add_test(tc, the_norm_of_gradients_is_limited);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_set_timeout(oom, 300);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_loop_test(oom, out_of_memory, 0, N_METHODS);
    suite_add_tcase(s, oom);
}
