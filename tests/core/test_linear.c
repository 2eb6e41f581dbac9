#include "core/nn/linear.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <math.h>

enum { MOST = 40 };

static struct rng rng;
static float x[MOST * MOST], w[MOST * MOST], b[MOST], y[MOST * MOST + 1], dy[MOST * MOST];
static float dx[MOST * MOST], dw[MOST * MOST], db[MOST];

static void set_up(void)
{
    rng_init(&rng, 1);
}

static void fill(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&rng);
}

static void check_forward(size_t N, size_t I, size_t O, const float *bias)
{
    for (size_t i = 0; i < MOST * MOST; i++)
        y[i] = NAN; /* need not be initialised */
    y[N * O] = 7;
    linear_forward(y, x, w, bias, N, I, O);
    ck_assert(y[N * O] == 7);
    for (size_t n = 0; n < N; n++)
        for (size_t o = 0; o < O; o++) {
            double want = bias ? (double)bias[o] : 0;
            for (size_t i = 0; i < I; i++)
                want += (double)x[n * I + i] * (double)w[o * I + i];
            ck_assert_near(
                &y[n * O + o], &want, 1, 2e-5, 1e-5); /* sums of up to 40 terms of size 1 */
        }
}

static void check_backward(size_t N, size_t I, size_t O)
{
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < I; i++) {
            double want = 1;
            for (size_t o = 0; o < O; o++)
                want += (double)dy[n * O + o] * (double)w[o * I + i];
            ck_assert_near(&dx[n * I + i], &want, 1, 2e-5, 1e-5);
        }
    for (size_t o = 0; o < O; o++) {
        double sum = 3;
        for (size_t n = 0; n < N; n++)
            sum += (double)dy[n * O + o];
        ck_assert_near(&db[o], &sum, 1, 2e-5, 1e-5);
        for (size_t i = 0; i < I; i++) {
            double want = 2;
            for (size_t n = 0; n < N; n++)
                want += (double)dy[n * O + o] * (double)x[n * I + i];
            ck_assert_near(&dw[o * I + i], &want, 1, 2e-5, 1e-5);
        }
    }
}

START_TEST(as_written_out)
{
    const size_t sizes[] = { 1, 2, 7, MOST };
    for (size_t k = 0; k < 4 * 4 * 4; k++) {
        size_t N = sizes[k % 4], I = sizes[k / 4 % 4], O = sizes[k / 16];
        fill(x, N * I);
        fill(w, O * I);
        fill(b, O);
        fill(dy, N * O);
        check_forward(N, I, O, b);
        check_forward(N, I, O, NULL);
        for (size_t i = 0; i < MOST * MOST; i++) {
            dx[i] = 1;
            dw[i] = 2;
        }
        for (size_t i = 0; i < MOST; i++)
            db[i] = 3;
        /* One at a time: what is not wanted is not looked at. */
        linear_backward(&(struct linear_grads){ .dx = dx }, dy, NULL, w, N, I, O);
        linear_backward(&(struct linear_grads){ .dw = dw }, dy, x, NULL, N, I, O);
        linear_backward(&(struct linear_grads){ .db = db }, dy, NULL, NULL, N, I, O);
        check_backward(N, I, O);
    }
}
END_TEST

TEST_SUITE(linear)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, as_written_out);
    suite_add_tcase(s, tc);
}
