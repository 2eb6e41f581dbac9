/* The tiny BERT against what sentence-transformers makes of it (tools/parity/make_fixture.py), through encoder.h:
 * core/model/bert_encoder.c. */
#include "core/model/encoder.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TEXTS = 20, DIM = 32, DENSE_DIM = 16, MAX_TOKENS = 24, SPECIALS = 2 };
static const double TOLERANCE = 1e-5;

static struct tmpdir dir;
static struct encoder *enc;
static struct encoder_workspace *w;

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_copy_bert(&dir);
}

static void load(enum encoder_products products)
{
    struct err e = ERR_INIT;
    const struct encoder_options o = { vec_select(VEC_BEST), products };
    ck_assert_ok(encoder_open(dir.path, &o, &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
}

static void unload(void)
{
    encoder_workspace_free(w);
    encoder_free(enc);
    w = NULL;
    enc = NULL;
}

static void tear_down(void)
{
    unload();
    tmpdir_remove(&dir);
}

/* All texts in one batch; `starts`: where each begins, in tokens. */
static void compare(const char *name, enum encode_kind kind, const char *starts)
{
    struct err e = ERR_INIT;
    size_t n = 0, dim = encoder_info(enc)->dimensions, i = 0;
    AUTO_FREE float *want = fixture_expected(name, &n);
    AUTO_FREE int32_t *want_starts = fixture_expected_ids(starts, NULL);
    AUTO_FREE char *texts = fixture_bert_texts();
    AUTO_FREE float *got = mem_alloc(TEXTS, dim * sizeof *got);
    ck_assert_ptr_nonnull(got);
    ck_assert_uint_eq(n, TEXTS * dim);
    encoder_batch_begin(w);
    for (char *p = texts, *end; *p; p = end + 1, i++) {
        size_t tokens = 0;
        end = strchr(p, '\n');
        const struct str text = { p, (size_t)(end - p) };
        ck_assert_ok(encoder_batch_add_text(w, text, kind, true, &tokens, &e), &e);
        ck_assert_uint_eq(tokens, (size_t)(want_starts[i + 1] - want_starts[i]));
    }
    ck_assert_uint_eq(i, TEXTS);
    ck_assert_ok(encoder_batch_forward(w, got, &e), &e);
    ck_assert_near(got, want, n, TOLERANCE, 0);
}

START_TEST(info)
{
    load(PRODUCTS_BEST);
    const struct encoder_info *i = encoder_info(enc);
    ck_assert_str_eq(i->architecture, "bert");
    ck_assert_str_eq(i->name, strrchr(dir.path, '/') + 1);
    ck_assert(i->dimensions == DIM && i->max_tokens == MAX_TOKENS && i->vocab_size == 160);
    ck_assert_uint_eq(i->flops_per_token, 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64));
    ck_assert_uint_ge(i->size_bytes, (160 + 32) * 32 * sizeof(float));
    ck_assert_str_eq(i->prompts[ENCODE_QUERY], "");
}
END_TEST

/* A file in which `from` is replaced, or NULL; modules.json is made in the test. */
static const struct {
    const char *expected, *file, *from, *to;
} VARIANTS[] = {
    { "embedding", NULL, NULL, NULL },
    { "embedding_raw", NULL, NULL, NULL },
    { "embedding_cls", "1_Pooling/config.json", "\"pooling_mode_cls_token\": false",
        "\"pooling_mode_cls_token\": true" },
    { "embedding_gelu_new", "config.json", "\"gelu\"", "\"gelu_new\"" },
    { "embedding_relu", "config.json", "\"gelu\"", "\"relu\"" },
    { "embedding_dense_tanh", NULL, NULL, NULL },
    { "embedding_dense_identity", "2_Dense/config.json", "activation.Tanh", "linear.Identity" },
};
enum { N_VARIANTS = sizeof VARIANTS / sizeof *VARIANTS };

#define TRANSFORMER "{\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"}"
#define POOLING "{\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}"
#define DENSE "{\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models.Dense\"}"
#define NORMALIZE "{\"path\":\"3_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}"

/* A loop over variants, with each way to multiply. */
START_TEST(variants)
{
    static const enum encoder_products products[] = { PRODUCTS_BEST, PRODUCTS_PACKED,
        PRODUCTS_BLAS };
    size_t v = (size_t)_i % N_VARIANTS;
    if (VARIANTS[v].file) fixture_replace(&dir, VARIANTS[v].file, VARIANTS[v].from, VARIANTS[v].to);
    if (strstr(VARIANTS[v].expected, "dense"))
        fixture_write(
            &dir, "modules.json", "[" TRANSFORMER "," POOLING "," DENSE "," NORMALIZE "]");
    if (strstr(VARIANTS[v].expected, "raw"))
        fixture_write(&dir, "modules.json", "[" TRANSFORMER "," POOLING "]");
    if (strstr(VARIANTS[v].expected, "cls"))
        fixture_replace(&dir, "1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
            "\"pooling_mode_mean_tokens\": false");
    load(products[(size_t)_i / N_VARIANTS]);
    compare(VARIANTS[v].expected, ENCODE_DOCUMENT, "starts");
}
END_TEST

/* What a folder without modules.json means: the mean, not normalised. */
START_TEST(without_modules)
{
    char path[TMPDIR_PATH_BYTES];
    ck_assert_int_eq(remove(tmpdir_file(&dir, "modules.json", path)), 0);
    load(PRODUCTS_BEST);
    compare("embedding_raw", ENCODE_DOCUMENT, "starts");
}
END_TEST

START_TEST(prompts)
{
    static const struct str blank = { " \t", 2 };
    float out[DIM];
    struct err e = ERR_INIT;
    fixture_write(&dir, "config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"ask: \"},\"default_prompt_name\":null}");
    load(PRODUCTS_BEST);
    ck_assert_str_eq(encoder_info(enc)->prompts[ENCODE_QUERY], "ask: ");
    ck_assert_str_eq(encoder_info(enc)->prompts[ENCODE_DOCUMENT], "");
    compare("embedding_query", ENCODE_QUERY, "starts_query");
    compare("embedding", ENCODE_DOCUMENT, "starts");
    /* A prompt alone is not a text. */
    ck_assert_err(encoder_encode_text(w, STR(""), ENCODE_QUERY, out, &e), ERR_EMPTY);
    ck_assert_err(encoder_encode_text(w, blank, ENCODE_QUERY, out, &e), ERR_EMPTY);
    ck_assert_err(encoder_encode_text(w, STR("ab\xFF"), ENCODE_QUERY, out, &e), ERR_INVALID);
    ck_assert_msg(strstr(e.msg, "byte 2") != NULL, "%s", e.msg);
    ck_assert_ok(encoder_encode_text(w, STR("x"), ENCODE_QUERY, out, &e), &e);
}
END_TEST

START_TEST(a_prompt_must_leave_room)
{
    struct encoder *other = NULL;
    struct err e = ERR_INIT;
    fixture_write(&dir, "config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! !\"}}");
    ck_assert_err(encoder_load(dir.path, vec_select(VEC_BEST), &other, &e), ERR_UNPROCESSABLE);
    ck_assert_msg(strstr(e.msg, "prompt") != NULL, "%s", e.msg);
    fixture_write(&dir, "config_sentence_transformers.json", "{}");
    fixture_write(&dir, "sentence_bert_config.json", "{\"max_seq_length\":2}");
    ck_assert_err(encoder_load(dir.path, vec_select(VEC_BEST), &other, &e), ERR_UNPROCESSABLE);
    fixture_write(&dir, "sentence_bert_config.json", "{\"max_seq_length\":3}");
    ck_assert_ok(encoder_load(dir.path, vec_select(VEC_BEST), &other, &e), &e);
    encoder_free(other);
}
END_TEST

START_TEST(specials_are_no_content)
{
    size_t tokens = 0;
    struct err e = ERR_INIT;
    load(PRODUCTS_BEST);
    encoder_batch_begin(w);
    ck_assert_err(encoder_batch_add_text(w, STR(""), ENCODE_DOCUMENT, true, NULL, &e), ERR_EMPTY);
    ck_assert_err(encoder_batch_add_text(w, STR(" \n"), ENCODE_QUERY, true, NULL, &e), ERR_EMPTY);
    ck_assert_ok(encoder_batch_add_text(w, STR("!"), ENCODE_DOCUMENT, true, &tokens, &e), &e);
    ck_assert_uint_eq(tokens, 1 + SPECIALS);
    ck_assert_uint_eq(encoder_batch_count(w), 1);
}
END_TEST

START_TEST(longer_texts_are_cut_only_when_asked)
{
    static char text[512];
    size_t tokens = 0;
    struct err e = ERR_INIT;
    load(PRODUCTS_BEST);
    for (size_t i = 0; i < MAX_TOKENS - SPECIALS; i++)
        memcpy(text + 2 * i, "! ", 3);
    encoder_batch_begin(w);
    ck_assert_ok(
        encoder_batch_add_text(w, str_from(text), ENCODE_DOCUMENT, false, &tokens, &e), &e);
    ck_assert_uint_eq(tokens, MAX_TOKENS);
    memcpy(text + strlen(text), "!", 2);
    ck_assert_err(
        encoder_batch_add_text(w, str_from(text), ENCODE_DOCUMENT, false, NULL, &e), ERR_LIMIT);
    ck_assert_ok(encoder_batch_add_text(w, str_from(text), ENCODE_DOCUMENT, true, &tokens, &e), &e);
    ck_assert_uint_eq(tokens, MAX_TOKENS);
}
END_TEST

/* Many blocks' worth of texts of all lengths: each row as if it were alone, bit for bit where weights are packed. */
START_TEST(batches_do_not_matter)
{
    enum { MANY = 300 };
    static char texts[MANY][256];
    static float together[MANY * DIM];
    const bool packed = _i == 0;
    struct rng rng;
    rng_init(&rng, 7);
    load(packed ? PRODUCTS_PACKED : PRODUCTS_BLAS);
    encoder_batch_begin(w);
    for (size_t i = 0; i < MANY; i++) {
        size_t at = 0;
        for (size_t n = 1 + rng_below(&rng, MAX_TOKENS); n > 0; n--)
            at += (size_t)snprintf(texts[i] + at, sizeof texts[i] - at, "%c ",
                (char)('a' + (char)rng_below(&rng, 26)));
        ck_assert_ok(
            encoder_batch_add_text(w, str_from(texts[i]), ENCODE_DOCUMENT, true, NULL, NULL));
    }
    ck_assert_uint_gt(encoder_batch_tokens(w), 2048);
    ck_assert_ok(encoder_batch_forward(w, together, NULL));
    for (size_t i = 0; i < MANY; i++) {
        float alone[DIM];
        ck_assert_ok(encoder_encode_text(w, str_from(texts[i]), ENCODE_DOCUMENT, alone, NULL));
        if (packed)
            ck_assert_mem_eq(alone, together + i * DIM, sizeof alone);
        else
            ck_assert_near(alone, together + i * DIM, DIM, TOLERANCE, 0);
    }
}
END_TEST

START_TEST(nothing_to_do)
{
    struct err e = ERR_INIT;
    float out[1] = { 7 };
    load(PRODUCTS_BEST);
    encoder_batch_begin(w);
    ck_assert_ok(encoder_batch_forward(w, out, &e), &e);
    ck_assert(out[0] == 7);
}
END_TEST

/* What other layers' tests use. */
START_TEST(the_tiny_bert_of_other_tests)
{
    struct encoder *tiny = NULL;
    struct encoder_workspace *space = NULL;
    struct err e = ERR_INIT;
    float out[TINY_BERT_DIMENSIONS], norm = 0;
    char path[TMPDIR_PATH_BYTES];
    tiny_bert_write(dir.path, "tiny", 3);
    ck_assert_ok(
        encoder_load(tmpdir_file(&dir, "tiny", path), vec_select(VEC_BEST), &tiny, &e), &e);
    ck_assert_uint_eq(encoder_info(tiny)->max_tokens, TINY_BERT_TOKENS);
    ck_assert_ok(encoder_workspace_new(tiny, &space, &e), &e);
    ck_assert_ok(encoder_encode_text(space, STR("the canary sings"), ENCODE_QUERY, out, &e), &e);
    for (size_t i = 0; i < TINY_BERT_DIMENSIONS; i++)
        norm += out[i] * out[i];
    ck_assert_float_eq_tol(norm, 1, 1e-5F);
    encoder_workspace_free(space);
    encoder_free(tiny);
}
END_TEST

static enum err_code load_and_encode(void)
{
    struct encoder *other = NULL;
    struct encoder_workspace *space = NULL;
    float out[DENSE_DIM];
    enum err_code code = encoder_load(dir.path, vec_select(VEC_BEST), &other, NULL);
    if (code != ERR_OK) return code;
    code = encoder_workspace_new(other, &space, NULL);
    if (code == ERR_OK)
        code = encoder_encode_text(space, STR("the old ship"), ENCODE_QUERY, out, NULL);
    encoder_workspace_free(space);
    encoder_free(other);
    return code;
}

START_TEST(out_of_memory)
{
    fixture_write(&dir, "modules.json", "[" TRANSFORMER "," POOLING "," DENSE "," NORMALIZE "]");
    fixture_write(&dir, "config_sentence_transformers.json", "{\"prompts\":{\"query\":\"ask: \"}}");
    OOM_LOOP(load_and_encode);
}
END_TEST

TEST_SUITE(bert_encoder)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, info);
    tcase_add_loop_test(tc, variants, 0, 3 * N_VARIANTS);
    tcase_add_test(tc, without_modules);
    tcase_add_test(tc, prompts);
    tcase_add_test(tc, a_prompt_must_leave_room);
    tcase_add_test(tc, specials_are_no_content);
    tcase_add_test(tc, longer_texts_are_cut_only_when_asked);
    tcase_add_loop_test(tc, batches_do_not_matter, 0, 2);
    tcase_add_test(tc, nothing_to_do);
    tcase_add_test(tc, the_tiny_bert_of_other_tests);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
