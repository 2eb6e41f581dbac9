/* A training step of a BERT sentence encoder against PyTorch, in one run, in rounds that take turns: all parameters,
 * 64 pairs of texts of 32 tokens, symmetric InfoNCE at temperature 0.05, AdamW (rate 2e-5, decay 0.01), no dropout,
 * no limit on gradients, the same batch again and again.
 *
 *   bench_train --model DIR [--threads "1 2"] [--rounds 5] [--seconds 1] [--python python3]
 *               [--python-debian /usr/bin/python3] [--steps 10] [--clock wall|cpu]
 *
 * Peers: the PyTorch of --python as it is and through torch.compile, and that of --python-debian. --clock cpu counts
 * the caller's CPU time, on a machine that others use too: for one thread only, where the caller does all of it.
 *
 * Prints two tables of CSV: the loss before each of the first steps from the same weights, side by side; and
 * tokens_per_s, ms (a step; medians of the rounds, and the best ones), gflops (three times a forward's products,
 * nothing for what is computed twice), of_sgemm (share of what OpenBLAS reaches on [2048,384] × [384,1536], a
 * product a thread, in the same rounds), and Kindred's rate by this one's: median of the rounds' ratios.
 */
#include "bench/encode_run.h"
#include "bench/head.h"
#include "bench/peer.h"

#include "base/mem.h"
#include "core/learn/loss.h"
#include "core/learn/trainable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIRS = 64, TOKENS = 32, ROUNDS_MAX = 50, STEPS_MAX = 100, PEERS = 3, REPLY = 1 << 14 };
static const double RATE = 2e-5;

/* Kindred's: a model and what a step needs. */
struct kindred {
    struct trainable *model;
    struct activations *act;
    struct packed_batch batch;
    float *out, *dout, *saved;
    size_t dim;
    int64_t steps;
};

struct row {
    const char *name, *version;
    struct peer *peer; /* NULL: Kindred */
    char how[24];
    double losses[STEPS_MAX], rate[ROUNDS_MAX], ms[ROUNDS_MAX];
};

static struct options {
    const char *model, *threads, *python, *python_debian;
    size_t rounds, steps;
    double seconds;
} o = { .threads = "1 2",
    .python = "python3",
    .python_debian = "/usr/bin/python3",
    .rounds = 5,
    .steps = 10,
    .seconds = 1 };
static clockid_t counted = CLOCK_MONOTONIC;

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "bench_train: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(counted, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Kindred ---- */

static const struct infonce_shape *shape(const struct kindred *k)
{
    static struct infonce_shape s;
    s = (struct infonce_shape){ PAIRS, PAIRS, k->dim, 0.05F, true };
    return &s;
}

static void kindred_open(struct kindred *k, const struct workload *w, unsigned threads)
{
    struct err e = ERR_INIT;
    struct trainable_options to = TRAINABLE_OPTIONS_DEFAULTS;
    to.method = TRAIN_FULL;
    to.clip = 0;
    to.threads = threads;
    to.memory_bytes = (size_t)4 << 30;
    *k = (struct kindred){ .batch = { w->ids, w->starts, w->n } };
    if (trainable_open(o.model, &to, &k->model, &e) != ERR_OK) die("model", &e);
    if (activations_new(k->model, &k->act, &e) != ERR_OK) die("model", &e);
    k->dim = trainable_dimensions(k->model);
    k->out = mem_alloc(w->n * k->dim, sizeof *k->out);
    k->dout = mem_alloc(w->n * k->dim, sizeof *k->dout);
    k->saved = mem_alloc(infonce_saved(shape(k)), sizeof *k->saved);
    if (!k->out || !k->dout || !k->saved) die("batch", NULL);
}

static void kindred_close(struct kindred *k)
{
    activations_free(k->act);
    trainable_free(k->model);
    mem_free(k->out);
    mem_free(k->dout);
    mem_free(k->saved);
    *k = (struct kindred){ 0 };
}

static double kindred_step(struct kindred *k)
{
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    size_t half = PAIRS * k->dim;
    if (trainable_forward(k->model, k->act, &k->batch, 0, k->out, &e) != ERR_OK) die("forward", &e);
    double loss = (double)infonce_forward(k->saved, k->out, k->out + half, NULL, shape(k));
    memset(k->dout, 0, 2 * half * sizeof *k->dout);
    infonce_backward(k->dout, k->dout + half, k->saved, k->out, k->out + half, 1, shape(k));
    if (trainable_backward(k->model, k->act, k->dout, &e) != ERR_OK) die("backward", &e);
    trainable_step(k->model, ++k->steps, RATE, &adam);
    return loss;
}

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return (a > b) - (a < b);
}

static void kindred_round(struct kindred *k, struct row *row, size_t r)
{
    double ms[STEPS_MAX], sum = 0;
    size_t n = 0;
    while (n == 0 || (sum < o.seconds && n < STEPS_MAX)) {
        double begin = now();
        (void)kindred_step(k);
        double took = now() - begin;
        ms[n++] = took * 1e3;
        sum += took;
    }
    qsort(ms, n, sizeof *ms, by_value);
    row->rate[r] = (double)(n * 2 * PAIRS * TOKENS) / sum;
    row->ms[r] = ms[n / 2];
}

/* ---- peers ---- */

static void peer_losses(struct row *row, unsigned threads)
{
    char reply[REPLY], *at = reply;
    peer_ask(row->peer, reply, sizeof reply, "losses %u %zu", threads, o.steps);
    for (size_t i = 0; i < o.steps; i++)
        row->losses[i] = strtod(at, &at);
}

static void peer_round(struct row *row, unsigned threads, size_t r)
{
    char reply[REPLY];
    peer_ask(row->peer, reply, sizeof reply, "run %u %g", threads, o.seconds);
    if (sscanf(reply, "%lf %lf %23s", &row->rate[r], &row->ms[r], row->how) != 3)
        die(row->name, &(struct err){ .msg = "does not answer as it should" });
}

/* ---- tables ---- */

/* Of the rounds; pick 0: the least, 1: the median, 2: the most. */
static double of_rounds(const double *x, int pick)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, x, o.rounds * sizeof *x);
    qsort(sorted, o.rounds, sizeof *sorted, by_value);
    return sorted[pick == 0 ? 0 : pick == 1 ? o.rounds / 2 : o.rounds - 1];
}

static void print_losses(const struct row *rows, size_t n)
{
    printf("step");
    for (size_t i = 0; i < n; i++)
        printf(",%s %s", rows[i].name, rows[i].version);
    for (size_t s = 0; s < o.steps; s++) {
        printf("\n%zu", s + 1);
        for (size_t i = 0; i < n; i++)
            printf(",%.6f", rows[i].losses[s]);
    }
    printf("\n");
}

static void print_row(
    const struct row *row, const struct row *kindred, unsigned threads, double flops, double sgemm)
{
    double ratio[ROUNDS_MAX], rate = of_rounds(row->rate, 1);
    double gflops = rate * flops / (2 * PAIRS * TOKENS) / 1e9;
    for (size_t r = 0; r < o.rounds; r++)
        ratio[r] = kindred->rate[r] / row->rate[r];
    printf("%u,%s,%s,%s,%.0f,%.0f,%.1f,%.1f,%.1f,%.2f,%.3f,%.3f\n", threads, row->name,
        row->version, row->how, rate, of_rounds(row->rate, 2), of_rounds(row->ms, 1),
        of_rounds(row->ms, 0), gflops, gflops / sgemm, of_rounds(ratio, 1),
        of_rounds(kindred->rate, 2) / of_rounds(row->rate, 2));
    (void)fflush(stdout);
}

static void run(
    struct row *rows, size_t n, const struct workload *w, unsigned threads, double flops)
{
    struct kindred k;
    double peaks[ROUNDS_MAX];
    kindred_open(&k, w, threads);
    for (size_t s = 0; s < o.steps; s++)
        rows[0].losses[s] = kindred_step(&k);
    for (size_t i = 1; i < n; i++)
        peer_losses(&rows[i], threads);
    printf("# threads=%u: losses\n", threads);
    print_losses(rows, n);
    for (size_t r = 0; r < o.rounds; r++) {
        peaks[r] = encode_run_sgemm(threads, o.seconds / 2);
        kindred_round(&k, &rows[0], r);
        for (size_t i = 1; i < n; i++)
            peer_round(&rows[i], threads, r);
    }
    kindred_close(&k);
    double sgemm = of_rounds(peaks, 1);
    printf(
        "# threads=%u: sgemm_gflops=%.1f (best round %.1f)\n", threads, sgemm, of_rounds(peaks, 2));
    printf("threads,peer,version,how,tokens_per_s,best_tokens_per_s,ms,best_ms,gflops,of_sgemm,"
           "kindred_ratio,"
           "kindred_best_ratio\n");
    for (size_t i = 0; i < n; i++)
        print_row(&rows[i], &rows[0], threads, flops, sgemm);
}

/* ---- set up ---- */

static bool read_args(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *key = argv[i], *value = argv[i + 1];
        if (!strcmp(key, "--model"))
            o.model = value;
        else if (!strcmp(key, "--threads"))
            o.threads = value;
        else if (!strcmp(key, "--python"))
            o.python = value;
        else if (!strcmp(key, "--python-debian"))
            o.python_debian = value;
        else if (!strcmp(key, "--rounds"))
            o.rounds = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--steps"))
            o.steps = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--seconds"))
            o.seconds = strtod(value, NULL);
        else if (!strcmp(key, "--clock"))
            counted = strcmp(value, "cpu") ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
        else
            return false;
    }
    return argc % 2 == 1 && o.model && o.rounds > 0 && o.rounds <= ROUNDS_MAX &&
        o.steps <= STEPS_MAX;
}

static void add_peer(struct row *rows, size_t *n, struct peer *peer, const char *python,
    const struct workload *w, const char *mode)
{
    const char *argv[] = { python, "bench/peers/train_torch.py", o.model, w->path, mode, NULL };
    if (!peer_start(peer, argv)) return;
    for (size_t i = 1; i < *n; i++)
        if (!strcmp(rows[i].name, peer->name) && !strcmp(rows[i].version, peer->version)) {
            peer_stop(peer); /* both interpreters have the same */
            return;
        }
    rows[(*n)++] = (struct row){ .name = peer->name, .version = peer->version, .peer = peer };
}

int main(int argc, char **argv)
{
    static struct row rows[PEERS + 1] = { { .name = "kindred", .version = KINDRED_VERSION } };
    static struct peer peers[PEERS];
    struct err e = ERR_INIT;
    struct tokenizer *t;
    struct workload w;
    struct bench_shape s;
    size_t n = 1;

    if (!read_args(argc, argv)) {
        fprintf(stderr,
            "bench_train --model DIR [--threads \"1 2\"] [--rounds R] [--seconds S] [--steps N]\n"
            "    [--python P] [--python-debian P] [--clock wall|cpu]\n");
        return 2;
    }
    encode_run_clock(counted != CLOCK_MONOTONIC);
    if (tokenizer_load(o.model, &t, &e) != ERR_OK) die("tokenizer", &e);
    bench_shape_read(&s, o.model);
    workload_make(&w, t, (size_t)2 * PAIRS, TOKENS, 1);
    tokenizer_free(t);
    add_peer(rows, &n, &peers[0], o.python, &w, NULL);
    add_peer(rows, &n, &peers[1], o.python, &w, "compile");
    add_peer(rows, &n, &peers[2], o.python_debian, &w, NULL);

    bench_head();
    printf("# model=%s pairs=%d tokens=%d rounds=%zu seconds=%g\n", o.model, PAIRS, TOKENS,
        o.rounds, o.seconds);
    double flops = 3 * workload_flops(&w, s.layers, s.hidden, s.intermediate);
    for (char *at = (char *)o.threads, *end; *at; at = end) {
        unsigned long threads = strtoul(at, &end, 10);
        if (end == at) break;
        if (threads > 0 && threads <= ENCODE_THREADS_MAX)
            run(rows, n, &w, (unsigned)threads, flops);
    }
    for (size_t i = 0; i < PEERS; i++)
        peer_stop(&peers[i]);
    workload_done(&w);
    return 0;
}
