/* What the index does on this machine, as CSV on standard output:
 *
 *   bench,config,threads,ef,rate_per_s,recall_at_10,p50_us,p99_us,note
 *
 *   link           vectors linked a second
 *   search         unfiltered, one thread, recall against the exact scan
 *   exact          full scans a second
 *   filter-random  every vector passes with the share named in `config`
 *   filter-far     the vectors furthest from the query's own neighbourhood pass
 *   filter-near    the vectors nearest to some centre pass
 *
 * Usage: bench_index [--n N] [--dim D] [--queries Q] [--metric cosine|dot|l2] [--m M] [--efc E]
 *                    [--data file.npy|file.fvecs] [--query-data file]
 * Without --data: N vectors around random centres, queries from the same distribution.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/head.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "index/index.h"

enum { K = 10 };

struct matrix {
    float *v;
    size_t n, dim;
};

struct bench {
    struct index_options o;
    size_t n, n_queries;
    struct matrix data, queries;
    struct index *ix;
    struct index_scratch *s;
    struct index_hit *truth; /* [n_queries * K] */
    size_t *n_truth;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_index: %s\n", what);
    exit(1);
}

static void *must(void *p)
{
    if (!p) die("out of memory");
    return p;
}

static double seconds_since(int64_t start_ns)
{
    return (double)(time_mono_ns() - start_ns) / 1e9;
}

/* ---- data ---- */
/** Centres from a normal distribution, points around them; a third of the axes carry most of the
 * spread, as in real embeddings. */
static struct matrix make_clusters(size_t n, size_t dim, uint64_t seed, uint64_t centre_seed)
{
    enum { CENTRES = 400 };
    struct matrix x = { must(mem_alloc(n * dim, sizeof(float))), n, dim };
    float *centres = must(mem_alloc(CENTRES * dim, sizeof *centres));
    struct rng r;
    rng_init(&r, centre_seed);
    for (size_t i = 0; i < CENTRES * dim; i++)
        centres[i] = (float)(rng_normal(&r) / (1.0 + 3.0 * (double)(i % dim) / (double)dim));
    rng_init(&r, seed);
    for (size_t i = 0; i < n; i++) {
        const float *c = centres + rng_below(&r, CENTRES) * dim;
        for (size_t d = 0; d < dim; d++)
            x.v[i * dim + d] =
                c[d] + (float)(0.8 * rng_normal(&r) / (1.0 + 8.0 * (double)d / (double)dim));
    }
    mem_free(centres);
    return x;
}

/** A two-dimensional little-endian '<f4' .npy in C order, or .fvecs. */
static struct matrix load(const char *path)
{
    struct file_map m = { 0 };
    struct err e = ERR_INIT;
    if (file_map_open(path, &m, &e) != ERR_OK) die(e.msg);
    struct matrix x = { 0 };
    size_t header = 0, skip = 0;
    if (m.n > 10 && memcmp(m.p, "\x93NUMPY\x01", 7) == 0) {
        header = 10 + m.p[8] + 256u * m.p[9];
        if (header > m.n) die("short .npy");
        char *text = must(mem_strndup((const char *)m.p + 10, header - 10));
        char *shape = strstr(text, "'shape': (");
        if (!strstr(text, "'<f4'") || strstr(text, "'fortran_order': True") || !shape ||
            sscanf(shape + 10, "%zu, %zu", &x.n, &x.dim) != 2)
            die("not a two-dimensional f32 .npy");
        mem_free(text);
    } else {
        int32_t d;
        if (m.n < 4) die("short .fvecs");
        memcpy(&d, m.p, 4);
        if (d < 1 || d > INDEX_DIM_MAX) die("not an .fvecs file");
        skip = 4;
        x.dim = (size_t)d;
        x.n = m.n / (4 + 4 * x.dim);
    }
    size_t row = skip + 4 * x.dim;
    if (x.dim < 1 || x.dim > INDEX_DIM_MAX || x.n < 1 || x.n > (m.n - header) / row)
        die("bad shape");
    x.v = must(mem_alloc(x.n * x.dim, sizeof *x.v));
    for (size_t i = 0; i < x.n; i++)
        memcpy(x.v + i * x.dim, m.p + header + i * row + skip, 4 * x.dim);
    file_map_close(&m);
    return x;
}

/* ---- measuring ---- */
static void row(const struct bench *b, const char *bench, const char *config, unsigned threads,
    size_t ef, double rate, double recall, const double *us, const char *note)
{
    (void)b;
    printf("%s,%s,%u,%zu,%.0f,", bench, config, threads, ef, rate);
    if (recall >= 0) printf("%.4f", recall);
    if (us)
        printf(",%.1f,%.1f,%s\n", us[0], us[1], note);
    else
        printf(",,,%s\n", note);
    fflush(stdout);
}

static void link_all(void *arg)
{
    struct index *ix = arg;
    struct index_scratch *s = must(index_scratch_new());
    for (size_t n = 1; n > 0;)
        if (index_link(ix, 64, s, &n, NULL) != ERR_OK) die("link failed");
    index_scratch_free(s);
}

static void build(struct bench *b, unsigned n_threads)
{
    struct err e = ERR_INIT;
    index_free(b->ix);
    b->ix = NULL;
    if (index_new(&b->o, &b->ix, &e) != ERR_OK) die(e.msg);
    int64_t start = time_mono_ns();
    for (size_t i = 0; i < b->n; i++)
        if (index_put(b->ix, i, b->data.v + i * b->data.dim, &e) != ERR_OK) die(e.msg);
    double put_s = seconds_since(start);
    clock_t cpu = clock();
    start = time_mono_ns();
    struct thread t[64] = { 0 };
    for (unsigned i = 1; i < n_threads; i++)
        if (thread_start(&t[i], "link", link_all, b->ix, &e) != ERR_OK) die(e.msg);
    link_all(b->ix);
    for (unsigned i = 1; i < n_threads; i++)
        thread_join(&t[i]);
    double link_s = seconds_since(start), cpu_s = (double)(clock() - cpu) / CLOCKS_PER_SEC;
    struct index_stats st;
    index_stats(b->ix, &st);
    char note[160];
    snprintf(note, sizeof note, "n=%zu dim=%zu put=%.2fs link=%.2fs cpu=%.2fs bytes=%zu levels=%zu",
        st.live, st.dim, put_s, link_s, cpu_s, st.size_bytes, st.max_level);
    row(b, "link", "", n_threads, b->o.ef_construction, (double)b->n / link_s, -1, NULL, note);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** Share of the true scores reached: a hit counts if its score is at least that of the true k-th one. */
static double recall_of(
    const struct index_hit *got, size_t n, const struct index_hit *want, size_t m)
{
    if (m == 0) return 1;
    size_t right = 0;
    for (size_t i = 0; i < n && i < m; i++)
        right += got[i].score >= want[m - 1].score;
    return (double)right / (double)m;
}

/** All queries with q's settings. truth NULL: store them as the truth. */
static double run(
    struct bench *b, struct index_query q, bool as_truth, double *ret_recall, double us[2])
{
    struct err e = ERR_INIT;
    double recall = 0, *times = must(mem_alloc(b->n_queries, sizeof *times));
    int64_t start = time_mono_ns();
    for (size_t i = 0; i < b->n_queries; i++) {
        struct index_hit hits[K];
        size_t n;
        int64_t at = time_mono_ns();
        q.vector = b->queries.v + i * b->queries.dim;
        q.k = K;
        if (index_search(b->ix, &q, b->s, hits, &n, &e) != ERR_OK) die(e.msg);
        times[i] = (double)(time_mono_ns() - at) / 1e3;
        if (as_truth) {
            memcpy(b->truth + i * K, hits, n * sizeof *hits);
            b->n_truth[i] = n;
        }
        recall += recall_of(hits, n, b->truth + i * K, b->n_truth[i]);
    }
    double s = seconds_since(start);
    qsort(times, b->n_queries, sizeof *times, by_value);
    us[0] = times[b->n_queries / 2];
    us[1] = times[b->n_queries * 99 / 100];
    *ret_recall = recall / (double)b->n_queries;
    mem_free(times);
    return (double)b->n_queries / s;
}

static void searches(struct bench *b)
{
    static const size_t efs[] = { 10, 16, 32, 64, 128, 256, 512 };
    double recall, us[2];
    double rate = run(b, (struct index_query){ .exact = true }, true, &recall, us);
    row(b, "exact", "", 1, 0, rate, recall, us, "");
    for (size_t i = 0; i < sizeof efs / sizeof efs[0]; i++) {
        rate = run(b, (struct index_query){ .ef = efs[i] }, false, &recall, us);
        row(b, "search", "", 1, efs[i], rate, recall, us,
            efs[i] == b->o.ef_search ? "default ef" : "");
    }
}

struct ranked {
    float distance;
    size_t i;
};
static int by_distance(const void *a, const void *b)
{
    float x = ((const struct ranked *)a)->distance, y = ((const struct ranked *)b)->distance;
    return (x > y) - (x < y);
}

/** The n_pass vectors that are `near` (or far from) vector 0 of the queries, or at random. */
static void choose_ids(struct bench *b, const char *how, size_t n_pass, uint64_t *bits)
{
    struct ranked *order = must(mem_alloc(b->n, sizeof *order));
    struct rng r;
    rng_init(&r, 99);
    for (size_t i = 0; i < b->n; i++) {
        float d = (float)rng_unit(&r);
        if (strcmp(how, "random") != 0) {
            d = b->o.kernels->dot(b->queries.v, b->data.v + i * b->data.dim, b->data.dim);
            if (strcmp(how, "near") == 0) d = -d;
        }
        order[i] = (struct ranked){ d, i };
    }
    qsort(order, b->n, sizeof *order, by_distance);
    memset(bits, 0, (b->n + 63) / 64 * 8);
    for (size_t i = 0; i < n_pass; i++)
        bits[order[i].i / 64] |= UINT64_C(1) << (order[i].i % 64);
    mem_free(order);
}

static void filtered(struct bench *b)
{
    static const char *const kinds[] = { "random", "near", "far" };
    static const double shares[] = { 0.5, 0.1, 0.04, 0.01, 0.001 };
    uint64_t *bits = must(mem_alloc((b->n + 63) / 64, sizeof *bits));
    size_t all = b->n_queries;
    if (b->n_queries > 200) b->n_queries = 200;
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
            size_t n_pass = (size_t)(shares[i] * (double)b->n);
            choose_ids(b, kinds[kind], n_pass, bits);
            struct index_allow allow = { bits, b->n, n_pass };
            double recall, us[2];
            run(b, (struct index_query){ .exact = true, .allow = &allow }, true, &recall, us);
            double exact_us = us[0];
            double rate = run(b, (struct index_query){ .allow = &allow }, false, &recall, us);
            char name[32], config[32], note[48];
            snprintf(name, sizeof name, "filter-%s", kinds[kind]);
            snprintf(config, sizeof config, "%g%%", shares[i] * 100);
            snprintf(note, sizeof note, "exact p50 %.0f us", exact_us);
            row(b, name, config, 1, b->o.ef_search, rate, recall, us, note);
        }
    b->n_queries = all;
    mem_free(bits);
}

static void read_arguments(struct bench *b, int argc, char **argv)
{
    const char *data = NULL, *queries = NULL;
    size_t dim = 128;
    b->n = 50000;
    b->n_queries = 1000;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--n"))
            b->n = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--dim"))
            dim = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--queries"))
            b->n_queries = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--m"))
            b->o.m = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--efc"))
            b->o.ef_construction = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--metric"))
            b->o.metric = !strcmp(value, "l2") ? INDEX_L2
                : !strcmp(value, "dot")        ? INDEX_DOT
                                               : INDEX_COSINE;
        else if (!strcmp(name, "--data"))
            data = value;
        else if (!strcmp(name, "--query-data"))
            queries = value;
        else
            die("unknown argument; see the top of bench_index.c");
    }
    b->data = data ? load(data) : make_clusters(b->n, dim, 1, 77);
    if (b->n > b->data.n || data) b->n = b->data.n;
    if (queries)
        b->queries = load(queries);
    else if (data) { /* the last ones are queries and are not put */
        if (b->n_queries >= b->n) die("more queries than vectors");
        b->n -= b->n_queries;
        b->queries = (struct matrix){ b->data.v + b->n * b->data.dim, b->n_queries, b->data.dim };
    } else
        b->queries = make_clusters(b->n_queries, dim, 2, 77);
    if (b->queries.dim != b->data.dim) die("queries and data differ in dimension");
    if (b->n_queries > b->queries.n) b->n_queries = b->queries.n;
    if (b->n_queries < 1) die("no queries");
    b->o.dim = b->data.dim;
}

int main(int argc, char **argv)
{
    struct bench b = { .o = INDEX_OPTIONS_DEFAULTS };
    b.o.kernels = vec_select(VEC_BEST);
    read_arguments(&b, argc, argv);
    b.s = must(index_scratch_new());
    b.truth = must(mem_alloc(b.n_queries * K, sizeof *b.truth));
    b.n_truth = must(mem_alloc(b.n_queries, sizeof *b.n_truth));
    bench_head();
    printf("# n=%zu dim=%zu queries=%zu m=%zu efc=%zu metric=%d\n", b.n, b.o.dim, b.n_queries,
        b.o.m, b.o.ef_construction, b.o.metric);
    printf("bench,config,threads,ef,rate_per_s,recall_at_10,p50_us,p99_us,note\n");
    if (b.n <= 60000) build(&b, 1);
    build(&b, 2);
    struct err e = ERR_INIT;
    if (index_verify(b.ix, &e) != ERR_OK) die(e.msg);
    searches(&b);
    filtered(&b);
    index_free(b.ix);
    index_scratch_free(b.s);
    mem_free(b.truth);
    mem_free(b.n_truth);
    if (b.queries.v < b.data.v || b.queries.v >= b.data.v + b.data.n * b.data.dim)
        mem_free(b.queries.v);
    mem_free(b.data.v);
    return 0;
}
