/* Layer: base. May include: libc.
 *
 * Two hash maps, open addressing with linear probing, load ≤ 0.7, growing by
 * doubling; deletion by backward shift (no tombstones).
 *
 * Threads: one writer and no reader at the same time, or readers only; owners lock.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- uint64_t -> uint32_t ---- */
struct u64_map {
    uint64_t *keys;
    uint32_t *values;
    uint8_t *used;
    size_t n, cap;
};
void u64_map_init(struct u64_map *m);
void u64_map_done(struct u64_map *m);
MUST_USE enum err_code u64_map_reserve(struct u64_map *m, size_t n);
/** Insert or replace. ERR_NOMEM leaves the map as it was. */
MUST_USE enum err_code u64_map_set(struct u64_map *m, uint64_t key, uint32_t value);
bool u64_map_get(const struct u64_map *m, uint64_t key, uint32_t *ret_value);
/** false: was not there. */
bool u64_map_remove(struct u64_map *m, uint64_t key);
/** Give memory back if the map is at most an eighth full; it stays as it is where there is no memory to do so. */
void u64_map_shrink(struct u64_map *m);

/* ---- bytes -> uint32_t; the map owns copies of the keys in one arena; no removal ---- */
struct str_map;
/** seed: from a random source where keys come from outside. NULL: no memory. */
struct str_map *str_map_new(size_t expected, uint64_t seed);
void str_map_free(struct str_map *m);
MUST_USE enum err_code str_map_set(struct str_map *m, struct str key, uint32_t value);
bool str_map_get(const struct str_map *m, struct str key, uint32_t *ret_value);
size_t str_map_count(const struct str_map *m);

/** 64-bit hash of bytes (wyhash-style mixing), keyed; not cryptographic. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
