#include "core/nn/gemm.h"

#include "base/rng.h"
#include "base/thread.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE_MAX = 70 };

static struct rng rng;
static float a[SIDE_MAX * SIDE_MAX], b[SIDE_MAX * SIDE_MAX];
static float c[SIDE_MAX * SIDE_MAX], want[SIDE_MAX * SIDE_MAX];

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

static void set_up(void)
{
    rng_init(&rng, 1);
    fill(a, SIDE_MAX * SIDE_MAX);
    fill(b, SIDE_MAX * SIDE_MAX);
}

/* The reference itself: the product written out. */
START_TEST(naive_by_hand)
{
    const float x[] = { 1, 2, 3, 4, 5, 6 }, y[] = { 7, 8, 9, 10, 11, 12 };
    const float xy[] = { 58, 64, 139, 154 };  /* [2,3] [3,2] */
    const float xty[] = { 89, 98, 116, 128 }; /* [3,2]T [3,2] */
    const float xyt[] = { 50, 68, 122, 167 }; /* [2,3] [2,3]T */
    float got[4] = { 1, 1, 1, 1 };
    gemm_naive(false, false, 2, 2, 3, 1, x, y, 0, got);
    ck_assert_near(got, xy, 4, 0.0, 0.0);
    gemm_naive(true, false, 2, 2, 3, 1, x, y, 0, got);
    ck_assert_near(got, xty, 4, 0.0, 0.0);
    gemm_naive(false, true, 2, 2, 3, 1, x, y, 0, got);
    ck_assert_near(got, xyt, 4, 0.0, 0.0);
    gemm_naive(false, true, 2, 2, 3, 2, x, y, -1, got);
    ck_assert_near(got, xyt, 4, 0.0, 0.0);
}
END_TEST

START_TEST(as_naive)
{
    const size_t sides[] = { 1, 2, 3, 17, 32, 65 };
    const float factors[][2] = { { 1, 0 }, { 0.5F, 1 }, { -2, 0.25F }, { 0, 1 } };
    for (int k = 0; k < 6 * 6 * 6 * 4; k++) {
        size_t M = sides[k % 6], N = sides[k / 6 % 6], K = sides[k / 36 % 6];
        bool ta = k / 216 & 1, tb = k / 432;
        const float *f = factors[(k + k / 6 + k / 36) % 4];
        fill(c, M * N);
        memcpy(want, c, sizeof want);
        gemm(ta, tb, M, N, K, f[0], a, b, f[1], c);
        gemm_naive(ta, tb, M, N, K, f[0], a, b, f[1], want);
        ck_assert_near(c, want, M * N, 1e-5 * sqrt((double)K), 1e-6);
    }
}
END_TEST

/* With beta 0, what was in c does not count; without an inner side, a product is 0. */
START_TEST(edges)
{
    for (size_t i = 0; i < 9; i++)
        c[i] = NAN;
    gemm(false, false, 3, 3, 5, 1, a, b, 0, c);
    gemm_naive(false, false, 3, 3, 5, 1, a, b, 0, want);
    ck_assert_near(c, want, 9, 1e-5, 1e-6);
    for (int t = 0; t < 4; t++) {
        float x[] = { 1, 2, 3, 4 }, half[] = { 0.5F, 1, 1.5F, 2 };
        gemm(t & 1, t & 2, 2, 2, 0, 1, a, b, 0.5F, x);
        ck_assert_near(x, half, 4, 0.0, 0.0);
        gemm(t & 1, t & 2, 0, 2, 2, 1, a, b, 0, x);
        gemm(t & 1, t & 2, 2, 0, 2, 1, a, b, 0, x);
        ck_assert_near(x, half, 4, 0.0, 0.0);
    }
    const float bad[] = { 1, NAN };
    gemm(false, false, 1, 1, 2, 1, bad, b, 0, c);
    ck_assert(isnan(c[0]));
}
END_TEST

static void multiply(void *arg)
{
    float *out = arg;
    for (int i = 0; i < 20; i++)
        gemm(false, true, 65, 65, 64, 1, a, b, 0, out);
}

START_TEST(same_bits_from_any_thread)
{
    enum { THREADS = 4 };
    static float outs[THREADS][65 * 65];
    struct thread t[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_ok(thread_start(&t[i], "gemm", multiply, outs[i], NULL));
    for (int i = 0; i < THREADS; i++)
        thread_join(&t[i]);
    gemm_naive(false, true, 65, 65, 64, 1, a, b, 0, want);
    ck_assert_near(outs[0], want, 65 * 65, 1e-4, 1e-6);
    for (int i = 1; i < THREADS; i++)
        ck_assert_mem_eq(outs[0], outs[i], sizeof outs[0]);
}
END_TEST

START_TEST(more_threads_agree)
{
    gemm_set_threads(2);
    gemm(true, false, 65, 65, 64, 1, a, b, 0, c);
    gemm_set_threads(0); /* as 1 */
    gemm_naive(true, false, 65, 65, 64, 1, a, b, 0, want);
    ck_assert_near(c, want, 65 * 65, 1e-4, 1e-6);
}
END_TEST

TEST_SUITE(gemm)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, naive_by_hand);
    tcase_add_test(tc, as_naive);
    tcase_add_test(tc, edges);
    tcase_add_test(tc, same_bits_from_any_thread);
    tcase_add_test(tc, more_threads_agree);
    suite_add_tcase(s, tc);
}
