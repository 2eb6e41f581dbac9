#include "core/nn/activation.h"

#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { MOST = 4001 };

static const enum activation all[] = { ACTIVATION_IDENTITY, ACTIVATION_GELU, ACTIVATION_GELU_TANH,
    ACTIVATION_RELU, ACTIVATION_TANH };

static double value(enum activation f, double x)
{
    switch (f) {
    case ACTIVATION_IDENTITY: return x;
    case ACTIVATION_GELU: return x / 2 * (1 + erf(x / sqrt(2)));
    case ACTIVATION_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACTIVATION_RELU: return x > 0 ? x : 0;
    case ACTIVATION_TANH: return tanh(x);
    }
    return NAN;
}

static double slope(enum activation f, double x)
{
    if (f == ACTIVATION_RELU) return x > 0 ? 1 : 0;
    const double h = 1e-4;
    return (8 * (value(f, x + h) - value(f, x - h)) - value(f, x + 2 * h) + value(f, x - 2 * h)) /
        (12 * h);
}

/* From -20 to 20, where all of them are flat or straight. */
START_TEST(as_written_out)
{
    static float x[MOST], y[MOST], dx[MOST], dy[MOST];
    static double want[MOST], dwant[MOST];
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        for (size_t i = 0; i < MOST; i++) {
            x[i] = (float)((double)i - 2000) / 100;
            dy[i] = i % 2 ? 2 : -1;
            dx[i] = 0.5F;
            want[i] = value(all[k], (double)x[i]);
            dwant[i] = 0.5 + (double)dy[i] * slope(all[k], (double)x[i]);
        }
        activation_forward(all[k], y, x, MOST);
        ck_assert_near(y, want, MOST, 1e-6, 1e-6);
        activation_backward(all[k], dx, dy, x, MOST);
        /* 1 - tanh² is off by 2e-7 where it vanishes, and stands 9 times in GELU's slope, which dy doubles */
        ck_assert_near(dx, dwant, MOST, 4e-6, 1e-6);
    }
}
END_TEST

START_TEST(in_place_and_short)
{
    float x[67], y[67], dx[67], same[67];
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        for (size_t n = 0; n < 67; n++) {
            for (size_t i = 0; i < 67; i++) {
                x[i] = same[i] = (float)i / 8 - 4;
                dx[i] = y[i] = 9;
            }
            activation_forward(all[k], y, x, n);
            activation_forward(all[k], same, same, n);
            activation_backward(all[k], dx, x, x, n);
            ck_assert_near(same, y, n, 1e-7, 1e-6);
            for (size_t i = n; i < 67; i++)
                ck_assert(y[i] == 9 && dx[i] == 9 && same[i] == x[i]);
        }
}
END_TEST

START_TEST(edges)
{
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const float x[] = { NAN, INFINITY, 0, -0.0F, 1e30F, -1e30F };
        const float ones[] = { 1, 1, 1, 1, 1, 1 };
        float y[6], dx[6] = { 0 };
        activation_forward(all[k], y, x, 6);
        activation_backward(all[k], dx, ones, x, 6);
        ck_assert(isnan(y[0]));
        ck_assert(y[2] == 0 && y[3] == 0);
        ck_assert(y[1] == (all[k] == ACTIVATION_TANH ? 1 : INFINITY));
        ck_assert(isfinite(y[4]) && isfinite(y[5]));
        ck_assert(all[k] != ACTIVATION_RELU || (dx[2] == 0 && dx[3] == 0));
    }
}
END_TEST

TEST_SUITE(activation)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, as_written_out);
    tcase_add_test(tc, in_place_and_short);
    tcase_add_test(tc, edges);
    suite_add_tcase(s, tc);
}
