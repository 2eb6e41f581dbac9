#include "engine/learn.h"
#include "tests/engine/rig.h"

#include <string.h>

static struct rig r;

static void setup(void)
{
    rig_init(&r);
    rig_open(&r);
    rig_put_many(&r, "default", 0, 10);
}
static void teardown(void)
{
    rig_done(&r);
}

static enum err_code send(struct feedback_op op, char ret_field[ERR_FIELD_BYTES])
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    if (!op.collection.p) op.collection = STR("default");
    call_begin(&c, &op.op);
    enum err_code code = engine_feedback(r.g, &op, &e);
    code = call_wait(&c, &op.op, code, &e);
    memcpy(ret_field, code == ERR_OK ? "" : op.op.err.field, code == ERR_OK ? 1 : ERR_FIELD_BYTES);
    return code;
}

static size_t count(void)
{
    struct err e = ERR_INIT;
    size_t n;
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    ck_assert_ok(catalog_feedback_count(r.g->catalog, &col->row, &n, &e), &e);
    return n;
}

START_TEST(is_on_disk)
{
    CALL c;
    call_init(&c);
    char field[ERR_FIELD_BYTES];
    struct feedback_op text = {
        .query_text = STR("w1 w2"), .item = STR("k3"), .signal = FEEDBACK_CLICK
    };
    struct feedback_op id = {
        .query_id = STR("k1"), .item = STR("k4"), .signal = FEEDBACK_IRRELEVANT
    };
    ck_assert_ok(send(text, field));
    ck_assert_ok(send(id, field));
    ck_assert_ok(send(text, field)); /* the same again */
    ck_assert_uint_eq(count(), 2);
    rig_reopen(&r);
    struct err e = ERR_INIT;
    struct feedback_row *rows;
    size_t n;
    AUTO_COLLECTION struct collection *col = registry_find(&r.g->registry, STR("default"));
    ck_assert_ok(catalog_feedback_page(r.g->catalog, &col->row, 0, 10, c.arena, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 2);
    char want[64];
    rig_text(3, want);
    ck_assert(str_is(rows[0].query, "w1 w2"));
    ck_assert(str_is(rows[0].item, want));
    ck_assert_int_eq(rows[0].signal, FEEDBACK_CLICK);
    rig_text(1, want);
    ck_assert(str_is(rows[1].query, want));
    ck_assert_int_eq(rows[1].signal, FEEDBACK_IRRELEVANT);
}
END_TEST

START_TEST(goes_with_its_item)
{
    char field[ERR_FIELD_BYTES];
    ck_assert_ok(send((struct feedback_op){ .query_text = STR("w1"), .item = STR("k3") }, field));
    ck_assert_ok(send((struct feedback_op){ .query_id = STR("k5"), .item = STR("k6") }, field));
    ck_assert_ok(rig_remove(&r, "default", "k3"));
    ck_assert_ok(rig_remove(&r, "default", "k5"));
    ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(bad_requests)
{
    static char key[CATALOG_KEY_MAX + 1];
    char field[ERR_FIELD_BYTES];
    memset(key, 'k', sizeof key);
    const struct {
        struct feedback_op op;
        enum err_code code;
        const char *field;
    } cases[] = {
        { { .query_text = STR("w1"), .item = STR("none") }, ERR_NOT_FOUND, "/item" },
        { { .query_id = STR("none"), .item = STR("k1") }, ERR_NOT_FOUND, "/query/id" },
        { { .query_text = STR("w1"), .item = STR("") }, ERR_EMPTY, "/item" },
        { { .query_id = STR(""), .item = STR("k1") }, ERR_EMPTY, "/query/id" },
        { { .query_text = STR(""), .item = STR("k1") }, ERR_EMPTY, "/query/text" },
        { { .query_text = STR("\xff"), .item = STR("k1") }, ERR_INVALID, "/query/text" },
        { { .query_text = STR("w1"), .item = { key, sizeof key } }, ERR_LIMIT, "/item" },
        { { .collection = STR("nowhere"), .query_text = STR("w1"), .item = STR("k1") },
            ERR_NOT_FOUND, "" },
        { { .collection = STR("own"), .query_text = STR("w1"), .item = STR("k1") },
            ERR_UNPROCESSABLE, "" },
    };
    rig_make_vectors(&r, "own", 4, METRIC_COSINE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_err(send(cases[i].op, field), cases[i].code);
        ck_assert_str_eq(field, cases[i].field);
    }
    engine_drain(r.g);
    ck_assert_err(send((struct feedback_op){ .query_text = STR("w1"), .item = STR("k1") }, field),
        ERR_DRAINING);
}
END_TEST

TEST_SUITE(feedback)
{
    TCase *tc = tcase_create("feedback");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, is_on_disk);
    tcase_add_test(tc, goes_with_its_item);
    tcase_add_test(tc, bad_requests);
    suite_add_tcase(s, tc);
}
