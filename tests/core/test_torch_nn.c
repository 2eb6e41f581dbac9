/* The text ops of core/nn and AdamW against PyTorch: tests/data/ref/nn_ops.safetensors, made by tools/ref/nn_ops.py.
 *
 * PyTorch computed in double, so tolerances are float's rounding: a sum of some 30 terms of size 1 is off by some
 * 1e-6, what follows from several such sums by some 1e-5; where more is allowed, the reason stands there. Gradients
 * begin at 0. */
#include "core/learn/adam.h"
#include "core/nn/activation.h"
#include "core/nn/attention.h"
#include "core/nn/embedding.h"
#include "core/nn/layernorm.h"
#include "core/nn/linear.h"
#include "core/nn/pool.h"
#include "core/nn/softmax.h"
#include "tests/core/ref_file.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 16384 };

static struct safetensors *file;
static char of[32];
/* What ops write. */
static float out[MOST], d1[MOST], d2[MOST], d3[MOST];

static void open_ops(void)
{
    file = ref_open("tests/data/ref/nn_ops.safetensors");
    memset(d1, 0, sizeof d1);
    memset(d2, 0, sizeof d2);
    memset(d3, 0, sizeof d3);
}

static void close_file(void)
{
    safetensors_close(file);
}

static bool next(const char *op, const char *input, int i, int least)
{
    memset(d1, 0, sizeof d1);
    memset(d2, 0, sizeof d2);
    memset(d3, 0, sizeof d3);
    return ref_next(file, of, op, input, i, least);
}

/* Released by the end of the process, or of the tests where they do not fork. */
static float *floats(const char *name)
{
    static float *all[8];
    static size_t n;
    free(all[n % 8]);
    ck_assert_uint_le(ref_find(file, of, name)->n_elements, MOST);
    return all[n++ % 8] = ref_floats(file, of, name);
}

static void check(const float *got, const char *name, double abs_tol)
{
    ref_check(file, got, of, name, abs_tol);
}

START_TEST(linear)
{
    for (int i = 0; next("linear", "x", i, 4); i++) {
        size_t N = ref_dim(file, of, "x", 0), I = ref_dim(file, of, "x", 1);
        size_t O = ref_dim(file, of, "w", 0);
        const bool bias = ref_find(file, of, "b");
        const float *x = floats("x"), *w = floats("w"), *dy = floats("dy");
        linear_forward(out, x, w, bias ? floats("b") : NULL, N, I, O);
        linear_backward(&(struct linear_grads){ d1, d2, bias ? d3 : NULL }, dy, x, w, N, I, O);
        check(out, "y", 5e-6);
        check(d1, "dx", 1e-5);
        check(d2, "dw", 1e-5);
        if (bias) check(d3, "db", 1e-5);
    }
}
END_TEST

START_TEST(layernorm)
{
    float mean[64], rstd[64];
    for (int i = 0; next("layernorm", "x", i, 5); i++) {
        size_t N = ref_dim(file, of, "x", 0), C = ref_dim(file, of, "x", 1);
        const float *x = floats("x"), *gamma_ = floats("gamma"), *dy = floats("dy");
        layernorm_forward(
            out, mean, rstd, x, gamma_, floats("beta"), N, C, ref_number(file, of, "eps"));
        layernorm_backward(
            &(struct layernorm_grads){ d1, d2, d3 }, dy, x, gamma_, mean, rstd, N, C);
        check(out, "y", 5e-6);
        check(d1, "dx", 1e-5);
        check(d2, "dgamma", 1e-5);
        check(d3, "dbeta", 1e-5);
    }
}
END_TEST

/* 1 - tanh² is off by 2e-7 where it vanishes, and stands 9 times in GELU's slope. */
START_TEST(activation)
{
    for (int i = 0; next("activation", "x", i, 5); i++) {
        size_t n = ref_dim(file, of, "x", 0);
        const float *x = floats("x"), *dy = floats("dy");
        activation_forward((enum activation)i, out, x, n);
        activation_backward((enum activation)i, d1, dy, x, n);
        check(out, "y", 1e-6);
        check(d1, "dx", 5e-6);
    }
}
END_TEST

START_TEST(softmax)
{
    for (int i = 0; next("softmax", "x", i, 4); i++) {
        size_t N = ref_dim(file, of, "x", 0), C = ref_dim(file, of, "x", 1);
        const float *x = floats("x"), *dy = floats("dy"), scale = ref_number(file, of, "scale");
        softmax_forward(out, x, scale, N, C);
        softmax_backward(d1, dy, out, scale, N, C);
        check(out, "y", 1e-6);
        check(d1, "dx", 2e-6);
    }
}
END_TEST

START_TEST(attention)
{
    for (int i = 0; next("attention", "qkv", i, 7); i++) {
        size_t n, *starts = ref_sizes(file, of, "starts", &n),
                  *H = ref_sizes(file, of, "heads", NULL);
        const struct attention_shape s = { starts, n - 1, *H, ref_dim(file, of, "out", 1) / *H };
        const float *qkv = floats("qkv"), *dout = floats("dout");
        static float saved[MOST], work[MOST];
        ck_assert(attention_saved(&s) <= MOST && attention_workspace(&s) <= MOST);
        attention_forward(out, saved, work, qkv, &s);
        attention_backward(d1, work, dout, saved, qkv, &s);
        check(out, "out", 5e-6);
        check(d1, "dqkv", 2e-5);
        free(starts);
        free(H);
    }
}
END_TEST

START_TEST(pool)
{
    for (int first = 0; first < 2; first++)
        for (int i = 0; next(first ? "pool_first" : "pool_mean", "x", i, 3); i++) {
            size_t n, *starts = ref_sizes(file, of, "starts", &n), C = ref_dim(file, of, "x", 1);
            const float *x = floats("x"), *dout = floats("dout");
            (first ? pool_first_forward : pool_mean_forward)(out, x, starts, n - 1, C);
            (first ? pool_first_backward : pool_mean_backward)(d1, dout, starts, n - 1, C);
            check(out, "out", 1e-6);
            check(d1, "dx", 1e-7);
            free(starts);
        }
}
END_TEST

START_TEST(embedding)
{
    for (int i = 0; next("embedding", "table", i, 3); i++) {
        size_t T, *sizes = ref_sizes(file, of, "ids", &T), C = ref_dim(file, of, "table", 1);
        uint32_t ids[64];
        ck_assert_uint_le(T, 64);
        for (size_t t = 0; t < T; t++)
            ids[t] = (uint32_t)sizes[t];
        embedding_forward(out, floats("table"), ids, T, C);
        embedding_backward(d1, floats("dout"), ids, T, C);
        check(out, "out", 0);
        check(d1, "dtable", 2e-6);
        free(sizes);
    }
}
END_TEST

/* A step moves a weight by up to the rate; each is off by 1e-5 of that, as v's decay of 0.999 is rounded. */
START_TEST(adamw)
{
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    for (int i = 0; next("adamw", "w", i, 3); i++) {
        size_t n = ref_dim(file, of, "w", 0);
        float *w = floats("w"), *g = floats("g"), *after = floats("after");
        double rate = (double)ref_number(file, of, "rate"),
               decay = (double)ref_number(file, of, "decay");
        ck_assert_uint_eq(ref_dim(file, of, "after", 0), 10);
        for (size_t step = 1; step <= 10; step++) {
            adamw_step(w, d1, d2, g + (step - 1) * n, n, (int64_t)step, rate, decay, &o);
            ck_assert_near(w, after + (step - 1) * n, n, 2e-5 * rate * (double)step + 1e-6, 2e-6);
        }
    }
}
END_TEST

TEST_SUITE(torch_nn)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, open_ops, close_file);
    tcase_add_test(tc, linear);
    tcase_add_test(tc, layernorm);
    tcase_add_test(tc, activation);
    tcase_add_test(tc, softmax);
    tcase_add_test(tc, attention);
    tcase_add_test(tc, pool);
    tcase_add_test(tc, embedding);
    tcase_add_test(tc, adamw);
    suite_add_tcase(s, tc);
}
