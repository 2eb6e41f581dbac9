#include "tests/support/tiny_model.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/model/bert.h"
#include "core/model/safetensors.h"
#include "tests/support/test.h"

#include <string.h>

/* Special pieces, and words that tests and the engine's own check of a model use. */
static const char *const pieces[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "canary",
    "sings", "at", "first", "light", "of", "day", "cat", "dog", "house", "red", "blue" };
enum {
    N_PIECES = sizeof pieces / sizeof *pieces,
    VOCAB = N_PIECES + TINY_MODEL_WORDS,
    LETTERS = 26
};

static void write_text(const char *dir, const char *file, struct buf *b)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = path_join(dir, file);
    ck_assert_ptr_nonnull(path);
    ck_assert_ok(buf_check(b, &e), &e);
    ck_assert_ok(file_write_atomic(path, b->p, b->n, &e), &e);
    buf_clear(b);
}

static void write_vocab(const char *folder, size_t vocab)
{
    struct buf b = BUF_INIT(0);
    for (size_t i = 0; i < N_PIECES; i++)
        buf_printf(&b, "%s\n", pieces[i]);
    for (int i = 0; i < TINY_MODEL_WORDS; i++)
        buf_printf(&b, "w%d\n", i);
    for (int i = 0; vocab > VOCAB && i < LETTERS; i++)
        buf_printf(&b, "%c\n##%c\n", 'a' + i, 'a' + i);
    write_text(folder, "vocab.txt", &b);
    buf_done(&b);
}

static void write_model(
    const char *dir, const char *name, size_t dimensions, uint64_t seed, size_t vocab)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT(0);
    struct rng rng;
    AUTO_FREE char *folder = path_join(dir, name);
    AUTO_FREE char *weights = path_join(folder, "model.safetensors");
    AUTO_FREE float *rows = mem_alloc(vocab * dimensions, sizeof *rows);
    ck_assert(folder && weights && rows);
    ck_assert_ok(dir_make(folder, &e), &e);

    buf_printf(&b,
        "{\"name\": \"%s\", \"model_type\": \"static\", \"architectures\": [\"StaticEmbedding\"],"
        " \"vocab_size\": %zu, \"hidden_size\": %zu, \"pooling\": \"mean\", \"normalize\": true,"
        " \"max_tokens\": 64}\n",
        name, vocab, dimensions);
    write_text(folder, "config.json", &b);
    buf_done(&b);
    write_vocab(folder, vocab);

    rng_init(&rng, seed);
    for (size_t i = 0; i < vocab * dimensions; i++)
        rows[i] = (float)rng_normal(&rng);
    const struct safetensor_out t = { .name = "embedding.weight",
        .dtype = DTYPE_F32,
        .n_dims = 2,
        .dims = { vocab, dimensions },
        .data = rows };
    ck_assert_ok(safetensors_write(weights, &t, 1, &e), &e);
}

void tiny_model_write(const char *dir, const char *name, size_t dimensions, uint64_t seed)
{
    write_model(dir, name, dimensions, seed, VOCAB);
}

void tiny_model_write_letters(const char *dir, const char *name, size_t dimensions, uint64_t seed)
{
    write_model(dir, name, dimensions, seed, VOCAB + (size_t)2 * LETTERS);
}

/* ---- BERT ---- */

/* One generous array of tensors: 5 of the embeddings, 16 a layer. */
enum { BERT_TENSORS = 5 + 16 * TINY_BERT_LAYERS };

static void write_bert_weights(const char *folder, const struct bert_config *c, uint64_t seed)
{
    struct err e = ERR_INIT;
    struct rng rng;
    struct bert_tensor t[BERT_TENSORS];
    struct safetensor_out out[BERT_TENSORS];
    size_t n_values = bert_params_count(c);
    AUTO_FREE char *path = path_join(folder, "model.safetensors");
    AUTO_FREE float *values = mem_alloc(n_values, sizeof *values);
    ck_assert(path && values);
    rng_init(&rng, seed);
    for (size_t i = 0; i < BERT_TENSORS; i++) {
        ck_assert(bert_tensor_at(c, i, &t[i]));
        /* LayerNorm's factors near 1, the rest near 0. */
        bool is_gain = strstr(t[i].name, "LayerNorm.weight") != NULL;
        for (size_t j = 0; j < t[i].n; j++)
            values[t[i].at + j] = (float)is_gain + 0.2F * (float)rng_normal(&rng);
        out[i] = (struct safetensor_out){ .name = t[i].name,
            .dtype = DTYPE_F32,
            .n_dims = t[i].n_dims,
            .dims = { t[i].dims[0], t[i].dims[1] },
            .data = values + t[i].at };
    }
    ck_assert_ok(safetensors_write(path, out, BERT_TENSORS, &e), &e);
}

static void write_bert_modules(const char *folder)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT(0);
    AUTO_FREE char *pooling = path_join(folder, "1_Pooling");
    ck_assert_ptr_nonnull(pooling);
    ck_assert_ok(dir_make(pooling, &e), &e);
    buf_puts(&b, "{\"max_seq_length\": 64}\n");
    write_text(folder, "sentence_bert_config.json", &b);
    buf_puts(&b, "{\"pooling_mode_mean_tokens\": true}\n");
    write_text(pooling, "config.json", &b);
    buf_puts(&b,
        "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
        " {\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},"
        " {\"path\": \"2_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}]\n");
    write_text(folder, "modules.json", &b);
    buf_done(&b);
}

void tiny_bert_write(const char *dir, const char *name, uint64_t seed)
{
    const struct bert_config c = { .layers = TINY_BERT_LAYERS,
        .hidden = TINY_BERT_DIMENSIONS,
        .heads = 4,
        .intermediate = 2 * TINY_BERT_DIMENSIONS,
        .vocab = VOCAB + 2 * LETTERS,
        .positions = TINY_BERT_TOKENS,
        .types = 2 };
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT(0);
    AUTO_FREE char *folder = path_join(dir, name);
    ck_assert_ptr_nonnull(folder);
    ck_assert_ok(dir_make(folder, &e), &e);
    buf_printf(&b,
        "{\"name\": \"%s\", \"model_type\": \"bert\", \"architectures\": [\"BertModel\"],"
        " \"vocab_size\": %zu, \"hidden_size\": %zu, \"num_hidden_layers\": %zu,"
        " \"num_attention_heads\": %zu, \"intermediate_size\": %zu, \"max_position_embeddings\": "
        "%zu,"
        " \"type_vocab_size\": %zu, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}\n",
        name, c.vocab, c.hidden, c.layers, c.heads, c.intermediate, c.positions, c.types);
    write_text(folder, "config.json", &b);
    buf_done(&b);
    write_vocab(folder, c.vocab);
    write_bert_modules(folder);
    write_bert_weights(folder, &c, seed);
}
