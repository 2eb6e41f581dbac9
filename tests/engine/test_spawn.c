#include "engine/spawn.h"

#include "base/mem.h"
#include "base/thread.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tmpdir dir;
static char log_path[TMPDIR_PATH_BYTES];

static void setup(void)
{
    tmpdir_make(&dir);
    tmpdir_file(&dir, "log", log_path);
}
static void teardown(void)
{
    tmpdir_remove(&dir);
}

static struct child start(const char *script, const char *const *env)
{
    struct err e = ERR_INIT;
    struct child c = CHILD_INIT;
    const char *const argv[] = { "sh", "-c", script, NULL };
    const struct spawn_options o = {
        .program = "/bin/sh", .argv = argv, .stderr_path = log_path, .env = env
    };
    ck_assert_ok(child_start(&o, &c, &e), &e);
    ck_assert_int_gt(c.pid, 0);
    return c;
}

/* Everything it says, then its status. */
static int finish(struct child *c, char *out, size_t size)
{
    size_t n = 0;
    while (c->out >= 0 && n + 1 < size)
        n += child_read(c, out + n, size - 1 - n, 100);
    out[n] = '\0';
    while (!child_has_ended(c))
        (void)child_read(c, NULL, 0, 10);
    return child_reap(c);
}

static bool is_gone(pid_t pid)
{
    for (int i = 0; i < 500; i++) { /* init has to reap it */
        char path[64], state = 0;
        (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *f = fopen(path, "r");
        if (!f) return true;
        if (fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z') state = 0;
        fclose(f);
        if (!state) return true;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return false;
}

START_TEST(output_and_status)
{
    char out[200];
    struct child c = start("echo hello; echo problem >&2; cat; exit 3", NULL);
    int status = finish(&c, out, sizeof out);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 3);
    ck_assert_str_eq(out, "hello\n"); /* cat found an empty input */
    FILE *f = fopen(log_path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(out, sizeof out, f));
    ck_assert_str_eq(out, "problem\n");
    fclose(f);
    ck_assert_int_eq(c.pid, 0);
    ck_assert_int_eq(c.out, -1);
    child_signal(&c, SIGKILL); /* nobody */
    ck_assert_int_eq(child_reap(&c), 0);
}
END_TEST

START_TEST(no_descriptor_but_three)
{
    char out[400];
    int leak = open("/dev/null", O_RDONLY); /* NOLINT: without O_CLOEXEC, which is the point */
    ck_assert_int_ge(leak, 3);
    struct child c = start("ls /proc/$$/fd", NULL);
    finish(&c, out, sizeof out);
    close(leak);
    ck_assert_str_eq(out, "0\n1\n2\n");
}
END_TEST

START_TEST(environment)
{
    char out[400];
    setenv("KINDRED_API_KEY", "secret", 1);
    setenv("KINDRED_API_KEY_FILE", "/secret", 1);
    setenv("KINDRED_TEST_A", "a", 1);
    setenv("KINDRED_TEST_B", "b", 1);
    const char *const env[] = { "KINDRED_TEST_B=other", "KINDRED_TEST_C=c", NULL };
    struct child c = start("env | grep ^KINDRED_ | grep -v ^KINDRED_MODELS | sort", env);
    finish(&c, out, sizeof out);
    unsetenv("KINDRED_API_KEY");
    unsetenv("KINDRED_API_KEY_FILE");
    unsetenv("KINDRED_TEST_A");
    unsetenv("KINDRED_TEST_B");
    ck_assert_ptr_null(strstr(out, "ecret"));
    ck_assert_ptr_nonnull(
        strstr(out, "KINDRED_TEST_A=a\nKINDRED_TEST_B=other\nKINDRED_TEST_C=c\n"));
}
END_TEST

START_TEST(signals_are_as_at_start)
{
    char out[200];
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, &old); /* as all threads of a server have it */
    struct child c = start("echo on; sleep 100", NULL);
    ck_assert_uint_eq(child_read(&c, out, sizeof out, 10000), 3);
    child_signal(&c, SIGTERM);
    int status = finish(&c, out, sizeof out);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGTERM);
}
END_TEST

/* As some programs leave it to those that they start: children are reaped by the system then. */
START_TEST(nothing_is_left_to_wait_for)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
    ck_assert_int_eq(sigaction(SIGCHLD, &ignore, &old), 0);
    char out[200];
    struct child c = start("echo hello", NULL);
    finish(&c, out, sizeof out);
    ck_assert_int_eq(sigaction(SIGCHLD, &old, NULL), 0);
    ck_assert_str_eq(out, "hello\n");
}
END_TEST

START_TEST(what_it_started_ends_too)
{
    char out[200];
    struct child c = start("sleep 100 & echo $!; exit 0", NULL);
    size_t n = 0;
    while (n == 0 || out[n - 1] != '\n')
        n += child_read(&c, out + n, sizeof out - n, 1000);
    out[n] = '\0';
    while (!child_has_ended(&c)) {}
    pid_t grandchild = (pid_t)strtol(out, NULL, 10);
    ck_assert_int_eq(kill(grandchild, 0), 0);
    child_reap(&c);
    ck_assert(is_gone(grandchild));
}
END_TEST

/* Starved of its core is not dead; asleep for ever is. */
START_TEST(busy_and_asleep_are_told_apart)
{
    struct child busy = start("while :; do :; done", NULL);
    struct child asleep = start("exec sleep 60", NULL);
    int64_t until = time_mono_ns() + 20 * NS_PER_S;
    while (child_is_runnable(&asleep) && time_mono_ns() < until)
        (void)child_read(&asleep, NULL, 0, 10);
    ck_assert(!child_is_runnable(&asleep));
    while (!child_is_runnable(&busy) && time_mono_ns() < until)
        (void)child_read(&busy, NULL, 0, 10);
    ck_assert(child_is_runnable(&busy));
    (void)child_reap(&busy);
    (void)child_reap(&asleep);
}
END_TEST

START_TEST(no_such_program)
{
    struct err e = ERR_INIT;
    struct child c = CHILD_INIT;
    const char *const argv[] = { "x", NULL };
    const struct spawn_options o = {
        .program = "/nowhere/x", .argv = argv, .stderr_path = log_path
    };
    ck_assert_err(child_start(&o, &c, &e), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.msg, "/nowhere/x"));
    ck_assert_int_eq(c.pid, 0);
    ck_assert(child_has_ended(&c));
}
END_TEST

START_TEST(log_is_bounded)
{
    char out[10];
    const size_t n = (size_t)2 << 20;
    for (int i = 0; i < 3; i++) {
        struct child c = start("head -c 900000 /dev/zero >&2", NULL);
        finish(&c, out, sizeof out);
    }
    FILE *f = fopen(log_path, "r");
    fseek(f, 0, SEEK_END);
    ck_assert_int_gt(ftell(f), 0);
    ck_assert_uint_lt((size_t)ftell(f), n);
    fclose(f);
}
END_TEST

TEST_SUITE(spawn)
{
    TCase *tc = tcase_create("spawn");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, output_and_status);
    tcase_add_test(tc, no_descriptor_but_three);
    tcase_add_test(tc, environment);
    tcase_add_test(tc, signals_are_as_at_start);
    tcase_add_test(tc, nothing_is_left_to_wait_for);
    tcase_add_test(tc, what_it_started_ends_too);
    tcase_add_test(tc, busy_and_asleep_are_told_apart);
    tcase_add_test(tc, no_such_program);
    tcase_add_test(tc, log_is_bounded);
    suite_add_tcase(s, tc);
}
