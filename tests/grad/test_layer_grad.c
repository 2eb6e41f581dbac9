/* The text ops of core/nn against finite differences: linear, layernorm, activation, softmax, pool, dropout,
 * embedding. The loss is a fixed weighting of what forward gives. */
#include "core/nn/activation.h"
#include "core/nn/dropout.h"
#include "core/nn/embedding.h"
#include "core/nn/layernorm.h"
#include "core/nn/linear.h"
#include "core/nn/pool.h"
#include "core/nn/softmax.h"

#include "tests/grad/gradient.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdint.h>

enum { MOST = 512 };

/* Inputs a, b, c of an op that writes n values; N, I, O and the rest as the op takes them. */
struct layer {
    real_t a[MOST], b[MOST], c[MOST], weights[MOST];
    size_t N, I, O, n;
    real_t number;
    enum activation f;
    const uint32_t *ids;
    const size_t *starts;
    void (*forward)(real_t *out, const struct layer *l);
};

static struct layer layer;
static struct rng rng;

static void set_up(void)
{
    rng_init(&rng, 6);
}

static double loss(void *arg)
{
    const struct layer *l = arg;
    real_t out[MOST];
    double sum = 0;
    l->forward(out, l);
    for (size_t i = 0; i < l->n; i++)
        sum += out[i] * l->weights[i];
    return sum;
}

/* A gradient begins at 0.5, as backward adds. */
static void start(real_t *d)
{
    for (size_t i = 0; i < MOST; i++)
        d[i] = 0.5;
}

static void check(const char *what, real_t *x, real_t *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        d[i] -= 0.5;
    check_gradient(what, loss, &layer, x, n, d, 1);
    for (size_t i = n; i < MOST; i++)
        ck_assert(d[i] == 0.5); /* nothing beyond */
}

static void fill_layer(size_t a, size_t b, size_t c, size_t n)
{
    fill_random(layer.a, a, 1, &rng);
    fill_random(layer.b, b, 1, &rng);
    fill_random(layer.c, c, 1, &rng);
    fill_random(layer.weights, n, 1, &rng);
    layer.n = n;
}

static void run_linear(real_t *out, const struct layer *l)
{
    linear_forward(out, l->a, l->b, l->f ? l->c : NULL, l->N, l->I, l->O);
}

START_TEST(linear)
{
    const size_t sizes[] = { 1, 2, 5, 17 };
    for (size_t k = 0; k < 4 * 4 * 4 * 2; k++) {
        layer.N = sizes[k % 4];
        layer.I = sizes[k / 4 % 4];
        layer.O = sizes[k / 16 % 4];
        layer.f = k / 64; /* with a bias? */
        layer.forward = run_linear;
        size_t x = layer.N * layer.I, w = layer.O * layer.I;
        fill_layer(x, w, layer.O, layer.N * layer.O);
        real_t dx[MOST], dw[MOST], db[MOST];
        start(dx);
        start(dw);
        start(db);
        const struct linear_grads g = { dx, dw, layer.f ? db : NULL };
        linear_backward(&g, layer.weights, layer.a, layer.b, layer.N, layer.I, layer.O);
        check("x", layer.a, dx, x);
        check("w", layer.b, dw, w);
        check("b", layer.c, db, layer.f ? layer.O : 0);
    }
}
END_TEST

static void run_layernorm(real_t *out, const struct layer *l)
{
    layernorm_forward(out, NULL, NULL, l->a, l->b, l->c, l->N, l->I, l->number);
}

/* With one column the output does not depend on x; eps keeps two columns from the same. */
START_TEST(layernorm)
{
    const size_t sizes[] = { 1, 2, 3, 7, 33, 70 };
    for (size_t k = 0; k < 6 * 2 * 2; k++) {
        layer.I = sizes[k % 6];
        layer.N = k / 6 % 2 ? 3 : 1;
        layer.number = k / 12 ? 1e-12 : 0.25;
        if (layer.I == 2 && layer.number < 0.1) continue; /* a step: ±1 whatever x is */
        layer.forward = run_layernorm;
        size_t x = layer.N * layer.I;
        fill_layer(x, layer.I, layer.I, x);
        real_t out[MOST], mean[3], rstd[3], dx[MOST], dgamma[MOST], dbeta[MOST];
        layernorm_forward(
            out, mean, rstd, layer.a, layer.b, layer.c, layer.N, layer.I, layer.number);
        start(dx);
        start(dgamma);
        start(dbeta);
        const struct layernorm_grads g = { dx, dgamma, dbeta };
        layernorm_backward(&g, layer.weights, layer.a, layer.b, mean, rstd, layer.N, layer.I);
        if (layer.I > 1) check("x", layer.a, dx, x);
        check("gamma", layer.b, dgamma, layer.I);
        check("beta", layer.c, dbeta, layer.I);
        const struct layernorm_grads only = { dx, NULL, NULL };
        layernorm_backward(&only, layer.weights, layer.a, layer.b, mean, rstd, layer.N, layer.I);
    }
}
END_TEST

static void run_activation(real_t *out, const struct layer *l)
{
    activation_forward(l->f, out, l->a, l->n);
}

START_TEST(activation)
{
    const enum activation all[] = { ACTIVATION_IDENTITY, ACTIVATION_GELU, ACTIVATION_GELU_TANH,
        ACTIVATION_RELU, ACTIVATION_TANH };
    for (size_t k = 0; k < 5; k++)
        for (int size = 1; size <= 4; size += 3) {
            layer.f = all[k];
            layer.forward = run_activation;
            fill_layer(MOST, 0, 0, 200);
            for (size_t i = 0; i < layer.n; i++) {
                layer.a[i] *= size;
                if (fabs(layer.a[i]) < 1e-3) layer.a[i] = 1; /* ReLU's kink */
            }
            real_t dx[MOST];
            start(dx);
            activation_backward(layer.f, dx, layer.weights, layer.a, layer.n);
            check("x", layer.a, dx, layer.n);
        }
}
END_TEST

static void run_softmax(real_t *out, const struct layer *l)
{
    softmax_forward(out, l->a, l->number, l->N, l->I);
}

START_TEST(softmax)
{
    const size_t sizes[] = { 1, 2, 3, 15, 16, 17, 33, 70 };
    const real_t scales[] = { 1, 0.3, -2 };
    for (size_t k = 0; k < 8 * 3 * 2; k++) {
        layer.I = sizes[k % 8];
        layer.number = scales[k / 8 % 3];
        layer.N = k / 24 ? 3 : 1;
        layer.forward = run_softmax;
        size_t n = layer.N * layer.I;
        fill_layer(n, 0, 0, n);
        real_t y[MOST], dx[MOST];
        softmax_forward(y, layer.a, layer.number, layer.N, layer.I);
        start(dx);
        softmax_backward(dx, layer.weights, y, layer.number, layer.N, layer.I);
        check("x", layer.a, dx, n);
    }
}
END_TEST

static void run_pool(real_t *out, const struct layer *l)
{
    (l->f ? pool_first_forward : pool_mean_forward)(out, l->a, l->starts, l->N, l->I);
}

START_TEST(pool)
{
    const size_t starts[] = { 0, 1, 3, 4, 11, 16 };
    for (size_t k = 0; k < 4 * 2 * 2; k++) {
        layer.I = (const size_t[]){ 1, 2, 9, 32 }[k % 4];
        layer.N = k / 4 % 2 ? 5 : 1;
        layer.f = k / 8; /* first, not mean? */
        layer.starts = starts;
        layer.forward = run_pool;
        size_t n = starts[layer.N] * layer.I;
        fill_layer(n, 0, 0, layer.N * layer.I);
        real_t dx[MOST];
        start(dx);
        (layer.f ? pool_first_backward : pool_mean_backward)(
            dx, layer.weights, starts, layer.N, layer.I);
        check("x", layer.a, dx, n);
    }
}
END_TEST

static void run_dropout(real_t *out, const struct layer *l)
{
    dropout_forward(out, l->a, l->n, l->number, l->N);
}

START_TEST(dropout)
{
    for (size_t k = 0; k < 3; k++) {
        layer.number = (const real_t[]){ 0, 0.1, 0.75 }[k];
        layer.N = k + 1; /* the seed */
        layer.forward = run_dropout;
        fill_layer(300, 0, 0, 300);
        real_t dx[MOST];
        start(dx);
        dropout_backward(dx, layer.weights, layer.n, layer.number, layer.N);
        check("x", layer.a, dx, layer.n);
    }
}
END_TEST

/* a is the table, b what is added to its rows. */
static void run_embedding(real_t *out, const struct layer *l)
{
    embedding_forward(out, l->a, l->ids, l->N, l->I);
    residual_forward(out, out, l->b, l->n);
}

START_TEST(embedding)
{
    const uint32_t ids[] = { 3, 3, 0, 7, 3, 1, 7 };
    for (size_t k = 0; k < 3 * 2; k++) {
        layer.I = (const size_t[]){ 1, 5, 33 }[k % 3];
        layer.N = k / 3 ? 7 : 1;
        layer.ids = ids;
        layer.forward = run_embedding;
        size_t n = layer.N * layer.I;
        fill_layer(8 * layer.I, n, 0, n);
        real_t dtable[MOST], db[MOST];
        start(dtable);
        start(db);
        embedding_backward(dtable, layer.weights, ids, layer.N, layer.I);
        residual_backward(db, layer.weights, n);
        check("table", layer.a, dtable, 8 * layer.I);
        check("b", layer.b, db, n);
    }
}
END_TEST

TEST_SUITE(layer_grad)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, linear);
    tcase_add_test(tc, layernorm);
    tcase_add_test(tc, activation);
    tcase_add_test(tc, softmax);
    tcase_add_test(tc, pool);
    tcase_add_test(tc, dropout);
    tcase_add_test(tc, embedding);
    suite_add_tcase(s, tc);
}
