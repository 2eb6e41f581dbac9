/* Speed of the vector kernels: every table this machine has, at several lengths, with the rows in the
 * first-level cache (`set` cached: 8 rows) and out of all caches (`far`: 256 MiB of rows in random order).
 *
 * Prints CSV: commit,table,kernel,set,dim,ns_per_row,gb_per_s,vs_scalar. The best of five rounds counts; a
 * row of dot4 and l2sq4 is a quarter of a call; GB/s counts the bytes of the rows, not of the query.
 * Arguments: dimensions (64 256 384 768).
 */
#include "bench/head.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "base/vecmath.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHED_ROWS = 8, ROUNDS = 5, BLOCK = 1 << 16 };
static const size_t FAR_BYTES = (size_t)256 << 20;

/* The rows of one set, and the order in which a block visits them. */
struct set {
    const char *name;
    const float *rows;
    const uint16_t *halves;
    float *out;
    size_t dim;
    uint32_t order[BLOCK];
};

static volatile float sink; /* keeps results alive */

static const float *row(const struct set *t, size_t i)
{
    return t->rows + t->order[i] * t->dim;
}

static void run_dot(const struct vec_kernels *k, const struct set *t, const float *q)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += k->dot(q, row(t, i), t->dim);
    sink = sum;
}

static void run_l2sq(const struct vec_kernels *k, const struct set *t, const float *q)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += k->l2sq(q, row(t, i), t->dim);
    sink = sum;
}

static void run_dot4(const struct vec_kernels *k, const struct set *t, const float *q)
{
    float ret[4], sum = 0;
    for (size_t i = 0; i < BLOCK; i += 4) {
        const float *rows[4] = { row(t, i), row(t, i + 1), row(t, i + 2), row(t, i + 3) };
        k->dot4(q, rows, t->dim, ret);
        sum += ret[0] + ret[3];
    }
    sink = sum;
}

static void run_l2sq4(const struct vec_kernels *k, const struct set *t, const float *q)
{
    float ret[4], sum = 0;
    for (size_t i = 0; i < BLOCK; i += 4) {
        const float *rows[4] = { row(t, i), row(t, i + 1), row(t, i + 2), row(t, i + 3) };
        k->l2sq4(q, rows, t->dim, ret);
        sum += ret[0] + ret[3];
    }
    sink = sum;
}

static void run_axpy(const struct vec_kernels *k, const struct set *t, const float *q)
{
    (void)q;
    for (size_t i = 0; i < BLOCK; i++)
        k->axpy(t->out, 1e-6f, row(t, i), t->dim);
}

static void run_add_f16(const struct vec_kernels *k, const struct set *t, const float *q)
{
    (void)q;
    for (size_t i = 0; i < BLOCK; i++)
        k->add_f16(t->out, t->halves + t->order[i] * t->dim, t->dim);
}

static void run_scale(const struct vec_kernels *k, const struct set *t, const float *q)
{
    (void)q;
    for (size_t i = 0; i < BLOCK; i++)
        k->scale(t->out, row(t, i), 0.5f, t->dim);
}

static void run_f16(const struct vec_kernels *k, const struct set *t, const float *q)
{
    (void)q;
    for (size_t i = 0; i < BLOCK; i++)
        k->f16_to_f32(t->out, t->halves + t->order[i] * t->dim, t->dim);
}

static const struct {
    const char *name;
    void (*run)(const struct vec_kernels *k, const struct set *t, const float *q);
    size_t value_bytes;
} kernels[] = { { "dot", run_dot, 4 }, { "l2sq", run_l2sq, 4 }, { "dot4", run_dot4, 4 },
    { "l2sq4", run_l2sq4, 4 }, { "axpy", run_axpy, 4 }, { "add_f16", run_add_f16, 2 },
    { "scale", run_scale, 4 }, { "f16_to_f32", run_f16, 2 } };

static void measure(const struct set *t, const float *q)
{
    for (size_t j = 0; j < sizeof kernels / sizeof kernels[0]; j++) {
        double scalar = 0;
        for (const struct vec_kernels *const *k = vec_all(); *k; k++) {
            int64_t best = INT64_MAX;
            for (int round = 0; round < ROUNDS; round++) {
                memset(t->out, 0, t->dim * sizeof *t->out);
                int64_t start = time_mono_ns();
                kernels[j].run(*k, t, q);
                int64_t took = time_mono_ns() - start;
                if (took < best) best = took;
            }
            double ns = (double)best / BLOCK;
            if ((*k)->level == VEC_SCALAR) scalar = ns;
            printf("%s,%s,%s,%zu,%.1f,%.1f,%.1f\n", (*k)->name, kernels[j].name, t->name, t->dim,
                ns, (double)(t->dim * kernels[j].value_bytes) / ns, scalar / ns);
        }
    }
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = { "64", "256", "384", "768" };
    const char *const *dims = argc > 1 ? (const char *const *)argv + 1 : defaults;
    int n_dims = argc > 1 ? argc - 1 : (int)(sizeof defaults / sizeof defaults[0]);
    size_t values = FAR_BYTES / sizeof(float);
    float *rows = mem_alloc(values, sizeof *rows), *q = mem_alloc(65536, sizeof *q);
    uint16_t *halves = mem_alloc(values, sizeof *halves);
    struct set *t = mem_zalloc(1, sizeof *t);
    float *out = mem_zalloc(65536, sizeof *out);
    struct rng r;

    if (!rows || !halves || !t || !q || !out) {
        (void)fprintf(stderr, "bench_vecmath: out of memory\n");
        return 1;
    }
    rng_init(&r, 1);
    for (size_t i = 0; i < values; i++) {
        rows[i] = (float)rng_unit(&r) - 0.5f;
        halves[i] = f32_to_f16(rows[i]);
    }
    memcpy(q, rows, 65536 * sizeof *q);
    t->rows = rows;
    t->halves = halves;
    t->out = out;
    bench_head();
    printf("table,kernel,set,dim,ns_per_row,gb_per_s,vs_scalar\n");
    for (int d = 0; d < n_dims; d++) {
        t->dim = (size_t)strtoul(dims[d], NULL, 10);
        if (t->dim == 0 || t->dim > 65536) {
            (void)fprintf(stderr, "bench_vecmath: dimensions from 1 to 65536, not %s\n", dims[d]);
            return 1;
        }
        t->name = "cached";
        for (uint32_t i = 0; i < BLOCK; i++)
            t->order[i] = i % CACHED_ROWS;
        measure(t, q);
        t->name = "far";
        for (uint32_t i = 0; i < BLOCK; i++)
            t->order[i] = (uint32_t)rng_below(&r, values / t->dim);
        measure(t, q);
    }
    mem_free(rows);
    mem_free(halves);
    mem_free(q);
    mem_free(out);
    mem_free(t);
    return 0;
}
