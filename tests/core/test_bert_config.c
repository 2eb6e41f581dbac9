/* Folders that differ from the tiny BERT's in one place: core/model/bert_config.c and
 * core/model/bert_modules.c. */
#include "core/model/bert.h"

#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static struct tmpdir dir;

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_copy_bert(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static enum err_code read(struct bert_config *ret_c, struct err *e)
{
    struct model_config config;
    const struct encoder_ops *ops = NULL;
    struct tokenizer *t = NULL;
    TRY(model_config_read(dir.path, &config, &ops, e));
    ck_assert_ptr_eq(ops, &bert_encoder_ops);
    ck_assert_ok(tokenizer_load(dir.path, &t, e), e);
    const struct model_source src = { .dir = dir.path, .config = &config, .tokenizer = t };
    enum err_code code = bert_config_read(&src, ret_c, e);
    tokenizer_free(t);
    return code;
}

START_TEST(values)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    ck_assert_ok(read(&c, &e), &e);
    ck_assert(c.layers == 2 && c.hidden == 32 && c.heads == 4 && c.intermediate == 64);
    ck_assert(c.vocab == 160 && c.positions == 32 && c.types == 2);
    ck_assert(c.eps == 1e-12F && c.f == ACTIVATION_GELU && c.pooling == BERT_POOL_MEAN);
    ck_assert(c.n_dense == 0 && c.normalize && c.max_tokens == 24 && c.dimensions == 32);
}
END_TEST

/* An optional field that is not there has the value that it has in transformers. */
START_TEST(defaults)
{
    static const char *const fields[] = { "\"layer_norm_eps\": 1e-12,", "\"type_vocab_size\": 2,",
        "\"hidden_act\": \"gelu\",", "\"position_embedding_type\": \"absolute\"," };
    struct bert_config c;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        fixture_replace(&dir, "config.json", fields[i], "");
    ck_assert_ok(read(&c, &e), &e);
    ck_assert(c.eps == 1e-12F && c.types == 2 && c.f == ACTIVATION_GELU);
}
END_TEST

static const struct {
    const char *file, *from, *to;
    enum err_code code;
    const char *mentions;
} ROWS[] = {
    { "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", ERR_UNPROCESSABLE,
        "num_hidden_layers" },
    { "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 65", ERR_UNPROCESSABLE,
        "num_hidden_layers" },
    { "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": -1", ERR_UNPROCESSABLE,
        "num_hidden_layers" },
    { "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"2\"", ERR_CORRUPT,
        "num_hidden_layers" },
    { "config.json", "\"num_hidden_layers\": 2", "\"num_layers\": 2", ERR_UNPROCESSABLE,
        "num_hidden_layers is missing" },
    { "config.json", "\"hidden_size\": 32", "\"hidden_size\": 65537", ERR_UNPROCESSABLE,
        "hidden_size" },
    { "config.json", "\"hidden_size\": 32", "\"hidden_size\": 30", ERR_UNPROCESSABLE, "multiple" },
    { "config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", ERR_UNPROCESSABLE,
        "num_attention_heads" },
    { "config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 3", ERR_UNPROCESSABLE,
        "multiple" },
    { "config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 64", ERR_UNPROCESSABLE,
        "multiple" },
    { "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 0", ERR_UNPROCESSABLE,
        "intermediate_size" },
    { "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 99999999999",
        ERR_UNPROCESSABLE, "intermediate_size" },
    { "config.json", "\"vocab_size\": 160", "\"vocab_size\": 159", ERR_UNPROCESSABLE,
        "the tokenizer has 160" },
    { "config.json", "\"vocab_size\": 160", "\"vocab_size\": 1.5", ERR_CORRUPT, "vocab_size" },
    { "config.json", "\"max_position_embeddings\": 32", "\"max_position_embeddings\": 0",
        ERR_UNPROCESSABLE, "max_position_embeddings" },
    { "config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 0", ERR_UNPROCESSABLE,
        "type_vocab_size" },
    { "config.json", "1e-12", "0", ERR_UNPROCESSABLE, "layer_norm_eps" },
    { "config.json", "1e-12", "-1e-12", ERR_UNPROCESSABLE, "layer_norm_eps" },
    { "config.json", "1e-12", "1", ERR_UNPROCESSABLE, "layer_norm_eps" },
    { "config.json", "1e-12", "\"small\"", ERR_CORRUPT, "layer_norm_eps" },
    { "config.json", "\"gelu\"", "\"silu\"", ERR_UNPROCESSABLE, "silu" },
    { "config.json", "\"gelu\"", "7", ERR_CORRUPT, "hidden_act" },
    { "config.json", "\"absolute\"", "\"relative_key\"", ERR_UNPROCESSABLE, "relative_key" },
    { "config.json", "\"use_cache\"", "\"is_decoder\"", ERR_UNPROCESSABLE, "is_decoder" },
    { "config.json", "\"use_cache\"", "\"add_cross_attention\"", ERR_UNPROCESSABLE,
        "add_cross_attention" },
    { "config.json", "\"BertModel\"", "\"BertLMHeadModel\"", ERR_UNPROCESSABLE, "BertLMHeadModel" },
    { "config.json", "\"bert\"", "\"roberta\"", ERR_UNPROCESSABLE, "roberta" },
    { "sentence_bert_config.json", "24", "0", ERR_UNPROCESSABLE, "max_seq_length" },
    { "sentence_bert_config.json", "24", "\"24\"", ERR_CORRUPT, "max_seq_length" },
    { "sentence_bert_config.json", "{", "", ERR_CORRUPT, "sentence_bert_config.json" },
    { "1_Pooling/config.json", "32", "64", ERR_UNPROCESSABLE, "word_embedding_dimension" },
    { "1_Pooling/config.json", "cls_token\": false", "cls_token\": true", ERR_UNPROCESSABLE,
        "both are" },
    { "1_Pooling/config.json", "mean_tokens\": true", "mean_tokens\": false", ERR_UNPROCESSABLE,
        "none is" },
    { "1_Pooling/config.json", "max_tokens\": false", "max_tokens\": true", ERR_UNPROCESSABLE,
        "pooling_mode_max_tokens" },
    { "1_Pooling/config.json", "mean_tokens\": true", "mean_tokens\": 1", ERR_CORRUPT,
        "pooling_mode_mean_tokens" },
    { "1_Pooling/config.json", "{", "{\"pooling_mode\": \"lasttoken\",", ERR_UNPROCESSABLE,
        "lasttoken" },
    { "1_Pooling/config.json", "{", "[", ERR_CORRUPT, "1_Pooling/config.json" },
    { "modules.json", "1_Pooling", "../1_Pooling", ERR_UNPROCESSABLE, "../1_Pooling" },
    { "modules.json", "1_Pooling", "1_Pool", ERR_NOT_FOUND, "1_Pool/config.json" },
    { "modules.json", "1_Pooling", "", ERR_UNPROCESSABLE, "no path" },
    { "modules.json", "\"path\": \"\"", "\"path\": \"0_Transformer\"", ERR_UNPROCESSABLE,
        "Transformer" },
    { "modules.json", "models.Pooling", "models.CNN", ERR_UNPROCESSABLE, "CNN" },
    { "modules.json", "models.Pooling", "models.Normalize", ERR_UNPROCESSABLE, "before Pooling" },
    { "modules.json", "models.Pooling", "models.Dense", ERR_UNPROCESSABLE, "before Pooling" },
    { "modules.json", "models.Pooling", "models.Transformer", ERR_UNPROCESSABLE, "first" },
    { "modules.json", "models.Transformer", "models.Pooling", ERR_UNPROCESSABLE, "first" },
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

START_TEST(rows)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_replace(&dir, ROWS[_i].file, ROWS[_i].from, ROWS[_i].to);
    enum err_code code = read(&c, &e);
    ck_assert_msg(code == ROWS[_i].code && strstr(e.msg, ROWS[_i].mentions), "%s: %s, %s",
        ROWS[_i].to, err_name(code), e.msg);
}
END_TEST

START_TEST(activations)
{
    static const struct {
        const char *name;
        enum activation f;
    } known[] = { { "\"gelu_new\"", ACTIVATION_GELU_TANH },
        { "\"gelu_pytorch_tanh\"", ACTIVATION_GELU_TANH },
        { "\"gelu_fast\"", ACTIVATION_GELU_TANH }, { "\"relu\"", ACTIVATION_RELU },
        { "\"tanh\"", ACTIVATION_TANH } };
    struct bert_config c;
    struct err e = ERR_INIT;
    const char *now = "\"gelu\"";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fixture_replace(&dir, "config.json", now, known[i].name);
        now = known[i].name;
        ck_assert_ok(read(&c, &e), &e);
        ck_assert_int_eq(c.f, known[i].f);
    }
}
END_TEST

static const struct {
    const char *bert, *tokenizer; /* the two files; NULL: not there */
    size_t max_tokens;
} LENGTHS[] = {
    { "{\"max_seq_length\":24}", "{\"model_max_length\":8}", 24 },
    { "{\"max_seq_length\":33}", NULL, 32 },
    { "{\"max_seq_length\":null}", "{\"model_max_length\":8}", 8 },
    { "{}", "{\"model_max_length\":100}", 32 },
    { NULL, "{\"model_max_length\":1000000000000000019884624838656}", 32 },
    { NULL, "{\"model_max_length\":1e30}", 32 },
    { NULL, "{}", 32 },
    { NULL, NULL, 32 },
};
enum { N_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS };

static void put_or_remove(const char *name, const char *text)
{
    char path[TMPDIR_PATH_BYTES];
    if (text)
        fixture_write(&dir, name, text);
    else
        ck_assert_int_eq(remove(tmpdir_file(&dir, name, path)), 0);
}

START_TEST(lengths)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    put_or_remove("sentence_bert_config.json", LENGTHS[_i].bert);
    put_or_remove("tokenizer_config.json", LENGTHS[_i].tokenizer);
    ck_assert_ok(read(&c, &e), &e);
    ck_assert_uint_eq(c.max_tokens, LENGTHS[_i].max_tokens);
}
END_TEST

#define MODULE(path, type)                                                                         \
    "{\"path\":\"" path "\",\"type\":\"sentence_transformers.models." type "\"}"
#define BEGINNING "[" MODULE("", "Transformer") "," MODULE("1_Pooling", "Pooling")
#define DENSE_LINK MODULE("2_Dense", "Dense")
#define NORMALIZE MODULE("9", "Normalize")

static const struct {
    const char *modules, *dense; /* 2_Dense/config.json, or NULL */
    enum err_code code;
    const char *mentions;
} LISTS[] = {
    { "[]", NULL, ERR_UNPROCESSABLE, "no Pooling" },
    { "[" MODULE("", "Transformer") "]", NULL, ERR_UNPROCESSABLE, "no Pooling" },
    { BEGINNING "]", NULL, ERR_OK, "" },
    { BEGINNING "," MODULE("1_Pooling", "Pooling") "]", NULL, ERR_UNPROCESSABLE, "twice" },
    { BEGINNING "," NORMALIZE "," NORMALIZE "]", NULL, ERR_UNPROCESSABLE, "after Normalize" },
    { BEGINNING "," NORMALIZE "," DENSE_LINK "]", NULL, ERR_UNPROCESSABLE, "after Normalize" },
    { BEGINNING "," DENSE_LINK "," NORMALIZE "]", NULL, ERR_OK, "" },
    { BEGINNING "," MODULE("", "Dense") "]", NULL, ERR_UNPROCESSABLE, "no path" },
    { BEGINNING "," DENSE_LINK "," DENSE_LINK "]", NULL, ERR_UNPROCESSABLE, "in_features is 32" },
    { BEGINNING "," DENSE_LINK "]", "{\"in_features\":32}", ERR_UNPROCESSABLE, "out_features" },
    { BEGINNING "," DENSE_LINK "]", "{\"out_features\":32}", ERR_UNPROCESSABLE, "in_features" },
    { BEGINNING "," DENSE_LINK "]", "{\"in_features\":32,\"out_features\":0}", ERR_UNPROCESSABLE,
        "out_features" },
    { BEGINNING "," DENSE_LINK "]", "{\"in_features\":32,\"out_features\":16,\"bias\":7}",
        ERR_CORRUPT, "bias" },
    { BEGINNING "," DENSE_LINK "]",
        "{\"in_features\":32,\"out_features\":16,\"activation_function\":\"os.system\"}",
        ERR_UNPROCESSABLE, "os.system" },
    { BEGINNING "," DENSE_LINK "]",
        "{\"in_features\":32,\"out_features\":16,\"module_input_name\":\"token_embeddings\"}",
        ERR_UNPROCESSABLE, "module_input_name" },
    { BEGINNING "," DENSE_LINK "," DENSE_LINK "," DENSE_LINK "," DENSE_LINK "," DENSE_LINK "]",
        "{\"in_features\":32,\"out_features\":32}", ERR_UNPROCESSABLE, "more than 4" },
};
enum { N_LISTS = sizeof LISTS / sizeof *LISTS };

START_TEST(lists)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_write(&dir, "modules.json", LISTS[_i].modules);
    if (LISTS[_i].dense) fixture_write(&dir, "2_Dense/config.json", LISTS[_i].dense);
    enum err_code code = read(&c, &e);
    ck_assert_msg(code == LISTS[_i].code && strstr(e.msg, LISTS[_i].mentions), "%s: %s, %s",
        LISTS[_i].modules, err_name(code), e.msg);
}
END_TEST

START_TEST(dense_layers)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_write(&dir, "modules.json", BEGINNING "," DENSE_LINK "]");
    ck_assert_ok(read(&c, &e), &e);
    ck_assert(c.n_dense == 1 && !c.normalize && c.dimensions == 16);
    ck_assert(c.dense[0].in == 32 && c.dense[0].out == 16 && c.dense[0].bias);
    ck_assert_int_eq(c.dense[0].f, ACTIVATION_TANH);
    ck_assert_str_eq(c.dense[0].path, "2_Dense");
    fixture_write(&dir, "2_Dense/config.json",
        "{\"in_features\":32,\"out_features\":8,\"bias\":false,"
        "\"activation_function\":\"torch.nn.modules.activation.GELU\"}");
    ck_assert_ok(read(&c, &e), &e);
    ck_assert(c.dense[0].out == 8 && !c.dense[0].bias && c.dense[0].f == ACTIVATION_GELU);
}
END_TEST

START_TEST(pooling_modes_by_name)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_write(&dir, "1_Pooling/config.json", "{\"pooling_mode\":\"cls\"}");
    ck_assert_ok(read(&c, &e), &e);
    ck_assert_int_eq(c.pooling, BERT_POOL_CLS);
}
END_TEST

START_TEST(a_prompt_that_is_not_pooled)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_replace(&dir, "1_Pooling/config.json", "{", "{\"include_prompt\": false,");
    ck_assert_ok(read(&c, &e), &e);
    fixture_write(&dir, "config_sentence_transformers.json", "{\"prompts\":{\"query\":\"q\"}}");
    ck_assert_err(read(&c, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "include_prompt") != NULL, "%s", e.msg);
}
END_TEST

START_TEST(lower_case)
{
    struct bert_config c;
    struct err e = ERR_INIT;
    fixture_write(&dir, "sentence_bert_config.json", "{\"do_lower_case\":true}");
    ck_assert_ok(read(&c, &e), &e); /* the tokenizer does it */
    fixture_replace(&dir, "tokenizer.json", "\"lowercase\":true", "\"lowercase\":false");
    ck_assert_err(read(&c, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "do_lower_case") != NULL, "%s", e.msg);
}
END_TEST

TEST_SUITE(bert_config)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, values);
    tcase_add_test(tc, defaults);
    tcase_add_loop_test(tc, rows, 0, N_ROWS);
    tcase_add_test(tc, activations);
    tcase_add_loop_test(tc, lengths, 0, N_LENGTHS);
    tcase_add_loop_test(tc, lists, 0, N_LISTS);
    tcase_add_test(tc, lower_case);
    tcase_add_test(tc, dense_layers);
    tcase_add_test(tc, pooling_modes_by_name);
    tcase_add_test(tc, a_prompt_that_is_not_pooled);
    suite_add_tcase(s, tc);
}
