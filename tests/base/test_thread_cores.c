/* Quotas are read from made-up cgroup trees in a temporary folder. */
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include "base/fileio.h"
#include "base/thread.h"
#include "base/thread_internal.h"

#include <stdio.h>
#include <string.h>

static struct tmpdir tmp;

static void setup(void)
{
    tmpdir_make(&tmp);
}

static void teardown(void)
{
    tmpdir_remove(&tmp);
}

static void put(const char *folder, const char *name, const char *text)
{
    char path[TMPDIR_PATH_BYTES], file[TMPDIR_PATH_BYTES + 64];
    struct err e = ERR_INIT;
    ck_assert_ok(dir_make(tmpdir_file(&tmp, folder, path), &e), &e);
    snprintf(file, sizeof file, "%s/%s", path, name);
    ck_assert_ok(file_write_atomic(file, text, strlen(text), &e), &e);
}

START_TEST(v2_smallest_of_all_levels_counts)
{
    put(".", "cpu.max", "max 100000\n");
    put("a", "cpu.max", "250000 100000\n");
    put("a/b", "cpu.max", "400000 100000\n");
    ck_assert_uint_eq(thread__quota_cores("0::/a/b\n", tmp.path), 3);
    ck_assert_uint_eq(thread__quota_cores("0::/\n", tmp.path), 0);
    ck_assert_uint_eq(thread__quota_cores("0::/a", tmp.path), 3);
    put("a/b", "cpu.max", "50000 100000\n");
    ck_assert_uint_eq(thread__quota_cores("0::/a/b\n", tmp.path), 1);
    /* A group outside what the container sees: the root still counts. */
    put(".", "cpu.max", "200000 100000\n");
    ck_assert_uint_eq(thread__quota_cores("0::/not/here\n", tmp.path), 2);
}
END_TEST

START_TEST(v1_cpu_controller_only)
{
    put("cpu/x", "cpu.cfs_quota_us", "300000\n");
    put("cpu/x", "cpu.cfs_period_us", "100000\n");
    put("cpu", "cpu.cfs_quota_us", "-1\n");
    put("cpu", "cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(thread__quota_cores("5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n", tmp.path), 3);
    ck_assert_uint_eq(thread__quota_cores("4:cpuset,cpuacct:/x\n", tmp.path), 0);
    ck_assert_uint_eq(thread__quota_cores("4:cpuacct,cpu:/\n", tmp.path), 0);
}
END_TEST

START_TEST(nonsense_is_no_quota)
{
    static const char *const texts[] = { "", "\n", "max", "0 100000", "100000 0", "-5 100000",
        "x y", "9223372036854775807 1", "100000" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(".", "cpu.max", texts[i]);
        ck_assert_msg(thread__quota_cores("0::/\n", tmp.path) == 0, "\"%s\"", texts[i]);
    }
    static const char *const groups[] = { "", "\n\n", "0", "0:", ":", "::", "0:::", "\n0:cpu\n" };
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        ck_assert_uint_eq(thread__quota_cores(groups[i], tmp.path), 0);
}
END_TEST

START_TEST(at_least_one)
{
    ck_assert_uint_ge(thread_cores(), 1);
    ck_assert_uint_lt(thread_cores(), 1u << 20);
}
END_TEST

TEST_SUITE(thread_cores)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, v2_smallest_of_all_levels_counts);
    tcase_add_test(tc, v1_cpu_controller_only);
    tcase_add_test(tc, nonsense_is_no_quota);
    tcase_add_test(tc, at_least_one);
    suite_add_tcase(s, tc);
}
