#include "core/learn/model_folder.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tmpdir dir;
static char from[TMPDIR_PATH_BYTES], to[TMPDIR_PATH_BYTES];

static void put(const char *folder, const char *name, const char *text)
{
    AUTO_FREE char *path = path_join(folder, name);
    train_fixture_write(path, text);
}

static void set_up(void)
{
    struct err e = ERR_INIT;
    char inner[TMPDIR_PATH_BYTES], link[TMPDIR_PATH_BYTES], outside[TMPDIR_PATH_BYTES];
    tmpdir_make(&dir);
    tmpdir_file(&dir, "from", from);
    tmpdir_file(&dir, "to", to);
    tmpdir_file(&dir, "from/1_Normalize", inner);
    tmpdir_file(&dir, "from/vocab.txt", link);
    tmpdir_file(&dir, "elsewhere", outside);
    ck_assert_ok(dir_make(inner, &e), &e);
    put(from, "config.json", "{}");
    put(from, "LICENSE", "free");
    put(from, "README.md", "of the parent");
    put(from, ".gitattributes", "x");
    put(from, "model.safetensors", "old weights");
    put(from, "pytorch_model.bin", "old weights");
    put(inner, "config.json", "{ }");
    train_fixture_write(outside, "the\ncat\n");
    ck_assert_int_eq(symlink(outside, link), 0);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static enum err_code write_weights(const void *arg, const char *dir_path, struct err *e)
{
    AUTO_FREE char *path = path_join(dir_path, "model.safetensors");
    if (!path) return ERR_NOMEM;
    return file_write_atomic(path, arg, strlen(arg), e);
}

static void check_file(const char *name, const char *want)
{
    AUTO_FREE char *path = path_join(to, name);
    if (!want) {
        ck_assert_msg(!file_exists(path), "%s is there", name);
        return;
    }
    size_t n;
    AUTO_FREE char *text = train_fixture_read(path, &n);
    ck_assert_str_eq(text, want);
}

START_TEST(copies_all_but_card_and_weights)
{
    struct err e = ERR_INIT;
    struct stat st;
    char copied[TMPDIR_PATH_BYTES];
    ck_assert_ok(model_folder_make(from, to, write_weights, "new weights", &e), &e);
    check_file("config.json", "{}");
    check_file("LICENSE", "free");
    check_file("1_Normalize/config.json", "{ }");
    check_file("vocab.txt", "the\ncat\n");
    check_file("model.safetensors", "new weights");
    check_file("README.md", NULL);
    check_file(".gitattributes", NULL);
    check_file("pytorch_model.bin", NULL);
    ck_assert_int_eq(lstat(tmpdir_file(&dir, "to/vocab.txt", copied), &st), 0);
    ck_assert_msg(S_ISREG(st.st_mode), "a link was copied as a link");
}
END_TEST

START_TEST(never_replaces)
{
    struct err e = ERR_INIT;
    ck_assert_ok(model_folder_free_name(to, &e), &e);
    ck_assert_ok(dir_make(to, &e), &e);
    ck_assert_err(model_folder_make(from, to, write_weights, "w", &e), ERR_CONFLICT);
    ck_assert_int_eq(rmdir(to), 0);
    ck_assert_int_eq(symlink("nowhere", to), 0);
    ck_assert_err(model_folder_make(from, to, write_weights, "w", &e), ERR_CONFLICT);
}
END_TEST

static enum err_code no_weights(const void *arg, const char *dir_path, struct err *e)
{
    (void)arg;
    (void)dir_path;
    return err_set(e, ERR_UNPROCESSABLE, "no weights");
}

static char *work_name(long pid, char ret[TMPDIR_PATH_BYTES])
{
    char name[64];
    snprintf(name, sizeof name, "to.tmp-%ld", pid);
    return tmpdir_file(&dir, name, ret);
}

START_TEST(a_failure_leaves_nothing)
{
    struct err e = ERR_INIT;
    char work[TMPDIR_PATH_BYTES];
    ck_assert_err(model_folder_make(from, to, no_weights, NULL, &e), ERR_UNPROCESSABLE);
    ck_assert(!dir_exists(to));
    ck_assert(!dir_exists(work_name(getpid(), work)));
    ck_assert_err(model_folder_make(to, to, write_weights, "w", &e), ERR_NOT_FOUND);
    ck_assert(!dir_exists(to));
}
END_TEST

START_TEST(leftovers_of_the_dead_go_those_of_the_living_stay)
{
    struct err e = ERR_INIT;
    char dead[TMPDIR_PATH_BYTES], own[TMPDIR_PATH_BYTES], alive[TMPDIR_PATH_BYTES],
        other[TMPDIR_PATH_BYTES], inner[TMPDIR_PATH_BYTES];
    ck_assert_ok(dir_make(work_name(2000000000, dead), &e), &e);
    put(dead, "model.safetensors", "half");
    ck_assert_ok(dir_make(tmpdir_file(&dir, "to.tmp-2000000000/a/b", inner), &e), &e);
    ck_assert_ok(dir_make(work_name(getpid(), own), &e), &e);
    put(own, "stale", "x");
    ck_assert_ok(dir_make(work_name(getppid(), alive), &e), &e);
    ck_assert_ok(dir_make(tmpdir_file(&dir, "to.tmp-x", other), &e), &e);
    ck_assert_ok(model_folder_make(from, to, write_weights, "w", &e), &e);
    ck_assert(!dir_exists(dead));
    ck_assert(!dir_exists(own));
    ck_assert(dir_exists(alive));
    ck_assert(dir_exists(other));
    check_file("stale", NULL);
}
END_TEST

START_TEST(names_that_are_none)
{
    struct err e = ERR_INIT;
    char slash[TMPDIR_PATH_BYTES + 1];
    snprintf(slash, sizeof slash, "%s/", to);
    ck_assert_err(model_folder_make(from, slash, write_weights, "w", &e), ERR_INVALID);
    ck_assert_err(model_folder_make(from, "", write_weights, "w", &e), ERR_INVALID);
}
END_TEST

TEST_SUITE(model_folder)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, copies_all_but_card_and_weights);
    tcase_add_test(tc, never_replaces);
    tcase_add_test(tc, a_failure_leaves_nothing);
    tcase_add_test(tc, leftovers_of_the_dead_go_those_of_the_living_stay);
    tcase_add_test(tc, names_that_are_none);
    suite_add_tcase(s, tc);
}
