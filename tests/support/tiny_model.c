#include "tests/support/tiny_model.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/model/safetensors.h"
#include "tests/support/test.h"

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
