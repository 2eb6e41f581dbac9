/* The assertions of test.h. libcheck's own macros report file and line of the macro, so these call its
 * failure function with the place of the test. */
#include "tests/support/test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* _ck_assert_failed is what ck_abort_msg expands to; it does not return. */
#define FAIL_AT(file, line, ...) _ck_assert_failed((file), (line), "Failure", __VA_ARGS__)

void test__ok(enum err_code got, const struct err *e, const char *expr, const char *file, int line)
{
    mark_point();
    if (got == ERR_OK) return;
    FAIL_AT(file, line, "%s: %s: %s%s%s", expr, err_name(got), e ? e->msg : "(no message)",
        e && e->field[0] ? " at " : "", e ? e->field : "");
}

void test__err(enum err_code got, enum err_code want, const char *expr, const char *file, int line)
{
    mark_point();
    if (got == want) return;
    FAIL_AT(file, line, "%s: got %s, expected %s", expr, err_name(got), err_name(want));
}

static double at(const void *p, int is_double, size_t i)
{
    return is_double ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

/* How far off in units of the tolerance; above 1 is a mismatch. */
static double badness(double got, double want, double abs_tol, double rel_tol)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0.0 : INFINITY;
    if (isinf(want) || isinf(got)) return got == want ? 0.0 : INFINITY;
    double diff = fabs(got - want), tol = abs_tol + rel_tol * fabs(want);
    if (diff == 0.0) return 0.0;
    return tol > 0.0 ? diff / tol : INFINITY;
}

void test__near(const void *got, int got_double, const void *want, int want_double, size_t n,
    double abs_tol, double rel_tol, const char *file, int line)
{
    enum { SHOWN = 4 };
    size_t bad = 0, worst_i = 0, at_text = 0;
    double worst = 0.0;
    char text[512] = "";

    mark_point();
    for (size_t i = 0; i < n; i++) {
        double g = at(got, got_double, i), w = at(want, want_double, i);
        double b = badness(g, w, abs_tol, rel_tol);
        if (b > worst) {
            worst = b;
            worst_i = i;
        }
        if (b <= 1.0) continue;
        if (bad++ < SHOWN) {
            int k =
                snprintf(text + at_text, sizeof text - at_text, " [%zu] %.9g for %.9g;", i, g, w);
            if (k > 0 && (size_t)k < sizeof text - at_text) at_text += (size_t)k;
        }
    }
    if (bad == 0) return;
    FAIL_AT(file, line,
        "%zu of %zu values off (tolerance %g + %g*|want|):%s worst [%zu] %.9g for %.9g", bad, n,
        abs_tol, rel_tol, text, worst_i, at(got, got_double, worst_i),
        at(want, want_double, worst_i));
}

int test_forks(void)
{
    const char *v = getenv("CK_FORK");
#if defined(__SANITIZE_THREAD__)
    return v && strcmp(v, "no") != 0;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return v && strcmp(v, "no") != 0;
#endif
#endif
    return !v || strcmp(v, "no") != 0;
}

void tcase__add_abort_test(TCase *tc, const TTest *t)
{
    if (test_forks()) tcase_add_test_raise_signal(tc, t, SIGABRT);
}

int test_is_oom_run(void)
{
    const char *v = getenv("KINDRED_OOM");
    return v && v[0] == '1';
}

int test_is_slow_run(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 1;
#endif
#endif
    return getenv("KINDRED_SLOW") != NULL;
}
