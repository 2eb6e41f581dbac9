/* Every allocation of the calling thread fails in turn: while the engine opens (and what was built so far is taken
 * down again), and while operations are submitted. */
#include "tests/engine/rig.h"
#include "tests/support/oom.h"

static struct rig r;

static void setup(void)
{
    rig_init(&r);
    rig_open(&r);
    rig_put_many(&r, "default", 0, 3);
}
static void teardown(void)
{
    rig_done(&r);
}

static enum err_code open_and_close(void *arg)
{
    (void)arg;
    struct err e = ERR_INIT;
    struct engine *g = NULL;
    enum err_code code = engine_open(&r.cfg, &g, &e);
    engine_close(g);
    return code;
}
START_TEST(opening)
{
    rig_close(&r);
    oom_loop(open_and_close, NULL);
    rig_open(&r);
    rig_check_items(&r, "default", 3);
}
END_TEST

static enum err_code submit_all(void *arg)
{
    (void)arg;
    enum err_code code;
    CALL c;
    mutex_init(&c.lock, RANK_SERVER);
    cond_init(&c.changed);
    c.arena = arena_new(16, 0); /* small: every piece is an allocation of its own */
    if (!c.arena) return ERR_NOMEM;
    struct upsert_item item = { .key = STR("k1"), .text = STR("w1"), .metadata = STR("{}") };
    struct upsert_op up = { .collection = STR("default"), .items = &item, .n = 1 };
    struct search_op s = { .collection = STR("default"), .text = STR("w1"), .k = 2 };
    const struct str text = STR("w1 w2");
    struct embed_op embed = { .texts = &text, .n = 1 };
    struct collection_info info;
    struct err e = ERR_INIT;
    if ((code = rig_upsert(&r, &c, &up)) != ERR_OK) return code;
    if ((code = rig_search(&r, &c, &s)) != ERR_OK) return code;
    if ((code = rig_embed(&r, &c, &embed)) != ERR_OK) return code;
    return engine_collection_get(r.g, STR("default"), c.arena, &info, &e);
}
START_TEST(submitting)
{
    oom_loop(submit_all, NULL);
    rig_check_items(&r, "default", 3);
}
END_TEST

TEST_SUITE(engine_oom)
{
    TCase *tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, opening);
    tcase_add_test(tc, submitting);
    suite_add_tcase(s, tc);
}
