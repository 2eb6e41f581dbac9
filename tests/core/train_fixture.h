/* Layer: tests. May include: libcheck, base, core.
 *
 * A temporary folder with a tiny model and files to learn from.
 */
#pragma once

#include "core/learn/trainer.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <stdint.h>

enum { TRAIN_DIM = 16 };

struct train_fixture {
    struct tmpdir dir;
    char model[TMPDIR_PATH_BYTES], pairs[TMPDIR_PATH_BYTES], taught[TMPDIR_PATH_BYTES],
        vectors[TMPDIR_PATH_BYTES];
};

/** Folder and tiny model; the other paths are names only. */
void train_fixture_make(struct train_fixture *f);
void train_fixture_remove(struct train_fixture *f);
void train_fixture_write(const char *path, const char *text);
/** n pairs: word w(2i) with one that always goes with it, each among a few random words. */
void train_fixture_pairs(const struct train_fixture *f, size_t n, uint64_t seed);
/** n texts, and as their vectors [n, dim] f4 those of a teacher for whom a text is its first word. */
void train_fixture_taught(const struct train_fixture *f, size_t n, size_t dim, uint64_t seed);
/** A .npy of version 1 with [rows, columns] f4. */
void train_fixture_npy(const char *path, const float *values, size_t rows, size_t columns);
/** The whole of a file; freed with mem_free. */
char *train_fixture_read(const char *path, size_t *ret_n);
