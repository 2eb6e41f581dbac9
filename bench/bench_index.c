/* Kindred's index beside other libraries: recall@10 against queries a second, memory, and the rate of building.
 *
 *   bench_index [--sets minilm,tfidf,sift,clusters] [--libs kindred,hnswlib] [--data-dir build/bench-data]
 *               [--threads 1,2] [--build-threads 2] [--ef 10,16,...] [--rounds 3] [--m 16] [--efc 200]
 *               [--build-curve 50,100,...] [--large-libs LIST] [--large-ef LIST] [--clusters N]
 *               [--python python3] [--csv FILE] [--svg FILE] [--again FILE]
 *               [--data BASE --query-data QUERIES --metric cosine|dot|l2]
 *
 * A set is DIR/NAME.base.npy and DIR/NAME.query.npy (make bench-index-data); `clusters` is made here; --data names
 * another one, .npy or .fvecs. A library may have settings of its own after a colon: kindred:m=24+efc=100+simd=avx2;
 * those that are not m and efc go to the library (bench/index_kindred.h, bench/peers/index_python.py). The same
 * library may come several times. Sets of more than 500,000 vectors have lists of their own, --large-libs and
 * --large-ef; they are those of --libs and --ef where only these are given.
 *
 * Every library is a process (bench/index_worker.h). One after the other builds its index; then every round asks all of
 * them in turn for all queries at each ef. The median round counts. Recall is against the exact answer
 * (bench/index_truth.h), which is kept beside the set. A library that has reached 0.998, or whose recall no
 * longer rises, is not asked for a larger ef.
 *
 * CSV, to FILE or standard output:
 * set,library,version,m,efc,threads,ef,recall_at_10,qps,build_per_s,build_threads,mb,huge_mb,bytes_per_vector
 *
 *   qps               queries a second of all threads together
 *   build_per_s       vectors a second, from the first to the last, on build_threads
 *   mb                growth of the process's own resident memory by the index; bytes_per_vector is the same
 *   huge_mb           how much of the process is in huge pages
 *
 * --build-curve: kindred and hnswlib as they are, without settings, build again with other ef_construction out of this
 * list, until one graph's recall at ef 64 is below that of hnswlib's of --efc and one reaches it ("0": they do not;
 * nor for large sets); "# build" lines have rates and recalls.
 *
 * --again FILE: nothing is measured; tables and picture are made of the CSV of earlier runs, which may be several files
 * put one behind the other.
 *
 * At the end the same as tables in Markdown on standard output (bench/index_report.h), and as a picture in --svg.
 */
#include "bench/args.h"
#include "bench/head.h"
#include "bench/index_again.h"
#include "bench/index_entry.h"
#include "bench/index_kindred.h"
#include "bench/index_report.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIBS_MAX = 16, LARGE = 500000, GRAPH_EF = 64 };

#define LIBS "kindred,kindred:bits=12,kindred:bits=12+m=12,hnswlib,faiss,usearch,svs:lvq=4x8"
#define LARGE_LIBS "kindred,hnswlib"
#define EF "10,16,24,32,48,64,96,128,192,256,384,512,768"
#define LARGE_EF "16,32,64,128,256,512"

static const double RECALL_ENOUGH = 0.998, RECALL_STEP = 0.0005;

struct list {
    size_t v[ENTRY_EF_MAX], n;
};

struct options {
    const char *sets, *libs, *large_libs, *data_dir, *csv, *svg, *again;
    struct index_set own; /* --data */
    struct list threads, ef, large_ef, build_curve;
    size_t rounds, build_threads, n_clusters;
    struct entry_defaults entry;
};

/* A set with the libraries that are measured on it. */
struct run {
    const struct options *o;
    const struct index_set *set;
    const struct list *ef;
    struct matrix base, query;
    struct truth truth;
    struct entry *libs;
    size_t n;
    FILE *csv;
    struct report *report;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_index: %s\n", what);
    exit(1);
}

/* ---- arguments ---- */
static void read_list(struct list *l, const char *text)
{
    l->n = 0;
    for (char *end; *text && l->n < ENTRY_EF_MAX; text = *end ? end + 1 : end) {
        l->v[l->n++] = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',' && *end != ' ')) die("not a list of numbers");
    }
    if (l->n == 0) die("an empty list");
}

static void read_own(struct index_set *own, const char *base, const char *query, const char *metric)
{
    if (!*base != !*query) die("--data and --query-data belong together");
    if (matrix_metric_parse(metric) < 0) die("--metric: cosine, dot or l2");
    snprintf(own->base, sizeof own->base, "%s", base);
    snprintf(own->query, sizeof own->query, "%s", query);
    snprintf(own->metric, sizeof own->metric, "%s", metric);
}

static void read_arguments(struct options *o, int argc, char **argv)
{
    const char *base = "", *query = "", *metric = "cosine";
    const char *threads = "1,2", *curve = "50,100,200,300,400", *ef = NULL, *large_ef = NULL;
    const struct arg table[] = {
        { "--sets", ARG_TEXT, &o->sets },
        { "--libs", ARG_TEXT, &o->libs },
        { "--large-libs", ARG_TEXT, &o->large_libs },
        { "--data-dir", ARG_TEXT, &o->data_dir },
        { "--threads", ARG_TEXT, &threads },
        { "--build-threads", ARG_NUMBER, &o->build_threads },
        { "--ef", ARG_TEXT, &ef },
        { "--large-ef", ARG_TEXT, &large_ef },
        { "--rounds", ARG_NUMBER, &o->rounds },
        { "--m", ARG_NUMBER, &o->entry.m },
        { "--efc", ARG_NUMBER, &o->entry.ef_construction },
        { "--build-curve", ARG_TEXT, &curve },
        { "--clusters", ARG_NUMBER, &o->n_clusters },
        { "--python", ARG_TEXT, &o->entry.python },
        { "--csv", ARG_TEXT, &o->csv },
        { "--again", ARG_TEXT, &o->again },
        { "--svg", ARG_TEXT, &o->svg },
        { "--data", ARG_TEXT, &base },
        { "--query-data", ARG_TEXT, &query },
        { "--metric", ARG_TEXT, &metric },
    };
    args_read(table, sizeof table / sizeof table[0], "bench_index.c", argc, argv);
    if (!o->large_libs) o->large_libs = o->libs ? o->libs : LARGE_LIBS;
    if (!o->libs) o->libs = LIBS;
    read_list(&o->large_ef, large_ef ? large_ef : ef ? ef : LARGE_EF);
    read_list(&o->ef, ef ? ef : EF);
    read_list(&o->threads, threads);
    read_list(&o->build_curve, curve);
    read_own(&o->own, base, query, metric);
    if (o->rounds < 1 || o->rounds > ENTRY_ROUNDS_MAX) die("--rounds: 1 to 15");
    if (o->threads.n > ENTRY_THREADS_MAX) die("--threads: too many");
}

/* ---- measuring ---- */
static void start_all(struct run *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct entry *l = &r->libs[i];
        if (!entry_start(l, &r->o->entry, r->set)) continue;
        if (!entry_build(l, r->o->build_threads, l->ef_construction)) entry_stop(l);
    }
}

/* As good as exact, or as good as it gets: codes alone may not find more, however long the search. */
static bool is_enough(const struct entry *l)
{
    size_t n = l->n_ef;
    if (n > 0 && l->recall[n - 1] >= RECALL_ENOUGH) return true;
    return n > 3 && l->recall[n - 1] - l->recall[n - 3] < RECALL_STEP;
}

/* The first round finds out how far each library goes. */
static void round_of(struct run *r, size_t round, size_t at_threads)
{
    bool is_first = round == 0 && at_threads == 0;
    for (size_t e = 0; e < r->ef->n; e++)
        for (size_t i = 0; i < r->n; i++) {
            struct entry *l = &r->libs[(i + round) % r->n];
            if (!l->alive || (is_first ? is_enough(l) : e >= l->n_ef)) continue;
            l->seconds[at_threads][e][round] =
                entry_search(l, r->ef->v[e], r->o->threads.v[at_threads]);
            if (!is_first) continue;
            l->recall[e] = entry_recall(l, &r->truth);
            l->n_ef = e + 1;
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

static void report_curve(struct run *r, struct entry *l, size_t at_threads)
{
    double n = (double)r->base.n, kib = (double)l->kib;
    struct report_line line = { .threads = r->o->threads.v[at_threads],
        .bytes_per_vector = kib * 1024 / n };
    snprintf(line.set, sizeof line.set, "%s", r->set->name);
    snprintf(line.library, sizeof line.library, "%s", l->spec);
    for (size_t e = 0; e < l->n_ef; e++) {
        double qps = (double)r->query.n / median(l->seconds[at_threads][e], r->o->rounds);
        fprintf(r->csv, "%s,%s,%s,%zu,%zu,%zu,%zu,%.4f,%.0f,%.0f,%zu,%.1f,%.1f,%.0f\n",
            r->set->name, l->spec, l->peer.version, l->m, l->ef_construction, line.threads,
            r->ef->v[e], l->recall[e], qps, n / l->build_s, r->o->build_threads, kib / 1024,
            (double)l->huge_kib / 1024, line.bytes_per_vector);
        curve_add(&line.curve, l->recall[e], qps);
    }
    report_add_line(r->report, &line);
}

/* Recall of the graph that it has now. */
static double report_one_build(struct run *r, struct entry *l)
{
    struct report_build b = { .ef_construction = l->built_efc,
        .threads = r->o->build_threads,
        .per_s = (double)r->base.n / l->build_s };
    snprintf(b.set, sizeof b.set, "%s", r->set->name);
    snprintf(b.library, sizeof b.library, "%s", l->spec);
    (void)entry_search(l, GRAPH_EF, 1);
    b.recall = entry_recall(l, &r->truth);
    fprintf(r->csv, "# build set=%s library=%s efc=%zu threads=%zu per_s=%.0f ef=%d recall=%.4f\n",
        b.set, b.library, b.ef_construction, b.threads, b.per_s, GRAPH_EF, b.recall);
    report_add_build(r->report, &b);
    return b.recall;
}

/* The next smaller or larger ef_construction of the list; 0: there is none. */
static size_t step_efc(const struct list *l, size_t from, bool is_up)
{
    size_t best = 0;
    for (size_t i = 0; i < l->n; i++)
        if (is_up ? l->v[i] > from && (!best || l->v[i] < best) : l->v[i] < from && l->v[i] > best)
            best = l->v[i];
    return best;
}

/* From the graph that is there, down to one whose recall is below the target, or up to one that reaches it. */
static void build_around(struct run *r, struct entry *l, double recall, double target)
{
    bool is_up = recall < target;
    while ((recall < target) == is_up) {
        size_t efc = step_efc(&r->o->build_curve, l->built_efc, is_up);
        if (efc == 0 || !entry_build(l, r->o->build_threads, efc)) return;
        recall = report_one_build(r, l);
    }
}

static void build_curve(struct run *r)
{
    struct entry *kindred = NULL, *hnswlib = NULL;
    if (r->base.n > LARGE || r->o->build_curve.v[0] == 0) return;
    for (size_t i = 0; i < r->n; i++) {
        if (!r->libs[i].alive) continue;
        if (strcmp(r->libs[i].spec, "kindred") == 0) kindred = &r->libs[i];
        if (strcmp(r->libs[i].spec, "hnswlib") == 0) hnswlib = &r->libs[i];
    }
    if (!kindred || !hnswlib) return;
    double recall = report_one_build(r, kindred), target = report_one_build(r, hnswlib);
    build_around(r, kindred, recall, target);
    build_around(r, hnswlib, target, target);
}

static void run_set(
    const struct index_set *set, const struct options *o, FILE *csv, struct report *report)
{
    struct run r = { .o = o, .set = set, .csv = csv, .report = report };
    r.libs = mem_zalloc(LIBS_MAX, sizeof *r.libs);
    if (!r.libs) die("out of memory");
    index_set_open(set, &r.base, &r.query);
    truth_open(&r.truth, &r.base, &r.query, (enum matrix_metric)matrix_metric_parse(set->metric),
        set->truth, thread_cores());
    bool is_large = r.base.n > LARGE;
    r.ef = is_large ? &o->large_ef : &o->ef;
    r.n = entries_read(r.libs, LIBS_MAX, &o->entry, is_large ? o->large_libs : o->libs);
    fprintf(csv, "# set=%s n=%zu dim=%zu queries=%zu metric=%s rounds=%zu\n", set->name, r.base.n,
        r.base.dim, r.query.n, set->metric, o->rounds);
    fprintf(stderr, "set %s: %zu vectors\n", set->name, r.base.n);
    start_all(&r);
    for (size_t at = 0; at < o->threads.n; at++)
        for (size_t round = 0; round < o->rounds; round++)
            round_of(&r, round, at);
    for (size_t at = 0; at < o->threads.n; at++)
        for (size_t i = 0; i < r.n; i++)
            if (r.libs[i].alive) report_curve(&r, &r.libs[i], at);
    (void)fflush(csv);
    build_curve(&r);
    (void)fflush(csv);
    for (size_t i = 0; i < r.n; i++)
        if (r.libs[i].alive) entry_stop(&r.libs[i]);
    mem_free(r.libs);
    truth_close(&r.truth);
    matrix_close(&r.base);
    matrix_close(&r.query);
}

static void run_sets(struct options *o, FILE *csv, struct report *report)
{
    if (o->own.base[0]) {
        index_set_own(&o->own);
        run_set(&o->own, o, csv, report);
        return;
    }
    char *names = mem_strdup(o->sets), *state;
    if (!names) die("out of memory");
    for (char *p = strtok_r(names, ", ", &state); p; p = strtok_r(NULL, ", ", &state)) {
        struct index_set set;
        if (index_set_find(&set, p, o->data_dir, o->n_clusters)) run_set(&set, o, csv, report);
    }
    mem_free(names);
}

/** Everything anew, into the CSV as it comes. */
static void measure(struct options *o, struct report *report)
{
    FILE *csv = o->csv ? fopen(o->csv, "we") : stdout;
    if (!csv) die("--csv: it cannot be written");
    bench_head_to(csv);
    fprintf(csv,
        "# rounds of all libraries take turns, the median one counts; others than kindred have "
        "huge "
        "pages by GLIBC_TUNABLES=glibc.malloc.hugetlb=1\n"
        "set,library,version,m,efc,threads,ef,recall_at_10,qps,build_per_s,build_threads,mb,huge_"
        "mb,"
        "bytes_per_vector\n");
    run_sets(o, csv, report);
    if (o->csv && fclose(csv) != 0) die("--csv: it cannot be written");
}

static void read_again(const struct options *o, struct report *report)
{
    FILE *f = fopen(o->again, "re");
    if (!f) die("--again: it cannot be read");
    report_read(report, f);
    (void)fclose(f);
}

int main(int argc, char **argv)
{
    static char self[4096];
    struct options o = { .sets = "minilm,tfidf,sift,clusters",
        .data_dir = "build/bench-data",
        .rounds = 3,
        .build_threads = 2,
        .n_clusters = 1000000,
        .entry = { self, "python3", 16, 200 } };
    if (argc == 2 && strcmp(argv[1], "--worker") == 0) return index_worker_run(&kindred_library);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 1) die("/proc/self/exe");
    read_arguments(&o, argc, argv);
    struct report *report = report_new();
    if (o.again)
        read_again(&o, report);
    else
        measure(&o, report);
    report_markdown(report, stdout, o.entry.ef_construction, GRAPH_EF);
    FILE *svg = o.svg ? fopen(o.svg, "we") : NULL;
    if (svg) report_svg(report, svg);
    if (o.svg && (!svg || fclose(svg) != 0)) die("--svg: it cannot be written");
    report_free(report);
    return 0;
}
