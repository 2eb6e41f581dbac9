#include "engine/run_folder.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tmpdir dir;

static void setup(void)
{
    tmpdir_make(&dir);
}

static void teardown(void)
{
    tmpdir_remove(&dir);
}

static void folder(int64_t run, const char *tail)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = run_path(dir.path, run, tail);
    ck_assert_ok(dir_make(path, &e), &e);
}

static void file(int64_t run, const char *tail)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = run_path(dir.path, run, tail);
    ck_assert_ok(file_write_atomic(path, "x", 1, &e), &e);
}

static bool there(int64_t run, const char *tail)
{
    AUTO_FREE char *path = run_path(dir.path, run, tail);
    struct stat st;
    return lstat(path, &st) == 0;
}

static void full_folder(int64_t run)
{
    static const char *const files[] = { "train.tsv", "heldout.tsv", "log.txt", "lock",
        "train.tsv.tmp.12.0", "work/log.csv", "work/loss.svg", "work/checkpoint",
        "model/config.json", "model/1_Pooling/config.json", "model.tmp-12/model.safetensors" };
    folder(run, "work");
    folder(run, "model/1_Pooling");
    folder(run, "model.tmp-12");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        file(run, files[i]);
}

START_TEST(paths)
{
    AUTO_FREE char *a = run_path("/data", 12, "work/log.csv");
    AUTO_FREE char *b = run_path("/data/", 9223372036854775807, "");
    ck_assert_str_eq(a, "/data/runs/12/work/log.csv");
    ck_assert_str_eq(b, "/data/runs/9223372036854775807");
}
END_TEST

START_TEST(tidy_keeps_what_a_finished_run_has)
{
    static const char *const kept[] = { "heldout.tsv", "log.txt", "lock", "work/log.csv",
        "work/loss.svg" };
    struct err e = ERR_INIT;
    bool keep_model = _i;
    full_folder(3);
    ck_assert_ok(run_folder_tidy(dir.path, 3, keep_model, &e), &e);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        ck_assert_msg(there(3, kept[i]), "%s", kept[i]);
    ck_assert(!there(3, "train.tsv"));
    ck_assert(!there(3, "train.tsv.tmp.12.0"));
    ck_assert(!there(3, "work/checkpoint"));
    ck_assert(!there(3, "model.tmp-12"));
    ck_assert_int_eq(there(3, "model"), keep_model);
    ck_assert_int_eq(there(3, "model/1_Pooling/config.json"), keep_model);
    ck_assert_ok(run_folder_tidy(dir.path, 3, keep_model, &e), &e);
    ck_assert_ok(run_folder_tidy(dir.path, 4, keep_model, &e), &e);
}
END_TEST

START_TEST(links_are_removed_and_not_followed)
{
    struct err e = ERR_INIT;
    full_folder(1);
    full_folder(2);
    AUTO_FREE char *link = run_path(dir.path, 1, "model/elsewhere");
    AUTO_FREE char *to = run_path(dir.path, 2, "model");
    AUTO_FREE char *broken = run_path(dir.path, 1, "model/broken");
    ck_assert_int_eq(symlink(to, link), 0);
    ck_assert_int_eq(symlink("nowhere", broken), 0);
    ck_assert_ok(run_folder_remove(dir.path, 1, &e), &e);
    ck_assert(!there(1, ""));
    ck_assert(there(2, "model/1_Pooling/config.json"));
    ck_assert_ok(run_folder_remove(dir.path, 1, &e), &e);
}
END_TEST

START_TEST(what_cannot_be_removed_is_named_and_the_rest_goes)
{
    struct err e = ERR_INIT;
    if (geteuid() == 0) return; /* root may remove anything */
    full_folder(1);
    AUTO_FREE char *model = run_path(dir.path, 1, "model");
    ck_assert_int_eq(chmod(model, 0500), 0);
    ck_assert_err(run_folder_tidy(dir.path, 1, false, &e), ERR_IO);
    ck_assert_ptr_nonnull(strstr(e.msg, model));
    ck_assert(!there(1, "train.tsv"));
    ck_assert(!there(1, "work/checkpoint"));
    ck_assert_int_eq(chmod(model, 0700), 0);
}
END_TEST

START_TEST(folders_that_are_there)
{
    int64_t ids[8];
    ck_assert_uint_eq(run_folders(dir.path, ids, 8), 0);
    folder(10, "");
    folder(9, "");
    folder(9223372036854775807, "");
    folder(7, "work");
    folder(0, "");
    folder(1, "../07");
    file(1, "../8");
    folder(1, "../12x");
    folder(1, "../9223372036854775808");
    ck_assert_uint_eq(run_folders(dir.path, ids, 8), 5);
    ck_assert_int_eq(ids[0], 1);
    ck_assert_int_eq(ids[1], 7);
    ck_assert_int_eq(ids[2], 9);
    ck_assert_int_eq(ids[3], 10);
    ck_assert_int_eq(ids[4], 9223372036854775807);
    ck_assert_uint_eq(run_folders(dir.path, ids, 2), 2);
}
END_TEST

TEST_SUITE(run_folder)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, paths);
    tcase_add_loop_test(tc, tidy_keeps_what_a_finished_run_has, 0, 2);
    tcase_add_test(tc, links_are_removed_and_not_followed);
    tcase_add_test(tc, what_cannot_be_removed_is_named_and_the_rest_goes);
    tcase_add_test(tc, folders_that_are_there);
    suite_add_tcase(s, tc);
}
