/* Trials of the index on somebody's own vectors; see index_trial.h.
 *
 * Exact answers come from scans of the first index, before it is linked: they are exact by the index's own contract, and
 * fast. For every graph the vectors are put anew, so that its build rate is a whole one.
 */
#include "engine/index_trial.h"

#include "base/mem.h"
#include "base/thread.h"
#include "core/learn/npy.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { K_MAX = 1000, VECTORS_MIN = 100, HELD_OUT_SHARE = 10, LINK_SLICE = 64, REPORT_EVERY = 4096 };

struct trial {
    struct trial_request rq;
    struct npy *vectors, *queries;    /* queries NULL: held out of the vectors */
    size_t n, n_queries, dim, stride; /* every stride-th row is a query; 0: none is */
    float *asked;                     /* [n_queries, dim] */
    double *least;                    /* [n_queries] score of the k-th exact hit */
    size_t *n_exact;                  /* [n_queries] hits that there are, at most k */
    double scan_s;
};

static void tell(const struct trial *t, const char *what, size_t done, size_t total)
{
    if (t->rq.progress) t->rq.progress(t->rq.arg, what, done, total);
}

static double seconds_since(int64_t start_ns)
{
    return (double)(time_mono_ns() - start_ns) / 1e9;
}

/* ---- files ---- */
static bool is_held_out(const struct trial *t, size_t row)
{
    return t->stride && row % t->stride == t->stride - 1;
}

static enum err_code choose_queries(struct trial *t, struct err *e)
{
    size_t rows = npy_rows(t->vectors);
    t->dim = npy_columns(t->vectors);
    if (t->dim < 1 || t->dim > INDEX_DIM_MAX)
        return err_set(e, ERR_INVALID, "%s: vectors of %zu values; the index takes 1 to %d",
            t->rq.vectors, t->dim, INDEX_DIM_MAX);
    if (rows < VECTORS_MIN)
        return err_set(e, ERR_INVALID, "%s: %zu vectors; at least %d are needed", t->rq.vectors,
            rows, VECTORS_MIN);
    t->n = rows;
    if (t->queries) {
        if (npy_columns(t->queries) != t->dim)
            return err_set(e, ERR_INVALID, "%s has %zu values a row, %s has %zu", t->rq.queries,
                npy_columns(t->queries), t->rq.vectors, t->dim);
        t->n_queries = npy_rows(t->queries);
        if (t->n_queries < 1) return err_set(e, ERR_INVALID, "%s holds no queries", t->rq.queries);
        if (t->n_queries > TRIAL_QUERIES_MAX) t->n_queries = TRIAL_QUERIES_MAX;
        return ERR_OK;
    }
    size_t want = rows / HELD_OUT_SHARE;
    if (want > TRIAL_QUERIES_MAX) want = TRIAL_QUERIES_MAX;
    t->stride = rows / want;
    t->n_queries = rows / t->stride;
    t->n = rows - t->n_queries;
    return ERR_OK;
}

static void read_queries(struct trial *t)
{
    size_t from = t->queries ? npy_rows(t->queries) / t->n_queries : 0;
    for (size_t i = 0; i < t->n_queries; i++) {
        float *to = t->asked + i * t->dim;
        if (t->queries)
            npy_row(t->queries, i * from, to);
        else
            npy_row(t->vectors, (i + 1) * t->stride - 1, to);
    }
}

/* ---- an index of them ---- */
static enum err_code put_all(struct trial *t, struct index *ix, double *ret_s, struct err *e)
{
    float row[INDEX_DIM_MAX];
    size_t rows = npy_rows(t->vectors), done = 0;
    int64_t start = time_mono_ns();
    for (size_t i = 0; i < rows; i++) {
        struct err why = ERR_INIT;
        if (is_held_out(t, i)) continue;
        npy_row(t->vectors, i, row);
        enum err_code code = index_put(ix, i, row, &why);
        if (code == ERR_NOMEM) return err_set(e, code, "%s", why.msg);
        if (code != ERR_OK)
            return err_set(e, ERR_INVALID, "%s, row %zu: %s", t->rq.vectors, i, why.msg);
        if (++done % (REPORT_EVERY * 8) == 0) tell(t, "reading", done, t->n);
    }
    *ret_s = seconds_since(start);
    return ERR_OK;
}

static enum err_code make_index(struct trial *t, const struct trial_shape *shape,
    struct index **ret_ix, double *ret_s, struct err *e)
{
    struct index_options o = INDEX_OPTIONS_DEFAULTS;
    struct index *ix;
    o.dim = t->dim;
    o.metric = t->rq.metric;
    o.m = shape->m;
    o.ef_construction = shape->ef_construction;
    o.bits = shape->bits;
    TRY(index_new(&o, &ix, e));
    enum err_code code = put_all(t, ix, ret_s, e);
    if (code != ERR_OK)
        index_free(ix);
    else
        *ret_ix = ix;
    return code;
}

/* ---- exact answers ---- */
/** From the file, in double: what an index keeps in fewer bits is judged by what it stands for. */
static double true_score(const struct trial *t, size_t query, uint64_t row)
{
    const float *q = t->asked + query * t->dim;
    float x[INDEX_DIM_MAX];
    double dot = 0, qq = 0, xx = 0, l2 = 0;
    npy_row(t->vectors, (size_t)row, x);
    for (size_t d = 0; d < t->dim; d++) {
        double a = (double)q[d], b = (double)x[d];
        dot += a * b;
        qq += a * a;
        xx += b * b;
        l2 += (a - b) * (a - b);
    }
    if (t->rq.metric == INDEX_L2) return -l2;
    return t->rq.metric == INDEX_DOT ? dot : dot / sqrt(qq * xx);
}

/** Hits that are as near as the last exact one, whichever of several equals they are. */
static size_t count_right(
    const struct trial *t, size_t query, const struct index_hit *hits, size_t n)
{
    double least = t->least[query], slack = 1e-6 * fabs(least);
    size_t right = 0;
    for (size_t i = 0; i < n && i < t->n_exact[query]; i++)
        right += true_score(t, query, hits[i].id) >= least - slack;
    return right;
}

static enum err_code answer_exactly(struct trial *t, struct index *ix, struct index_scratch *s,
    struct index_hit *hits, struct err *e)
{
    int64_t start = time_mono_ns();
    for (size_t i = 0; i < t->n_queries; i++) {
        struct index_query q = { .vector = t->asked + i * t->dim, .k = t->rq.k, .exact = true };
        struct err why = ERR_INIT;
        enum err_code code = index_search(ix, &q, s, hits, &t->n_exact[i], NULL, &why);
        if (code != ERR_OK) return err_set(e, code, "query %zu: %s", i, why.msg);
        t->least[i] = t->n_exact[i] ? true_score(t, i, hits[t->n_exact[i] - 1].id) : 0;
        if (i % 50 == 0) tell(t, "exact answers", i, t->n_queries);
    }
    t->scan_s = seconds_since(start);
    return ERR_OK;
}

static enum err_code find_truth(struct trial *t, struct err *e)
{
    const struct trial_shape any = { 16, 200, 24 };
    struct index *ix = NULL;
    double put_s;
    TRY(make_index(t, &any, &ix, &put_s, e));
    struct index_scratch *s = index_scratch_new();
    struct index_hit *hits = mem_alloc(t->rq.k, sizeof *hits);
    enum err_code code = s && hits ? answer_exactly(t, ix, s, hits, e)
                                   : err_set(e, ERR_NOMEM, "out of memory for a trial");
    mem_free(hits);
    index_scratch_free(s);
    index_free(ix);
    return code;
}

enum err_code trial_open(const struct trial_request *rq, struct trial **ret_t, struct err *e)
{
    if (rq->k < 1 || rq->k > K_MAX)
        return err_set(e, ERR_INVALID, "k must be between 1 and %d", K_MAX);
    struct trial *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory for a trial");
    t->rq = *rq;
    enum err_code code = npy_open(rq->vectors, &t->vectors, e);
    if (code == ERR_OK && rq->queries) code = npy_open(rq->queries, &t->queries, e);
    if (code == ERR_OK) code = choose_queries(t, e);
    if (code == ERR_OK) {
        t->asked = mem_alloc(t->n_queries * t->dim, sizeof *t->asked);
        t->least = mem_alloc(t->n_queries, sizeof *t->least);
        t->n_exact = mem_alloc(t->n_queries, sizeof *t->n_exact);
        if (!t->asked || !t->least || !t->n_exact)
            code = err_set(e, ERR_NOMEM, "out of memory for a trial");
    }
    if (code == ERR_OK) {
        read_queries(t);
        code = find_truth(t, e);
    }
    if (code != ERR_OK) {
        trial_close(t);
        return code;
    }
    *ret_t = t;
    return ERR_OK;
}

void trial_close(struct trial *t)
{
    if (!t) return;
    npy_close(t->vectors);
    npy_close(t->queries);
    mem_free(t->asked);
    mem_free(t->least);
    mem_free(t->n_exact);
    mem_free(t);
}

size_t trial_vectors(const struct trial *t)
{
    return t->n;
}
size_t trial_queries(const struct trial *t)
{
    return t->n_queries;
}
size_t trial_dimensions(const struct trial *t)
{
    return t->dim;
}
double trial_scan_qps(const struct trial *t)
{
    return t->scan_s > 0 ? (double)t->n_queries / t->scan_s : 0;
}

/* ---- a graph ---- */
struct linking {
    struct trial *t;
    struct index *ix;
    atomic_size_t done;
    struct err e; /* of one thread that failed */
    atomic_bool failed;
    bool tells; /* the calling thread's share */
};

static void link_share(struct linking *l, bool tells)
{
    struct index_scratch *s = index_scratch_new();
    struct err e = ERR_INIT;
    enum err_code code = s ? ERR_OK : err_set(&e, ERR_NOMEM, "out of memory for linking");
    for (size_t n = 1; n > 0 && code == ERR_OK && !atomic_load(&l->failed);) {
        code = index_link(l->ix, LINK_SLICE, s, &n, &e);
        if (code != ERR_OK) break;
        size_t done = atomic_fetch_add(&l->done, n) + n;
        if (tells) tell(l->t, "linking", done, l->t->n);
    }
    if (code != ERR_OK && !atomic_exchange(&l->failed, true)) l->e = e;
    index_scratch_free(s);
}

static void link_thread(void *arg)
{
    link_share(arg, false);
}

static enum err_code link_all(struct trial *t, struct index *ix, double *ret_s, struct err *e)
{
    enum { THREADS_MAX = 64 };
    struct linking l = { .t = t, .ix = ix };
    struct thread threads[THREADS_MAX];
    unsigned n = t->rq.threads < THREADS_MAX ? t->rq.threads : THREADS_MAX, started = 1;
    int64_t start = time_mono_ns();
    for (; started < n; started++)
        if (thread_start(&threads[started], "link", link_thread, &l, NULL) != ERR_OK) break;
    link_share(&l, true);
    for (unsigned i = 1; i < started; i++)
        thread_join(&threads[i]);
    *ret_s = seconds_since(start);
    return atomic_load(&l.failed) ? err_set(e, l.e.code, "%s", l.e.msg) : ERR_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** Work of one measuring: hits and times. */
struct bench_room {
    struct index_scratch *s;
    struct index_hit *hits; /* [k] */
    double *us;             /* [n_queries] */
};

static enum err_code measure_point(const struct trial *t, const struct index *ix, size_t ef,
    struct bench_room *room, struct trial_point *ret, struct err *e)
{
    double right = 0, asked = 0, total = 0;
    for (size_t i = 0; i < t->n_queries; i++) {
        struct index_query q = { .vector = t->asked + i * t->dim, .k = t->rq.k, .ef = ef };
        size_t n;
        int64_t start = time_mono_ns();
        TRY(index_search(ix, &q, room->s, room->hits, &n, NULL, e));
        room->us[i] = seconds_since(start) * 1e6;
        total += room->us[i];
        right += (double)count_right(t, i, room->hits, n);
        asked += (double)t->n_exact[i];
    }
    qsort(room->us, t->n_queries, sizeof *room->us, by_value);
    *ret = (struct trial_point){ .ef = ef,
        .recall = asked > 0 ? right / asked : 1,
        .qps = total > 0 ? 1e6 * (double)t->n_queries / total : 0,
        .p50_us = room->us[t->n_queries / 2],
        .p99_us = room->us[t->n_queries * 99 / 100] };
    return ERR_OK;
}

static enum err_code measure(struct trial *t, const struct index *ix, struct bench_room *room,
    struct trial_graph *g, struct err *e)
{
    static const size_t ladder[] = { 10, 16, 32, 64, 128, 256, 512, 1024, 2048 };
    const double enough = 0.9995;
    for (size_t i = 0; i < sizeof ladder / sizeof *ladder && g->n_points < TRIAL_POINTS; i++) {
        if (ladder[i] < t->rq.k) continue;
        tell(t, "searching", i, sizeof ladder / sizeof *ladder);
        TRY(measure_point(t, ix, ladder[i], room, &g->points[g->n_points], e));
        if (g->points[g->n_points++].recall >= enough) break;
    }
    return ERR_OK;
}

static enum err_code build_and_measure(struct trial *t, struct index *ix, struct bench_room *room,
    struct trial_graph *g, struct err *e)
{
    struct index_stats st;
    TRY(link_all(t, ix, &g->link_s, e));
    index_stats(ix, &st);
    g->bytes = st.size_bytes;
    return measure(t, ix, room, g, e);
}

enum err_code trial_graph(
    struct trial *t, const struct trial_shape *shape, struct trial_graph *ret, struct err *e)
{
    struct trial_graph g = { .shape = *shape };
    struct index *ix = NULL;
    TRY(make_index(t, shape, &ix, &g.put_s, e));
    struct bench_room room = { .s = index_scratch_new(),
        .hits = mem_alloc(t->rq.k, sizeof *room.hits),
        .us = mem_alloc(t->n_queries, sizeof *room.us) };
    enum err_code code = room.s && room.hits && room.us
        ? build_and_measure(t, ix, &room, &g, e)
        : err_set(e, ERR_NOMEM, "out of memory for a trial");
    index_scratch_free(room.s);
    mem_free(room.hits);
    mem_free(room.us);
    index_free(ix);
    if (code == ERR_OK) *ret = g;
    return code;
}

/* ---- between two points ---- */
static double loss(double recall)
{
    const double most = 0.99995;
    return -log(1 - (recall < most ? recall : most));
}

double trial_qps_at(const struct trial_graph *g, double recall, size_t *ret_ef)
{
    size_t p = 0;
    while (p < g->n_points && g->points[p].recall < recall)
        p++;
    if (p == g->n_points) return 0;
    const struct trial_point *b = &g->points[p], *a = p ? b - 1 : b;
    double span = loss(b->recall) - loss(a->recall);
    double share = span > 0 ? (loss(recall) - loss(a->recall)) / span : 1;
    *ret_ef =
        (size_t)ceil(exp(log((double)a->ef) + share * (log((double)b->ef) - log((double)a->ef))));
    return exp(log(a->qps) + share * (log(b->qps) - log(a->qps)));
}
