/* The bytes of a model's weights. Whatever opens must lie within the file: all of it is read. */
#include "core/model/safetensors.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_tensor(
    const struct safetensors *s, const struct safetensor *t, const uint8_t *data, size_t size)
{
    const unsigned char *p = t->data;
    unsigned sum = 0;
    FUZZ_CHECK(p >= data && (size_t)(p - data) <= size);
    FUZZ_CHECK(t->size_bytes <= size - (size_t)(p - data));
    for (size_t i = 0; i < t->size_bytes; i++)
        sum += p[i];
    FUZZ_CHECK(sum <= 255 * t->size_bytes);

    size_t n = 1;
    FUZZ_CHECK(t->n_dims <= TENSOR_DIMS_MAX);
    for (size_t i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    FUZZ_CHECK(n == t->n_elements);
    FUZZ_CHECK(t->dtype == DTYPE_OTHER || n * dtype_size_bytes(t->dtype) == t->size_bytes);

    if (!memchr(t->name.p, '\0', t->name.n)) FUZZ_CHECK(safetensors_find(s, t->name.p) == t);
    float values[16];
    bool is_float = t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
    for (size_t at = 0; at < n; at += 16) {
        size_t k = n - at < 16 ? n - at : 16;
        FUZZ_CHECK((safetensor_to_f32(t, at, k, values, NULL) == ERR_OK) == is_float);
        if (!is_float) break;
    }
    FUZZ_CHECK(safetensor_to_f32(t, n, 1, values, NULL) != ERR_OK);
}

FUZZ_TARGET(safetensors)
{
    struct safetensors *s;
    struct err e = ERR_INIT;
    enum err_code code = safetensors_open_memory(data, size, &s, &e);
    if (code != ERR_OK) {
        FUZZ_CHECK(code == ERR_CORRUPT && e.code == code && e.msg[0]);
        return;
    }
    size_t total = 0;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        check_tensor(s, safetensors_at(s, i), data, size);
        total += safetensors_at(s, i)->size_bytes;
    }
    FUZZ_CHECK(total <= size - 8);
    safetensors_close(s);
}
