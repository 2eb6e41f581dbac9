/* Files that say the same in other ways, and files that do not fit. */
#include "core/model/bert.h"

#include "base/mem.h"
#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct tmpdir dir;
static struct fixture_tensors f;

static void set_up(void)
{
    tmpdir_make(&dir);
    fixture_copy_bert(&dir);
    fixture_tensors_open(&f);
}

static void tear_down(void)
{
    fixture_tensors_close(&f);
    tmpdir_remove(&dir);
}

static enum err_code read_source(
    struct model_source *src, struct bert_config *c, struct bert_params *ret_p, struct err *e)
{
    struct model_config config;
    const struct encoder_ops *ops = NULL;
    TRY(model_config_read(dir.path, &config, &ops, e));
    src->config = &config;
    enum err_code code = bert_config_read(src, c, e);
    if (code == ERR_OK) code = bert_params_read(src, c, ret_p, e);
    src->config = NULL;
    return code;
}

static enum err_code read(struct bert_config *c, struct bert_params *ret_p, struct err *e)
{
    struct weights *w = NULL;
    struct tokenizer *t = NULL;
    ck_assert_ok(tokenizer_load(dir.path, &t, e), e);
    enum err_code code = weights_open(dir.path, NULL, &w, e);
    struct model_source src = { .dir = dir.path, .weights = w, .tokenizer = t };
    if (code == ERR_OK) code = read_source(&src, c, ret_p, e);
    weights_close(w);
    tokenizer_free(t);
    return code;
}

/* The folder's parameters, as it is now, against those of the untouched one. */
static void same_parameters(double tolerance)
{
    struct bert_config c;
    struct bert_params now = { .all = NULL };
    struct err e = ERR_INIT;
    struct bert_tensor t;
    ck_assert_ok(read(&c, &now, &e), &e);
    for (size_t i = 0; bert_tensor_at(&c, i, &t) && t.dense < 0; i++) {
        const struct safetensor *want = safetensors_find(f.file, t.name);
        AUTO_FREE float *values = mem_alloc(t.n, sizeof *values);
        ck_assert_msg(want && values, "%s", t.name);
        ck_assert_ok(safetensor_to_f32(want, 0, t.n, values, &e), &e);
        ck_assert_near(now.all + t.at, values, t.n, 0, tolerance);
    }
    bert_params_done(&now);
}

static void refused(enum err_code code, const char *mentions)
{
    struct bert_config c;
    struct bert_params p = { .all = NULL };
    struct err e = ERR_INIT;
    enum err_code got = read(&c, &p, &e);
    ck_assert_msg(
        got == code && strstr(e.msg, mentions), "%s: %s, %s", mentions, err_name(got), e.msg);
    ck_assert_ptr_null(p.all);
}

START_TEST(tensors_cover_all_values_once)
{
    const struct bert_config c = { .layers = 3,
        .hidden = 6,
        .heads = 2,
        .intermediate = 5,
        .vocab = 11,
        .positions = 7,
        .types = 2,
        .n_dense = 2,
        .dense = { { "a", 6, 4, true, ACTIVATION_TANH }, { "b", 4, 3, false, ACTIVATION_RELU } } };
    struct bert_tensor t;
    size_t i = 0, at = 0;
    for (; bert_tensor_at(&c, i, &t); i++) {
        ck_assert_uint_eq(t.at, at);
        ck_assert_uint_eq(t.n, t.dims[0] * (t.n_dims == 2 ? t.dims[1] : 1));
        ck_assert(t.decay == (t.n_dims == 2));
        at += t.n;
    }
    ck_assert_uint_eq(i, 5 + 3 * 16 + 2 + 1);
    ck_assert_uint_eq(at, bert_params_count(&c));
    ck_assert(t.dense == 1 && t.layer == 3);
    ck_assert_str_eq(t.name, "linear.weight");
}
END_TEST

START_TEST(places)
{
    struct bert_config c;
    struct bert_params p = { .all = NULL };
    struct err e = ERR_INIT;
    struct bert_tensor t;
    ck_assert_ok(read(&c, &p, &e), &e);
    ck_assert_uint_eq(p.n, bert_params_count(&c));
    ck_assert_ptr_eq(p.word, p.all);
    /* 5 + 16 is layer 1's query; key and value follow it as one matrix. */
    ck_assert(bert_tensor_at(&c, 5 + 16, &t));
    ck_assert_str_eq(t.name, "encoder.layer.1.attention.self.query.weight");
    ck_assert_ptr_eq(p.layer[1].qkv_w, p.all + t.at);
    ck_assert(bert_tensor_at(&c, 5 + 16 + 2, &t));
    ck_assert_ptr_eq(p.layer[1].qkv_w + 2 * c.hidden * c.hidden, p.all + t.at);
    ck_assert(bert_tensor_at(&c, 5 + 16 + 15, &t));
    ck_assert_str_eq(t.name, "encoder.layer.1.output.LayerNorm.bias");
    ck_assert_ptr_eq(p.layer[1].norm2_b, p.all + t.at);
    bert_params_done(&p);
    same_parameters(0);
}
END_TEST

START_TEST(a_prefix)
{
    for (size_t i = 0; i < f.n; i++) {
        char name[128];
        memcpy(name, f.names[i], sizeof name);
        (void)snprintf(f.names[i], sizeof f.names[i], "bert.%.120s", name);
    }
    fixture_write_tensors(&dir, f.t, f.n);
    same_parameters(0);
}
END_TEST

START_TEST(names_of_old)
{
    for (size_t i = 0; i < f.n; i++) {
        char *p = strstr(f.names[i], "LayerNorm.");
        if (!p) continue;
        p += strlen("LayerNorm.");
        memcpy(p, *p == 'w' ? "gamma" : "beta", *p == 'w' ? 6 : 5);
    }
    fixture_write_tensors(&dir, f.t, f.n);
    same_parameters(0);
}
END_TEST

/* What other programs keep beside the network. */
START_TEST(heads_are_left_alone)
{
    static const char *const names[] = { "cls.predictions.bias", "classifier.weight",
        "embeddings.position_ids", "bert.embeddings.position_ids", "pooler.dense.extra" };
    static const float value[2] = { 1, 2 };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        f.t[f.n++] = (struct safetensor_out){ names[i], DTYPE_F32, 1, { 2 }, value };
    fixture_write_tensors(&dir, f.t, f.n);
    same_parameters(0);
}
END_TEST

START_TEST(bfloat16)
{
    static uint16_t halves[32768];
    size_t at = 0;
    for (size_t i = 0; i < f.n; i++) {
        size_t n = f.t[i].dims[0] * (f.t[i].n_dims == 2 ? f.t[i].dims[1] : 1);
        ck_assert_uint_le(at + n, sizeof halves / sizeof *halves);
        for (size_t j = 0; j < n; j++) { /* cut off: off by at most 2^-7 */
            uint32_t bits;
            memcpy(&bits, (const char *)f.t[i].data + 4 * j, 4);
            halves[at + j] = (uint16_t)(bits >> 16);
        }
        f.t[i].dtype = DTYPE_BF16;
        f.t[i].data = halves + at;
        at += n;
    }
    fixture_write_tensors(&dir, f.t, f.n);
    same_parameters(1.0 / 128);
}
END_TEST

START_TEST(shards)
{
    char path[TMPDIR_PATH_BYTES], json[8192];
    size_t half = f.n / 2, at = (size_t)snprintf(json, sizeof json, "{\"weight_map\":{");
    for (size_t i = 0; i < f.n; i++)
        at += (size_t)snprintf(json + at, sizeof json - at, "%s\"%s\":\"%d.safetensors\"",
            i ? "," : "", f.names[i], i < half ? 1 : 2);
    (void)snprintf(json + at, sizeof json - at, "}}");
    fixture_write(&dir, "model.safetensors.index.json", json);
    ck_assert_int_eq(remove(tmpdir_file(&dir, "model.safetensors", path)), 0);
    ck_assert_ok(safetensors_write(tmpdir_file(&dir, "1.safetensors", path), f.t, half, NULL));
    ck_assert_ok(
        safetensors_write(tmpdir_file(&dir, "2.safetensors", path), f.t + half, f.n - half, NULL));
    same_parameters(0);
}
END_TEST

static const char QUERY[] = "encoder.layer.1.attention.self.query.weight";

START_TEST(a_tensor_is_missing)
{
    size_t i = fixture_tensors_find(&f, QUERY);
    f.t[i] = f.t[--f.n];
    fixture_write_tensors(&dir, f.t, f.n);
    refused(ERR_UNPROCESSABLE,
        "model.safetensors: tensor \"encoder.layer.1.attention.self.query.weight\""
        " is missing");
}
END_TEST

START_TEST(a_shape_is_swapped)
{
    size_t i = fixture_tensors_find(&f, "encoder.layer.0.intermediate.dense.weight");
    f.t[i].dims[0] = 32;
    f.t[i].dims[1] = 64;
    fixture_write_tensors(&dir, f.t, f.n);
    refused(ERR_UNPROCESSABLE, "has the shape [32,64], expected [64,32]");
}
END_TEST

START_TEST(a_type_is_wrong)
{
    f.t[fixture_tensors_find(&f, QUERY)].dtype = DTYPE_I32;
    fixture_write_tensors(&dir, f.t, f.n);
    refused(ERR_UNPROCESSABLE, "has the type I32");
}
END_TEST

START_TEST(not_a_number)
{
    static float values[32 * 32];
    values[77] = _i ? NAN : INFINITY;
    f.t[fixture_tensors_find(&f, QUERY)].data = values;
    fixture_write_tensors(&dir, f.t, f.n);
    refused(ERR_CORRUPT, "query.weight\" holds a value that is not finite");
}
END_TEST

START_TEST(a_file_is_cut)
{
    char path[TMPDIR_PATH_BYTES];
    FILE *file = fopen(tmpdir_file(&dir, "model.safetensors", path), "r+");
    static char bytes[50000];
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
    ck_assert_int_eq(fclose(file), 0);
    file = fopen(path, "w");
    ck_assert_uint_eq(fwrite(bytes, 1, sizeof bytes, file), sizeof bytes);
    ck_assert_int_eq(fclose(file), 0);
    refused(ERR_CORRUPT, "model.safetensors");
}
END_TEST

static const char *const STRANGERS[] = { "encoder.layer.2.output.dense.bias",
    "encoder.layer.0.crossattention.self.query.weight", "embeddings.distance_embedding.weight",
    "encoder.layer.0.attention.self.distance_embedding.weight",
    "encoder.layer.01.output.dense.bias" };

START_TEST(strangers)
{
    static const float value[2] = { 1, 2 };
    f.t[f.n++] = (struct safetensor_out){ STRANGERS[_i], DTYPE_F32, 1, { 2 }, value };
    fixture_write_tensors(&dir, f.t, f.n);
    refused(ERR_UNPROCESSABLE, STRANGERS[_i]);
}
END_TEST

/* Sizes that no memory has, in the configuration only. */
START_TEST(a_large_claim)
{
    fixture_replace(&dir, "config.json", "\"hidden_size\": 32", "\"hidden_size\": 65536");
    fixture_replace(&dir, "config.json", "\"vocab_size\": 160", "\"vocab_size\": 16777216");
    fixture_write(&dir, "1_Pooling/config.json", "{}");
    refused(ERR_UNPROCESSABLE, "has the shape [160,32], expected [16777216,65536]");
}
END_TEST

START_TEST(dense_files)
{
    char path[TMPDIR_PATH_BYTES];
    static const float values[16 * 32] = { 1 };
    struct safetensor_out t[] = { { "linear.weight", DTYPE_F32, 2, { 16, 32 }, values },
        { "linear.bias", DTYPE_F32, 1, { 15 }, values } };
    fixture_replace(&dir, "modules.json",
        "\"2_Normalize\",\n  \"type\": \"sentence_transformers.models.Normalize\"",
        "\"2_Dense\", \"type\": \"sentence_transformers.models.Dense\"");
    tmpdir_file(&dir, "2_Dense/model.safetensors", path);
    ck_assert_ok(safetensors_write(path, t, 2, NULL));
    refused(
        ERR_UNPROCESSABLE, "2_Dense/model.safetensors: tensor \"linear.bias\" has the shape [15]");
    ck_assert_ok(safetensors_write(path, t, 1, NULL));
    refused(ERR_UNPROCESSABLE, "2_Dense/model.safetensors: tensor \"linear.bias\" is missing");
    ck_assert_int_eq(remove(path), 0);
    refused(ERR_NOT_FOUND, "2_Dense/model.safetensors");
    fixture_write(&dir, "2_Dense/pytorch_model.bin", "PK");
    refused(ERR_UNPROCESSABLE, "pickle");
}
END_TEST

TEST_SUITE(bert_params)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, tensors_cover_all_values_once);
    tcase_add_test(tc, places);
    tcase_add_test(tc, a_prefix);
    tcase_add_test(tc, names_of_old);
    tcase_add_test(tc, heads_are_left_alone);
    tcase_add_test(tc, bfloat16);
    tcase_add_test(tc, shards);
    tcase_add_test(tc, a_tensor_is_missing);
    tcase_add_test(tc, a_shape_is_swapped);
    tcase_add_test(tc, a_type_is_wrong);
    tcase_add_loop_test(tc, not_a_number, 0, 2);
    tcase_add_test(tc, a_file_is_cut);
    tcase_add_loop_test(tc, strangers, 0, sizeof STRANGERS / sizeof *STRANGERS);
    tcase_add_test(tc, a_large_claim);
    tcase_add_test(tc, dense_files);
    suite_add_tcase(s, tc);
}
