/* Upkeep behind the searches' back: places of deleted items come back, curves are measured. */
#include "engine/maintenance.h"

#include "tests/engine/rig.h"

#include <stdio.h>
#include <unistd.h>

static struct rig r;

static void setup(void)
{
    rig_init(&r);
    rig_open(&r);
}
static void teardown(void)
{
    rig_done(&r);
}

static struct collection_index index_now(void)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct collection_info info;
    ck_assert_ok(engine_collection_get(r.g, STR("default"), c.arena, &info, &e), &e);
    return info.index;
}

static void wait_linked(void)
{
    while (index_now().pending)
        usleep(2000);
}

static void remove_every_other(size_t n)
{
    CALL c;
    call_init(&c);
    struct str *keys = arena_alloc(c.arena, n / 2, sizeof *keys);
    for (size_t i = 0; i < n / 2; i++)
        keys[i] = str_from(arena_printf(c.arena, "k%zu", 2 * i));
    struct delete_op op = { .collection = STR("default"), .keys = keys, .n = n / 2 };
    ck_assert_ok(rig_delete(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.deleted, n / 2);
}

static void check_half(size_t n)
{
    struct err e = ERR_INIT;
    for (size_t i = 1; i < n; i += 50) {
        char text[64], key[64], want[64];
        rig_text(i, text);
        (void)snprintf(want, sizeof want, "k%zu", i);
        ck_assert_uint_eq(rig_find(&r, "default", text, 1, key), 1);
        ck_assert_str_eq(key, want);
    }
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    ck_assert_ok(index_verify(gen->index, &e), &e);
}

START_TEST(places_of_the_deleted_come_back)
{
    enum { N = 2000 };
    rig_put_many(&r, "default", 0, N);
    wait_linked();
    size_t bytes = index_now().size_bytes;
    remove_every_other(N);
    struct collection_index now = index_now();
    for (int i = 0; i < 4000 && (now.deleted > 0 || now.repairs == 0); i++) {
        usleep(5000);
        now = index_now();
    }
    ck_assert_uint_eq(now.deleted, 0);
    ck_assert_uint_ge(now.vacant, N / 2);
    ck_assert_uint_ge(now.repairs, 1);
    ck_assert_uint_le(now.size_bytes, bytes);
    engine_metrics_refresh(r.g);
    ck_assert_double_eq(rig_metric("kindred_index_deleted"), 0);
    ck_assert_double_ge(rig_metric("kindred_index_vacant"), N / 2);
    wait_linked(); /* some were moved together */
    check_half(N);
    rig_put_many(&r, "default", N, N / 2); /* into the places */
    wait_linked();
    rig_check_items(&r, "default", N);
    ck_assert_uint_le(index_now().size_bytes, bytes + bytes / 8);
    rig_reopen(&r);
    rig_check_items(&r, "default", N);
    ck_assert_uint_eq(index_now().pending, 0);
}
END_TEST

START_TEST(a_whole_graph_is_measured)
{
    ck_assert_uint_eq(index_now().curve.n, 0);
    rig_put_many(&r, "default", 0, 900);
    wait_linked();
    usleep(2200000);
    ck_assert_uint_eq(index_now().curve.n, 0); /* too few to say anything */
    rig_put_many(&r, "default", 900, 400);
    wait_linked();
    for (int i = 0; i < 2000 && index_now().curve.n == 0; i++)
        usleep(5000);
    struct index_curve curve = index_now().curve;
    ck_assert_uint_gt(curve.n, 1);
    ck_assert_uint_eq(curve.at_live, 1300);
    for (size_t i = 1; i < curve.n; i++) {
        ck_assert_uint_gt(curve.ef[i], curve.ef[i - 1]);
        ck_assert_float_ge(curve.recall[i], curve.recall[i - 1]);
    }
    ck_assert_float_gt(curve.recall[curve.n - 1], 0.9f);
    rig_reopen(&r); /* it is kept with the index */
    ck_assert_uint_eq(index_now().curve.at_live, 1300);
}
END_TEST

TEST_SUITE(maintenance)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, places_of_the_deleted_come_back);
    tcase_add_test(tc, a_whole_graph_is_measured);
    suite_add_tcase(s, tc);
}
