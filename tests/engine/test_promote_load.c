/* Promotions while others write, delete and search. Covers engine/promote.c and engine/writer_call.c. */
#include "engine/writer_call.h"
#include "tests/engine/promote_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- writes in flight ---- */

static atomic_bool gate_closed, gate_reached;
static enum err_code wait_at_gate(struct engine *g, void *arg, struct err *e)
{
    (void)g;
    (void)arg;
    (void)e;
    atomic_store(&gate_reached, true);
    while (atomic_load(&gate_closed))
        promo_sleep(1);
    return ERR_OK;
}
static void block_main(void *arg)
{
    struct err e = ERR_INIT;
    (void)arg;
    ck_assert_ok(writer_call(promo_rig.g, wait_at_gate, NULL, &e), &e);
}
static void block_writer(struct thread *t)
{
    struct err e = ERR_INIT;
    atomic_store(&gate_closed, true);
    atomic_store(&gate_reached, false);
    ck_assert_ok(thread_start(t, "block", block_main, NULL, &e), &e);
    while (!atomic_load(&gate_reached))
        promo_sleep(1);
}

/* Writes whose texts are encoded by version 2 come to the writer when version 1 serves again. */
START_TEST(writes_in_flight_at_the_swap)
{
    enum { N = 4 };
    struct err e = ERR_INIT;
    struct thread blocker = { 0 };
    struct promo b = { .version = 1 };
    struct call calls[N];
    struct upsert_item items[N][2];
    struct upsert_op ops[N] = { 0 };
    rig_put_many(&promo_rig, "default", 0, 10);
    rig_put(&promo_rig, "default", "old", "w5 w6", NULL);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    promo_to(2);
    block_writer(&blocker);
    promo_start(&b); /* asks for the hold, and waits */
    while (queue_length(promo_rig.g->writer.queue, LANE_INTERACTIVE) < 1)
        promo_sleep(1);
    double before = rig_tokens_encoded();
    static const char *const keys[N] = { "n0", "n1", "n2", "n3" };
    for (size_t i = 0; i < N; i++) {
        call_init(&calls[i]);
        items[i][0] = (struct upsert_item){
            .key = str_from(keys[i]), .text = STR("w1 w2 w3"), .metadata = STR("{}")
        };
        items[i][1] = (struct upsert_item){ /* needs no vector */
            .key = STR("old"),
            .text = STR("w5 w6"),
            .metadata = STR("{\"y\":1}")
        };
        ops[i] = (struct upsert_op){
            .collection = STR("default"), .items = items[i], .n = 2, .interactive = i % 2 == 0
        };
        call_begin(&calls[i], &ops[i].op);
        ck_assert_ok(engine_upsert(promo_rig.g, &ops[i], &e), &e);
    }
    struct str gone = STR("k3");
    CALL dc;
    call_init(&dc);
    struct delete_op del = { .collection = STR("default"), .keys = &gone, .n = 1 };
    call_begin(&dc, &del.op);
    ck_assert_ok(engine_delete(promo_rig.g, &del, &e), &e);
    while (queue_length(promo_rig.g->writer.queue, LANE_INTERACTIVE) +
            queue_length(promo_rig.g->writer.queue, LANE_BULK) <
        1 + N + 1)
        promo_sleep(1);
    ck_assert(rig_tokens_encoded() == before + 3 * N); /* by version 2 */
    atomic_store(&gate_closed, false);
    thread_join(&blocker);
    thread_join(&b.thread);
    ck_assert_err(b.code, ERR_OK);
    for (size_t i = 0; i < N; i++) {
        ck_assert_err(call_wait(&calls[i], &ops[i].op, ERR_OK, NULL), ERR_OK);
        ck_assert_int_eq(ops[i].model.version, 1); /* what was written, not what was thought */
        ck_assert(str_eq(ops[i].model.name, STR("tiny")));
        ck_assert_int_eq(items[i][0].outcome, UPSERT_NEW);
        call_done(&calls[i]);
    }
    ck_assert_err(call_wait(&dc, &del.op, ERR_OK, NULL), ERR_OK);
    ck_assert_uint_eq(del.deleted, 1);
    ck_assert(rig_tokens_encoded() == before + 2 * 3 * N); /* and by version 1 */
    ck_assert_uint_eq(promo_check_vectors(1), 10 + 1 + N - 1);
    promo_check_version(1);
}
END_TEST

/* ---- under load ---- */

enum { FIXED = 200, CHANGING = 40, DELETED = 40, LOAD_WRITERS = 2, LOAD_READERS = 2 };
static atomic_bool stop_load;
static atomic_size_t n_searches, n_writes;

/* Of each writer: keys that come and go with their text, and keys whose text changes. */
struct load_writer {
    size_t me;
    bool there[DELETED];
    size_t text[CHANGING];
};

static void write_load(void *arg)
{
    struct load_writer *w = arg;
    for (size_t i = 0; !atomic_load(&stop_load); i++) {
        char key[32], text[64];
        if (i % 3) {
            size_t at = i % CHANGING;
            snprintf(key, sizeof key, "c%zu.%zu", w->me, at);
            w->text[at] = i;
            rig_text(5000 + i, text);
            rig_put(&promo_rig, "default", key, text, NULL);
        } else {
            size_t at = (i / 3) % DELETED;
            snprintf(key, sizeof key, "d%zu.%zu", w->me, at);
            rig_text(w->me * 1000 + at, text);
            if (w->there[at])
                ck_assert_err(rig_remove(&promo_rig, "default", key), ERR_OK);
            else
                rig_put(&promo_rig, "default", key, text, NULL);
            w->there[at] = !w->there[at];
        }
        atomic_fetch_add(&n_writes, 1);
    }
}

/* Each version's oracle is this thread's own; keys "k<i>" and "d…" have one text for ever. */
static void check_hit(
    struct oracle oracles[2], int64_t version, const struct search_hit *hit, const char *query)
{
    ck_assert(version == 1 || version == 2);
    ck_assert_int_eq(hit->model_version, version);
    if (hit->key.p[0] == 'c') return;
    double want = oracle_score(&oracles[version - 1], str_from(query), hit->text);
    ck_assert_double_eq_tol((double)hit->score, want, 1e-5);
}

static void read_load(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    struct oracle oracles[2];
    oracle_init(&oracles[0], 1);
    oracle_init(&oracles[1], 2);
    for (; !atomic_load(&stop_load); i++) {
        CALL c;
        call_init(&c);
        char text[64], key[16];
        rig_text(i % FIXED, text);
        snprintf(key, sizeof key, "k%zu", i % FIXED);
        struct search_op op = { .collection = STR("default"),
            .k = 10,
            .exact = i % 4 == 0,
            .with = VIEW_TEXT | VIEW_VECTOR };
        if (i % 3)
            op.text = str_from(text);
        else
            op.id = str_from(key);
        ck_assert_ok(rig_search(&promo_rig, &c, &op), &op.op.err);
        ck_assert_uint_gt(op.n_hits, 0);
        for (size_t h = 0; i % 3 && h < op.n_hits; h++)
            check_hit(oracles, op.model.version, &op.hits[h], text);
        atomic_fetch_add(&n_searches, 1);
    }
    oracle_done(&oracles[0]);
    oracle_done(&oracles[1]);
}

static void check_load(const struct load_writer writers[LOAD_WRITERS], int64_t version)
{
    struct err e = ERR_INIT;
    size_t want = FIXED;
    for (size_t w = 0; w < LOAD_WRITERS; w++) {
        for (size_t i = 0; i < DELETED; i++) {
            CALL c;
            call_init(&c);
            char key[32];
            struct item_view view;
            snprintf(key, sizeof key, "d%zu.%zu", w, i);
            enum err_code code =
                engine_item_get(promo_rig.g, STR("default"), str_from(key), 0, c.arena, &view, &e);
            ck_assert_err(code, writers[w].there[i] ? ERR_OK : ERR_NOT_FOUND);
            want += writers[w].there[i];
        }
        for (size_t i = 0; i < CHANGING; i++) {
            CALL c;
            call_init(&c);
            char key[32], text[64];
            struct item_view view;
            if (!writers[w].text[i]) continue;
            snprintf(key, sizeof key, "c%zu.%zu", w, i);
            rig_text(5000 + writers[w].text[i], text);
            ck_assert_ok(engine_item_get(promo_rig.g, STR("default"), str_from(key), VIEW_TEXT,
                             c.arena, &view, &e),
                &e);
            ck_assert(str_eq(view.text, str_from(text)));
            want++;
        }
    }
    ck_assert_uint_eq(promo_check_vectors(version), want);
    rig_check_items(&promo_rig, "default", want);
    promo_check_version(version);
}

START_TEST(under_load)
{
    enum { SWAPS = 6 };
    static struct load_writer state[LOAD_WRITERS];
    struct thread writers[LOAD_WRITERS] = { 0 }, readers[LOAD_READERS] = { 0 };
    struct err e = ERR_INIT;
    memset(state, 0, sizeof state);
    rig_put_many(&promo_rig, "default", 0, FIXED);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    atomic_store(&stop_load, false);
    for (size_t i = 0; i < LOAD_WRITERS; i++) {
        state[i].me = i;
        ck_assert_ok(thread_start(&writers[i], "write", write_load, &state[i], &e), &e);
    }
    for (size_t i = 0; i < LOAD_READERS; i++)
        ck_assert_ok(thread_start(&readers[i], "read", read_load, (void *)i, &e), &e);
    for (int i = 0; i < SWAPS; i++) {
        size_t searches = atomic_load(&n_searches), writes = atomic_load(&n_writes);
        while (atomic_load(&n_searches) < searches + 20 || atomic_load(&n_writes) < writes + 20)
            promo_sleep(1);
        promo_to(i % 2 ? 1 : 2);
    }
    atomic_store(&stop_load, true);
    for (size_t i = 0; i < LOAD_WRITERS; i++)
        thread_join(&writers[i]);
    for (size_t i = 0; i < LOAD_READERS; i++)
        thread_join(&readers[i]);
    check_load(state, 1);
    ck_assert_err(rig_promote(&promo_rig, "default", 2, NULL), ERR_OK);
    check_load(state, 2);
    promo_reopen();
    check_load(state, 2);
}
END_TEST

/* Re-encoding is far slower than the writes: only holding them back brings the swap about. */
START_TEST(writes_faster_than_it_catches_up)
{
    static struct load_writer state[LOAD_WRITERS];
    struct thread writers[LOAD_WRITERS] = { 0 };
    struct promo b = { .version = 2, .rate = 100 };
    struct err e = ERR_INIT;
    memset(state, 0, sizeof state);
    rig_put_many(&promo_rig, "default", 0, FIXED);
    rig_make_version(&promo_rig, "default", PROMO_SEED_2);
    atomic_store(&stop_load, false);
    for (size_t i = 0; i < LOAD_WRITERS; i++) {
        state[i].me = i;
        ck_assert_ok(thread_start(&writers[i], "write", write_load, &state[i], &e), &e);
    }
    promo_start(&b);
    thread_join(&b.thread);
    atomic_store(&stop_load, true);
    for (size_t i = 0; i < LOAD_WRITERS; i++)
        thread_join(&writers[i]);
    ck_assert_ok(b.code, &b.err);
    check_load(state, 2);
}
END_TEST

TEST_SUITE(promote_load)
{
    TCase *tc = tcase_create("load");
    tcase_add_checked_fixture(tc, promo_setup, promo_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, writes_in_flight_at_the_swap);
    tcase_add_test(tc, under_load);
    tcase_add_test(tc, writes_faster_than_it_catches_up);
    suite_add_tcase(s, tc);
}
