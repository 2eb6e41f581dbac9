/* Speed of the inference kernels, one thread: products with the weights of a MiniLM (6 layers of 384, 42 MB) by every
 * table this machine has, beside OpenBLAS with bias and activation done after it; then attention.
 *
 * Prints CSV: op,table,I,O,N,us,gflops,of_peak,vs_plain. `layers` is all products of all layers in their order, so
 * that weights come from memory as in a model; the other rows go through one matrix of each layer. of_peak: of
 * what the table's instructions reach on registers alone, measured in between. vs_plain: speed over `plain`, which
 * is linear.h and activation.h, or attention.h. The best of ROUNDS rounds counts. Arguments: N (1 4 16 128 1024).
 */
#include "bench/head.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "core/nn/activation.h"
#include "core/nn/attention.h"
#include "core/nn/linear.h"
#include "core/nn/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 6, SHAPES = 4, TABLES = 4, ROUNDS = 7, N_MAX = 4096, H = 12, D = 32, C = H * D };

static const struct {
    size_t I, O;
    enum activation f;
    bool residual;
} shapes[SHAPES] = { { 384, 1152, ACTIVATION_IDENTITY, false },
    { 384, 384, ACTIVATION_IDENTITY, true }, { 384, 1536, ACTIVATION_GELU, false },
    { 1536, 384, ACTIVATION_IDENTITY, true } };

struct bench {
    float *w[SHAPES][LAYERS], *bias;
    struct packed_linear packed[TABLES][SHAPES][LAYERS];
    const struct packed_ops *tables[TABLES];
    size_t n_tables;
    float *x, *y, *residual, *work;
    double peak[TABLES]; /* flop/ns */
};

/* ---- the peak: as many sums as hide the latency, all different, nothing from memory ---- */

#define PEAK_LOOP(type, n)                                                                         \
    type a, b, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9;                                             \
    memset(&b, 0, sizeof b);                                                                       \
    a = b + 0.999F;                                                                                \
    b += start;                                                                                    \
    s0 = b + 1;                                                                                    \
    s1 = b + 2;                                                                                    \
    s2 = b + 3;                                                                                    \
    s3 = b + 4;                                                                                    \
    s4 = b + 5;                                                                                    \
    s5 = b + 6;                                                                                    \
    s6 = b + 7;                                                                                    \
    s7 = b + 8;                                                                                    \
    s8 = b + 9;                                                                                    \
    s9 = b + 10;                                                                                   \
    for (size_t i = 0; i < (n); i++) {                                                             \
        s0 = s0 * a + b;                                                                           \
        s1 = s1 * a + b;                                                                           \
        s2 = s2 * a + b;                                                                           \
        s3 = s3 * a + b;                                                                           \
        s4 = s4 * a + b;                                                                           \
        s5 = s5 * a + b;                                                                           \
        s6 = s6 * a + b;                                                                           \
        s7 = s7 * a + b;                                                                           \
        s8 = s8 * a + b;                                                                           \
        s9 = s9 * a + b;                                                                           \
    }                                                                                              \
    s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;                                              \
    return s0[0];

enum { PEAK_STEPS = 400000, PEAK_SUMS = 10 };
typedef float vec128 __attribute__((vector_size(16)));

static float peak_baseline(float start)
{
    PEAK_LOOP(vec128, PEAK_STEPS)
}
#if defined(__x86_64__)
typedef float vec256 __attribute__((vector_size(32)));
typedef float vec512 __attribute__((vector_size(64)));
__attribute__((target("avx2,fma"))) static float peak_avx2(float start)
{
    PEAK_LOOP(vec256, PEAK_STEPS)
}
__attribute__((target("avx512f,fma"))) static float peak_avx512(float start)
{
    PEAK_LOOP(vec512, PEAK_STEPS)
}
#endif

static volatile float sink; /* keeps results alive */

/* flop/ns */
static double measure_peak(const char *table)
{
    float (*run)(float start) = peak_baseline;
    double lanes = 4;
#if defined(__x86_64__)
    if (strcmp(table, "avx2") == 0) run = peak_avx2, lanes = 8;
    if (strcmp(table, "avx512") == 0) run = peak_avx512, lanes = 16;
#endif
    int64_t start = time_mono_ns();
    sink = run((float)(start & 1));
    return 2 * lanes * PEAK_SUMS * PEAK_STEPS / (double)(time_mono_ns() - start);
}

/* ---- products ---- */

static void run_one(const struct bench *b, size_t table, size_t s, size_t layer, size_t N)
{
    const float *residual = shapes[s].residual ? b->residual : NULL;
    if (table < b->n_tables) {
        const struct packed_after after = { shapes[s].f, residual };
        b->tables[table]->linear(b->y, b->x, N, &b->packed[table][s][layer], &after);
        return;
    }
    const size_t n = N * shapes[s].O;
    linear_forward(b->y, b->x, b->w[s][layer], b->bias, N, shapes[s].I, shapes[s].O);
    if (shapes[s].f != ACTIVATION_IDENTITY) activation_forward(shapes[s].f, b->y, b->y, n);
    if (residual)
        for (size_t i = 0; i < n; i++)
            b->y[i] += residual[i];
}

/* s: SHAPES for all of them. */
static void run_layers(const struct bench *b, size_t table, size_t s, size_t N)
{
    for (size_t layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < SHAPES; i++)
            if (s == SHAPES || s == i) run_one(b, table, i, layer, N);
}

static void bench_products(struct bench *b, size_t s, size_t N)
{
    double flops = 0, best[TABLES + 1];
    for (size_t i = 0; i < SHAPES; i++)
        if (s == SHAPES || s == i) flops += 2.0 * (double)(N * shapes[i].I * shapes[i].O) * LAYERS;
    const int repeats = flops < 2e9 ? (int)(2e9 / flops / 4) + 1 : 1;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t t = 0; t <= b->n_tables; t++) {
            if (t < b->n_tables) {
                double peak = measure_peak(b->tables[t]->name);
                if (peak > b->peak[t]) b->peak[t] = peak;
            }
            int64_t start = time_mono_ns();
            for (int i = 0; i < repeats; i++)
                run_layers(b, t, s, N);
            double ns = (double)(time_mono_ns() - start) / repeats;
            if (round == 0 || ns < best[t]) best[t] = ns;
        }
    for (size_t t = 0; t <= b->n_tables; t++) {
        const bool plain = t == b->n_tables;
        const double speed = flops / best[t], peak = b->peak[plain ? b->n_tables - 1 : t];
        printf("%s,%s,%zu,%zu,%zu,%.1f,%.1f,%.3f,%.2f\n", s == SHAPES ? "layers" : "linear",
            plain ? "plain" : b->tables[t]->name, s == SHAPES ? 0 : shapes[s].I,
            s == SHAPES ? 0 : shapes[s].O, N, best[t] / 1000, speed, speed / peak,
            best[b->n_tables] / best[t]);
    }
}

/* ---- attention: sequences of n tokens, 512 in all ---- */

static void bench_attention(struct bench *b, size_t n)
{
    size_t starts[65] = { 0 };
    struct attention_shape shape = { starts, 512 / n, H, D };
    double best[TABLES + 1];
    for (size_t i = 0; i < shape.count; i++)
        starts[i + 1] = starts[i] + n;
    float *saved = mem_alloc(attention_saved(&shape) + 1, sizeof *saved);
    float *work = mem_alloc(attention_workspace(&shape) + 1, sizeof *work);
    for (int round = 0; saved && work && round < ROUNDS * 3; round++)
        for (size_t t = 0; t <= b->n_tables; t++) {
            int64_t start = time_mono_ns();
            if (t < b->n_tables)
                b->tables[t]->attention(b->y, b->work, b->x, &shape, false);
            else
                attention_forward(b->y, saved, work, b->x, &shape);
            double ns = (double)(time_mono_ns() - start);
            if (round == 0 || ns < best[t]) best[t] = ns;
        }
    const double flops = 4.0 * (double)(512 * n * C);
    for (size_t t = 0; saved && work && t <= b->n_tables; t++) {
        const bool plain = t == b->n_tables;
        const double speed = flops / best[t], peak = b->peak[plain ? b->n_tables - 1 : t];
        printf("attention,%s,%d,%d,%zu,%.1f,%.1f,%.3f,%.2f\n", plain ? "plain" : b->tables[t]->name,
            H, D, n, best[t] / 1000, speed, speed / peak, best[b->n_tables] / best[t]);
    }
    mem_free(saved);
    mem_free(work);
}

static float *random_floats(struct rng *r, size_t n, float scale)
{
    float *p = mem_alloc_aligned(64, n, sizeof *p);
    for (size_t i = 0; p && i < n; i++)
        p[i] = scale * ((float)rng_unit(r) - 0.5F);
    return p;
}

/* Everything until the process ends. */
static bool set_up(struct bench *b)
{
    struct rng r;
    rng_init(&r, 1);
    for (const struct packed_ops *const *t = packed_ops_all(); *t; t++)
        b->tables[b->n_tables++] = *t;
    const struct packed_ops *best = packed_ops();
    b->bias = random_floats(&r, 1536, 1);
    b->x = random_floats(&r, (size_t)N_MAX * 1536, 1);
    b->y = random_floats(&r, (size_t)N_MAX * 1536, 1);
    b->residual = random_floats(&r, (size_t)N_MAX * 1536, 1);
    b->work = random_floats(&r, packed_attention_floats(best, 512, D), 1);
    if (!b->bias || !b->x || !b->y || !b->residual || !b->work) return false;
    for (size_t s = 0; s < SHAPES; s++)
        for (size_t l = 0; l < LAYERS; l++) {
            const size_t I = shapes[s].I, O = shapes[s].O;
            b->w[s][l] = random_floats(&r, I * O, 0.1F);
            for (size_t t = 0; t < b->n_tables && b->w[s][l]; t++) {
                struct packed_linear *p = &b->packed[t][s][l];
                *p = (struct packed_linear){ .I = I, .O = O, .bias = b->bias };
                p->panels = mem_alloc_aligned(64, packed_floats(b->tables[t], I, O), sizeof(float));
                if (!p->panels) return false;
                packed_fill(b->tables[t], p, b->w[s][l]);
            }
            if (!b->w[s][l]) return false;
        }
    return true;
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = { "1", "4", "16", "128", "1024" };
    static const size_t lengths[] = { 8, 16, 32, 128, 512 };
    static struct bench b;
    const char *const *counts = argc > 1 ? (const char *const *)argv + 1 : defaults;
    const int n_counts = argc > 1 ? argc - 1 : (int)(sizeof defaults / sizeof defaults[0]);
    if (!set_up(&b)) {
        (void)fprintf(stderr, "bench_packed: out of memory\n");
        return 1;
    }
    bench_head();
    printf("op,table,I,O,N,us,gflops,of_peak,vs_plain\n");
    for (int i = 0; i < n_counts; i++) {
        const size_t N = (size_t)strtoul(counts[i], NULL, 10);
        if (N == 0 || N > N_MAX) {
            (void)fprintf(stderr, "bench_packed: N from 1 to %d, not %s\n", N_MAX, counts[i]);
            return 1;
        }
        for (size_t s = 0; s <= SHAPES; s++)
            bench_products(&b, s, N);
    }
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        bench_attention(&b, lengths[i]);
    for (size_t t = 0; t < b.n_tables; t++)
        printf("# peak %s %.1f GFLOP/s\n", b.tables[t]->name, b.peak[t]);
    return 0;
}
