/* How long an index takes to come back: saved while it is searched, loaded, loaded mapped; warm and cold.
 *
 *   bench_index_restart [--n 1000000] [--dim 384] [--metric cosine] [--data-dir build/bench-data] [--bits 24]
 *                       [--build-threads 2] [--rounds 3]
 *
 * The vectors are clusters made here (bench/index_data.h). Linking them takes minutes, so the snapshot stays in the data
 * folder and the next run begins with it; whoever changes how an index is built has to delete it.
 *
 * CSV: what,cache,n,dim,seconds,mb,bytes_per_vector,p99_us
 *
 *   save     index_save, while another thread searches; p99_us: that thread's. mb: of the file
 *   load     index_load, and the first search; mb: what the process's own memory grew by
 *   map      the same, mapped: the rows are read when they are first touched
 *   formula  index_bytes_for in mb; said: index_stats.size_bytes
 *
 * `cold`: the file's pages were dropped from the cache before (posix_fadvise), as far as the system obeys; the disk
 * is what then counts.
 */
#include "bench/args.h"
#include "bench/head.h"
#include "bench/index_data.h"
#include "bench/index_kindred.h"
#include "bench/memory.h"

#include "base/err.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERIES = 1000, K = 10, ROUNDS_MAX = 9, TIMES_MAX = 1 << 20, PATH_BYTES = 4096 };

struct bench {
    size_t n, dim, bits, threads, rounds;
    const char *metric, *folder;
    char base[PATH_BYTES], query[PATH_BYTES], snapshot[PATH_BYTES];
    struct matrix queries;
    struct kindred_options o;
    char settings[32];
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_index_restart: %s\n", what);
    exit(1);
}

static double now_s(void)
{
    return (double)time_mono_ns() / 1e9;
}

static void row(const struct bench *b, const char *what, const char *cache, double seconds,
    double bytes, double p99_us)
{
    printf("%s,%s,%zu,%zu,%.3f,%.1f,%.0f,", what, cache, b->n, b->dim, seconds, bytes / 1e6,
        bytes / (double)b->n);
    if (p99_us > 0) printf("%.0f", p99_us);
    printf("\n");
    fflush(stdout);
}

/* ---- searching meanwhile ---- */
struct searching {
    const struct bench *b;
    const struct kindred *x;
    atomic_bool stop;
    double *us;
    size_t n;
};

static void search_on(void *arg)
{
    struct searching *s = arg;
    struct kindred_searcher *searcher = kindred_searcher_new();
    for (size_t i = 0; !atomic_load(&s->stop) && s->n < TIMES_MAX; i++) {
        uint64_t ids[K];
        const struct kindred_query q = {
            .vector = s->b->queries.v + i % s->b->queries.n * s->b->dim, .k = K
        };
        int64_t start = time_mono_ns();
        (void)kindred_search(s->x, &q, searcher, ids);
        s->us[s->n++] = (double)(time_mono_ns() - start) / 1e3;
    }
    kindred_searcher_free(searcher);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double p99(struct searching *s)
{
    if (s->n == 0) return 0;
    qsort(s->us, s->n, sizeof *s->us, by_value);
    return s->us[s->n * 99 / 100];
}

/* ---- what is measured ---- */
static void measure_save(const struct bench *b, struct kindred *x)
{
    struct err e = ERR_INIT;
    struct thread t;
    struct searching s = { .b = b, .x = x, .us = mem_alloc(TIMES_MAX, sizeof(double)) };
    char path[PATH_BYTES + 8];
    if (!s.us) die("no memory");
    snprintf(path, sizeof path, "%s.again", b->snapshot);
    if (thread_start(&t, "search", search_on, &s, &e) != ERR_OK) die(e.msg);
    double start = now_s();
    size_t bytes = kindred_save(x, path);
    double seconds = now_s() - start;
    atomic_store(&s.stop, true);
    thread_join(&t);
    row(b, "save", "", seconds, (double)bytes, p99(&s));
    (void)unlink(path);
    mem_free(s.us);
}

static void set_cache(const struct bench *b, bool warm)
{
    int fd = open(b->snapshot, O_RDONLY | O_CLOEXEC);
    static char buffer[1 << 20];
    if (fd < 0) die("the snapshot is gone");
    if (warm)
        while (read(fd, buffer, sizeof buffer) > 0) {}
    else if (fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        die("the cache cannot be dropped");
    (void)close(fd);
}

/** Seconds to the first answer. */
static double load_once(const struct bench *b, bool map, double *ret_bytes)
{
    struct memory before, after;
    char why[200];
    uint64_t ids[K];
    (void)malloc_trim(0);
    memory_read(&before);
    double start = now_s();
    struct kindred *x = kindred_load(b->snapshot, &b->o, map, why, sizeof why);
    if (!x) die(why);
    struct kindred_searcher *s = kindred_searcher_new();
    const struct kindred_query q = { .vector = b->queries.v, .k = K };
    if (kindred_search(x, &q, s, ids) != K) die("the first search found too few");
    double seconds = now_s() - start;
    memory_read(&after);
    *ret_bytes = 1024.0 * (double)(after.anon_kib - before.anon_kib);
    kindred_searcher_free(s);
    kindred_free(x);
    return seconds;
}

static void measure_load(const struct bench *b, bool map, bool warm)
{
    double seconds[ROUNDS_MAX], bytes = 0;
    for (size_t r = 0; r < b->rounds; r++) {
        set_cache(b, warm);
        seconds[r] = load_once(b, map, &bytes);
    }
    qsort(seconds, b->rounds, sizeof *seconds, by_value);
    row(b, map ? "map" : "load", warm ? "warm" : "cold", seconds[b->rounds / 2], bytes, 0);
}

static void measure(const struct bench *b)
{
    struct matrix base = { 0 };
    char why[200];
    struct kindred *x = NULL;
    if (!file_exists(b->snapshot)) {
        const char *wrong = matrix_open(b->base, &base);
        if (wrong) die(wrong);
        x = kindred_of(&base, &b->o, (unsigned)b->threads, b->snapshot);
        matrix_close(&base);
    } else if (!(x = kindred_load(b->snapshot, &b->o, false, why, sizeof why))) {
        die(why);
    }
    struct kindred_stats st;
    kindred_stats(x, &st);
    if (st.live != b->n) die("the snapshot is of another size");
    measure_save(b, x);
    row(b, "said", "", 0, (double)st.size_bytes, 0);
    row(b, "formula", "", 0, (double)kindred_bytes_for(x, b->n), 0);
    kindred_free(x);
    for (int cold = 0; cold < 2; cold++)
        for (int map = 0; map < 2; map++)
            measure_load(b, map, !cold);
}

static void make_sets(struct bench *b)
{
    struct err e = ERR_INIT;
    const char *dir = b->folder;
    snprintf(b->base, sizeof b->base, "%s/restart-%zux%zu.base.npy", dir, b->n, b->dim);
    snprintf(b->query, sizeof b->query, "%s/restart-%zux%zu.query.npy", dir, b->n, b->dim);
    snprintf(b->snapshot, sizeof b->snapshot, "%s/restart-%zux%zu-%s-%zu.index", dir, b->n, b->dim,
        b->metric, b->bits);
    if (dir_make(dir, &e) != ERR_OK) die(e.msg);
    if (!file_exists(b->query) || (!file_exists(b->snapshot) && !file_exists(b->base)))
        matrix_make_clusters(b->base, b->query, b->n, QUERIES, b->dim, 1);
    const char *wrong = matrix_open(b->query, &b->queries);
    if (wrong) die(wrong);
}

int main(int argc, char **argv)
{
    struct bench b = { .n = 1000000,
        .dim = 384,
        .bits = 24,
        .threads = 2,
        .rounds = 3,
        .metric = "cosine",
        .folder = "build/bench-data" };
    const struct arg table[] = {
        { "--n", ARG_NUMBER, &b.n },
        { "--dim", ARG_NUMBER, &b.dim },
        { "--bits", ARG_NUMBER, &b.bits },
        { "--metric", ARG_TEXT, &b.metric },
        { "--data-dir", ARG_TEXT, &b.folder },
        { "--build-threads", ARG_NUMBER, &b.threads },
        { "--rounds", ARG_NUMBER, &b.rounds },
    };
    args_read(table, sizeof table / sizeof *table, "bench_index_restart.c", argc, argv);
    int metric = matrix_metric_parse(b.metric);
    if (metric < 0 || b.n < 1000 || b.dim < 1 || b.rounds < 1 || b.rounds > ROUNDS_MAX)
        die("arguments out of range; see the top of bench_index_restart.c");
    snprintf(b.settings, sizeof b.settings, "bits=%zu", b.bits);
    b.o = (struct kindred_options){ b.dim, 16, 200, (enum matrix_metric)metric, b.settings };
    bench_head();
    make_sets(&b);
    printf("what,cache,n,dim,seconds,mb,bytes_per_vector,p99_us\n");
    measure(&b);
    matrix_close(&b.queries);
    return 0;
}
