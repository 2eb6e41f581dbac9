#include "bench/index_filters.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/vecmath.h"
#include "bench/index_worker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "filters: no memory\n");
    exit(1);
}

/* ---- which pivot is nearest ---- */
struct nearest_job {
    const struct filters *f;
    const struct matrix *rows;
    uint32_t *ret;
};

/* Higher is nearer; v need not be of length 1. */
static float nearness(const struct filters *f, size_t pivot, const float *v)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    size_t dim = f->t->base->dim;
    const float *p = f->pivots + pivot * dim;
    return f->t->metric == MATRIX_COSINE ? k->dot(p, v, dim) : -k->l2sq(p, v, dim);
}

static void find_nearest(void *arg, size_t row)
{
    struct nearest_job *j = arg;
    const float *v = j->rows->v + row * j->rows->dim;
    float most = -INFINITY;
    for (size_t p = 0; p < j->f->n_pivots; p++) {
        float near = nearness(j->f, p, v);
        if (near <= most) continue;
        most = near;
        j->ret[row] = (uint32_t)p;
    }
}

static void choose_pivots(struct filters *f, struct rng *r)
{
    const struct matrix *base = f->t->base;
    f->pivots = must(mem_alloc(f->n_pivots * base->dim, sizeof *f->pivots));
    for (size_t p = 0; p < f->n_pivots; p++) {
        float *to = f->pivots + p * base->dim;
        memcpy(to, base->v + rng_below(r, base->n) * base->dim, base->dim * sizeof *to);
        if (f->t->metric == MATRIX_COSINE) worker_normalize(to, to, base->dim);
    }
}

static void sort_by_pivot(struct filters *f, const uint32_t *pivot_of, struct rng *r)
{
    size_t n = f->t->base->n;
    uint32_t *shuffled = must(mem_alloc(n, sizeof *shuffled));
    size_t *at = must(mem_alloc(f->n_pivots, sizeof *at));
    f->order = must(mem_alloc(n, sizeof *f->order));
    f->start = must(mem_zalloc(f->n_pivots + 1, sizeof *f->start));
    for (size_t i = 0; i < n; i++) {
        shuffled[i] = (uint32_t)i;
        f->start[pivot_of[i] + 1]++;
    }
    rng_shuffle_u32(r, shuffled, n);
    for (size_t p = 0; p < f->n_pivots; p++) {
        f->start[p + 1] += f->start[p];
        at[p] = f->start[p];
    }
    for (size_t i = 0; i < n; i++)
        f->order[at[pivot_of[shuffled[i]]]++] = shuffled[i];
    mem_free(shuffled);
    mem_free(at);
}

void filters_open(struct filters *f, const struct truth *t, size_t n_pivots, unsigned threads)
{
    struct rng r;
    rng_init(&r, 5);
    *f = (struct filters){ .t = t, .n_pivots = n_pivots };
    choose_pivots(f, &r);
    uint32_t *pivot_of = must(mem_zalloc(t->base->n, sizeof *pivot_of));
    f->query_pivot = must(mem_zalloc(t->query->n, sizeof *f->query_pivot));
    struct nearest_job rows = { f, t->base, pivot_of }, queries = { f, t->query, f->query_pivot };
    worker_parallel(t->base->n, 1024, threads, find_nearest, &rows);
    worker_parallel(t->query->n, 16, threads, find_nearest, &queries);
    sort_by_pivot(f, pivot_of, &r);
    mem_free(pivot_of);
}

void filters_close(struct filters *f)
{
    mem_free(f->pivots);
    mem_free(f->order);
    mem_free(f->start);
    mem_free(f->query_pivot);
    *f = (struct filters){ 0 };
}

/* ---- filters ---- */
struct ranked {
    float nearness;
    size_t pivot;
};

static int nearest_first(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    return (a->nearness < b->nearness) - (a->nearness > b->nearness);
}

static void make_random(size_t n, double share, uint64_t seed, uint64_t *bits)
{
    struct rng r;
    rng_init(&r, seed);
    for (size_t i = 0; i < n; i++)
        if (rng_unit(&r) < share) bits[i / 64] |= UINT64_C(1) << i % 64;
}

void filter_make(const struct filters *f, enum filter_kind kind, double share, size_t pivot,
    uint64_t seed, uint64_t *ret_bits)
{
    size_t n = f->t->base->n, left = (size_t)(share * (double)n);
    memset(ret_bits, 0, (n + 63) / 64 * sizeof *ret_bits);
    if (kind == FILTER_RANDOM) {
        make_random(n, share, seed, ret_bits);
        return;
    }
    struct ranked *ranked = must(mem_alloc(f->n_pivots, sizeof *ranked));
    for (size_t p = 0; p < f->n_pivots; p++) {
        float near = nearness(f, p, f->pivots + pivot * f->t->base->dim);
        ranked[p] = (struct ranked){ kind == FILTER_NEAR ? near : -near, p };
    }
    qsort(ranked, f->n_pivots, sizeof *ranked, nearest_first);
    for (size_t i = 0; i < f->n_pivots && left > 0; i++)
        for (size_t at = f->start[ranked[i].pivot]; at < f->start[ranked[i].pivot + 1] && left > 0;
             at++, left--)
            ret_bits[f->order[at] / 64] |= UINT64_C(1) << f->order[at] % 64;
    mem_free(ranked);
}
