/* Layer: bench. May include: libc.
 *
 * What this process has in memory.
 */
#pragma once

#include <stddef.h>

struct memory {
    size_t anon_kib; /* its own: heap, stacks, private copies */
    size_t file_kib; /* mapped files */
};

void memory_read(struct memory *ret);
