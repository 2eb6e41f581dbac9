#include "bench/encode_run.h"

#include "base/mem.h"
#include "base/thread.h"
#include "core/nn/gemm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CALLS_KEPT = 4096, ALIGN_BYTES = 64, STREAM_BYTES = 256 << 20 };

/* One thread's part of a round, of whichever kind. */
struct worker {
    struct thread thread;
    const struct encoder *enc;
    const struct workload *load;
    double seconds;
    const struct encode_texts_options *options;
    const size_t *cuts; /* batch i is texts cuts[i] … cuts[i + 1] - 1 */
    size_t n_batches;
    atomic_size_t *next; /* batch, shared */

    double busy, work; /* seconds; tokens, FLOP or bytes */
    double ms[CALLS_KEPT];
    size_t calls;
};

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

static void *need(void *p)
{
    if (!p) die("round", NULL);
    return p;
}

static clockid_t counted = CLOCK_MONOTONIC;

void encode_run_clock(bool cpu)
{
    counted = cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    if (setenv("PEER_CLOCK", cpu ? "cpu" : "wall", 1) != 0) die("PEER_CLOCK", NULL);
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(counted, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void note_call(struct worker *w, double seconds, double work)
{
    w->busy += seconds;
    w->work += work;
    if (w->calls < CALLS_KEPT) w->ms[w->calls] = seconds * 1e3;
    w->calls++;
}

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return (a > b) - (a < b);
}

/* Work a second of all, each by the time it was busy itself. */
static double run_all(struct worker *w, unsigned n, void (*run)(void *), double *ret_ms)
{
    struct err e = ERR_INIT;
    double rate = 0;
    for (unsigned i = 1; i < n; i++)
        if (thread_start(&w[i].thread, "bench", run, &w[i], &e) != ERR_OK) die("thread", &e);
    run(&w[0]);
    for (unsigned i = 1; i < n; i++)
        thread_join(&w[i].thread);
    for (unsigned i = 0; i < n; i++)
        if (w[i].busy > 0) rate += w[i].work / w[i].busy;
    size_t calls = w[0].calls < CALLS_KEPT ? w[0].calls : CALLS_KEPT;
    qsort(w[0].ms, calls, sizeof *w[0].ms, by_value);
    if (ret_ms) *ret_ms = calls ? w[0].ms[calls / 2] : 0;
    return rate;
}

static void add_texts(struct encoder_workspace *w, const struct str *texts, size_t n)
{
    struct err e = ERR_INIT;
    encoder_batch_begin(w);
    for (size_t i = 0; i < n; i++) {
        enum err_code code = encoder_batch_add_text(w, texts[i], ENCODE_DOCUMENT, true, NULL, &e);
        if (code != ERR_OK && code != ERR_EMPTY) die("text", &e);
    }
}

static void forward(struct encoder_workspace *w, float *out)
{
    struct err e = ERR_INIT;
    if (encoder_batch_forward(w, out, &e) != ERR_OK) die("forward", &e);
}

static struct encoder_workspace *workspace(const struct worker *w)
{
    struct err e = ERR_INIT;
    struct encoder_workspace *ws;
    if (encoder_workspace_new(w->enc, &ws, &e) != ERR_OK) die("workspace", &e);
    return ws;
}

static void run_fixed(void *arg)
{
    struct worker *w = arg;
    struct encoder_workspace *ws = workspace(w);
    float *out = need(
        mem_alloc_aligned(ALIGN_BYTES, w->load->n * encoder_info(w->enc)->dimensions, sizeof *out));
    add_texts(ws, w->load->texts, w->load->n);
    forward(ws, out);
    double begin = now(), last = begin;
    do {
        forward(ws, out);
        double t = now();
        note_call(w, t - last, (double)encoder_batch_tokens(ws));
        last = t;
    } while (last - begin < w->seconds);
    mem_free(out);
    encoder_workspace_free(ws);
}

void encode_run_fixed(const struct encoder *enc, const struct workload *load, unsigned threads,
    double seconds, struct encode_round *ret)
{
    struct worker *w = need(mem_zalloc(threads, sizeof *w));
    for (unsigned i = 0; i < threads; i++) {
        w[i].enc = enc;
        w[i].load = load;
        w[i].seconds = seconds;
    }
    ret->tokens_per_s = run_all(w, threads, run_fixed, &ret->ms);
    mem_free(w);
}

static void run_texts(void *arg)
{
    struct worker *w = arg;
    struct encoder_workspace *ws = workspace(w);
    size_t most = 0, i;
    for (i = 0; i < w->n_batches; i++)
        if (w->cuts[i + 1] - w->cuts[i] > most) most = w->cuts[i + 1] - w->cuts[i];
    float *out =
        need(mem_alloc_aligned(ALIGN_BYTES, most * encoder_info(w->enc)->dimensions, sizeof *out));
    add_texts(ws, w->load->texts, w->cuts[1]); /* first use of the memory, not counted */
    forward(ws, out);
    while ((i = atomic_fetch_add(w->next, 1)) < w->n_batches) {
        if (i % w->options->parts != w->options->part) continue;
        double begin = now();
        add_texts(ws, w->load->texts + w->cuts[i], w->cuts[i + 1] - w->cuts[i]);
        if (!w->options->tokenising) begin = now();
        forward(ws, out);
        note_call(w, now() - begin, (double)encoder_batch_tokens(ws));
    }
    mem_free(out);
    encoder_workspace_free(ws);
}

static size_t cut(const struct workload *load, size_t budget, size_t *cuts)
{
    size_t n = 0, first = 0;
    cuts[0] = 0;
    for (size_t i = 0; i < load->n; i++)
        if (i > first && load->starts[i + 1] - load->starts[first] > budget) cuts[++n] = first = i;
    cuts[++n] = load->n;
    return n;
}

void encode_run_texts(const struct encoder *enc, const struct workload *load,
    const struct encode_texts_options *o, struct encode_round *ret)
{
    struct worker *w = need(mem_zalloc(o->threads, sizeof *w));
    size_t *cuts = need(mem_alloc(load->n + 1, sizeof *cuts)), n = cut(load, o->budget, cuts);
    atomic_size_t next = 0;
    for (unsigned i = 0; i < o->threads; i++) {
        w[i].enc = enc;
        w[i].load = load;
        w[i].options = o;
        w[i].cuts = cuts;
        w[i].n_batches = n;
        w[i].next = &next;
    }
    ret->tokens_per_s = run_all(w, o->threads, run_texts, &ret->ms);
    mem_free(cuts);
    mem_free(w);
}

static float *floats(size_t n)
{
    float *x = need(mem_alloc_aligned(ALIGN_BYTES, n, sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i % 17) - 8;
    return x;
}

static void run_sgemm(void *arg)
{
    struct worker *w = arg;
    const size_t M = 2048, K = 384, N = 1536;
    float *a = floats(M * K), *b = floats(N * K), *c = floats(M * N);
    gemm(false, true, M, N, K, 1, a, b, 0, c);
    for (double begin = now(), last = begin; last - begin < w->seconds;) {
        gemm(false, true, M, N, K, 1, a, b, 0, c);
        double t = now();
        note_call(w, t - last, 2.0 * (double)(M * N * K));
        last = t;
    }
    mem_free(a);
    mem_free(b);
    mem_free(c);
}

static double run_machine(unsigned threads, double seconds, void (*run)(void *))
{
    struct worker *w = need(mem_zalloc(threads, sizeof *w));
    for (unsigned i = 0; i < threads; i++)
        w[i].seconds = seconds;
    double rate = run_all(w, threads, run, NULL) / 1e9;
    mem_free(w);
    return rate;
}

double encode_run_sgemm(unsigned threads, double seconds)
{
    gemm_set_threads(1);
    return run_machine(threads, seconds, run_sgemm);
}

/* By the kernel that reads two rows for a product: nothing but loads counts. */
static void run_stream(void *arg)
{
    struct worker *w = arg;
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t n = STREAM_BYTES / sizeof(float) / 2;
    float *x = floats(2 * n);
    volatile float sum = 0;
    for (double begin = now(), last = begin; last - begin < w->seconds;) {
        sum = sum + k->dot(x, x + n, n);
        double t = now();
        note_call(w, t - last, STREAM_BYTES);
        last = t;
    }
    mem_free(x);
}

double encode_run_stream(unsigned threads, double seconds)
{
    return run_machine(threads, seconds, run_stream);
}
