/* Layout, block boundaries, states and counters. */
#include "index/index_internal.h"

#include "tests/index/oracle.h"
#include "tests/support/test.h"

static struct index *fresh(size_t dim, size_t m)
{
    struct index_options o = small_options(dim, INDEX_L2);
    struct index *ix = NULL;
    struct err e = ERR_INIT;
    o.m = m;
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    return ix;
}

START_TEST(parts_of_a_block_do_not_overlap)
{
    static const size_t dims[] = { 1, 16, 17, 255, 256, 257, 1000, 4096 };
    static const size_t ms[] = { 4, 5, 16, 64 };
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 4; j++) {
            struct index *ix = fresh(dims[i], ms[j]);
            size_t n = (size_t)1 << ix->block_shift;
            ck_assert_uint_eq(ix->row_floats % 16, 0);
            ck_assert_uint_ge(ix->row_floats, dims[i]);
            ck_assert_uint_ge(ix->links_offset, n * ix->row_floats * 4);
            ck_assert_uint_ge(ix->meta_offset, ix->links_offset + n * ix->m0 * 4);
            ck_assert_uint_ge(ix->upper_offset, ix->meta_offset + n * sizeof(struct node_meta));
            ck_assert_uint_ge(ix->block_bytes, ix->upper_offset + n * sizeof(void *));
            ck_assert_uint_eq(ix->meta_offset % 64, 0);
            ck_assert_uint_le(ix->block_bytes, 17 << 20);
            ck_assert_uint_ge(n, 256);
            index_free(ix);
        }
    ck_assert_uint_eq(sizeof(struct node_meta), 16);
}
END_TEST

/** Over several blocks and several directories; what was written first is still there. */
START_TEST(blocks_never_move)
{
    struct index *ix = fresh(3, 4);
    struct index_stats st;
    size_t last = 0;
    ck_assert_ok(index_put(ix, 0, ((float[]){ 0, 1, 2 }), NULL));
    const float *first = index__row(ix, 0);
    for (uint64_t id = 1; id < 20 * 4096; id++) {
        const float v[3] = { (float)id, 1, 2 };
        ck_assert_ok(index_put(ix, id, v, NULL));
        if (id % 4096 != 0) continue;
        index_stats(ix, &st);
        ck_assert_uint_gt(st.size_bytes, last);
        last = st.size_bytes;
    }
    ck_assert_ptr_eq(first, index__row(ix, 0));
    for (uint32_t node = 0; node < 20 * 4096; node++) {
        const float *row = index__row(ix, node);
        ck_assert_uint_eq((uintptr_t)row % 64, 0);
        if (row[0] != (float)node || row[2] != 2.0f || row[3] != 0.0f || row[15] != 0.0f)
            ck_abort_msg("row %u", node);
    }
    must_verify(ix);
    index_free(ix);
}
END_TEST

START_TEST(counters_follow_the_states)
{
    struct index *ix = fresh(1, 4);
    struct index_stats st;
    uint32_t node;
    for (uint64_t id = 0; id < 4; id++)
        ck_assert_ok(index_put(ix, id, ((float[]){ (float)id }), NULL));
    ck_assert(store__claim(ix, &node) && node == 0);
    ck_assert(index_delete(ix, 0)); /* while it is being linked */
    index_stats(ix, &st);
    ck_assert(st.live == 3 && st.pending == 3 && st.deleted == 1);
    store__linked(ix, node);
    index_stats(ix, &st);
    ck_assert(st.live == 3 && st.pending == 3);
    ck_assert_uint_eq(atomic_load(&ix->watermark), 1);
    ck_assert(index_delete(ix, 2)); /* while it waits */
    ck_assert(store__claim(ix, &node) && node == 1);
    store__linked(ix, node);
    ck_assert_uint_eq(atomic_load(&ix->watermark), 3);
    ck_assert(store__claim(ix, &node) && node == 3);
    ck_assert(!store__claim(ix, &node));
    ck_assert(index_delete(ix, 1)); /* after it was linked */
    store__linked(ix, 3);
    index_stats(ix, &st);
    ck_assert(st.live == 1 && st.pending == 0 && st.deleted == 3);
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
    suite_add_tcase(s, tc);
}
