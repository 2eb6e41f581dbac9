/* Layer: core. May include: base.
 *
 * Reader of NumPy's .npy files that hold a matrix of f4 or f2 values,
 * little-endian, in C order. The file is mapped, not read, and its header is
 * checked against its size, so hostile bytes give CORRUPT or UNPROCESSABLE.
 *
 * Threads: an open file is immutable; any number of readers.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>

struct npy;

/** Errors: NOT_FOUND, IO, NOMEM, CORRUPT (no .npy, or the size is not what the header says), UNPROCESSABLE
 * (another element type, order or number of dimensions). */
MUST_USE enum err_code npy_open(const char *path, struct npy **ret_npy, struct err *e);
void npy_close(struct npy *npy);
size_t npy_rows(const struct npy *npy);
size_t npy_columns(const struct npy *npy);
/** Row i as f32 into out [columns]. i < rows. */
void npy_row(const struct npy *npy, size_t i, float *out);
/** CORRUPT, and which row, if a value is infinite or no number. Reads the whole file. */
MUST_USE enum err_code npy_check_finite(const struct npy *npy, struct err *e);
