/* Hidden rows layer by layer against PyTorch's, in work space of exactly the size that is asked for. */
#include "core/model/bert.h"

#include "base/mem.h"
#include "tests/core/model_fixture.h"
#include "tests/support/test.h"

#include <string.h>

enum { DIM = 32, TEXTS = 20 };

static struct tokenizer *tokenizer;
static struct bert_model *m;
static float *work;
static uint32_t *ids;
static size_t starts[TEXTS + 1];

static void load(enum encoder_products products)
{
    struct model_config config;
    const struct encoder_ops *ops = NULL;
    struct weights *w = NULL;
    struct bert_config c;
    struct bert_params p;
    struct err e = ERR_INIT;
    ck_assert_ok(tokenizer_load(FIXTURE_BERT, &tokenizer, &e), &e);
    ck_assert_ok(model_config_read(FIXTURE_BERT, &config, &ops, &e), &e);
    ck_assert_ok(weights_open(FIXTURE_BERT, NULL, &w, &e), &e);
    const struct model_source src = { FIXTURE_BERT, &config, w, tokenizer, vec_select(VEC_BEST),
        products };
    ck_assert_ok(bert_config_read(&src, &c, &e), &e);
    ck_assert_ok(bert_params_read(&src, &c, &p, &e), &e);
    ck_assert_ok(bert_model_new(&c, &p, products, &m, &e), &e);
    ck_assert_uint_ge(bert_model_bytes(m), (p.n - c.types * c.hidden) * sizeof(float));
    bert_params_done(&p);
    weights_close(w);
    work = mem_alloc_aligned(64, bert_workspace_floats(m), sizeof *work);
    ck_assert_ptr_nonnull(work);
}

static void set_up(void)
{
    size_t n = 0;
    AUTO_FREE int32_t *from = fixture_expected_ids("ids", &n);
    AUTO_FREE int32_t *at = fixture_expected_ids("starts", NULL);
    ids = mem_alloc(n, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)from[i];
    for (size_t i = 0; i <= TEXTS; i++)
        starts[i] = (size_t)at[i];
}

static void tear_down(void)
{
    bert_model_free(m);
    tokenizer_free(tokenizer);
    mem_free(work);
    mem_free(ids);
}

static const enum encoder_products PRODUCTS[] = { PRODUCTS_PACKED, PRODUCTS_BLAS };

START_TEST(layer_by_layer)
{
    static const char *const names[] = { "hidden.0", "hidden.1", "hidden.2" };
    const struct packed_batch b = { ids, starts, 1 };
    load(PRODUCTS[_i]);
    for (size_t layers = 0; layers <= 2; layers++) {
        size_t n = 0;
        AUTO_FREE float *want = fixture_expected(names[layers], &n);
        AUTO_FREE float *got = mem_alloc(n, sizeof *got);
        ck_assert_ptr_nonnull(got);
        ck_assert_uint_eq(n, starts[1] * DIM);
        bert_hidden(m, &b, layers, work, got);
        ck_assert_near(got, want, n, 1e-5, 0);
    }
}
END_TEST

/* Hidden rows of all texts, then the head, are what a forward gives at once. */
START_TEST(hidden_and_head)
{
    const struct packed_batch b = { ids, starts, TEXTS };
    float together[TEXTS * DIM], apart[TEXTS * DIM];
    size_t n = 0;
    AUTO_FREE float *want = fixture_expected("embedding", &n);
    AUTO_FREE float *hidden = mem_alloc(starts[TEXTS] * DIM, sizeof *hidden);
    ck_assert_ptr_nonnull(hidden);
    load(PRODUCTS[_i]);
    bert_hidden(m, &b, 2, work, hidden);
    bert_head(m, &b, hidden, work, apart);
    bert_forward(m, &b, work, together);
    ck_assert_mem_eq(apart, together, sizeof apart);
    ck_assert_near(together, want, n, 1e-5, 0);
}
END_TEST

TEST_SUITE(bert_model)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, layer_by_layer, 0, 2);
    tcase_add_loop_test(tc, hidden_and_head, 0, 2);
    suite_add_tcase(s, tc);
}
