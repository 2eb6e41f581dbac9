/* Layer: engine. May include: core, index, catalog, base.
 *
 * Content hashes and random seeds; the only place of the engine that knows libsodium.
 */
#pragma once

#include "base/err.h"
#include "catalog/catalog.h"

#include <stdint.h>

/** Once, before threads start. INTERNAL: no source of randomness. */
MUST_USE enum err_code hash_start(struct err *e);
/** BLAKE2b-256 of n bytes. Any thread. */
void hash_content(const void *p, size_t n, unsigned char ret[CATALOG_HASH_BYTES]);
enum { HASH_SHA256_CHARS = 64 };
/** SHA-256 of a file, in hex: what checksum files and package indexes have. Errors: NOT_FOUND, IO, NOMEM. Any thread. */
MUST_USE enum err_code hash_sha256_file(
    const char *path, char ret[HASH_SHA256_CHARS + 1], struct err *e);
/** 64 random bits: keys of hash maps that hold outside keys. Any thread. */
uint64_t hash_seed(void);
