/* Against SciPy (tests/data/core/gate.json, made by tools/ref/gate.py), against cases known exactly, and how
 * often it errs when there is no difference. */
#include "core/eval/gate.h"

#include "base/rng.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { RANKS_MAX = 1000 };

static const struct gate_options defaults = GATE_OPTIONS_DEFAULTS;
static uint32_t before[RANKS_MAX], after[RANKS_MAX];

static struct gate_report judge(size_t n, const struct gate_options *o)
{
    struct gate_report r;
    struct err e = ERR_INIT;
    ck_assert_ok(gate_judge(before, after, n, 0.8, 0.8, o, &r, &e), &e);
    return r;
}

/* Of n queries the first `up` come into the first ten, the next `down` fall out of them, the rest stay. */
static void moved(size_t n, size_t up, size_t down)
{
    for (size_t i = 0; i < n; i++) {
        before[i] = i < up ? 11 : 1;
        after[i] = i < up || i >= up + down ? 1 : 11;
    }
}

static size_t read_ranks(const json_t *list, uint32_t *ret)
{
    size_t n = json_array_size(list);
    ck_assert_uint_le(n, RANKS_MAX);
    for (size_t i = 0; i < n; i++)
        ret[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void check_gain(const json_t *want, const struct gate_gain *got, size_t n)
{
    double mean = json_number_value(json_array_get(want, 0));
    double low = json_number_value(json_array_get(want, 1));
    double high = json_number_value(json_array_get(want, 2));
    ck_assert_near(&got->mean, &mean, 1, 1e-9, 0.0);
    /* Both are drawn: a twentieth of the width, and the grid of sums of n. */
    double near = 0.05 * (high - low) + 1 / (double)n;
    ck_assert_near(&got->low, &low, 1, near, 0.0);
    ck_assert_near(&got->high, &high, 1, near, 0.0);
}

START_TEST(intervals_as_scipy)
{
    json_t *cases = json_load_file("tests/data/core/gate.json", 0, NULL);
    ck_assert_uint_ge(json_array_size(cases), 5);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        size_t n = read_ranks(json_object_get(c, "before"), before);
        ck_assert_uint_eq(read_ranks(json_object_get(c, "after"), after), n);
        struct gate_options o = defaults;
        o.test = (size_t)json_integer_value(json_object_get(c, "test"));
        struct gate_report r = judge(n, &o);
        check_gain(json_object_get(c, "recall_at_10"), &r.recall_at_10, n);
        check_gain(json_object_get(c, "mrr_at_10"), &r.mrr_at_10, n);
        check_gain(json_object_get(c, "ndcg_at_10"), &r.ndcg_at_10, n);
        double level = json_number_value(json_object_get(c, "level"));
        double p = json_number_value(json_object_get(c, "sign_p"));
        ck_assert_near(&r.level, &level, 1, 1e-12, 0.0);
        ck_assert_near(&r.sign_p, &p, 1, 1e-12, 1e-9);
        ck_assert_int_eq((int64_t)r.up, json_integer_value(json_object_get(c, "up")));
        ck_assert_int_eq((int64_t)r.down, json_integer_value(json_object_get(c, "down")));
    }
    json_decref(cases);
}
END_TEST

START_TEST(interval_of_a_binomial)
{
    /* 40 of 400 queries moved, all up: a draw's sum is binomial (400, 0.1), whose 2.5 and 97.5 percentiles
     * are 29 and 52. */
    moved(400, 40, 0);
    struct gate_report r = judge(400, &defaults);
    const double want[] = { 0.1, 29.0 / 400, 52.0 / 400, 0.95 };
    const double got[] = { r.recall_at_10.mean, r.recall_at_10.low, r.recall_at_10.high, r.level };
    ck_assert_near(got, want, 4, 1.0 / 400 + 1e-9, 0.0);
    ck_assert(r.promote && !r.vetoed && !r.by_mrr);
    ck_assert_ptr_nonnull(strstr(r.why, "better: recall@10 0.900 -> 1.000 over 400 held-out"));
    ck_assert_ptr_nonnull(strstr(r.why, "gain +0.100, 95 % interval +0.0"));
    ck_assert_ptr_nonnull(strstr(r.why, "general sentences 0.800 -> 0.800, allowed fall 0.02"));
}
END_TEST

START_TEST(nothing_moved)
{
    moved(100, 0, 0);
    struct gate_report r = judge(100, &defaults);
    ck_assert(!r.promote && !r.vetoed);
    ck_assert(r.by_mrr); /* all were found */
    ck_assert(r.mrr_at_10.low == 0 && r.mrr_at_10.high == 0 && fabs(r.sign_p - 1) < 1e-12);
    ck_assert_int_eq(strncmp(r.why, "not proven better: MRR@10", 25), 0);
}
END_TEST

START_TEST(a_few_that_moved_prove_nothing)
{
    /* The bootstrap alone would promote: a draw of 400 misses all five with probability 0.007. */
    moved(400, 5, 0);
    struct gate_report r = judge(400, &defaults);
    ck_assert(r.by_mrr); /* 0.9875 */
    ck_assert(r.mrr_at_10.low > 0 && r.sign_p > 0.025);
    ck_assert(!r.promote);
    ck_assert_ptr_nonnull(strstr(r.why, "but only 5 got better and 0 worse"));
    moved(400, 6, 0);
    r = judge(400, &defaults);
    ck_assert(r.promote && fabs(r.sign_p - 1.0 / 64) < 1e-12);
}
END_TEST

START_TEST(worse_is_not_better)
{
    moved(300, 10, 40);
    struct gate_report r = judge(300, &defaults);
    ck_assert(!r.promote && r.recall_at_10.high < 0);
}
END_TEST

START_TEST(at_the_ceiling_the_order_counts)
{
    for (size_t i = 0; i < 200; i++) {
        before[i] = 3;
        after[i] = i % 4 ? 3 : 1;
    }
    struct gate_report r = judge(200, &defaults);
    ck_assert(r.by_mrr && r.promote);
    ck_assert(r.recall_at_10.mean == 0 && r.mrr_at_10.low > 0);
    before[0] = before[1] = before[2] = before[3] = before[4] = 99; /* room again: 0.975 */
    after[0] = after[1] = after[2] = after[3] = after[4] = 99;
    r = judge(200, &defaults);
    ck_assert(!r.by_mrr && !r.promote);
}
END_TEST

START_TEST(veto_by_general_sentences)
{
    struct gate_report r;
    moved(400, 40, 0);
    ck_assert_ok(gate_judge(before, after, 400, 0.80, 0.78, &defaults, &r, NULL));
    ck_assert(!r.vetoed && r.promote);
    ck_assert_ok(gate_judge(before, after, 400, 0.80, 0.7799, &defaults, &r, NULL));
    ck_assert(r.vetoed && !r.promote);
    ck_assert_int_eq(strncmp(r.why, "general sentences suffer:", 25), 0);
    ck_assert_ok(gate_judge(before, after, 400, 0.80, (double)NAN, &defaults, &r, NULL));
    ck_assert(r.vetoed && !r.promote);
}
END_TEST

START_TEST(small_falls_do_not_add_up)
{
    struct gate_options o = defaults;
    struct gate_report r;
    moved(400, 40, 0);
    o.anchor_base = 0.80;
    ck_assert_ok(gate_judge(before, after, 400, 0.79, 0.781, &o, &r, NULL));
    ck_assert(!r.vetoed && r.promote);
    ck_assert_ok(gate_judge(before, after, 400, 0.79, 0.779, &o, &r, NULL));
    ck_assert(r.vetoed);
    ck_assert_ptr_nonnull(
        strstr(r.why, "general sentences 0.790 -> 0.779, allowed fall 0.02 from 0.800"));
    /* Better than the base: from there. */
    ck_assert_ok(gate_judge(before, after, 400, 0.83, 0.809, &o, &r, NULL));
    ck_assert(r.vetoed);
    /* Far below it already: no further. */
    ck_assert_ok(gate_judge(before, after, 400, 0.70, 0.70, &o, &r, NULL));
    ck_assert(!r.vetoed);
    ck_assert_ok(gate_judge(before, after, 400, 0.70, 0.699, &o, &r, NULL));
    ck_assert(r.vetoed);
}
END_TEST

START_TEST(later_tests_are_stricter)
{
    struct gate_options o = defaults;
    double sum = 0;
    moved(400, 8, 0);
    ck_assert(judge(400, &o).promote);
    o.test = 3; /* 8 of 8: 1/256, of which the third test may err in 1/240 */
    ck_assert(judge(400, &o).promote);
    o.test = 4;
    ck_assert(!judge(400, &o).promote);
    moved(400, 40, 20); /* rests on the interval */
    o.test = 1;
    ck_assert(judge(400, &o).promote);
    o.test = 8;
    ck_assert(!judge(400, &o).promote);
    for (o.test = 1; o.test <= 40; o.test += 13)
        ck_assert(judge(400, &o).level < 1);
    for (size_t k = 1; k < 100000; k++)
        sum += defaults.alpha / ((double)k * (double)(k + 1));
    ck_assert(sum < defaults.alpha && sum > 0.9999 * defaults.alpha);
}
END_TEST

/* Queries with one answer rise and fall together: 50 for each of 20 documents are 20 coins, not 1,000. */
START_TEST(queries_of_one_document_count_together)
{
    enum { N = 1000 };
    static uint32_t from[N], to[N];
    static size_t documents[N];
    struct gate_options o = defaults;
    struct gate_report r;
    o.documents = documents;
    for (size_t i = 0; i < N; i++) {
        from[i] = 11;
        to[i] = i % 40 < 4 ? 1 : 11; /* with 40 documents: 4 of them got better, 100 queries */
        documents[i] = i % 40;
    }
    ck_assert_ok(gate_judge(from, to, N, 0.8, 0.8, &o, &r, NULL), NULL);
    ck_assert(!r.promote && r.documents == 40 && r.up == 4 && r.down == 0);
    ck_assert_double_eq_tol(r.recall_at_10.mean, 0.1, 1e-12);
    ck_assert_double_lt(r.recall_at_10.low, 0.03);
    o.documents = NULL;
    ck_assert_ok(gate_judge(from, to, N, 0.8, 0.8, &o, &r, NULL), NULL);
    ck_assert(r.promote && r.up == 100); /* what it would have said */
    o.documents = documents;
    for (size_t i = 0; i < N; i++)
        to[i] = i % 40 < 20 ? 1 : 11;
    ck_assert_ok(gate_judge(from, to, N, 0.8, 0.8, &o, &r, NULL), NULL);
    ck_assert(r.promote && r.up == 20);
    for (size_t i = 0; i < N; i++) {
        documents[i] = i % 29;
        to[i] = 1;
    }
    ck_assert_ok(gate_judge(from, to, N, 0.8, 0.8, &o, &r, NULL), NULL);
    ck_assert(!r.promote && strstr(r.why, "too few") != NULL);
    for (size_t i = 0; i < N; i++)
        documents[i] = N - 1 - i; /* each its own: as without */
    ck_assert_ok(gate_judge(from, to, N, 0.8, 0.8, &o, &r, NULL), NULL);
    ck_assert(r.promote && r.documents == N);
}
END_TEST

START_TEST(refuses)
{
    struct gate_report r = { .up = 9 };
    struct gate_options o = defaults;
    moved(10, 1, 1);
    ck_assert_err(gate_judge(before, after, 1, 0, 0, &defaults, &r, NULL), ERR_INVALID);
    o.test = 0;
    ck_assert_err(gate_judge(before, after, 10, 0, 0, &o, &r, NULL), ERR_INVALID);
    o = defaults;
    o.alpha = 0;
    ck_assert_err(gate_judge(before, after, 10, 0, 0, &o, &r, NULL), ERR_INVALID);
    o = defaults;
    o.resamples = 99;
    ck_assert_err(gate_judge(before, after, 10, 0, 0, &o, &r, NULL), ERR_INVALID);
    after[3] = 0;
    ck_assert_err(gate_judge(before, after, 10, 0, 0, &defaults, &r, NULL), ERR_INVALID);
    ck_assert_uint_eq(r.up, 9);
}
END_TEST

START_TEST(same_seed_same_word)
{
    moved(300, 30, 20);
    struct gate_report a = judge(300, &defaults), b = judge(300, &defaults);
    ck_assert(a.recall_at_10.low == b.recall_at_10.low && a.mrr_at_10.high == b.mrr_at_10.high);
}
END_TEST

/* How often two models that are equally good, but differ in `share` of n queries, make it promote. */
static size_t promoted_by_mistake(size_t n, double share, size_t rounds, struct rng *rng)
{
    struct gate_options o = { .alpha = 0.05, .test = 1, .resamples = 500, .anchor_base = -1 };
    size_t promoted = 0;
    for (size_t t = 0; t < rounds; t++) {
        for (size_t i = 0; i < n; i++) {
            bool differ = rng_unit(rng) < share, up = rng_below(rng, 2);
            before[i] = differ ? (up ? 20 : 2) : 1 + (uint32_t)(i % 20);
            after[i] = differ ? (up ? 2 : 20) : before[i];
        }
        o.seed = rng_u64(rng);
        promoted += judge(n, &o).promote;
    }
    return promoted;
}

START_TEST(errs_as_often_as_it_says)
{
    struct rng rng;
    rng_init(&rng, 7);
    size_t rounds = test_is_slow_run() ? 200 : 1000;
    size_t wrong = promoted_by_mistake(50, 0.1, rounds, &rng) +
        promoted_by_mistake(50, 0.4, rounds, &rng) + promoted_by_mistake(300, 0.1, rounds, &rng) +
        promoted_by_mistake(300, 0.4, rounds, &rng);
    /* 2.5 % of them all, and three standard errors of that. */
    double all = (double)(4 * rounds), limit = 0.025 * all + 3 * sqrt(0.025 * 0.975 * all);
    ck_assert_msg((double)wrong <= limit, "%zu of %.0f", wrong, all);
    ck_assert_uint_ge(
        wrong, rounds / 50); /* nor is it useless: it errs at 2.5 %, less for whole counts */
}
END_TEST

static enum err_code judge_once(void)
{
    struct gate_report r;
    moved(20, 10, 0);
    return gate_judge(before, after, 20, 1, 1, &defaults, &r, NULL);
}

START_TEST(out_of_memory)
{
    OOM_LOOP(judge_once);
}
END_TEST

TEST_SUITE(gate)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, intervals_as_scipy);
    tcase_add_test(tc, interval_of_a_binomial);
    tcase_add_test(tc, nothing_moved);
    tcase_add_test(tc, a_few_that_moved_prove_nothing);
    tcase_add_test(tc, worse_is_not_better);
    tcase_add_test(tc, at_the_ceiling_the_order_counts);
    tcase_add_test(tc, veto_by_general_sentences);
    tcase_add_test(tc, small_falls_do_not_add_up);
    tcase_add_test(tc, later_tests_are_stricter);
    tcase_add_test(tc, queries_of_one_document_count_together);
    tcase_add_test(tc, refuses);
    tcase_add_test(tc, same_seed_same_word);
    tcase_add_test(tc, errs_as_often_as_it_says);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
