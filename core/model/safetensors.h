/* Layer: core. May include: base.
 *
 * Reader of safetensors files: 8 bytes little-endian header length, JSON
 * header {name: {dtype, shape, data_offsets}}, data. The file is mapped, not
 * read; every offset, shape and overlap is checked before anything is handed
 * out, so hostile bytes give ERR_CORRUPT, never a stray pointer.
 *
 * Threads: an open file is immutable; any number of readers.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_OTHER
};
enum { TENSOR_DIMS_MAX = 8 };

struct safetensor {
    struct str name;
    enum dtype dtype;
    size_t n_dims;
    size_t dims[TENSOR_DIMS_MAX];
    size_t n_elements;
    const void *data; /* into the mapping; aligned as in the file (may be unaligned) */
    size_t size_bytes;
};

struct safetensors;

/** Map and check a file. Errors: NOT_FOUND, IO, NOMEM, CORRUPT (the message names file and
 * tensor). */
MUST_USE enum err_code safetensors_open(
    const char *path, struct safetensors **ret_s, struct err *e);
/** As safetensors_open, over bytes that outlive s. */
MUST_USE enum err_code safetensors_open_memory(
    const void *p, size_t n, struct safetensors **ret_s, struct err *e);
void safetensors_close(struct safetensors *s);
/** Tensors are numbered from 0 in the order of their data; NULL beyond the last. */
size_t safetensors_count(const struct safetensors *s);
const struct safetensor *safetensors_at(const struct safetensors *s, size_t i);
/** NULL: no tensor of that name. */
const struct safetensor *safetensors_find(const struct safetensors *s, const char *name);

/** The format's name, "F16"; "other" for DTYPE_OTHER. */
const char *dtype_name(enum dtype t);
size_t dtype_size_bytes(enum dtype t); /* 0 for DTYPE_OTHER */
/** Copy elements [first, first+n) of a float tensor as f32. ERR_UNPROCESSABLE for other dtypes. */
MUST_USE enum err_code safetensor_to_f32(
    const struct safetensor *t, size_t first, size_t n, float *out, struct err *e);

/** One tensor to be written. `data` holds dims' product elements of dtype. */
struct safetensor_out {
    const char *name;
    enum dtype dtype;
    size_t n_dims;
    size_t dims[TENSOR_DIMS_MAX];
    const void *data;
};
/** Write atomically; opens unchanged in Python's `safetensors`, and, as the file says that it is in
 * PyTorch's layout, in `transformers`. Data starts 8-byte aligned, tensors with larger elements come
 * first. Errors: INVALID (names twice, DTYPE_OTHER, too many
 * dimensions), FULL, IO, NOMEM. */
MUST_USE enum err_code safetensors_write(
    const char *path, const struct safetensor_out *t, size_t n, struct err *e);
