/* Layer: core. May include: base. Internal to core/learn.
 *
 * What the frozen part of a model makes of a text, kept by the text's tokens.
 *
 * It grows up to its limit and then keeps what it has: which texts those are decides how long a run takes, never
 * what comes out of it.
 *
 * Threads: one at a time; values of an entry may be written by another thread until it is marked ready.
 */
#pragma once

#include "base/map.h"

struct text_entry {
    struct text_entry *next; /* of the same hash */
    uint32_t *ids;
    size_t n_ids;
    bool ready; /* are the values there? */
    float *values;
};

struct text_cache {
    struct u64_map by_hash; /* to a place in `first` */
    struct text_entry **first;
    size_t n, cap;
    size_t bytes, bytes_max;
    bool full; /* something did not fit */
};

void text_cache_init(struct text_cache *c, size_t bytes_max);
/** Accepts a zeroed struct. */
void text_cache_done(struct text_cache *c);
/** NULL: not there. */
struct text_entry *text_cache_find(const struct text_cache *c, const uint32_t *ids, size_t n);
/** An entry with room for n_values, not ready yet. NULL: the limit is reached, or memory has an end; then it has to
 * be done without. The text must not be there. */
struct text_entry *text_cache_add(
    struct text_cache *c, const uint32_t *ids, size_t n, size_t n_values);
