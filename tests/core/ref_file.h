/* Layer: tests. May include: libcheck, base, core.
 *
 * A file of tests/data/ref: the tensors of cases, named CASE.NAME. What is read is freed with the test's process or
 * by the caller with free.
 */
#pragma once

#include "core/model/safetensors.h"

#include <stdbool.h>
#include <stddef.h>

/** Fails the test if it cannot be opened. */
struct safetensors *ref_open(const char *path);
/** The tensor, or NULL. */
const struct safetensor *ref_find(const struct safetensors *file, const char *of, const char *name);
/** Name case number i of an op into `of`; false after the last. Fails the test if there are fewer than `least`. */
bool ref_next(const struct safetensors *file, char of[32], const char *op, const char *input, int i,
    int least);
/** A copy of a tensor, which is of this type. */
void *ref_read(const struct safetensors *file, const char *of, const char *name, enum dtype dtype,
    size_t *ret_n);
/** As ref_read, of F32. */
float *ref_floats(const struct safetensors *file, const char *of, const char *name);
/** The first value of a tensor of F32. */
float ref_number(const struct safetensors *file, const char *of, const char *name);
/** A copy of a tensor of I32 as sizes. */
size_t *ref_sizes(const struct safetensors *file, const char *of, const char *name, size_t *ret_n);
size_t ref_dim(const struct safetensors *file, const char *of, const char *name, size_t i);
/** ck_assert_near with what the file says, and a relative tolerance of 2e-6. */
void ref_check(const struct safetensors *file, const float *got, const char *of, const char *name,
    double abs_tol);
