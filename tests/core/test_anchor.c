/* core/learn/anchor.c; tests/grad has its gradient too. */
#include "core/learn/loss.h"

#include "tests/support/test.h"

#include <math.h>

START_TEST(by_hand)
{
    const float x[] = { 1, 0, 0.6F, 0.8F, 0, -1 }, p[] = { 1, 0, 0.8F, 0.6F, 0, 1 };
    float got = anchor_forward(x, p, 3, 2), want = (0 + 0.04F + 2) / 3;
    ck_assert_near(&got, &want, 1, 1e-6, 0.0);
    float dx[6] = { 1, 1, 1, 1, 1, 1 }, want_dx[6];
    for (int i = 0; i < 6; i++)
        want_dx[i] = 1 - 0.3F * p[i] / 3;
    anchor_backward(dx, p, 3, 2, 0.3F);
    ck_assert_near(dx, want_dx, 6, 1e-7, 1e-6);
}
END_TEST

START_TEST(edges)
{
    const float bad[] = { NAN, 1 }, good[] = { 0, 1 };
    ck_assert(isnan(anchor_forward(bad, good, 1, 2)));
    ck_assert(anchor_forward(good, good, 0, 2) == 0);
    float dx[2] = { 1, 2 };
    anchor_backward(dx, good, 0, 2, 1);
    ck_assert(dx[0] == 1 && dx[1] == 2);
}
END_TEST

TEST_SUITE(anchor)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, by_hand);
    tcase_add_test(tc, edges);
    suite_add_tcase(s, tc);
}
