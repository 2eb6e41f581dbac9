#include "tests/core/ref_file.h"

#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct safetensors *ref_open(const char *path)
{
    struct safetensors *file;
    struct err e;
    ck_assert_ok(safetensors_open(path, &file, &e), &e);
    return file;
}

const struct safetensor *ref_find(const struct safetensors *file, const char *of, const char *name)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s.%s", of, name);
    return safetensors_find(file, full);
}

bool ref_next(const struct safetensors *file, char of[32], const char *op, const char *input, int i,
    int least)
{
    (void)snprintf(of, 32, "%s.%d", op, i);
    bool there = ref_find(file, of, input) != NULL;
    ck_assert_msg(there || i >= least, "only %d cases of %s", i, op);
    return there;
}

void *ref_read(const struct safetensors *file, const char *of, const char *name, enum dtype dtype,
    size_t *ret_n)
{
    const struct safetensor *t = ref_find(file, of, name);
    ck_assert_msg(t && t->dtype == dtype, "%s.%s", of, name);
    void *p = malloc(t->size_bytes + 1);
    ck_assert_ptr_nonnull(p);
    memcpy(p, t->data, t->size_bytes); /* a mapping has no alignment */
    if (ret_n) *ret_n = t->n_elements;
    return p;
}

float *ref_floats(const struct safetensors *file, const char *of, const char *name)
{
    return ref_read(file, of, name, DTYPE_F32, NULL);
}

float ref_number(const struct safetensors *file, const char *of, const char *name)
{
    float *p = ref_floats(file, of, name), x = *p;
    free(p);
    return x;
}

size_t *ref_sizes(const struct safetensors *file, const char *of, const char *name, size_t *ret_n)
{
    size_t n;
    int32_t *from = ref_read(file, of, name, DTYPE_I32, &n);
    size_t *p = calloc(n + 1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (size_t)from[i];
    free(from);
    if (ret_n) *ret_n = n;
    return p;
}

size_t ref_dim(const struct safetensors *file, const char *of, const char *name, size_t i)
{
    const struct safetensor *t = ref_find(file, of, name);
    ck_assert(t && i < t->n_dims);
    return t->dims[i];
}

void ref_check(const struct safetensors *file, const float *got, const char *of, const char *name,
    double abs_tol)
{
    float *want = ref_floats(file, of, name);
    ck_assert_near(got, want, ref_find(file, of, name)->n_elements, abs_tol, 2e-6);
    free(want);
}
