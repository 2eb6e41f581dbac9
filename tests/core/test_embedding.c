#include "core/nn/embedding.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <string.h>

enum { V = 9, T = 12, C_MAX = 67 };

static struct rng rng;
static const uint32_t ids[T] = { 3, 3, 8, 0, 3, 1, 8, 7, 7, 7, 0, 3 };

static void set_up(void)
{
    rng_init(&rng, 1);
}

static void fill(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&rng);
}

START_TEST(rows_of_a_table)
{
    float table[V * C_MAX], dtable[V * C_MAX], out[T * C_MAX], dout[T * C_MAX];
    for (size_t C = 1; C <= C_MAX; C++) {
        fill(table, V * C);
        fill(dout, T * C);
        for (size_t i = 0; i < V * C; i++)
            dtable[i] = 2;
        embedding_forward(out, table, ids, T, C);
        embedding_backward(dtable, dout, ids, T, C);
        for (size_t t = 0; t < T; t++)
            ck_assert_mem_eq(out + t * C, table + ids[t] * C, C * sizeof *out);
        for (size_t v = 0; v < V; v++)
            for (size_t c = 0; c < C; c++) {
                double want = 2;
                for (size_t t = 0; t < T; t++)
                    if (ids[t] == v) want += (double)dout[t * C + c];
                ck_assert_near(&dtable[v * C + c], &want, 1, 2e-6, 1e-6);
            }
    }
}
END_TEST

START_TEST(residual)
{
    float a[100], b[100], y[100], da[100];
    for (size_t n = 0; n <= 99; n++) {
        double want[100];
        fill(a, 100);
        fill(b, 100);
        fill(y, 100);
        for (size_t i = 0; i < 100; i++)
            want[i] = i < n ? (double)a[i] + (double)b[i] : (double)y[i];
        residual_forward(y, a, b, n);
        ck_assert_near(y, want, 100, 1e-7, 1e-6);
        memcpy(da, a, sizeof da);
        residual_backward(da, b, n);
        ck_assert_mem_eq(da, y, n * sizeof *da);
        ck_assert_mem_eq(da + n, a + n, (100 - n) * sizeof *da);
        memcpy(da, a, sizeof da);
        residual_forward(da, da, b, n);
        ck_assert_mem_eq(da, y, n * sizeof *da);
        memcpy(da, b, sizeof da);
        residual_forward(da, a, da, n);
        ck_assert_mem_eq(da, y, n * sizeof *da);
    }
}
END_TEST

TEST_SUITE(embedding)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, rows_of_a_table);
    tcase_add_test(tc, residual);
    suite_add_tcase(s, tc);
}
