#include "tests/engine/rig.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct rig r;

/* A model for whose last word but one the last is the exact opposite. */
static void write_opposites(const char *models)
{
    struct err e = ERR_INIT;
    char *file;
    size_t n, dim = 16;
    tiny_model_write(models, "opposites", dim, 9);
    AUTO_FREE char *path = path_join(models, "opposites/model.safetensors");
    ck_assert_ok(file_read(path, 1 << 20, &file, &n, &e), &e);
    float row[16]; /* the file ends with the last word's */
    memcpy(row, file + n - 2 * sizeof row, sizeof row);
    for (size_t i = 0; i < dim; i++)
        row[i] = -row[i];
    memcpy(file + n - sizeof row, row, sizeof row);
    ck_assert_ok(file_write_atomic(path, file, n, &e), &e);
    mem_free(file);
}

static void setup(void)
{
    char path[TMPDIR_PATH_BYTES];
    rig_init(&r);
    tiny_model_write(tmpdir_file(&r.dir, "models", path), "other", 16, 8);
    write_opposites(path);
    rig_open(&r);
}
static void teardown(void)
{
    rig_done(&r);
}

static double norm(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

START_TEST(rows_in_input_order)
{
    enum { N = 300 };
    CALL c, one;
    call_init(&c);
    call_init(&one);
    struct str texts[N];
    for (size_t i = 0; i < N; i++) {
        char *text = arena_alloc(c.arena, 64, 1);
        rig_text(i, text);
        texts[i] = str_from(text);
    }
    struct embed_op op = { .texts = texts, .n = N, .lane = LANE_BULK, .normalize = true };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.ret_dimensions, RIG_DIM);
    ck_assert_uint_eq(op.ret_tokens, 4 * N);
    ck_assert(str_is(op.ret_model.name, "tiny"));
    for (size_t i = 0; i < N; i += 37) {
        struct embed_op single = { .texts = &texts[i], .n = 1, .normalize = true };
        ck_assert_ok(rig_embed(&r, &one, &single), &single.op.err);
        ck_assert_near(op.vectors + i * RIG_DIM, single.vectors, RIG_DIM, 1e-6, 0);
        ck_assert(fabs(norm(single.vectors, RIG_DIM) - 1) < 1e-5);
    }
}
END_TEST

START_TEST(fewer_dimensions)
{
    CALL c;
    call_init(&c);
    const struct str texts[] = { STR("w1 w2"), STR("w3") };
    struct embed_op whole = { .texts = texts, .n = 2, .normalize = true };
    ck_assert_ok(rig_embed(&r, &c, &whole), &whole.op.err);
    struct embed_op cut = { .texts = texts, .n = 2, .normalize = true, .dimensions = 8 };
    ck_assert_ok(rig_embed(&r, &c, &cut), &cut.op.err);
    ck_assert_uint_eq(cut.ret_dimensions, 8);
    for (size_t i = 0; i < 2; i++) {
        float want[8];
        double length = norm(whole.vectors + i * RIG_DIM, 8);
        for (size_t d = 0; d < 8; d++)
            want[d] = (float)((double)whole.vectors[i * RIG_DIM + d] / length);
        ck_assert_near(cut.vectors + i * 8, want, 8, 1e-6, 0);
    }
    struct embed_op raw = { .texts = texts, .n = 2, .dimensions = 8 };
    ck_assert_ok(rig_embed(&r, &c, &raw), &raw.op.err);
    ck_assert_near(raw.vectors + 8, whole.vectors + RIG_DIM, 8, 1e-6, 0);
    raw.dimensions = RIG_DIM + 1;
    ck_assert_err(rig_embed(&r, &c, &raw), ERR_INVALID);
    ck_assert_str_eq(raw.op.err.field, "/dimensions");
}
END_TEST

START_TEST(which_model)
{
    CALL c;
    call_init(&c);
    const struct str text = STR("w1");
    struct embed_op op = { .texts = &text, .n = 1, .model = STR("other@1") };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.ret_dimensions, 16);
    ck_assert(str_is(op.ret_model.name, "other"));
    op = (struct embed_op){ .texts = &text, .n = 1, .collection = STR("default") };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    ck_assert(str_is(op.ret_model.name, "tiny"));
    op.model = STR("other");
    ck_assert_err(rig_embed(&r, &c, &op), ERR_CONFLICT);
    const char *const unknown[] = { "nobody", "tiny@2", "tiny@", "@1" };
    for (size_t i = 0; i < 4; i++) {
        op = (struct embed_op){ .texts = &text, .n = 1, .model = str_from(unknown[i]) };
        ck_assert_err(rig_embed(&r, &c, &op), ERR_NOT_FOUND);
    }
    op = (struct embed_op){ .texts = &text, .n = 1, .collection = STR("nowhere") };
    ck_assert_err(rig_embed(&r, &c, &op), ERR_NOT_FOUND);
}
END_TEST

START_TEST(a_bad_text_names_its_place)
{
    CALL c;
    call_init(&c);
    struct str texts[200];
    for (size_t i = 0; i < 200; i++)
        texts[i] = STR("w1 w2");
    texts[150] = STR("   ");
    struct embed_op op = { .texts = texts, .n = 200 };
    ck_assert_err(rig_embed(&r, &c, &op), ERR_EMPTY);
    ck_assert_str_eq(op.op.err.field, "/150");
    texts[3] = STR("w1 \xc3");
    ck_assert_err(rig_embed(&r, &c, &op), ERR_INVALID);
    ck_assert_str_eq(op.op.err.field, "/3");
    op.n = 0;
    ck_assert_err(rig_embed(&r, &c, &op), ERR_EMPTY);
    op.n = 1;
    op.op.deadline_ns = 1;
    ck_assert_err(rig_embed(&r, &c, &op), ERR_TIMEOUT);
}
END_TEST

START_TEST(long_texts_are_cut_or_refused)
{
    CALL c;
    call_init(&c);
    char text[600] = "w1";
    while (strlen(text) < 500)
        strcat(text, " w1");
    const struct str s = str_from(text);
    struct embed_op op = { .texts = &s, .n = 1, .keep_long = true };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    ck_assert_uint_eq(op.ret_tokens, 64);
    op.keep_long = false;
    ck_assert_err(rig_embed(&r, &c, &op), ERR_LIMIT);
    ck_assert_str_eq(op.op.err.field, "/0");
}
END_TEST

START_TEST(a_full_lane_refuses)
{
    rig_close(&r);
    rig_set(&r, "encode.queue_tokens", "64");
    rig_open(&r);
    enum { N = 40 };
    static struct call calls[N];
    static struct embed_op ops[N];
    static struct str texts[64];
    struct err e = ERR_INIT;
    enum err_code codes[N];
    size_t busy = 0;
    for (size_t i = 0; i < 64; i++)
        texts[i] = STR("w1 w2 w3 w4");
    for (size_t i = 0; i < N; i++) {
        call_init(&calls[i]);
        ops[i] = (struct embed_op){ .texts = texts, .n = 64, .lane = LANE_BULK };
        call_begin(&calls[i], &ops[i].op);
        codes[i] = engine_embed(r.g, &ops[i], &e);
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

START_TEST(a_text_whose_tokens_cancel_out_fails_alone)
{
    CALL c;
    call_init(&c);
    const struct str texts[] = { STR("w254"), STR("w254 w255"), STR("w255 w1") };
    struct embed_op op = { .model = STR("opposites"), .texts = texts, .n = 3 };
    ck_assert_err(rig_embed(&r, &c, &op), ERR_EMPTY);
    ck_assert_str_eq(op.op.err.field, "/1");

    struct collection_op make = { .action = COLLECTION_PUT,
        .spec = { .name = STR("odd"), .model = STR("opposites") } };
    ck_assert_ok(rig_collection(&r, &c, &make), &make.op.err);
    struct upsert_item items[3] = { 0 };
    for (size_t i = 0; i < 3; i++) {
        static const char *const keys[] = { "a", "b", "c" };
        items[i] = (struct upsert_item){ .key = str_from(keys[i]), .text = texts[i] };
    }
    struct upsert_op put = { .collection = STR("odd"), .items = items, .n = 3 };
    ck_assert_ok(rig_upsert(&r, &c, &put), &put.op.err);
    ck_assert_uint_eq(put.n_new, 2);
    ck_assert_int_eq(items[1].outcome, UPSERT_FAILED);
    rig_reopen(&r); /* nothing is stored that cannot be indexed */
    rig_check_items(&r, "odd", 2);
}
END_TEST

TEST_SUITE(embed)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, rows_in_input_order);
    tcase_add_test(tc, fewer_dimensions);
    tcase_add_test(tc, which_model);
    tcase_add_test(tc, a_bad_text_names_its_place);
    tcase_add_test(tc, a_text_whose_tokens_cancel_out_fails_alone);
    tcase_add_test(tc, long_texts_are_cut_or_refused);
    tcase_add_test(tc, a_full_lane_refuses);
    suite_add_tcase(s, tc);
}
