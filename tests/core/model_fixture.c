#include "tests/core/model_fixture.h"

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
