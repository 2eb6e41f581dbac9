#include "engine/slot_set.h"

#include <roaring/roaring.h>

/* `struct slot_set` is never defined: a slot_set IS a roaring_bitmap_t behind another name, so that
 * no wrapper is allocated for the many small sets of a column. */
static roaring_bitmap_t *r(struct slot_set *s)
{
    return (roaring_bitmap_t *)s;
}
static const roaring_bitmap_t *rc(const struct slot_set *s)
{
    return (const roaring_bitmap_t *)s;
}

struct slot_set *slot_set_new(void)
{
    return (struct slot_set *)roaring_bitmap_create();
}

void slot_set_free(struct slot_set *s)
{
    if (s) roaring_bitmap_free(r(s));
}

struct slot_set *slot_set_copy(const struct slot_set *s)
{
    return (struct slot_set *)roaring_bitmap_copy(rc(s));
}

void slot_set_add(struct slot_set *s, uint32_t slot)
{
    roaring_bitmap_add(r(s), slot);
}

void slot_set_remove(struct slot_set *s, uint32_t slot)
{
    roaring_bitmap_remove(r(s), slot);
}

bool slot_set_contains(const struct slot_set *s, uint32_t slot)
{
    return roaring_bitmap_contains(rc(s), slot);
}

size_t slot_set_count(const struct slot_set *s)
{
    return (size_t)roaring_bitmap_get_cardinality(rc(s));
}

size_t slot_set_size_bytes(const struct slot_set *s)
{
    return roaring_bitmap_size_in_bytes(rc(s));
}

void slot_set_and(struct slot_set *a, const struct slot_set *b)
{
    roaring_bitmap_and_inplace(r(a), rc(b));
}

void slot_set_or(struct slot_set *a, const struct slot_set *b)
{
    roaring_bitmap_or_inplace(r(a), rc(b));
}

void slot_set_and_not(struct slot_set *a, const struct slot_set *b)
{
    roaring_bitmap_andnot_inplace(r(a), rc(b));
}

size_t slot_set_read(const struct slot_set *s, uint32_t first, uint32_t *ret, size_t max)
{
    roaring_uint32_iterator_t it;

    if (max == 0) return 0;
    roaring_init_iterator(rc(s), &it);
    if (first > 0 && !roaring_move_uint32_iterator_equalorlarger(&it, first)) return 0;
    return roaring_read_uint32_iterator(&it, ret, max > UINT32_MAX ? UINT32_MAX : (uint32_t)max);
}

enum err_code slot_set_allow(
    const struct slot_set *s, struct arena *a, struct index_allow *ret, struct err *e)
{
    uint32_t chunk[1024];
    size_t count = slot_set_count(s), n_bits, got, i;
    roaring_uint32_iterator_t it;
    uint64_t *bits;

    if (count == 0) {
        *ret = (struct index_allow){ .bits = NULL, .n_bits = 0, .count = 0 };
        return ERR_OK;
    }
    n_bits = (size_t)roaring_bitmap_maximum(rc(s)) + 1;
    bits = arena_zalloc(a, (n_bits + 63) / 64, sizeof *bits);
    if (!bits) return err_set(e, ERR_NOMEM, "no memory for a filter of %zu slots", n_bits);
    roaring_init_iterator(rc(s), &it);
    while ((got = roaring_read_uint32_iterator(&it, chunk, 1024)) > 0)
        for (i = 0; i < got; i++)
            bits[chunk[i] >> 6] |= UINT64_C(1) << (chunk[i] & 63);
    *ret = (struct index_allow){ .bits = bits, .n_bits = n_bits, .count = count };
    return ERR_OK;
}
