/* Many searches in one call: the very hits that each has by itself, whichever way it goes. */
#include <string.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { DIM = 48, SLOTS = 3000, QUERIES = 37, K = 12 };

static struct index *ix;
static struct index_scratch *scratch, *alone;
static float vectors[QUERIES][DIM];
static struct index_query q[QUERIES];
static struct index_hit hits[QUERIES][K], *ret_hits[QUERIES];
static size_t ret_n[QUERIES], failed;

static void set_up(enum metric_kind metric, unsigned bits)
{
    struct err e = ERR_INIT;
    struct rng r;
    struct index_options o = small_options(DIM, metric);
    float v[DIM];
    o.bits = bits;
    rng_init(&r, 3);
    scratch = index_scratch_new();
    alone = index_scratch_new();
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    for (size_t slot = 0; slot < SLOTS; slot++) {
        random_vector(&r, v, DIM);
        ck_assert_ok(index_put(ix, slot, v, &e), &e);
    }
    for (size_t i = 0; i < QUERIES; i++) {
        random_vector(&r, vectors[i], DIM);
        q[i] = (struct index_query){ .vector = vectors[i], .k = 1 + i % K };
        ret_hits[i] = hits[i];
    }
}

static void tear_down(void)
{
    index_free(ix);
    index_scratch_free(scratch);
    index_scratch_free(alone);
}

static void must_agree(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(index_search_batch(ix, q, QUERIES, scratch, ret_hits, ret_n, &failed, &e), &e);
    for (size_t i = 0; i < QUERIES; i++) {
        struct index_hit want[K];
        size_t n;
        ck_assert_ok(index_search(ix, &q[i], alone, want, &n, NULL, &e), &e);
        ck_assert_uint_eq(ret_n[i], n);
        for (size_t j = 0; j < n; j++) {
            ck_assert_uint_eq(hits[i][j].id, want[j].id);
            ck_assert_float_eq(hits[i][j].score, want[j].score);
        }
    }
}

START_TEST(scans_and_walks_as_if_alone)
{
    uint64_t bits[SLOTS / 64 + 1];
    struct index_allow allow = { bits, SLOTS, SLOTS / 4 };
    for (size_t i = 0; i < SLOTS / 64 + 1; i++)
        bits[i] = UINT64_C(0x1111111111111111);
    set_up((enum metric_kind)(_i % 3), _i < 3 ? 24 : 12);
    must_agree(); /* nothing is linked: scans of the tail */
    link_all(ix, scratch);
    for (size_t i = 0; i < QUERIES; i++) {
        q[i].exact = i % 5 != 0; /* runs of scans with walks between them */
        q[i].ef = i % 5 == 0 ? 16 : 0;
        if (i > 20) q[i].allow = &allow;
        q[i].has_min_score = i == 30;
    }
    must_agree();
    tear_down();
}
END_TEST

START_TEST(an_error_names_its_query)
{
    struct err e = ERR_INIT;
    set_up(INDEX_COSINE, 24);
    for (size_t bad = 0; bad < QUERIES; bad += 9) {
        for (size_t i = 0; i < QUERIES; i++)
            q[i].exact = true;
        q[bad].k = INDEX_K_MAX + 1;
        failed = SIZE_MAX;
        ck_assert_int_eq(
            index_search_batch(ix, q, QUERIES, scratch, ret_hits, ret_n, &failed, &e), ERR_INVALID);
        ck_assert_uint_eq(failed, bad);
        q[bad].k = 3;
    }
    memset(vectors[7], 0, sizeof vectors[7]); /* a vector of zeros has no direction */
    ck_assert_int_eq(
        index_search_batch(ix, q, QUERIES, scratch, ret_hits, ret_n, &failed, &e), ERR_INVALID);
    ck_assert_uint_eq(failed, 7);
    ck_assert_ok(index_search_batch(ix, q, 0, scratch, ret_hits, ret_n, &failed, &e), &e);
    tear_down();
}
END_TEST

TEST_SUITE(batch)
{
    TCase *tc = tcase_create("core");
    tcase_add_loop_test(tc, scans_and_walks_as_if_alone, 0, 6);
    tcase_add_test(tc, an_error_names_its_query);
    suite_add_tcase(s, tc);
}
