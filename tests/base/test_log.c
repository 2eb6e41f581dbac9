#include "tests/support/test.h"

#include "base/log.h"
#include "base/thread.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What was logged goes through a pipe; a pipe holds far more than a test writes. */
static int ends[2];
static char text[1 << 16];

static void setup(void)
{
    ck_assert_int_eq(pipe(ends), 0);
    log_set_fd(ends[1]);
    log_set_level(LOG_INFO);
}

static void teardown(void)
{
    log_set_fd(STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
}

/* All lines so far, without "ts=... " in front of each when there is only one. */
static const char *logged(void)
{
    ck_assert(write(ends[1], "\x04", 1) == 1);
    size_t n = 0;
    do {
        ssize_t got = read(ends[0], text + n, sizeof text - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    } while (text[n - 1] != '\x04');
    text[n - 1] = '\0';
    return text;
}

static const char *after_ts(const char *line)
{
    ck_assert_int_eq(strncmp(line, "ts=20", 5), 0);
    const char *space = strchr(line, ' ');
    ck_assert_int_eq(space - line, 3 + 24);
    return space + 1;
}

START_TEST(fields)
{
    LOG(INFO, "listening", F_STR("addr", "127.0.0.1:8080"), F_INT("n", -5), F_UINT("u", UINT64_MAX),
        F_NUM("ms", 1.5), F_STR("none", NULL), F_NUM("nan", NAN), F_NUM("huge", 1e300));
    ck_assert_str_eq(after_ts(logged()),
        "level=info event=listening addr=127.0.0.1:8080 n=-5 u=18446744073709551615 ms=1.500 "
        "none=\"\" nan=nan huge=1e+300\n");
}
END_TEST

START_TEST(levels)
{
    LOG(DEBUG, "hidden", F_INT("a", 1));
    LOG(WARN, "seen", F_INT("a", 1));
    log_set_level(LOG_OFF);
    LOG(ERROR, "hidden", F_INT("a", 1));
    log_set_level(LOG_DEBUG);
    LOG(DEBUG, "seen", F_INT("a", 2));
    const char *all = logged();
    ck_assert_ptr_null(strstr(all, "hidden"));
    ck_assert_ptr_nonnull(strstr(all, "level=warn event=seen a=1\n"));
    ck_assert_ptr_nonnull(strstr(all, "level=debug event=seen a=2\n"));
}
END_TEST

START_TEST(a_value_cannot_forge_a_line)
{
    static const struct {
        const char *value, *want;
    } rows[] = {
        { "plain", "plain" }, { "two words", "\"two words\"" }, { "a=b", "\"a=b\"" },
        { "q\"q\\", "\"q\\\"q\\\\\"" }, { "x\nts=2026 level=error", "\"x\\nts=2026 level=error\"" },
        { "\x1b[31m\r\t\x7f", "\"\\x1b[31m\\r\\t\\x7f\"" },
        { "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x88",
            "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x88\"" },
        { "\xC2\x9B"
          "2J",
            "\"\\xc2\\x9b2J\"" },                                    /* C1 control */
        { "\xFF\xC3", "\"\\xff\\xc3\"" },                            /* not UTF-8, cut short */
        { "\xED\xA0\x80\xC0\x80", "\"\\xed\\xa0\\x80\\xc0\\x80\"" }, /* surrogate, overlong */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char want[256];
        LOG(INFO, "e", F_STR("v", rows[i].value));
        snprintf(want, sizeof want, "level=info event=e v=%s\n", rows[i].want);
        ck_assert_str_eq(after_ts(logged()), want);
    }
}
END_TEST

START_TEST(what_does_not_fit_is_left_out)
{
    static char big[9000];
    memset(big, 'x', sizeof big - 1);
    LOG(INFO, "e", F_INT("a", 1), F_STR("big", big), F_INT("b", 2));
    ck_assert_str_eq(after_ts(logged()), "level=info event=e a=1 b=2 cut=true\n");
    memset(big, '\n', sizeof big - 1);
    LOG(INFO, "e", F_STR("big", big));
    ck_assert_str_eq(after_ts(logged()), "level=info event=e cut=true\n");
    big[4000] = '\0';
    memset(big, 'y', 4000);
    LOG(INFO, "e", F_STR("big", big), F_STR("big2", big));
    const char *line = after_ts(logged());
    ck_assert_uint_lt(strlen(line), 4096);
    ck_assert_ptr_nonnull(strstr(line, "yyy cut=true\n"));
}
END_TEST

static void log_much(void *arg)
{
    for (int i = 0; i < 100; i++)
        LOG(INFO, "busy", F_STR("who", arg), F_INT("i", i));
}

START_TEST(lines_of_threads_do_not_mix)
{
    static char names[3][40] = { "aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbb", "ccccccc" };
    struct thread t[3] = { 0 };
    for (int i = 0; i < 3; i++)
        ck_assert_ok(thread_start(&t[i], "logger", log_much, names[i], NULL));
    for (int i = 0; i < 3; i++)
        thread_join(&t[i]);
    int lines = 0;
    for (const char *line = logged(); *line; lines++) {
        char who[40];
        int i;
        ck_assert_int_eq(sscanf(after_ts(line), "level=info event=busy who=%39s i=%d", who, &i), 2);
        ck_assert(strcmp(who, names[who[0] - 'a']) == 0);
        line = strchr(line, '\n') + 1;
    }
    ck_assert_int_eq(lines, 300);
}
END_TEST

TEST_SUITE(log)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fields);
    tcase_add_test(tc, levels);
    tcase_add_test(tc, a_value_cannot_forge_a_line);
    tcase_add_test(tc, what_does_not_fit_is_left_out);
    tcase_add_test(tc, lines_of_threads_do_not_mix);
    suite_add_tcase(s, tc);
}
