#include "core/learn/text_cache.h"

#include "base/mem.h"

#include <string.h>

void text_cache_init(struct text_cache *c, size_t bytes_max)
{
    *c = (struct text_cache){ .bytes_max = bytes_max };
    u64_map_init(&c->by_hash);
}

void text_cache_done(struct text_cache *c)
{
    for (size_t i = 0; i < c->n; i++)
        for (struct text_entry *at = c->first[i], *next; at; at = next) {
            next = at->next;
            mem_free(at);
        }
    mem_free(c->first);
    if (c->by_hash.keys) u64_map_done(&c->by_hash);
    *c = (struct text_cache){ 0 };
}

static uint64_t key_of(const uint32_t *ids, size_t n)
{
    return hash_bytes(ids, n * sizeof *ids, 0);
}

struct text_entry *text_cache_find(const struct text_cache *c, const uint32_t *ids, size_t n)
{
    uint32_t place;
    if (c->n == 0 || !u64_map_get(&c->by_hash, key_of(ids, n), &place)) return NULL;
    struct text_entry *at = c->first[place];
    while (at && (at->n_ids != n || memcmp(at->ids, ids, n * sizeof *ids) != 0))
        at = at->next;
    return at;
}

/* Entry, values and ids are one block; the values come first, they are aligned most. */
static struct text_entry *entry_new(
    struct text_cache *c, const uint32_t *ids, size_t n, size_t n_values)
{
    size_t values = 0, all = 0;
    if (!mem_mul(n_values, sizeof(float), &values) ||
        !mem_add(values, sizeof(struct text_entry) + n * sizeof *ids, &all) ||
        all > c->bytes_max - c->bytes)
        return NULL;
    struct text_entry *entry = mem_alloc(all, 1);
    if (!entry) return NULL;
    float *at = (float *)(entry + 1);
    *entry = (struct text_entry){ .ids = (uint32_t *)(at + n_values), .n_ids = n, .values = at };
    memcpy(entry->ids, ids, n * sizeof *ids);
    c->bytes += all;
    return entry;
}

static bool chain(struct text_cache *c, struct text_entry *entry, uint64_t key)
{
    uint32_t place;
    if (u64_map_get(&c->by_hash, key, &place)) {
        entry->next = c->first[place];
        c->first[place] = entry;
        return true;
    }
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 256;
        struct text_entry **grown = mem_realloc(c->first, cap, sizeof *grown);
        if (!grown) return false;
        c->first = grown;
        c->cap = cap;
    }
    if (c->n == UINT32_MAX || u64_map_set(&c->by_hash, key, (uint32_t)c->n) != ERR_OK) return false;
    c->first[c->n++] = entry;
    return true;
}

struct text_entry *text_cache_add(
    struct text_cache *c, const uint32_t *ids, size_t n, size_t n_values)
{
    size_t before = c->bytes;
    struct text_entry *entry = entry_new(c, ids, n, n_values);
    if (!entry) {
        c->full = true;
        return NULL;
    }
    if (chain(c, entry, key_of(ids, n))) return entry;
    mem_free(entry);
    c->bytes = before;
    return NULL;
}
