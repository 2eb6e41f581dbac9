/* Kindred's index beside other libraries: recall@10 against queries a second.
 *
 *   bench_index [--sets minilm,tfidf,sift,clusters] [--libs kindred,hnswlib] [--data-dir build/bench-data]
 *               [--threads 1,2] [--build-threads 2] [--ef 10,16,...] [--rounds 3] [--m 16] [--efc 200]
 *               [--clusters N] [--data BASE --query-data QUERIES --metric cosine|dot|l2]
 *
 * A set is DIR/NAME.base.npy and DIR/NAME.query.npy (make bench-index-data); `clusters` is made here; --data names
 * another one, .npy or .fvecs. A library may have settings of its own after a colon: kindred:m=24+efc=100+simd=avx2;
 * those that are not m and efc go to the library (bench/index_kindred.h). The same library may come several times.
 *
 * Every library is a process (bench/index_worker.h). One after the other builds its index; then every round asks all of
 * them in turn for all queries at each ef. The median round counts. Recall is against the exact answer
 * (bench/index_truth.h), which is kept beside the set.
 *
 * CSV: set,library,version,m,efc,threads,ef,recall_at_10,qps,build_per_s,build_threads,mb,bytes_per_vector
 *
 *   qps               queries a second of all threads together
 *   build_per_s       vectors a second, from the first to the last, on build_threads
 *   mb                growth of the process's own resident memory by the index; bytes_per_vector is the same
 *
 * Then lines "# at": the rate at recall 0.95 and 0.98 between the two nearest ef, its logarithm taken as linear in
 * recall, and its ratio to hnswlib's. Empty: not reached.
 */
#include "bench/head.h"
#include "bench/curve.h"
#include "bench/index_data.h"
#include "bench/index_kindred.h"
#include "bench/index_sets.h"
#include "bench/index_truth.h"
#include "bench/peer.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { K = TRUTH_K, LIBS_MAX = 16, LIST_MAX = 32, ROUNDS_MAX = 15, PATH_BYTES = 4096 };

struct list {
    size_t v[LIST_MAX], n;
};

struct options {
    const char *sets, *libs, *data_dir;
    struct index_set own; /* --data */
    struct list threads, ef;
    size_t rounds, m, ef_construction, build_threads, n_clusters;
};

/* A library on a set. */
struct entry {
    char spec[200]; /* as --libs says */
    char options[160];
    size_t m, ef_construction;
    struct peer peer;
    bool alive;
    double build_s;
    size_t kib;
    double recall[LIST_MAX];
    double seconds[LIST_MAX][LIST_MAX][ROUNDS_MAX]; /* by threads and ef */
};

static char self[PATH_BYTES];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_index: %s\n", what);
    exit(1);
}

/* ---- arguments ---- */
static void read_list(struct list *l, const char *text)
{
    l->n = 0;
    for (char *end; *text && l->n < LIST_MAX; text = *end ? end + 1 : end) {
        l->v[l->n++] = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',' && *end != ' ')) die("not a list of numbers");
    }
    if (l->n == 0) die("an empty list");
}

static bool read_number(struct options *o, const char *name, const char *value)
{
    size_t *where = !strcmp(name, "--rounds") ? &o->rounds
        : !strcmp(name, "--m")                ? &o->m
        : !strcmp(name, "--efc")              ? &o->ef_construction
        : !strcmp(name, "--build-threads")    ? &o->build_threads
        : !strcmp(name, "--clusters")         ? &o->n_clusters
                                              : NULL;
    if (where) *where = strtoul(value, NULL, 10);
    return where != NULL;
}

static void read_arguments(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (read_number(o, name, value)) continue;
        if (!strcmp(name, "--sets"))
            o->sets = value;
        else if (!strcmp(name, "--libs"))
            o->libs = value;
        else if (!strcmp(name, "--data-dir"))
            o->data_dir = value;
        else if (!strcmp(name, "--threads"))
            read_list(&o->threads, value);
        else if (!strcmp(name, "--ef"))
            read_list(&o->ef, value);
        else if (!strcmp(name, "--data"))
            snprintf(o->own.base, sizeof o->own.base, "%s", value);
        else if (!strcmp(name, "--query-data"))
            snprintf(o->own.query, sizeof o->own.query, "%s", value);
        else if (!strcmp(name, "--metric"))
            snprintf(o->own.metric, sizeof o->own.metric, "%s", value);
        else
            die("unknown argument; see the top of bench_index.c");
    }
    if (o->rounds < 1 || o->rounds > ROUNDS_MAX) die("--rounds: 1 to 15");
    if (matrix_metric_parse(o->own.metric) < 0) die("--metric: cosine, dot or l2");
    if (!o->own.base[0] != !o->own.query[0]) die("--data and --query-data belong together");
}

/* "NAME:KEY=VALUE+KEY=VALUE": m and efc are ours, the rest is the library's. */
static void read_spec(struct entry *l, const struct options *o, char *spec)
{
    l->m = o->m;
    l->ef_construction = o->ef_construction;
    snprintf(l->spec, sizeof l->spec, "%s", spec);
    char *rest = strchr(spec, ':'), *state;
    if (rest) *rest++ = 0;
    for (char *p = rest ? strtok_r(rest, "+", &state) : NULL; p; p = strtok_r(NULL, "+", &state)) {
        size_t at = strlen(l->options);
        if (strncmp(p, "m=", 2) == 0)
            l->m = strtoul(p + 2, NULL, 10);
        else if (strncmp(p, "efc=", 4) == 0)
            l->ef_construction = strtoul(p + 4, NULL, 10);
        else
            snprintf(l->options + at, sizeof l->options - at, " %s", p);
    }
}

static size_t read_libs(struct entry *libs, const struct options *o)
{
    size_t n = 0;
    char *names = mem_strdup(o->libs), *state;
    if (!names) die("out of memory");
    for (char *p = strtok_r(names, ", ", &state); p; p = strtok_r(NULL, ", ", &state)) {
        if (n == LIBS_MAX) die("too many libraries");
        read_spec(&libs[n++], o, p);
    }
    mem_free(names);
    return n;
}

/* ---- libraries ---- */
static bool start(struct entry *l)
{
    char path[PATH_BYTES + 80], name[40];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(l->spec, ":"), l->spec);
    if (strcmp(name, "kindred") == 0) {
        const char *const argv[] = { self, "--worker", NULL };
        return peer_start(&l->peer, argv);
    }
    snprintf(path, sizeof path, "%.*s/index_%s", (int)(strrchr(self, '/') - self), self, name);
    const char *const argv[] = { path, NULL };
    if (access(path, X_OK) == 0) return peer_start(&l->peer, argv);
    fprintf(stderr, "skipped: %s: there is no %s\n", name, path);
    return false;
}

/* false, and a word on standard error: the library cannot do it. */
static bool ask(struct entry *l, char reply[256], const char *request)
{
    peer_ask(&l->peer, reply, 256, "%s", request);
    if (strncmp(reply, "ok", 2) == 0) return true;
    fprintf(stderr, "skipped: %s: %s: %s\n", l->spec, request, reply);
    return false;
}

static bool load_and_build(struct entry *l, const struct index_set *set, size_t threads)
{
    char request[3 * PATH_BYTES], reply[256];
    snprintf(request, sizeof request, "load %s %s %s", set->base, set->query, set->metric);
    if (!ask(l, reply, request)) return false;
    snprintf(request, sizeof request, "build %zu %zu %zu%s", threads, l->m, l->ef_construction,
        l->options);
    if (!ask(l, reply, request)) return false;
    if (sscanf(reply, "ok %lf %zu", &l->build_s, &l->kib) != 2) die("an answer is not understood");
    fprintf(stderr, "%s %s: built in %.1f s, %.1f MB (%s)\n", set->name, l->spec, l->build_s,
        (double)l->kib / 1024, strrchr(reply, ' ') + 1);
    return true;
}

static double recall(struct entry *l, const struct truth *t)
{
    char path[] = "/tmp/bench_index_XXXXXX", request[64], reply[256];
    size_t n = t->query->n * K;
    uint32_t *ids = mem_alloc(n, sizeof *ids);
    int fd = mkstemp(path);
    if (fd < 0 || !ids) die("results");
    snprintf(request, sizeof request, "results %s", path);
    if (!ask(l, reply, request) || read(fd, ids, n * sizeof *ids) != (ssize_t)(n * sizeof *ids))
        die("results");
    double sum = 0;
    for (size_t i = 0; i < t->query->n; i++)
        sum += truth_recall(t, i, ids + i * K, K);
    (void)close(fd);
    (void)unlink(path);
    mem_free(ids);
    return sum / (double)t->query->n;
}

/* ---- measuring ---- */
static void round_of(struct entry *libs, size_t n, const struct options *o, const struct truth *t,
    size_t round, size_t at_threads)
{
    char request[64], reply[256];
    for (size_t e = 0; e < o->ef.n; e++)
        for (size_t i = 0; i < n; i++) {
            struct entry *l = &libs[(i + round) % n];
            if (!l->alive) continue;
            size_t ef = o->ef.v[e], threads = o->threads.v[at_threads];
            snprintf(request, sizeof request, "search %zu %zu %d", ef, threads, K);
            double *seconds = &l->seconds[at_threads][e][round];
            if (!ask(l, reply, request) || sscanf(reply, "ok %lf", seconds) != 1)
                die("an answer is not understood");
            if (round == 0 && at_threads == 0) l->recall[e] = recall(l, t);
        }
}

static double median(double *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && v[j - 1] > v[j]; j--) {
            double swap = v[j];
            v[j] = v[j - 1];
            v[j - 1] = swap;
        }
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* The curve of one library and number of threads, printed on the way. */
static void print_curve(const struct index_set *set, struct entry *l, const struct options *o,
    const struct truth *t, size_t at_threads, struct curve *ret)
{
    double n = (double)t->base->n, kib = (double)l->kib;
    ret->n = 0;
    for (size_t e = 0; e < o->ef.n; e++) {
        double qps = (double)t->query->n / median(l->seconds[at_threads][e], o->rounds);
        printf("%s,%s,%s,%zu,%zu,%zu,%zu,%.4f,%.0f,%.0f,%zu,%.1f,%.0f\n", set->name, l->spec,
            l->peer.version, l->m, l->ef_construction, o->threads.v[at_threads], o->ef.v[e],
            l->recall[e], qps, n / l->build_s, o->build_threads, kib / 1024, kib * 1024 / n);
        curve_add(ret, l->recall[e], qps);
    }
}

static void print_targets(const struct index_set *set, const struct entry *libs, size_t n,
    const struct options *o, struct curve (*curves)[LIST_MAX])
{
    static const double targets[] = { 0.95, 0.98 };
    for (size_t at = 0; at < o->threads.n; at++)
        for (size_t g = 0; g < sizeof targets / sizeof targets[0]; g++) {
            double peer = -1;
            for (size_t i = 0; i < n && peer < 0; i++)
                if (libs[i].alive && strcmp(libs[i].peer.name, "hnswlib") == 0)
                    peer = curve_at(&curves[i][at], targets[g]);
            for (size_t i = 0; i < n; i++) {
                if (!libs[i].alive) continue;
                double qps = curve_at(&curves[i][at], targets[g]);
                printf("# at %s recall=%.2f threads=%zu %s qps=", set->name, targets[g],
                    o->threads.v[at], libs[i].spec);
                if (qps > 0) printf("%.0f", qps);
                printf(" to_hnswlib=");
                if (qps > 0 && peer > 0) printf("%.2f", qps / peer);
                printf("\n");
            }
        }
}

static void run_set(const struct index_set *set, const struct options *o)
{
    static struct curve curves[LIBS_MAX][LIST_MAX];
    struct matrix base = { 0 }, query = { 0 };
    struct truth t;
    struct entry *libs = mem_zalloc(LIBS_MAX, sizeof *libs);
    if (!libs) die("out of memory");
    index_set_open(set, &base, &query);
    truth_open(&t, &base, &query, (enum matrix_metric)matrix_metric_parse(set->metric), set->truth,
        thread_cores());
    printf("# set=%s n=%zu dim=%zu queries=%zu metric=%s rounds=%zu\n", set->name, base.n, base.dim,
        query.n, set->metric, o->rounds);
    size_t n = read_libs(libs, o);
    for (size_t i = 0; i < n; i++) {
        bool started = start(&libs[i]);
        libs[i].alive = started && load_and_build(&libs[i], set, o->build_threads);
        if (started && !libs[i].alive) peer_stop(&libs[i].peer);
    }
    for (size_t at = 0; at < o->threads.n; at++)
        for (size_t round = 0; round < o->rounds; round++)
            round_of(libs, n, o, &t, round, at);
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < o->threads.n && libs[i].alive; at++)
            print_curve(set, &libs[i], o, &t, at, &curves[i][at]);
    print_targets(set, libs, n, o, curves);
    (void)fflush(stdout);
    for (size_t i = 0; i < n; i++)
        if (libs[i].alive) peer_stop(&libs[i].peer);
    mem_free(libs);
    truth_close(&t);
    matrix_close(&base);
    matrix_close(&query);
}

int main(int argc, char **argv)
{
    struct options o = { .sets = "minilm,tfidf,sift,clusters",
        .libs = "kindred,hnswlib",
        .data_dir = "build/bench-data",
        .own = { .metric = "cosine" },
        .threads = { { 1, 2 }, 2 },
        .ef = { { 10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768 }, 13 },
        .rounds = 3,
        .m = 16,
        .ef_construction = 200,
        .build_threads = 2,
        .n_clusters = 1000000 };
    if (argc == 2 && strcmp(argv[1], "--worker") == 0) return index_worker_run(&kindred_library);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 1) die("/proc/self/exe");
    read_arguments(&o, argc, argv);
    bench_head();
    printf("set,library,version,m,efc,threads,ef,recall_at_10,qps,build_per_s,build_threads,mb,"
           "bytes_per_vector\n");
    if (o.own.base[0]) {
        index_set_own(&o.own);
        run_set(&o.own, &o);
        return 0;
    }
    char *names = mem_strdup(o.sets), *state;
    if (!names) die("out of memory");
    for (char *p = strtok_r(names, ", ", &state); p; p = strtok_r(NULL, ", ", &state)) {
        struct index_set set;
        if (index_set_find(&set, p, o.data_dir, o.n_clusters)) run_set(&set, &o);
    }
    mem_free(names);
    return 0;
}
