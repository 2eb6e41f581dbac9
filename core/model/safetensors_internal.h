/* Layer: core. May include: base. Internal to core/model.
 *
 * The names that the safetensors format has for element types.
 */
#pragma once

#include "core/model/safetensors.h"

enum { SAFETENSORS_HEADER_BYTES_MAX = 16 << 20 };

struct safetensors_dtype {
    const char *name;
    enum dtype dtype;
    size_t size_bytes;
};
/** NULL: the format has no such type. */
const struct safetensors_dtype *safetensors__dtype(const char *name);
