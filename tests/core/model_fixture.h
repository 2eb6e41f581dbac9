/* Layer: tests. May include: libcheck, base, core.
 *
 * A model folder of a dozen tokens, written into a temporary folder.
 */
#pragma once

#include "core/model/safetensors.h"
#include "tests/support/tmpdir.h"

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
