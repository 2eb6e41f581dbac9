#include "tests/engine/rig.h"

#include <string.h>

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

static struct upsert_item item_of(const char *key, const char *text)
{
    return (
        struct upsert_item){ .key = str_from(key), .text = str_from(text), .metadata = STR("{}") };
}

START_TEST(round_trip_survives_restart)
{
    char key[64];
    rig_put_many(&r, "default", 0, 300);
    rig_check_items(&r, "default", 300);
    ck_assert_uint_eq(rig_find(&r, "default", "w5 w0 w0 w155", 1, key), 1);
    ck_assert_str_eq(key, "k5");
    ck_assert_err(rig_remove(&r, "default", "k5"), ERR_OK);
    ck_assert_err(rig_remove(&r, "default", "k5"), ERR_NOT_FOUND);
    rig_check_items(&r, "default", 299);
    rig_reopen(&r);
    rig_check_items(&r, "default", 299);
    char text[64];
    rig_text(7, text);
    ck_assert_uint_eq(rig_find(&r, "default", text, 1, key), 1);
    ck_assert_str_eq(key, "k7");
    rig_find(&r, "default", "w5 w0 w0 w155", 1, key);
    ck_assert_str_ne(key, "k5");
}
END_TEST

START_TEST(unchanged_is_not_encoded_again)
{
    ck_assert_int_eq(rig_put(&r, "default", "a", "w1 w2", "{\"x\":1}"), UPSERT_NEW);
    double before = rig_tokens_encoded();
    ck_assert_int_eq(rig_put(&r, "default", "a", "w1 w2", "{\"x\":1}"), UPSERT_UNCHANGED);
    ck_assert_int_eq(rig_put(&r, "default", "a", "w1 w2", "{\"x\":2}"), UPSERT_REPLACED);
    ck_assert(rig_tokens_encoded() == before);
    ck_assert_int_eq(rig_put(&r, "default", "a", "w3", "{\"x\":2}"), UPSERT_REPLACED);
    ck_assert(rig_tokens_encoded() > before);
    rig_check_items(&r, "default", 1);
    rig_reopen(&r);
    before = rig_tokens_encoded();
    ck_assert_int_eq(rig_put(&r, "default", "a", "w3", "{\"x\":2}"), UPSERT_UNCHANGED);
    ck_assert(rig_tokens_encoded() == before);
}
END_TEST

START_TEST(bad_items_fail_alone)
{
    CALL c;
    call_init(&c);
    char long_key[400];
    memset(long_key, 'k', sizeof long_key);
    const float vector[RIG_DIM] = { 1 };
    struct upsert_item items[] = {
        item_of("good", "w1 w2"),
        item_of("bad utf8", "w1 \xff"),
        item_of("empty", ""),
        item_of("blank", "   "),
        { .key = STR("none"), .metadata = STR("{}") },
        { .key = { long_key, sizeof long_key }, .text = STR("w1"), .metadata = STR("{}") },
        item_of("control\n", "w1"),
        item_of("both", "w1"),
        item_of("good too", "w3"),
    };
    items[7].vector = vector;
    items[7].n_vector = RIG_DIM;
    struct upsert_op op = {
        .collection = STR("default"), .items = items, .n = sizeof items / sizeof *items
    };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_new, 2);
    ck_assert_uint_eq(op.n_failed, 7);
    const struct {
        enum err_code code;
        const char *field;
    } want[] = { { ERR_OK, "" }, { ERR_INVALID, "/text" }, { ERR_EMPTY, "/text" },
        { ERR_EMPTY, "/text" }, { ERR_INVALID, "/text" }, { ERR_INVALID, "/id" },
        { ERR_INVALID, "/id" }, { ERR_INVALID, "/vector" }, { ERR_OK, "" } };
    for (size_t i = 0; i < op.n; i++) {
        if (want[i].code == ERR_OK) {
            ck_assert_int_eq(items[i].outcome, UPSERT_NEW);
            continue;
        }
        ck_assert_int_eq(items[i].outcome, UPSERT_FAILED);
        ck_assert_err(items[i].failure->code, want[i].code);
        ck_assert_str_eq(items[i].failure->field, want[i].field);
        ck_assert(items[i].failure->msg[0]);
    }
    rig_check_items(&r, "default", 2);
}
END_TEST

START_TEST(all_or_nothing_writes_nothing)
{
    CALL c;
    call_init(&c);
    struct upsert_item items[] = { item_of("a", "w1"), item_of("b", "  ") };
    struct upsert_op op = {
        .collection = STR("default"), .items = items, .n = 2, .all_or_nothing = true
    };
    ck_assert_err(rig_upsert(&r, &c, &op), ERR_EMPTY);
    ck_assert_str_eq(op.op.err.field, "/text");
    rig_check_items(&r, "default", 0);
}
END_TEST

START_TEST(too_long_a_text_fails_alone)
{
    rig_close(&r);
    rig_set(&r, "limits.text_bytes", "16");
    rig_set(&r, "limits.metadata_bytes", "16");
    rig_open(&r);
    CALL c;
    call_init(&c);
    struct upsert_item items[] = { item_of("a", "w1 w2 w3 w4 w5 w6 w7"), item_of("b", "w1"),
        { .key = STR("c"), .text = STR("w1"), .metadata = STR("{\"long\":\"metadata\"}") } };
    struct upsert_op op = { .collection = STR("default"), .items = items, .n = 3 };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_failed, 2);
    ck_assert_err(items[0].failure->code, ERR_LIMIT);
    ck_assert_err(items[2].failure->code, ERR_LIMIT);
    ck_assert_str_eq(items[2].failure->field, "/metadata");
}
END_TEST

START_TEST(of_one_key_the_later_wins)
{
    CALL c;
    call_init(&c);
    char key[64];
    struct upsert_item items[] = { item_of("a", "w1"), item_of("b", "w2"), item_of("a", "w3"),
        item_of("b", "  ") };
    struct upsert_op op = { .collection = STR("default"), .items = items, .n = 4 };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_int_eq(items[0].outcome, UPSERT_REPLACED);
    ck_assert_int_eq(items[1].outcome, UPSERT_NEW); /* its later twin is bad */
    ck_assert_int_eq(items[2].outcome, UPSERT_NEW);
    ck_assert_int_eq(items[3].outcome, UPSERT_FAILED);
    rig_check_items(&r, "default", 2);
    rig_find(&r, "default", "w3", 1, key);
    ck_assert_str_eq(key, "a");
    rig_find(&r, "default", "w2", 1, key);
    ck_assert_str_eq(key, "b");
}
END_TEST

/* Two threads replace one item's text in turns, each going back to a content that the other has just
 * replaced: "unchanged" by the probe, stale by the time it is written. */
struct flipper {
    struct thread thread;
    const char *text;
};
static void flip(void *arg)
{
    struct flipper *f = arg;
    for (int i = 0; i < 200; i++) {
        CALL c;
        call_init(&c);
        struct upsert_item items[] = { item_of("x", f->text), item_of("y", "w9") };
        struct upsert_op op = { .collection = STR("default"), .items = items, .n = 2 };
        ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
        ck_assert_uint_eq(op.n_failed, 0);
    }
}
START_TEST(stale_items_are_encoded_after_all)
{
    struct err e = ERR_INIT;
    struct flipper f[3] = { { .text = "w1" }, { .text = "w2" }, { .text = "w1" } };
    for (int i = 0; i < 3; i++)
        ck_assert_ok(thread_start(&f[i].thread, "flip", flip, &f[i], &e), &e);
    for (int i = 0; i < 3; i++)
        thread_join(&f[i].thread);
    rig_check_items(&r, "default", 2);
    /* What is stored and what is found agree. */
    CALL c;
    call_init(&c);
    struct item_view view;
    ck_assert_ok(engine_item_get(r.g, STR("default"), STR("x"), VIEW_TEXT, c.arena, &view, &e), &e);
    struct search_op op = { .collection = STR("default"), .text = view.text, .k = 1 };
    ck_assert_ok(rig_search(&r, &c, &op), &op.op.err);
    ck_assert(str_is(op.hits[0].key, "x"));
    ck_assert(op.hits[0].score > 0.999f);
}
END_TEST

START_TEST(vectors_of_the_user)
{
    CALL c;
    call_init(&c);
    rig_make_vectors(&r, "v", 3, METRIC_COSINE);
    const float x[] = { 2, 0, 0 }, y[] = { 0, 3, 0 }, zero[] = { 0, 0, 0 },
                nan[] = { __builtin_nanf(""), 0, 0 };
    struct upsert_item items[] = {
        { .key = STR("x"), .vector = x, .n_vector = 3 },
        { .key = STR("y"), .vector = y, .n_vector = 3 },
        { .key = STR("zero"), .vector = zero, .n_vector = 3 },
        { .key = STR("nan"), .vector = nan, .n_vector = 3 },
        { .key = STR("short"), .vector = x, .n_vector = 2 },
        { .key = STR("none") },
        { .key = STR("text"), .text = STR("w1") },
    };
    struct upsert_op op = { .collection = STR("v"), .items = items, .n = 7 };
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_new, 2);
    ck_assert_uint_eq(op.n_failed, 5);
    ck_assert_int_eq(op.model.version, 0);
    ck_assert_ptr_nonnull(strstr(items[4].failure->msg, "2"));
    ck_assert_ptr_nonnull(strstr(items[4].failure->msg, "3"));
    op.n = 2;
    ck_assert_ok(rig_upsert(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.n_unchanged, 2);
    struct search_op s = {
        .collection = STR("v"), .vector = y, .n_vector = 3, .k = 5, .with = VIEW_VECTOR
    };
    ck_assert_ok(rig_search(&r, &c, &s), &s.op.err);
    ck_assert_uint_eq(s.n_hits, 2);
    ck_assert(str_is(s.hits[0].key, "y"));
    ck_assert_near(s.hits[0].vector, y, 3, 0, 0);
    rig_check_items(&r, "v", 2);
}
END_TEST

START_TEST(unknown_collection)
{
    CALL c;
    call_init(&c);
    struct upsert_item item = item_of("a", "w1");
    struct upsert_op op = { .collection = STR("nowhere"), .items = &item, .n = 1 };
    ck_assert_err(rig_upsert(&r, &c, &op), ERR_NOT_FOUND);
}
END_TEST

START_TEST(a_full_queue_refuses)
{
    rig_close(&r);
    rig_set(&r, "write.queue_items", "1");
    rig_open(&r);
    enum { N = 64 };
    static struct call calls[N];
    static struct upsert_op ops[N];
    static struct upsert_item items[N];
    enum err_code codes[N];
    struct err e = ERR_INIT;
    size_t busy = 0;
    for (size_t i = 0; i < N; i++) {
        call_init(&calls[i]);
        items[i] = item_of("a", "w1");
        ops[i] = (struct upsert_op){ .collection = STR("default"), .items = &items[i], .n = 1 };
        call_begin(&calls[i], &ops[i].op);
        codes[i] = engine_upsert(r.g, &ops[i], &e);
    }
    for (size_t i = 0; i < N; i++) {
        enum err_code code = call_wait(&calls[i], &ops[i].op, codes[i], &e);
        ck_assert(code == ERR_OK || code == ERR_BUSY);
        busy += code == ERR_BUSY;
        call_done(&calls[i]);
    }
    ck_assert_uint_gt(busy, 0);
    ck_assert_uint_lt(busy, N);
}
END_TEST

TEST_SUITE(upsert)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, round_trip_survives_restart);
    tcase_add_test(tc, unchanged_is_not_encoded_again);
    tcase_add_test(tc, bad_items_fail_alone);
    tcase_add_test(tc, all_or_nothing_writes_nothing);
    tcase_add_test(tc, too_long_a_text_fails_alone);
    tcase_add_test(tc, of_one_key_the_later_wins);
    tcase_add_test(tc, stale_items_are_encoded_after_all);
    tcase_add_test(tc, vectors_of_the_user);
    tcase_add_test(tc, unknown_collection);
    tcase_add_test(tc, a_full_queue_refuses);
    suite_add_tcase(s, tc);
}
