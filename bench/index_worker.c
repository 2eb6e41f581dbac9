#include "bench/index_worker.h"

#include "base/mem.h"
#include "base/thread.h"
#include "base/vecmath.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 64, LINE_MAX = 4096, SEARCH_GRAIN = 16, SEARCH_NS_MIN = 150000000 };

struct worker {
    const struct index_library *lib;
    struct matrix base, query;
    float *query_rows; /* [query.n, dim]; of length 1 with the cosine */
    enum matrix_metric metric;
    void *index;
    uint32_t *ids; /* [query.n, k] of the last search */
    size_t k, ef;
    void *searchers[THREADS_MAX];
};

static void *must(void *p)
{
    if (!p) {
        printf("no memory\n");
        exit(1);
    }
    return p;
}

void worker_normalize(float *out, const float *x, size_t n)
{
    (void)vec_normalize(vec_select(VEC_BEST), out, x, n);
}

/* ---- threads ---- */
struct share {
    atomic_size_t *next;
    size_t n, grain;
    void (*fn)(void *arg, size_t i);
    void *arg;
    struct thread thread;
};

static void run_share(void *arg)
{
    struct share *s = arg;
    for (size_t at; (at = atomic_fetch_add(s->next, s->grain)) < s->n;)
        for (size_t i = at; i < at + s->grain && i < s->n; i++)
            s->fn(s->arg, i);
}

void worker_parallel(
    size_t n, size_t grain, unsigned threads, void (*fn)(void *arg, size_t i), void *arg)
{
    struct err e = ERR_INIT;
    atomic_size_t next = 0;
    struct share s[THREADS_MAX];
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    for (unsigned i = 0; i < threads; i++)
        s[i] = (struct share){ .next = &next, .n = n, .grain = grain, .fn = fn, .arg = arg };
    for (unsigned i = 1; i < threads; i++)
        if (thread_start(&s[i].thread, "worker", run_share, &s[i], &e) != ERR_OK) must(NULL);
    run_share(&s[0]);
    for (unsigned i = 1; i < threads; i++)
        thread_join(&s[i].thread);
}

/* ---- memory ---- */
/* Anonymous memory of this process in KiB: mapped files, as the vectors of the set, are not in it. */
static size_t resident_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %zu kB", &kib) == 1) break;
    if (f) (void)fclose(f);
    return kib;
}

static size_t huge_pages_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %zu kB", &kib) == 1) break;
    if (f) (void)fclose(f);
    return kib;
}

static void release(struct worker *w)
{
    for (size_t i = 0; i < THREADS_MAX; i++) {
        if (w->searchers[i]) w->lib->searcher_free(w->searchers[i]);
        w->searchers[i] = NULL;
    }
    if (w->index) w->lib->release(w->index);
    w->index = NULL;
    (void)malloc_trim(0);
}

/* ---- requests ---- */
static const char *load(struct worker *w, const char *base, const char *query, const char *metric)
{
    int kind = matrix_metric_parse(metric);
    if (kind < 0) return "such metric";
    release(w);
    matrix_close(&w->base);
    matrix_close(&w->query);
    const char *why = matrix_open(base, &w->base);
    if (!why) why = matrix_open(query, &w->query);
    if (why) return why;
    size_t dim = w->base.dim;
    if (dim != w->query.dim) return "queries of that dimension";
    w->metric = (enum matrix_metric)kind;
    mem_free(w->query_rows);
    w->query_rows = must(mem_alloc(w->query.n * dim, sizeof *w->query_rows));
    memcpy(w->query_rows, w->query.v, w->query.n * dim * sizeof *w->query_rows);
    if (w->metric == MATRIX_COSINE)
        for (size_t i = 0; i < w->query.n; i++)
            worker_normalize(w->query_rows + i * dim, w->query.v + i * dim, dim);
    printf("ok %zu %zu %zu\n", w->base.n, dim, w->query.n);
    return NULL;
}

static const char *build(struct worker *w, struct index_build *b)
{
    static char why[sizeof b->note];
    release(w);
    size_t before = resident_kib();
    int64_t start = time_mono_ns();
    w->index = w->lib->build(b);
    double seconds = (double)(time_mono_ns() - start) / 1e9;
    if (!w->index) {
        memcpy(why, b->note, sizeof why);
        return why;
    }
    (void)malloc_trim(0);
    size_t after = resident_kib();
    printf("ok %.4f %zu %zu %s\n", seconds, after > before ? after - before : 0, huge_pages_kib(),
        *b->note ? b->note : "-");
    return NULL;
}

struct search_share {
    struct worker *w;
    void *searcher;
    atomic_size_t *next;
    struct thread thread;
};

static void search_share(void *arg)
{
    struct search_share *s = arg;
    struct worker *w = s->w;
    size_t dim = w->query.dim, k = w->k;
    for (size_t at; (at = atomic_fetch_add(s->next, SEARCH_GRAIN)) < w->query.n;)
        for (size_t i = at; i < at + SEARCH_GRAIN && i < w->query.n; i++) {
            uint32_t *ids = w->ids + i * k;
            size_t n =
                w->lib->search(w->index, s->searcher, w->query_rows + i * dim, k, w->ef, ids);
            for (; n < k; n++)
                ids[n] = UINT32_MAX;
        }
}

/* Every query once, by so many threads. */
static void pass(struct worker *w, unsigned threads)
{
    struct err e = ERR_INIT;
    struct search_share s[THREADS_MAX];
    atomic_size_t next = 0;
    for (unsigned i = 0; i < threads; i++)
        s[i] = (struct search_share){ .w = w, .searcher = w->searchers[i], .next = &next };
    for (unsigned i = 1; i < threads; i++)
        if (thread_start(&s[i].thread, "search", search_share, &s[i], &e) != ERR_OK) must(NULL);
    search_share(&s[0]);
    for (unsigned i = 1; i < threads; i++)
        thread_join(&s[i].thread);
}

static const char *search(struct worker *w, size_t ef, unsigned threads, size_t k)
{
    if (!w->index) return "index yet";
    if (threads < 1 || threads > THREADS_MAX || k < 1 || k > 10000) return "such search";
    mem_free(w->ids);
    w->ids = must(mem_alloc(w->query.n * k, sizeof *w->ids));
    w->k = k;
    w->ef = ef;
    w->lib->set_ef(w->index, ef);
    for (unsigned i = 0; i < threads; i++)
        if (!w->searchers[i]) w->searchers[i] = w->lib->searcher_new(w->index);
    int64_t start = time_mono_ns(), took;
    unsigned passes = 0;
    do {
        pass(w, threads);
        passes++;
        took = time_mono_ns() - start;
    } while (took < SEARCH_NS_MIN);
    printf("ok %.6f\n", (double)took / 1e9 / passes);
    return NULL;
}

static const char *results(const struct worker *w, const char *path)
{
    FILE *f = w->ids ? fopen(path, "wbe") : NULL;
    if (!f) return "results";
    size_t n = fwrite(w->ids, sizeof *w->ids * w->k, w->query.n, f);
    if (fclose(f) != 0 || n != w->query.n) return "room for results";
    printf("ok\n");
    return NULL;
}

static const char *answer(struct worker *w, const char *line)
{
    char a[LINE_MAX], b[LINE_MAX], c[LINE_MAX];
    struct index_build how = { .base = &w->base, .metric = w->metric };
    size_t ef, k;
    unsigned threads;
    int at = 0;
    if (sscanf(line, "load %s %s %s", a, b, c) == 3) return load(w, a, b, c);
    if (sscanf(line, "build %u %zu %zu%n", &how.threads, &how.m, &how.ef_construction, &at) == 3) {
        how.options = line + at + (line[at] == ' ');
        return w->base.v ? build(w, &how) : "vectors yet";
    }
    if (sscanf(line, "search %zu %u %zu", &ef, &threads, &k) == 3) return search(w, ef, threads, k);
    if (sscanf(line, "results %s", a) == 1) return results(w, a);
    return "such request";
}

int index_worker_run(const struct index_library *lib)
{
    char line[LINE_MAX];
    struct worker w = { .lib = lib };
    printf("ready %s %s\n", lib->name, lib->version);
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        const char *why = answer(&w, line);
        if (why) printf("no %s\n", why);
        (void)fflush(stdout);
    }
    release(&w);
    matrix_close(&w.base);
    matrix_close(&w.query);
    mem_free(w.query_rows);
    mem_free(w.ids);
    return 0;
}
