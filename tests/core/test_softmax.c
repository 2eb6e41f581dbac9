#include "core/nn/softmax.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { N = 3, C_MAX = 131 };

static struct rng rng;

static void set_up(void)
{
    rng_init(&rng, 1);
}

START_TEST(as_written_out)
{
    static float x[N * C_MAX], y[N * C_MAX + 1], dy[N * C_MAX], dx[N * C_MAX + 1], same[N * C_MAX];
    const double scales[] = { 1, 0.176776695, -1.5, 0, 30 };
    for (size_t C = 1; C <= C_MAX; C++)
        for (size_t k = 0; k < 5; k++) {
            const double scale = (double)(float)scales[k];
            for (size_t i = 0; i < N * C; i++) {
                x[i] = same[i] = (float)(2 * rng_normal(&rng));
                dy[i] = (float)rng_normal(&rng);
                dx[i] = 0.5F;
            }
            y[N * C] = dx[N * C] = 7;
            softmax_forward(y, x, (float)scale, N, C);
            softmax_forward(same, same, (float)scale, N, C);
            softmax_backward(dx, dy, y, (float)scale, N, C);
            ck_assert(y[N * C] == 7 && dx[N * C] == 7);
            ck_assert_mem_eq(same, y, N * C * sizeof *y);
            for (size_t n = 0; n < N; n++) {
                double want[C_MAX], dwant[C_MAX], sum = 0, along = 0;
                for (size_t c = 0; c < C; c++)
                    sum += want[c] = exp(scale * (double)x[n * C + c]);
                for (size_t c = 0; c < C; c++)
                    along += (want[c] /= sum) * (double)dy[n * C + c];
                for (size_t c = 0; c < C; c++)
                    dwant[c] = 0.5 + scale * want[c] * ((double)dy[n * C + c] - along);
                /* scale * x is off by 1e-7 of itself, up to 1e-5 here, and so is the exponential. */
                ck_assert_near(y + n * C, want, C, 1e-9, 2e-5);
                ck_assert_near(dx + n * C, dwant, C, 2e-5 * (1 + fabs(scale)), 1e-6);
            }
        }
}
END_TEST

START_TEST(edges)
{
    for (size_t C = 2; C < 40; C++) {
        float x[40], y[40];
        for (size_t c = 0; c < C; c++)
            x[c] = 3e38F;
        softmax_forward(y, x, 1, 1, C);
        for (size_t c = 0; c < C; c++)
            ck_assert(fabsf(y[c] - 1 / (float)C) < 1e-6F);
        x[0] = -3e38F;
        x[C - 1] = -INFINITY; /* left out */
        softmax_forward(y, x, 1, 1, C);
        ck_assert(y[0] == 0 || C == 2);
        ck_assert(y[C - 1] == 0);
        x[C / 2] = NAN;
        softmax_forward(y, x, 1, 1, C);
        for (size_t c = 0; c < C; c++)
            ck_assert(isnan(y[c]));
    }
}
END_TEST

TEST_SUITE(softmax)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_written_out);
    tcase_add_test(tc, edges);
    suite_add_tcase(s, tc);
}
