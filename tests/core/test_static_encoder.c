/* Vectors of the tiny model against sums written out; every instruction set; every way to store a
 * table. */
#include "core/model/encoder.h"

#include "base/mem.h"
#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct tmpdir dir;

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_write_model(&dir);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

/* Mean of rows, times their factors if there are, normalised if asked for. */
static void reference(
    const uint32_t *ids, size_t n, const float *factors, bool normalize, double *ret)
{
    double norm = 0;
    for (size_t j = 0; j < FIXTURE_DIM; j++) {
        ret[j] = 0;
        for (size_t i = 0; i < n; i++)
            ret[j] += (double)(factors ? factors[ids[i]] : 1) * (double)fixture_value(ids[i], j) /
                (double)n;
        norm += ret[j] * ret[j];
    }
    for (size_t j = 0; j < FIXTURE_DIM && normalize; j++)
        ret[j] /= sqrt(norm);
}

static void check(const struct vec_kernels *k, const char *text, const float *want_factors,
    bool normalize, size_t n, const uint32_t *ids)
{
    struct encoder *enc;
    struct encoder_workspace *w;
    struct err e = ERR_INIT;
    float got[FIXTURE_DIM];
    double want[FIXTURE_DIM];
    ck_assert_ok(encoder_load(dir.path, k, &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    ck_assert_ok(encoder_encode_text(w, str_from(text), ENCODE_DOCUMENT, got, &e), &e);
    reference(ids, n, want_factors, normalize, want);
    ck_assert_near(got, want, FIXTURE_DIM, 1e-6, 1e-6);
    encoder_workspace_free(w);
    encoder_free(enc);
}

static void check_all_levels(const float *factors, bool normalize)
{
    for (const struct vec_kernels *const *k = vec_all(); *k; k++) {
        check(*k, "cat", factors, normalize, 1, (uint32_t[]){ 3 });
        check(*k, "The cats sat.", factors, normalize, 5, (uint32_t[]){ 2, 3, 10, 4, 7 });
        check(*k, "unable zebra 漢[PAD]", factors, normalize, 5, (uint32_t[]){ 5, 6, 1, 9, 0 });
    }
}

START_TEST(stored_as_f32)
{
    check_all_levels(NULL, true);
}
END_TEST

/* The table as F16 (0), BF16 (1) or F32 (2), with factors. */
static void write_with_factors(int kind, const float *factors, const char *table_name)
{
    float table[FIXTURE_TOKENS * FIXTURE_DIM];
    uint16_t half[FIXTURE_TOKENS * FIXTURE_DIM];
    fixture_table(table);
    for (size_t i = 0; i < FIXTURE_TOKENS * FIXTURE_DIM; i++) {
        uint32_t bits;
        memcpy(&bits, &table[i], 4);
        half[i] = kind == 0 ? f32_to_f16(table[i]) : (uint16_t)(bits >> 16);
    }
    const struct safetensor_out t[] = {
        { table_name,
            kind == 0       ? DTYPE_F16
                : kind == 1 ? DTYPE_BF16
                            : DTYPE_F32,
            2, { FIXTURE_TOKENS, FIXTURE_DIM }, kind == 2 ? (const void *)table : half },
        { "weights", DTYPE_F32, 1, { FIXTURE_TOKENS }, factors },
    };
    fixture_write_tensors(&dir, t, factors ? 2 : 1);
}

START_TEST(every_type_with_and_without_factors)
{
    float factors[FIXTURE_TOKENS];
    for (size_t i = 0; i < FIXTURE_TOKENS; i++)
        factors[i] = 0.25F * (float)(i + 1);
    write_with_factors(_i, NULL, "embedding.weight");
    check_all_levels(NULL, true);
    write_with_factors(_i, NULL, "embeddings");
    check_all_levels(NULL, true);
    write_with_factors(_i, factors, "embeddings");
    check_all_levels(factors, true);
    fixture_write(&dir, "config.json", "{\"model_type\":\"static\",\"normalize\":false}");
    check_all_levels(factors, false);
}
END_TEST

static void check_refused(enum err_code code, const char *mentions)
{
    struct encoder *enc = NULL;
    struct err e = ERR_INIT;
    ck_assert_err(encoder_load(dir.path, vec_select(VEC_BEST), &enc, &e), code);
    ck_assert_msg(strstr(e.msg, mentions) != NULL, "\"%s\" does not mention %s", e.msg, mentions);
    ck_assert_ptr_null(enc);
}

START_TEST(tensors_that_do_not_fit)
{
    float table[16 * 8] = { 1 };
    const struct safetensor_out good = { "embedding.weight", DTYPE_F32, 2,
        { FIXTURE_TOKENS, FIXTURE_DIM }, table };
    const struct {
        struct safetensor_out t[2];
        size_t n;
        const char *mentions;
    } cases[] = {
        { { { "other", DTYPE_F32, 2, { 12, 6 }, table } }, 1,
            "neither embedding.weight nor embeddings" },
        { { good, { "extra", DTYPE_F32, 1, { 1 }, table } }, 2, "extra" },
        { { good, { "weights", DTYPE_F32, 1, { 12 }, table } }, 2, "weights" },
        { { { "embeddings", DTYPE_F32, 2, { 12, 6 }, table },
              { "weights", DTYPE_F32, 1, { 11 }, table } },
            2, "weights" },
        { { { "embedding.weight", DTYPE_F32, 1, { 72 }, table } }, 1, "1 dimensions" },
        { { { "embedding.weight", DTYPE_F32, 2, { 12, 5 }, table } }, 1, "hidden_size" },
        { { { "embedding.weight", DTYPE_F32, 2, { 11, 6 }, table } }, 1, "vocab_size" },
        { { { "embedding.weight", DTYPE_I32, 2, { 12, 6 }, table } }, 1, "I32" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write_tensors(&dir, cases[i].t, cases[i].n);
        check_refused(ERR_UNPROCESSABLE, cases[i].mentions);
    }
    fixture_write(&dir, "config.json", "{\"model_type\":\"static\"}");
    fixture_write_tensors(&dir, cases[6].t, 1);
    check_refused(ERR_UNPROCESSABLE, "11 rows for the tokenizer's 12 tokens");
}
END_TEST

START_TEST(more_rows_than_tokens_are_fine)
{
    float table[16 * FIXTURE_DIM] = { 0 };
    fixture_table(table);
    fixture_write(&dir, "config.json", "{\"model_type\":\"static\",\"normalize\":true}");
    fixture_write_tensors(&dir,
        &(struct safetensor_out){ "embedding.weight", DTYPE_F32, 2, { 16, FIXTURE_DIM }, table },
        1);
    check_all_levels(NULL, true);
}
END_TEST

START_TEST(values_that_are_not_finite)
{
    float table[FIXTURE_TOKENS * FIXTURE_DIM];
    uint16_t half[FIXTURE_TOKENS * FIXTURE_DIM] = { 0 };
    const float bad[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < 3; i++) {
        fixture_table(table);
        table[9 * FIXTURE_DIM + 2] = bad[i];
        fixture_write_tensors(&dir,
            &(struct safetensor_out){
                "embedding.weight", DTYPE_F32, 2, { FIXTURE_TOKENS, FIXTURE_DIM }, table },
            1);
        check_refused(ERR_CORRUPT, "row 9");
        half[9 * FIXTURE_DIM + 2] = f32_to_f16(bad[i]);
        fixture_write_tensors(&dir,
            &(struct safetensor_out){
                "embedding.weight", DTYPE_F16, 2, { FIXTURE_TOKENS, FIXTURE_DIM }, half },
            1);
        check_refused(ERR_CORRUPT, "row 9");
    }
}
END_TEST

START_TEST(other_pooling_is_refused)
{
    fixture_write(&dir, "config.json", "{\"model_type\":\"static\",\"pooling\":\"max\"}");
    check_refused(ERR_UNPROCESSABLE, "pooling");
}
END_TEST

START_TEST(a_text_of_zero_rows_is_empty)
{
    struct encoder *enc;
    struct encoder_workspace *w;
    struct err e = ERR_INIT;
    float out[FIXTURE_DIM];
    ck_assert_ok(encoder_load(dir.path, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    ck_assert_err(encoder_encode_text(w, STR("[PAD] [PAD]"), ENCODE_QUERY, out, &e), ERR_EMPTY);
    ck_assert_ok(encoder_encode_text(w, STR("[PAD] cat"), ENCODE_QUERY, out, &e), &e);
    encoder_workspace_free(w);
    encoder_free(enc);
}
END_TEST

TEST_SUITE(static_encoder)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, stored_as_f32);
    tcase_add_loop_test(tc, every_type_with_and_without_factors, 0, 3);
    tcase_add_test(tc, tensors_that_do_not_fit);
    tcase_add_test(tc, more_rows_than_tokens_are_fine);
    tcase_add_test(tc, values_that_are_not_finite);
    tcase_add_test(tc, other_pooling_is_refused);
    tcase_add_test(tc, a_text_of_zero_rows_is_empty);
    suite_add_tcase(s, tc);
}
