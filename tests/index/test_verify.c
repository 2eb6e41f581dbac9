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
    for (uint64_t id = 0; id < 20; id++) /* some vacant places, then some tombstones */
        ck_assert(index_delete(ix, id * 3));
    maintain_all(ix, s, true);
    for (uint64_t id = 200; id < 210; id++)
        ck_assert(index_delete(ix, id));
    ck_assert_ok(index_put(ix, 1000, ((float[]){ 9, 9, 9, 9 }), &e), &e);
    must_verify(ix);
    index_scratch_free(s);
    return ix;
}

/** The one that waits. */
static uint32_t a_waiting(const struct index *ix)
{
    uint32_t node = NODE_NONE;
    ck_assert(u64_map_get(&ix->ids, 1000, &node));
    return node;
}

/** A node of the graph, or one that is a twin. */
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
    case 5: atomic_store(&links[0], a_waiting(ix)); break;
    case 6: atomic_fetch_add(&ix->live, 1); break;
    case 7: atomic_fetch_add(&ix->pending, 1); break;
    case 8: index__meta(ix, node)->id = 77777; break;
    case 9: atomic_fetch_or(index__state_at(ix, node), NODE_DELETED); break;
    case 10: atomic_fetch_and(index__state_at(ix, node), (uint16_t)~NODE_CLAIMED); break;
    case 11: atomic_store(&ix->tail.watermark, ix->tail.end); break;
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
    case 20: atomic_fetch_add(&ix->tombstones, 1); break;
    case 21: atomic_fetch_sub(&ix->vacant, 1); break;
    case 22: ix->vacancy[0].n--; break;
    case 23: ix->vacancy[0].head = node; break;
    case 24: /* a circle */
        atomic_store(&index__meta(ix, ix->vacancy[0].head)->twin, ix->vacancy[0].head);
        break;
    case 25: ix->vacant_hint = 1; break;
    case 26: atomic_fetch_add(&ix->in_graph, 1); break;
    case 27: ix->tail.cursor = ix->tail.end; break; /* passed by, but it waits */
    case 28: ix->tail.cursor = 0; break;
    case 29: /* nothing stands in the tail for it */
        atomic_store(&atomic_load(&ix->tail.head)->nodes[(ix->tail.end - 1) % TAIL_CHUNK], node);
        break;
    case 30: atomic_fetch_or(index__state_at(ix, node), NODE_DYING); break; /* yet not deleted */
    case 31: /* its twin is not known to have one */
        for (uint32_t at = 0; at < 500; at++)
            atomic_fetch_and(index__state_at(ix, at), (uint16_t)~NODE_HAS_TWINS);
        break;
    case 32: atomic_store(index__state_at(ix, ix->vacancy[0].head), NODE_USED); break;
    case 33: atomic_store(&index__links(ix, a_waiting(ix), 0)[0], node); break;
    case 34: atomic_store(&links[0], ix->vacancy[0].head); break;
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
    tcase_add_loop_test(tc, notices, 0, 35);
    suite_add_tcase(s, tc);
}
