/* Layer: base. May include: libc, xxhash.
 *
 * A checksum against damage: fast enough for gigabytes at a start. Not cryptographic.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** XXH3 with 64 bits and seed 0: the same on every machine. Threads: any. */
uint64_t checksum64(const void *p, size_t n);
