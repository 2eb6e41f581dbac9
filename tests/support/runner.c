/* main() of every test runner: collects the suites that registered themselves before main, in the order of
 * their names, and runs them with libcheck.
 *
 *   test_index                 all suites
 *   test_index hnsw_insert     only these
 *   test_index --list          names
 *
 * libcheck forks for each test, so that a crash fails one test; under ThreadSanitizer, which does not
 * follow forks of threaded programs, all run in one process. CK_FORK, CK_RUN_CASE, CK_INCLUDE_TAGS and
 * CK_VERBOSITY work as libcheck documents them. A test may take 60 seconds unless its case says otherwise, and
 * four times what it says under a sanitizer: limits are there to end what hangs, not to measure. */
#include "tests/support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the sanitizers ask for at start; $ASAN_OPTIONS and its like win. Without these an allocation that is too
 * large would end the test instead of giving NULL. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:detect_leaks=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1:second_deadlock_stack=1";
}
const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}

static struct test_suite *suites;

void test_register(struct test_suite *t)
{
    struct test_suite **at = &suites;
    while (*at && strcmp((*at)->name, t->name) < 0)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
}

static int is_wanted(const char *name, int argc, char **argv)
{
    if (argc < 2) return 1;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return 1;
    return 0;
}

static void list(void)
{
    for (const struct test_suite *t = suites; t; t = t->next)
        puts(t->name);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return EXIT_SUCCESS;
    }
    signal(SIGPIPE, SIG_IGN);
    setenv("CK_DEFAULT_TIMEOUT", "60", 0);
    if (test_is_slow_run()) setenv("CK_TIMEOUT_MULTIPLIER", "4", 0);
    SRunner *sr = srunner_create(NULL);
    for (const struct test_suite *t = suites; t; t = t->next) {
        if (!is_wanted(t->name, argc, argv)) continue;
        Suite *s = suite_create(t->name);
        t->fill(s);
        srunner_add_suite(sr, s);
    }
    srunner_set_fork_status(sr, test_forks() ? CK_FORK : CK_NOFORK);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
