/* Puts, replacements, deletes, links and searches at once. Every search is checked against what must hold
 * at any moment; afterwards the index is verified and compared with what the writers left. For a data
 * race run it under ThreadSanitizer; INDEX_STRESS_SECONDS makes it last longer.
 *
 * Ids by kind:
 *   STABLE   there before the start, never touched: always found
 *   CHURN    replaced all the time, never deleted: always found, once, old vector or new
 *   WRITER   each writer puts and deletes its own: found by itself right after the put
 *   GRAVE    deleted before the start: never found
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum {
    DIM = 12,
    N_STABLE = 600,
    N_CHURN = 20,
    N_GRAVE = 200,
    N_WRITER = 400,
    WRITERS = 2,
    LINKERS = 2,
    SEARCHERS = 2,
    CHURN = 10000,
    GRAVE = 20000,
    WRITER = 30000,
    WRITER_STRIDE = 1000,
    ID_END = WRITER + WRITERS * WRITER_STRIDE,
    N_ALL = N_STABLE + N_CHURN + WRITERS * N_WRITER,
};

struct stress {
    struct index *ix;
    atomic_bool stop, writers_done;
    atomic_long wrong, missed, asked;
    float stable[N_STABLE][DIM];
};
struct actor {
    struct stress *st;
    unsigned number;
    bool live[N_WRITER];
    struct thread thread;
};

/* The check library's assertions are for one thread: the others count what is wrong. */
static void expect(struct stress *st, bool right)
{
    if (!right) atomic_fetch_add(&st->wrong, 1);
}

static void find_own(
    struct stress *st, struct index_scratch *s, uint64_t id, const float *v, bool exact)
{
    struct index_query q = { .vector = v, .k = 1, .ef = 10, .exact = exact };
    struct index_hit hit = { .id = UINT64_MAX };
    size_t n = 0;
    expect(st, index_search(st->ix, &q, s, &hit, &n, NULL, NULL) == ERR_OK && n == 1);
    atomic_fetch_add(&st->asked, 1);
    if (hit.id == id) return;
    atomic_fetch_add(&st->missed, 1);
    expect(st, !exact);
}

static void writer(void *arg)
{
    struct actor *a = arg;
    struct stress *st = a->st;
    struct index_scratch *s = index_scratch_new();
    struct rng r;
    rng_init(&r, 100 + a->number);
    float v[DIM];
    while (!atomic_load(&st->stop)) {
        random_vector(&r, v, DIM);
        uint64_t own = rng_below(&r, N_WRITER), id = WRITER + a->number * WRITER_STRIDE + own;
        if (rng_below(&r, 4) == 0) {
            expect(st, index_delete(st->ix, id) == a->live[own]);
            a->live[own] = false;
            expect(st, !index_contains(st->ix, id));
            continue;
        }
        expect(st, index_put(st->ix, id, v, NULL) == ERR_OK);
        a->live[own] = true;
        if (rng_below(&r, 4) == 0) find_own(st, s, id, v, rng_below(&r, 4) == 0);
        random_vector(&r, v, DIM);
        expect(st, index_put(st->ix, CHURN + rng_below(&r, N_CHURN), v, NULL) == ERR_OK);
    }
    index_scratch_free(s);
}

static void linker(void *arg)
{
    struct stress *st = ((struct actor *)arg)->st;
    struct index_scratch *s = index_scratch_new();
    size_t n = 0;
    bool last;
    do {
        last = atomic_load(&st->writers_done);
        expect(st, index_link(st->ix, 16, s, &n, NULL) == ERR_OK);
    } while (!last || n > 0);
    index_scratch_free(s);
}

/** Everything, exactly: order, no id twice, all stable and churning ids, no dead one. */
static void see_all(
    struct stress *st, struct index_scratch *s, const float *v, struct index_hit *hits)
{
    struct index_query q = { .vector = v, .k = N_ALL + 10, .exact = true };
    size_t n = 0, stable = 0, churn = 0;
    expect(st, index_search(st->ix, &q, s, hits, &n, NULL, NULL) == ERR_OK && n <= N_ALL);
    uint8_t seen[ID_END] = { 0 };
    for (size_t i = 0; i < n; i++) {
        expect(st, hits[i].id < ID_END && seen[hits[i].id]++ == 0);
        expect(st, i == 0 || hits[i - 1].score >= hits[i].score);
        expect(st, hits[i].id < GRAVE || hits[i].id >= GRAVE + N_GRAVE);
        stable += hits[i].id < N_STABLE;
        churn += hits[i].id >= CHURN && hits[i].id < CHURN + N_CHURN;
    }
    expect(st, stable == N_STABLE && churn == N_CHURN);
}

/** The graph: k hits, none twice, none dead. */
static void see_some(struct stress *st, struct index_scratch *s, const float *v)
{
    struct index_hit hits[10];
    struct index_query q = { .vector = v, .k = 10, .ef = 12 };
    size_t n = 0;
    expect(st, index_search(st->ix, &q, s, hits, &n, NULL, NULL) == ERR_OK && n == 10);
    for (size_t i = 0; i < n; i++) {
        expect(st, hits[i].id < GRAVE || hits[i].id >= GRAVE + N_GRAVE);
        for (size_t j = 0; j < i; j++)
            expect(st, hits[i].id != hits[j].id);
    }
}

static void searcher(void *arg)
{
    struct actor *a = arg;
    struct stress *st = a->st;
    struct index_scratch *s = index_scratch_new();
    struct index_hit *hits = malloc((N_ALL + 10) * sizeof *hits);
    struct rng r;
    rng_init(&r, 200 + a->number);
    while (!atomic_load(&st->stop)) {
        float v[DIM];
        random_vector(&r, v, DIM);
        uint64_t id = rng_below(&r, N_STABLE), churn = CHURN + rng_below(&r, N_CHURN);
        find_own(st, s, id, st->stable[id], false);
        find_own(st, s, id, st->stable[id], true);
        for (int i = 0; i < 5; i++)
            see_some(st, s, v);
        if (rng_below(&r, 8) == 0) see_all(st, s, v, hits);

        uint64_t bits[CHURN / 64 + 1] = { 0 }; /* one churning id, through the id map */
        bits[churn / 64] |= UINT64_C(1) << (churn % 64);
        struct index_allow allow = { bits, CHURN + N_CHURN, 1 };
        struct index_query q = { .vector = v, .k = 3, .allow = &allow };
        size_t n = 0;
        expect(st, index_search(st->ix, &q, s, hits, &n, NULL, NULL) == ERR_OK);
        expect(st, n == 1 && hits[0].id == churn);
        struct index_stats stats;
        index_stats(st->ix, &stats);
        expect(st, stats.live >= N_STABLE + N_CHURN && stats.live <= N_ALL);
    }
    free(hits);
    index_scratch_free(s);
}

static void prepare(struct stress *st, enum metric_kind metric)
{
    struct index_options o = small_options(DIM, metric);
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 1);
    ck_assert_ok(index_new(&o, &st->ix, &e), &e);
    for (uint64_t i = 0; i < N_STABLE; i++) {
        random_vector(&r, st->stable[i], DIM);
        ck_assert_ok(index_put(st->ix, i, st->stable[i], &e), &e);
        if (i < N_CHURN) ck_assert_ok(index_put(st->ix, CHURN + i, st->stable[i], &e), &e);
        if (i < N_GRAVE) ck_assert_ok(index_put(st->ix, GRAVE + i, st->stable[i], &e), &e);
    }
    for (uint64_t i = 0; i < N_GRAVE; i++)
        ck_assert(index_delete(st->ix, GRAVE + i));
}

START_TEST(everything_at_once)
{
    static struct stress st; /* too large for a stack */
    static struct actor actors[WRITERS + LINKERS + SEARCHERS];
    const char *seconds = getenv("INDEX_STRESS_SECONDS");
    memset(&st, 0, sizeof st);
    memset(actors, 0, sizeof actors);
    prepare(&st, _i ? INDEX_L2 : INDEX_COSINE);
    struct err e = ERR_INIT;
    for (unsigned i = 0; i < WRITERS + LINKERS + SEARCHERS; i++) {
        actors[i].st = &st;
        actors[i].number = i;
        ck_assert_ok(thread_start(&actors[i].thread, "stress",
                         i < WRITERS                 ? writer
                             : i < WRITERS + LINKERS ? linker
                                                     : searcher,
                         &actors[i], &e),
            &e);
    }
    int64_t end =
        time_mono_ns() + (seconds ? strtol(seconds, NULL, 10) * NS_PER_S : NS_PER_S * 3 / 2);
    struct mutex m;
    struct cond never;
    mutex_init(&m, RANK_QUEUE);
    cond_init(&never);
    mutex_lock(&m);
    while (cond_wait_until(&never, &m, end)) {}
    mutex_unlock(&m);
    cond_done(&never);
    mutex_done(&m);
    atomic_store(&st.stop, true);
    for (unsigned i = 0; i < WRITERS; i++)
        thread_join(&actors[i].thread);
    atomic_store(&st.writers_done, true);
    for (unsigned i = WRITERS; i < WRITERS + LINKERS + SEARCHERS; i++)
        thread_join(&actors[i].thread);

    ck_assert_int_eq(atomic_load(&st.wrong), 0);
    ck_assert_int_gt(atomic_load(&st.asked), 10);
    ck_assert_int_le(atomic_load(&st.missed) * 50, atomic_load(&st.asked));
    struct index_stats stats;
    index_stats(st.ix, &stats);
    size_t live = N_STABLE + N_CHURN;
    for (unsigned w = 0; w < WRITERS; w++)
        for (uint64_t own = 0; own < N_WRITER; own++) {
            ck_assert_int_eq(
                actors[w].live[own], index_contains(st.ix, WRITER + w * WRITER_STRIDE + own));
            live += actors[w].live[own];
        }
    ck_assert_uint_eq(stats.live, live);
    ck_assert_uint_eq(stats.pending, 0);
    must_verify(st.ix);
    index_free(st.ix);
}
END_TEST

/** Many threads link the same crowd from nothing: first node, rising entry point, full lists. */
START_TEST(link_from_nothing)
{
    static struct stress st;
    static struct actor actors[4];
    struct index_options o = small_options(DIM, INDEX_DOT);
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 2);
    memset(&st, 0, sizeof st);
    memset(actors, 0, sizeof actors);
    o.m = INDEX_M_MIN; /* many levels, lists always full */
    ck_assert_ok(index_new(&o, &st.ix, &e), &e);
    for (uint64_t id = 0; id < 3000; id++) {
        float v[DIM];
        random_vector(&r, v, DIM);
        ck_assert_ok(index_put(st.ix, id, v, &e), &e);
    }
    atomic_store(&st.writers_done, true);
    struct index_scratch *s = index_scratch_new();
    size_t n;
    for (size_t i = 0; i < 4; i++) {
        actors[i].st = &st;
        ck_assert_ok(thread_start(&actors[i].thread, "link", linker, &actors[i], &e), &e);
    }
    do {
        ck_assert_ok(index_link(st.ix, 16, s, &n, &e), &e);
    } while (n > 0);
    for (size_t i = 0; i < 4; i++)
        thread_join(&actors[i].thread);
    link_all(st.ix, s);
    ck_assert_int_eq(atomic_load(&st.wrong), 0);
    must_verify(st.ix);
    index_scratch_free(s);
    index_free(st.ix);
}
END_TEST

TEST_SUITE(concurrent)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, everything_at_once, 0, 2);
    tcase_add_test(tc, link_from_nothing);
    suite_add_tcase(s, tc);
}
