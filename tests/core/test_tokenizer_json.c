/* tokenizer.json: each row changes one place of a good file and says what must come of it. */
#include "core/text/tokenizer.h"

#include "base/rng.h"
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

/* The good file with `from` replaced by `to`; into ret. */
static void edit(const char *from, const char *to, char *ret, size_t cap)
{
    const char *at = strstr(FIXTURE_TOKENIZER_JSON, from);
    ck_assert_msg(at != NULL, "the fixture lacks %s", from);
    int n = snprintf(ret, cap, "%.*s%s%s", (int)(at - FIXTURE_TOKENIZER_JSON),
        FIXTURE_TOKENIZER_JSON, to, at + strlen(from));
    ck_assert(n > 0 && (size_t)n < cap);
}

static const struct edit {
    const char *from, *to;
    enum err_code code;
    const char *mentions;
} EDITS[] = {
    { "\"version\":\"1.0\",", "", ERR_OK, "" },
    { "\"truncation\":null", "\"truncation\":{\"max_length\":4}", ERR_OK, "" },
    { "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}",
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
        "\"BertPreTokenizer\"}]}",
        ERR_OK, "" },
    { "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[PAD]\",0],\"cls\":[\"[UNK]\","
        "1]}",
        ERR_OK, "" },
    { "\"lstrip\":false", "\"lstrip\":true", ERR_OK, "" },
    { "{\"id\":1,", "{\"id\":12,\"content\":\"[NEW]\"},{\"id\":1,", ERR_OK, "" },
    { "\"version\"", "\"surprise\"", ERR_UNPROCESSABLE, "surprise" },
    { "BertNormalizer", "NFKC", ERR_UNPROCESSABLE, "NFKC" },
    { "\"clean_text\":true", "\"clean_text\":1", ERR_CORRUPT, "normalizer.clean_text" },
    { "\"clean_text\"", "\"dirty_text\"", ERR_UNPROCESSABLE, "normalizer.dirty_text" },
    { "BertPreTokenizer", "ByteLevel", ERR_UNPROCESSABLE, "ByteLevel" },
    { "{\"type\":\"BertPreTokenizer\"}", "null", ERR_UNPROCESSABLE, "pre_tokenizer" },
    { "{\"type\":\"BertPreTokenizer\"}",
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":\"Digits\"}]"
        "}",
        ERR_UNPROCESSABLE, "Sequence" },
    { "\"WordPiece\"", "\"BPE\"", ERR_UNPROCESSABLE, "BPE" },
    { "\"model\":", "\"decoder2\":", ERR_UNPROCESSABLE, "decoder2" },
    { "\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":0", ERR_UNPROCESSABLE,
        "max_input_chars_per_word" },
    { "\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":10001", ERR_UNPROCESSABLE,
        "max_input_chars_per_word" },
    { "\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[NO]\"", ERR_CORRUPT, "[NO]" },
    { "\"dog\":11", "\"dog\":12", ERR_CORRUPT, "11" },
    { "\"dog\":11", "\"dog\":10", ERR_CORRUPT, "10" },
    { "\"dog\":11", "\"dog\":-1", ERR_CORRUPT, "vocab" },
    { "\"dog\":11", "\"dog\":4294967296", ERR_CORRUPT, "out of range" },
    { "\"dog\":11", "\"dog\":16777215", ERR_CORRUPT, "out of range" },
    { "\"dog\":11", "\"dog\":16000000", ERR_CORRUPT, "out of range" }, /* no table that large */
    { "\"dog\":11", "\"dog\":1.5", ERR_CORRUPT, "vocab" },
    { "\"dog\":11", "\"dog\":\"11\"", ERR_CORRUPT, "vocab" },
    { "\"dog\":11", "\"cat\":11", ERR_CORRUPT, "duplicate" },
    { "{\"id\":1,", "{\"id\":2,", ERR_CORRUPT, "[UNK]" },
    { "{\"id\":1,", "{\"id\":12,\"content\":\"\"},{\"id\":1,", ERR_CORRUPT, "added_tokens" },
    { "{\"id\":1,", "7,{\"id\":1,", ERR_CORRUPT, "added_tokens" },
    { "{\"id\":1,", "{\"id\":12,\"content\":\"a\",\"normalized\":true},{\"id\":1,",
        ERR_UNPROCESSABLE, "normalized" },
    { "\"single_word\":false", "\"single_word\":true", ERR_UNPROCESSABLE, "single_word" },
    { "\"post_processor\":null", "\"post_processor\":{\"type\":\"RobertaProcessing\"}",
        ERR_UNPROCESSABLE, "RobertaProcessing" },
    { "\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}", ERR_CORRUPT,
        "cls" },
    { "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",12],\"cls\":[\"[UNK]\",1]}",
        ERR_CORRUPT, "outside" },
    { "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}", ERR_CORRUPT,
        "leaves the text out" },
    { "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{}},{"
        "\"Sequence\":{}}]}",
        ERR_CORRUPT, "once" },
    { "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
        "\"x\"}}]}",
        ERR_CORRUPT, "does not define" },
    { "\"post_processor\":null", "\"post_processor\":[]", ERR_CORRUPT, "post_processor" },
};
enum { N_EDITS = sizeof EDITS / sizeof *EDITS };

START_TEST(one_change)
{
    const struct edit *c = &EDITS[_i];
    char text[4096];
    struct err e = ERR_INIT;
    struct tokenizer *t = NULL;
    edit(c->from, c->to, text, sizeof text);
    fixture_write(&dir, "tokenizer.json", text);
    enum err_code code = tokenizer_load(dir.path, &t, &e);
    ck_assert_msg(code == c->code, "%s: %s (%s), expected %s", c->to, err_name(code), e.msg,
        err_name(c->code));
    ck_assert_msg(
        strstr(e.msg, c->mentions) != NULL, "\"%s\" does not mention %s", e.msg, c->mentions);
    tokenizer_free(t);
}
END_TEST

static void check_ids(const char *text, size_t n, const uint32_t *want, struct token_span span)
{
    struct tokenizer *t;
    struct token_ids ids = { .want_spans = true };
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    struct err e = ERR_INIT;
    ck_assert_ptr_nonnull(s);
    ck_assert_ok(tokenizer_load(dir.path, &t, &e), &e);
    ck_assert_ok(tokenizer_encode(t, str_from(text), 0, s, &ids, &e), &e);
    ck_assert_uint_eq(ids.n, n);
    ck_assert_mem_eq(ids.ids, want, n * sizeof *want);
    ck_assert_uint_eq(ids.spans[1].begin, span.begin);
    ck_assert_uint_eq(ids.spans[1].end, span.end);
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

START_TEST(added_tokens_beyond_the_vocabulary)
{
    char text[4096];
    edit("{\"id\":1,",
        "{\"id\":12,\"content\":\"[New]\",\"lstrip\":true,\"rstrip\":true},{\"id\":13,\"content\":"
        "\"dogs\"},"
        "{\"id\":1,",
        text, sizeof text);
    fixture_write(&dir, "tokenizer.json", text);
    /* In the text as it is: "[new]" is not "[New]"; "dogs" is found within a word. */
    check_ids(
        "cat \xC2\xA0 [New] \t sat", 3, (uint32_t[]){ 3, 12, 4 }, (struct token_span){ 3, 15 });
    check_ids("the dogsable dog", 4, (uint32_t[]){ 2, 13, 1, 11 }, (struct token_span){ 4, 8 });
}
END_TEST

START_TEST(template_around_the_text)
{
    char text[4096];
    edit("\"post_processor\":null",
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
        "\"A\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"B\"}}],\"pair\":[],\"special_"
        "tokens\":"
        "{\"A\":{\"id\":\"A\",\"ids\":[7]},\"B\":{\"id\":\"B\",\"ids\":[0,1]}}}",
        text, sizeof text);
    fixture_write(&dir, "tokenizer.json", text);
    check_ids("cat sat", 5, (uint32_t[]){ 7, 3, 4, 0, 1 }, (struct token_span){ 0, 3 });
}
END_TEST

START_TEST(from_memory)
{
    struct tokenizer *t = NULL;
    struct err e = ERR_INIT;
    ck_assert_ok(tokenizer_load_json(str_from(FIXTURE_TOKENIZER_JSON), &t, &e), &e);
    ck_assert_uint_eq(tokenizer_vocab_size(t), FIXTURE_TOKENS);
    tokenizer_free(t);
    t = NULL;
    ck_assert_err(tokenizer_load_json(STR("{}"), &t, &e), ERR_UNPROCESSABLE);
    ck_assert_err(tokenizer_load_json(STR("{"), &t, &e), ERR_CORRUPT);
    ck_assert_ptr_null(t);
}
END_TEST

/* Whatever one byte becomes, the file loads or is refused; sanitizers watch. */
START_TEST(random_damage)
{
    struct rng rng;
    rng_init(&rng, 31);
    size_t n = strlen(FIXTURE_TOKENIZER_JSON), refused = 0;
    for (int round = 0; round < 1500; round++) {
        char text[4096];
        struct tokenizer *t = NULL;
        memcpy(text, FIXTURE_TOKENIZER_JSON, n + 1);
        for (size_t k = 1 + rng_below(&rng, 3); k > 0; k--)
            text[rng_below(&rng, n)] = (char)(1 + rng_below(&rng, 126));
        if (rng_below(&rng, 4) == 0) text[rng_below(&rng, n)] = '\0';
        fixture_write(&dir, "tokenizer.json", text);
        refused += tokenizer_load(dir.path, &t, NULL) != ERR_OK;
        tokenizer_free(t);
    }
    ck_assert_uint_gt(refused, 500);
}
END_TEST

TEST_SUITE(tokenizer_json)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, one_change, 0, N_EDITS);
    tcase_add_test(tc, added_tokens_beyond_the_vocabulary);
    tcase_add_test(tc, template_around_the_text);
    tcase_add_test(tc, from_memory);
    tcase_add_test(tc, random_damage);
    suite_add_tcase(s, tc);
}
