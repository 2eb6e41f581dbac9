#include "tests/core/model_fixture.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

const char FIXTURE_TOKENIZER_JSON[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":["
    "{\"id\":0,\"content\":\"[PAD]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true},"
    "{\"id\":1,\"content\":\"[UNK]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"WordPiece\","
    "\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
    "\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"the\":2,\"cat\":3,\"sat\":4,\"un\":5,\"##able\":6,\".\":"
    "7,"
    "\"caf\":8,\"漢\":9,\"##s\":10,\"dog\":11}}}";

void fixture_write(const struct tmpdir *dir, const char *name, const char *text)
{
    char path[TMPDIR_PATH_BYTES];
    FILE *f = fopen(tmpdir_file(dir, name, path), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), f), strlen(text));
    ck_assert_int_eq(fclose(f), 0);
}

void fixture_write_tensors(const struct tmpdir *dir, const struct safetensor_out *t, size_t n)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_write(tmpdir_file(dir, "model.safetensors", path), t, n, &e), &e);
}

float fixture_value(size_t row, size_t column)
{
    return row == 0 ? 0 : (float)((row * 7 + column * 3) % 11) / 8 - 0.5F;
}

void fixture_table(float *ret)
{
    for (size_t i = 0; i < FIXTURE_TOKENS; i++)
        for (size_t j = 0; j < FIXTURE_DIM; j++)
            ret[i * FIXTURE_DIM + j] = fixture_value(i, j);
}

void fixture_write_model(const struct tmpdir *dir)
{
    float table[FIXTURE_TOKENS * FIXTURE_DIM];
    fixture_table(table);
    struct safetensor_out t = { .name = "embedding.weight",
        .dtype = DTYPE_F32,
        .n_dims = 2,
        .dims = { FIXTURE_TOKENS, FIXTURE_DIM },
        .data = table };
    fixture_write_tensors(dir, &t, 1);
    fixture_write(dir, "tokenizer.json", FIXTURE_TOKENIZER_JSON);
    fixture_write(dir, "config.json",
        "{\"model_type\":\"static\",\"architectures\":[\"StaticEmbedding\"],\"hidden_size\":6,"
        "\"vocab_size\":12,\"pooling\":\"mean\",\"normalize\":true,\"max_tokens\":8,"
        "\"name\":\"tiny\",\"version\":1}");
}

/* ---- BERT ---- */

static const char *const BERT_FILES[] = { "config.json", "modules.json",
    "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
    "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors" };

static char *read_bert(const char *name, size_t *ret_n)
{
    struct err e = ERR_INIT;
    char *text = NULL;
    AUTO_FREE char *path = path_join(FIXTURE_BERT, name);
    ck_assert_ptr_nonnull(path);
    ck_assert_ok(file_read(path, 1 << 20, &text, ret_n, &e), &e);
    return text;
}

static void write_bytes(const char *path, const char *p, size_t n)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

void fixture_copy_bert(const struct tmpdir *dir)
{
    char path[TMPDIR_PATH_BYTES];
    ck_assert_ok(dir_make(tmpdir_file(dir, "1_Pooling", path), NULL));
    ck_assert_ok(dir_make(tmpdir_file(dir, "2_Dense", path), NULL));
    for (size_t i = 0; i < sizeof BERT_FILES / sizeof *BERT_FILES; i++) {
        size_t n = 0;
        AUTO_FREE char *text = read_bert(BERT_FILES[i], &n);
        write_bytes(tmpdir_file(dir, BERT_FILES[i], path), text, n);
    }
}

void fixture_replace(const struct tmpdir *dir, const char *name, const char *from, const char *to)
{
    char path[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    ck_assert_ok(file_read(tmpdir_file(dir, name, path), 1 << 20, &text, &n, &e), &e);
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s does not hold %s", name, from);
    AUTO_FREE char *changed = mem_alloc(n + strlen(to) + 1, 1);
    ck_assert_ptr_nonnull(changed);
    int len = snprintf(
        changed, n + strlen(to) + 1, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_bytes(path, changed, (size_t)len);
}

void fixture_tensors_open(struct fixture_tensors *f)
{
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_open(FIXTURE_BERT "/model.safetensors", &f->file, &e), &e);
    f->n = safetensors_count(f->file);
    ck_assert_uint_le(f->n, FIXTURE_TENSORS_MAX);
    for (size_t i = 0; i < f->n; i++) {
        const struct safetensor *t = safetensors_at(f->file, i);
        (void)snprintf(f->names[i], sizeof f->names[i], "%.*s", STR_ARG(t->name));
        f->t[i] = (struct safetensor_out){ f->names[i], t->dtype, t->n_dims,
            { t->dims[0], t->dims[1] }, t->data };
    }
}

void fixture_tensors_close(struct fixture_tensors *f)
{
    safetensors_close(f->file);
}

size_t fixture_tensors_find(const struct fixture_tensors *f, const char *name)
{
    size_t i = 0;
    while (i < f->n && strcmp(f->t[i].name, name) != 0)
        i++;
    ck_assert_msg(i < f->n, "no tensor %s", name);
    return i;
}

/* The tensor, with its file, which the caller closes. */
static const struct safetensor *find_expected(const char *name, struct safetensors **ret_s)
{
    struct err e = ERR_INIT;
    ck_assert_ok(safetensors_open(FIXTURE_BERT "/expected.safetensors", ret_s, &e), &e);
    const struct safetensor *t = safetensors_find(*ret_s, name);
    ck_assert_msg(t != NULL, "no tensor %s", name);
    return t;
}

float *fixture_expected(const char *name, size_t *ret_n)
{
    struct safetensors *s = NULL;
    const struct safetensor *t = find_expected(name, &s);
    float *values = mem_alloc(t->n_elements, sizeof *values);
    ck_assert_ptr_nonnull(values);
    ck_assert_ok(safetensor_to_f32(t, 0, t->n_elements, values, NULL));
    if (ret_n) *ret_n = t->n_elements;
    safetensors_close(s);
    return values;
}

int32_t *fixture_expected_ids(const char *name, size_t *ret_n)
{
    struct safetensors *s = NULL;
    const struct safetensor *t = find_expected(name, &s);
    ck_assert_int_eq(t->dtype, DTYPE_I32);
    int32_t *values = mem_alloc(t->n_elements, sizeof *values);
    ck_assert_ptr_nonnull(values);
    memcpy(values, t->data, t->size_bytes);
    if (ret_n) *ret_n = t->n_elements;
    safetensors_close(s);
    return values;
}

char *fixture_bert_texts(void)
{
    size_t n = 0;
    return read_bert("texts.txt", &n);
}
