#include "core/model/encoder_ops.h"

#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static struct tmpdir dir;

static void set_up(void)
{
    tmpdir_make(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

#define STATIC "\"model_type\":\"static\",\"architectures\":[\"StaticEmbedding\"]"
#define EMBEDDING                                                                                  \
    "{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.StaticEmbedding\"}"
#define NORMALIZE                                                                                  \
    "{\"idx\":1,\"path\":\"1_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}"

static const struct {
    const char *config, *modules;
    enum err_code code;
    const char *mentions;
} ROWS[] = {
    { "{" STATIC "}", NULL, ERR_OK, "" },
    { "{\"model_type\":\"static\"}", NULL, ERR_OK, "" },
    { "{" STATIC ",\"license\":\"apache-2.0\",\"version\":1}", "[" EMBEDDING "," NORMALIZE "]",
        ERR_OK, "" },
    { "{" STATIC ",\"normalize\":true}", "[" EMBEDDING "," NORMALIZE "]", ERR_OK, "" },
    { "{}", NULL, ERR_UNPROCESSABLE, "model_type" },
    { "{\"model_type\":\"roberta\",\"architectures\":[\"RobertaModel\"]}", NULL, ERR_UNPROCESSABLE,
        "known: static with StaticEmbedding, bert with BertModel" },
    { "{\"model_type\":\"static\",\"architectures\":[\"Other\"]}", NULL, ERR_UNPROCESSABLE,
        "Other" },
    { "{\"model_type\":\"static\",\"architectures\":[]}", NULL, ERR_UNPROCESSABLE,
        "architectures" },
    { "{\"model_type\":7}", NULL, ERR_CORRUPT, "model_type" },
    { "[]", NULL, ERR_CORRUPT, "object" },
    { "{" STATIC ",\"hidden_size\":0}", NULL, ERR_UNPROCESSABLE, "hidden_size" },
    { "{" STATIC ",\"hidden_size\":1000000}", NULL, ERR_UNPROCESSABLE, "hidden_size" },
    { "{" STATIC ",\"max_tokens\":-1}", NULL, ERR_UNPROCESSABLE, "max_tokens" },
    { "{" STATIC ",\"normalize\":\"yes\"}", NULL, ERR_CORRUPT, "normalize" },
    { "{" STATIC ",\"name\":\"\"}", NULL, ERR_UNPROCESSABLE, "name" },
    { "{" STATIC ",\"name\":\"01234567890123456789012345678901234567890123456789012345678901234\"}",
        NULL, ERR_UNPROCESSABLE, "name" },
    { "{" STATIC ",\"normalize\":false}", "[" EMBEDDING "," NORMALIZE "]", ERR_UNPROCESSABLE,
        "contradict" },
    { "{" STATIC ",\"normalize\":true}", "[" EMBEDDING "]", ERR_UNPROCESSABLE, "contradict" },
    { "{" STATIC "}", "{}", ERR_CORRUPT, "array" },
    { "{" STATIC "}", "[" EMBEDDING ",{\"type\":\"sentence_transformers.models.Dense\"}]",
        ERR_UNPROCESSABLE, "Dense" },
    { "{" STATIC "}", "[" EMBEDDING ",7]", ERR_UNPROCESSABLE, "module 1" },
    { "{" STATIC "}", "[" NORMALIZE "," EMBEDDING "]", ERR_UNPROCESSABLE, "first" },
    { "{" STATIC "}",
        "[{\"path\":\"0_StaticEmbedding\",\"type\":\"sentence_transformers.models."
        "StaticEmbedding\"}]",
        ERR_UNPROCESSABLE, "folder" },
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

START_TEST(rows)
{
    struct model_config c;
    const struct encoder_ops *ops;
    struct err e = ERR_INIT;
    fixture_write(&dir, "config.json", ROWS[_i].config);
    if (ROWS[_i].modules) fixture_write(&dir, "modules.json", ROWS[_i].modules);
    enum err_code code = model_config_read(dir.path, &c, &ops, &e);
    ck_assert_msg(code == ROWS[_i].code, "%s: %s (%s)", ROWS[_i].config, err_name(code), e.msg);
    ck_assert_msg(strstr(e.msg, ROWS[_i].mentions) != NULL, "\"%s\" does not mention %s", e.msg,
        ROWS[_i].mentions);
    if (code == ERR_OK) ck_assert_ptr_eq(ops, &static_encoder_ops);
}
END_TEST

START_TEST(values)
{
    struct model_config c;
    const struct encoder_ops *ops;
    struct err e = ERR_INIT;
    fixture_write(&dir, "config.json",
        "{" STATIC
        ",\"hidden_size\":256,\"vocab_size\":30000,\"pooling\":\"mean\",\"normalize\":true,"
        "\"max_tokens\":512,\"name\":\"text-small\"}");
    ck_assert_ok(model_config_read(dir.path, &c, &ops, &e), &e);
    ck_assert_str_eq(c.name, "text-small");
    ck_assert_str_eq(c.pooling, "mean");
    ck_assert(c.hidden_size == 256 && c.vocab_size == 30000 && c.max_tokens == 512 && c.normalize);
}
END_TEST

START_TEST(the_folder_names_what_has_no_name)
{
    struct model_config c;
    const struct encoder_ops *ops;
    char slashes[TMPDIR_PATH_BYTES + 4];
    fixture_write(&dir, "config.json", "{" STATIC "}");
    (void)snprintf(slashes, sizeof slashes, "%s//", dir.path);
    ck_assert_ok(model_config_read(slashes, &c, &ops, NULL));
    ck_assert_str_eq(c.name, strrchr(dir.path, '/') + 1);
    ck_assert_uint_eq(c.max_tokens, 0);
    ck_assert(!c.normalize);
}
END_TEST

START_TEST(missing)
{
    struct model_config c;
    const struct encoder_ops *ops;
    ck_assert_err(model_config_read(dir.path, &c, &ops, NULL), ERR_NOT_FOUND);
}
END_TEST

TEST_SUITE(model_config)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, rows, 0, N_ROWS);
    tcase_add_test(tc, values);
    tcase_add_test(tc, the_folder_names_what_has_no_name);
    tcase_add_test(tc, missing);
    suite_add_tcase(s, tc);
}
