#include "tests/engine/rig.h"

#include <stdio.h>
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

static struct collection_op put_op(const char *name)
{
    return (struct collection_op){ .action = COLLECTION_PUT,
        .spec = { .name = str_from(name), .modality = MODALITY_TEXT, .has_modality = true } };
}

static enum err_code put_code(struct collection_op op, char ret_field[ERR_FIELD_BYTES])
{
    CALL c;
    call_init(&c);
    enum err_code code = rig_collection(&r, &c, &op);
    snprintf(ret_field, ERR_FIELD_BYTES, "%s", code == ERR_OK ? "" : op.op.err.field);
    return code;
}

START_TEST(default_is_there)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct collection_info info;
    ck_assert_ok(engine_collection_get(r.g, STR("default"), c.arena, &info, &e), &e);
    ck_assert_int_eq(info.modality, MODALITY_MULTIMODAL);
    ck_assert(str_is(info.model.name, "tiny"));
    ck_assert_int_eq(info.model.version, 1);
    ck_assert_uint_eq(info.dimensions, RIG_DIM);
    ck_assert_uint_eq(info.items, 0);
    rig_reopen(&r);
    ck_assert_ok(engine_collection_get(r.g, STR("default"), c.arena, &info, &e), &e);
}
END_TEST

START_TEST(made_once_and_compared)
{
    CALL c;
    call_init(&c);
    char field[ERR_FIELD_BYTES];
    const struct catalog_field fields[] = { { STR("year"), FIELD_INTEGER },
        { STR("a.b"), FIELD_STRING } };
    const struct catalog_field swapped[] = { fields[1], fields[0] };
    struct collection_op op = put_op("books");
    op.spec.fields = fields;
    op.spec.n_fields = 2;
    op.spec.has_fields = true;
    op.spec.m = 8;
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    ck_assert(op.created);
    ck_assert(str_is(op.info.name, "books"));
    ck_assert_uint_eq(op.info.n_fields, 2);
    ck_assert_uint_eq(op.info.m, 8);
    ck_assert_uint_eq(op.info.ef_construction, r.cfg.index_ef_construction);
    op.spec.fields = swapped;
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    ck_assert(!op.created);
    op.spec.n_fields = 1;
    ck_assert_err(put_code(op, field), ERR_CONFLICT);
    ck_assert_str_eq(field, "/filterable");
    op.spec.has_fields = false;
    ck_assert_err(put_code(op, field), ERR_OK);
    op.spec.modality = MODALITY_MULTIMODAL;
    ck_assert_err(put_code(op, field), ERR_CONFLICT);
    ck_assert_str_eq(field, "/modality");
    op = put_op("books");
    op.spec.has_index = true;
    op.spec.m = 9;
    ck_assert_err(put_code(op, field), ERR_CONFLICT);
    ck_assert_str_eq(field, "/index");
    rig_reopen(&r);
    op = put_op("books");
    op.spec.fields = fields;
    op.spec.n_fields = 2;
    op.spec.has_fields = true;
    ck_assert_ok(rig_collection(&r, &c, &op), &op.op.err);
    ck_assert(!op.created);
}
END_TEST

START_TEST(bad_ones)
{
    char field[ERR_FIELD_BYTES], longest[66];
    memset(longest, 'a', sizeof longest - 1);
    longest[65] = '\0';
    const char *const names[] = { "", ".hidden", "a b", "a/b", "\xc3\xa4", longest };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_err(put_code(put_op(names[i]), field), ERR_INVALID);
    longest[64] = '\0';
    ck_assert_err(put_code(put_op(longest), field), ERR_OK);

    struct collection_op op = put_op("x");
    op.spec.modality = MODALITY_IMAGE;
    ck_assert_err(put_code(op, field), ERR_UNPROCESSABLE);
    op = put_op("x");
    op.spec.model = STR("nobody");
    ck_assert_err(put_code(op, field), ERR_NOT_FOUND);
    op = put_op("x");
    op.spec.metric = METRIC_L2;
    ck_assert_err(put_code(op, field), ERR_INVALID);
    op = put_op("x");
    op.spec.modality = MODALITY_VECTOR;
    ck_assert_err(put_code(op, field), ERR_INVALID);
    ck_assert_str_eq(field, "/dimensions");
    op.spec.dimensions = 4097;
    ck_assert_err(put_code(op, field), ERR_INVALID);
    op = put_op("x");
    op.spec.m = 3;
    ck_assert_err(put_code(op, field), ERR_INVALID);
    ck_assert_str_eq(field, "/index/m");

    struct catalog_field fields[65] = { { STR("a"), FIELD_STRING }, { STR("a"), FIELD_INTEGER } };
    op = put_op("x");
    op.spec.fields = fields;
    op.spec.n_fields = 2;
    ck_assert_err(put_code(op, field), ERR_INVALID); /* twice */
    const char *const paths[] = { "", ".a", "a.", "a..b" };
    op.spec.n_fields = 1;
    for (size_t i = 0; i < 4; i++) {
        fields[0].path = str_from(paths[i]);
        ck_assert_err(put_code(op, field), ERR_INVALID);
    }
    op.spec.n_fields = 65;
    ck_assert_err(put_code(op, field), ERR_TOO_MANY);
    op = put_op("nowhere");
    op.action = COLLECTION_DELETE;
    ck_assert_err(put_code(op, field), ERR_NOT_FOUND);
}
END_TEST

START_TEST(no_more_than_allowed)
{
    char field[ERR_FIELD_BYTES];
    rig_close(&r);
    rig_set(&r, "limits.collections", "3");
    rig_open(&r);
    ck_assert_err(put_code(put_op("a"), field), ERR_OK);
    ck_assert_err(put_code(put_op("b"), field), ERR_OK);
    ck_assert_err(put_code(put_op("c"), field), ERR_LIMIT);
    ck_assert_err(put_code(put_op("b"), field), ERR_OK);
}
END_TEST

START_TEST(deleted_and_made_again)
{
    CALL c;
    call_init(&c);
    char field[ERR_FIELD_BYTES];
    struct err e = ERR_INIT;
    struct collection_op op = put_op("a");
    ck_assert_err(put_code(op, field), ERR_OK);
    rig_put_many(&r, "a", 0, 500);
    /* Whoever holds a reference searches on. */
    AUTO_COLLECTION struct collection *held = registry_find(&r.g->registry, STR("a"));
    op.action = COLLECTION_DELETE;
    ck_assert_err(put_code(op, field), ERR_OK);
    struct collection_info info;
    ck_assert_err(engine_collection_get(r.g, STR("a"), c.arena, &info, &e), ERR_NOT_FOUND);
    ck_assert_ok(collection_describe(held, c.arena, &info, &e), &e);
    ck_assert_uint_eq(info.items, 500);
    op.action = COLLECTION_PUT;
    ck_assert_err(put_code(op, field), ERR_OK);
    rig_check_items(&r, "a", 0);
    rig_put_many(&r, "a", 0, 10);
    rig_reopen(&r);
    rig_check_items(&r, "a", 10);
}
END_TEST

START_TEST(writes_meant_for_the_old_one_do_not_reach_the_new)
{
    CALL c;
    call_init(&c);
    char field[ERR_FIELD_BYTES];
    struct err e = ERR_INIT;
    struct collection_info old;
    struct collection_op op = put_op("a");
    ck_assert_err(put_code(op, field), ERR_OK);
    ck_assert_ok(engine_collection_get(r.g, STR("a"), c.arena, &old, &e), &e);
    op.action = COLLECTION_DELETE;
    ck_assert_err(put_code(op, field), ERR_OK);
    op.action = COLLECTION_PUT;
    ck_assert_err(put_code(op, field), ERR_OK);

    struct upsert_item item = { .key = STR("k"), .text = STR("w1 w2"), .metadata = STR("{}") };
    struct upsert_op up = {
        .collection = STR("a"), .collection_id = old.id, .items = &item, .n = 1
    };
    ck_assert_err(rig_upsert(&r, &c, &up), ERR_NOT_FOUND);
    rig_check_items(&r, "a", 0);
    ck_assert_ok(engine_collection_get(r.g, STR("a"), c.arena, &old, &e), &e);
    up.collection_id = old.id;
    ck_assert_err(rig_upsert(&r, &c, &up), ERR_OK);
    rig_check_items(&r, "a", 1);
}
END_TEST

/* Writes and searches while their collection is made and deleted again and again. */
static atomic_bool stop;
static void use_it(void *arg)
{
    (void)arg;
    for (size_t i = 0; !atomic_load(&stop); i++) {
        CALL c;
        call_init(&c);
        struct upsert_item item = {
            .key = STR("k"), .text = i % 2 ? STR("w1 w2") : STR("w3"), .metadata = STR("{}")
        };
        struct upsert_op up = { .collection = STR("a"), .items = &item, .n = 1 };
        enum err_code code = rig_upsert(&r, &c, &up);
        ck_assert(code == ERR_OK || code == ERR_NOT_FOUND);
        struct search_op s = { .collection = STR("a"), .text = STR("w1"), .k = 3 };
        code = rig_search(&r, &c, &s);
        ck_assert(code == ERR_OK || code == ERR_NOT_FOUND);
    }
}
START_TEST(deleted_under_load)
{
    struct thread t[3] = { 0 };
    struct err e = ERR_INIT;
    char field[ERR_FIELD_BYTES];
    atomic_store(&stop, false);
    for (size_t i = 0; i < 3; i++)
        ck_assert_ok(thread_start(&t[i], "use", use_it, NULL, &e), &e);
    for (int i = 0; i < 30; i++) {
        struct collection_op op = put_op("a");
        ck_assert_err(put_code(op, field), ERR_OK);
        op.action = COLLECTION_DELETE;
        ck_assert_err(put_code(op, field), ERR_OK);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 3; i++)
        thread_join(&t[i]);
}
END_TEST

START_TEST(listed_by_name)
{
    CALL c;
    call_init(&c);
    struct err e = ERR_INIT;
    struct collection_info *rows;
    size_t n;
    char field[ERR_FIELD_BYTES];
    const char *const names[] = { "b", "zz", "B", "a" };
    for (size_t i = 0; i < 4; i++)
        ck_assert_err(put_code(put_op(names[i]), field), ERR_OK);
    ck_assert_ok(engine_collections(r.g, c.arena, &rows, &n, &e), &e);
    const char *const want[] = { "B", "a", "b", "default", "zz" };
    ck_assert_uint_eq(n, 5);
    for (size_t i = 0; i < n; i++)
        ck_assert(str_is(rows[i].name, want[i]));
}
END_TEST

TEST_SUITE(collection_ops)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, default_is_there);
    tcase_add_test(tc, made_once_and_compared);
    tcase_add_test(tc, bad_ones);
    tcase_add_test(tc, no_more_than_allowed);
    tcase_add_test(tc, deleted_and_made_again);
    tcase_add_test(tc, writes_meant_for_the_old_one_do_not_reach_the_new);
    tcase_add_test(tc, deleted_under_load);
    tcase_add_test(tc, listed_by_name);
    suite_add_tcase(s, tc);
}
