/* core/learn/static_train.c and core/learn/trainable.c */
#include "core/learn/trainable.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/core/model_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct tmpdir dir;
static struct trainable *t;
static struct activations *act;

static void load(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_open(dir.path, NULL, &t, &e), &e);
    ck_assert_ok(activations_new(t, &act, &e), &e);
}

static void unload(void)
{
    activations_free(act);
    trainable_free(t);
    act = NULL;
    t = NULL;
}

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_write_model(&dir);
    load();
}

static void tear_down(void)
{
    unload();
    tmpdir_remove(&dir);
}

/* "the cat", "cats sat the the", "dog" */
static const uint32_t IDS[] = { 2, 3, 3, 10, 4, 2, 2, 11 };
static const size_t STARTS[] = { 0, 2, 7, 8 };
static const struct packed_batch BATCH = { IDS, STARTS, 3 };
enum { N_OUT = 3 * FIXTURE_DIM };

/* The model's own memory, which tests may write to. */
static float *state(size_t i)
{
    struct safetensor_out out;
    trainable_state_get(t, i, &out);
    ck_assert_uint_eq(out.dims[0], FIXTURE_TOKENS);
    ck_assert_uint_eq(out.dims[1], FIXTURE_DIM);
    return (float *)(uintptr_t)out.data;
}

static void forward(float *out)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_forward(t, act, &BATCH, 0, out, &e), &e);
}

static void backward(const float *dout)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_backward(t, act, dout, &e), &e);
}

static void random_values(float *ret, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++)
        ret[i] = (float)rng_normal(&rng);
}

START_TEST(vectors_are_those_of_the_encoder)
{
    const char *const texts[] = { "the cat", "cats sat the the", "dog" };
    struct err e = ERR_INIT;
    struct encoder *enc;
    struct encoder_workspace *w;
    float got[N_OUT], want[FIXTURE_DIM];
    forward(got);
    ck_assert_ok(encoder_load(dir.path, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_ok(encoder_encode_text(w, str_from(texts[i]), ENCODE_QUERY, want, &e), &e);
        ck_assert_near(got + i * FIXTURE_DIM, want, FIXTURE_DIM, 1e-6, 1e-6);
    }
    encoder_workspace_free(w);
    encoder_free(enc);
}
END_TEST

START_TEST(factors_are_folded_into_the_rows)
{
    float table[FIXTURE_TOKENS * FIXTURE_DIM], factors[FIXTURE_TOKENS];
    fixture_table(table);
    for (size_t i = 0; i < FIXTURE_TOKENS; i++)
        factors[i] = 0.25F * (float)(i + 1);
    const struct safetensor_out tensors[] = {
        { "embeddings", DTYPE_F32, 2, { FIXTURE_TOKENS, FIXTURE_DIM }, table },
        { "weights", DTYPE_F32, 1, { FIXTURE_TOKENS }, factors },
    };
    unload();
    fixture_write_tensors(&dir, tensors, 2);
    load();
    for (size_t i = 0; i < FIXTURE_TOKENS * FIXTURE_DIM; i++)
        table[i] *= factors[i / FIXTURE_DIM];
    ck_assert_near(state(0), table, FIXTURE_TOKENS * FIXTURE_DIM, 0, 1e-7);
}
END_TEST

/* sum of dout * out, in double */
static double objective(const float *dout)
{
    float out[N_OUT];
    double sum = 0;
    forward(out);
    for (size_t i = 0; i < N_OUT; i++)
        sum += (double)dout[i] * (double)out[i];
    return sum;
}

START_TEST(gradients_are_those_of_finite_differences)
{
    /* After the first step m is (1 - beta1) times the gradient. */
    float dout[N_OUT], out[N_OUT];
    const struct adam_options adam = { 0, 0, 1 };
    random_values(dout, N_OUT, 3);
    forward(out);
    backward(dout);
    trainable_step(t, 1, 0, &adam);
    const float *got = state(1);
    float *table = state(0);
    const float h = 1e-2F;
    for (size_t i = 0; i < FIXTURE_TOKENS * FIXTURE_DIM; i++) {
        float kept = table[i];
        table[i] = kept + h;
        double above = objective(dout);
        table[i] = kept - h;
        double want = (above - objective(dout)) / (2 * (double)h);
        table[i] = kept;
        ck_assert_msg(fabs((double)got[i] - want) < 2e-3 + 1e-2 * fabs(want), "%zu: %g, %g", i,
            (double)got[i], want);
    }
}
END_TEST

START_TEST(a_step_moves_the_rows_in_use_only)
{
    float before[FIXTURE_TOKENS * FIXTURE_DIM], dout[N_OUT], out[N_OUT];
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    memcpy(before, state(0), sizeof before);
    random_values(dout, N_OUT, 4);
    double was = objective(dout);
    for (size_t i = 0; i < N_OUT; i++)
        dout[i] = -dout[i]; /* towards more */
    forward(out);
    backward(dout);
    trainable_step(t, 1, 1e-3, &adam);
    for (uint32_t row = 0; row < FIXTURE_TOKENS; row++) {
        bool used = false;
        for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++)
            used = used || IDS[i] == row;
        bool same = memcmp(before + row * FIXTURE_DIM, state(0) + row * FIXTURE_DIM,
                        FIXTURE_DIM * sizeof *before) == 0;
        ck_assert_msg(same != used, "row %u", row);
    }
    for (size_t i = 0; i < N_OUT; i++)
        dout[i] = -dout[i];
    ck_assert_double_gt(objective(dout), was);
}
END_TEST

START_TEST(gradients_of_two_batches_add_up_and_a_step_clears_them)
{
    const size_t first_starts[] = { 0, 2 }, rest_starts[] = { 0, 5, 6 };
    const struct packed_batch first = { IDS, first_starts, 1 }, rest = { IDS + 2, rest_starts, 2 };
    const struct adam_options adam = { 0, 0, 1 };
    struct err e = ERR_INIT;
    float dout[N_OUT], out[N_OUT], whole[FIXTURE_TOKENS * FIXTURE_DIM];
    struct activations *other;
    random_values(dout, N_OUT, 5);
    for (int64_t round = 1; round <= 2; round++) {
        forward(out);
        backward(dout);
        trainable_step(t, round, 0, &adam);
        memcpy(whole, state(1), sizeof whole);
        ck_assert_ok(activations_new(t, &other, &e), &e);
        ck_assert_ok(trainable_forward(t, act, &first, 0, out, &e), &e);
        ck_assert_ok(trainable_forward(t, other, &rest, 0, out + FIXTURE_DIM, &e), &e);
        ck_assert_ok(trainable_backward(t, act, dout, &e), &e);
        ck_assert_ok(trainable_backward(t, other, dout + FIXTURE_DIM, &e), &e);
        activations_free(other);
        trainable_step(t, round, 0, &adam);
        ck_assert_near(state(1), whole, FIXTURE_TOKENS * FIXTURE_DIM, 1e-6, 1e-5);
    }
}
END_TEST

START_TEST(what_is_known)
{
    struct {
        uint32_t ids[2];
        size_t n;
        bool known;
    } cases[] = {
        { { 3 }, 1, true },
        { { 0, 3 }, 2, true },
        { { 0 }, 1, false },
        { { 1, 1 }, 2, false },
        { { 0, 1 }, 2, false },
        { { 0 }, 0, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(trainable_knows(t, cases[i].ids, cases[i].n) == cases[i].known, "%zu", i);
    ck_assert_uint_eq(trainable_dimensions(t), FIXTURE_DIM);
    ck_assert(!trainable_special_tokens(t));
}
END_TEST

static void save_state(const char *path, const char *rename_last, size_t n_rows)
{
    struct safetensor_out out[4];
    struct err e = ERR_INIT;
    size_t n = trainable_state_count(t);
    ck_assert_uint_eq(n, 3);
    for (size_t i = 0; i < n; i++)
        trainable_state_get(t, i, &out[i]);
    if (rename_last) out[n - 1].name = rename_last;
    out[n - 1].dims[0] = n_rows;
    ck_assert_ok(safetensors_write(path, out, n, &e), &e);
}

static enum err_code put_state(const char *path)
{
    struct safetensors *s;
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_open(path, &s, &e), &e);
    enum err_code code = trainable_state_put(t, s, &e);
    safetensors_close(s);
    return code;
}

START_TEST(state_comes_back_to_the_bit)
{
    char path[TMPDIR_PATH_BYTES];
    float dout[N_OUT], out[N_OUT], want[3][FIXTURE_TOKENS * FIXTURE_DIM];
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    tmpdir_file(&dir, "state", path);
    random_values(dout, N_OUT, 6);
    forward(out);
    backward(dout);
    trainable_step(t, 1, 1e-2, &adam);
    for (size_t i = 0; i < 3; i++)
        memcpy(want[i], state(i), sizeof want[i]);
    uint64_t hash = trainable_hash(t);
    save_state(path, NULL, FIXTURE_TOKENS);
    unload();
    load();
    ck_assert(trainable_hash(t) != hash);
    ck_assert_ok(put_state(path));
    for (size_t i = 0; i < 3; i++)
        ck_assert_mem_eq(want[i], state(i), sizeof want[i]);
    ck_assert(trainable_hash(t) == hash);
    save_state(path, "adam.w", FIXTURE_TOKENS);
    ck_assert_err(put_state(path), ERR_CORRUPT);
    save_state(path, NULL, FIXTURE_TOKENS - 1);
    ck_assert_err(put_state(path), ERR_CORRUPT);
}
END_TEST

static void check_exported(const char *out, const char *tensor)
{
    struct err e = ERR_INIT;
    struct safetensors *s;
    float got[FIXTURE_TOKENS * FIXTURE_DIM];
    AUTO_FREE char *weights = path_join(out, "model.safetensors");
    ck_assert_ok(safetensors_open(weights, &s, &e), &e);
    ck_assert_uint_eq(safetensors_count(s), 1);
    const struct safetensor *x = safetensors_find(s, tensor);
    ck_assert_ptr_nonnull(x);
    ck_assert_int_eq(x->dtype, DTYPE_F16);
    ck_assert_ok(safetensor_to_f32(x, 0, x->n_elements, got, &e), &e);
    ck_assert_near(got, state(0), FIXTURE_TOKENS * FIXTURE_DIM, 1e-7, 1.0 / 1024);
    safetensors_close(s);
    struct encoder *enc;
    ck_assert_ok(encoder_load(out, vec_select(VEC_BEST), &enc, &e), &e);
    encoder_free(enc);
}

START_TEST(exports_what_the_encoder_loads)
{
    struct err e = ERR_INIT;
    struct tmpdir out;
    float table[FIXTURE_TOKENS * FIXTURE_DIM];
    char path[TMPDIR_PATH_BYTES];
    tmpdir_make(&out);
    tmpdir_file(&out, "a", path);
    ck_assert_ok(trainable_export(t, path, &e), &e);
    check_exported(path, "embedding.weight");
    ck_assert_err(trainable_export(t, path, &e), ERR_CONFLICT);

    fixture_table(table);
    unload();
    fixture_write_tensors(&dir,
        &(struct safetensor_out){
            "embeddings", DTYPE_F32, 2, { FIXTURE_TOKENS, FIXTURE_DIM }, table },
        1);
    load();
    tmpdir_file(&out, "b", path);
    ck_assert_ok(trainable_export(t, path, &e), &e);
    check_exported(path, "embeddings");
    tmpdir_remove(&out);
}
END_TEST

START_TEST(halves_saturate_and_what_is_not_finite_is_refused)
{
    struct err e = ERR_INIT;
    struct safetensors *s;
    float got[2];
    struct tmpdir out;
    char path[TMPDIR_PATH_BYTES], weights[TMPDIR_PATH_BYTES];
    tmpdir_make(&out);
    tmpdir_file(&out, "model", path);
    const float bad[] = { NAN, INFINITY };
    for (size_t i = 0; i < 2; i++) {
        state(0)[5 * FIXTURE_DIM + 1] = bad[i];
        ck_assert_err(trainable_export(t, path, &e), ERR_UNPROCESSABLE);
        ck_assert_ptr_nonnull(strstr(e.msg, "row 5"));
        ck_assert(!dir_exists(path));
    }
    state(0)[5 * FIXTURE_DIM + 1] = 1e6F;
    state(0)[5 * FIXTURE_DIM + 2] = -70000;
    ck_assert_ok(trainable_export(t, path, &e), &e);
    ck_assert_ok(
        safetensors_open(tmpdir_file(&out, "model/model.safetensors", weights), &s, &e), &e);
    ck_assert_ok(safetensor_to_f32(safetensors_at(s, 0), 5 * FIXTURE_DIM + 1, 2, got, &e), &e);
    ck_assert_near(got, ((const float[]){ 65504, -65504 }), 2, 0, 0);
    safetensors_close(s);
    tmpdir_remove(&out);
}
END_TEST

START_TEST(folders_that_cannot_be_trained)
{
    struct err e = ERR_INIT;
    struct trainable *none = NULL;
    ck_assert_err(trainable_open("/nonexistent", NULL, &none, &e), ERR_NOT_FOUND);
    fixture_write(&dir, "config.json", "{\"model_type\":\"bert\"}");
    ck_assert_err(trainable_open(dir.path, NULL, &none, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(methods)
{
    struct err e = ERR_INIT;
    struct trainable *other = NULL;
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    const enum train_method parts[] = { TRAIN_LAST_LAYERS, TRAIN_LORA, TRAIN_ADAPTER };
    for (size_t i = 0; i < 3; i++) {
        o.method = parts[i];
        ck_assert_err(trainable_open(dir.path, &o, &other, &e), ERR_UNPROCESSABLE);
        ck_assert_ptr_nonnull(strstr(e.msg, "a static encoder is trained whole"));
        ck_assert_ptr_nonnull(strstr(e.msg, train_method_name(parts[i])));
    }
    ck_assert_int_eq(trainable_method(t), TRAIN_FULL);
    ck_assert(!trainable_keeps_texts(t));
    ck_assert_ptr_null(train_method_name(TRAIN_NONE));
    o.method = TRAIN_NONE;
    ck_assert_ok(trainable_open(dir.path, &o, &other, &e), &e);
    ck_assert_int_eq(trainable_method(other), TRAIN_NONE);
    ck_assert(trainable_keeps_texts(other));
    ck_assert_uint_eq(trainable_state_count(other), 1); /* no moments */
    trainable_free(other);
}
END_TEST

static enum err_code train_a_little(void *arg)
{
    (void)arg;
    struct trainable *model = NULL;
    struct activations *a = NULL;
    float out[N_OUT];
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    enum err_code code = trainable_open(dir.path, NULL, &model, NULL);
    if (code == ERR_OK) code = activations_new(model, &a, NULL);
    if (code == ERR_OK) code = trainable_forward(model, a, &BATCH, 0, out, NULL);
    if (code == ERR_OK) code = trainable_backward(model, a, out, NULL);
    if (code == ERR_OK) trainable_step(model, 1, 1e-3, &adam);
    activations_free(a);
    trainable_free(model);
    return code;
}

START_TEST(out_of_memory)
{
    oom_loop(train_a_little, NULL);
}
END_TEST

TEST_SUITE(static_train)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, vectors_are_those_of_the_encoder);
    tcase_add_test(tc, factors_are_folded_into_the_rows);
    tcase_add_test(tc, gradients_are_those_of_finite_differences);
    tcase_add_test(tc, a_step_moves_the_rows_in_use_only);
    tcase_add_test(tc, gradients_of_two_batches_add_up_and_a_step_clears_them);
    tcase_add_test(tc, what_is_known);
    tcase_add_test(tc, state_comes_back_to_the_bit);
    tcase_add_test(tc, exports_what_the_encoder_loads);
    tcase_add_test(tc, halves_saturate_and_what_is_not_finite_is_refused);
    tcase_add_test(tc, methods);
    tcase_add_test(tc, folders_that_cannot_be_trained);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
