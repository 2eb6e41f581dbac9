/* An index that is replaced again and again while it is searched: recall, latency and memory at each turnover.
 *
 *   bench_index_churn [--sets minilm,sift] [--data-dir build/bench-data] [--turnovers 10] [--ef 64] [--m 16] [--efc 200]
 *                     [--options bits=24] [--fresh-every 5] [--clusters N] [--markdown]
 *
 * The set's vectors are two halves. One is in the index; a turnover replaces each of its vectors by one of the other half,
 * which is then what is in it: every other one by a put under the same id, the rest by a delete and a put under a new
 * id, in random order. Meanwhile one thread links, one does upkeep (index_maintain), and one searches all the time: four threads,
 * however many cores there are. The writer waits while more than PENDING_MOST vectors are not linked, as the server does.
 *
 * At the end of a turnover, when all is linked: recall@10 at --ef against an exact scan of the same index; latencies
 * of the searches during the turnover; resident memory; and every --fresh-every turnovers the recall of an index that
 * was built from the same vectors at once.
 *
 * CSV: set,turnover,recall_at_10,fresh_recall_at_10,p50_us,p99_us,searches,replaced_per_s,rss_mb,index_mb,deleted,vacant,repairs
 */
#include "bench/args.h"
#include "bench/head.h"
#include "bench/index_kindred.h"
#include "bench/index_sets.h"
#include "bench/memory.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { K = 10, PENDING_MOST = 2000, LINK_SLICE = 32, UPKEEP_SLICE = 256, TIMES_MAX = 1 << 21 };

struct options {
    const char *sets, *folder, *options;
    size_t turnovers, ef, m, ef_construction, fresh_every, n_clusters;
    bool markdown;
};

struct churn {
    const struct options *o;
    struct matrix base, query;
    struct kindred_options ko;
    struct kindred *x;
    size_t half;      /* vectors in the index */
    uint64_t *ids;    /* [half] id of each */
    uint64_t next_id; /* of vectors that get a new one */
    struct rng r;
    atomic_bool stop;
    double *us; /* [TIMES_MAX], by the searching thread while a turnover runs */
    atomic_size_t n_us;
};

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "bench_index_churn: out of memory\n");
    exit(1);
}

static double now_s(void)
{
    return (double)time_mono_ns() / 1e9;
}

static void rest(void)
{
    const struct timespec moment = { .tv_nsec = 500000 };
    (void)nanosleep(&moment, NULL);
}

/** Row i of the half that is in the index after so many turnovers. */
static const float *row_of(const struct churn *c, size_t turnover, size_t i)
{
    return c->base.v + (i + (turnover % 2) * c->half) * c->base.dim;
}

/* ---- beside the writer ---- */
static void link_on(void *arg)
{
    struct churn *c = arg;
    struct kindred_searcher *s = kindred_searcher_new();
    while (!atomic_load(&c->stop))
        if (kindred_link_some(c->x, LINK_SLICE, s) == 0) rest();
    kindred_searcher_free(s);
}

static void upkeep(void *arg)
{
    struct churn *c = arg;
    struct kindred_searcher *s = kindred_searcher_new();
    while (!atomic_load(&c->stop))
        if (kindred_maintain(c->x, UPKEEP_SLICE, s) == 0) rest();
    kindred_searcher_free(s);
}

static void search_on(void *arg)
{
    struct churn *c = arg;
    struct kindred_searcher *s = kindred_searcher_new();
    for (size_t i = 0; !atomic_load(&c->stop); i++) {
        uint64_t ids[K];
        const struct kindred_query q = {
            .vector = c->query.v + i % c->query.n * c->query.dim, .k = K, .ef = c->o->ef
        };
        int64_t start = time_mono_ns();
        (void)kindred_search(c->x, &q, s, ids);
        size_t at = atomic_load(&c->n_us);
        if (at == TIMES_MAX) continue;
        c->us[at] = (double)(time_mono_ns() - start) / 1e3;
        atomic_store(&c->n_us, at + 1);
    }
    kindred_searcher_free(s);
}

/* ---- a turnover ---- */
static size_t pending(const struct churn *c)
{
    struct kindred_stats st;
    kindred_stats(c->x, &st);
    return st.pending;
}

static void replace_all(struct churn *c, size_t turnover, uint32_t *order)
{
    for (size_t i = 0; i < c->half; i++)
        order[i] = (uint32_t)i;
    for (size_t i = c->half; i > 1; i--) {
        size_t j = rng_below(&c->r, i);
        uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
    for (size_t at = 0; at < c->half; at++) {
        size_t i = order[at];
        if (at % 2) { /* a new item in place of an old one */
            kindred_delete(c->x, c->ids[i]);
            c->ids[i] = c->next_id++;
        }
        kindred_put(c->x, c->ids[i], row_of(c, turnover, i));
        while (at % 64 == 0 && pending(c) > PENDING_MOST)
            rest();
    }
    while (pending(c) > 0)
        rest();
}

/* ---- figures ---- */
static double recall(const struct churn *c, const struct kindred *x)
{
    struct kindred_searcher *s = kindred_searcher_new();
    size_t right = 0, asked = 0;
    for (size_t i = 0; i < c->query.n; i++) {
        uint64_t want[K], got[K];
        struct kindred_query q = { .vector = c->query.v + i * c->query.dim, .k = K, .exact = true };
        size_t n_want = kindred_search(x, &q, s, want);
        q.exact = false;
        q.ef = c->o->ef;
        size_t n_got = kindred_search(x, &q, s, got);
        for (size_t a = 0; a < n_got; a++)
            for (size_t b = 0; b < n_want; b++)
                right += got[a] == want[b];
        asked += n_want;
    }
    kindred_searcher_free(s);
    return asked ? (double)right / (double)asked : 1;
}

static double fresh_recall(const struct churn *c, size_t turnover)
{
    struct matrix content = { .v = row_of(c, turnover, 0), .n = c->half, .dim = c->base.dim };
    struct kindred *x = kindred_of(&content, &c->ko, 2, NULL);
    double r = recall(c, x);
    kindred_free(x);
    (void)malloc_trim(0);
    return r;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(
    const struct churn *c, const char *set, size_t turnover, double rate, size_t n_us)
{
    struct kindred_stats st;
    struct memory memory;
    char fresh[16] = "";
    kindred_stats(c->x, &st);
    memory_read(&memory);
    qsort(c->us, n_us, sizeof *c->us, by_value);
    double p50 = n_us ? c->us[n_us / 2] : 0, p99 = n_us ? c->us[n_us * 99 / 100] : 0;
    double r = recall(c, c->x);
    if (turnover % c->o->fresh_every == 0)
        snprintf(fresh, sizeof fresh, "%.4f", fresh_recall(c, turnover));
    printf(c->o->markdown ? "| %s | %zu | %.4f | %s | %.0f | %.0f | %zu | %.0f | %.1f | %.1f | %zu "
                            "| %zu | %zu |\n"
                          : "%s,%zu,%.4f,%s,%.0f,%.0f,%zu,%.0f,%.1f,%.1f,%zu,%zu,%zu\n",
        set, turnover, r, fresh, p50, p99, n_us, rate, (double)memory.anon_kib / 1000,
        (double)st.size_bytes / 1e6, st.deleted, st.vacant, st.repairs);
    fflush(stdout);
}

static void turn(struct churn *c, const char *set)
{
    struct err e = ERR_INIT;
    void (*const beside[])(void *arg) = { link_on, upkeep, search_on };
    struct thread t[3];
    uint32_t *order = must(mem_alloc(c->half, sizeof *order));
    print_row(c, set, 0, 0, 0);
    for (size_t n = 1; n <= c->o->turnovers; n++) {
        atomic_store(&c->stop, false);
        atomic_store(&c->n_us, 0);
        for (size_t i = 0; i < 3; i++)
            if (thread_start(&t[i], "beside", beside[i], c, &e) != ERR_OK) must(NULL);
        double start = now_s();
        replace_all(c, n, order);
        double rate = (double)c->half / (now_s() - start);
        atomic_store(&c->stop, true);
        for (size_t i = 0; i < 3; i++)
            thread_join(&t[i]);
        print_row(c, set, n, rate, atomic_load(&c->n_us));
    }
    mem_free(order);
}

static void run_set(void *arg, const char *name)
{
    const struct options *o = arg;
    struct index_set set;
    struct churn c = { .o = o };
    if (!index_set_find(&set, name, o->folder, o->n_clusters)) return;
    index_set_open(&set, &c.base, &c.query);
    c.ko = (struct kindred_options){ c.base.dim, o->m, o->ef_construction,
        (enum matrix_metric)matrix_metric_parse(set.metric), o->options };
    rng_init(&c.r, 1);
    c.half = c.base.n / 2;
    c.next_id = c.half;
    c.ids = must(mem_alloc(c.half, sizeof *c.ids));
    c.us = must(mem_alloc(TIMES_MAX, sizeof *c.us));
    memset(c.us, 0, TIMES_MAX * sizeof *c.us); /* its pages are there before memory is read */
    for (size_t i = 0; i < c.half; i++)
        c.ids[i] = i;
    struct matrix first = { .v = row_of(&c, 0, 0), .n = c.half, .dim = c.base.dim };
    c.x = kindred_of(&first, &c.ko, 2, NULL);
    turn(&c, name);
    kindred_verify(c.x);
    kindred_free(c.x);
    mem_free(c.ids);
    mem_free(c.us);
    matrix_close(&c.base);
    matrix_close(&c.query);
}

int main(int argc, char **argv)
{
    struct options o = { .sets = "minilm,sift",
        .folder = "build/bench-data",
        .options = "",
        .turnovers = 10,
        .ef = 64,
        .m = 16,
        .ef_construction = 200,
        .fresh_every = 5,
        .n_clusters = 200000 };
    const struct arg table[] = {
        { "--sets", ARG_TEXT, &o.sets },
        { "--data-dir", ARG_TEXT, &o.folder },
        { "--options", ARG_TEXT, &o.options },
        { "--turnovers", ARG_NUMBER, &o.turnovers },
        { "--ef", ARG_NUMBER, &o.ef },
        { "--m", ARG_NUMBER, &o.m },
        { "--efc", ARG_NUMBER, &o.ef_construction },
        { "--fresh-every", ARG_NUMBER, &o.fresh_every },
        { "--clusters", ARG_NUMBER, &o.n_clusters },
        { "--markdown", ARG_FLAG, &o.markdown },
    };
    args_read(table, sizeof table / sizeof *table, "bench_index_churn.c", argc, argv);
    if (o.fresh_every == 0) o.fresh_every = o.turnovers + 1;
    bench_head();
    if (o.markdown)
        printf("| set | turnover | recall@10 | fresh | p50 us | p99 us | searches | replaced/s | "
               "RSS MB | index MB | "
               "deleted | vacant | repairs "
               "|\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    else
        printf("set,turnover,recall_at_10,fresh_recall_at_10,p50_us,p99_us,searches,replaced_per_s,"
               "rss_mb,index_mb,deleted,vacant,repairs\n");
    args_each(o.sets, run_set, &o);
    return 0;
}
