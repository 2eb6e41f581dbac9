#include "engine/encode.h"

#include "engine/engine_internal.h"
#include "tests/engine/rig.h"
#include "tests/support/tiny_model.h"

#include <string.h>

/* Models that cost: budgets by cost, lanes, deadlines. */

enum { MANY = 2048, LONG = 200, BATCH = 4096 };
static struct rig r;
static char long_text[LONG];
static struct str texts[MANY];

static void setup(void)
{
    char models[TMPDIR_PATH_BYTES];
    rig_init(&r);
    rig_set(&r, "encode.threads", "1");
    tiny_bert_write(tmpdir_file(&r.dir, "models", models), "bert", 3);
    rig_open(&r);
    for (size_t i = 0; i + 1 < LONG; i++)
        long_text[i] = i % 2 ? ' ' : (char)('a' + i % 26);
    for (size_t i = 0; i < MANY; i++)
        texts[i] = str_from(long_text);
}
static void teardown(void)
{
    rig_done(&r);
}

/* How a request for `n` texts of 1,024 bytes is cut. */
static size_t count_jobs(size_t flops_per_token, size_t max_tokens, size_t n, size_t *ret_cost)
{
    static char text[1024];
    struct err e = ERR_INIT;
    struct encode_text in[64] = { 0 };
    const struct encoder_info info = { .flops_per_token = flops_per_token,
        .max_tokens = max_tokens };
    const struct model m = { .info = &info };
    CALL c;
    call_init(&c);
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < n; i++)
        in[i].text = (struct str){ text, sizeof text };
    struct encode_request rq = { .model = &m, .arena = c.arena, .texts = in, .n = n };
    ck_assert_ok(encode_prepare(&rq, BATCH, &e), &e);
    for (size_t i = 0; i < rq.n_jobs; i++)
        ck_assert(rq.jobs[i].n == 1 || rq.jobs[i].node.cost <= BATCH / 2);
    *ret_cost = encode_cost(&m, ENCODE_QUERY, in[0].text);
    return rq.n_jobs;
}

START_TEST(cost_decides_how_much_is_a_pass)
{
    size_t cost;
    ck_assert_uint_eq(count_jobs(64, 0, 64, &cost), 16);
    ck_assert_uint_eq(cost, 258);
    ck_assert_uint_eq(count_jobs((size_t)21 << 20, 256, 64, &cost), 64); /* a text alone is much */
    ck_assert_uint_eq(cost, 256 * 21);
    ck_assert_uint_eq(
        count_jobs((size_t)21 << 20, 8, 64, &cost), 10); /* what is cut costs nothing */
    ck_assert_uint_eq(cost, 8 * 21);
}
END_TEST

START_TEST(a_prompt_costs_as_text_does)
{
    const struct encoder_info info = { .max_tokens = 100,
        .flops_per_token = (size_t)2 << 20,
        .prompts = { [ENCODE_QUERY] = "12345678" } };
    const struct model m = { .info = &info };
    ck_assert_uint_eq(encode_cost(&m, ENCODE_DOCUMENT, STR("abcd")), 2 * 3);
    ck_assert_uint_eq(encode_cost(&m, ENCODE_QUERY, STR("abcd")), 2 * 5);
    ck_assert_uint_eq(encode_cost(NULL, ENCODE_QUERY, STR("abcd")), 3);
}
END_TEST

START_TEST(how_long_what_waits_will_take)
{
    struct encoders x = { .n_threads = 2 };
    ck_assert_uint_eq(encode_seconds_for(&x, 1000000), 1); /* not known */
    atomic_init(&x.unit_ps, 20000000);                     /* 50,000 units a second and thread */
    ck_assert_uint_eq(encode_seconds_for(&x, 0), 1);
    ck_assert_uint_eq(encode_seconds_for(&x, 100000), 1);
    ck_assert_uint_eq(encode_seconds_for(&x, 1000001), 11);
    ck_assert_uint_eq(encode_seconds_for(&x, (size_t)1 << 40), 60);

    CALL c;
    call_init(&c);
    struct embed_op op = { .model = STR("bert"), .texts = texts, .n = 64, .keep_long = true };
    ck_assert_ok(rig_embed(&r, &c, &op), &op.op.err);
    long long ps = atomic_load(&r.g->encoders.unit_ps);
    ck_assert_int_gt(ps, 1000);          /* a nanosecond a token: nothing is so fast */
    ck_assert_int_lt(ps, 1000000000000); /* a second */
    ck_assert_uint_eq(engine_retry_after_s(r.g), 1);
}
END_TEST

START_TEST(a_query_does_not_wait_for_an_import)
{
    CALL bulk;
    CALL c;
    struct err e = ERR_INIT;
    call_init(&bulk);
    call_init(&c);
    struct embed_op many = {
        .model = STR("bert"), .texts = texts, .n = MANY, .lane = LANE_BULK, .keep_long = true
    };
    call_begin(&bulk, &many.op);
    enum err_code code = engine_embed(r.g, &many, &e);
    struct embed_op one = { .model = STR("bert"), .texts = texts, .n = 1, .keep_long = true };
    ck_assert_ok(rig_embed(&r, &c, &one), &one.op.err);
    mutex_lock(&bulk.lock);
    bool done = bulk.done;
    mutex_unlock(&bulk.lock);
    ck_assert(!done);
    ck_assert_ok(call_wait(&bulk, &many.op, code, &e), &many.op.err);
}
END_TEST

/* Nor is anything encoded for somebody who has gone. */
START_TEST(nothing_is_encoded_past_the_deadline)
{
    CALL c;
    call_init(&c);
    double before = rig_tokens_encoded();
    struct embed_op op = {
        .model = STR("bert"), .texts = texts, .n = MANY, .lane = LANE_BULK, .keep_long = true
    };
    op.op.deadline_ns = time_mono_ns() + 20 * NS_PER_MS;
    ck_assert_err(rig_embed(&r, &c, &op), ERR_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(op.op.err.msg, "send fewer"));
    ck_assert_double_lt(rig_tokens_encoded() - before, MANY * TINY_BERT_TOKENS / 2);
    struct embed_op one = { .model = STR("bert"), .texts = texts, .n = 1, .keep_long = true };
    ck_assert_ok(rig_embed(&r, &c, &one), &one.op.err);
}
END_TEST

TEST_SUITE(encode)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, cost_decides_how_much_is_a_pass);
    tcase_add_test(tc, a_prompt_costs_as_text_does);
    tcase_add_test(tc, how_long_what_waits_will_take);
    tcase_add_test(tc, a_query_does_not_wait_for_an_import);
    tcase_add_test(tc, nothing_is_encoded_past_the_deadline);
    suite_add_tcase(s, tc);
}
