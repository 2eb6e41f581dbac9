#include "tests/support/oom.h"
#include "tests/support/test.h"

#include "base/metrics.h"
#include "base/thread.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct metric requests = METRIC_COUNTER("test_requests_total", "Requests.");
static struct metric depth = METRIC_GAUGE("test_depth", "Depth.");
static struct metric seconds = METRIC_HISTOGRAM("test_seconds", "Time.");
static struct metric crowded = METRIC_COUNTER("test_crowded_total", "Many series.");
static struct metric shared = METRIC_COUNTER("test_shared_total", "Many threads.");
static struct metric untouched = METRIC_COUNTER("test_untouched_total", "Never updated.");

static struct buf out;

static const char *rendered(void)
{
    struct err e = ERR_INIT;
    buf_done(&out);
    ck_assert_ok(metrics_render(&out, &e), &e);
    return out.p;
}

static void teardown(void)
{
    buf_done(&out);
}

static bool has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *p = text; (p = strstr(p, line)) != NULL; p++)
        if ((p == text || p[-1] == '\n') && p[n] == '\n') return true;
    return false;
}

#define ck_assert_line(text, line) ck_assert_msg(has_line((text), (line)), "no line: %s", (line))

START_TEST(counter_and_gauge)
{
    metric_add(&requests, "route=\"/b\",status=\"200\"", 1);
    metric_add(&requests, "route=\"/a\",status=\"200\"", 2);
    metric_add(&requests, "route=\"/b\",status=\"200\"", 1.5);
    metric_set(&depth, NULL, 7);
    metric_set(&depth, "", 3);
    const char *t = rendered();
    ck_assert_line(t, "# HELP test_requests_total Requests.");
    ck_assert_line(t, "# TYPE test_requests_total counter");
    ck_assert_line(t, "test_requests_total{route=\"/a\",status=\"200\"} 2");
    ck_assert_line(t, "test_requests_total{route=\"/b\",status=\"200\"} 2.5");
    ck_assert_line(t, "# TYPE test_depth gauge");
    ck_assert_line(t, "test_depth 3");
    ck_assert_ptr_null(strstr(t, "test_untouched"));
    ck_assert_double_eq(metric_value(&requests, "route=\"/b\",status=\"200\""), 2.5);
    ck_assert_double_eq(metric_value(&requests, "route=\"/c\""), 0);
    ck_assert_double_eq(metric_value(&untouched, NULL), 0);
    ck_assert(strstr(t, "route=\"/a\"") < strstr(t, "route=\"/b\"")); /* in order */
}
END_TEST

START_TEST(histogram)
{
    metric_observe(&seconds, "op=\"x\"", 0.0);
    metric_observe(&seconds, "op=\"x\"", 50e-6); /* bounds belong to their bucket */
    metric_observe(&seconds, "op=\"x\"", 51e-6);
    metric_observe(&seconds, "op=\"x\"", 100.0);
    const char *t = rendered();
    ck_assert_line(t, "# TYPE test_seconds histogram");
    ck_assert_line(t, "test_seconds_bucket{op=\"x\",le=\"5e-05\"} 2");
    ck_assert_line(t, "test_seconds_bucket{op=\"x\",le=\"0.0001\"} 3");
    ck_assert_line(t, "test_seconds_bucket{op=\"x\",le=\"6.5536\"} 3");
    ck_assert_line(t, "test_seconds_bucket{op=\"x\",le=\"+Inf\"} 4");
    ck_assert_line(t, "test_seconds_count{op=\"x\"} 4");
    ck_assert_line(t, "test_seconds_sum{op=\"x\"} 100.000101");
    metric_observe(&seconds, NULL, NAN); /* counts, in the last bucket */
    t = rendered();
    ck_assert_line(t, "test_seconds_bucket{le=\"6.5536\"} 0");
    ck_assert_line(t, "test_seconds_bucket{le=\"+Inf\"} 1");
}
END_TEST

START_TEST(process)
{
    const char *t = rendered(), *rss = strstr(t, "\nprocess_resident_memory_bytes ");
    ck_assert_ptr_nonnull(rss);
    ck_assert_double_gt(strtod(strchr(rss, ' '), NULL), 100e3);
    ck_assert_ptr_nonnull(strstr(t, "\nprocess_cpu_seconds_total "));
    const char *fds = strstr(t, "\nprocess_open_fds ");
    ck_assert_ptr_nonnull(fds);
    double before = strtod(strchr(fds, ' '), NULL);
    FILE *f = fopen("/dev/null", "r");
    fds = strstr(rendered(), "\nprocess_open_fds ");
    ck_assert_double_eq(strtod(strchr(fds, ' '), NULL), before + 1);
    fclose(f);
}
END_TEST

START_TEST(series_are_bounded)
{
    char labels[32];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < METRIC_SERIES_MAX + 50; i++) {
            snprintf(labels, sizeof labels, "i=\"%d\"", i);
            metric_add(&crowded, labels, 1);
        }
    ck_assert_double_eq(metric_value(&crowded, "i=\"0\""), 2);
    snprintf(labels, sizeof labels, "i=\"%d\"", METRIC_SERIES_MAX - 1);
    ck_assert_double_eq(metric_value(&crowded, labels), 2);
    snprintf(labels, sizeof labels, "i=\"%d\"", METRIC_SERIES_MAX);
    ck_assert_double_eq(metric_value(&crowded, labels), 0);
}
END_TEST

enum { THREADS = 4, UPDATES = 20000, SERIES = 200 };

static atomic_int arrived;

static void update(void *arg)
{
    char labels[32];
    (void)arg;
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < THREADS) /* so that all meet at each new series */
        sched_yield();
    for (int i = 0; i < UPDATES; i++) {
        snprintf(labels, sizeof labels, "s=\"%d\"", i % SERIES);
        metric_add(&shared, labels, 1);
        metric_observe(&seconds, labels, 1e-3);
    }
}

START_TEST(threads_lose_nothing)
{
    struct thread t[THREADS] = { 0 };
    char want[64];
    for (int i = 0; i < THREADS; i++)
        ck_assert_ok(thread_start(&t[i], "update", update, NULL, NULL));
    for (int i = 0; i < 5; i++)
        rendered();
    for (int i = 0; i < THREADS; i++)
        thread_join(&t[i]);
    double sum = 0;
    const char *text = rendered();
    for (int i = 0; i < SERIES; i++) {
        snprintf(want, sizeof want, "s=\"%d\"", i);
        sum += metric_value(&shared, want);
        snprintf(
            want, sizeof want, "test_seconds_count{s=\"%d\"} %d", i, THREADS * UPDATES / SERIES);
        ck_assert_line(text, want);
    }
    ck_assert_double_eq(sum, THREADS * UPDATES);
    /* One series a label set, however many threads met. */
    int n = 0;
    for (const char *p = text; (p = strstr(p, "\ntest_shared_total{")) != NULL; p++)
        n++;
    ck_assert_int_eq(n, SERIES);
}
END_TEST

static enum err_code update_and_render(void)
{
    static int round;
    char labels[32];
    struct buf b = BUF_INIT(0);
    snprintf(labels, sizeof labels, "round=\"%d\"", round++);
    metric_add(&requests, labels, 1); /* may be dropped */
    enum err_code code = metrics_render(&b, NULL);
    buf_done(&b);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(update_and_render);
}
END_TEST

TEST_SUITE(metrics)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, counter_and_gauge);
    tcase_add_test(tc, histogram);
    tcase_add_test(tc, process);
    tcase_add_test(tc, series_are_bounded);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, threads_lose_nothing);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
