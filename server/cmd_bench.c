/* `kindred bench index`: the index on the user's own vectors, and what to set. */
#include "base/fileio.h"
#include "base/thread.h"
#include "engine/index_trial.h"
#include "server/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GRAPHS_MAX = 8, TARGETS = 3, TIME_ALL_S = 600 };
static const double targets[TARGETS] = { 0.95, 0.98, 0.99 };

static void usage(FILE *out)
{
    fputs("usage: kindred bench index --vectors FILE.npy [--queries FILE.npy] [--metric "
          "cosine|dot|l2]\n"
          "           [--k K] [--m M] [--ef-construction E] [--bits 24|12] [--threads N] [--quick] "
          "[--json]\n\n"
          "Build the index of your own vectors and print recall and searches a second by ef, "
          "memory and build\n"
          "rate, for the defaults and for what could be chosen instead, and what to choose. Files "
          "are\n"
          "NumPy's, two dimensions, f4 or f2. Without --queries every so many of the vectors are "
          "queries and\n"
          "are not indexed: fine if people ask with what is stored, else give real queries.\n"
          "  --k K                recall among the first K (default 10)\n"
          "  --m M                links a node (default 16); with it, or --bits, only that graph "
          "is built\n"
          "  --ef-construction E  candidates while linking (default 200)\n"
          "  --bits 24|12         24 (default), or 12: about half the memory\n"
          "  --threads N          threads that link (default: all cores); searches use one\n"
          "  --quick              only the default graph\n"
          "  --json               JSON instead of a table\n",
        out);
}

struct bench_args {
    const char *vectors, *queries, *metric, *k, *m, *efc, *bits, *threads;
    bool quick, json;
};

static bool read_args(struct bench_args *a, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char **to = !strcmp(argv[i], "--vectors") ? &a->vectors
            : !strcmp(argv[i], "--queries")             ? &a->queries
            : !strcmp(argv[i], "--metric")              ? &a->metric
            : !strcmp(argv[i], "--k")                   ? &a->k
            : !strcmp(argv[i], "--m")                   ? &a->m
            : !strcmp(argv[i], "--ef-construction")     ? &a->efc
            : !strcmp(argv[i], "--bits")                ? &a->bits
            : !strcmp(argv[i], "--threads")             ? &a->threads
                                                        : NULL;
        bool *flag = !strcmp(argv[i], "--quick") ? &a->quick
            : !strcmp(argv[i], "--json")         ? &a->json
                                                 : NULL;
        if (flag) {
            *flag = true;
            continue;
        }
        if (!to || ++i >= argc) return false;
        *to = argv[i];
    }
    return a->vectors != NULL;
}

/** A whole number in [min, max]; `otherwise` where the flag is not there. false: said on standard error. */
static bool read_number(
    const char *flag, const char *text, size_t otherwise, size_t min, size_t max, size_t *ret)
{
    char *end;
    *ret = otherwise;
    if (!text) return true;
    unsigned long v = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && v >= min && v <= max) {
        *ret = v;
        return true;
    }
    fprintf(
        stderr, "kindred bench: %s: %s is not a number from %zu to %zu\n", flag, text, min, max);
    return false;
}

/* ---- what is built ---- */
struct plan {
    struct trial_request rq;
    struct trial_shape shapes[GRAPHS_MAX];
    size_t n_shapes;
};

static bool make_plan(const struct bench_args *a, struct plan *p)
{
    size_t k, m, efc, bits, threads;
    const char *metric = a->metric ? a->metric : "cosine";
    if (!read_number("--k", a->k, 10, 1, 1000, &k) ||
        !read_number("--m", a->m, 16, INDEX_M_MIN, INDEX_M_MAX, &m) ||
        !read_number("--ef-construction", a->efc, 200, 8, 2000, &efc) ||
        !read_number("--bits", a->bits, 24, 12, 24, &bits) ||
        !read_number("--threads", a->threads, thread_cores(), 1, 64, &threads))
        return false;
    if (bits != 24 && bits != 12) {
        fprintf(stderr, "kindred bench: --bits: it must be 24 or 12\n");
        return false;
    }
    p->rq = (struct trial_request){
        .vectors = a->vectors, .queries = a->queries, .k = k, .threads = (unsigned)threads
    };
    if (!strcmp(metric, "cosine"))
        p->rq.metric = INDEX_COSINE;
    else if (!strcmp(metric, "dot"))
        p->rq.metric = INDEX_DOT;
    else if (!strcmp(metric, "l2"))
        p->rq.metric = INDEX_L2;
    else {
        fprintf(stderr, "kindred bench: --metric: it must be cosine, dot or l2\n");
        return false;
    }
    p->shapes[p->n_shapes++] = (struct trial_shape){ m, efc, (unsigned)bits };
    if (a->m || a->bits || a->quick) return true;
    p->shapes[p->n_shapes++] = (struct trial_shape){ m, efc, 12 };
    p->shapes[p->n_shapes++] = (struct trial_shape){ 12, efc, 24 };
    p->shapes[p->n_shapes++] = (struct trial_shape){ 24, efc, 24 };
    p->shapes[p->n_shapes++] = (struct trial_shape){ 32, efc, 24 };
    return true;
}

/* ---- progress: on a terminal one line that changes, else nothing ---- */
static void show_progress(void *arg, const char *what, size_t done, size_t total)
{
    static int64_t shown_ns;
    (void)arg;
    if (time_mono_ns() - shown_ns < 100 * NS_PER_MS) return;
    shown_ns = time_mono_ns();
    fprintf(stderr, "\r\033[K%s: %zu of %zu", what, done, total);
}
static void clear_progress(bool terminal)
{
    if (terminal) fprintf(stderr, "\r\033[K");
}

/* ---- output ---- */
static const char *const metric_names[] = { "cosine", "dot", "l2" };

static void print_table(const struct trial *t, const struct trial_graph *g, size_t k)
{
    printf("\nm=%zu ef_construction=%zu bits=%u: linked %.0f/s, %.0f bytes a vector\n", g->shape.m,
        g->shape.ef_construction, g->shape.bits, (double)trial_vectors(t) / g->link_s,
        (double)g->bytes / (double)trial_vectors(t));
    printf("  %6s  recall@%-4zu %10s %9s %9s\n", "ef", k, "searches/s", "p50 us", "p99 us");
    for (size_t i = 0; i < g->n_points; i++)
        printf("  %6zu  %-11.4f %10.0f %9.0f %9.0f\n", g->points[i].ef, g->points[i].recall,
            g->points[i].qps, g->points[i].p50_us, g->points[i].p99_us);
    fflush(stdout);
}

static void print_json(
    const struct trial *t, const struct plan *p, const struct trial_graph *g, size_t n)
{
    printf(
        "{\"vectors\": %zu, \"dimensions\": %zu, \"queries\": %zu, \"metric\": \"%s\", \"k\": %zu, "
        "\"scan_qps\": %.1f, \"graphs\": [",
        trial_vectors(t), trial_dimensions(t), trial_queries(t), metric_names[p->rq.metric],
        p->rq.k, trial_scan_qps(t));
    for (size_t i = 0; i < n; i++) {
        printf("%s{\"m\": %zu, \"ef_construction\": %zu, \"bits\": %u, \"put_seconds\": %.3f, "
               "\"link_seconds\": %.3f, \"bytes\": %zu, \"points\": [",
            i ? ", " : "", g[i].shape.m, g[i].shape.ef_construction, g[i].shape.bits, g[i].put_s,
            g[i].link_s, g[i].bytes);
        for (size_t j = 0; j < g[i].n_points; j++)
            printf("%s{\"ef\": %zu, \"recall\": %.4f, \"qps\": %.1f, \"p50_us\": %.1f, \"p99_us\": "
                   "%.1f}",
                j ? ", " : "", g[i].points[j].ef, g[i].points[j].recall, g[i].points[j].qps,
                g[i].points[j].p50_us, g[i].points[j].p99_us);
        printf("]}");
    }
    printf("]}\n");
}

/* ---- advice ---- */
static void advise_ef(const struct trial_graph *g)
{
    printf("  with m=%zu, bits=%u:", g->shape.m, g->shape.bits);
    for (size_t i = 0; i < TARGETS; i++) {
        size_t ef = 0;
        double qps = trial_qps_at(g, targets[i], &ef);
        if (qps > 0)
            printf("%s recall %.2f at ef %zu (%.0f/s)", i ? "," : "", targets[i], ef, qps);
        else
            printf("%s recall %.2f is not reached", i ? "," : "", targets[i]);
    }
    printf("\n");
}

/** The smallest m within a tenth of the best rate at 0.98; bits = 24. */
static const struct trial_graph *best_m(const struct trial_graph *g, size_t n)
{
    double best = 0;
    size_t ef;
    for (size_t i = 0; i < n; i++)
        if (g[i].shape.bits == 24 && trial_qps_at(&g[i], 0.98, &ef) > best)
            best = trial_qps_at(&g[i], 0.98, &ef);
    const struct trial_graph *chosen = NULL;
    for (size_t i = 0; i < n; i++)
        if (g[i].shape.bits == 24 && trial_qps_at(&g[i], 0.98, &ef) >= 0.9 * best &&
            (!chosen || g[i].shape.m < chosen->shape.m))
            chosen = &g[i];
    return chosen;
}

static void advise_bits(const struct trial_graph *g, size_t n)
{
    size_t ef;
    for (size_t i = 1; i < n; i++) {
        if (g[i].shape.bits != 12 || g[0].shape.bits != 24 || g[i].shape.m != g[0].shape.m)
            continue;
        double full = trial_qps_at(&g[0], 0.98, &ef), small = trial_qps_at(&g[i], 0.98, &ef);
        double memory = (double)g[i].bytes / (double)g[0].bytes;
        if (small > 0)
            printf("- bits 12 takes %.2f of the memory and reaches recall 0.98 at %.2f of the "
                   "rate; its scores are "
                   "exact to some 0.0001 only.\n",
                memory, full > 0 ? small / full : 1);
        else
            printf("- bits 12 takes %.2f of the memory, but does not reach recall 0.98 here.\n",
                memory);
    }
}

static void advise(
    const struct trial *t, const struct plan *p, const struct trial_graph *g, size_t n)
{
    const struct trial_graph *m = best_m(g, n);
    size_t ef = 0;
    printf("\nWhat to choose\n");
    if (trial_queries(t) < 100)
        printf("- %zu queries are few: recall is known to about %.2f only.\n", trial_queries(t),
            0.3 / (double)(trial_queries(t) < 9 ? 1 : trial_queries(t) / 9));
    if (!p->rq.queries)
        printf("- The queries were held out of the vectors. If people ask with something else "
               "(short questions for "
               "long texts), measure with their queries: recall is often lower.\n");
    double walk = trial_qps_at(&g[0], 0.98, &ef);
    if (walk > 0 && trial_scan_qps(t) * 2 > walk)
        printf("- At this size an exact scan (%.0f/s) is nearly as fast as the graph: \"exact\": "
               "true costs little.\n",
            trial_scan_qps(t));
    else
        printf("- An exact scan makes %.0f searches/s here; \"exact\": true is for checking.\n",
            trial_scan_qps(t));
    if (m)
        printf("- m = %zu: the smallest within a tenth of the best rate at recall 0.98.\n",
            m->shape.m);
    advise_bits(g, n);
    printf("- ef, or \"target_recall\" in a search, which picks it:\n");
    for (size_t i = 0; i < n; i++)
        if (&g[i] == m || g[i].shape.bits == 12 || n == 1) advise_ef(&g[i]);
    printf("A collection is made with these by PUT /collections/NAME {\"index\": {\"m\": …, "
           "\"ef_search\": …, "
           "\"bits\": …}}.\n");
}

static enum err_code build_graphs(struct trial *t, const struct plan *p, bool json, bool terminal,
    struct trial_graph *g, size_t *ret_n, struct err *e)
{
    int64_t start = time_mono_ns();
    for (size_t i = 0; i < p->n_shapes; i++) {
        double spent = (double)(time_mono_ns() - start) / 1e9;
        if (i > 0 && spent / (double)i + spent > TIME_ALL_S) {
            if (!json)
                printf("\n%zu more graphs were left out: each takes minutes. --m M builds one.\n",
                    p->n_shapes - i);
            break;
        }
        TRY(trial_graph(t, &p->shapes[i], &g[i], e));
        clear_progress(terminal);
        if (!json) print_table(t, &g[i], p->rq.k);
        *ret_n = i + 1;
    }
    return ERR_OK;
}

static enum err_code run(const struct bench_args *a, struct plan *p, struct err *e)
{
    struct trial *t = NULL;
    struct trial_graph g[GRAPHS_MAX];
    size_t n = 0;
    bool terminal = isatty(STDERR_FILENO) != 0;
    if (terminal) p->rq.progress = show_progress;
    TRY(trial_open(&p->rq, &t, e));
    clear_progress(terminal);
    if (!a->json)
        printf("%zu vectors of %zu values, %zu queries, %s; one thread searches, %u link\n",
            trial_vectors(t), trial_dimensions(t), trial_queries(t), metric_names[p->rq.metric],
            p->rq.threads);
    enum err_code code = build_graphs(t, p, a->json, terminal, g, &n, e);
    if (code == ERR_OK && a->json) print_json(t, p, g, n);
    if (code == ERR_OK && !a->json) advise(t, p, g, n);
    trial_close(t);
    return code;
}

int cmd_bench(int argc, char **argv)
{
    struct bench_args a = { .vectors = NULL };
    struct plan p = { .n_shapes = 0 };
    struct err e = ERR_INIT;
    if (argc > 0 && !strcmp(argv[0], "--help")) {
        usage(stdout);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[0], "index") && !strcmp(argv[1], "--help")) {
        usage(stdout);
        return 0;
    }
    if (argc < 1 || strcmp(argv[0], "index") != 0 || !read_args(&a, argc - 1, argv + 1)) {
        usage(stderr);
        return 2;
    }
    if (!make_plan(&a, &p)) return 2;
    if (run(&a, &p, &e) == ERR_OK) return 0;
    fprintf(stderr, "kindred bench: %s\n", e.msg);
    return 1;
}
