/* index_search: every metric and odd dimensions, the choice between scan and walk, filters, fallbacks,
 * limits. A small ef makes the walk cheaper than a scan, so that it is what runs. */
#include "index/index_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "index/force.h"
#include "index/snapshot.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

struct world {
    struct oracle x;
    struct index *ix;
    struct index_scratch *s;
    struct rng r;
    float v[512];
};

static void open_world(struct world *w, const struct index_options *o, size_t n)
{
    struct err e = ERR_INIT;
    ck_assert_ok(index_new(o, &w->ix, &e), &e);
    w->s = index_scratch_new();
    oracle_init(&w->x, o, n);
    rng_init(&w->r, 11 + o->dim);
    for (size_t i = 0; i < n; i++) {
        random_vector(&w->r, w->v, o->dim);
        oracle_put(&w->x, w->ix, i, w->v);
    }
}

static void close_world(struct world *w)
{
    must_verify(w->ix);
    oracle_done(&w->x);
    index_scratch_free(w->s);
    index_free(w->ix);
}

/** Mean recall over random queries with q's settings. */
static double ask(struct world *w, struct index_query q, size_t times, bool exact)
{
    double recall = 0;
    for (size_t i = 0; i < times; i++) {
        random_vector(&w->r, w->v, w->x.o.dim);
        q.vector = w->v;
        recall += oracle_check(&w->x, w->ix, &q, w->s, exact);
    }
    return recall / (double)times;
}

static int ascending(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return (a > b) - (a < b);
}

static const enum metric_kind metrics[] = { INDEX_COSINE, INDEX_DOT, INDEX_L2 };

START_TEST(odd_dimensions)
{
    static const size_t dims[] = { 1, 2, 3, 5, 15, 16, 17, 31, 33, 63, 65, 100, 127, 129, 255,
        257 };
    struct world w;
    struct index_options o = small_options(dims[_i / 3], metrics[_i % 3]);
    open_world(&w, &o, 150);
    ask(&w, (struct index_query){ .k = 10, .exact = true }, 5, true);
    link_all(w.ix, w.s);
    ask(&w, (struct index_query){ .k = 10, .exact = true }, 5, true);
    ask(&w, (struct index_query){ .k = 3, .ef = 3 }, 5, false);
    ask(&w, (struct index_query){ .k = 400 }, 2, true);
    close_world(&w);
}
END_TEST

START_TEST(walk_recall)
{
    struct world w;
    struct index_options o = small_options(24, metrics[_i]);
    open_world(&w, &o, 2500);
    link_all(w.ix, w.s);
    double recall = ask(&w, (struct index_query){ .k = 10, .ef = 60 }, 100, false);
    ck_assert_msg(recall >= 0.95, "recall %.3f", recall);
    close_world(&w);
}
END_TEST

/** Lengths from 1/20 to 20: the answers to a dot product are the long ones, far out in space. */
START_TEST(walk_recall_of_uneven_lengths)
{
    struct world w;
    struct index_options o = small_options(24, INDEX_DOT);
    open_world(&w, &o, 1);
    oracle_done(&w.x);
    oracle_init(&w.x, &o, 2500);
    for (size_t i = 0; i < 2500; i++) {
        random_vector(&w.r, w.v, 24);
        float length = (float)exp(rng_normal(&w.r));
        for (size_t d = 0; d < 24; d++)
            w.v[d] *= length;
        oracle_put(&w.x, w.ix, i, w.v);
    }
    link_all(w.ix, w.s);
    double recall = ask(&w, (struct index_query){ .k = 10, .ef = 60 }, 100, false);
    ck_assert_msg(recall >= 0.95, "recall %.3f", recall);
    close_world(&w);
}
END_TEST

START_TEST(half_linked_and_half_deleted)
{
    struct world w;
    struct index_options o = small_options(20, metrics[_i]);
    open_world(&w, &o, 3000);
    size_t n;
    ck_assert_ok(index_link(w.ix, 1500, w.s, &n, NULL));
    ck_assert_uint_eq(n, 1500);
    double recall = ask(&w, (struct index_query){ .k = 10, .ef = 40 }, 40, false);
    ck_assert_msg(recall >= 0.95, "half linked: recall %.3f", recall);
    for (size_t i = 0; i < 3000; i++)
        if (i % 4 != 1) oracle_delete(&w.x, w.ix, i);
    must_verify(w.ix);
    link_all(w.ix, w.s);
    recall = ask(&w, (struct index_query){ .k = 10, .ef = 12 }, 40, false);
    ck_assert_msg(recall >= 0.9, "three quarters deleted: recall %.3f", recall);
    close_world(&w);
}
END_TEST

START_TEST(all_deleted_then_some_again)
{
    struct world w;
    struct index_options o = small_options(8, INDEX_COSINE);
    open_world(&w, &o, 1000);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 1000; i++)
        oracle_delete(&w.x, w.ix, i);
    ask(&w, (struct index_query){ .k = 5, .ef = 5 }, 3, true);
    ask(&w, (struct index_query){ .k = 5, .exact = true }, 3, true);
    struct index_stats st;
    index_stats(w.ix, &st);
    ck_assert_uint_eq(st.live, 0);
    ck_assert_uint_eq(st.deleted, 1000);
    for (size_t i = 0; i < 7; i++) {
        random_vector(&w.r, w.v, 8);
        oracle_put(&w.x, w.ix, i * 100, w.v);
    }
    link_all(w.ix, w.s);
    ask(&w, (struct index_query){ .k = 5, .ef = 5 }, 3, true);
    ask(&w, (struct index_query){ .k = 50, .ef = 5 }, 3, true);
    close_world(&w);
}
END_TEST

/** Random or correlated sets of a given share, by the walk, by ids and by scan. */
START_TEST(filters)
{
    static const double shares[] = { 0.5, 0.1, 0.04, 0.01, 0.001, 0 };
    struct world w;
    struct index_options o = small_options(16, INDEX_COSINE);
    const size_t n = 4000;
    open_world(&w, &o, n);
    link_all(w.ix, w.s);
    uint64_t bits[12000 / 64 + 1];
    for (size_t i = 0; i < 6; i++)
        for (int correlated = 0; correlated < 2; correlated++) {
            struct index_allow allow = { bits, 3 * n, 0 };
            memset(bits, 0, sizeof bits);
            double limit = correlated ? 1.2 - 4 * shares[i] : 0;
            for (size_t slot = 3; slot < n; slot++) {
                bool in = correlated ? (double)w.x.v[slot * 16] > limit && shares[i] > 0
                                     : rng_unit(&w.r) < shares[i];
                if (!in) continue;
                bits[slot * 3 / 64] |= UINT64_C(1) << (slot * 3 % 64);
                allow.count++;
            }
            double recall =
                ask(&w, (struct index_query){ .k = 10, .ef = 16, .allow = &allow }, 30, false);
            ck_assert_msg(
                recall >= 0.95, "share %g, correlated %d: %.3f", shares[i], correlated, recall);
            ask(&w, (struct index_query){ .k = 10, .exact = true, .allow = &allow }, 5, true);
            /* the walk itself, whatever the price says */
            ask(&w, (struct index_query){ .k = 1, .ef = 1, .allow = &allow }, 10, false);
        }
    close_world(&w);
}
END_TEST

START_TEST(allow_set_edges)
{
    struct world w;
    struct index_options o = small_options(4, INDEX_L2);
    open_world(&w, &o, 50);
    uint64_t all[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
    for (size_t n_bits = 0; n_bits <= 150; n_bits += 10) {
        /* bits beyond n_bits are set and must not count; the count is of bits, not of ids */
        struct index_allow allow = { all, n_bits, n_bits };
        ask(&w, (struct index_query){ .k = 60, .allow = &allow }, 2, true);
        ask(&w, (struct index_query){ .k = 60, .exact = true, .allow = &allow }, 2, true);
    }
    struct index_allow none = { NULL, 0, 0 };
    ask(&w, (struct index_query){ .k = 60, .allow = &none }, 2, true);
    close_world(&w);
}
END_TEST

START_TEST(min_score)
{
    struct world w;
    struct index_options o = small_options(8, INDEX_COSINE);
    open_world(&w, &o, 300);
    for (int i = -10; i <= 10; i++) {
        float least = (float)i / 10;
        struct index_query q = { .k = 300, .has_min_score = true, .min_score = least };
        struct index_hit hits[300];
        size_t n, above = 0;
        random_vector(&w.r, w.v, 8);
        q.vector = w.v;
        ck_assert_ok(index_search(w.ix, &q, w.s, hits, &n, NULL, NULL));
        q.has_min_score = false;
        struct index_hit all[300];
        size_t n_all;
        ck_assert_ok(index_search(w.ix, &q, w.s, all, &n_all, NULL, NULL));
        while (above < n_all && all[above].score >= least)
            above++;
        ck_assert_uint_eq(n, above);
        for (size_t j = 0; j < n; j++)
            ck_assert(hits[j].id == all[j].id && hits[j].score == all[j].score);
    }
    close_world(&w);
}
END_TEST

/* ---- range search ---- */
/** The bound above which so many of all have their score. */
static float bound_of(const struct world *w, size_t n)
{
    double *scores = mem_alloc(w->x.n_slots, sizeof *scores);
    ck_assert_ptr_nonnull(scores);
    for (size_t slot = 0; slot < w->x.n_slots; slot++)
        scores[slot] = oracle_score(&w->x, slot, w->v);
    qsort(scores, w->x.n_slots, sizeof *scores, ascending);
    double bound = (scores[w->x.n_slots - n] + scores[w->x.n_slots - n - 1]) / 2;
    mem_free(scores);
    return (float)bound;
}

/** All within a bound, by a walk: nearly what a scan finds, and as much work as there is within. */
START_TEST(range_search)
{
    enum { N = 3000, TIMES = 3 };
    static const size_t within[] = { 3, 20, 200, 800, 2000 };
    struct world w;
    struct index_options o = small_options(24, metrics[_i % 3]);
    o.bits = _i < 3 ? 24 : 12;
    o.ef_construction = 100;
    open_world(&w, &o, N);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 5; i++) {
        double recall = 0;
        size_t estimated = 0;
        for (int t = 0; t < TIMES; t++) {
            struct index_report report;
            random_vector(&w.r, w.v, 24);
            struct index_query q = { .vector = w.v, .k = INDEX_K_MAX, .has_min_score = true };
            q.min_score = bound_of(&w, within[i]);
            index_force(w.s, INDEX_FORCE_WALK);
            recall += oracle_ask(&w.x, w.ix, &q, w.s, false, &report) / TIMES;
            index_force(w.s, INDEX_FORCE_NONE);
            estimated += report.estimated;
            oracle_check(&w.x, w.ix, &q, w.s, false); /* whichever way it goes */
            q.exact = true;
            oracle_check(&w.x, w.ix, &q, w.s, true);
        }
        ck_assert_msg(recall >= 0.95, "metric %d, %zu within: recall %.3f", _i, within[i], recall);
        if (within[i] <= 20)
            ck_assert_msg(estimated < TIMES * N / 3, "metric %d, %zu within: %zu of %d compared",
                _i, within[i], estimated / TIMES, N);
    }
    close_world(&w);
}
END_TEST

/** Fewer asked for than there are within: the best of them. More than there are: all, and nothing else. */
START_TEST(range_search_edges)
{
    struct world w;
    struct index_options o = small_options(16, metrics[_i]);
    open_world(&w, &o, 2000);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 20; i++)
        oracle_delete(&w.x, w.ix, i * 7);
    for (int t = 0; t < 4; t++) {
        random_vector(&w.r, w.v, 16);
        float bound = bound_of(&w, 500);
        static const size_t ks[] = { 1, 10, 100, 499, 501, 2000, INDEX_K_MAX };
        for (size_t i = 0; i < 7; i++) {
            struct index_query q = {
                .vector = w.v, .k = ks[i], .ef = 50, .has_min_score = true, .min_score = bound
            };
            double recall = oracle_check(&w.x, w.ix, &q, w.s, false);
            ck_assert_msg(recall >= 0.8, "k %zu: recall %.3f", ks[i], recall);
        }
        static const float bounds[] = { INFINITY, 1e30f, -1e30f, -INFINITY };
        for (size_t i = 0; i < 4; i++) {
            struct index_query q = {
                .vector = w.v, .k = 2000, .has_min_score = true, .min_score = bounds[i]
            };
            oracle_check(&w.x, w.ix, &q, w.s, false);
            index_force(w.s, INDEX_FORCE_WALK);
            double recall = oracle_check(&w.x, w.ix, &q, w.s, false);
            index_force(w.s, INDEX_FORCE_NONE);
            if (i >= 2) ck_assert(recall >= 0.95);
        }
    }
    close_world(&w);
}
END_TEST

/* ---- through a life ---- */
static void recall_is(struct world *w, const char *when)
{
    index_force(w->s, INDEX_FORCE_WALK);
    double recall = ask(w, (struct index_query){ .k = 10, .ef = 64 }, 25, false);
    index_force(w->s, INDEX_FORCE_NONE);
    ck_assert_msg(recall >= 0.95, "metric %d, bits %u, %s: recall %.3f", (int)w->x.o.metric,
        w->x.o.bits, when, recall);
}

static void reload(struct world *w, const char *path, bool map)
{
    const struct snapshot_mark mark = { .seq = 1, .label = "life" };
    struct snapshot_mark back;
    struct err e = ERR_INIT;
    size_t bytes;
    ck_assert_ok(index_save(w->ix, path, &mark, &bytes, &e), &e);
    index_free(w->ix);
    ck_assert_ok(index_load(path, &w->x.o, map, &w->ix, &back, &e), &e);
    must_verify(w->ix);
}

START_TEST(recall_through_a_life)
{
    struct world w;
    struct tmpdir folder;
    char path[TMPDIR_PATH_BYTES];
    struct index_options o = small_options(40, metrics[_i % 3]);
    const size_t n = 1200;
    o.bits = _i < 3 ? 24 : 12;
    o.m = 12;
    tmpdir_make(&folder);
    tmpdir_file(&folder, "index", path);
    open_world(&w, &o, n);
    link_all(w.ix, w.s);
    recall_is(&w, "built");
    reload(&w, path, false);
    recall_is(&w, "reloaded");
    for (size_t i = 0; i < n; i += 2) {
        random_vector(&w.r, w.v, o.dim);
        oracle_put(&w.x, w.ix, i, w.v);
    }
    recall_is(&w, "half replaced, not linked");
    link_all(w.ix, w.s);
    recall_is(&w, "half replaced");
    for (size_t i = 0; i < n; i += 3)
        oracle_delete(&w.x, w.ix, i);
    recall_is(&w, "a third deleted");
    reload(&w, path, true);
    recall_is(&w, "reloaded with tombstones");
    maintain_all(w.ix, w.s, false);
    recall_is(&w, "repaired");
    for (size_t i = 0; i < n; i += 6) {
        random_vector(&w.r, w.v, o.dim);
        oracle_put(&w.x, w.ix, i, w.v);
    }
    maintain_all(w.ix, w.s, true);
    recall_is(&w, "put again");
    reload(&w, path, false);
    recall_is(&w, "reloaded at last");
    oracle_compare(&w.x, w.ix);
    close_world(&w);
    tmpdir_remove(&folder);
}
END_TEST

START_TEST(bad_queries)
{
    struct index_options o = small_options(2, INDEX_COSINE);
    struct world w;
    open_world(&w, &o, 10);
    const float good[2] = { 1, 2 }, zero[2] = { 0, 0 }, not_finite[2] = { 1, NAN };
    struct index_query bad[] = {
        { .vector = good, .k = 0 },
        { .vector = good, .k = INDEX_K_MAX + 1 },
        { .vector = good, .k = 1, .ef = INDEX_EF_MAX + 1 },
        { .vector = zero, .k = 1 },
        { .vector = not_finite, .k = 1 },
        { .vector = good, .k = 1, .has_min_score = true, .min_score = NAN },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct index_hit hit = { .id = 5 };
        size_t n = 99;
        ck_assert_err(index_search(w.ix, &bad[i], w.s, &hit, &n, NULL, NULL), ERR_INVALID);
        ck_assert(n == 99 && hit.id == 5);
    }
    close_world(&w);
}
END_TEST

START_TEST(deadlines)
{
    struct index_options o = small_options(8, INDEX_L2);
    struct world w;
    open_world(&w, &o, 2000);
    link_all(w.ix, w.s);
    struct index_hit hits[4];
    size_t n = 99;
    struct index_query q = { .vector = w.v, .k = 4, .deadline_ns = 1 };
    ck_assert_err(index_search(w.ix, &q, w.s, hits, &n, NULL, NULL), ERR_TIMEOUT);
    ck_assert_uint_eq(n, 99);
    q.deadline_ns = time_mono_ns() + 60 * NS_PER_S;
    ck_assert_ok(index_search(w.ix, &q, w.s, hits, &n, NULL, NULL));

    /* and inside the loops, where the clock is looked at now and then */
    q.deadline_ns = 1;
    ck_assert_ok(scratch__query(w.ix, w.s));
    codes__prepare(w.ix, w.v, 1, &w.s->query);
    ck_assert_ok(top__begin(&w.s->top, 4));
    ck_assert_err(scan__all(w.ix, &q, w.s, NULL), ERR_TIMEOUT);
    struct layer_search ls = { .query = &w.s->query,
        .ef = 1000,
        .live_only = true,
        .deadline_ns = 1,
        .metric = INDEX_L2,
        .radius = -INFINITY };
    uint64_t start = hnsw__descend(w.ix, &ls, atomic_load(&w.ix->entry), w.s);
    ck_assert_err(hnsw__search_layer(w.ix, &ls, start, w.s, NULL), ERR_TIMEOUT);
    close_world(&w);
}
END_TEST

START_TEST(one_scratch_many_indexes)
{
    struct world a, b;
    struct index_options small = small_options(3, INDEX_L2),
                         large = small_options(90, INDEX_COSINE);
    open_world(&a, &small, 60);
    open_world(&b, &large, 900);
    link_all(a.ix, b.s);
    link_all(b.ix, b.s);
    struct index_scratch *own = a.s;
    a.s = b.s;
    for (int i = 0; i < 400; i++) { /* the epochs of the visited marks wrap */
        ask(&a, (struct index_query){ .k = 1, .ef = 1 }, 1, false);
        ask(&b, (struct index_query){ .k = 4, .ef = 8 }, 1, false);
    }
    a.s = own;
    close_world(&a);
    close_world(&b);
}
END_TEST

TEST_SUITE(search)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, odd_dimensions, 0, 48);
    tcase_add_loop_test(tc, walk_recall, 0, 3);
    tcase_add_test(tc, walk_recall_of_uneven_lengths);
    tcase_add_loop_test(tc, half_linked_and_half_deleted, 0, 3);
    tcase_add_test(tc, all_deleted_then_some_again);
    tcase_add_test(tc, filters);
    tcase_add_test(tc, allow_set_edges);
    tcase_add_test(tc, min_score);
    tcase_add_loop_test(tc, range_search, 0, 4);
    tcase_add_loop_test(tc, range_search_edges, 0, 3);
    tcase_add_loop_test(tc, recall_through_a_life, 0, 4);
    tcase_add_test(tc, bad_queries);
    tcase_add_test(tc, deadlines);
    tcase_add_test(tc, one_scratch_many_indexes);
    suite_add_tcase(s, tc);
}
