/* Filtered search: recall@10 and queries a second of Kindred's way beside two plain ones.
 *
 *   bench_index_filter [--sets minilm,sift] [--data-dir build/bench-data] [--queries 300] [--pivots 256] [--ef 128]
 *                      [--rounds 3] [--m 16] [--efc 200] [--build-threads 2] [--clusters N] [--data BASE
 *                      --query-data QUERIES --metric cosine|dot|l2] [--clock wall|cpu] [--markdown]
 *                      [--plans] [--keep]
 *
 * Filters that 50, 10, 4, 1 and 0.1 % of the vectors pass, and two that must both be passed, each
 *
 *   random  whatever the query is
 *   near    what lies near the query passes (of two filters: the first is near, the second random)
 *   far     what lies far from the query passes (likewise)
 *
 * bench/index_filters.h says how they are made. Methods, on one thread; in every round each asks all queries:
 *
 *   kindred   index_search with the filter, at the default ef
 *   post      what an index without filters leaves to its user: search for as many as ef, drop what does not pass, and
 *             double ef until 10 pass or it is 4096
 *   scan      index_search with the filter, exact
 *
 * --plans adds Kindred's ways one by one: scan_all, scan_ids, walk, two_hop, none of which gives up; from these the
 * costs in index/plan.c come. --clock cpu counts the thread's own time, for a machine that others use too. --keep reads the linked index from the data folder, or writes it there.
 *
 * CSV: set,filter,correlation,share,method,plan,recall_at_10,qps,estimated
 *
 *   share      of the vectors that pass, in percent
 *   plan       how kindred's searches were answered, with the part of each in percent
 *   qps        of the median round
 *   estimated  vectors compared by their codes, a query
 *
 * --markdown: a table instead.
 */
#include "bench/args.h"
#include "bench/head.h"
#include "bench/index_filters.h"
#include "bench/index_kindred.h"
#include "bench/index_sets.h"
#include "bench/index_truth.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    K = TRUTH_K,
    ROUNDS_MAX = 15,
    PLANS_MAX = 8,
    GROUP_MAX = 64,
    POST_EF_MAX = 4096,
    POST_EF = 128
};

struct options {
    const char *sets, *data_dir;
    struct index_set own;
    const char *own_base, *own_query, *own_metric, *clock;
    size_t queries, pivots, ef, rounds, m, ef_construction, build_threads, n_clusters;
    bool markdown, plans, keep;
};

/* ---- what is measured ---- */
static const struct cell {
    const char *name;
    double share, also; /* of a second filter; 0: there is none */
} cells[] = {
    { "50%", 0.5, 0 },
    { "10%", 0.1, 0 },
    { "4%", 0.04, 0 },
    { "1%", 0.01, 0 },
    { "0.1%", 0.001, 0 },
    { "50% and 20%", 0.5, 0.2 },
    { "10% and 10%", 0.1, 0.1 },
};
enum { CELLS = sizeof cells / sizeof cells[0] };

static const char *const kinds[] = { "random", "near", "far" };

enum method { KINDRED, POST, SCAN, SCAN_ALL, SCAN_IDS, WALK, TWO_HOP, METHODS };
static const char *const method_names[METHODS] = { "kindred", "post", "scan", "scan_all",
    "scan_ids", "walk", "two_hop" };
enum { PLAIN_METHODS = SCAN + 1 };

struct result {
    double seconds[ROUNDS_MAX];
    double recall, estimated; /* sums */
    struct {
        const char *name;
        size_t n;
    } plans[PLANS_MAX];
};

/* Queries that share their filters. */
struct group {
    size_t pivot, n;
    uint32_t queries[GROUP_MAX];
    uint64_t *bits;         /* the filter of the cell at hand, */
    size_t passing;         /* how many it lets pass, */
    float least[GROUP_MAX]; /* and the score of each query's 10th best among them */
};

struct bench {
    const struct options *o;
    const struct index_set *set;
    struct matrix base, query;
    struct truth truth;
    struct filters filters;
    struct kindred *index;
    struct kindred_searcher *searcher;
    struct group *groups; /* [n_groups] */
    size_t n_groups, n_queries, n_words;
    uint64_t *also; /* room for a second filter */
    uint32_t *ids;  /* room for those that pass */
};

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "bench_index_filter: no memory\n");
    exit(1);
}

/* ---- groups ---- */
/* Pivots in random order, each with the queries nearest to it, until there are enough queries. */
static void make_groups(struct bench *b)
{
    size_t n = b->filters.n_pivots;
    uint32_t *order = must(mem_alloc(n, sizeof *order));
    struct rng r;
    rng_init(&r, 11);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    rng_shuffle_u32(&r, order, n);
    b->groups = must(mem_zalloc(n, sizeof *b->groups));
    for (size_t i = 0; i < n && b->n_queries < b->o->queries; i++) {
        struct group *g = &b->groups[b->n_groups];
        g->pivot = order[i];
        for (size_t q = 0; q < b->query.n && g->n < GROUP_MAX; q++)
            if (b->filters.query_pivot[q] == order[i]) g->queries[g->n++] = (uint32_t)q;
        b->n_queries += g->n;
        b->n_groups += g->n > 0;
    }
    mem_free(order);
}

static void make_filter(
    struct bench *b, const struct cell *c, enum filter_kind kind, struct group *g)
{
    uint64_t seed = 1000 + g->pivot;
    filter_make(&b->filters, kind, c->share, g->pivot, seed, g->bits);
    if (c->also > 0) {
        filter_make(&b->filters, FILTER_RANDOM, c->also, g->pivot, seed + 1000000, b->also);
        for (size_t w = 0; w < b->n_words; w++)
            g->bits[w] &= b->also[w];
    }
    g->passing = 0;
    for (size_t w = 0; w < b->n_words; w++)
        for (uint64_t bits = g->bits[w]; bits; bits &= bits - 1)
            b->ids[g->passing++] = (uint32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
    truth_least_among(&b->truth, g->queries, g->n, b->ids, g->passing, g->least);
}

/* ---- searching ---- */
static bool passes(const struct group *g, uint64_t id)
{
    return g->bits[id / 64] >> id % 64 & 1;
}

static size_t post_filter(
    struct bench *b, const struct group *g, const float *q, uint32_t ret[K], size_t *ret_estimated)
{
    static uint64_t found[POST_EF_MAX];
    *ret_estimated = 0;
    for (size_t ef = POST_EF;; ef *= 2) {
        struct kindred_query query = { .vector = q, .k = ef, .ef = ef, .way = KINDRED_WALK };
        struct kindred_report report;
        size_t n = kindred_search(b->index, &query, b->searcher, found), kept = 0;
        kindred_report(b->searcher, &report);
        *ret_estimated += report.estimated;
        for (size_t i = 0; i < n && kept < K; i++)
            if (passes(g, found[i])) ret[kept++] = (uint32_t)found[i];
        if (kept == K || ef * 2 > POST_EF_MAX) return kept;
    }
}

static size_t filtered(
    struct bench *b, const struct group *g, const float *q, enum method m, uint32_t ret[K])
{
    static const enum kindred_way ways[METHODS] = { [SCAN_ALL] = KINDRED_SCAN_ALL,
        [SCAN_IDS] = KINDRED_SCAN_IDS,
        [WALK] = KINDRED_WALK,
        [TWO_HOP] = KINDRED_TWO_HOP };
    uint64_t found[K];
    struct kindred_query query = { .vector = q,
        .k = K,
        .ef = b->o->ef,
        .exact = m == SCAN,
        .allow = g->bits,
        .n_bits = b->base.n,
        .count = g->passing,
        .way = ways[m] };
    size_t n = kindred_search(b->index, &query, b->searcher, found);
    for (size_t i = 0; i < n; i++)
        ret[i] = (uint32_t)found[i];
    return n;
}

static void count_plan(struct result *r, const char *name)
{
    size_t i = 0;
    while (i + 1 < PLANS_MAX && r->plans[i].name && strcmp(r->plans[i].name, name) != 0)
        i++;
    r->plans[i].name = name;
    r->plans[i].n++;
}

static int64_t now_ns(const struct options *o)
{
    struct timespec t;
    (void)clock_gettime(
        strcmp(o->clock, "cpu") == 0 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whoever searches with a filter has just made it: it is in a near cache. */
static void touch(const struct bench *b, const struct group *g)
{
    uint64_t sum = 0;
    for (size_t w = 0; w < b->n_words; w++)
        sum ^= *(volatile uint64_t *)&g->bits[w];
    (void)sum;
}

static void ask(
    struct bench *b, const struct group *g, enum method m, size_t round, struct result *r)
{
    for (size_t i = 0; i < g->n; i++) {
        const float *q = b->query.v + g->queries[i] * b->query.dim;
        uint32_t ids[K];
        struct kindred_report report;
        size_t estimated, n;
        touch(b, g);
        int64_t start = now_ns(b->o);
        n = m == POST ? post_filter(b, g, q, ids, &estimated) : filtered(b, g, q, m, ids);
        r->seconds[round] += (double)(now_ns(b->o) - start) / 1e9;
        if (round > 0) continue;
        kindred_report(b->searcher, &report);
        count_plan(r, report.plan);
        r->estimated += (double)(m == POST ? estimated : report.estimated);
        r->recall += truth_recall_from(&b->truth, g->queries[i], g->least[i], ids, n);
    }
}

/* ---- results ---- */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double qps_of(const struct bench *b, struct result *r)
{
    qsort(r->seconds, b->o->rounds, sizeof *r->seconds, by_value);
    return (double)b->n_queries / r->seconds[(b->o->rounds - 1) / 2];
}

/* "walk", or "walk 90 fallback 10". */
static void write_plans(const struct bench *b, const struct result *r, char ret[120])
{
    size_t at = 0;
    ret[0] = 0;
    for (size_t i = 0; i < PLANS_MAX && r->plans[i].name && at < 100; i++) {
        const char *space = i ? " " : "";
        if (r->plans[i].n == b->n_queries)
            snprintf(ret + at, 120 - at, "%s%s", space, r->plans[i].name);
        else
            snprintf(ret + at, 120 - at, "%s%s %.0f", space, r->plans[i].name,
                100.0 * (double)r->plans[i].n / (double)b->n_queries);
        at += strlen(ret + at);
    }
}

static void print(const struct bench *b, const struct cell *c, enum filter_kind kind, double share,
    struct result *results, size_t n_methods)
{
    char plans[120];
    double n = (double)b->n_queries;
    if (b->o->markdown) {
        struct result *k = &results[KINDRED], *post = &results[POST], *scan = &results[SCAN];
        write_plans(b, k, plans);
        printf("| %s %s | %.2f | %s | %.3f | %.0f | %.3f | %.0f | %.0f |\n", c->name, kinds[kind],
            share, plans, k->recall / n, qps_of(b, k), post->recall / n, qps_of(b, post),
            qps_of(b, scan));
    } else {
        for (size_t m = 0; m < n_methods; m++) {
            struct result *r = &results[m];
            write_plans(b, r, plans);
            printf("%s,%s,%s,%.3f,%s,%s,%.4f,%.0f,%.0f\n", b->set->name, c->name, kinds[kind],
                share, method_names[m], m == POST ? "-" : plans, r->recall / n, qps_of(b, r),
                r->estimated / n);
        }
    }
    (void)fflush(stdout);
}

static void run_cell(struct bench *b, const struct cell *c, enum filter_kind kind)
{
    size_t n_methods = b->o->plans ? METHODS : PLAIN_METHODS;
    double share = 0;
    struct result *results = must(mem_zalloc(METHODS, sizeof *results));
    for (size_t i = 0; i < b->n_groups; i++) {
        struct group *g = &b->groups[i];
        make_filter(b, c, kind, g);
        share += 100.0 * (double)g->passing / (double)b->base.n / (double)b->n_groups;
        if (g->passing >= K) continue;
        fprintf(stderr, "%s: skipped: %s %s: too few vectors pass\n", b->set->name, c->name,
            kinds[kind]);
        mem_free(results);
        return;
    }
    for (size_t round = 0; round < b->o->rounds; round++)
        for (size_t m = 0; m < n_methods; m++)
            for (size_t i = 0; i < b->n_groups; i++)
                ask(b, &b->groups[i], (enum method)m, round, &results[m]);
    print(b, c, kind, share, results, n_methods);
    mem_free(results);
}

static void run_set(const struct index_set *set, const struct options *o)
{
    struct bench b = { .o = o, .set = set };
    enum matrix_metric metric = (enum matrix_metric)matrix_metric_parse(set->metric);
    char path[4200];
    index_set_open(set, &b.base, &b.query);
    truth_open(&b.truth, &b.base, &b.query, metric, set->truth, thread_cores());
    filters_open(&b.filters, &b.truth, o->pivots, thread_cores());
    make_groups(&b);
    struct kindred_options ko = {
        .dim = b.base.dim, .m = o->m, .ef_construction = o->ef_construction, .metric = metric
    };
    snprintf(path, sizeof path, "%s.m%zu.efc%zu.index", set->base, o->m, o->ef_construction);
    b.index = kindred_of(&b.base, &ko, (unsigned)o->build_threads, o->keep ? path : NULL);
    b.searcher = kindred_searcher_new();
    b.n_words = (b.base.n + 63) / 64;
    for (size_t i = 0; i < b.n_groups; i++)
        b.groups[i].bits = must(mem_alloc(b.n_words, sizeof *b.groups[i].bits));
    b.also = must(mem_alloc(b.n_words, sizeof *b.also));
    b.ids = must(mem_alloc(b.base.n, sizeof *b.ids));
    printf("# set=%s n=%zu dim=%zu metric=%s m=%zu efc=%zu ef=%zu queries=%zu groups=%zu "
           "rounds=%zu clock=%s\n",
        set->name, b.base.n, b.base.dim, set->metric, o->m, o->ef_construction, o->ef, b.n_queries,
        b.n_groups, o->rounds, o->clock);
    if (o->markdown)
        printf("\n| filter, %s | passes, %% | plan | recall@10 | QPS | post-filter: recall | QPS | "
               "scan: QPS |\n| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
            set->name);
    for (size_t c = 0; c < CELLS; c++)
        for (size_t kind = FILTER_RANDOM; kind <= FILTER_FAR; kind++)
            run_cell(&b, &cells[c], (enum filter_kind)kind);
    kindred_searcher_free(b.searcher);
    kindred_free(b.index);
    filters_close(&b.filters);
    truth_close(&b.truth);
    matrix_close(&b.base);
    matrix_close(&b.query);
    for (size_t i = 0; i < b.n_groups; i++)
        mem_free(b.groups[i].bits);
    mem_free(b.groups);
    mem_free(b.also);
    mem_free(b.ids);
}

static void run_named(void *arg, const char *name)
{
    const struct options *o = arg;
    struct index_set set;
    if (index_set_find(&set, name, o->data_dir, o->n_clusters)) run_set(&set, o);
}

static void read_arguments(struct options *o, int argc, char **argv)
{
    const struct arg table[] = {
        { "--sets", ARG_TEXT, &o->sets },
        { "--data-dir", ARG_TEXT, &o->data_dir },
        { "--data", ARG_TEXT, &o->own_base },
        { "--query-data", ARG_TEXT, &o->own_query },
        { "--metric", ARG_TEXT, &o->own_metric },
        { "--clock", ARG_TEXT, &o->clock },
        { "--queries", ARG_NUMBER, &o->queries },
        { "--pivots", ARG_NUMBER, &o->pivots },
        { "--ef", ARG_NUMBER, &o->ef },
        { "--rounds", ARG_NUMBER, &o->rounds },
        { "--m", ARG_NUMBER, &o->m },
        { "--efc", ARG_NUMBER, &o->ef_construction },
        { "--build-threads", ARG_NUMBER, &o->build_threads },
        { "--clusters", ARG_NUMBER, &o->n_clusters },
        { "--markdown", ARG_FLAG, &o->markdown },
        { "--plans", ARG_FLAG, &o->plans },
        { "--keep", ARG_FLAG, &o->keep },
    };
    const char *wrong = NULL;
    args_read(table, sizeof table / sizeof table[0], "bench_index_filter.c", argc, argv);
    if (o->rounds < 1 || o->rounds > ROUNDS_MAX) wrong = "--rounds: 1 to 15";
    if (o->pivots < 1 || o->queries < 1) wrong = "--pivots, --queries: at least 1";
    if (strcmp(o->clock, "wall") != 0 && strcmp(o->clock, "cpu") != 0)
        wrong = "--clock: wall or cpu";
    if (matrix_metric_parse(o->own_metric) < 0) wrong = "--metric: cosine, dot or l2";
    if (!o->own_base != !o->own_query) wrong = "--data and --query-data belong together";
    if (!wrong) return;
    fprintf(stderr, "%s\n", wrong);
    exit(1);
}

int main(int argc, char **argv)
{
    struct options o = { .sets = "minilm,sift",
        .data_dir = "build/bench-data",
        .own_metric = "cosine",
        .clock = "wall",
        .queries = 300,
        .pivots = 256,
        .ef = 128,
        .rounds = 3,
        .m = 16,
        .ef_construction = 200,
        .build_threads = 2,
        .n_clusters = 1000000 };
    read_arguments(&o, argc, argv);
    bench_head();
    if (!o.markdown)
        printf("set,filter,correlation,share,method,plan,recall_at_10,qps,estimated\n");
    if (o.own_base) {
        snprintf(o.own.base, sizeof o.own.base, "%s", o.own_base);
        snprintf(o.own.query, sizeof o.own.query, "%s", o.own_query);
        snprintf(o.own.metric, sizeof o.own.metric, "%s", o.own_metric);
        index_set_own(&o.own);
        run_set(&o.own, &o);
    } else {
        args_each(o.sets, run_named, &o);
    }
    return 0;
}
