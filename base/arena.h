/* Layer: base. May include: libc, pthread.
 *
 * Bump allocator with mark and rewind: the memory of one request or one
 * forward pass. Nothing in it is freed singly. Blocks grow geometrically;
 * arena_rewind keeps them for the next use, arena_clear keeps only the first.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/str.h"

#include <stddef.h>

struct arena;
struct arena_mark {
    void *block;
    size_t used;
};

/** limit_bytes: most that may be handed out in all (then NULL); 0 means no limit. NULL: no memory. */
struct arena *arena_new(size_t first_block_bytes, size_t limit_bytes);
/** Accepts NULL. */
void arena_free(struct arena *a);
/** Forget everything; keeps the first block. Marks taken before are void. */
void arena_clear(struct arena *a);

/** n elements of `size` bytes, aligned to 16, not initialised. NULL: overflow, limit or no memory. */
void *arena_alloc(struct arena *a, size_t n, size_t size);
void *arena_zalloc(struct arena *a, size_t n, size_t size);
/** align: a power of two ≤ 4096. */
void *arena_alloc_aligned(struct arena *a, size_t align, size_t n, size_t size);
/** NUL-terminated copy. */
char *arena_strndup(struct arena *a, const char *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** The present end of what is handed out. */
struct arena_mark arena_mark(const struct arena *a);
/** Everything handed out since the mark is gone. Marks nest. */
void arena_rewind(struct arena *a, struct arena_mark m);

/** Bytes handed out since the start or the last clear, padding counted. */
size_t arena_used_bytes(const struct arena *a);
/** The most that arena_used_bytes() ever was. */
size_t arena_high_water_bytes(const struct arena *a);
