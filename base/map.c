/* Hash maps.
 *
 * Linear probing over a power of two. Removal shifts the entries behind the hole back to where they want to
 * be, so there are no tombstones and a map that is filled and emptied again and again does not slow down.
 * Load stays at or below 7/10.
 */
#include "base/map.h"

#include "base/arena.h"
#include "base/mem.h"

#include <string.h>

enum { CAP_MIN = 16 };

/* 64x64 -> 128 bits, both halves folded: every input bit reaches every output bit. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t r = (__uint128_t)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint64_t read_bytes(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

/* Each factor of a product is masked by a value that depends on the seed: with fixed masks a chosen block
 * makes one factor 0, and then the other one no longer matters, whatever the seed. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t mask_a = fold(seed ^ UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xD6E8FEB86659FD93));
    uint64_t mask_b = fold(seed ^ UINT64_C(0xC2B2AE3D27D4EB4F), UINT64_C(0xA0761D6478BD642F));
    uint64_t h = seed ^ n;
    size_t left = n;
    for (; left >= 16; left -= 16, p += 16)
        h = fold(read_bytes(p, 8) ^ mask_a, read_bytes(p + 8, 8) ^ mask_b ^ h) +
            (h << 23 | h >> 41);
    if (left > 8)
        h = fold(read_bytes(p, 8) ^ mask_a, read_bytes(p + 8, left - 8) ^ mask_b ^ h) +
            (h << 23 | h >> 41);
    else if (left > 0)
        h = fold(read_bytes(p, left) ^ mask_a, mask_b ^ h) + (h << 23 | h >> 41);
    return fold(h ^ mask_b, (uint64_t)n ^ UINT64_C(0xE7037ED1A0B428DB));
}

/* Smallest capacity that holds n at load 7/10; false on overflow. */
static bool cap_for(size_t n, size_t *ret)
{
    size_t cap = CAP_MIN, want;
    if (!mem_mul(n, 10, &want)) return false;
    want = want / 7 + 1;
    while (cap < want)
        if (!mem_mul(cap, 2, &cap)) return false;
    *ret = cap;
    return true;
}

static bool has_room(size_t n, size_t cap)
{
    return cap != 0 && n <= cap / 10 * 7 + cap % 10 * 7 / 10;
}

/* ---- uint64_t -> uint32_t ---- */

static uint64_t hash_u64(uint64_t key)
{
    return fold(key ^ UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xD6E8FEB86659FD93));
}

void u64_map_init(struct u64_map *m)
{
    *m = (struct u64_map){ 0 };
}

void u64_map_done(struct u64_map *m)
{
    mem_free(m->keys);
    mem_free(m->values);
    mem_free(m->used);
    *m = (struct u64_map){ 0 };
}

/* Slot of the key, or the empty one where it would go. The map has an empty slot. */
static size_t u64_slot(const struct u64_map *m, uint64_t key)
{
    size_t at = (size_t)hash_u64(key) & (m->cap - 1);
    while (m->used[at] && m->keys[at] != key)
        at = (at + 1) & (m->cap - 1);
    return at;
}

static enum err_code u64_map_resize(struct u64_map *m, size_t cap)
{
    struct u64_map to = { .cap = cap };
    to.keys = mem_alloc(cap, sizeof *to.keys);
    to.values = mem_alloc(cap, sizeof *to.values);
    to.used = mem_zalloc(cap, sizeof *to.used);
    if (!to.keys || !to.values || !to.used) {
        u64_map_done(&to);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->used[i]) continue;
        size_t at = u64_slot(&to, m->keys[i]);
        to.keys[at] = m->keys[i];
        to.values[at] = m->values[i];
        to.used[at] = 1;
    }
    to.n = m->n;
    u64_map_done(m);
    *m = to;
    return ERR_OK;
}

enum err_code u64_map_reserve(struct u64_map *m, size_t n)
{
    size_t cap;
    if (n < m->n) n = m->n;
    if (!cap_for(n, &cap)) return ERR_NOMEM;
    return cap > m->cap ? u64_map_resize(m, cap) : ERR_OK;
}

void u64_map_shrink(struct u64_map *m)
{
    size_t cap;
    if (m->cap <= CAP_MIN || m->n > m->cap / 8 || !cap_for(m->n * 2, &cap)) return;
    (void)(cap < m->cap ? u64_map_resize(m, cap) : ERR_OK);
}

enum err_code u64_map_set(struct u64_map *m, uint64_t key, uint32_t value)
{
    size_t at = 0;
    if (m->cap) at = u64_slot(m, key);
    if (!m->cap || !m->used[at]) {
        if (!has_room(m->n + 1, m->cap)) {
            TRY(u64_map_reserve(m, m->n + 1));
            at = u64_slot(m, key);
        }
        m->n++;
    }
    m->keys[at] = key;
    m->values[at] = value;
    m->used[at] = 1;
    return ERR_OK;
}

bool u64_map_get(const struct u64_map *m, uint64_t key, uint32_t *ret_value)
{
    if (m->n == 0) return false;
    size_t at = u64_slot(m, key);
    if (!m->used[at]) return false;
    *ret_value = m->values[at];
    return true;
}

bool u64_map_remove(struct u64_map *m, uint64_t key)
{
    if (m->n == 0) return false;
    size_t hole = u64_slot(m, key), mask = m->cap - 1;
    if (!m->used[hole]) return false;
    for (size_t at = (hole + 1) & mask; m->used[at]; at = (at + 1) & mask) {
        /* An entry may fill the hole unless its home lies behind the hole. */
        size_t home = (size_t)hash_u64(m->keys[at]) & mask;
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        m->keys[hole] = m->keys[at];
        m->values[hole] = m->values[at];
        hole = at;
    }
    m->used[hole] = 0;
    m->n--;
    return true;
}

/* ---- bytes -> uint32_t ---- */

struct entry {
    const char *p; /* NULL: empty slot */
    size_t n;
    uint32_t hash, value;
};

struct str_map {
    struct entry *slots;
    struct arena *keys;
    size_t n, cap;
    uint64_t seed;
};

struct str_map *str_map_new(size_t expected, uint64_t seed)
{
    struct str_map *m = mem_zalloc(1, sizeof *m);
    if (!m) return NULL;
    m->seed = seed;
    m->keys = arena_new(4096, 0);
    if (cap_for(expected, &m->cap)) m->slots = mem_zalloc(m->cap, sizeof *m->slots);
    if (!m->keys || !m->slots) {
        str_map_free(m);
        return NULL;
    }
    return m;
}

void str_map_free(struct str_map *m)
{
    if (!m) return;
    arena_free(m->keys);
    mem_free(m->slots);
    mem_free(m);
}

static size_t str_slot(const struct entry *slots, size_t cap, struct str key, uint32_t hash)
{
    size_t at = hash & (cap - 1);
    while (slots[at].p) {
        if (slots[at].hash == hash && str_eq((struct str){ slots[at].p, slots[at].n }, key)) break;
        at = (at + 1) & (cap - 1);
    }
    return at;
}

static enum err_code str_map_grow(struct str_map *m)
{
    size_t cap;
    if (!mem_mul(m->cap, 2, &cap)) return ERR_NOMEM;
    struct entry *slots = mem_zalloc(cap, sizeof *slots);
    if (!slots) return ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        const struct entry *from = &m->slots[i];
        if (from->p)
            slots[str_slot(slots, cap, (struct str){ from->p, from->n }, from->hash)] = *from;
    }
    mem_free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return ERR_OK;
}

enum err_code str_map_set(struct str_map *m, struct str key, uint32_t value)
{
    uint32_t hash = (uint32_t)hash_bytes(key.p, key.n, m->seed);
    size_t at = str_slot(m->slots, m->cap, key, hash);
    if (m->slots[at].p) {
        m->slots[at].value = value;
        return ERR_OK;
    }
    if (!has_room(m->n + 1, m->cap)) {
        TRY(str_map_grow(m));
        at = str_slot(m->slots, m->cap, key, hash);
    }
    const char *copy = arena_strndup(m->keys, key.p, key.n);
    if (!copy) return ERR_NOMEM;
    m->slots[at] = (struct entry){ .p = copy, .n = key.n, .hash = hash, .value = value };
    m->n++;
    return ERR_OK;
}

bool str_map_get(const struct str_map *m, struct str key, uint32_t *ret_value)
{
    size_t at = str_slot(m->slots, m->cap, key, (uint32_t)hash_bytes(key.p, key.n, m->seed));
    if (!m->slots[at].p) return false;
    *ret_value = m->slots[at].value;
    return true;
}

size_t str_map_count(const struct str_map *m)
{
    return m->n;
}
