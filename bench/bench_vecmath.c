/* Speed of the vector kernels: every table this machine has, at several lengths, with the rows in the
 * first-level cache (`set` cached: 8 rows) and out of all caches (`far`: 256 MiB of rows in random order).
 *
 * Prints CSV: table,kernel,set,dim,ns_per_row,gb_per_s,vs_scalar. The best of five rounds counts; a row of dot4,
 * l2sq4 and code_*4 is a quarter of a call; GB/s counts the bytes of the rows, not of the query. The kernels over
 * quantised vectors are those named code_*, up to 4096 dimensions; their rows begin at multiples of 64 bytes, and
 * 64 MiB of codes are far, with 128 MiB of lower bits of 24-bit values.
 * code_hadamard is of the greatest order that fits, which stands as its dim.
 * Arguments: dimensions (64 256 384 768).
 */
#include "bench/head.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "base/veccode.h"
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

/* What the kernels over quantised vectors read: the bytes of t->rows as codes, those of t->halves as lower bits,
 * whatever they mean, and a query that is set up for CODE_DIM_MAX. */
struct code_set {
    const struct set *t;
    const uint8_t *hi, *lo;
    size_t stride; /* from row to row, in values */
    const float *q;
    struct code_query query;
};

static size_t code_at(const struct code_set *c, size_t i)
{
    return c->t->order[i] * c->stride;
}

static void run_query_dot4(const struct code_kernels *k, const struct code_set *c)
{
    float ret[4], sum = 0;
    for (size_t i = 0; i < BLOCK; i += 4) {
        const uint8_t *rows[4] = { c->hi + code_at(c, i), c->hi + code_at(c, i + 1),
            c->hi + code_at(c, i + 2), c->hi + code_at(c, i + 3) };
        k->query_dot4(&c->query, rows, c->t->dim, ret);
        sum += ret[0] + ret[3];
    }
    sink = sum;
}

static void run_code_dot4(const struct code_kernels *k, const struct code_set *c)
{
    int32_t ret[4];
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i += 4) {
        const uint8_t *rows[4] = { c->hi + code_at(c, i), c->hi + code_at(c, i + 1),
            c->hi + code_at(c, i + 2), c->hi + code_at(c, i + 3) };
        k->dot4(c->hi, rows, c->t->dim, ret);
        sum += (float)(ret[0] ^ ret[3]);
    }
    sink = sum;
}

static void run_dot_fixed24(const struct code_kernels *k, const struct code_set *c)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        sum +=
            k->dot_fixed24(c->q, c->hi + at, (const int16_t *)(const void *)c->lo + at, c->t->dim);
    }
    sink = sum;
}

static void run_dot_fixed12(const struct code_kernels *k, const struct code_set *c)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        sum += k->dot_fixed12(c->q, c->hi + at, c->lo + at / 2, c->t->dim);
    }
    sink = sum;
}

static void run_l2sq_fixed24(const struct code_kernels *k, const struct code_set *c)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        const int16_t *lo = (const int16_t *)(const void *)c->lo + at;
        sum += k->l2sq_fixed24(c->q, 1e-7f, c->hi + at, lo, c->t->dim);
    }
    sink = sum;
}

static void run_l2sq_fixed12(const struct code_kernels *k, const struct code_set *c)
{
    float sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        sum += k->l2sq_fixed12(c->q, 1e-3f, c->hi + at, c->lo + at / 2, c->t->dim);
    }
    sink = sum;
}

static void run_decode24(const struct code_kernels *k, const struct code_set *c)
{
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        const int16_t *lo = (const int16_t *)(const void *)c->lo + at;
        k->decode24(c->t->out, 1e-7f, c->hi + at, lo, c->t->dim);
    }
}

static void run_decode12(const struct code_kernels *k, const struct code_set *c)
{
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = code_at(c, i);
        k->decode12(c->t->out, 1e-3f, c->hi + at, c->lo + at / 2, c->t->dim);
    }
}

static void run_hadamard(const struct code_kernels *k, const struct code_set *c)
{
    for (size_t i = 0; i < BLOCK; i++)
        k->hadamard(c->t->out, c->t->dim);
}

static const struct {
    const char *name;
    void (*run)(const struct code_kernels *k, const struct code_set *c);
    size_t half_bytes; /* of a value */
} code_runs[] = { { "code_query_dot4", run_query_dot4, 2 }, { "code_dot4", run_code_dot4, 2 },
    { "code_dot_fixed24", run_dot_fixed24, 6 }, { "code_dot_fixed12", run_dot_fixed12, 3 },
    { "code_l2sq_fixed24", run_l2sq_fixed24, 6 }, { "code_l2sq_fixed12", run_l2sq_fixed12, 3 },
    { "code_decode24", run_decode24, 6 }, { "code_decode12", run_decode12, 3 },
    { "code_hadamard", run_hadamard, 8 } };

static void measure_code(const struct code_set *c, size_t j)
{
    double scalar = 0;
    for (const struct code_kernels *const *k = code_all(); *k; k++) {
        int64_t best = INT64_MAX;
        for (int round = 0; round < ROUNDS; round++) {
            memset(c->t->out, 0, c->t->dim * sizeof *c->t->out);
            int64_t start = time_mono_ns();
            code_runs[j].run(*k, c);
            int64_t took = time_mono_ns() - start;
            if (took < best) best = took;
        }
        double ns = (double)best / BLOCK;
        if ((*k)->level == VEC_SCALAR) scalar = ns;
        printf("%s,%s,%s,%zu,%.1f,%.1f,%.1f\n", (*k)->name, code_runs[j].name, c->t->name,
            c->t->dim, ns, (double)(c->t->dim * code_runs[j].half_bytes) / 2 / ns, scalar / ns);
    }
}

static void measure_codes(struct set *t, struct code_set *c)
{
    const size_t dim = t->dim;
    c->t = t;
    c->stride = (dim + 127) / 128 * 128; /* half of it is a multiple of 64, too */
    for (size_t j = 0; j < sizeof code_runs / sizeof code_runs[0]; j++) {
        t->dim = dim;
        if (code_runs[j].run == run_hadamard) {
            if (strcmp(t->name, "far") == 0) continue; /* it reads no rows */
            while (t->dim & (t->dim - 1))
                t->dim &= t->dim - 1;
        }
        measure_code(c, j);
    }
    t->dim = dim;
}

/* The query and where the bytes are. */
static void code_set_init(struct code_set *c, const struct set *t, const float *q, struct rng *r)
{
    static int16_t values[CODE_DIM_MAX];
    static _Alignas(64) int16_t q16[CODE_DIM_MAX];
    static _Alignas(64) int8_t hi[CODE_DIM_MAX];
    static _Alignas(64) int8_t lo[CODE_DIM_MAX];
    for (size_t i = 0; i < CODE_DIM_MAX; i++)
        values[i] = (int16_t)((int)rng_below(r, 2 * CODE_QUERY_MAX + 1) - CODE_QUERY_MAX);
    /* A kernel subtracts the sum of all, whatever its length: the result is another, not the speed. */
    code_query_split(values, CODE_DIM_MAX, hi, lo, q16, &c->query);
    /* Up to a multiple of 64. */
    uintptr_t a = (uintptr_t)t->rows, b = (uintptr_t)t->halves;
    c->hi = (const uint8_t *)t->rows + (64 - a % 64) % 64;
    c->lo = (const uint8_t *)t->halves + (64 - b % 64) % 64;
    c->q = q;
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = { "64", "256", "384", "768" };
    const char *const *dims = argc > 1 ? (const char *const *)argv + 1 : defaults;
    int n_dims = argc > 1 ? argc - 1 : (int)(sizeof defaults / sizeof defaults[0]);
    size_t values = FAR_BYTES / sizeof(float);
    float *rows = mem_alloc(values, sizeof *rows), *q = mem_alloc(65536, sizeof *q);
    uint16_t *halves = mem_alloc(values, sizeof *halves);
    struct code_set codes;
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
    code_set_init(&codes, t, q, &r);
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
        if (t->dim <= CODE_DIM_MAX) measure_codes(t, &codes);
        t->name = "far";
        for (uint32_t i = 0; i < BLOCK; i++)
            t->order[i] = (uint32_t)rng_below(&r, values / t->dim);
        measure(t, q);
        if (t->dim > CODE_DIM_MAX) continue;
        /* halves hold two bytes a value; a row of codes may be longer than dim. */
        for (uint32_t i = 0; i < BLOCK; i++)
            t->order[i] = (uint32_t)rng_below(&r, values / ((t->dim + 127) / 128 * 128) - 1);
        measure_codes(t, &codes);
    }
    mem_free(rows);
    mem_free(halves);
    mem_free(q);
    mem_free(out);
    mem_free(t);
    return 0;
}
