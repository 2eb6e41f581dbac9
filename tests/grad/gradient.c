#include "tests/grad/gradient.h"

#include "tests/support/test.h"

#include <float.h>
#include <math.h>

static double difference(loss_fn *f, void *arg, real_t *x, double h, double *ret_f)
{
    const double at[4] = { -2, -1, 1, 2 };
    const real_t old = *x;
    double v[4];
    for (int i = 0; i < 4; i++) {
        *x = old + at[i] * h;
        v[i] = f(arg);
    }
    *x = old;
    *ret_f = fabs(v[0]);
    return (8 * (v[2] - v[1]) - (v[3] - v[0])) / (12 * h);
}

void check_gradient(
    const char *what, loss_fn *f, void *arg, real_t *x, size_t n, const real_t *want, double size)
{
    double largest = 0, h = 1e-4 * size;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < n; i++) {
        double value, got = difference(f, arg, x + i, h, &value);
        double noise = 8 * DBL_EPSILON * fmax(value, 1) / h;
        double limit = 1e-6 * fabs(want[i]) + 1e-9 * largest + noise;
        ck_assert_msg(fabs(got - want[i]) <= limit, "%s [%zu]: backward %.12g, differences %.12g",
            what, i, want[i], got);
    }
}

void fill_random(real_t *x, size_t n, double size, struct rng *r)
{
    for (size_t i = 0; i < n; i++)
        x[i] = size * rng_normal(r);
}

void fill_unit(real_t *x, size_t N, size_t D, struct rng *r)
{
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        do {
            fill_random(x + i * D, D, 1, r);
            sum = 0;
            for (size_t d = 0; d < D; d++)
                sum += x[i * D + d] * x[i * D + d];
        } while (sum < 0.01);
        for (size_t d = 0; d < D; d++)
            x[i * D + d] /= sqrt(sum);
    }
}
