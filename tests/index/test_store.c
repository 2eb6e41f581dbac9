/* Layout, block boundaries, states and counters, vacant places. */
#include "index/index_internal.h"

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static struct index *fresh(size_t dim, size_t m)
{
    struct index_options o = small_options(dim, INDEX_L2);
    o.m = m;
    return open_index(&o);
}

/** From what two nodes of a block have, the bytes of all of them: [from, end). */
struct part {
    uintptr_t from, end;
};

static struct part part_of(const void *first, const void *last, size_t entry)
{
    return (struct part){ (uintptr_t)first, (uintptr_t)last + entry };
}

START_TEST(parts_of_a_block_do_not_overlap)
{
    static const size_t dims[] = { 1, 16, 17, 31, 32, 255, 256, 257, 1000, 4096 };
    static const size_t ms[] = { 4, 5, 16, 64 };
    for (size_t i = 0; i < 10 * 4 * 2; i++) {
        struct index_options o = small_options(dims[i / 8], INDEX_L2);
        o.m = ms[i / 2 % 4];
        o.bits = i % 2 ? 12 : 24;
        struct index *ix = open_index(&o);
        float v[INDEX_DIM_MAX] = { 1 };
        ck_assert_ok(index_put(ix, 1, v, NULL));
        const uint32_t end = ix->block_mask;
        struct part parts[] = {
            part_of(index__block(ix, 0), index__block(ix, 0), 0),
            part_of(index__row(ix, 0), index__row(ix, end), sizeof(struct row_head) + o.dim),
            part_of(index__low(ix, 0), index__low(ix, end),
                o.dim < DIM_BY_VALUE ? 4 * o.dim
                    : o.bits == 24   ? 2 * o.dim
                                     : (o.dim + 1) / 2),
            part_of((void *)index__links(ix, 0, 0), (void *)index__links(ix, end, 0), ix->m0 * 4),
            part_of(index__meta(ix, 0), index__meta(ix, end), sizeof(struct node_meta)),
            part_of((void *)index__state_at(ix, 0), (void *)index__state_at(ix, end), 2),
        };
        ck_assert_uint_ge(end + 1, 256);
        for (size_t p = 1; p < 6; p++) {
            ck_assert_uint_ge(parts[p].from, parts[p - 1].end);
            if (p < 5) ck_assert_uint_eq(parts[p].from % 16, 0);
        }
        ck_assert_uint_le(parts[5].end - parts[0].from, ix->shape.bytes);
        ck_assert_uint_le(ix->shape.bytes, 17 << 20);
        ck_assert_uint_eq(ix->shape.bytes % 4096, 0);
        index_free(ix);
    }
}
END_TEST

/** Over several blocks and several directories; what was written first is still there. */
START_TEST(blocks_never_move)
{
    struct index *ix = fresh(3, 4);
    struct index_stats st;
    size_t last = 0, step = (size_t)1 << ix->block_shift, n = 20 * step;
    ck_assert_ok(index_put(ix, 0, ((float[]){ 0, 1, 2 }), NULL));
    const char *first = index__row(ix, 0);
    for (uint64_t id = 1; id < n; id++) {
        const float v[3] = { (float)id, 1, 2 };
        ck_assert_ok(index_put(ix, id, v, NULL));
        if (id % step != 0) continue;
        index_stats(ix, &st);
        ck_assert_uint_gt(st.size_bytes, last);
        last = st.size_bytes;
    }
    ck_assert_ptr_eq(first, index__row(ix, 0));
    ck_assert_uint_eq(ix->n_blocks, 20);
    for (uint64_t id = 0; id < n; id += 17) {
        float got[3], want[3] = { (float)id, 1, 2 };
        ck_assert_ok(index_get(ix, id, got, NULL));
        ck_assert_near(got, want, 3, 1e-6 + 1e-6 * (double)id, 0);
    }
    must_verify(ix);
    index_free(ix);
}
END_TEST

static void has(const struct index *ix, size_t live, size_t pending, size_t deleted)
{
    struct index_stats st;
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, live);
    ck_assert_uint_eq(st.pending, pending);
    ck_assert_uint_eq(st.deleted, deleted);
}

START_TEST(counters_follow_the_states)
{
    struct index *ix = fresh(1, 4);
    uint32_t node;
    uint64_t at;
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_ok(index_put(ix, id, ((float[]){ (float)id }), NULL));
    ck_assert(tail__claim(ix, &node, &at) && node == 0 && at == 0);
    ck_assert(index_delete(ix, 0)); /* while it is being linked */
    has(ix, 3, 3, 1);
    tail__linked(ix, node);
    has(ix, 3, 3, 1);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 1);
    ck_assert(index_delete(ix, 2)); /* while it waits */
    ck_assert(tail__claim(ix, &node, &at) && node == 1);
    tail__linked(ix, node);
    ck_assert_uint_eq(atomic_load(&ix->tail.watermark), 3);
    ck_assert(tail__claim(ix, &node, &at) && node == 3 && at == 3);
    ck_assert(!tail__claim(ix, &node, &at));
    ck_assert(index_delete(ix, 1)); /* after it was linked */
    tail__linked(ix, 3);
    has(ix, 1, 0, 3);
    ck_assert_ok(index_put(ix, 3, ((float[]){ 9 }), NULL)); /* replaced */
    has(ix, 1, 1, 4);
    index_free(ix);
}
END_TEST

static uint32_t allot(struct index *ix)
{
    uint32_t node = NODE_NONE;
    struct err e = ERR_INIT;
    rwlock_wrlock(&ix->ids_lock);
    ck_assert_ok(store__allot(ix, &node, &e), &e);
    rwlock_unlock(&ix->ids_lock);
    return node;
}

static void vacate(struct index *ix, uint32_t node)
{
    rwlock_wrlock(&ix->ids_lock);
    store__vacate(ix, node);
    rwlock_unlock(&ix->ids_lock);
}

/** Lowest block first, last vacated first; new places only when none is vacant. */
START_TEST(vacant_places_are_taken_first)
{
    struct index *ix = fresh(700, 4);
    const uint32_t block = ix->block_mask + 1, n = 3 * block;
    for (uint32_t i = 0; i < n; i++)
        ck_assert_uint_eq(allot(ix), i);
    vacate(ix, 2 * block + 5);
    vacate(ix, block + 7);
    vacate(ix, 9);
    vacate(ix, block + 8);
    ck_assert_uint_eq(allot(ix), 9);
    ck_assert_uint_eq(allot(ix), block + 8);
    vacate(ix, 3);
    ck_assert_uint_eq(allot(ix), 3);
    ck_assert_uint_eq(allot(ix), block + 7);
    ck_assert_uint_eq(allot(ix), 2 * block + 5);
    ck_assert_uint_eq(allot(ix), n);
    ck_assert_uint_eq(atomic_load(&ix->vacant), 0);
    index_free(ix);
}
END_TEST

/** An allotted place has empty lists and nothing of who had it before. */
START_TEST(a_place_is_handed_over_clean)
{
    struct index *ix = fresh(4, 4);
    uint32_t node = allot(ix), other = allot(ix);
    struct node_meta *m = index__meta(ix, node);
    m->id = 77;
    m->upper = 12;
    atomic_store(index__state_at(ix, node),
        NODE_USED | NODE_LINKED | NODE_CLAIMED | NODE_DELETED | 3 << STATE_LEVEL_SHIFT);
    for (size_t i = 0; i < ix->m0; i++)
        atomic_store(&index__links(ix, node, 0)[i], other);
    vacate(ix, node);
    ck_assert_uint_eq(index__state(ix, node), 0);
    ck_assert_uint_eq(allot(ix), node);
    ck_assert_uint_eq(index__state(ix, node), 0);
    ck_assert(m->id == 0 && m->upper == NODE_NONE && atomic_load(&m->twin) == NODE_NONE);
    for (size_t i = 0; i < ix->m0; i++)
        ck_assert_uint_eq(atomic_load(&index__links(ix, node, 0)[i]), NODE_NONE);
    index_free(ix);
}
END_TEST

/** Only whole blocks at the end, never the first; the numbers behind them are used anew. */
START_TEST(trims_vacant_blocks_at_the_end)
{
    struct index *ix = fresh(1000, 4);
    const uint32_t block = ix->block_mask + 1, n = 4 * block + 10;
    char *gone[8];
    for (uint32_t i = 0; i < n; i++)
        (void)allot(ix);
    for (uint32_t i = 2 * block; i < n; i++)
        if (i != 3 * block + 4) vacate(ix, i);
    rwlock_wrlock(&ix->ids_lock);
    ck_assert_uint_eq(store__trim(ix, gone, 8), 1);
    mem_unmap(gone[0], ix->shape.bytes);
    ck_assert_uint_eq(atomic_load(&ix->n_nodes), 4 * block);
    ck_assert_uint_eq(store__trim(ix, gone, 8), 0);
    store__vacate(ix, 3 * block + 4);
    ck_assert_uint_eq(store__trim(ix, gone, 1), 1);
    mem_unmap(gone[0], ix->shape.bytes);
    ck_assert_uint_eq(store__trim(ix, gone, 8), 1);
    mem_unmap(gone[0], ix->shape.bytes);
    rwlock_unlock(&ix->ids_lock);
    ck_assert_uint_eq(ix->n_blocks, 2);
    ck_assert_uint_eq(atomic_load(&ix->vacant), 0);
    ck_assert_ptr_null(index__block(ix, 2 * block));
    ck_assert_uint_eq(allot(ix), 2 * block);
    ck_assert_ptr_nonnull(index__block(ix, 2 * block));
    for (uint32_t i = 0; i <= 2 * block; i++)
        vacate(ix, i);
    rwlock_wrlock(&ix->ids_lock);
    size_t n_gone = store__trim(ix, gone, 8);
    rwlock_unlock(&ix->ids_lock);
    ck_assert_uint_eq(n_gone, 2);
    for (size_t i = 0; i < n_gone; i++)
        mem_unmap(gone[i], ix->shape.bytes);
    ck_assert_uint_eq(ix->n_blocks, 1); /* the first stays */
    must_verify(ix);
    index_free(ix);
}
END_TEST

TEST_SUITE(store)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, parts_of_a_block_do_not_overlap);
    tcase_add_test(tc, blocks_never_move);
    tcase_add_test(tc, counters_follow_the_states);
    tcase_add_test(tc, vacant_places_are_taken_first);
    tcase_add_test(tc, a_place_is_handed_over_clean);
    tcase_add_test(tc, trims_vacant_blocks_at_the_end);
    suite_add_tcase(s, tc);
}
