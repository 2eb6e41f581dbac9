/* Layer: tests. May include: libcheck, base.
 *
 * What every test file includes. A file registers its suite by itself:
 *
 *   START_TEST(finds_itself) { ... } END_TEST
 *
 *   TEST_SUITE(hnsw_insert)
 *   {
 *       TCase *tc = tcase_create("core");
 *       tcase_add_test(tc, finds_itself);
 *       suite_add_tcase(s, tc);
 *   }
 *
 * Inside the braces `s` is the suite, named "hnsw_insert". The runner
 * (runner.c) runs all registered suites, or those named as arguments. Tests run
 * in the root of the source tree, so `tests/data/...` can be opened.
 */
#pragma once

#include "base/err.h"

#include <check.h>
#include <stddef.h>

struct test_suite {
    const char *name;
    void (*fill)(Suite *s);
    struct test_suite *next;
};
/** Called by TEST_SUITE before main. */
void test_register(struct test_suite *t);

#define TEST_SUITE(name_)                                                                          \
    static void test_fill_##name_(Suite *s);                                                       \
    static struct test_suite test_suite_##name_ = { #name_, test_fill_##name_, NULL };             \
    __attribute__((constructor)) static void test_register_##name_(void)                           \
    {                                                                                              \
        test_register(&test_suite_##name_);                                                        \
    }                                                                                              \
    static void test_fill_##name_(Suite *s)

/** ERR_OK expected. Give the `struct err` too, so that a failure prints its message:
 * ck_assert_ok(file_read(path, 10, &p, &n, &e), &e); */
#define ck_assert_ok(...)                                                                          \
    test__ok(TEST__FIRST(__VA_ARGS__, 0), TEST__SECOND(__VA_ARGS__, NULL, NULL), #__VA_ARGS__,     \
        __FILE__, __LINE__)
#define TEST__FIRST(a, ...) (a)
#define TEST__SECOND(a, b, ...) (b)
/** Exactly this code expected: ck_assert_err(buf_check(&b, NULL), ERR_LIMIT); */
#define ck_assert_err(expr, code) test__err((expr), (code), #expr, __FILE__, __LINE__)

/** got[i] within abs + rel*|want[i]| of want[i] for all i < n. Each may be float or double; NaN matches
 * only NaN, an infinity only itself. Prints the first mismatches and the worst. */
#define ck_assert_near(got, want, n, abs_tol, rel_tol)                                             \
    test__near((got), TEST__IS_DOUBLE(got), (want), TEST__IS_DOUBLE(want), (n), (abs_tol),         \
        (rel_tol), __FILE__, __LINE__)
#define TEST__IS_DOUBLE(p)                                                                         \
    _Generic((p), float * : 0, const float * : 0, double * : 1, const double * : 1)

void test__ok(enum err_code got, const struct err *e, const char *expr, const char *file, int line);
void test__err(enum err_code got, enum err_code want, const char *expr, const char *file, int line);
void test__near(const void *got, int got_double, const void *want, int want_double, size_t n,
    double abs_tol, double rel_tol, const char *file, int line);

/** A test that must end by SIGABRT (ASSERT_BUG); left out where tests do not fork. */
void tcase__add_abort_test(TCase *tc, const TTest *t);
#define tcase_add_abort_test(tc, test) tcase__add_abort_test((tc), (test))
/** Do tests fork? Not under ThreadSanitizer. */
int test_forks(void);

/** 1 where every allocation is made to fail in turn (make check-oom), else 0: for suites whose full
 * round is too slow for every day. */
int test_is_oom_run(void);
/** 1 under a sanitizer or valgrind, where time limits and sizes need slack. */
int test_is_slow_run(void);
