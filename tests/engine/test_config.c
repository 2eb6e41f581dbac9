#include "base/fileio.h"
#include "engine/config.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config cfg;
static struct err e;

static void setup(void)
{
    e = ERR_INIT;
    ck_assert_ok(config_init(&cfg, &e), &e);
}
static void teardown(void)
{
    config_done(&cfg);
}

static enum err_code read_text(const char *text)
{
    struct tmpdir dir;
    char path[600];
    enum err_code code;

    tmpdir_make(&dir);
    snprintf(path, sizeof path, "%s/kindred.conf", dir.path);
    ck_assert_ok(file_write_atomic(path, text, strlen(text), &e), &e);
    code = config_read_file(&cfg, path, &e);
    tmpdir_remove(&dir);
    return code;
}

START_TEST(starts_with_the_defaults)
{
    ck_assert_str_eq(cfg.listen, "127.0.0.1:8080");
    ck_assert_uint_eq(cfg.inputs_max, 2048);
    ck_assert(!cfg.insecure);
}
END_TEST

START_TEST(reads_a_file)
{
    ck_assert_ok(read_text("# a comment\n"
                           "listen = 127.0.0.1:9000   # another\n"
                           "\n"
                           "models = \"/a folder # with a hash\"\r\n"
                           "limits.inputs=7\n"
                           "insecure = true"),
        &e);
    ck_assert_str_eq(cfg.listen, "127.0.0.1:9000");
    ck_assert_str_eq(cfg.models, "/a folder # with a hash");
    ck_assert_uint_eq(cfg.inputs_max, 7);
    ck_assert(cfg.insecure);
}
END_TEST

static const struct {
    const char *text, *says;
    enum err_code code;
} bad_files[] = {
    { "listen = x\nlimits.inputs = many\n",
        "kindred.conf:2: limits.inputs needs a whole number from 1 to 65536", ERR_INVALID },
    { "limits.inputs = 0\n", "from 1 to 65536, got \"0\"", ERR_INVALID },
    { "limits.inputs = 65537\n", "from 1 to 65536", ERR_INVALID },
    { "limits.inputs = -1\n", "needs a whole number", ERR_INVALID },
    { "limits.inputs = 99999999999999999999\n", "needs a whole number", ERR_INVALID },
    { "limits.inputs = 5x\n", "needs a whole number", ERR_INVALID },
    { "insecure = maybe\n", "needs true or false", ERR_INVALID },
    { "colour = red\n", "there is no setting \"colour\"", ERR_UNKNOWN_FIELD },
    { "listen\n", "expected \"key = value\"", ERR_INVALID },
    { "listen = \"x\n", "a quote is not closed", ERR_INVALID },
    { "listen = \"x\" y\n", "text after the closing quote", ERR_INVALID },
    { "listen =\n", "needs 1 to 256 characters", ERR_INVALID },
};

START_TEST(names_the_place_of_a_bad_line)
{
    ck_assert_err(read_text(bad_files[_i].text), bad_files[_i].code);
    ck_assert_msg(strstr(e.msg, bad_files[_i].says) != NULL, "got: %s", e.msg);
}
END_TEST

START_TEST(flags_go_over_environment_over_file)
{
    char *argv[] = { "--limits-inputs=3", "--insecure", "--listen", "127.0.0.1:1", "rest" };
    int next = 0;

    ck_assert_ok(read_text("limits.inputs = 1\nsearch.queue = 11\nhttp.threads = 5\n"), &e);
    setenv("KINDRED_LIMITS_INPUTS", "2", 1);
    setenv("KINDRED_SEARCH_QUEUE", "12", 1);
    ck_assert_ok(config_read_env(&cfg, &e), &e);
    ck_assert_ok(config_read_args(&cfg, 5, argv, &next, &e), &e);
    ck_assert_uint_eq(cfg.inputs_max, 3);
    ck_assert_uint_eq(cfg.search_queue, 12);
    ck_assert_uint_eq(cfg.http_threads, 5);
    ck_assert(cfg.insecure);
    ck_assert_str_eq(cfg.listen, "127.0.0.1:1");
    ck_assert_int_eq(next, 4);
}
END_TEST

START_TEST(says_which_flag_or_variable_is_bad)
{
    char *unknown[] = { "--colour", "red" }, *missing[] = { "--listen" },
         *bad[] = { "--http-threads=x" };
    int next;

    ck_assert_err(config_read_args(&cfg, 2, unknown, &next, &e), ERR_UNKNOWN_FIELD);
    ck_assert_str_eq(e.msg, "there is no flag --colour");
    ck_assert_err(config_read_args(&cfg, 1, missing, &next, &e), ERR_INVALID);
    ck_assert_str_eq(e.msg, "flag --listen needs a value");
    ck_assert_err(config_read_args(&cfg, 1, bad, &next, &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "flag --http-threads: http.threads needs"));
    setenv("KINDRED_HTTP_THREADS", "65", 1);
    ck_assert_err(config_read_env(&cfg, &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "environment variable KINDRED_HTTP_THREADS"));
}
END_TEST

START_TEST(finds_the_configuration_file)
{
    char *a[] = { "--insecure", "--config", "x.conf" }, *b[] = { "--config=y.conf" },
         *c[] = { "--", "--config=z" };

    ck_assert_str_eq(config_find_file(3, a), "x.conf");
    ck_assert_str_eq(config_find_file(1, b), "y.conf");
    ck_assert_ptr_null(config_find_file(2, c));
}
END_TEST

/* docs/config.md is generated; a setting that is not in it fails here. */
START_TEST(documentation_is_current)
{
    char *want = NULL, *got = NULL;
    size_t n_want, n_got;
    FILE *out = open_memstream(&want, &n_want);

    config_print_markdown(out);
    fclose(out);
    ck_assert_ok(file_read("docs/config.md", 1 << 20, &got, &n_got, &e), &e);
    ck_assert_msg(!strcmp(want, got),
        "docs/config.md is old: build/release/kindred config --markdown >docs/config.md");
    free(want);
    free(got);
}
END_TEST

TEST_SUITE(config)
{
    TCase *tc = tcase_create("core");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, starts_with_the_defaults);
    tcase_add_test(tc, reads_a_file);
    tcase_add_loop_test(
        tc, names_the_place_of_a_bad_line, 0, (int)(sizeof bad_files / sizeof bad_files[0]));
    tcase_add_test(tc, flags_go_over_environment_over_file);
    tcase_add_test(tc, says_which_flag_or_variable_is_bad);
    tcase_add_test(tc, finds_the_configuration_file);
    tcase_add_test(tc, documentation_is_current);
    suite_add_tcase(s, tc);
}
