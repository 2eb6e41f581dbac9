/* index_verify must notice: each invariant is broken by hand in turn. */
#include "index/index_internal.h"

#include "tests/index/oracle.h"
#include "tests/support/test.h"

static struct index *built(void)
{
    struct index_options o = small_options(4, INDEX_L2);
    struct index *ix = NULL;
    struct rng r;
    struct err e = ERR_INIT;
    struct index_scratch *s = index_scratch_new();
    float v[4];
    rng_init(&r, 1);
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    for (uint64_t id = 0; id < 500; id++) {
        if (id % 50 != 49) random_vector(&r, v, 4); /* some twins */
        ck_assert_ok(index_put(ix, id, v, &e), &e);
    }
    link_all(ix, s);
    ck_assert_ok(index_put(ix, 1000, ((float[]){ 9, 9, 9, 9 }), &e), &e);
    must_verify(ix);
    index_scratch_free(s);
    return ix;
}

/** A node of the graph, and one that is a twin. */
static uint32_t a_node(const struct index *ix, bool twin)
{
    uint32_t node = 100;
    while (((index__state(ix, node) & NODE_IS_TWIN) != 0) != twin)
        node++;
    return node;
}

static void break_it(struct index *ix, int how)
{
    uint32_t node = a_node(ix, false), twin = a_node(ix, true);
    _Atomic uint32_t *links = index__links(ix, node, 0);
    switch (how) {
    case 0: atomic_store(&links[0], node); break;
    case 1: atomic_store(&links[0], 100000); break;
    case 2: atomic_store(&links[0], atomic_load(&links[1])); break;
    case 3: atomic_store(&links[0], NODE_NONE); break;
    case 4: atomic_store(&links[0], twin); break;
    case 5: atomic_store(&links[0], 500); break; /* still waits */
    case 6: atomic_fetch_add(&ix->live, 1); break;
    case 7: atomic_fetch_add(&ix->pending, 1); break;
    case 8: index__meta(ix, node)->id = 77777; break;
    case 9: atomic_fetch_or(index__state_at(ix, node), NODE_DELETED); break;
    case 10: atomic_fetch_and(index__state_at(ix, node), (uint16_t)~NODE_CLAIMED); break;
    case 11: atomic_store(&ix->tail.watermark, 501); break;
    case 12: atomic_store(&ix->entry, ENTRY_NONE); break;
    case 13: atomic_store(&ix->entry, (UINT64_C(9) << 32) | node); break;
    case 14: atomic_store(&ix->entry, twin); break;
    case 15: ((struct row_head *)(void *)index__row(ix, twin))->scale += 1; break;
    case 16: atomic_store(&index__meta(ix, node)->twin, node); break;
    case 17: atomic_fetch_and(index__state_at(ix, twin), (uint16_t)~NODE_IS_TWIN); break;
    case 18: atomic_fetch_xor(index__state_at(ix, node), 1 << STATE_LEVEL_SHIFT); break;
    case 19: /* islands: nothing leads anywhere */
        for (uint32_t at = 0; at < 500; at++)
            for (unsigned l = 0; l <= index__level(ix, at); l++)
                for (size_t i = 0; i < index__max_links(ix, l); i++)
                    atomic_store(&index__links(ix, at, l)[i], NODE_NONE);
        break;
    default: ck_abort();
    }
}

START_TEST(notices)
{
    struct index *ix = built();
    struct err e = ERR_INIT;
    break_it(ix, _i);
    ck_assert_err(index_verify(ix, &e), ERR_INTERNAL);
    ck_assert_int_gt((int)strlen(e.msg), 10);
    index_free(ix);
}
END_TEST

TEST_SUITE(verify)
{
    TCase *tc = tcase_create("core");
    tcase_add_loop_test(tc, notices, 0, 20);
    suite_add_tcase(s, tc);
}
