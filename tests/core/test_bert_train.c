/* core/learn/bert_train.c, core/learn/bert_train_chunk.c and core/learn/bert_train_head.c against PyTorch:
 * tests/data/core/bert_tiny/train.safetensors, which PyTorch computed in double (tools/parity/make_fixture.py).
 *
 * Tolerances: a vector is off by some 1e-6, which the temperature of 0.05 makes 2e-5 in the exponent of the loss;
 * gradients are sums of such terms. */
#include "core/learn/trainable.h"

#include "base/mem.h"
#include "core/learn/loss.h"
#include "tests/core/bert_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PAIRS = 8, STEPS = 10, D = BERT_TINY_DIM };

static struct bert_fixture f;
static struct safetensors *ref;
static struct packed_batch pairs; /* anchors, then positives */

static const struct safetensor *tensor(const char *name)
{
    const struct safetensor *t = safetensors_find(ref, name);
    ck_assert_msg(t != NULL, "no tensor %s", name);
    return t;
}

static float *floats(const char *name, size_t *ret_n)
{
    struct err e = ERR_INIT;
    const struct safetensor *t = tensor(name);
    float *p = mem_alloc(t->n_elements, sizeof *p);
    ck_assert_ptr_nonnull(p);
    ck_assert_ok(safetensor_to_f32(t, 0, t->n_elements, p, &e), &e);
    if (ret_n) *ret_n = t->n_elements;
    return p;
}

/* Both sides' texts as one batch. */
static void read_pairs(void)
{
    const struct safetensor *ids[] = { tensor("ids_a"), tensor("ids_b") };
    const struct safetensor *starts[] = { tensor("starts_a"), tensor("starts_b") };
    uint32_t *all = mem_alloc(ids[0]->n_elements + ids[1]->n_elements, sizeof *all);
    size_t *at = mem_alloc(2 * PAIRS + 1, sizeof *at), n = 0;
    ck_assert(all && at);
    for (size_t side = 0; side < 2; side++) {
        ck_assert_uint_eq(starts[side]->n_elements, PAIRS + 1);
        memcpy(all + n, ids[side]->data, ids[side]->size_bytes);
        for (size_t i = 0; i <= PAIRS; i++) {
            int32_t start;
            memcpy(&start, (const char *)starts[side]->data + i * sizeof start, sizeof start);
            at[side * PAIRS + i] = n + (size_t)start;
        }
        n += ids[side]->n_elements;
    }
    pairs = (struct packed_batch){ all, at, 2 * PAIRS };
}

static void set_up(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_open(BERT_TINY "/train.safetensors", &ref, &e), &e);
    read_pairs();
}

static void tear_down(void)
{
    bert_fixture_close(&f);
    bert_fixture_batch_free(&pairs);
    safetensors_close(ref);
}

static struct trainable_options method(enum train_method m)
{
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    o.method = m;
    o.clip = 0;
    return o;
}

static void open_method(enum train_method m)
{
    struct trainable_options o = method(m);
    bert_fixture_open(&f, BERT_TINY, &o);
}

/* The loss of the pairs, and its gradient by the vectors; symmetric, temperature 0.05. */
static double loss_of(const float *out, float *dout)
{
    const struct infonce_shape shape = { PAIRS, PAIRS, D, 0.05F, true };
    AUTO_FREE float *saved = mem_alloc(infonce_saved(&shape), sizeof *saved);
    ck_assert_ptr_nonnull(saved);
    double loss = (double)infonce_forward(saved, out, out + PAIRS * D, NULL, &shape);
    memset(dout, 0, (size_t)2 * PAIRS * D * sizeof *dout);
    infonce_backward(dout, dout + PAIRS * D, saved, out, out + PAIRS * D, 1, &shape);
    return loss;
}

static double step(int64_t number, double rate)
{
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    float out[2 * PAIRS * D], dout[2 * PAIRS * D];
    bert_fixture_forward(&f, &pairs, 0, out);
    double loss = loss_of(out, dout);
    ck_assert_ok(trainable_backward(f.t, f.act, dout, &e), &e);
    trainable_step(f.t, number, rate, &adam);
    return loss;
}

static struct bert_config config(void)
{
    struct err e = ERR_INIT;
    struct bert_config c;
    struct model_config general;
    const struct encoder_ops *ops;
    struct tokenizer *tokenizer;
    ck_assert_ok(model_config_read(BERT_TINY, &general, &ops, &e), &e);
    ck_assert_ok(tokenizer_load(BERT_TINY, &tokenizer, &e), &e);
    const struct model_source src = {
        .dir = BERT_TINY, .config = &general, .tokenizer = tokenizer
    };
    ck_assert_ok(bert_config_read(&src, &c, &e), &e);
    tokenizer_free(tokenizer);
    return c;
}

START_TEST(gradients_are_those_of_pytorch)
{
    struct bert_tensor x;
    float out[2 * PAIRS * D], dout[2 * PAIRS * D];
    const struct bert_config c = config();
    open_method(TRAIN_FULL);
    bert_fixture_forward(&f, &pairs, 0, out);
    loss_of(out, dout);
    const float *got = bert_fixture_gradients(&f, &pairs, 0, dout, NULL);
    for (size_t i = 0; bert_tensor_at(&c, i, &x); i++) {
        char name[128];
        size_t n;
        double largest = 0;
        snprintf(name, sizeof name, "grad.%s", x.name);
        AUTO_FREE float *want = floats(name, &n);
        ck_assert_uint_eq(n, x.n);
        for (size_t k = 0; k < n; k++)
            largest = fmax(largest, fabs((double)want[k]));
        for (size_t k = 0; k < n; k++)
            ck_assert_msg(fabs((double)got[x.at + k] - (double)want[k]) < 2e-5 + 1e-4 * largest,
                "%s[%zu]: %g, %g", name, k, (double)got[x.at + k], (double)want[k]);
    }
}
END_TEST

START_TEST(ten_steps_are_those_of_pytorch)
{
    struct bert_tensor x;
    const struct bert_config c = config();
    AUTO_FREE float *losses = floats("losses", NULL);
    open_method(TRAIN_FULL);
    for (int64_t i = 0; i < STEPS; i++) {
        double loss = step(i + 1, 1e-3), want = (double)losses[i];
        ck_assert_msg(fabs(loss - want) < 1e-4 * (1 + want), "step %d: %g, %g", (int)i, loss, want);
    }
    const float *params = bert_fixture_state(&f, 0, NULL);
    size_t seen = 0;
    for (size_t i = 0; bert_tensor_at(&c, i, &x); i++) {
        char name[128];
        snprintf(name, sizeof name, "final.%s", x.name);
        if (!safetensors_find(ref, name)) continue;
        AUTO_FREE float *want = floats(name, NULL);
        ck_assert_near(params + x.at, want, x.n, 2e-4, 1e-4);
        seen++;
    }
    ck_assert_uint_ge(seen, 8);
}
END_TEST

/* ---- all methods ---- */

static const enum train_method METHODS[] = { TRAIN_FULL, TRAIN_LAST_LAYERS, TRAIN_LORA,
    TRAIN_ADAPTER };
enum { N_METHODS = sizeof METHODS / sizeof *METHODS };

static double objective(const struct packed_batch *b, uint64_t seed, const float *dout)
{
    double sum = 0;
    AUTO_FREE float *out = mem_alloc(b->count * D, sizeof *out);
    bert_fixture_forward(&f, b, seed, out);
    for (size_t i = 0; i < b->count * D; i++)
        sum += (double)out[i] * (double)dout[i];
    return sum;
}

/* Along the gradient, the objective rises as fast as the gradient is long. */
START_TEST(gradients_are_the_slope)
{
    struct trainable_options o = method(METHODS[_i % N_METHODS]);
    bool dropout = _i >= N_METHODS;
    o.dropout = dropout ? 0.2 : 0;
    bert_fixture_open(&f, BERT_TINY, &o);
    struct packed_batch b;
    bert_fixture_batch(&b, 12, 10, 3);
    size_t n;
    uint64_t seed = dropout ? 77 : 0;
    AUTO_FREE float *dout = bert_fixture_normal(b.count * D, 4);
    float *params = bert_fixture_state(&f, 0, &n);
    /* LoRA's b begins as zero, where a has no gradient. */
    AUTO_FREE float *noise = bert_fixture_normal(n, 5);
    for (size_t i = 0; i < n && o.method == TRAIN_LORA; i++)
        params[i] += 0.1F * noise[i];
    const float *g = bert_fixture_gradients(&f, &b, seed, dout, NULL);
    AUTO_FREE float *kept = mem_alloc(n, sizeof *kept);
    double square = 0, h = 2e-3;
    for (size_t i = 0; i < n; i++)
        square += (double)g[i] * (double)g[i];
    double length = sqrt(square);
    ck_assert_double_gt(length, 0.1);
    memcpy(kept, params, n * sizeof *kept);
    double sides[2];
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            params[i] = kept[i] + (float)((side ? -h : h) * (double)g[i] / length);
        sides[side] = objective(&b, seed, dout);
    }
    double slope = (sides[0] - sides[1]) / (2 * h);
    ck_assert_msg(fabs(slope - length) < 1e-2 * length, "%g, %g", slope, length);
    bert_fixture_batch_free(&b);
}
END_TEST

START_TEST(each_method_learns)
{
    double first = 0, last = 0, rates[] = { 1e-3, 2e-3, 5e-3, 1e-2 };
    open_method(METHODS[_i]);
    ck_assert_int_eq(trainable_method(f.t), METHODS[_i]);
    for (int64_t i = 1; i <= 30; i++) {
        last = step(i, rates[_i]);
        if (i == 1) first = last;
    }
    ck_assert_msg(last < 0.5 * first, "from %g to %g", first, last);
}
END_TEST

/* What an adapter says of its parent is what the parent says itself, before and after it learned. */
START_TEST(adapter_knows_its_parent)
{
    float want[2 * PAIRS * D], out[2 * PAIRS * D];
    open_method(TRAIN_NONE);
    ck_assert(!trainable_knows_parent(f.t));
    bert_fixture_forward(&f, &pairs, 0, want);
    ck_assert_ptr_null(activations_parent(f.act));
    bert_fixture_close(&f);

    open_method(TRAIN_ADAPTER);
    ck_assert(trainable_knows_parent(f.t));
    for (int64_t i = 1; i <= 3; i++) {
        step(i, 1e-2);
        bert_fixture_forward(&f, &pairs, 0, out);
        const float *parent = activations_parent(f.act);
        ck_assert_ptr_nonnull(parent);
        for (size_t k = 0; k < (size_t)2 * PAIRS * D; k++)
            ck_assert_msg(fabsf(parent[k] - want[k]) < 1e-6F, "%zu: %g, %g", k, (double)parent[k],
                (double)want[k]);
    }
    double moved = 0;
    for (size_t k = 0; k < (size_t)2 * PAIRS * D; k++)
        moved += fabs((double)out[k] - (double)want[k]);
    ck_assert(moved > 0.1);
}
END_TEST

TEST_SUITE(bert_train)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, gradients_are_those_of_pytorch);
    tcase_add_test(tc, ten_steps_are_those_of_pytorch);
    tcase_add_loop_test(tc, gradients_are_the_slope, 0, 2 * N_METHODS);
    tcase_add_loop_test(tc, each_method_learns, 0, N_METHODS);
    tcase_add_test(tc, adapter_knows_its_parent);
    suite_add_tcase(s, tc);
}
