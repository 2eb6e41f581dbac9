#include "core/model/prompts.h"

#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static const char FILE_NAME[] = "config_sentence_transformers.json";
static struct tmpdir dir;

static void set_up(void)
{
    tmpdir_make(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static const struct {
    const char *text; /* NULL: no file */
    const char *query, *document;
} ROWS[] = {
    { NULL, "", "" },
    { "{}", "", "" },
    { "{\"prompts\":null,\"default_prompt_name\":null}", "", "" },
    { "{\"prompts\":{\"query\":\"q: \"}}", "q: ", "" },
    { "{\"prompts\":{\"query\":\"q: \",\"document\":\"d: \"}}", "q: ", "d: " },
    { "{\"prompts\":{\"query\":\"q: \",\"passage\":\"p: \"}}", "q: ", "p: " },
    { "{\"prompts\":{\"document\":\"d: \",\"passage\":\"p: \"}}", "", "d: " },
    { "{\"prompts\":{\"document\":\"\",\"passage\":\"p: \"}}", "", "p: " },
    { "{\"prompts\":{\"query\":\"q: \"},\"default_prompt_name\":\"query\"}", "q: ", "" },
    { "{\"prompts\":{},\"default_prompt_name\":\"document\"}", "", "" },
    { "{\"prompts\":{\"sts\":\"s: \"}}", "", "" },
    { "{\"prompts\":{\"sts\":\"s: \"},\"default_prompt_name\":\"sts\"}", "s: ", "s: " },
    { "{\"prompts\":{\"sts\":\"s: \",\"query\":\"q: \"},\"default_prompt_name\":\"sts\"}",
        "q: ", "s: " },
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

START_TEST(rows)
{
    struct model_prompts p;
    struct err e = ERR_INIT;
    if (ROWS[_i].text) fixture_write(&dir, FILE_NAME, ROWS[_i].text);
    ck_assert_ok(prompts_read(dir.path, &p, &e), &e);
    ck_assert_str_eq(p.text[ENCODE_QUERY], ROWS[_i].query);
    ck_assert_str_eq(p.text[ENCODE_DOCUMENT], ROWS[_i].document);
}
END_TEST

static const struct {
    const char *text;
    enum err_code code;
    const char *mentions;
} ERRORS[] = {
    { "[]", ERR_CORRUPT, "object" },
    { "{\"prompts\":[]}", ERR_CORRUPT, "prompts" },
    { "{\"prompts\":{\"query\":7}}", ERR_CORRUPT, "prompts.query" },
    { "{\"default_prompt_name\":7}", ERR_CORRUPT, "default_prompt_name" },
    { "{\"default_prompt_name\":\"sts\"}", ERR_UNPROCESSABLE, "\"sts\"" },
    { "{\"prompts\":{\"a\":\"b\"},\"default_prompt_name\":\"sts\"}", ERR_UNPROCESSABLE, "\"sts\"" },
};
enum { N_ERRORS = sizeof ERRORS / sizeof *ERRORS };

START_TEST(errors)
{
    struct model_prompts p;
    struct err e = ERR_INIT;
    fixture_write(&dir, FILE_NAME, ERRORS[_i].text);
    enum err_code code = prompts_read(dir.path, &p, &e);
    ck_assert_msg(code == ERRORS[_i].code && strstr(e.msg, ERRORS[_i].mentions), "%s: %s, %s",
        ERRORS[_i].text, err_name(code), e.msg);
}
END_TEST

START_TEST(the_longest)
{
    struct model_prompts p;
    char text[ENCODER_PROMPT_MAX + 64], prompt[ENCODER_PROMPT_MAX + 1];
    memset(prompt, 'x', sizeof prompt);
    prompt[ENCODER_PROMPT_MAX - 1] = '\0';
    (void)snprintf(text, sizeof text, "{\"prompts\":{\"query\":\"%s\"}}", prompt);
    fixture_write(&dir, FILE_NAME, text);
    ck_assert_ok(prompts_read(dir.path, &p, NULL));
    ck_assert_str_eq(p.text[ENCODE_QUERY], prompt);
    (void)snprintf(text, sizeof text, "{\"prompts\":{\"query\":\"%sx\"}}", prompt);
    fixture_write(&dir, FILE_NAME, text);
    ck_assert_err(prompts_read(dir.path, &p, NULL), ERR_UNPROCESSABLE);
}
END_TEST

TEST_SUITE(prompts)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, rows, 0, N_ROWS);
    tcase_add_loop_test(tc, errors, 0, N_ERRORS);
    tcase_add_test(tc, the_longest);
    suite_add_tcase(s, tc);
}
