/* Time of one training step of the static encoder's ops on one thread: two sides of a batch of bags, symmetric
 * InfoNCE, and Adam over the rows in use; and of one step of distillation.
 *
 *   bench_learn [BATCH [D [TOKENS [STEPS]]]]
 *
 * Made-up data: 30,000 rows, ids drawn with a weight of 1/rank. 1024 pairs, 256 dimensions, bags of 15 tokens
 * and 20 steps if not given. The median of the steps counts.
 *
 * Prints CSV: part,simd,batch,d,tokens,rows,ms
 * Parts: each op; "step" is all that learning from pairs does, without reading texts.
 */
#include "bench/head.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/learn/adam.h"
#include "core/learn/loss.h"
#include "core/nn/bag.h"
#include "core/nn/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VOCABULARY = 30000, TEACHER_D = 384, STEPS_MAX = 1000 };
enum part {
    ROWS,
    BAG,
    UNIT,
    LOSS,
    LOSS_BACK,
    UNIT_BACK,
    BAG_BACK,
    ADAM,
    CLEAR,
    STEP,
    DISTILL,
    PARTS
};
static const char *const part_names[PARTS] = { "rows", "bag", "unit", "infonce", "infonce_backward",
    "unit_backward", "bag_backward", "adam", "clear", "step", "distill" };

struct side {
    float *mean, *out, *norms, *dout, *dmean;
};
struct job {
    size_t N, D, tokens, U;
    float *table, *m, *v, *drows, *saved, *teacher;
    uint32_t *ids, *at, *rows, *place;
    size_t *starts;
    struct side sides[2];
};

static double ms[PARTS][STEPS_MAX];
static double last;

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void lap(enum part p, size_t step)
{
    double t = now_ms();
    ms[p][step] += t - last;
    last = t;
}

static void *need(size_t n, size_t size)
{
    void *p = mem_zalloc(n, size);
    if (p) return p;
    (void)fprintf(stderr, "bench_learn: no memory\n");
    exit(1);
}

static void fill(float *x, size_t n, struct rng *r)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_unit(r) - 0.5F;
}

static void set_up(struct job *j, struct rng *r)
{
    size_t nd = j->N * j->D, n = 2 * j->N * j->tokens;
    struct infonce_shape s = { .N = j->N, .M = j->N, .D = j->D };
    size_t pairs = infonce_saved(&s), distill = distill_saved(j->N, j->D, TEACHER_D);
    j->saved = need(pairs > distill ? pairs : distill, sizeof(float));
    j->table = need(VOCABULARY * j->D, sizeof(float));
    j->m = need(VOCABULARY * j->D, sizeof(float));
    j->v = need(VOCABULARY * j->D, sizeof(float));
    j->drows = need(n * j->D, sizeof(float));
    j->ids = need(n, sizeof(uint32_t));
    j->at = need(n, sizeof(uint32_t));
    j->rows = need(n, sizeof(uint32_t));
    j->place = need(VOCABULARY, sizeof(uint32_t));
    memset(j->place, 0xFF, VOCABULARY * sizeof(uint32_t));
    j->starts = need(2 * j->N + 1, sizeof(size_t));
    for (size_t i = 0; i <= 2 * j->N; i++)
        j->starts[i] = i * j->tokens;
    for (int i = 0; i < 2; i++)
        j->sides[i] = (struct side){ need(nd, sizeof(float)), need(nd, sizeof(float)),
            need(j->N, sizeof(float)), need(nd, sizeof(float)), need(nd, sizeof(float)) };
    fill(j->table, VOCABULARY * j->D, r);
    j->teacher = need(j->N * TEACHER_D, sizeof(float));
    float *norms = need(j->N, sizeof(float)), *x = need(j->N * TEACHER_D, sizeof(float));
    fill(x, j->N * TEACHER_D, r);
    unit_forward(j->teacher, norms, x, j->N, TEACHER_D);
    mem_free(norms);
    mem_free(x);
}

static void step(struct job *j, size_t i)
{
    struct infonce_shape shape = { j->N, j->N, j->D, 0.05F, true };
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    struct side *a = &j->sides[0], *b = &j->sides[1];
    last = now_ms();
    double first = last;
    j->U = bag_rows(j->rows, j->at, j->place, j->ids, 2 * j->N * j->tokens);
    lap(ROWS, i);
    for (struct side *p = a; p <= b; p++) {
        bag_mean_forward(p->mean, j->table, j->ids, j->starts + (p == b ? j->N : 0), j->N, j->D);
        lap(BAG, i);
        unit_forward(p->out, p->norms, p->mean, j->N, j->D);
        lap(UNIT, i);
        memset(p->dout, 0, j->N * j->D * sizeof(float));
        memset(p->dmean, 0, j->N * j->D * sizeof(float));
        lap(CLEAR, i);
    }
    infonce_forward(j->saved, a->out, b->out, NULL, &shape);
    lap(LOSS, i);
    infonce_backward(a->dout, b->dout, j->saved, a->out, b->out, 1, &shape);
    lap(LOSS_BACK, i);
    memset(j->drows, 0, j->U * j->D * sizeof(float));
    lap(CLEAR, i);
    for (struct side *p = a; p <= b; p++) {
        unit_backward(p->dmean, p->dout, p->out, p->norms, j->N, j->D);
        lap(UNIT_BACK, i);
        bag_mean_backward(j->drows, p->dmean, j->at, j->starts + (p == b ? j->N : 0), j->N, j->D);
        lap(BAG_BACK, i);
    }
    adam_step_rows(
        j->table, j->m, j->v, j->rows, j->drows, j->U, j->D, (int64_t)i + 1, 1e-3, &adam);
    lap(ADAM, i);
    ms[STEP][i] = last - first;
    distill_forward(j->saved, a->out, j->teacher, j->N, j->D, TEACHER_D, 0.05F);
    distill_backward(a->dout, j->saved, a->out, j->N, j->D, 0.05F, 1);
    lap(DISTILL, i);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct job j = { .N = argc > 1 ? strtoul(argv[1], NULL, 10) : 1024,
        .D = argc > 2 ? strtoul(argv[2], NULL, 10) : 256,
        .tokens = argc > 3 ? strtoul(argv[3], NULL, 10) : 15 };
    size_t steps = argc > 4 ? strtoul(argv[4], NULL, 10) : 20;
    if (!j.N || !j.D || !j.tokens || !steps || steps > STEPS_MAX) {
        (void)fprintf(stderr, "bench_learn [BATCH [D [TOKENS [STEPS]]]]\n");
        return 2;
    }
    struct rng r;
    rng_init(&r, 1);
    set_up(&j, &r);
    for (size_t i = 0; i < steps; i++) {
        /* log-uniform ranks: a weight of 1/rank */
        for (size_t t = 0; t < 2 * j.N * j.tokens; t++)
            j.ids[t] = (uint32_t)exp(rng_unit(&r) * log((double)VOCABULARY)) % VOCABULARY;
        step(&j, i);
    }
    bench_head();
    printf("part,simd,batch,d,tokens,rows,ms\n");
    for (int p = 0; p < PARTS; p++) {
        qsort(ms[p], steps, sizeof ms[p][0], by_value);
        printf("%s,%s,%zu,%zu,%zu,%zu,%.3f\n", part_names[p], nn_kernels()->name, j.N, j.D,
            j.tokens, j.U, ms[p][steps / 2]);
    }
    return 0;
}
