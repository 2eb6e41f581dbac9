/* core/nn/kernels.c and core/nn/kernels_avx2.c: every table this machine can run against sums in double. */
#include "core/nn/kernels.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { N_MAX = 133, GUARD = 8 };

static struct rng rng;

static void set_up(void)
{
    rng_init(&rng, 1);
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

#define FOR_EACH_TABLE(k) for (const struct nn_kernels *const *k = nn_kernels_all(); *(k); (k)++)

START_TEST(tables)
{
    size_t n = 0;
    FOR_EACH_TABLE(k)
    {
        ck_assert_ptr_nonnull((*k)->name);
        n++;
    }
    ck_assert_uint_ge(n, 1);
    ck_assert_ptr_eq(nn_kernels(), nn_kernels_all()[n - 1]);
}
END_TEST

/* Lengths around every unrolling, unaligned, nothing written past the end. */
START_TEST(sums_and_maxima)
{
    float a[N_MAX + GUARD], b[N_MAX + GUARD], out[N_MAX + GUARD];
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= N_MAX; n++) {
        fill(a, N_MAX + GUARD);
        fill(b, N_MAX + GUARD);
        const float *x = a + n % 3, *y = b + 1;
        double sum = 0, most = -INFINITY, weight = 0;
        for (size_t i = 0; i < n; i++) {
            sum += (double)x[i] * (double)y[i];
            weight += fabs((double)x[i] * (double)y[i]);
            most = fmax(most, (double)x[i]);
        }
        float got = (*k)->dot(x, y, n);
        ck_assert_near(&got, &sum, 1, 4e-7 * weight, 0.0);
        if (n) ck_assert((double)(*k)->max(x, n) == most);

        double want[N_MAX + GUARD];
        memcpy(out, b, sizeof out);
        for (size_t i = 0; i < N_MAX + GUARD; i++)
            want[i] = (double)b[i] + (i < n ? 0.5 * (double)x[i] : 0);
        (*k)->axpy(out, 0.5F, x, n);
        ck_assert_near(out, want, N_MAX + GUARD, 1e-6, 1e-6);
        memcpy(out, b, sizeof out);
        for (size_t i = 0; i < N_MAX + GUARD; i++)
            want[i] = i < n ? fmax((double)b[i], (double)x[i]) : (double)b[i];
        (*k)->max_into(out, x, n);
        ck_assert_near(out, want, N_MAX + GUARD, 0.0, 0.0);
        for (size_t i = 0; i < N_MAX + GUARD; i++)
            want[i] = i < n ? 3 * (double)out[i] : (double)out[i];
        (*k)->scale(out, 3, out, n);
        ck_assert_near(out, want, N_MAX + GUARD, 0.0, 1e-7);
    }
}
END_TEST

START_TEST(exponentials)
{
    float x[N_MAX], y[N_MAX], shifts[N_MAX], ws[N_MAX], out[N_MAX];
    double want[N_MAX];
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= N_MAX; n++) {
        double sum = 0, diff = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(-9 * rng_unit(&rng));
            y[i] = (float)(-9 * rng_unit(&rng));
            shifts[i] = (float)(4 * rng_unit(&rng));
            ws[i] = (float)rng_unit(&rng);
            double e = exp((double)x[i] - 2.0);
            sum += e;
            diff += e * ((double)x[i] - (double)y[i]);
            size += e * 9;
        }
        float got = (*k)->sum_exp(x, 2, n);
        ck_assert_near(&got, &sum, 1, 0.0, 2e-6);
        got = (*k)->sum_exp_diff(x, y, 2, n);
        ck_assert_near(&got, &diff, 1, 2e-6 * size, 0.0);

        memcpy(out, ws, sizeof out);
        for (size_t i = 0; i < n; i++)
            want[i] = (double)ws[i] + exp((double)x[i] - (double)shifts[i]);
        (*k)->add_exp(out, x, shifts, n);
        ck_assert_near(out, want, n, 0.0, 2e-6);
        memcpy(out, x, sizeof out);
        for (size_t i = 0; i < n; i++)
            want[i] = 0.3 * exp((double)x[i] - 2);
        (*k)->exp_scale(out, 2, 0.3F, n);
        ck_assert_near(out, want, n, 0.0, 2e-6);
        memcpy(out, x, sizeof out);
        for (size_t i = 0; i < n; i++)
            want[i] += (double)ws[i] * exp((double)x[i] - (double)shifts[i]);
        (*k)->exp_scale2(out, 2, 0.3F, shifts, ws, n);
        ck_assert_near(out, want, n, 0.0, 2e-6);
    }
}
END_TEST

START_TEST(exp_is_exact_enough)
{
    FOR_EACH_TABLE(k)
    {
        double worst = 0;
        for (int i = 0; i < 870; i++) {
            float x[100];
            double want[100];
            for (int j = 0; j < 100; j++) {
                x[j] = -(float)(i * 100 + j) / 1000;
                want[j] = exp((double)x[j]);
            }
            (*k)->exp_scale(x, 0, 1, 100);
            for (int j = 0; j < 100; j++)
                worst = fmax(worst, fabs((double)x[j] - want[j]) / want[j]);
        }
        ck_assert_msg(worst < 4e-7, "%s: relative error %g", (*k)->name, worst);
        float edge[] = { 0, -87.01F, -200, NN_LEFT_OUT, -INFINITY, NAN };
        (*k)->exp_scale(edge, 0, 1, 6);
        ck_assert(edge[0] == 1 && edge[1] == 0 && edge[2] == 0 && edge[3] == 0 && edge[4] == 0);
        ck_assert(isnan(edge[5]));
        float left_out[40], one[40];
        for (int i = 0; i < 40; i++)
            left_out[i] = one[i] = NN_LEFT_OUT;
        one[7] = 0.5F;
        ck_assert((*k)->sum_exp(one, 0.5F, 40) == 1);
        ck_assert((*k)->sum_exp_diff(one, left_out, 0.5F, 7) == 0);
    }
}
END_TEST

START_TEST(adam_row)
{
    const struct nn_adam o = { 0.9F, 0.999F, 1e-8F, 0.01F };
    FOR_EACH_TABLE(k)
    for (size_t n = 0; n <= N_MAX; n += 7) {
        float w[N_MAX], m[N_MAX], v[N_MAX], g[N_MAX];
        double want_w[N_MAX], want_m[N_MAX], want_v[N_MAX];
        fill(w, N_MAX);
        fill(m, N_MAX);
        fill(g, N_MAX);
        for (size_t i = 0; i < N_MAX; i++) {
            v[i] = (float)rng_unit(&rng);
            double gi = i < n ? (double)g[i] : 0;
            want_m[i] = i < n ? 0.9 * (double)m[i] + 0.1 * gi : (double)m[i];
            want_v[i] = i < n ? 0.999 * (double)v[i] + 0.001 * gi * gi : (double)v[i];
            want_w[i] = (double)w[i] - (i < n ? 0.01 * want_m[i] / (sqrt(want_v[i]) + 1e-8) : 0);
        }
        (*k)->adam(w, m, v, g, n, &o);
        ck_assert_near(m, want_m, N_MAX, 1e-6, 1e-6);
        ck_assert_near(v, want_v, N_MAX, 1e-6, 1e-6);
        ck_assert_near(w, want_w, N_MAX, 2e-6, 2e-6);
    }
}
END_TEST

TEST_SUITE(kernels)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, tables);
    tcase_add_test(tc, sums_and_maxima);
    tcase_add_test(tc, exponentials);
    tcase_add_test(tc, exp_is_exact_enough);
    tcase_add_test(tc, adam_row);
    suite_add_tcase(s, tc);
}
