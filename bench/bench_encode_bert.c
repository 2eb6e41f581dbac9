/* A BERT sentence encoder against ONNX Runtime and PyTorch, in one run: rounds take turns, Kindred, peer, peer,
 * Kindred, … so that what else the machine does meets all of them.
 *
 *   bench_encode_bert --model DIR [--file FILE] [--n 10000] [--threads "1 2"] [--rounds 5] [--seconds 1]
 *                     [--budget 1024] [--python python3] [--only fixed|texts] [--clock wall|cpu]
 *
 * Cases: 1 text of 16 tokens and of 128, 32 texts of 32 and of 128 tokens; and N lines of FILE, evenly spread: Kindred
 * packs them in their order into batches of at most `budget` tokens, without padding; peers take batches of 32, padded
 * to the longest, in the order of arrival and sorted by length. Tokenising is left out, but in "packed+tokenising".
 * T threads: Kindred has T callers with a workspace each that share the batches, as its server has them; a peer has
 * one caller and T threads inside, and ONNX Runtime also T callers ("onnxruntime-callers"). So with one text in a
 * call, ms is the latency of a text, and tokens_per_s what all callers together get done.
 *
 * --clock cpu counts the CPU time of each caller, on a machine that others use too.
 *
 * Prints CSV. tokens_per_s and ms are medians of the rounds, the best ones stand beside them; gflops counts the
 * products of linear layers and of attention, without padding; of_sgemm is their share of what OpenBLAS reaches
 * on [2048,384] × [384,1536] in the same rounds; weights_gb_s is the layers' weights, read once a call, and of_stream its
 * share of the rate at which memory is read. ratio_to_ort: median of the rounds' ratios to the best of ONNX Runtime
 * (texts: sorted by length, and in ratio_to_arrival not sorted), best_ratio of the best rounds.
 * bound: "compute" from 0.75 of sgemm, "weights" from 0.6 of the stream, else "overhead".
 */
#include "bench/encode_run.h"
#include "bench/head.h"
#include "bench/peer.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MAX = 50, ENTRIES_MAX = 16, CASES = 4, BATCH = 32, REPLY = 1 << 16 };

enum kind { KINDRED, PEER_ORT, PEER_OTHER };
enum order { FIXED, PACKED, PACKED_TOKENISING, ARRIVAL, SORTED };

struct contender {
    enum kind kind;
    const char *name, *version;
    struct encoder *enc;
    struct peer peer;
    bool callers; /* the same as another one at one thread */
};
static struct contender contenders[5];
static size_t n_contenders;

/* One line of the table. */
struct entry {
    struct contender *who;
    enum order order;
    char how[32];
    double rate[ROUNDS_MAX], ms[ROUNDS_MAX];
};

static struct options {
    const char *model, *file, *threads, *python, *only;
    size_t n, rounds, budget;
    double seconds;
} o = { .threads = "1 2",
    .python = "python3",
    .n = 10000,
    .rounds = 5,
    .budget = 1024,
    .seconds = 1 };
static struct bench_shape shape;
static double sgemm, stream; /* of this number of threads; sgemm: in this case's rounds */

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "bench_encode_bert: %s: %s\n", what, e ? e->msg : "no memory");
    exit(1);
}

/* ---- rounds ---- */

static void peer_round(const struct entry *x, const struct workload *w, unsigned threads, size_t r,
    char *how, struct encode_round *ret)
{
    bool texts = x->order != FIXED;
    char reply[REPLY];
    peer_ask(&x->who->peer, reply, sizeof reply, "run %s %s %d %u %g %zu %zu", w->path,
        x->order == SORTED ? "sorted" : "arrival", BATCH, threads, texts ? 0 : o.seconds,
        texts ? r : 0, texts ? o.rounds : 1);
    if (sscanf(reply, "%lf %lf %20s", &ret->tokens_per_s, &ret->ms, how) != 3)
        die(x->who->name, &(struct err){ .msg = "does not answer as it should" });
}

static void one_round(struct entry *x, const struct workload *w, unsigned threads, size_t r)
{
    struct encode_round got = { 0 };
    char how[24] = "";
    if (x->who->kind != KINDRED)
        peer_round(x, w, threads, r, how, &got);
    else if (x->order == FIXED)
        encode_run_fixed(x->who->enc, w, threads, o.seconds, &got);
    else
        encode_run_texts(x->who->enc, w,
            &(struct encode_texts_options){
                o.budget, r, o.rounds, x->order == PACKED_TOKENISING, threads },
            &got);
    static const char *const orders[] = { "", "packed", "packed+tokenising", "arrival", "sorted" };
    (void)snprintf(x->how, sizeof x->how, "%s%s%s", orders[x->order],
        *how && x->order != FIXED ? " " : "", how);
    x->rate[r] = got.tokens_per_s;
    x->ms[r] = got.ms;
}

/* ---- the table ---- */

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return (a > b) - (a < b);
}

/* Of the rounds; pick 0: the least, 1: the median, 2: the most. */
static double of_rounds(const double *x, int pick)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, x, o.rounds * sizeof *x);
    qsort(sorted, o.rounds, sizeof *sorted, by_value);
    return sorted[pick == 0 ? 0 : pick == 1 ? o.rounds / 2 : o.rounds - 1];
}

static const struct entry *best_ort(const struct entry *x, size_t n, enum order order)
{
    const struct entry *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (x[i].who->kind == PEER_ORT && x[i].order == order &&
            (!best || of_rounds(x[i].rate, 1) > of_rounds(best->rate, 1)))
            best = &x[i];
    return best;
}

/* "" without ONNX Runtime. */
static void ratios(const struct entry *x, const struct entry *ort, char median[16], char best[16])
{
    double each[ROUNDS_MAX];
    median[0] = best[0] = 0;
    if (!ort) return;
    for (size_t r = 0; r < o.rounds; r++)
        each[r] = x->rate[r] / ort->rate[r];
    (void)snprintf(median, 16, "%.3f", of_rounds(each, 1));
    (void)snprintf(best, 16, "%.3f", of_rounds(x->rate, 2) / of_rounds(ort->rate, 2));
}

static void print_entry(const struct entry *x, const struct workload *w, unsigned threads,
    const struct entry *ort, const struct entry *arrival)
{
    double tokens = (double)workload_tokens(w), rate = of_rounds(x->rate, 1);
    double gflops =
        rate * workload_flops(w, shape.layers, shape.hidden, shape.intermediate) / tokens / 1e9;
    double c = (double)shape.hidden, f = (double)shape.intermediate;
    double weights = (double)shape.layers * (4 * c * c + 2 * c * f) * sizeof(float) / 1e9;
    double gb = x->order == FIXED ? weights * rate / tokens : 0;
    char ratio[16], best[16], to_arrival[16], unused[16];
    ratios(x, ort, ratio, best);
    ratios(x, arrival, to_arrival, unused);
    printf("%s,%u,%s,%s,%s,%.0f,%.0f,%.3f,%.3f,%.1f,%.2f,%.1f,%.2f,%s,%s,%s,%s\n", w->name, threads,
        x->who->name, x->who->version, x->how, rate, of_rounds(x->rate, 2), of_rounds(x->ms, 1),
        of_rounds(x->ms, 0), gflops, gflops / sgemm, gb, gb / stream, ratio, best, to_arrival,
        gflops >= 0.75 * sgemm   ? "compute"
            : gb >= 0.6 * stream ? "weights"
                                 : "overhead");
    (void)fflush(stdout);
}

static void add_entry(struct entry *x, size_t *n, struct contender *who, enum order order)
{
    x[*n] = (struct entry){ .who = who, .order = order };
    ++*n;
}

static void run_case(const struct workload *w, unsigned threads, bool texts)
{
    struct entry x[ENTRIES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_contenders; i++) {
        struct contender *who = &contenders[i];
        if (who->callers && threads == 1) continue;
        if (!texts) {
            add_entry(x, &n, who, FIXED);
        } else if (who->kind == KINDRED) {
            add_entry(x, &n, who, PACKED);
            add_entry(x, &n, who, PACKED_TOKENISING);
        } else {
            add_entry(x, &n, who, ARRIVAL);
            add_entry(x, &n, who, SORTED);
        }
    }
    double peaks[ROUNDS_MAX];
    for (size_t r = 0; r < o.rounds; r++) {
        peaks[r] = encode_run_sgemm(threads, o.seconds / 3);
        for (size_t i = 0; i < n; i++)
            one_round(&x[i], w, threads, r);
    }
    sgemm = of_rounds(peaks, 1);
    printf("# %s, threads=%u: sgemm_gflops=%.1f (best round %.1f)\n", w->name, threads, sgemm,
        of_rounds(peaks, 2));
    for (size_t i = 0; i < n; i++)
        print_entry(&x[i], w, threads, best_ort(x, n, texts ? SORTED : FIXED),
            texts ? best_ort(x, n, ARRIVAL) : NULL);
}

/* ---- who takes part ---- */

static void add_kindred(const char *name, enum encoder_products products)
{
    struct err e = ERR_INIT;
    struct contender *c = &contenders[n_contenders++];
    struct encoder_options eo = { vec_select(VEC_BEST), products };
    *c = (struct contender){ .kind = KINDRED, .name = name, .version = KINDRED_VERSION };
    if (encoder_open(o.model, &eo, &c->enc, &e) != ERR_OK) die("model", &e);
}

static void add_peer(enum kind kind, const char *script, bool callers)
{
    struct contender *c = &contenders[n_contenders];
    *c = (struct contender){ .kind = kind, .callers = callers };
    const char *argv[] = { o.python, script, o.model, callers ? "callers" : NULL, NULL };
    if (!peer_start(&c->peer, argv)) return;
    c->name = c->peer.name;
    c->version = c->peer.version;
    n_contenders++;
}

/* Do all make the same vector of the first text? */
static void compare_vectors(const struct workload *w)
{
    static char reply[REPLY];
    struct err e = ERR_INIT;
    float *want = NULL;
    for (size_t i = 0; i < n_contenders; i++) {
        struct contender *c = &contenders[i];
        size_t dim = encoder_info(contenders[0].enc)->dimensions;
        double dot = 0, own = 0, other = 0;
        float *got = mem_alloc(dim, sizeof *got);
        if (!got) die("vector", NULL);
        if (c->kind == KINDRED) {
            struct encoder_workspace *ws;
            if (encoder_workspace_new(c->enc, &ws, &e) != ERR_OK ||
                encoder_encode_text(ws, w->texts[0], ENCODE_DOCUMENT, got, &e) != ERR_OK)
                die("vector", &e);
            encoder_workspace_free(ws);
        } else {
            peer_ask(&c->peer, reply, sizeof reply, "vector %s 1", w->path);
            char *at = reply;
            for (size_t k = 0; k < dim; k++)
                got[k] = strtof(at, &at);
        }
        if (!want) want = got;
        for (size_t k = 0; k < dim; k++) {
            dot += (double)want[k] * got[k];
            own += (double)want[k] * want[k];
            other += (double)got[k] * got[k];
        }
        if (!(dot / sqrt(own * other) > 0.9999)) {
            fprintf(stderr, "%s: %s and %s do not agree: %.6f\n", w->name, contenders[0].name,
                c->name, dot / sqrt(own * other));
            exit(1);
        }
        if (got != want) mem_free(got);
    }
    mem_free(want);
}

/* ---- set up ---- */

static bool read_args(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *key = argv[i], *value = argv[i + 1];
        if (!strcmp(key, "--model"))
            o.model = value;
        else if (!strcmp(key, "--file"))
            o.file = value;
        else if (!strcmp(key, "--threads"))
            o.threads = value;
        else if (!strcmp(key, "--python"))
            o.python = value;
        else if (!strcmp(key, "--only"))
            o.only = value;
        else if (!strcmp(key, "--clock"))
            encode_run_clock(!strcmp(value, "cpu"));
        else if (!strcmp(key, "--n"))
            o.n = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--rounds"))
            o.rounds = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--budget"))
            o.budget = strtoul(value, NULL, 10);
        else if (!strcmp(key, "--seconds"))
            o.seconds = strtod(value, NULL);
        else
            return false;
    }
    return argc % 2 == 1 && o.model && o.rounds > 0 && o.rounds <= ROUNDS_MAX && o.budget > 0;
}

static void run_threads(struct workload *cases, unsigned threads)
{
    stream = encode_run_stream(threads, o.seconds);
    printf("# threads=%u stream_gb_s=%.1f\n", threads, stream);
    bool fixed = !o.only || !strcmp(o.only, "fixed"), texts = !o.only || !strcmp(o.only, "texts");
    for (size_t i = 0; fixed && i < CASES; i++)
        run_case(&cases[i], threads, false);
    if (texts && o.file) run_case(&cases[CASES], threads, true);
}

int main(int argc, char **argv)
{
    static const size_t shapes[CASES][2] = { { 1, 16 }, { 1, 128 }, { 32, 32 }, { 32, 128 } };
    struct workload cases[CASES + 1] = { 0 };
    struct err e = ERR_INIT;
    struct tokenizer *t;

    if (!read_args(argc, argv)) {
        fprintf(stderr,
            "bench_encode_bert --model DIR [--file FILE] [--n N] [--threads \"1 2\"] [--rounds R] "
            "[--seconds S]\n    [--budget TOKENS] [--python P] [--only fixed|texts] [--clock "
            "wall|cpu]\n");
        return 2;
    }
    if (tokenizer_load(o.model, &t, &e) != ERR_OK) die("tokenizer", &e);
    bench_shape_read(&shape, o.model);
    add_kindred("kindred-blas", PRODUCTS_BLAS);
    add_kindred("kindred", PRODUCTS_BEST);
    add_peer(PEER_ORT, "bench/peers/encode_ort.py", false);
    add_peer(PEER_ORT, "bench/peers/encode_ort.py", true);
    add_peer(PEER_OTHER, "bench/peers/encode_torch.py", false);
    for (size_t i = 0; i < CASES; i++)
        workload_make(&cases[i], t, shapes[i][0], shapes[i][1], i + 1);
    if (o.file)
        workload_read(&cases[CASES], t, o.file, o.n, encoder_info(contenders[0].enc)->max_tokens);
    for (size_t i = 0; i < CASES + (o.file != NULL); i++)
        compare_vectors(&cases[i]);

    bench_head();
    printf("# model=%s layers=%zu hidden=%zu intermediate=%zu rounds=%zu seconds=%g budget=%zu\n",
        o.model, shape.layers, shape.hidden, shape.intermediate, o.rounds, o.seconds, o.budget);
    printf("case,threads,peer,version,how,tokens_per_s,best_tokens_per_s,ms,best_ms,gflops,of_"
           "sgemm,weights_gb_s,"
           "of_stream,ratio_to_ort,best_ratio,ratio_to_arrival,bound\n");
    for (char *at = (char *)o.threads, *end; *at; at = end) {
        unsigned long threads = strtoul(at, &end, 10);
        if (end == at) break;
        if (threads > 0 && threads <= ENCODE_THREADS_MAX) run_threads(cases, (unsigned)threads);
    }
    for (size_t i = 0; i < n_contenders; i++) {
        encoder_free(contenders[i].enc);
        peer_stop(&contenders[i].peer);
    }
    for (size_t i = 0; i <= CASES; i++)
        workload_done(&cases[i]);
    tokenizer_free(t);
    return 0;
}
