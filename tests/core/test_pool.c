#include "core/nn/pool.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <string.h>

enum { N = 5, TOKENS = 45, C_MAX = 67 };

static const size_t starts[N + 1] = { 0, 1, 3, 10, 43, TOKENS };
static float x[TOKENS * C_MAX], dout[N * C_MAX], dx[TOKENS * C_MAX], out[N * C_MAX];

START_TEST(as_written_out)
{
    struct rng rng;
    rng_init(&rng, 1);
    for (size_t C = 1; C <= C_MAX; C += 3) {
        for (size_t i = 0; i < TOKENS * C; i++)
            x[i] = (float)rng_normal(&rng);
        for (size_t i = 0; i < N * C; i++)
            dout[i] = (float)rng_normal(&rng);
        for (int first = 0; first < 2; first++) {
            for (size_t i = 0; i < TOKENS * C; i++)
                dx[i] = 2;
            if (first) {
                pool_first_forward(out, x, starts, N, C);
                pool_first_backward(dx, dout, starts, N, C);
            } else {
                pool_mean_forward(out, x, starts, N, C);
                pool_mean_backward(dx, dout, starts, N, C);
            }
            for (size_t n = 0; n < N; n++)
                for (size_t c = 0; c < C; c++) {
                    const double count = first ? 1 : (double)(starts[n + 1] - starts[n]);
                    double sum = 0;
                    for (size_t t = starts[n]; t < starts[n + 1]; t++) {
                        const bool in = !first || t == starts[n];
                        sum += in ? (double)x[t * C + c] / count : 0;
                        double want = 2 + (in ? (double)dout[n * C + c] / count : 0);
                        ck_assert_near(&dx[t * C + c], &want, 1, 1e-6, 1e-6);
                    }
                    ck_assert_near(&out[n * C + c], &sum, 1, 1e-6, 1e-6);
                }
        }
    }
}
END_TEST

START_TEST(text_without_tokens)
{
    pool_mean_forward(out, x, (const size_t[]){ 0, 2, 2 }, 2, 3);
}
END_TEST

TEST_SUITE(pool)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, as_written_out);
    tcase_add_abort_test(tc, text_without_tokens);
    suite_add_tcase(s, tc);
}
