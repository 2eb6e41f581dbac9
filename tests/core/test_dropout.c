#include "core/nn/dropout.h"

#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1 << 18 };

static float *ones, *a, *b;

static void set_up(void)
{
    ones = malloc(MANY * sizeof *ones);
    a = malloc(MANY * sizeof *a);
    b = malloc(MANY * sizeof *b);
    ck_assert(ones && a && b);
    for (size_t i = 0; i < MANY; i++)
        ones[i] = 1;
}

static void tear_down(void)
{
    free(ones);
    free(a);
    free(b);
}

/* How far a count is from what chance gives, in standard deviations. */
static double deviation(size_t count, size_t n, double p)
{
    return fabs((double)count - (double)n * p) / sqrt((double)n * p * (1 - p));
}

/* Is dropped at i and at i + step: of pairs, how often? */
static size_t both(const float *x, const float *y, size_t step)
{
    size_t count = 0;
    for (size_t i = 0; i + step < MANY; i++)
        count += x[i] == 0 && y[i + step] == 0;
    return count;
}

/* Seeds are fixed, so a limit of 4.5 standard deviations is passed always or never. */
START_TEST(rate)
{
    const float rates[] = { 0.001F, 0.1F, 0.5F, 0.9F };
    for (size_t k = 0; k < 4; k++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            const double p = (double)rates[k];
            dropout_forward(a, ones, MANY, rates[k], seed * seed * 977);
            size_t dropped = 0;
            for (size_t i = 0; i < MANY; i++) {
                dropped += a[i] == 0;
                ck_assert(a[i] == 0 || fabs((double)a[i] * (1 - p) - 1) < 1e-6);
            }
            ck_assert_msg(deviation(dropped, MANY, p) < 4.5, "p %g seed %d: %zu dropped", p,
                (int)seed, dropped);
        }
}
END_TEST

START_TEST(neighbours_are_independent)
{
    const size_t steps[] = { 1, 2, 3, 4, 7, 8, 16, 64, 384, 1536, 4096, 65536 };
    for (uint64_t seed = 1; seed <= 4; seed++)
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            dropout_forward(a, ones, MANY, 0.1F, seed);
            size_t n = both(a, a, steps[k]);
            ck_assert_msg(deviation(n, MANY - steps[k], 0.01) < 4.5, "seed %d step %zu: %zu",
                (int)seed, steps[k], n);
        }
}
END_TEST

/* Also where seeds differ in a bit, or the mask of one might be that of the other moved along. */
START_TEST(seeds_are_independent)
{
    const uint64_t seeds[] = { 0, 1, 2, 3, 4, 255, 256, UINT64_C(1) << 32, UINT64_C(1) << 63,
        UINT64_MAX };
    for (size_t k = 0; k < sizeof seeds / sizeof *seeds; k++)
        for (size_t l = 0; l < k; l++) {
            dropout_forward(a, ones, MANY, 0.25F, seeds[k]);
            dropout_forward(b, ones, MANY, 0.25F, seeds[l]);
            for (size_t step = 0; step < 3; step++) {
                size_t n = both(a, b, step);
                ck_assert_msg(deviation(n, MANY - step, 0.0625) < 4.5,
                    "seeds %zu %zu step %zu: %zu", k, l, step, n);
            }
        }
}
END_TEST

/* Forward twice, forward in place, backward, and any length: one mask. */
START_TEST(one_mask)
{
    enum { N = 103 };
    float x[N], y[N], same[N], d[N];
    for (size_t n = 0; n <= N; n++) {
        for (size_t i = 0; i < N; i++) {
            x[i] = same[i] = (float)i + 1;
            d[i] = y[i] = 5;
        }
        dropout_forward(a, ones, MANY, 0.4F, 77);
        dropout_forward(y, x, n, 0.4F, 77);
        dropout_forward(same, same, n, 0.4F, 77);
        dropout_backward(d, x, n, 0.4F, 77);
        for (size_t i = 0; i < N; i++) {
            const float want = i < n ? a[i] * x[i] : 5;
            ck_assert(fabsf(y[i] - want) <= 1e-6F * want);
            ck_assert(same[i] == (i < n ? y[i] : x[i]));
            ck_assert(fabsf(d[i] - (i < n ? 5 + want : 5)) <= 1e-5F);
        }
    }
}
END_TEST

START_TEST(nothing_dropped)
{
    float x[] = { 1, -0.0F, INFINITY, NAN, 1e-40F }, y[5], d[] = { 1, 1, 1, 1, 1 };
    dropout_forward(y, x, 5, 0, 3);
    ck_assert_mem_eq(x, y, sizeof x);
    dropout_forward(x, x, 5, 0, 3);
    ck_assert_mem_eq(x, y, sizeof x);
    dropout_backward(d, (const float[]){ 1, 2, 3, 4, 5 }, 5, 0, 3);
    ck_assert_mem_eq(d, ((const float[]){ 2, 3, 4, 5, 6 }), sizeof d);
    /* What is dropped leaves nothing behind, not even NaN. */
    for (size_t i = 0; i < MANY; i++)
        a[i] = NAN;
    dropout_forward(b, a, 1000, 0.5F, 1);
    size_t zeros = 0;
    for (size_t i = 0; i < 1000; i++)
        zeros += b[i] == 0;
    ck_assert(zeros > 400 && zeros < 600);
}
END_TEST

START_TEST(everything_dropped)
{
    dropout_forward(a, ones, 1, 1, 0);
}
END_TEST

TEST_SUITE(dropout)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, rate);
    tcase_add_test(tc, neighbours_are_independent);
    tcase_add_test(tc, seeds_are_independent);
    tcase_add_test(tc, one_mask);
    tcase_add_test(tc, nothing_dropped);
    tcase_add_abort_test(tc, everything_dropped);
    suite_add_tcase(s, tc);
}
