/* core/learn/distill.c against the formula written out in double; its gradients are judged in tests/grad. */
#include "core/learn/loss.h"

#include "base/rng.h"
#include "core/nn/bag.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>

enum { N_MAX = 70, D_MAX = 19 };

static struct rng rng;
static float x[N_MAX * D_MAX], teacher[N_MAX * D_MAX], dx[N_MAX * D_MAX];

static void fill_unit(float *out, size_t N, size_t D)
{
    float raw[N_MAX * D_MAX], norms[N_MAX];
    for (size_t i = 0; i < N * D; i++)
        raw[i] = (float)rng_normal(&rng);
    unit_forward(out, norms, raw, N, D);
}

static void set_up(void)
{
    rng_init(&rng, 1);
}

/* The chance of j for i among all but i. */
static void chances(double *p, const float *v, size_t i, size_t N, size_t D, double temperature)
{
    double sum = 0;
    for (size_t j = 0; j < N; j++) {
        double s = 0;
        for (size_t d = 0; d < D; d++)
            s += (double)v[i * D + d] * (double)v[j * D + d];
        p[j] = i == j ? 0 : exp(s / temperature);
        sum += p[j];
    }
    for (size_t j = 0; j < N; j++)
        p[j] /= sum;
}

static double naive(size_t N, size_t D, size_t T, double temperature)
{
    double loss = 0, p[N_MAX], q[N_MAX];
    for (size_t i = 0; i < N; i++) {
        chances(p, teacher, i, N, T, temperature);
        chances(q, x, i, N, D, temperature);
        for (size_t j = 0; j < N; j++)
            if (i != j) loss += p[j] * log(p[j] / q[j]);
    }
    return loss / (double)N;
}

static float both(size_t N, size_t D, size_t T, float temperature)
{
    float *saved = malloc(distill_saved(N, D, T) * sizeof *saved);
    ck_assert_ptr_nonnull(saved);
    float loss = distill_forward(saved, x, teacher, N, D, T, temperature);
    for (size_t i = 0; i < N * D; i++)
        dx[i] = 0;
    distill_backward(dx, saved, x, N, D, temperature, 1);
    free(saved);
    return loss;
}

START_TEST(as_the_formula)
{
    const size_t sizes[] = { 2, 3, 31, 33, N_MAX };
    const float temperatures[] = { 1, 0.05F, 0.01F };
    for (size_t k = 0; k < 15; k++) {
        size_t N = sizes[k % 5], D = k % 2 ? D_MAX : 3, T = k % 3 ? 5 : D_MAX;
        float temperature = temperatures[k / 5];
        fill_unit(x, N, D);
        fill_unit(teacher, N, T);
        double want = naive(N, D, T, (double)temperature);
        float got = both(N, D, T, temperature);
        ck_assert_near(&got, &want, 1, 2e-6 / (double)temperature, 2e-6);
    }
}
END_TEST

/* The teacher's own vectors: nothing to learn. */
START_TEST(zero_at_the_teacher)
{
    fill_unit(x, N_MAX, D_MAX);
    for (size_t i = 0; i < N_MAX * D_MAX; i++)
        teacher[i] = x[i];
    float loss = both(N_MAX, D_MAX, D_MAX, 0.05F);
    ck_assert(fabsf(loss) < 1e-6F);
    for (size_t i = 0; i < N_MAX * D_MAX; i++)
        ck_assert(fabsf(dx[i]) < 1e-7F);
}
END_TEST

/* One text has nobody to be compared with, two have only each other. */
START_TEST(too_few_to_compare)
{
    for (size_t N = 1; N <= 2; N++) {
        fill_unit(x, N, 5);
        fill_unit(teacher, N, 3);
        ck_assert(fabsf(both(N, 5, 3, 0.05F)) < 1e-5F);
        for (size_t i = 0; i < N * 5; i++)
            ck_assert(dx[i] == 0);
    }
}
END_TEST

START_TEST(not_a_number_shows)
{
    fill_unit(x, 9, 5);
    fill_unit(teacher, 9, 3);
    x[17] = NAN;
    ck_assert(isnan(both(9, 5, 3, 0.05F)));
}
END_TEST

TEST_SUITE(distill)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_the_formula);
    tcase_add_test(tc, zero_at_the_teacher);
    tcase_add_test(tc, too_few_to_compare);
    tcase_add_test(tc, not_a_number_shows);
    suite_add_tcase(s, tc);
}
