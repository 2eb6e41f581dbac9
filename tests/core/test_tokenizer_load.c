/* From a folder; vocab.txt and what stands beside it (core/text/tokenizer_vocab.c). */
#include "core/text/tokenizer.h"

#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
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

/* Ids of a text as "2 5 3". */
static void check(const char *text, const char *want)
{
    struct err e = ERR_INIT;
    struct tokenizer *t;
    struct token_ids ids = { 0 };
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    char got[256] = "";
    ck_assert_ptr_nonnull(s);
    ck_assert_ok(tokenizer_load(dir.path, &t, &e), &e);
    ck_assert_ok(tokenizer_encode(t, str_from(text), 0, s, &ids, &e), &e);
    for (size_t i = 0, at = 0; i < ids.n; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%u", i ? " " : "", ids.ids[i]);
    ck_assert_str_eq(got, want);
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

static const char VOCAB[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\r\ncafe\ncaf\xC3\xA9\nThe\n##s \n";

START_TEST(vocab_txt_is_uncased_bert)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    check("The CAF\xC3\x89s [SEP] x", "2 4 5 8 3 1 3");
}
END_TEST

START_TEST(tokenizer_config_is_heeded)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    fixture_write(
        &dir, "tokenizer_config.json", "{\"do_lower_case\":false,\"model_max_length\":512}");
    check("The caf\xC3\xA9s the", "2 7 6 8 4 3");
    fixture_write(&dir, "tokenizer_config.json", "{\"strip_accents\":false}");
    check("The CAF\xC3\x89s", "2 4 6 8 3");
    fixture_write(&dir, "tokenizer_config.json", "{\"do_lower_case\":7}");
    struct tokenizer *t;
    ck_assert_err(tokenizer_load(dir.path, &t, NULL), ERR_CORRUPT);
}
END_TEST

/* What a `transformers` library of today writes beside vocab.txt. */
START_TEST(a_current_config)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    fixture_write(&dir, "tokenizer_config.json",
        "{\"added_tokens_decoder\":{\"2\":{\"content\":\"[CLS]\",\"lstrip\":false,\"normalized\":"
        "false,"
        "\"rstrip\":false,\"single_word\":false,\"special\":true},\"7\":{\"content\":\"The\","
        "\"lstrip\":"
        "true}},\"clean_up_tokenization_spaces\":true,\"cls_token\":{\"__type\":\"AddedToken\","
        "\"content\":"
        "\"[CLS]\"},\"do_basic_tokenize\":true,\"do_lower_case\":true,\"mask_token\":\"[MASK]\","
        "\"model_max_length\":1000000000000000019884624838656,\"never_split\":null,\"strip_"
        "accents\":null,"
        "\"tokenize_chinese_chars\":true,\"tokenizer_class\":\"BertTokenizer\"}");
    check("The the", "2 7 4 3");
    fixture_write(&dir, "tokenizer_config.json",
        "{\"cls_token\":\"The\",\"sep_token\":{\"content\":\"cafe\"},\"unk_token\":\"[PAD]\"}");
    check("the x", "7 4 0 5");
}
END_TEST

START_TEST(tokens_that_vocab_txt_lacks)
{
    static const struct {
        const char *file, *text;
        enum err_code code;
    } cases[] = {
        { "added_tokens.json", "{\"[CLS]\":2}", ERR_OK },
        { "added_tokens.json", "{\"[NEW]\":9}", ERR_UNPROCESSABLE },
        { "added_tokens.json", "{\"[CLS]\":3}", ERR_UNPROCESSABLE },
        { "added_tokens.json", "{\"[CLS]\":\"2\"}", ERR_UNPROCESSABLE },
        { "added_tokens.json", "[]", ERR_CORRUPT },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"[NEW]\"}}}",
            ERR_UNPROCESSABLE },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"3\":{\"content\":\"[CLS]\"}}}",
            ERR_UNPROCESSABLE },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"[CLS]\"}}}",
            ERR_UNPROCESSABLE },
        { "tokenizer_config.json",
            "{\"added_tokens_decoder\":{\"4\":{\"content\":\"the\",\"normalized\":true}}}",
            ERR_UNPROCESSABLE },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"2\":{}}}", ERR_CORRUPT },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":{\"2\":7}}", ERR_CORRUPT },
        { "tokenizer_config.json", "{\"added_tokens_decoder\":[]}", ERR_CORRUPT },
        { "tokenizer_config.json", "{\"cls_token\":7}", ERR_CORRUPT },
        { "tokenizer_config.json", "{\"cls_token\":null}", ERR_OK },
    };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t = NULL;
        tear_down();
        set_up();
        fixture_write(&dir, "vocab.txt", VOCAB);
        fixture_write(&dir, cases[i].file, cases[i].text);
        enum err_code code = tokenizer_load(dir.path, &t, &e);
        ck_assert_msg(code == cases[i].code, "case %zu: %s (%s)", i, err_name(code), e.msg);
        tokenizer_free(t);
    }
}
END_TEST

/* As the static encoder asks for them, and cut as an encoder with 4 positions cuts them. */
START_TEST(vocab_txt_without_specials_and_cut)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    struct tokenizer *t;
    struct token_ids ids = { .no_specials = true };
    struct tokenizer_scratch *s = tokenizer_scratch_new();
    ck_assert_ptr_nonnull(s);
    ck_assert_ok(tokenizer_load(dir.path, &t, NULL));
    ck_assert_ok(tokenizer_encode(t, STR("the cafes the"), 0, s, &ids, NULL));
    ck_assert_uint_eq(ids.n, 4);
    ck_assert_mem_eq(ids.ids, ((uint32_t[]){ 4, 5, 8, 4 }), 4 * sizeof *ids.ids);
    ids.no_specials = false;
    ck_assert_ok(tokenizer_encode(t, STR("the cafes the"), 4, s, &ids, NULL));
    ck_assert(ids.n == 4 && ids.truncated);
    ck_assert_mem_eq(ids.ids, ((uint32_t[]){ 2, 4, 5, 3 }), 4 * sizeof *ids.ids);
    token_ids_done(&ids);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}
END_TEST

START_TEST(without_cls_and_sep_nothing_is_added)
{
    fixture_write(&dir, "vocab.txt", "[UNK]\nthe\n[CLS]");
    check("the [CLS]", "1 2");
}
END_TEST

START_TEST(broken_vocab_txt)
{
    static const struct {
        const char *text;
        enum err_code code;
    } bad[] = {
        { "", ERR_CORRUPT },
        { "[UNK]\n\nthe\n", ERR_CORRUPT },
        { "a\nb\n", ERR_CORRUPT }, /* no [UNK] */
        { "[UNK]\nthe\nthe\n", ERR_CORRUPT },
        { "[UNK]\n\xFF\n", ERR_CORRUPT },
    };
    struct tokenizer *t;
    fixture_write(&dir, "vocab.txt", bad[_i].text);
    ck_assert_err(tokenizer_load(dir.path, &t, NULL), bad[_i].code);
}
END_TEST

START_TEST(tokenizer_json_comes_first)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    fixture_write(&dir, "tokenizer.json", FIXTURE_TOKENIZER_JSON);
    check("unable", "5 6");
}
END_TEST

START_TEST(nothing_there)
{
    struct tokenizer *t;
    ck_assert_err(tokenizer_load(dir.path, &t, NULL), ERR_NOT_FOUND);
    ck_assert_err(tokenizer_load("/nonexistent", &t, NULL), ERR_NOT_FOUND);
}
END_TEST

static enum err_code load_once(void)
{
    struct tokenizer *t;
    enum err_code code = tokenizer_load(dir.path, &t, NULL);
    if (code == ERR_OK) tokenizer_free(t);
    return code;
}

START_TEST(out_of_memory)
{
    fixture_write(&dir, "vocab.txt", VOCAB);
    fixture_write(&dir, "tokenizer_config.json",
        "{\"added_tokens_decoder\":{\"2\":{\"content\":\"[CLS]\"}}}");
    fixture_write(&dir, "added_tokens.json", "{\"[CLS]\":2}");
    OOM_LOOP(load_once);
}
END_TEST

TEST_SUITE(tokenizer_load)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, vocab_txt_is_uncased_bert);
    tcase_add_test(tc, tokenizer_config_is_heeded);
    tcase_add_test(tc, a_current_config);
    tcase_add_test(tc, tokens_that_vocab_txt_lacks);
    tcase_add_test(tc, vocab_txt_without_specials_and_cut);
    tcase_add_test(tc, without_cls_and_sep_nothing_is_added);
    tcase_add_loop_test(tc, broken_vocab_txt, 0, 5);
    tcase_add_test(tc, tokenizer_json_comes_first);
    tcase_add_test(tc, nothing_there);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
