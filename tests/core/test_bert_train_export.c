/* core/learn/bert_train_export.c: what is written is what was trained, and nothing else has changed. */
#include "core/learn/trainable.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/learn/model_folder.h"
#include "core/model/encoder.h"
#include "tests/core/bert_fixture.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 24, D_MAX = BERT_TINY_DIM };

static const enum train_method METHODS[] = { TRAIN_FULL, TRAIN_LAST_LAYERS, TRAIN_LORA,
    TRAIN_ADAPTER };
enum { N_METHODS = sizeof METHODS / sizeof *METHODS };
static const char *const TEXTS[] = { "a cat sat on the mat", "Rain.", "where is the station",
    "the old ship left the harbour at night" };
enum { N_TEXTS = sizeof TEXTS / sizeof *TEXTS };

static struct tmpdir dir;
static char parent[TMPDIR_PATH_BYTES], out[TMPDIR_PATH_BYTES];
static struct bert_fixture f;

/* ---- a parent that is a variant of the tiny model ---- */

static void copy_file(const char *from, const char *to, const char *name)
{
    struct err e = ERR_INIT;
    size_t n;
    AUTO_FREE char *source = path_join(from, name);
    AUTO_FREE char *target = path_join(to, name);
    AUTO_FREE char *bytes = train_fixture_read(source, &n);
    ck_assert_ok(file_write_atomic(target, bytes, n, &e), &e);
}

static enum err_code copy_weights(const void *arg, const char *to, struct err *e)
{
    (void)e;
    copy_file(arg, to, "model.safetensors");
    copy_file(arg, to, "2_Dense/model.safetensors");
    return ERR_OK;
}

static void set_up(void)
{
    struct err e = ERR_INIT;
    tmpdir_make(&dir);
    tmpdir_file(&dir, "parent", parent);
    tmpdir_file(&dir, "out", out);
    ck_assert_ok(model_folder_make(BERT_TINY, parent, copy_weights, BERT_TINY, &e), &e);
}

static void tear_down(void)
{
    bert_fixture_close(&f);
    tmpdir_remove(&dir);
}

static void write_file(const char *name, const char *text)
{
    AUTO_FREE char *path = path_join(parent, name);
    train_fixture_write(path, text);
}

static void use_dense(void)
{
    write_file("modules.json",
        "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models."
        "Transformer\"},"
        "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models."
        "Pooling\"},"
        "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models."
        "Dense\"},"
        "{\"idx\":3,\"name\":\"3\",\"path\":\"3_Normalize\",\"type\":\"sentence_transformers."
        "models.Normalize\"}]");
}

/* ---- training and comparing ---- */

static struct safetensors *open_weights(const char *folder, const char *name)
{
    struct err e = ERR_INIT;
    struct safetensors *s;
    AUTO_FREE char *path = path_join(folder, name);
    ck_assert_ok(safetensors_open(path, &s, &e), &e);
    return s;
}

static void open_method(enum train_method m)
{
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    o.method = m;
    bert_fixture_open(&f, parent, &o);
}

static void train_a_little(void)
{
    const struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    struct packed_batch b;
    float rows[COUNT * D_MAX];
    bert_fixture_batch(&b, COUNT, 12, 6);
    AUTO_FREE float *dout = bert_fixture_normal((size_t)COUNT * D_MAX, 7);
    for (int64_t i = 1; i <= 3; i++) {
        bert_fixture_forward(&f, &b, 0, rows);
        ck_assert_ok(trainable_backward(f.t, f.act, dout, &e), &e);
        trainable_step(f.t, i, 1e-2, &adam);
    }
    bert_fixture_batch_free(&b);
}

static void export(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_export(f.t, out, &e), &e);
}

/* The trained model's rows of TEXTS are those of the encoder of the folder. */
static void check_encoder(const char *folder)
{
    struct err e = ERR_INIT;
    struct encoder *enc;
    struct encoder_workspace *w;
    struct token_ids ids = { .ids = NULL };
    struct tokenizer_scratch *scratch = tokenizer_scratch_new();
    const size_t D = trainable_dimensions(f.t);
    ck_assert_ok(encoder_load(folder, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    ck_assert_uint_eq(encoder_info(enc)->dimensions, D);
    for (size_t i = 0; i < N_TEXTS; i++) {
        float got[D_MAX], want[D_MAX];
        ck_assert_ok(encoder_encode_text(w, str_from(TEXTS[i]), ENCODE_DOCUMENT, got, &e), &e);
        ck_assert_ok(tokenizer_encode(trainable_tokenizer(f.t), str_from(TEXTS[i]),
                         trainable_max_tokens(f.t), scratch, &ids, &e),
            &e);
        const struct packed_batch b = { ids.ids, (const size_t[]){ 0, ids.n }, 1 };
        bert_fixture_forward(&f, &b, 0, want);
        vec_normalize(vec_select(VEC_BEST), got, got, D);
        ck_assert_near(got, want, D, 1e-5, 0);
    }
    token_ids_done(&ids);
    tokenizer_scratch_free(scratch);
    encoder_workspace_free(w);
    encoder_free(enc);
}

static bool same_tensor(const struct safetensors *a, const struct safetensors *b, const char *name)
{
    const struct safetensor *x = safetensors_find(a, name), *y = safetensors_find(b, name);
    ck_assert_msg(x && y, "%s", name);
    ck_assert_int_eq(x->dtype, y->dtype);
    ck_assert_uint_eq(x->size_bytes, y->size_bytes);
    return memcmp(x->data, y->data, x->size_bytes) == 0;
}

static bool same_file(const char *name)
{
    size_t na, nb;
    AUTO_FREE char *pa = path_join(parent, name);
    AUTO_FREE char *pb = path_join(out, name);
    AUTO_FREE char *a = train_fixture_read(pa, &na);
    AUTO_FREE char *b = train_fixture_read(pb, &nb);
    return na == nb && memcmp(a, b, na) == 0;
}

START_TEST(the_encoder_loads_what_was_trained)
{
    if (_i >= N_METHODS) use_dense();
    open_method(METHODS[_i % N_METHODS]);
    check_encoder(parent);
    train_a_little();
    export();
    check_encoder(out);
    struct err e = ERR_INIT;
    ck_assert_err(trainable_export(f.t, out, &e), ERR_CONFLICT);
}
END_TEST

START_TEST(only_what_should_change_changes)
{
    static const struct {
        const char *name;
        bool changes[N_METHODS]; /* full, last layers, LoRA, adapter */
    } tensors[] = {
        { "embeddings.word_embeddings.weight", { true, false, false, false } },
        { "encoder.layer.0.output.dense.weight", { true, false, true, false } },
        { "encoder.layer.0.attention.self.value.weight", { true, false, true, false } },
        { "encoder.layer.0.output.LayerNorm.bias", { true, false, false, false } },
        { "encoder.layer.1.attention.self.query.weight", { true, true, true, false } },
        { "encoder.layer.1.output.LayerNorm.weight", { true, true, false, false } },
        { "pooler.dense.weight", { false, false, false, false } },
    };
    open_method(METHODS[_i]);
    train_a_little();
    export();
    struct safetensors *a = open_weights(parent, "model.safetensors"),
                       *b = open_weights(out, "model.safetensors");
    ck_assert_uint_eq(safetensors_count(a), safetensors_count(b));
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        ck_assert_msg(same_tensor(a, b, tensors[i].name) != tensors[i].changes[_i], "%s with %s",
            tensors[i].name, train_method_name(METHODS[_i]));
    safetensors_close(a);
    safetensors_close(b);
    if (METHODS[_i] == TRAIN_ADAPTER) ck_assert(same_file("model.safetensors"));
}
END_TEST

START_TEST(an_adapter_begins_as_the_parent)
{
    /* 2_Dense is there, but no module: its name is taken all the same. */
    open_method(TRAIN_AUTO);
    ck_assert_int_eq(trainable_method(f.t), TRAIN_ADAPTER);
    check_encoder(parent);
    export();
    check_encoder(parent);
    check_encoder(out);
    struct safetensors *s = open_weights(out, "3_Dense/model.safetensors");
    ck_assert_uint_eq(safetensors_count(s), 2);
    ck_assert_ptr_nonnull(safetensors_find(s, "linear.weight"));
    safetensors_close(s);
    char stale[TMPDIR_PATH_BYTES];
    ck_assert(!file_exists(tmpdir_file(&dir, "out/2_Dense/model.safetensors", stale)));
    /* An adapter of a model that has one changes that one. */
    bert_fixture_close(&f);
    ck_assert_int_eq(rename(out, tmpdir_file(&dir, "parent2", parent)), 0);
    open_method(TRAIN_ADAPTER);
    train_a_little();
    export();
    check_encoder(out);
    ck_assert(same_file("model.safetensors"));
    ck_assert(same_file("modules.json"));
    ck_assert(!same_file("3_Dense/model.safetensors"));
}
END_TEST

START_TEST(the_last_dense_layer_is_the_adapter)
{
    use_dense();
    open_method(TRAIN_ADAPTER);
    train_a_little();
    export();
    ck_assert(same_file("model.safetensors"));
    ck_assert(same_file("modules.json"));
    ck_assert(!same_file("2_Dense/model.safetensors"));
}
END_TEST

START_TEST(without_modules_the_mean_is_written_down)
{
    AUTO_FREE char *modules = path_join(parent, "modules.json");
    ck_assert_int_eq(remove(modules), 0);
    open_method(TRAIN_ADAPTER);
    train_a_little();
    export();
    check_encoder(out);
}
END_TEST

/* ---- types and names ---- */

/* The parent's weights in another type, with "bert." before their names. */
static void store_as(enum dtype dtype)
{
    enum { TENSORS_MAX = 64 };
    struct err e = ERR_INIT;
    struct safetensors *s = open_weights(BERT_TINY, "model.safetensors");
    struct safetensor_out list[TENSORS_MAX];
    static char names[TENSORS_MAX][128];
    size_t n = safetensors_count(s);
    ck_assert_uint_le(n, TENSORS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct safetensor *x = safetensors_at(s, i);
        uint16_t *half = mem_alloc(x->n_elements, sizeof *half);
        for (size_t k = 0; k < x->n_elements; k++) {
            float v;
            uint32_t bits;
            memcpy(&v, (const char *)x->data + k * sizeof v, sizeof v);
            memcpy(&bits, &v, sizeof bits);
            half[k] = dtype == DTYPE_F16 ? f32_to_f16(v) : (uint16_t)(bits >> 16);
        }
        snprintf(names[i], sizeof *names, "bert.%.*s", (int)x->name.n, x->name.p);
        list[i] = (struct safetensor_out){ names[i], dtype, x->n_dims, { 0 }, half };
        memcpy(list[i].dims, x->dims, sizeof list[i].dims);
    }
    AUTO_FREE char *path = path_join(parent, "model.safetensors");
    ck_assert_ok(safetensors_write(path, list, n, &e), &e);
    for (size_t i = 0; i < n; i++)
        mem_free((void *)(uintptr_t)list[i].data);
    safetensors_close(s);
}

START_TEST(types_and_names_are_the_parents)
{
    const enum dtype dtypes[] = { DTYPE_F16, DTYPE_BF16 };
    store_as(dtypes[_i]);
    open_method(TRAIN_FULL);
    export();
    struct safetensors *a = open_weights(parent, "model.safetensors"),
                       *b = open_weights(out, "model.safetensors");
    ck_assert_uint_eq(safetensors_count(a), safetensors_count(b));
    for (size_t i = 0; i < safetensors_count(a); i++) {
        char name[160];
        const struct str s = safetensors_at(a, i)->name;
        snprintf(name, sizeof name, "%.*s", (int)s.n, s.p);
        ck_assert_msg(same_tensor(a, b, name), "%s", name);
    }
    safetensors_close(a);
    safetensors_close(b);
    /* What is between two values of the type becomes the nearer one. */
    size_t n;
    float *params = bert_fixture_state(&f, 0, &n);
    params[0] = 1 + 1.0F / (1 << 6);
    params[1] = 1 + 1.0F / (1 << 6) + 1.0F / (1 << 12);
    tmpdir_file(&dir, "again", out);
    export();
    b = open_weights(out, "model.safetensors");
    float got[2];
    struct err e = ERR_INIT;
    const struct safetensor *x = safetensors_find(b, "bert.embeddings.word_embeddings.weight");
    ck_assert_int_eq(x->dtype, dtypes[_i]);
    ck_assert_ok(safetensor_to_f32(x, 0, 2, got, &e), &e);
    ck_assert_float_eq(got[0], params[0]);
    ck_assert_float_eq(got[1], params[0]);
    safetensors_close(b);
}
END_TEST

START_TEST(what_is_not_finite_is_refused)
{
    struct err e = ERR_INIT;
    size_t n;
    open_method(METHODS[_i]);
    float *params = bert_fixture_state(&f, 0, &n);
    params[n - 1] = NAN;
    ck_assert_err(trainable_export(f.t, out, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "not finite"));
    ck_assert(!dir_exists(out));
}
END_TEST

START_TEST(a_parent_is_not_written)
{
    struct err e = ERR_INIT;
    open_method(TRAIN_NONE);
    check_encoder(parent);
    ck_assert_uint_eq(trainable_state_count(f.t), 0);
    ck_assert_err(trainable_export(f.t, out, &e), ERR_UNPROCESSABLE);
}
END_TEST

START_TEST(methods_and_what_they_say)
{
    struct err e = ERR_INIT;
    struct trainable_options o = TRAINABLE_OPTIONS_DEFAULTS;
    struct trainable *none = NULL;
    const bool keeps[N_METHODS] = { false, true, false, true };
    for (size_t i = 0; i < N_METHODS; i++) {
        open_method(METHODS[i]);
        ck_assert(trainable_keeps_texts(f.t) == keeps[i]);
        ck_assert(trainable_special_tokens(f.t));
        ck_assert_double_gt(trainable_default_rate(f.t), 0);
        ck_assert_uint_eq(trainable_max_tokens(f.t), 24);
        bert_fixture_close(&f);
    }
    open_method(TRAIN_ADAPTER);
    const struct tokenizer *tokenizer = trainable_tokenizer(f.t);
    uint32_t ids[4];
    const char *const names[] = { "[CLS]", "[UNK]", "[SEP]", "the" };
    for (size_t i = 0; i < 4; i++)
        ck_assert(tokenizer_id(tokenizer, str_from(names[i]), &ids[i]));
    ck_assert(!trainable_knows(f.t, ids, 3));
    ck_assert(trainable_knows(f.t, ids, 4));
    o.method = TRAIN_LAST_LAYERS;
    o.layers = 3;
    ck_assert_err(trainable_open(parent, &o, &none, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "1 to 2"));
    o.layers = 2; /* all layers, but not the embeddings */
    bert_fixture_close(&f);
    bert_fixture_open(&f, parent, &o);
    train_a_little();
    export();
    check_encoder(out);
}
END_TEST

TEST_SUITE(bert_train_export)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, the_encoder_loads_what_was_trained, 0, 2 * N_METHODS);
    tcase_add_loop_test(tc, only_what_should_change_changes, 0, N_METHODS);
    tcase_add_test(tc, an_adapter_begins_as_the_parent);
    tcase_add_test(tc, the_last_dense_layer_is_the_adapter);
    tcase_add_test(tc, without_modules_the_mean_is_written_down);
    tcase_add_loop_test(tc, types_and_names_are_the_parents, 0, 2);
    tcase_add_loop_test(tc, what_is_not_finite_is_refused, 0, N_METHODS);
    tcase_add_test(tc, a_parent_is_not_written);
    tcase_add_test(tc, methods_and_what_they_say);
    suite_add_tcase(s, tc);
}
