#include "tests/core/train_fixture.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/test.h"

#include <stdio.h>

void train_fixture_make(struct train_fixture *f)
{
    tmpdir_make(&f->dir);
    tiny_model_write(f->dir.path, "model", TRAIN_DIM, 5);
    tmpdir_file(&f->dir, "model", f->model);
    tmpdir_file(&f->dir, "pairs.tsv", f->pairs);
    tmpdir_file(&f->dir, "taught.txt", f->taught);
    tmpdir_file(&f->dir, "taught.npy", f->vectors);
}

void train_fixture_remove(struct train_fixture *f)
{
    tmpdir_remove(&f->dir);
}

static void write_buf(const char *path, struct buf *b)
{
    struct err e = ERR_INIT;
    ck_assert_ok(buf_check(b, &e), &e);
    ck_assert_ok(file_write_atomic(path, b->p, b->n, &e), &e);
    buf_done(b);
}

void train_fixture_write(const char *path, const char *text)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, text);
    write_buf(path, &b);
}

static unsigned any_word(struct rng *rng)
{
    return (unsigned)rng_below(rng, TINY_MODEL_WORDS);
}

void train_fixture_pairs(const struct train_fixture *f, size_t n, uint64_t seed)
{
    struct buf b = BUF_INIT(0);
    struct rng rng;
    rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        unsigned word = 2 * (unsigned)rng_below(&rng, TINY_MODEL_WORDS / 2);
        buf_printf(&b, "w%u w%u the\tw%u of w%u\n", word, any_word(&rng), word + 1, any_word(&rng));
    }
    write_buf(f->pairs, &b);
}

void train_fixture_npy(const char *path, const float *values, size_t rows, size_t columns)
{
    struct buf b = BUF_INIT(0);
    char header[119];
    int n = snprintf(header, sizeof header,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
    ck_assert(n > 0 && (size_t)n < sizeof header);
    buf_append(&b, "\x93NUMPY\x01\x00\x76\x00", 10);
    buf_printf(&b, "%-117s\n", header);
    buf_append(&b, values, rows * columns * sizeof *values);
    write_buf(path, &b);
}

void train_fixture_taught(const struct train_fixture *f, size_t n, size_t dim, uint64_t seed)
{
    struct buf b = BUF_INIT(0);
    struct rng rng;
    rng_init(&rng, seed);
    AUTO_FREE float *words = mem_alloc(TINY_MODEL_WORDS * dim, sizeof *words);
    AUTO_FREE float *rows = mem_alloc(n * dim, sizeof *rows);
    ck_assert(words && rows);
    for (size_t i = 0; i < TINY_MODEL_WORDS * dim; i++)
        words[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < n; i++) {
        unsigned word = any_word(&rng);
        buf_printf(&b, "w%u of w%u\n", word, any_word(&rng));
        memcpy(rows + i * dim, words + word * dim, dim * sizeof *rows);
    }
    write_buf(f->taught, &b);
    train_fixture_npy(f->vectors, rows, n, dim);
}

char *train_fixture_read(const char *path, size_t *ret_n)
{
    struct err e = ERR_INIT;
    char *p = NULL;
    ck_assert_ok(file_read(path, (size_t)1 << 30, &p, ret_n, &e), &e);
    return p;
}
