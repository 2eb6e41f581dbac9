/* Time of the text ops on one thread, forward and backward, at the shapes of a small BERT.
 *
 *   bench_nn [ROWS [CHANNELS]]
 *
 * 512 rows of 384 channels if not given: a step's texts. Each op is done again and again for at least 50 ms, five
 * times; the fastest counts.
 *
 * Prints CSV: op,simd,rows,channels,ns_per_value for ops on rows (linear: per multiplication), then
 * attention,simd,tokens,channels,us_per_text with 12 heads.
 */
#include "bench/head.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/learn/adam.h"
#include "core/nn/activation.h"
#include "core/nn/attention.h"
#include "core/nn/dropout.h"
#include "core/nn/embedding.h"
#include "core/nn/kernels.h"
#include "core/nn/layernorm.h"
#include "core/nn/linear.h"
#include "core/nn/softmax.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HEADS = 12 };

struct job {
    size_t N, C;
    float *x, *y, *dx, *dy, *w, *dw, *gamma, *beta, *dgamma, *dbeta, *mean, *rstd, *m, *v;
    struct attention_shape shape;
    float *saved, *work;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static float *need(size_t n)
{
    float *p = mem_alloc_aligned(64, n, sizeof *p);
    if (!p) {
        (void)fprintf(stderr, "bench_nn: no memory\n");
        exit(1);
    }
    struct rng r;
    rng_init(&r, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&r);
    return p;
}

/* Seconds of one call. */
static double seconds(void (*f)(struct job *), struct job *j)
{
    double best = 1e9;
    f(j);
    for (int round = 0; round < 5; round++) {
        double start = now(), end;
        size_t calls = 0;
        do {
            f(j);
            calls++;
        } while ((end = now()) - start < 0.05);
        if ((end - start) / (double)calls < best) best = (end - start) / (double)calls;
    }
    return best;
}

static void linear(struct job *j)
{
    linear_forward(j->y, j->x, j->w, j->beta, j->N, j->C, j->C);
}
static void linear_back(struct job *j)
{
    linear_backward(
        &(struct linear_grads){ j->dx, j->dw, j->dbeta }, j->dy, j->x, j->w, j->N, j->C, j->C);
}
static void bias_back(struct job *j)
{
    linear_backward(&(struct linear_grads){ .db = j->dbeta }, j->dy, NULL, NULL, j->N, j->C, j->C);
}
static void norm(struct job *j)
{
    layernorm_forward(j->y, j->mean, j->rstd, j->x, j->gamma, j->beta, j->N, j->C, 1e-12F);
}
static void norm_back(struct job *j)
{
    layernorm_backward(&(struct layernorm_grads){ j->dx, j->dgamma, j->dbeta }, j->dy, j->x,
        j->gamma, j->mean, j->rstd, j->N, j->C);
}
static void gelu(struct job *j)
{
    activation_forward(ACTIVATION_GELU, j->y, j->x, j->N * j->C);
}
static void gelu_back(struct job *j)
{
    activation_backward(ACTIVATION_GELU, j->dx, j->dy, j->x, j->N * j->C);
}
static void softmax(struct job *j)
{
    softmax_forward(j->y, j->x, 0.2F, j->N, j->C);
}
static void softmax_back(struct job *j)
{
    softmax_backward(j->dx, j->dy, j->y, 0.2F, j->N, j->C);
}
static void drop(struct job *j)
{
    dropout_forward(j->y, j->x, j->N * j->C, 0.1F, 7);
}
static void drop_back(struct job *j)
{
    dropout_backward(j->dx, j->dy, j->N * j->C, 0.1F, 7);
}
static void residual(struct job *j)
{
    residual_forward(j->y, j->x, j->dy, j->N * j->C);
}
static void residual_back(struct job *j)
{
    residual_backward(j->dx, j->dy, j->N * j->C);
}
static void adamw(struct job *j)
{
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    adamw_step(j->y, j->m, j->v, j->dy, j->N * j->C, 9, 1e-4, 0.01, &o);
}
static void attend(struct job *j)
{
    attention_forward(j->y, j->saved, j->work, j->x, &j->shape);
}
static void attend_back(struct job *j)
{
    attention_backward(j->dx, j->work, j->dy, j->saved, j->x, &j->shape);
}

static const struct {
    const char *name;
    void (*f)(struct job *);
    bool product;
} ops[] = { { "linear", linear, true }, { "linear_backward", linear_back, true },
    { "bias_backward", bias_back, false }, { "layernorm", norm, false },
    { "layernorm_backward", norm_back, false }, { "gelu", gelu, false },
    { "gelu_backward", gelu_back, false }, { "softmax", softmax, false },
    { "softmax_backward", softmax_back, false }, { "dropout", drop, false },
    { "dropout_backward", drop_back, false }, { "residual", residual, false },
    { "residual_backward", residual_back, false }, { "adamw", adamw, false } };

int main(int argc, char **argv)
{
    struct job j = { .N = argc > 1 ? strtoul(argv[1], NULL, 10) : 512,
        .C = argc > 2 ? strtoul(argv[2], NULL, 10) : 384 };
    if (!j.N || !j.C || j.N > 1 << 20 || j.C > 1 << 14 || j.C % HEADS) {
        (void)fprintf(stderr, "bench_nn [ROWS [CHANNELS]]: channels are a multiple of %d\n", HEADS);
        return 2;
    }
    size_t n = j.N * j.C;
    float **rows[] = { &j.y, &j.dy, &j.m, &j.v };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        *rows[i] = need(n);
    j.x = need(3 * n), j.dx = need(3 * n), j.w = need(j.C * j.C), j.dw = need(j.C * j.C);
    j.gamma = need(j.C), j.beta = need(j.C), j.dgamma = need(j.C), j.dbeta = need(j.C);
    j.mean = need(j.N), j.rstd = need(j.N);
    for (size_t i = 0; i < n; i++)
        j.v[i] *= j.v[i];
    bench_head();
    const char *simd = nn_kernels()->name;
    (void)printf("op,simd,rows,channels,ns_per_value\n");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        (void)printf("%s,%s,%zu,%zu,%.4f\n", ops[i].name, simd, j.N, j.C,
            seconds(ops[i].f, &j) * 1e9 / (double)n / (ops[i].product ? (double)j.C : 1));
    (void)printf("op,simd,tokens,channels,us_per_text\n");
    for (size_t tokens = 16; tokens <= j.N && tokens <= 512; tokens *= 2) {
        size_t starts[33], texts = j.N / tokens < 32 ? j.N / tokens : 32;
        for (size_t i = 0; i <= texts; i++)
            starts[i] = i * tokens;
        j.shape = (struct attention_shape){ starts, texts, HEADS, j.C / HEADS };
        j.saved = need(attention_saved(&j.shape));
        j.work = need(attention_workspace(&j.shape));
        (void)printf("attention,%s,%zu,%zu,%.2f\n", simd, tokens, j.C,
            seconds(attend, &j) * 1e6 / (double)texts);
        (void)printf("attention_backward,%s,%zu,%zu,%.2f\n", simd, tokens, j.C,
            seconds(attend_back, &j) * 1e6 / (double)texts);
        mem_free(j.saved);
        mem_free(j.work);
    }
    return 0;
}
