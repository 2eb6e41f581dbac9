#include "core/model/encoder.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char REAL_MODEL[] = "models/text-small";

static struct tmpdir dir;
static struct encoder *enc;
static struct encoder_workspace *w;

static void load(const char *path)
{
    struct err e = ERR_INIT;
    ck_assert_ok(encoder_load(path, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
}

static void unload(void)
{
    encoder_workspace_free(w);
    encoder_free(enc);
}

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_write_model(&dir);
    load(dir.path);
}

static void tear_down(void)
{
    unload();
    tmpdir_remove(&dir);
}

START_TEST(info)
{
    const struct encoder_info *i = encoder_info(enc);
    ck_assert_str_eq(i->name, "tiny");
    ck_assert_str_eq(i->architecture, "static");
    ck_assert(i->dimensions == 6 && i->max_tokens == 8 && i->vocab_size == 12);
    ck_assert_uint_eq(i->size_bytes, 12 * 6 * sizeof(float));
}
END_TEST

START_TEST(a_bad_text_leaves_the_batch_alone)
{
    float out[2 * FIXTURE_DIM], alone[FIXTURE_DIM];
    size_t tokens = 0;
    struct err e = ERR_INIT;
    encoder_batch_begin(w);
    ck_assert_ok(
        encoder_batch_add_text(w, STR("the cat"), ENCODE_DOCUMENT, false, &tokens, &e), &e);
    ck_assert_uint_eq(tokens, 2);
    ck_assert_err(
        encoder_batch_add_text(w, STR(" \t "), ENCODE_DOCUMENT, true, NULL, &e), ERR_EMPTY);
    ck_assert_err(encoder_batch_add_text(w, STR(""), ENCODE_DOCUMENT, true, NULL, &e), ERR_EMPTY);
    ck_assert_err(
        encoder_batch_add_text(w, STR("a\xFF"), ENCODE_DOCUMENT, true, NULL, &e), ERR_INVALID);
    ck_assert_err(
        encoder_batch_add_text(w, STR(". . . . . . . . ."), ENCODE_DOCUMENT, false, NULL, &e),
        ERR_LIMIT);
    ck_assert_ok(
        encoder_batch_add_text(w, STR(". . . . . . . . ."), ENCODE_DOCUMENT, true, &tokens, &e),
        &e);
    ck_assert_uint_eq(tokens, 8);
    ck_assert_uint_eq(encoder_batch_count(w), 2);
    ck_assert_uint_eq(encoder_batch_tokens(w), 10);
    ck_assert_ok(encoder_batch_forward(w, out, &e), &e);
    ck_assert_ok(encoder_encode_text(w, STR("the cat"), ENCODE_QUERY, alone, &e), &e);
    ck_assert_mem_eq(out, alone, sizeof alone);
    encoder_batch_begin(w);
    ck_assert_uint_eq(encoder_batch_count(w), 0);
    ck_assert_ok(encoder_batch_forward(w, out, &e), &e); /* nothing to do */
}
END_TEST

/* Vectors must not depend, bit for bit, on what is encoded beside them. */
START_TEST(batches_do_not_matter)
{
    enum { TEXTS = 200 };
    static const char *const words[] = { "the", "cat", "sat", "unable", "cafs", ".", "dog",
        "zebra" };
    struct rng rng;
    rng_init(&rng, 51);
    static char texts[TEXTS][128];
    static float together[TEXTS * FIXTURE_DIM];
    encoder_batch_begin(w);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t at = 0;
        for (size_t n = 1 + rng_below(&rng, 12); n > 0; n--)
            at += (size_t)snprintf(
                texts[i] + at, sizeof texts[i] - at, "%s ", words[rng_below(&rng, 8)]);
        ck_assert_ok(
            encoder_batch_add_text(w, str_from(texts[i]), ENCODE_DOCUMENT, true, NULL, NULL));
    }
    ck_assert_ok(encoder_batch_forward(w, together, NULL));
    for (size_t i = 0; i < TEXTS; i++) {
        float alone[FIXTURE_DIM];
        ck_assert_ok(encoder_encode_text(w, str_from(texts[i]), ENCODE_DOCUMENT, alone, NULL));
        ck_assert_mem_eq(alone, together + i * FIXTURE_DIM, sizeof alone);
    }
}
END_TEST

START_TEST(missing_files)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };
    struct encoder *other = NULL;
    struct err e = ERR_INIT;
    ck_assert_err(encoder_load("/nonexistent", vec_select(VEC_BEST), &other, &e), ERR_NOT_FOUND);
    for (size_t i = 0; i < 3; i++) {
        char path[TMPDIR_PATH_BYTES];
        fixture_write_model(&dir);
        ck_assert_int_eq(unlink(tmpdir_file(&dir, names[i], path)), 0);
        ck_assert_err(encoder_load(dir.path, vec_select(VEC_BEST), &other, &e), ERR_NOT_FOUND);
        ck_assert_msg(strstr(e.msg, dir.path) != NULL, "\"%s\" does not name the folder", e.msg);
    }
    ck_assert_ptr_null(other);
}
END_TEST

static float cosine(const char *a, const char *b)
{
    size_t dim = encoder_info(enc)->dimensions;
    float *va = mem_alloc(dim, sizeof *va), *vb = mem_alloc(dim, sizeof *vb);
    ck_assert(va && vb);
    ck_assert_ok(encoder_encode_text(w, str_from(a), ENCODE_QUERY, va, NULL));
    ck_assert_ok(encoder_encode_text(w, str_from(b), ENCODE_QUERY, vb, NULL));
    const struct vec_kernels *k = vec_select(VEC_BEST);
    float norm = k->dot(va, va, dim), score = k->dot(va, vb, dim);
    ck_assert_msg(fabsf(norm - 1) < 1e-5F, "%s: squared norm %g", a, (double)norm);
    mem_free(va);
    mem_free(vb);
    return score;
}

START_TEST(the_shipped_model_knows_what_is_alike)
{
    if (!dir_exists(REAL_MODEL)) {
        (void)fprintf(stderr, "skipped: there is no %s\n", REAL_MODEL);
        return;
    }
    load(REAL_MODEL);
    ck_assert_str_eq(encoder_info(enc)->name, "text-small");
    ck_assert_uint_le(encoder_info(enc)->size_bytes, 16u << 20);
    float alike = cosine("a small domesticated feline", "a cat is a pet");
    float unlike = cosine("a small domesticated feline", "the parliament passed a tax law");
    ck_assert_msg(alike > unlike + 0.1F, "%g, %g", (double)alike, (double)unlike);
    unload();
}
END_TEST

static enum err_code load_and_encode(void)
{
    struct encoder *other;
    struct encoder_workspace *space = NULL;
    float out[FIXTURE_DIM];
    enum err_code code = encoder_load(dir.path, vec_select(VEC_BEST), &other, NULL);
    if (code != ERR_OK) return code;
    code = encoder_workspace_new(other, &space, NULL);
    if (code == ERR_OK)
        code = encoder_encode_text(space, STR("the cat sat"), ENCODE_QUERY, out, NULL);
    encoder_workspace_free(space);
    encoder_free(other);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(load_and_encode);
}
END_TEST

TEST_SUITE(encoder)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, info);
    tcase_add_test(tc, a_bad_text_leaves_the_batch_alone);
    tcase_add_test(tc, batches_do_not_matter);
    tcase_add_test(tc, missing_files);
    suite_add_tcase(s, tc);
    TCase *real = tcase_create("real");
    tcase_add_test(real, the_shipped_model_knows_what_is_alike);
    suite_add_tcase(s, real);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
