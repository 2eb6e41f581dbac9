/* core/nn/approx.h against libm, over dense ranges. */
#include "core/nn/approx.h"

#include "tests/support/test.h"

static const struct {
    const char *name;
    float (*f)(float x);
    double (*exact)(double x);
    float from, to; /* beyond them the result is the one at the end */
    double absolute, relative;
} functions[] = { { "exp", exp_of, exp, -87, 0, 4e-7, 4e-7 },
    { "erf", erf_of, erf, -5, 5, 2e-7, 5e-7 }, { "tanh", tanh_of, tanh, -13, 13, 2e-7, 5e-7 } };
enum { N_FUNCTIONS = sizeof functions / sizeof functions[0], STEPS = 1000003 };

START_TEST(errors)
{
    for (size_t i = 0; i < N_FUNCTIONS; i++) {
        double absolute = 0, relative = 0;
        for (int step = 0; step <= STEPS; step++) {
            double at = (double)step / STEPS;
            float x = (float)((double)functions[i].from * (1 - at) + (double)functions[i].to * at);
            double want = functions[i].exact((double)x);
            double d = fabs((double)functions[i].f(x) - want);
            absolute = fmax(absolute, d);
            if (fabs(want) > 0) relative = fmax(relative, d / fabs(want));
        }
        ck_assert_msg(absolute <= functions[i].absolute && relative <= functions[i].relative,
            "%s: errors %g, relative %g", functions[i].name, absolute, relative);
    }
}
END_TEST

/* Small arguments keep their relative error, down to the smallest normal numbers. */
START_TEST(near_zero)
{
    for (float x = 1; x > 1e-36F; x *= 0.93F) {
        double e = erf((double)x), t = tanh((double)x);
        ck_assert(fabs((double)erf_of(x) - e) <= 5e-7 * e);
        ck_assert(fabs((double)tanh_of(x) - t) <= 5e-7 * t);
    }
    ck_assert(erf_of(0.0F) == 0 && !signbit(erf_of(0.0F)) && signbit(erf_of(-0.0F)));
    ck_assert(tanh_of(0.0F) == 0 && !signbit(tanh_of(0.0F)) && signbit(tanh_of(-0.0F)));
    ck_assert(exp_of(0.0F) == 1);
}
END_TEST

START_TEST(odd_and_bounded)
{
    for (int i = 0; i < 200000; i++) {
        float x = (float)i * 1e-4F;
        ck_assert(erf_of(-x) == -erf_of(x) && erf_of(x) <= 1 && erf_of(x) >= 0);
        ck_assert(tanh_of(-x) == -tanh_of(x) && tanh_of(x) <= 1 && tanh_of(x) >= 0);
    }
}
END_TEST

START_TEST(ends)
{
    static const float large[] = { 20, 1e10F, 3e38F, INFINITY };
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        ck_assert(erf_of(large[i]) == 1 && erf_of(-large[i]) == -1);
        ck_assert(tanh_of(large[i]) == 1 && tanh_of(-large[i]) == -1);
    }
    ck_assert(exp_of(-87.1F) == 0 && exp_of(-3e38F) == 0 && exp_of(-INFINITY) == 0);
    for (size_t i = 0; i < N_FUNCTIONS; i++)
        ck_assert(isnan(functions[i].f(NAN)) && isnan(functions[i].f(-NAN)));
}
END_TEST

TEST_SUITE(approx)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, errors);
    tcase_add_test(tc, near_zero);
    tcase_add_test(tc, odd_and_bounded);
    tcase_add_test(tc, ends);
    suite_add_tcase(s, tc);
}
