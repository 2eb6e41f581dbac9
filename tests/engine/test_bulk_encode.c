#include "engine/bulk_encode.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TEXTS = 200, TEXT_BYTES = 2000, DIM_MAX = 32 };

static struct tmpdir dir;
static struct encoder *encoder;
static char bytes[TEXTS][TEXT_BYTES];
static struct str texts[TEXTS];
static float alone[TEXTS * DIM_MAX], out[TEXTS * DIM_MAX];

static void open_model(bool bert)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    tmpdir_make(&dir);
    if (bert)
        tiny_bert_write(dir.path, "m", 4);
    else
        tiny_model_write(dir.path, "m", 24, 4);
    ck_assert_ok(
        encoder_load(tmpdir_file(&dir, "m", path), vec_select(VEC_BEST), &encoder, &e), &e);
}

/* Of 0 to 60 words, so that batches end here and there; a text of none has no vector. */
static size_t write_texts(void)
{
    size_t n_empty = 0;
    struct rng rng;
    rng_init(&rng, 3);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t n = (size_t)rng_below(&rng, 61), at = 0;
        if (i == 0 || i == 100 || i == 101 || i == TEXTS - 1) n = 0;
        for (size_t k = 0; k < n; k++)
            at += (size_t)snprintf(bytes[i] + at, TEXT_BYTES - at, "w%u ",
                (unsigned)rng_below(&rng, TINY_MODEL_WORDS));
        texts[i] = (struct str){ bytes[i], at };
        n_empty += n == 0;
    }
    return n_empty;
}

static void close_model(void)
{
    encoder_free(encoder);
    tmpdir_remove(&dir);
}

static void encode_alone(size_t dim)
{
    struct encoder_workspace *w = NULL;
    ck_assert_ok(encoder_workspace_new(encoder, &w, NULL));
    for (size_t i = 0; i < TEXTS; i++) {
        float *row = alone + i * dim;
        if (encoder_encode_text(w, texts[i], ENCODE_DOCUMENT, row, NULL) == ERR_OK)
            vec_normalize(vec_select(VEC_BEST), row, row, dim);
        else
            memset(row, 0, dim * sizeof *row);
    }
    encoder_workspace_free(w);
}

/* Static, then BERT. */
START_TEST(as_one_text_at_a_time)
{
    const unsigned threads[] = { 0, 1, 2, 7, 500 };
    struct err e = ERR_INIT;
    open_model(_i == 1);
    size_t dim = encoder_info(encoder)->dimensions, n_empty = write_texts();
    ck_assert_uint_ge(n_empty, 4);
    ck_assert_uint_le(dim, DIM_MAX);
    encode_alone(dim);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        const struct bulk_encode b = { .encoder = encoder, .threads = threads[t] };
        size_t unknown = 5;
        memset(out, 0xff, sizeof out);
        ck_assert_ok(bulk_encode_texts(&b, texts, TEXTS, ENCODE_DOCUMENT, out, &unknown, &e), &e);
        ck_assert_uint_eq(unknown, 5 + n_empty);
        ck_assert_mem_eq(out, alone, TEXTS * dim * sizeof *out);
        ck_assert_ok(bulk_encode_texts(&b, texts, 0, ENCODE_DOCUMENT, out, &unknown, &e), &e);
    }
    close_model();
}
END_TEST

/* The model's last word is the exact opposite of the last but one. */
static void open_opposites(void)
{
    char path[TMPDIR_PATH_BYTES], folder[TMPDIR_PATH_BYTES];
    char *file;
    size_t n;
    float row[24];
    struct err e = ERR_INIT;
    tmpdir_make(&dir);
    tiny_model_write(dir.path, "m", 24, 4);
    tmpdir_file(&dir, "m/model.safetensors", path);
    ck_assert_ok(file_read(path, 1 << 20, &file, &n, &e), &e);
    memcpy(row, file + n - 2 * sizeof row, sizeof row); /* the words come last */
    for (size_t i = 0; i < 24; i++)
        row[i] = -row[i];
    memcpy(file + n - sizeof row, row, sizeof row);
    ck_assert_ok(file_write_atomic(path, file, n, &e), &e);
    mem_free(file);
    tmpdir_file(&dir, "m", folder);
    ck_assert_ok(encoder_load(folder, vec_select(VEC_BEST), &encoder, &e), &e);
}

START_TEST(a_vector_without_direction_is_unknown)
{
    const struct str in[] = { STR("w1"), STR("w254 w255"), STR("w255"), STR("") };
    struct err e = ERR_INIT;
    size_t unknown = 0;
    open_opposites();
    const struct bulk_encode b = { .encoder = encoder, .threads = 1 };
    memset(out, 0xff, sizeof out);
    ck_assert_ok(bulk_encode_texts(&b, in, 4, ENCODE_DOCUMENT, out, &unknown, &e), &e);
    ck_assert_uint_eq(unknown, 2);
    for (size_t i = 0; i < 4; i++) {
        float norm = vec_select(VEC_BEST)->dot(out + i * 24, out + i * 24, 24);
        ck_assert_float_eq_tol(norm, i % 2 == 0 ? 1 : 0, 1e-5F);
    }
    close_model();
}
END_TEST

START_TEST(a_bad_text_is_named)
{
    struct err e = ERR_INIT;
    size_t unknown = 0;
    open_model(false);
    (void)write_texts();
    texts[150] = STR("w1 \xff");
    for (unsigned threads = 1; threads <= 4; threads += 3) {
        const struct bulk_encode b = { .encoder = encoder, .threads = threads };
        ck_assert_err(
            bulk_encode_texts(&b, texts, TEXTS, ENCODE_QUERY, out, &unknown, &e), ERR_INVALID);
        ck_assert_ptr_nonnull(strstr(e.msg, "query 151: "));
        ck_assert_err(
            bulk_encode_texts(&b, texts, TEXTS, ENCODE_QUERY, out, &unknown, NULL), ERR_INVALID);
    }
    close_model();
}
END_TEST

START_TEST(it_can_be_stopped)
{
    static volatile sig_atomic_t stop;
    struct err e = ERR_INIT;
    size_t unknown = 0;
    open_model(true);
    (void)write_texts();
    const struct bulk_encode b = { .encoder = encoder, .threads = 3, .stop = &stop };
    ck_assert_ok(bulk_encode_texts(&b, texts, TEXTS, ENCODE_QUERY, out, &unknown, &e), &e);
    stop = 1;
    ck_assert_err(
        bulk_encode_texts(&b, texts, TEXTS, ENCODE_QUERY, out, &unknown, &e), ERR_CANCELLED);
    close_model();
}
END_TEST

TEST_SUITE(bulk_encode)
{
    TCase *tc = tcase_create("core");
    tcase_add_loop_test(tc, as_one_text_at_a_time, 0, 2);
    tcase_add_test(tc, a_vector_without_direction_is_unknown);
    tcase_add_test(tc, a_bad_text_is_named);
    tcase_add_test(tc, it_can_be_stopped);
    suite_add_tcase(s, tc);
}
