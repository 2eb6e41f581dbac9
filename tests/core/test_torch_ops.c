/* core/nn/bag.c, core/learn/infonce.c, distill.c, anchor.c and adam.c against PyTorch:
 * tests/data/ref/learn_ops.safetensors and static_curve.safetensors, made by tools/ref/learn_ops.py.
 *
 * PyTorch computed in double. Tolerances: similarities are off by some 1e-7, times 1/temperature in the
 * exponent; the gradients of a sum of N * M such terms are of the order of 1. */
#include "core/learn/adam.h"
#include "core/learn/loss.h"
#include "core/nn/bag.h"
#include "tests/core/ref_file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOATS_MAX = 2048 };

static struct safetensors *file;

static void open_ops(void)
{
    file = ref_open("tests/data/ref/learn_ops.safetensors");
}

static void open_curve(void)
{
    file = ref_open("tests/data/ref/static_curve.safetensors");
}

static void close_file(void)
{
    safetensors_close(file);
}

static const struct safetensor *find(const char *of, const char *name)
{
    return ref_find(file, of, name);
}

static void *read_as(const char *of, const char *name, enum dtype dtype, size_t *ret_n)
{
    size_t n;
    void *p = ref_read(file, of, name, dtype, &n);
    ck_assert_uint_le(n, FLOATS_MAX);
    if (ret_n) *ret_n = n;
    return p;
}

static float *floats(const char *of, const char *name)
{
    return read_as(of, name, DTYPE_F32, NULL);
}

static float number(const char *of, const char *name)
{
    return ref_number(file, of, name);
}

static size_t dim(const char *of, const char *name, size_t i)
{
    return ref_dim(file, of, name, i);
}

static void check(const float *got, const char *of, const char *name, double abs_tol)
{
    ref_check(file, got, of, name, abs_tol);
}

/* ids and starts of a batch of bags. */
struct bags {
    uint32_t *ids;
    size_t starts[64], N;
};

static struct bags read_bags(const char *of)
{
    struct bags b;
    size_t n;
    b.ids = read_as(of, "ids", DTYPE_I32, NULL);
    int32_t *starts = read_as(of, "starts", DTYPE_I32, &n);
    ck_assert_uint_le(n, 64);
    for (size_t i = 0; i < n; i++)
        b.starts[i] = (size_t)starts[i];
    b.N = n - 1;
    free(starts);
    return b;
}

static bool next_case(char of[32], const char *op, const char *input, int i)
{
    return ref_next(file, of, op, input, i, 3);
}

START_TEST(bag)
{
    char of[32];
    for (int i = 0; next_case(of, "bag", "table", i); i++) {
        size_t V = dim(of, "table", 0), D = dim(of, "table", 1);
        struct bags b = read_bags(of);
        float *table = floats(of, "table"), *dout = floats(of, "dout");
        float mean[FLOATS_MAX], unit[FLOATS_MAX], norms[64], dmean[FLOATS_MAX] = { 0 };
        float drows[FLOATS_MAX] = { 0 }, dtable[FLOATS_MAX] = { 0 };
        bag_mean_forward(mean, table, b.ids, b.starts, b.N, D);
        unit_forward(unit, norms, mean, b.N, D);
        unit_backward(dmean, dout, unit, norms, b.N, D);
        uint32_t rows[64], at[64], place[64];
        memset(place, 0xFF, sizeof place);
        ck_assert(V <= 64 && b.starts[b.N] <= 64);
        size_t U = bag_rows(rows, at, place, b.ids, b.starts[b.N]);
        bag_mean_backward(drows, dmean, at, b.starts, b.N, D);
        for (size_t u = 0; u < U; u++)
            memcpy(dtable + rows[u] * D, drows + u * D, D * sizeof *drows);
        check(mean, of, "mean", 1e-6);
        check(unit, of, "unit", 1e-6);
        check(dmean, of, "dmean", 1e-5);
        check(dtable, of, "dtable", 1e-5);
        free(b.ids);
        free(table);
        free(dout);
    }
}
END_TEST

START_TEST(infonce)
{
    char of[32];
    for (int i = 0; next_case(of, "infonce", "a", i); i++) {
        struct infonce_shape s = { .N = dim(of, "a", 0),
            .M = dim(of, "b", 0),
            .D = dim(of, "a", 1),
            .temperature = number(of, "temperature") };
        uint8_t *symmetric = read_as(of, "symmetric", DTYPE_U8, NULL);
        s.symmetric = *symmetric;
        uint8_t *bytes = find(of, "masked") ? read_as(of, "masked", DTYPE_U8, NULL) : NULL;
        bool masked[FLOATS_MAX];
        for (size_t k = 0; bytes && k < s.N * s.M; k++)
            masked[k] = bytes[k];
        float *a = floats(of, "a"), *b = floats(of, "b");
        float saved[FLOATS_MAX], da[FLOATS_MAX] = { 0 }, db[FLOATS_MAX] = { 0 };
        ck_assert_uint_le(infonce_saved(&s), FLOATS_MAX);
        float loss = infonce_forward(saved, a, b, bytes ? masked : NULL, &s);
        infonce_backward(da, db, saved, a, b, 1, &s);
        check(&loss, of, "loss", 1e-5);
        check(da, of, "da", 1e-5);
        check(db, of, "db", 1e-5);
        free(symmetric);
        free(bytes);
        free(a);
        free(b);
    }
}
END_TEST

START_TEST(distill)
{
    char of[32];
    for (int i = 0; next_case(of, "distill", "x", i); i++) {
        size_t N = dim(of, "x", 0), D = dim(of, "x", 1), T = dim(of, "teacher", 1);
        float temperature = number(of, "temperature");
        float *x = floats(of, "x"), *teacher = floats(of, "teacher");
        float saved[FLOATS_MAX], dx[FLOATS_MAX] = { 0 };
        ck_assert_uint_le(distill_saved(N, D, T), FLOATS_MAX);
        float loss = distill_forward(saved, x, teacher, N, D, T, temperature);
        distill_backward(dx, saved, x, N, D, temperature, 1);
        check(&loss, of, "loss", 1e-5);
        check(dx, of, "dx", 1e-5);
        free(x);
        free(teacher);
    }
}
END_TEST

START_TEST(anchor)
{
    char of[32];
    for (int i = 0; next_case(of, "anchor", "x", i); i++) {
        size_t N = dim(of, "x", 0), D = dim(of, "x", 1);
        float *x = floats(of, "x"), *p = floats(of, "p"), dx[FLOATS_MAX] = { 0 };
        float loss = anchor_forward(x, p, N, D);
        anchor_backward(dx, p, N, D, 1);
        check(&loss, of, "loss", 1e-6);
        check(dx, of, "dx", 1e-6);
        free(x);
        free(p);
    }
}
END_TEST

/* A static encoder of V rows, and one training step with it. */
struct model {
    float *table, m[FLOATS_MAX], v[FLOATS_MAX], temperature;
    double rate;
    size_t V, D;
};

static float train_step(struct model *t, int step)
{
    const struct adam_options o = ADAM_OPTIONS_DEFAULTS;
    static float mean[2][FLOATS_MAX], unit[2][FLOATS_MAX], norms[2][64], dunit[2][FLOATS_MAX];
    static float dmean[2][FLOATS_MAX], saved[FLOATS_MAX], drows[FLOATS_MAX];
    struct bags b[2];
    uint32_t ids[256], at[256], rows[256], place[64];
    size_t n = 0, D = t->D;
    memset(dunit, 0, sizeof dunit);
    memset(dmean, 0, sizeof dmean);
    memset(drows, 0, sizeof drows);
    memset(place, 0xFF, sizeof place);
    for (int side = 0; side < 2; side++) {
        char of[32];
        (void)snprintf(of, sizeof of, "curve.%d.%c", step, "ab"[side]);
        b[side] = read_bags(of);
        size_t more = b[side].starts[b[side].N];
        ck_assert(n + more <= 256);
        memcpy(ids + n, b[side].ids, more * sizeof *ids);
        n += more;
        bag_mean_forward(mean[side], t->table, b[side].ids, b[side].starts, b[side].N, D);
        unit_forward(unit[side], norms[side], mean[side], b[side].N, D);
    }
    const struct infonce_shape s = { b[0].N, b[0].N, D, t->temperature, true };
    ck_assert_uint_le(infonce_saved(&s), FLOATS_MAX);
    float loss = infonce_forward(saved, unit[0], unit[1], NULL, &s);
    infonce_backward(dunit[0], dunit[1], saved, unit[0], unit[1], 1, &s);
    size_t U = bag_rows(rows, at, place, ids, n), first = 0;
    for (int side = 0; side < 2; side++) {
        unit_backward(dmean[side], dunit[side], unit[side], norms[side], s.N, D);
        bag_mean_backward(drows, dmean[side], at + first, b[side].starts, s.N, D);
        first += b[side].starts[s.N];
        free(b[side].ids);
    }
    adam_step_rows(t->table, t->m, t->v, rows, drows, U, D, step + 1, t->rate, &o);
    return loss;
}

/* Adam divides by the size of a gradient: where that nearly vanishes, rounding decides the step, so the
 * table is compared more loosely than a step's rounding, and still far below one step of 0.125. */
START_TEST(curve)
{
    static struct model t;
    t.V = dim("curve", "table", 0);
    t.D = dim("curve", "table", 1);
    t.table = floats("curve", "table");
    t.temperature = number("curve", "temperature");
    t.rate = (double)number("curve", "rate");
    float losses[64];
    size_t steps = dim("curve", "losses", 0);
    ck_assert(t.V <= 64 && steps == 10);
    for (size_t i = 0; i < steps; i++)
        losses[i] = train_step(&t, (int)i);
    check(losses, "curve", "losses", 2e-5);
    check(t.table, "curve", "trained", 1e-4);
    free(t.table);
}
END_TEST

TEST_SUITE(torch_ops)
{
    TCase *ops = tcase_create("ops");
    tcase_add_checked_fixture(ops, open_ops, close_file);
    tcase_add_test(ops, bag);
    tcase_add_test(ops, infonce);
    tcase_add_test(ops, distill);
    tcase_add_test(ops, anchor);
    suite_add_tcase(s, ops);
    TCase *steps = tcase_create("curve");
    tcase_add_checked_fixture(steps, open_curve, close_file);
    tcase_add_test(steps, curve);
    suite_add_tcase(s, steps);
}
