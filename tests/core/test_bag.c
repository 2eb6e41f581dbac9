#include "core/nn/bag.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { V = 50, N = 6, D_MAX = 67, TOKENS = 23 };

static struct rng rng;
static const size_t starts[N + 1] = { 0, 1, 5, 6, 14, 20, TOKENS };
static uint32_t ids[TOKENS];
static float table[V * D_MAX];

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

static void set_up(void)
{
    rng_init(&rng, 1);
    fill(table, V * D_MAX);
    for (size_t t = 0; t < TOKENS; t++)
        ids[t] = (uint32_t)rng_below(&rng, t % 3 ? V : 4);
}

START_TEST(mean_of_rows)
{
    for (size_t D = 1; D <= D_MAX; D++) {
        float out[N * D_MAX];
        bag_mean_forward(out, table, ids, starts, N, D);
        for (size_t n = 0; n < N; n++)
            for (size_t d = 0; d < D; d++) {
                double sum = 0;
                for (size_t t = starts[n]; t < starts[n + 1]; t++)
                    sum += (double)table[ids[t] * D + d];
                sum /= (double)(starts[n + 1] - starts[n]);
                ck_assert_near(&out[n * D + d], &sum, 1, 1e-6, 1e-6);
            }
    }
}
END_TEST

START_TEST(rows_in_use)
{
    const uint32_t in[] = { 7, 3, 7, 7, 0, 3, 49 };
    const uint32_t want_rows[] = { 7, 3, 0, 49 }, want_at[] = { 0, 1, 0, 0, 2, 1, 3 };
    uint32_t rows[7], at[7], place[V];
    memset(place, 0xFF, sizeof place);
    for (int again = 0; again < 2; again++) {
        ck_assert_uint_eq(bag_rows(rows, at, place, in, 7), 4);
        ck_assert_mem_eq(rows, want_rows, sizeof want_rows);
        ck_assert_mem_eq(at, want_at, sizeof want_at);
    }
    for (size_t i = 0; i < V; i++)
        ck_assert_uint_eq(place[i], UINT32_MAX);
    ck_assert_uint_eq(bag_rows(rows, at, place, in, 0), 0);
}
END_TEST

START_TEST(gradients_of_rows)
{
    for (size_t D = 1; D <= D_MAX; D += 3) {
        float dout[N * D_MAX], drows[TOKENS * D_MAX];
        uint32_t rows[TOKENS], at[TOKENS], place[V];
        memset(place, 0xFF, sizeof place);
        size_t U = bag_rows(rows, at, place, ids, TOKENS);
        ck_assert_uint_lt(U, TOKENS);
        fill(dout, N * D);
        for (size_t i = 0; i < U * D; i++)
            drows[i] = 2;
        bag_mean_backward(drows, dout, at, starts, N, D);
        for (size_t u = 0; u < U; u++)
            for (size_t d = 0; d < D; d++) {
                double want = 2;
                for (size_t n = 0; n < N; n++)
                    for (size_t t = starts[n]; t < starts[n + 1]; t++)
                        if (ids[t] == rows[u])
                            want += (double)dout[n * D + d] / (double)(starts[n + 1] - starts[n]);
                ck_assert_near(&drows[u * D + d], &want, 1, 2e-6, 2e-6);
            }
    }
}
END_TEST

/* Lengths whose squares are beyond float on both sides. */
START_TEST(unit_length)
{
    const double sizes[] = { 1, 1e-4, 1e-12, 1e-20, 1e-30, 1e17, 1e36 };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (size_t D = 1; D <= D_MAX; D += 2) {
            float x[N * D_MAX], out[N * D_MAX], norms[N];
            fill(x, N * D);
            for (size_t i = 0; i < N * D; i++)
                x[i] *= (float)sizes[k];
            unit_forward(out, norms, x, N, D);
            for (size_t n = 0; n < N; n++) {
                double sum = 0, want[D_MAX];
                for (size_t d = 0; d < D; d++)
                    sum += (double)x[n * D + d] * (double)x[n * D + d];
                double norm = sqrt(sum);
                for (size_t d = 0; d < D; d++)
                    want[d] = (double)x[n * D + d] / norm;
                ck_assert_near(&norms[n], &norm, 1, 0.0, 1e-6);
                ck_assert_near(&out[n * D], want, D, 0.0, 1e-6);
            }
        }
}
END_TEST

START_TEST(zero_and_not_a_number)
{
    const float x[] = { 0, -0.0F, 0, 3, 0, 4, NAN, 1, 0, INFINITY, 1, 0 };
    const float ones[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    float out[12], norms[4], dx[12] = { 5, 5, 5 };
    unit_forward(out, norms, x, 4, 3);
    ck_assert(norms[0] == 0 && out[0] == 0 && out[1] == 0 && out[2] == 0);
    const float unit[] = { 0.6F, 0, 0.8F };
    ck_assert_near(out + 3, unit, 3, 1e-7, 0.0);
    ck_assert(isnan(out[6]) && isnan(out[9]));
    unit_backward(dx, ones, out, norms, 4, 3);
    ck_assert(dx[0] == 5 && dx[1] == 5 && dx[2] == 5); /* the zero row has no gradient */
    /* (1 - out (out·1)) / 5 */
    const float want[] = { (1 - 0.6F * 1.4F) / 5, 0.2F, (1 - 0.8F * 1.4F) / 5 };
    ck_assert_near(dx + 3, want, 3, 1e-7, 1e-6);
}
END_TEST

TEST_SUITE(bag)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, mean_of_rows);
    tcase_add_test(tc, rows_in_use);
    tcase_add_test(tc, gradients_of_rows);
    tcase_add_test(tc, unit_length);
    tcase_add_test(tc, zero_and_not_a_number);
    suite_add_tcase(s, tc);
}
