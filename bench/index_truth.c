#include "bench/index_truth.h"

#include "base/mem.h"
#include "base/vecmath.h"
#include "bench/index_worker.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Queries that one thread takes at a time, and rows that stay in its cache meanwhile. */
enum { QUERIES_EACH = 64, TILE = 256 };

/* Head of a truth file: what it was made from; then ids, then `least`. */
struct stamp {
    char magic[8];
    uint64_t n, dim, queries, metric, sum;
};

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "truth: no memory\n");
    exit(1);
}

/* Some values of both matrices, mixed: other data under the same names is noticed. */
static uint64_t sum_of(const struct matrix *m)
{
    uint64_t sum = 14695981039346656037u;
    size_t values = m->n * m->dim, step = values / 4099 + 1;
    for (size_t i = 0; i < values; i += step) {
        uint32_t bits;
        memcpy(&bits, &m->v[i], sizeof bits);
        sum = (sum ^ bits) * 1099511628211u;
    }
    return sum;
}

/* ---- computing ---- */
struct best {
    float score[TRUTH_K];
    uint32_t id[TRUTH_K];
    size_t n;
};

static void offer(struct best *b, float score, uint32_t id)
{
    if (b->n == TRUTH_K && score <= b->score[TRUTH_K - 1]) return;
    size_t at = b->n < TRUTH_K ? b->n++ : TRUTH_K - 1;
    for (; at > 0 && b->score[at - 1] < score; at--) {
        b->score[at] = b->score[at - 1];
        b->id[at] = b->id[at - 1];
    }
    b->score[at] = score;
    b->id[at] = id;
}

static void scores4(const struct truth *t, const struct vec_kernels *k, const float *q,
    const uint32_t ids[4], float ret[4])
{
    const float *rows[4];
    for (size_t j = 0; j < 4; j++)
        rows[j] = t->base->v + ids[j] * t->base->dim;
    if (t->metric == MATRIX_L2)
        k->l2sq4(q, rows, t->base->dim, ret);
    else
        k->dot4(q, rows, t->base->dim, ret);
    for (size_t j = 0; j < 4; j++) {
        if (t->metric == MATRIX_L2) ret[j] = -ret[j];
        if (t->scale) ret[j] *= t->scale[ids[j]];
    }
}

/* Compare a query with the rows from first to end; ids NULL: all rows. */
static void compare(const struct truth *t, const struct vec_kernels *k, size_t query,
    const uint32_t *ids, size_t first, size_t end, struct best *b)
{
    for (size_t i = first; i < end; i += 4) {
        uint32_t four[4];
        float s[4];
        for (size_t j = 0; j < 4; j++) { /* past the end: the last one again */
            size_t at = i + j < end ? i + j : end - 1;
            four[j] = ids ? ids[at] : (uint32_t)at;
        }
        scores4(t, k, t->query->v + query * t->query->dim, four, s);
        for (size_t j = 0; j < 4 && i + j < end; j++)
            offer(b, s[j], four[j]);
    }
}

static void search_some(void *arg, size_t part)
{
    struct truth *t = arg;
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t first = part * QUERIES_EACH;
    size_t end = first + QUERIES_EACH < t->query->n ? first + QUERIES_EACH : t->query->n;
    struct best best[QUERIES_EACH];
    memset(best, 0, sizeof best);
    for (size_t tile = 0; tile < t->base->n; tile += TILE)
        for (size_t q = first; q < end; q++)
            compare(t, k, q, NULL, tile, tile + TILE < t->base->n ? tile + TILE : t->base->n,
                &best[q - first]);
    for (size_t q = first; q < end; q++) {
        memcpy(t->ids + q * TRUTH_K, best[q - first].id, sizeof best->id);
        t->least[q] = best[q - first].score[TRUTH_K - 1];
    }
}

static void measure_scale(struct truth *t)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t dim = t->base->dim;
    t->scale = must(mem_alloc(t->base->n, sizeof *t->scale));
    for (size_t i = 0; i < t->base->n; i++) {
        const float *row = t->base->v + i * dim;
        float square = k->dot(row, row, dim);
        t->scale[i] = square > 0 ? 1 / sqrtf(square) : 0;
    }
}

/* ---- the file ---- */
static bool read_file(struct truth *t, const char *path, const struct stamp *want)
{
    struct stamp have;
    size_t n = t->query->n;
    FILE *f = fopen(path, "rbe");
    bool ok = f && fread(&have, sizeof have, 1, f) == 1 && memcmp(&have, want, sizeof have) == 0 &&
        fread(t->ids, sizeof *t->ids * TRUTH_K, n, f) == n &&
        fread(t->least, sizeof *t->least, n, f) == n;
    if (f) (void)fclose(f);
    return ok;
}

static void write_file(const struct truth *t, const char *path, const struct stamp *stamp)
{
    size_t n = t->query->n;
    FILE *f = fopen(path, "wbe");
    bool ok = f && fwrite(stamp, sizeof *stamp, 1, f) == 1 &&
        fwrite(t->ids, sizeof *t->ids * TRUTH_K, n, f) == n &&
        fwrite(t->least, sizeof *t->least, n, f) == n;
    if (f && fclose(f) != 0) ok = false;
    if (!ok) perror(path); /* the next run computes it again */
}

void truth_open(struct truth *t, const struct matrix *base, const struct matrix *query,
    enum matrix_metric metric, const char *path, unsigned threads)
{
    struct stamp stamp = { "truth1", base->n, base->dim, query->n, metric,
        sum_of(base) ^ (sum_of(query) * 3) };
    *t = (struct truth){ .base = base, .query = query, .metric = metric };
    if (base->n < TRUTH_K) {
        fprintf(stderr, "truth: fewer than %d vectors\n", TRUTH_K);
        exit(1);
    }
    t->ids = must(mem_alloc(query->n * TRUTH_K, sizeof *t->ids));
    t->least = must(mem_alloc(query->n, sizeof *t->least));
    if (metric == MATRIX_COSINE) measure_scale(t);
    if (read_file(t, path, &stamp)) return;
    fprintf(stderr, "comparing %zu queries with %zu vectors\n", query->n, base->n);
    worker_parallel((query->n + QUERIES_EACH - 1) / QUERIES_EACH, 1, threads, search_some, t);
    write_file(t, path, &stamp);
}

void truth_close(struct truth *t)
{
    mem_free(t->scale);
    mem_free(t->ids);
    mem_free(t->least);
    *t = (struct truth){ 0 };
}

/* ---- recall ---- */
float truth_score(const struct truth *t, size_t query, uint32_t id)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t dim = t->base->dim;
    const float *q = t->query->v + query * dim, *row = t->base->v + id * dim;
    if (t->metric == MATRIX_L2) return -k->l2sq(q, row, dim);
    return k->dot(q, row, dim) * (t->scale ? t->scale[id] : 1);
}

void truth_least_among(const struct truth *t, const uint32_t *queries, size_t n_queries,
    const uint32_t *ids, size_t n, float *ret_least)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    struct best *best = must(mem_zalloc(n_queries, sizeof *best));
    for (size_t tile = 0; tile < n; tile += TILE)
        for (size_t q = 0; q < n_queries; q++)
            compare(t, k, queries[q], ids, tile, tile + TILE < n ? tile + TILE : n, &best[q]);
    for (size_t q = 0; q < n_queries; q++)
        ret_least[q] = best[q].score[TRUTH_K - 1];
    mem_free(best);
}

double truth_recall_from(
    const struct truth *t, size_t query, float least, const uint32_t *ids, size_t n)
{
    /* Kernels for one row and for four round differently. */
    least -= 1e-6f * fabsf(least);
    size_t right = 0;
    for (size_t i = 0; i < n && i < TRUTH_K; i++) {
        bool counts = ids[i] < t->base->n && truth_score(t, query, ids[i]) >= least;
        for (size_t j = 0; j < i && counts; j++)
            counts = ids[j] != ids[i];
        right += counts;
    }
    return (double)right / TRUTH_K;
}

double truth_recall(const struct truth *t, size_t query, const uint32_t *ids, size_t n)
{
    return truth_recall_from(t, query, t->least[query], ids, n);
}
