#include "core/nn/layernorm.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { N = 3, C_MAX = 390 };

static struct rng rng;
static float x[N * C_MAX], dout[N * C_MAX], out[N * C_MAX], dx[N * C_MAX];
static float gamma_[C_MAX], beta[C_MAX], dgamma[C_MAX], dbeta[C_MAX], mean[N], rstd[N];

static void set_up(void)
{
    rng_init(&rng, 1);
}

static void fill(float *p, size_t n, double level)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(level + rng_normal(&rng));
}

struct moments {
    double mean[N], rstd[N];
};

static struct moments naive_moments(size_t C, double eps)
{
    struct moments m;
    for (size_t n = 0; n < N; n++) {
        double sum = 0, squares = 0;
        for (size_t c = 0; c < C; c++)
            sum += (double)x[n * C + c];
        m.mean[n] = sum / (double)C;
        for (size_t c = 0; c < C; c++)
            squares += pow((double)x[n * C + c] - m.mean[n], 2);
        m.rstd[n] = 1 / sqrt(squares / (double)C + eps);
    }
    return m;
}

/* By the formula of the whole derivative, d xhat_j / d x_i = rstd (δij - 1/C - xhat_i xhat_j / C). */
static double naive_dx(size_t n, size_t i, size_t C, const struct moments *m)
{
    double sum = 0, xi = ((double)x[n * C + i] - m->mean[n]) * m->rstd[n];
    for (size_t j = 0; j < C; j++) {
        double xj = ((double)x[n * C + j] - m->mean[n]) * m->rstd[n];
        double by = m->rstd[n] * ((i == j) - 1 / (double)C - xi * xj / (double)C);
        sum += (double)dout[n * C + j] * (double)gamma_[j] * by;
    }
    return sum;
}

static void check(size_t C, const struct moments *m)
{
    ck_assert_near(mean, m->mean, N, 1e-6, 1e-6);
    ck_assert_near(rstd, m->rstd, N, 0.0, 2e-5);
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++) {
            double hat = ((double)x[n * C + c] - m->mean[n]) * m->rstd[n];
            double want = hat * (double)gamma_[c] + (double)beta[c];
            ck_assert_near(&out[n * C + c], &want, 1, 5e-5, 1e-5);
            want = 1 + naive_dx(n, c, C, m);
            /* terms of the size of rstd cancel */
            ck_assert_near(&dx[n * C + c], &want, 1, 1e-5 * (1 + m->rstd[n]), 1e-5);
        }
    for (size_t c = 0; c < C; c++) {
        double scale = 2, shift = 3;
        for (size_t n = 0; n < N; n++) {
            double hat = ((double)x[n * C + c] - m->mean[n]) * m->rstd[n];
            scale += (double)dout[n * C + c] * hat;
            shift += (double)dout[n * C + c];
        }
        ck_assert_near(&dgamma[c], &scale, 1, 1e-4, 1e-5);
        ck_assert_near(&dbeta[c], &shift, 1, 1e-6, 1e-6);
    }
}

/* A level of 10 is lost if the variance is taken as the mean of squares less the square of the mean. */
START_TEST(as_written_out)
{
    const size_t sizes[] = { 1, 2, 5, 8, 31, 32, 33, 64, 100, 384, C_MAX };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes * 2; k++) {
        size_t C = sizes[k / 2];
        const double eps = k % 2 ? 1e-5 : 1e-2;
        fill(x, N * C, k % 2 ? 10 : 0);
        fill(dout, N * C, 0);
        fill(gamma_, C, 1);
        fill(beta, C, 0);
        for (size_t i = 0; i < N * C; i++)
            dx[i] = 1;
        for (size_t c = 0; c < C; c++) {
            dgamma[c] = 2;
            dbeta[c] = 3;
        }
        if (C == 2)
            x[1] = x[0] + 1, x[3] = x[2] + 1, x[5] = x[4] - 1; /* no variance, no precision */
        layernorm_forward(out, mean, rstd, x, gamma_, beta, N, C, (float)eps);
        const struct layernorm_grads g = { dx, dgamma, dbeta };
        layernorm_backward(&g, dout, x, gamma_, mean, rstd, N, C);
        const struct moments m = naive_moments(C, (double)(float)eps);
        check(C, &m);
    }
}
END_TEST

START_TEST(in_place_and_without)
{
    enum { C = 37 };
    fill(x, N * C, 0);
    fill(dout, N * C, 0);
    fill(gamma_, C, 1);
    fill(beta, C, 0);
    layernorm_forward(out, mean, rstd, x, gamma_, beta, N, C, 1e-5F);
    layernorm_backward(
        &(struct layernorm_grads){ dx, dgamma, dbeta }, dout, x, gamma_, mean, rstd, N, C);
    float same[N * C], again[N * C] = { 0 };
    layernorm_backward(&(struct layernorm_grads){ .dx = again }, dout, x, gamma_, mean, rstd, N, C);
    ck_assert_mem_eq(again, dx, sizeof again);
    memcpy(same, x, sizeof same);
    layernorm_forward(same, NULL, NULL, same, gamma_, beta, N, C, 1e-5F);
    ck_assert_mem_eq(same, out, sizeof same);
    /* No variance: eps alone keeps the row finite. */
    for (size_t c = 0; c < C; c++)
        x[c] = 3;
    layernorm_forward(out, NULL, NULL, x, gamma_, beta, 1, C, 1e-12F);
    ck_assert_near(out, beta, C, 1e-6, 1e-6);
}
END_TEST

TEST_SUITE(layernorm)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_written_out);
    tcase_add_test(tc, in_place_and_without);
    suite_add_tcase(s, tc);
}
