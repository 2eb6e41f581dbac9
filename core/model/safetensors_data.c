/* Elements in and out: conversion to binary32, and writing a file.
 *
 * The writer puts types with larger elements first, so that every tensor is
 * aligned as its elements are, and pads the header with spaces to a multiple of
 * 8; the same model gives the same bytes.
 */
#include "core/model/safetensors_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"

#include <string.h>

/* ---- to f32 ---- */

static uint16_t u16_at(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const unsigned char *p)
{
    return u16_at(p) | (uint32_t)u16_at(p + 2) << 16;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

enum err_code safetensor_to_f32(
    const struct safetensor *t, size_t first, size_t n, float *out, struct err *e)
{
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return err_set(e, ERR_UNPROCESSABLE,
            "tensor \"%.*s\" is of type %s, expected F32, F16 or BF16",
            (int)(t->name.n < 80 ? t->name.n : 80), t->name.p, dtype_name(t->dtype));
    if (first > t->n_elements || n > t->n_elements - first)
        return err_set(e, ERR_INVALID, "elements %zu to %zu of a tensor of %zu", first, first + n,
            t->n_elements);
    const unsigned char *p = (const unsigned char *)t->data + first * dtype_size_bytes(t->dtype);
    if (t->dtype == DTYPE_F32)
        for (size_t i = 0; i < n; i++)
            out[i] = float_of_bits(u32_at(p + 4 * i));
    else if (t->dtype == DTYPE_BF16)
        for (size_t i = 0; i < n; i++)
            out[i] = float_of_bits((uint32_t)u16_at(p + 2 * i) << 16);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = f16_to_f32(u16_at(p + 2 * i));
    return ERR_OK;
}

/* ---- writing ---- */

static enum err_code size_of_out(const struct safetensor_out *t, size_t *ret, struct err *e)
{
    size_t bytes = dtype_size_bytes(t->dtype);
    if (bytes == 0 || t->n_dims > TENSOR_DIMS_MAX || strcmp(t->name, "__metadata__") == 0)
        return err_set(e, ERR_INVALID,
            "tensor \"%.80s\" has a type, shape or name that cannot be written", t->name);
    for (size_t i = 0; i < t->n_dims; i++)
        if (!mem_mul(bytes, t->dims[i], &bytes))
            return err_set(e, ERR_INVALID, "tensor \"%.80s\": its shape overflows", t->name);
    *ret = bytes;
    return ERR_OK;
}

static void put_json_string(struct buf *b, const char *z)
{
    buf_putc(b, '"');
    for (; *z; z++) {
        unsigned char c = (unsigned char)*z;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            buf_printf(b, "\\u%04x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void put_entry(struct buf *b, const struct safetensor_out *t, size_t begin, size_t end)
{
    buf_putc(b, ',');
    put_json_string(b, t->name);
    buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
    for (size_t i = 0; i < t->n_dims; i++)
        buf_printf(b, "%s%zu", i ? "," : "", t->dims[i]);
    buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

/* Everything but the data, and in which order that follows. */
static enum err_code make_header(const struct safetensor_out *t, size_t n, struct buf *json,
    size_t *order, size_t *ret_data_bytes, struct err *e)
{
    size_t at = 0, n_ordered = 0;
    buf_puts(json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t size = 8; size > 0; size /= 2) {
        for (size_t i = 0; i < n; i++) {
            size_t bytes, end;
            TRY(size_of_out(&t[i], &bytes, e));
            if (dtype_size_bytes(t[i].dtype) != size) continue;
            if (!mem_add(at, bytes, &end)) return err_set(e, ERR_INVALID, "the file is too large");
            for (size_t j = 0; j < n_ordered; j++)
                if (strcmp(t[order[j]].name, t[i].name) == 0)
                    return err_set(e, ERR_INVALID, "tensor name \"%.80s\" is taken", t[i].name);
            put_entry(json, &t[i], at, end);
            order[n_ordered++] = i;
            at = end;
        }
    }
    buf_putc(json, '}');
    while (json->n % 8 != 0 && json->failed == ERR_OK)
        buf_putc(json, ' ');
    *ret_data_bytes = at;
    return buf_check(json, e);
}

static enum err_code write_file(const char *path, const struct safetensor_out *t, size_t n,
    struct buf *json, size_t *order, struct err *e)
{
    size_t data_bytes = 0, total;
    TRY(make_header(t, n, json, order, &data_bytes, e));
    if (!mem_add(data_bytes, 8 + json->n, &total))
        return err_set(e, ERR_INVALID, "the file is too large");
    AUTO_FREE char *file = mem_alloc(total, 1);
    if (!file) return err_set(e, ERR_NOMEM, "no memory for %zu bytes", total);
    for (unsigned i = 0; i < 8; i++)
        file[i] = (char)((uint64_t)json->n >> (8 * i));
    memcpy(file + 8, json->p, json->n);
    char *to = file + 8 + json->n;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = 0;
        TRY(size_of_out(&t[order[i]], &bytes, e));
        if (bytes) memcpy(to, t[order[i]].data, bytes);
        to += bytes;
    }
    return file_write_atomic(path, file, total, e);
}

enum err_code safetensors_write(
    const char *path, const struct safetensor_out *t, size_t n, struct err *e)
{
    struct buf json = BUF_INIT(SAFETENSORS_HEADER_BYTES_MAX);
    size_t *order = mem_alloc(n, sizeof *order);
    enum err_code code = order ? write_file(path, t, n, &json, order, e)
                               : err_set(e, ERR_NOMEM, "no memory to write %s", path);
    buf_done(&json);
    mem_free(order);
    return code;
}
