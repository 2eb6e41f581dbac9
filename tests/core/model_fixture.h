/* Layer: tests. May include: libcheck, base, core.
 *
 * A model folder of a dozen tokens, written into a temporary folder, and a copy of tests/data/core/bert_tiny there,
 * to be changed.
 */
#pragma once

#include "core/model/safetensors.h"
#include "tests/support/tmpdir.h"

#define FIXTURE_BERT "tests/data/core/bert_tiny"

/* [PAD] [UNK] the cat sat un ##able . caf 漢 ##s dog */
enum { FIXTURE_TOKENS = 12, FIXTURE_DIM = 6 };

/** Pieces around which the folder's tokenizer.json is written. */
extern const char FIXTURE_TOKENIZER_JSON[];
/** Writes text into dir/name. */
void fixture_write(const struct tmpdir *dir, const char *name, const char *text);
/** dir/name as safetensors. */
void fixture_write_tensors(const struct tmpdir *dir, const struct safetensor_out *t, size_t n);
/** config.json, tokenizer.json and model.safetensors (F32: element j of row i is fixture_value(i,
 * j)). */
void fixture_write_model(const struct tmpdir *dir);
/** Row 0 is zero; every value is exact in binary16 and bfloat16. */
float fixture_value(size_t row, size_t column);
/** The whole table [FIXTURE_TOKENS, FIXTURE_DIM]. */
void fixture_table(float *ret);

/** Copy the BERT folder, 2_Dense with it, but not what is expected of it. */
void fixture_copy_bert(const struct tmpdir *dir);
/** Replace the one place of dir/name that reads `from`; fails the test if there is none. */
void fixture_replace(const struct tmpdir *dir, const char *name, const char *from, const char *to);

/* The tensors of a file, to be renamed, dropped, changed and written again. */
enum { FIXTURE_TENSORS_MAX = 64 };
struct fixture_tensors {
    struct safetensors *file;
    struct safetensor_out t[FIXTURE_TENSORS_MAX];
    char names[FIXTURE_TENSORS_MAX][128];
    size_t n;
};
/** Those of tests/data/core/bert_tiny. */
void fixture_tensors_open(struct fixture_tensors *f);
void fixture_tensors_close(struct fixture_tensors *f);
/** By name; fails the test if there is none. */
size_t fixture_tensors_find(const struct fixture_tensors *f, const char *name);

/** The tensor of tests/data/core/bert_tiny/expected.safetensors as f32, of mem_alloc; *ret_n values. */
float *fixture_expected(const char *name, size_t *ret_n);
/** The same of integers. */
int32_t *fixture_expected_ids(const char *name, size_t *ret_n);
/** The folder's texts.txt, which ends every text with a newline; of mem_alloc. */
char *fixture_bert_texts(void);
