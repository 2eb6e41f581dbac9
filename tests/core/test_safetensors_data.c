#include "core/model/safetensors.h"

#include "base/vecmath.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct tmpdir dir;
static char path[TMPDIR_PATH_BYTES];

static void set_up(void)
{
    tmpdir_make(&dir);
    tmpdir_file(&dir, "x.safetensors", path);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static const float VALUES[] = { 0, -0.0F, 1, -1.5F, 0.25F, 65504, 3.0517578125e-5F };
enum { N = sizeof VALUES / sizeof *VALUES };

START_TEST(round_trip)
{
    uint16_t half[N], brain[N];
    uint8_t bytes[3] = { 7, 8, 9 };
    int64_t wide[2] = { -5, INT64_MAX };
    for (size_t i = 0; i < N; i++) {
        uint32_t bits;
        memcpy(&bits, &VALUES[i], 4);
        half[i] = f32_to_f16(VALUES[i]);
        brain[i] = (uint16_t)(bits >> 16);
    }
    const struct safetensor_out out[] = {
        { "odd \"name\"\n", DTYPE_U8, 1, { 3 }, bytes },
        { "half", DTYPE_F16, 2, { 1, N }, half },
        { "brain", DTYPE_BF16, 1, { N }, brain },
        { "full", DTYPE_F32, 1, { N }, VALUES },
        { "wide", DTYPE_I64, 1, { 2 }, wide },
        { "none", DTYPE_F32, 2, { 0, 5 }, NULL },
    };
    struct err e = ERR_INIT;
    struct safetensors *s;
    ck_assert_ok(safetensors_write(path, out, 6, &e), &e);
    ck_assert_ok(safetensors_open(path, &s, &e), &e);
    ck_assert_uint_eq(safetensors_count(s), 6);
    float got[N];
    ck_assert_ok(safetensor_to_f32(safetensors_find(s, "full"), 0, N, got, &e), &e);
    ck_assert_mem_eq(got, VALUES, sizeof VALUES);
    ck_assert_ok(safetensor_to_f32(safetensors_find(s, "half"), 0, N, got, &e), &e);
    ck_assert_mem_eq(got, VALUES, sizeof VALUES); /* all of them are exact */
    ck_assert_ok(safetensor_to_f32(safetensors_find(s, "brain"), 2, 3, got, &e), &e);
    ck_assert_mem_eq(got, VALUES + 2, 3 * sizeof *got);
    ck_assert_err(safetensor_to_f32(safetensors_find(s, "wide"), 0, 1, got, &e), ERR_UNPROCESSABLE);
    ck_assert_err(safetensor_to_f32(safetensors_find(s, "full"), 1, N, got, &e), ERR_INVALID);
    ck_assert_err(safetensor_to_f32(safetensors_find(s, "full"), N + 1, 0, got, &e), ERR_INVALID);
    ck_assert_mem_eq(safetensors_find(s, "odd \"name\"\n")->data, bytes, 3);
    ck_assert_mem_eq(safetensors_find(s, "wide")->data, wide, sizeof wide);
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensor *t = safetensors_at(s, i);
        ck_assert_uint_eq((uintptr_t)t->data % dtype_size_bytes(t->dtype), 0);
    }
    ck_assert_uint_eq((uintptr_t)safetensors_at(s, 0)->data % 8, 0);
    safetensors_close(s);
}
END_TEST

/* As the `safetensors` library writes it, with the word that `transformers` asks for. */
START_TEST(known_bytes)
{
    static const char want[] = "\x58\0\0\0\0\0\0\0"
                               "{\"__metadata__\":{\"format\":\"pt\"},"
                               "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   "
                               "\0\0\x80\x3F\0\0\0\xC0";
    const float values[] = { 1, -2 };
    char got[128] = "";
    ck_assert_ok(safetensors_write(
        path, &(struct safetensor_out){ "a", DTYPE_F32, 1, { 2 }, values }, 1, NULL));
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(got, 1, sizeof got, f), sizeof want - 1);
    ck_assert_mem_eq(got, want, sizeof want - 1);
    ck_assert_int_eq(fclose(f), 0);
}
END_TEST

/* As many tensors as a model has, some of them empty; names in no order. */
START_TEST(many_tensors)
{
    enum { MANY = 400 };
    static struct safetensor_out out[MANY];
    static char names[MANY][40];
    static const enum dtype types[] = { DTYPE_F16, DTYPE_F32, DTYPE_BF16, DTYPE_U8 };
    const unsigned char data[64] = { 1, 2, 3 };
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "layer.%zu.weight", (i * 37) % MANY);
        out[i] = (struct safetensor_out){ names[i], types[i % 4], 2, { i % 5, 3 }, data };
    }
    struct safetensors *s;
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_write(path, out, MANY, &e), &e);
    ck_assert_ok(safetensors_open(path, &s, &e), &e);
    ck_assert_uint_eq(safetensors_count(s), MANY);
    for (size_t i = 0; i < MANY; i++) {
        const struct safetensor *t = safetensors_find(s, names[i]);
        ck_assert_ptr_nonnull(t);
        ck_assert(t->dtype == types[i % 4] && t->n_elements == i % 5 * 3);
        if (t->size_bytes) ck_assert_mem_eq(t->data, data, t->size_bytes);
    }
    ck_assert_ptr_null(safetensors_find(s, "__metadata__"));
    safetensors_close(s);
}
END_TEST

START_TEST(what_cannot_be_written)
{
    const float v[2] = { 1, 2 };
    const struct safetensor_out twice[] = { { "a", DTYPE_F32, 1, { 2 }, v },
        { "a", DTYPE_F16, 1, { 2 }, v } };
    ck_assert_err(safetensors_write(path, twice, 2, NULL), ERR_INVALID);
    const struct safetensor_out bad[] = {
        { "__metadata__", DTYPE_F32, 1, { 2 }, v },
        { "a", DTYPE_OTHER, 1, { 2 }, v },
        { "a", DTYPE_F32, TENSOR_DIMS_MAX + 1, { 2 }, v },
        { "a", DTYPE_F32, 2, { SIZE_MAX, 2 }, v },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_err(safetensors_write(path, &bad[i], 1, NULL), ERR_INVALID);
    const struct safetensor_out good = { "a", DTYPE_F32, 1, { 2 }, v };
    ck_assert_err(safetensors_write("/nonexistent/x", &good, 1, NULL), ERR_NOT_FOUND);
}
END_TEST

static enum err_code write_once(void)
{
    const float v[2] = { 1, 2 };
    const struct safetensor_out t[] = { { "a", DTYPE_F32, 1, { 2 }, v },
        { "b", DTYPE_F16, 1, { 4 }, v } };
    return safetensors_write(path, t, 2, NULL);
}

START_TEST(out_of_memory)
{
    OOM_LOOP(write_once);
}
END_TEST

TEST_SUITE(safetensors_data)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, known_bytes);
    tcase_add_test(tc, many_tensors);
    tcase_add_test(tc, what_cannot_be_written);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
