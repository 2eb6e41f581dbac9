/* Format (little-endian)
 *
 *   offset  size  meaning
 *   0       8     n, length of the header; at most 100,000,000, here 16 Mi: a model of 100,000 tensors
 *                 has 10 MB, and JSON takes some thirty times its size in memory
 *   8       n     JSON object: tensor's name -> { "dtype", "shape", "data_offsets": [begin, end] };
 *                 "__metadata__" -> object of strings; may end in spaces
 *   8+n     …     data; offsets count from here
 *
 * The tensors tile the data: sorted by their begin, each begins where the one
 * before ends, the first at 0, the last ends with the file. So there is neither
 * overlap nor a hole that could carry something else.
 */
#include "core/model/safetensors_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct safetensors {
    struct file_map map; /* empty over the caller's memory */
    const unsigned char *p;
    size_t n_bytes;
    json_t *header; /* owns the names */
    struct safetensor *tensors;
    size_t n;
};

/* All types of the format; those without a use here are DTYPE_OTHER. */
static const struct safetensors_dtype DTYPES[] = {
    { "F32", DTYPE_F32, 4 },
    { "F16", DTYPE_F16, 2 },
    { "BF16", DTYPE_BF16, 2 },
    { "I64", DTYPE_I64, 8 },
    { "I32", DTYPE_I32, 4 },
    { "I8", DTYPE_I8, 1 },
    { "U8", DTYPE_U8, 1 },
    { "BOOL", DTYPE_OTHER, 1 },
    { "F8_E4M3", DTYPE_OTHER, 1 },
    { "F8_E5M2", DTYPE_OTHER, 1 },
    { "I16", DTYPE_OTHER, 2 },
    { "U16", DTYPE_OTHER, 2 },
    { "U32", DTYPE_OTHER, 4 },
    { "F64", DTYPE_OTHER, 8 },
    { "U64", DTYPE_OTHER, 8 },
};
enum { N_DTYPES = sizeof DTYPES / sizeof *DTYPES };

const struct safetensors_dtype *safetensors__dtype(const char *name)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (strcmp(DTYPES[i].name, name) == 0) return &DTYPES[i];
    return NULL;
}

const char *dtype_name(enum dtype t)
{
    for (size_t i = 0; i < N_DTYPES && t != DTYPE_OTHER; i++)
        if (DTYPES[i].dtype == t) return DTYPES[i].name;
    return "other";
}

size_t dtype_size_bytes(enum dtype t)
{
    for (size_t i = 0; i < N_DTYPES && t != DTYPE_OTHER; i++)
        if (DTYPES[i].dtype == t) return DTYPES[i].size_bytes;
    return 0;
}

/* ---- reading ---- */

static enum err_code bad_tensor(const struct safetensor *t, const char *what, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "tensor \"%.*s\": %s", (int)(t->name.n < 80 ? t->name.n : 80),
        t->name.p, what);
}

/* fits: `bytes` is what it takes, not more than can be counted. */
static enum err_code bad_size(
    const struct safetensor *t, bool fits, size_t bytes, size_t by_offsets, struct err *e)
{
    char text[128], by_shape[32] = "too many";
    if (fits) snprintf(by_shape, sizeof by_shape, "%zu", bytes);
    snprintf(text, sizeof text,
        "shape and data_offsets contradict each other: %s bytes by shape and dtype, %zu by "
        "data_offsets",
        by_shape, by_offsets);
    return bad_tensor(t, text, e);
}

static enum err_code bad_dtype(const struct safetensor *t, const char *dtype, struct err *e)
{
    char text[128];
    snprintf(text, sizeof text,
        "has the unknown dtype \"%.40s\", expected F32, F16, BF16 or another of the format", dtype);
    return bad_tensor(t, text, e);
}

static bool size_of_json(const json_t *j, size_t *ret)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *ret = (size_t)json_integer_value(j);
    return true;
}

static enum err_code read_shape(struct safetensor *t, const json_t *shape, struct err *e)
{
    if (!json_is_array(shape)) return bad_tensor(t, "shape must be an array", e);
    t->n_dims = json_array_size(shape);
    if (t->n_dims > TENSOR_DIMS_MAX)
        return bad_tensor(t, "shape has more dimensions than are known", e);
    t->n_elements = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (!size_of_json(json_array_get(shape, i), &t->dims[i]))
            return bad_tensor(t, "shape holds something else than sizes", e);
        if (!mem_mul(t->n_elements, t->dims[i], &t->n_elements))
            return bad_tensor(t, "shape overflows", e);
    }
    return ERR_OK;
}

static enum err_code read_tensor(
    struct safetensor *t, const json_t *j, const unsigned char *data, size_t n_data, struct err *e)
{
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *offsets = json_object_get(j, "data_offsets");
    size_t begin, end, bytes;
    if (!json_is_object(j) || json_object_size(j) != 3 || !dtype)
        return bad_tensor(t, "must have dtype, shape and data_offsets", e);
    const struct safetensors_dtype *known = safetensors__dtype(dtype);
    if (!known) return bad_dtype(t, dtype, e);
    t->dtype = known->dtype;
    TRY(read_shape(t, json_object_get(j, "shape"), e));
    if (json_array_size(offsets) != 2 || !size_of_json(json_array_get(offsets, 0), &begin) ||
        !size_of_json(json_array_get(offsets, 1), &end))
        return bad_tensor(t, "data_offsets must be two sizes", e);
    if (begin > end || end > n_data) return bad_tensor(t, "data_offsets lie outside the data", e);
    bool fits = mem_mul(t->n_elements, known->size_bytes, &bytes);
    if (!fits || bytes != end - begin) return bad_size(t, fits, bytes, end - begin, e);
    t->data = data + begin;
    t->size_bytes = bytes;
    return ERR_OK;
}

static int by_place(const void *pa, const void *pb)
{
    const struct safetensor *a = pa, *b = pb;
    const unsigned char *da = a->data, *db = b->data;
    if (da != db) return da < db ? -1 : 1;
    return (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
}

static enum err_code check_tiling(
    struct safetensors *s, const unsigned char *data, size_t n_data, struct err *e)
{
    if (s->n) qsort(s->tensors, s->n, sizeof *s->tensors, by_place);
    const unsigned char *at = data;
    for (size_t i = 0; i < s->n; i++) {
        const struct safetensor *t = &s->tensors[i];
        if ((const unsigned char *)t->data < at) return bad_tensor(t, "overlaps another one", e);
        if ((const unsigned char *)t->data > at) return bad_tensor(t, "has a hole before it", e);
        at += t->size_bytes;
    }
    if ((size_t)(at - data) != n_data)
        return err_set(e, ERR_CORRUPT, "%zu bytes at the end belong to no tensor",
            n_data - (size_t)(at - data));
    return ERR_OK;
}

static enum err_code read_header(struct safetensors *s, struct err *e)
{
    struct le_reader r = { .p = s->p, .n = s->n_bytes };
    uint64_t n_header = le_u64(&r);
    if (r.failed) return err_set(e, ERR_CORRUPT, "the file has fewer than 8 bytes");
    if (n_header > SAFETENSORS_HEADER_BYTES_MAX || n_header > s->n_bytes - 8)
        return err_set(
            e, ERR_CORRUPT, "a header of %llu bytes does not fit", (unsigned long long)n_header);
    json_error_t je;
    s->header = json_loadb((const char *)s->p + 8, n_header, JSON_REJECT_DUPLICATES, &je);
    if (!s->header && json_error_code(&je) == json_error_out_of_memory)
        return err_set(e, ERR_NOMEM, "no memory for the header");
    if (!s->header) return err_set(e, ERR_CORRUPT, "the header is not JSON: %s", je.text);
    if (!json_is_object(s->header)) return err_set(e, ERR_CORRUPT, "the header is not an object");

    const unsigned char *data = s->p + 8 + n_header;
    size_t n_data = s->n_bytes - 8 - n_header, len;
    s->tensors = mem_alloc(json_object_size(s->header), sizeof *s->tensors);
    if (!s->tensors) return err_set(e, ERR_NOMEM, "no memory for the header");
    const char *name;
    json_t *j;
    json_object_keylen_foreach(s->header, name, len, j)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        struct safetensor *t = &s->tensors[s->n];
        *t = (struct safetensor){ .name = { name, len } };
        TRY(read_tensor(t, j, data, n_data, e));
        s->n++;
    }
    return check_tiling(s, data, n_data, e);
}

enum err_code safetensors_open(const char *path, struct safetensors **ret_s, struct err *e)
{
    struct safetensors *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory to open %s", path);
    enum err_code code = file_map_open(path, &s->map, e);
    if (code == ERR_OK) {
        s->p = s->map.p;
        s->n_bytes = s->map.n;
        code = read_header(s, e);
        if (code != ERR_OK && e) err_wrap(e, "%s", path);
    }
    if (code != ERR_OK) {
        safetensors_close(s);
        return code;
    }
    *ret_s = s;
    return ERR_OK;
}

enum err_code safetensors_open_memory(
    const void *p, size_t n, struct safetensors **ret_s, struct err *e)
{
    struct safetensors *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory to read tensors");
    s->p = p;
    s->n_bytes = n;
    enum err_code code = read_header(s, e);
    if (code != ERR_OK) {
        safetensors_close(s);
        return code;
    }
    *ret_s = s;
    return ERR_OK;
}

void safetensors_close(struct safetensors *s)
{
    if (!s) return;
    file_map_close(&s->map);
    json_decref(s->header);
    mem_free(s->tensors);
    mem_free(s);
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->n;
}

const struct safetensor *safetensors_at(const struct safetensors *s, size_t i)
{
    return i < s->n ? &s->tensors[i] : NULL;
}

const struct safetensor *safetensors_find(const struct safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_is(s->tensors[i].name, name)) return &s->tensors[i];
    return NULL;
}
