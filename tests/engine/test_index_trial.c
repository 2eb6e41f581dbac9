/* The index on somebody's own vectors: files that fit, figures that can be true, errors that say what is wrong. */
#include "engine/index_trial.h"

#include "base/fileio.h"
#include "base/rng.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIM = 48, ROWS = 1500, QUERIES = 40 };

static struct tmpdir tmp;
static char vectors[TMPDIR_PATH_BYTES], queries[TMPDIR_PATH_BYTES];
static float rows[ROWS][DIM];

/* A .npy of version 1 with n rows of `columns` f4. */
static void write_npy(const char *path, const float *v, size_t n, size_t columns)
{
    static char file[128 + sizeof rows];
    struct err e = ERR_INIT;
    char header[118];
    int len = snprintf(header, sizeof header,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", n, columns);
    memset(file, ' ', 128);
    memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(file + 10, header, (size_t)len);
    file[127] = '\n';
    memcpy(file + 128, v, n * columns * sizeof *v);
    ck_assert_ok(file_write_atomic(path, file, 128 + n * columns * sizeof *v, &e), &e);
}

static void set_up(void)
{
    struct rng r;
    tmpdir_make(&tmp);
    tmpdir_file(&tmp, "vectors.npy", vectors);
    tmpdir_file(&tmp, "queries.npy", queries);
    rng_init(&r, 4);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t d = 0; d < DIM; d++)
            rows[i][d] = (float)(rng_normal(&r) + (double)(i % 7 == d % 7));
    write_npy(vectors, rows[0], ROWS, DIM);
    write_npy(queries, rows[3], QUERIES, DIM);
}
static void tear_down(void)
{
    tmpdir_remove(&tmp);
}

static const struct trial_shape shape = { 8, 40, 24 }, small = { 8, 40, 12 };

static void check_graph(struct trial *t, const struct trial_shape *of)
{
    struct err e = ERR_INIT;
    struct trial_graph g;
    ck_assert_ok(trial_graph(t, of, &g, &e), &e);
    ck_assert_uint_gt(g.n_points, 0);
    ck_assert_uint_gt(g.bytes, 0);
    for (size_t i = 0; i < g.n_points; i++) {
        ck_assert(g.points[i].recall > 0.3 && g.points[i].recall <= 1);
        ck_assert(g.points[i].qps > 0 && g.points[i].p99_us >= g.points[i].p50_us);
        if (i) ck_assert_uint_gt(g.points[i].ef, g.points[i - 1].ef);
    }
    ck_assert(g.points[g.n_points - 1].recall > 0.98);
}

START_TEST(queries_of_their_own)
{
    struct err e = ERR_INIT;
    struct trial *t;
    struct trial_request rq = { .vectors = vectors,
        .queries = queries,
        .metric = (enum metric_kind)_i,
        .k = 10,
        .threads = 2 };
    ck_assert_ok(trial_open(&rq, &t, &e), &e);
    ck_assert_uint_eq(trial_vectors(t), ROWS);
    ck_assert_uint_eq(trial_queries(t), QUERIES);
    ck_assert_uint_eq(trial_dimensions(t), DIM);
    ck_assert(trial_scan_qps(t) > 0);
    check_graph(t, &shape);
    check_graph(t, &small);
    trial_close(t);
}
END_TEST

START_TEST(queries_held_out)
{
    struct err e = ERR_INIT;
    struct trial *t;
    struct trial_request rq = { .vectors = vectors, .k = 5, .threads = 1 };
    ck_assert_ok(trial_open(&rq, &t, &e), &e);
    ck_assert_uint_eq(trial_vectors(t) + trial_queries(t), ROWS);
    ck_assert_uint_eq(trial_queries(t), ROWS / 10);
    check_graph(t, &shape);
    trial_close(t);
}
END_TEST

START_TEST(rate_between_points)
{
    struct trial_graph g = { .n_points = 3,
        .points = { { .ef = 10, .recall = 0.9, .qps = 1000 },
            { .ef = 40, .recall = 0.99, .qps = 100 }, { .ef = 80, .recall = 0.99, .qps = 50 } } };
    size_t ef = 0;
    ck_assert_double_eq_tol(trial_qps_at(&g, 0.99, &ef), 100, 1e-6);
    ck_assert_uint_eq(ef, 40);
    double half = 1 - sqrt(0.1 * 0.01);
    ck_assert_double_eq_tol(trial_qps_at(&g, half, &ef), sqrt(1000.0 * 100.0), 1e-3);
    ck_assert(ef == 20 || ef == 21); /* rounded up */
    ck_assert_double_eq_tol(trial_qps_at(&g, 0.5, &ef), 1000, 1e-6);
    ck_assert_double_eq(trial_qps_at(&g, 0.995, &ef), 0);
}
END_TEST

static void must_fail(const struct trial_request *rq, enum err_code code, const char *says)
{
    struct err e = ERR_INIT;
    struct trial *t = NULL;
    ck_assert_int_eq(trial_open(rq, &t, &e), code);
    ck_assert_msg(strstr(e.msg, says) != NULL, "\"%s\" does not say \"%s\"", e.msg, says);
    ck_assert_ptr_null(t);
}

START_TEST(what_does_not_fit)
{
    struct trial_request rq = { .vectors = "/nowhere.npy", .k = 10, .threads = 1 };
    must_fail(&rq, ERR_NOT_FOUND, "/nowhere.npy");
    rq.vectors = vectors;
    rq.k = 0;
    must_fail(&rq, ERR_INVALID, "k must be");
    rq.k = 10;
    write_npy(queries, rows[0], 10, DIM - 1);
    rq.queries = queries;
    must_fail(&rq, ERR_INVALID, "47 values");
    write_npy(queries, rows[0], 0, DIM);
    rq.queries = NULL;
    write_npy(vectors, rows[0], 99, DIM);
    must_fail(&rq, ERR_INVALID, "at least 100");
    memset(rows[120], 0, sizeof rows[120]);
    write_npy(vectors, rows[0], 200, DIM);
    must_fail(&rq, ERR_INVALID, "row 120");
}
END_TEST

TEST_SUITE(index_trial)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, queries_of_their_own, 0, 3);
    tcase_add_test(tc, queries_held_out);
    tcase_add_test(tc, rate_between_points);
    tcase_add_test(tc, what_does_not_fit);
    suite_add_tcase(s, tc);
}
