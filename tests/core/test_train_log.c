#include "core/learn/train_log.h"

#include "base/mem.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct tmpdir dir;
static char csv[TMPDIR_PATH_BYTES], svg[TMPDIR_PATH_BYTES];
static struct train_log l;

static void set_up(void)
{
    tmpdir_make(&dir);
    tmpdir_file(&dir, "log.csv", csv);
    tmpdir_file(&dir, "loss.svg", svg);
}

static void tear_down(void)
{
    train_log_done(&l);
    tmpdir_remove(&dir);
}

static void add(int64_t step, double loss)
{
    struct err e = ERR_INIT;
    const struct train_record r = { step, (double)step / 8, 1e-3, loss, loss, NAN, 0.25, 1234.5 };
    ck_assert_ok(train_log_add(&l, &r, &e), &e);
}

START_TEST(csv_lines)
{
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(train_log_write_csv(&l, csv, &e), &e);
    ck_assert_ok(train_log_append_csv(&l, csv, &e), &e);
    add(20, 2.5);
    ck_assert_ok(train_log_append_csv(&l, csv, &e), &e);
    add(40, 1.0 / 3);
    ck_assert_ok(train_log_append_csv(&l, csv, &e), &e);
    AUTO_FREE char *appended = train_fixture_read(csv, &n);
    ck_assert_str_eq(appended,
        "step,seconds,rate,loss,pair_loss,distill_loss,anchor_loss,pairs_per_s\n"
        "20,2.500,0.001,2.5,2.5,,0.25,1234\n"
        "40,5.000,0.001,0.333333,0.333333,,0.25,1234\n");
    ck_assert_ok(train_log_write_csv(&l, csv, &e), &e);
    AUTO_FREE char *whole = train_fixture_read(csv, &n);
    ck_assert_str_eq(whole, appended);
    ck_assert_err(train_log_append_csv(&l, "/nonexistent/log.csv", &e), ERR_IO);
}
END_TEST

/* Every point of a curve lies in the frame. Returns their number. */
static size_t check_points(const char *text, const char *curve)
{
    size_t n = 0;
    const char *at = strstr(text, curve);
    ck_assert_ptr_nonnull(at);
    for (at += strlen(curve); *at != '"'; n++) {
        char *end;
        double x = strtod(at, &end), y = strtod(end + 1, &end);
        ck_assert_msg(x >= 70 && x <= 780 && y >= 40 && y <= 370, "%g,%g", x, y);
        at = *end == ' ' ? end + 1 : end;
    }
    return n;
}

static size_t check_svg(void)
{
    struct err e = ERR_INIT;
    size_t n;
    ck_assert_ok(train_log_write_svg(&l, svg, &e), &e);
    AUTO_FREE char *text = train_fixture_read(svg, &n);
    ck_assert(strncmp(text, "<svg ", 5) == 0);
    ck_assert_str_eq(text + n - 7, "</svg>\n");
    ck_assert_ptr_null(strstr(text, "nan"));
    ck_assert_ptr_null(strstr(text, "inf"));
    ck_assert_uint_lt(n, 40000);
    size_t points = check_points(text, "<polyline class=\"raw\" points=\"");
    ck_assert_uint_eq(check_points(text, "<polyline class=\"smooth\" points=\""), points);
    return points;
}

START_TEST(curves_of_any_length)
{
    ck_assert_uint_eq(check_svg(), 0);
    add(1, 3);
    ck_assert_uint_eq(check_svg(), 1);
    add(2, 3);
    ck_assert_uint_eq(check_svg(), 2);
    for (int64_t i = 3; i <= 100; i++)
        add(i, 3 + sin((double)i));
    ck_assert_uint_eq(check_svg(), 100);
    for (int64_t i = 101; i <= 100000; i++)
        add(i, 1 / (double)i);
    size_t n = check_svg();
    ck_assert(n > 300 && n <= 600);
}
END_TEST

START_TEST(curves_of_odd_values)
{
    add(10, NAN);
    ck_assert_uint_eq(check_svg(), 0);
    add(20, -5);
    add(30, INFINITY);
    add(1000000000, 1e12);
    ck_assert_uint_eq(check_svg(), 2);
    train_log_done(&l);
    add(1, 0);
    add(2, 1e-30);
    ck_assert_uint_eq(check_svg(), 2);
    /* A single value: its smoothed one may differ by a rounding. */
    for (int i = 1; i <= 200; i++) {
        train_log_done(&l);
        add(1, (double)i * 0.0371);
        ck_assert_uint_eq(check_svg(), 1);
    }
    train_log_done(&l);
    add(1, 5);
    add(2, nextafter(5, 6));
    ck_assert_uint_eq(check_svg(), 2);
}
END_TEST

TEST_SUITE(train_log)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, csv_lines);
    tcase_add_test(tc, curves_of_any_length);
    tcase_add_test(tc, curves_of_odd_values);
    suite_add_tcase(s, tc);
}
