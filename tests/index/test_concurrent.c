/* Everything at once: puts, replacements, deletes, links, upkeep, searches, snapshots, measuring. Every answer is checked
 * against what must hold at any moment; afterwards the index is verified and compared with what the writers left.
 * For a data race run it under ThreadSanitizer; INDEX_STRESS_SECONDS makes it last longer.
 *
 * Blocks are small, so that places and whole blocks come and go all the time. Ids by kind:
 *   STABLE   come one by one and are never touched again: always found, with their score
 *   CHURN    replaced all the time by one of two vectors, never deleted: always found, once, with one of two scores
 *   WRITER   each writer puts and deletes its own, a crowd at a time: found by itself right after the put, by
 *            nobody right after the delete
 *   GRAVE    deleted before the start: never found
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "index/index_internal.h"
#include "index/snapshot.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

enum {
    DIM_MOST = 40,
    N_STABLE = 800,
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
    struct index_options o;
    size_t dim;
    bool saves;
    char path[TMPDIR_PATH_BYTES];
    atomic_bool stop, writers_done;
    atomic_long wrong, missed, asked;
    atomic_size_t n_stable; /* that were put */
    float stable[N_STABLE][DIM_MOST];
    float churn[N_CHURN][2][DIM_MOST];
};
struct actor {
    struct stress *st;
    unsigned number;
    bool live[N_WRITER];
    struct thread thread;
    struct index_scratch *s;
    struct rng r;
};

/* The check library's assertions are for one thread: the others count what is wrong, and name the first. */
static const char *_Atomic first_wrong;

static void expect_(struct stress *st, bool right, const char *what)
{
    if (right) return;
    const char *none = NULL;
    atomic_fetch_add(&st->wrong, 1);
    atomic_compare_exchange_strong(&first_wrong, &none, what);
}
#define EXPECT(st, right) expect_(st, right, #right)

static bool is_score(const struct stress *st, float score, const float *v, const float *q)
{
    double dot = 0, vv = 0, qq = 0, l2 = 0;
    for (size_t d = 0; d < st->dim; d++) {
        double a = v[d], b = q[d];
        dot += a * b;
        vv += a * a;
        qq += b * b;
        l2 += (a - b) * (a - b);
    }
    double want = st->o.metric == INDEX_COSINE ? dot / sqrt(vv * qq)
        : st->o.metric == INDEX_DOT            ? dot
                                               : -l2;
    double unit = st->o.metric == INDEX_COSINE ? 1 : vv + qq;
    return fabs((double)score - want) <= oracle_tolerance(&st->o) * unit;
}

/** Of the kinds that say so: the right id with a right score. */
static void check_hit(struct stress *st, const struct index_hit *hit, const float *q)
{
    uint64_t id = hit->id;
    EXPECT(st, id < ID_END && (id < GRAVE || id >= GRAVE + N_GRAVE));
    if (id < N_STABLE) EXPECT(st, is_score(st, hit->score, st->stable[id], q));
    if (id >= CHURN && id < CHURN + N_CHURN)
        EXPECT(st,
            is_score(st, hit->score, st->churn[id - CHURN][0], q) ||
                is_score(st, hit->score, st->churn[id - CHURN][1], q));
}

/** By a search for its own vector. Not for the dot product, where longer ones are nearer. */
static void find_own(struct actor *a, uint64_t id, const float *v, bool exact)
{
    struct stress *st = a->st;
    struct index_query q = { .vector = v, .k = 1, .ef = 20, .exact = exact };
    struct index_hit hit = { .id = UINT64_MAX };
    size_t n = 0;
    if (st->o.metric == INDEX_DOT) return;
    EXPECT(st, index_search(st->ix, &q, a->s, &hit, &n, NULL, NULL) == ERR_OK && n == 1);
    atomic_fetch_add(&st->asked, 1);
    if (hit.id == id) {
        EXPECT(st, is_score(st, hit.score, v, v));
        return;
    }
    atomic_fetch_add(&st->missed, 1);
    EXPECT(st, !exact);
}

/** How many hits there are among one id alone. */
static size_t find_among_one(
    struct actor *a, uint64_t id, const float *v, struct index_hit *ret_hit)
{
    uint64_t bits[ID_END / 64 + 1] = { 0 };
    struct index_allow allow = { .bits = bits, .n_bits = ID_END, .count = 1 };
    size_t n = 0;
    bits[id / 64] |= UINT64_C(1) << (id % 64);
    struct index_query q = { .vector = v, .k = 3, .allow = &allow };
    struct index_hit hits[3];
    EXPECT(a->st, index_search(a->st->ix, &q, a->s, hits, &n, NULL, NULL) == ERR_OK && n <= 1);
    if (n && ret_hit) *ret_hit = hits[0];
    return n;
}

/* ---- who writes ---- */
static void put_own(struct actor *a, uint64_t own)
{
    float v[DIM_MOST];
    struct stress *st = a->st;
    uint64_t id = WRITER + a->number * WRITER_STRIDE + own;
    struct index_hit hit;
    random_vector(&a->r, v, st->dim);
    EXPECT(st, index_put(st->ix, id, v, NULL) == ERR_OK);
    a->live[own] = true;
    uint64_t dice = rng_below(&a->r, 8);
    if (dice < 3) find_own(a, id, v, dice == 0);
    if (dice == 3) EXPECT(st, find_among_one(a, id, v, &hit) == 1 && is_score(st, hit.score, v, v));
}

static void delete_own(struct actor *a, uint64_t own)
{
    struct stress *st = a->st;
    uint64_t id = WRITER + a->number * WRITER_STRIDE + own;
    EXPECT(st, index_delete(st->ix, id) == a->live[own]);
    a->live[own] = false;
    EXPECT(st, !index_contains(st->ix, id));
    if (rng_below(&a->r, 4) == 0) EXPECT(st, find_among_one(a, id, st->stable[0], NULL) == 0);
}

static void churn(struct actor *a)
{
    struct stress *st = a->st;
    uint64_t i = rng_below(&a->r, N_CHURN), which = rng_below(&a->r, 2);
    EXPECT(st, index_put(st->ix, CHURN + i, st->churn[i][which], NULL) == ERR_OK);
}

/** The first writer puts the stable ones too. */
static void put_stable(struct stress *st)
{
    size_t n = atomic_load(&st->n_stable);
    if (n == N_STABLE) return;
    EXPECT(st, index_put(st->ix, n, st->stable[n], NULL) == ERR_OK);
    atomic_store(&st->n_stable, n + 1);
}

/** Crowds come and go: times of more puts, times of more deletes. */
static void writer(void *arg)
{
    struct actor *a = arg;
    uint64_t putting = 7;
    for (size_t n = 0; !atomic_load(&a->st->stop); n++) {
        if (n % 1500 == 0) putting = rng_below(&a->r, 10);
        if (a->number == 0) put_stable(a->st);
        uint64_t own = rng_below(&a->r, N_WRITER);
        if (rng_below(&a->r, 10) < putting)
            put_own(a, own);
        else
            delete_own(a, own);
        if (n % 4 == 0) churn(a);
    }
}

static void linker(void *arg)
{
    struct actor *a = arg;
    size_t n = 0;
    bool last;
    do {
        last = atomic_load(&a->st->writers_done);
        EXPECT(a->st, index_link(a->st->ix, 16, a->s, &n, NULL) == ERR_OK);
    } while (!last || n > 0);
}

static void maintainer(void *arg)
{
    struct actor *a = arg;
    size_t n = 0;
    while (!atomic_load(&a->st->writers_done)) {
        bool force = rng_below(&a->r, 50) == 0;
        size_t max = 1 + rng_below(&a->r, 300);
        EXPECT(a->st, index_maintain(a->st->ix, max, force, a->s, &n, NULL) == ERR_OK);
    }
}

/* ---- who asks ---- */
/** Everything, exactly: order, no id twice, all that is stable and churns, nothing dead. */
static void see_all(struct actor *a, const float *v, struct index_hit *hits)
{
    struct stress *st = a->st;
    struct index_query q = { .vector = v, .k = N_ALL + 10, .exact = true };
    size_t n = 0, before = atomic_load(&st->n_stable), stable = 0, churning = 0;
    EXPECT(st, index_search(st->ix, &q, a->s, hits, &n, NULL, NULL) == ERR_OK && n <= N_ALL);
    uint8_t seen[ID_END] = { 0 };
    for (size_t i = 0; i < n; i++) {
        check_hit(st, &hits[i], v);
        if (hits[i].id < ID_END) EXPECT(st, seen[hits[i].id]++ == 0);
        EXPECT(st, i == 0 || hits[i - 1].score >= hits[i].score);
        stable += hits[i].id < before;
        churning += hits[i].id >= CHURN && hits[i].id < CHURN + N_CHURN;
    }
    EXPECT(st, stable == before);
    EXPECT(st, churning == N_CHURN);
}

/** Ten hits, none twice, none dead, by the graph. */
static void see_some(struct actor *a, const float *v)
{
    struct stress *st = a->st;
    struct index_hit hits[10];
    struct index_query q = { .vector = v, .k = 10, .ef = 12 };
    size_t n = 0;
    EXPECT(st, index_search(st->ix, &q, a->s, hits, &n, NULL, NULL) == ERR_OK && n == 10);
    for (size_t i = 0; i < n; i++) {
        check_hit(st, &hits[i], v);
        for (size_t j = 0; j < i; j++)
            EXPECT(st, hits[i].id != hits[j].id);
    }
}

static void see_batch(struct actor *a)
{
    enum { N = 5 };
    struct stress *st = a->st;
    float v[N][DIM_MOST];
    struct index_query q[N];
    struct index_hit hits[N][10], *to[N];
    size_t n[N], failed;
    for (size_t i = 0; i < N; i++) {
        random_vector(&a->r, v[i], st->dim);
        q[i] = (struct index_query){ .vector = v[i], .k = 10, .exact = i % 2 };
        to[i] = hits[i];
    }
    EXPECT(st, index_search_batch(st->ix, q, N, a->s, to, n, &failed, NULL) == ERR_OK);
    for (size_t i = 0; i < N; i++) {
        EXPECT(st, n[i] == 10);
        for (size_t j = 0; j < n[i]; j++)
            check_hit(st, &hits[i][j], v[i]);
    }
}

static void searcher(void *arg)
{
    struct actor *a = arg;
    struct stress *st = a->st;
    struct index_hit *hits = mem_alloc(N_ALL + 10, sizeof *hits), hit;
    while (hits && !atomic_load(&st->stop)) {
        float v[DIM_MOST];
        random_vector(&a->r, v, st->dim);
        size_t n = atomic_load(&st->n_stable);
        if (n > 0) {
            uint64_t id = rng_below(&a->r, n);
            find_own(a, id, st->stable[id], false);
            find_own(a, id, st->stable[id], true);
        }
        for (int i = 0; i < 5; i++)
            see_some(a, v);
        if (rng_below(&a->r, 8) == 0) see_all(a, v, hits);
        if (rng_below(&a->r, 8) == 0) see_batch(a);
        uint64_t id = CHURN + rng_below(&a->r, N_CHURN);
        EXPECT(st, find_among_one(a, id, v, &hit) == 1);
        check_hit(st, &hit, v);
    }
    mem_free(hits);
}

/* ---- who looks at the whole ---- */
static bool go_on(void *arg)
{
    return !atomic_load(&((struct stress *)arg)->stop);
}

/** What was there before the save began is in it, and it is whole. */
static void save_and_load(struct actor *a)
{
    struct stress *st = a->st;
    struct snapshot_mark mark = { .seq = 3, .label = "stress" }, back;
    struct index *loaded = NULL;
    struct err e = ERR_INIT;
    size_t bytes, before = atomic_load(&st->n_stable);
    EXPECT(st, index_save(st->ix, st->path, &mark, &bytes, &e) == ERR_OK);
    EXPECT(st, index_load(st->path, &st->o, bytes % 2, &loaded, &back, &e) == ERR_OK);
    if (!loaded) return;
    EXPECT(st, index_verify(loaded, &e) == ERR_OK);
    for (uint64_t id = 0; id < before; id++)
        EXPECT(st, index_contains(loaded, id));
    for (uint64_t id = CHURN; id < CHURN + N_CHURN; id++)
        EXPECT(st, index_contains(loaded, id));
    for (uint64_t id = GRAVE; id < GRAVE + N_GRAVE; id++)
        EXPECT(st, !index_contains(loaded, id));
    index_free(loaded);
}

static void auditor(void *arg)
{
    struct actor *a = arg;
    struct stress *st = a->st;
    for (size_t round = 0; !atomic_load(&st->stop); round++) {
        struct index_stats stats;
        struct index_curve curve;
        size_t before = atomic_load(&st->n_stable);
        index_stats(st->ix, &stats);
        EXPECT(st, stats.live >= before + N_CHURN && stats.live <= N_ALL);
        EXPECT(st, stats.pending <= N_ALL + 100);
        enum err_code code = index_measure(st->ix, NULL, 3, go_on, st, a->s, NULL);
        EXPECT(st, code == ERR_OK || code == ERR_CANCELLED || code == ERR_NOT_FOUND);
        index_curve(st->ix, &curve);
        EXPECT(st, curve.n == 0 || index_ef_for(st->ix, 0.9f, 10) >= 10);
        for (int i = 0; before && i < 20; i++) {
            float v[DIM_MOST];
            uint64_t id = rng_below(&a->r, before);
            EXPECT(st, index_get(st->ix, id, v, NULL) == ERR_OK);
            EXPECT(st,
                is_score(st, st->o.metric == INDEX_L2 ? 0 : 1, v, v) || st->o.metric == INDEX_DOT);
        }
        if (st->saves && round % 4 == 0) save_and_load(a);
    }
}

/* ---- the test ---- */
static void prepare(struct stress *st)
{
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 1);
    for (uint64_t i = 0; i < N_STABLE; i++)
        random_vector(&r, st->stable[i], st->dim);
    for (uint64_t i = 0; i < N_CHURN; i++) {
        random_vector(&r, st->churn[i][0], st->dim);
        random_vector(&r, st->churn[i][1], st->dim);
        ck_assert_ok(index_put(st->ix, CHURN + i, st->churn[i][0], &e), &e);
    }
    for (uint64_t i = 0; i < N_GRAVE; i++)
        ck_assert_ok(index_put(st->ix, GRAVE + i, st->stable[i], &e), &e);
    for (uint64_t i = 0; i < N_GRAVE; i++)
        ck_assert(index_delete(st->ix, GRAVE + i));
}

static void pause_for(int64_t ns)
{
    struct mutex m;
    struct cond never;
    int64_t end = time_mono_ns() + ns;
    mutex_init(&m, RANK_QUEUE);
    cond_init(&never);
    mutex_lock(&m);
    while (cond_wait_until(&never, &m, end)) {}
    mutex_unlock(&m);
    cond_done(&never);
    mutex_done(&m);
}

/** What the writers left is what is there; and a search for its own vector finds it. */
static void compare(struct stress *st, const struct actor *actors)
{
    struct index_stats stats;
    size_t live = atomic_load(&st->n_stable) + N_CHURN;
    for (unsigned w = 0; w < WRITERS; w++)
        for (uint64_t own = 0; own < N_WRITER; own++) {
            uint64_t id = WRITER + w * WRITER_STRIDE + own;
            ck_assert_int_eq(actors[w].live[own], index_contains(st->ix, id));
            live += actors[w].live[own];
        }
    index_stats(st->ix, &stats);
    ck_assert_uint_eq(stats.live, live);
    ck_assert_uint_eq(stats.pending, 0);
}

static void (*const roles[])(
    void *arg) = { writer, writer, linker, linker, maintainer, searcher, searcher, auditor };
enum { ACTORS = sizeof roles / sizeof roles[0] };

static void run_actors(struct stress *st, struct actor *actors, double seconds)
{
    struct err e = ERR_INIT;
    for (unsigned i = 0; i < ACTORS; i++) {
        struct actor *a = &actors[i];
        *a = (struct actor){ .st = st, .number = i, .s = index_scratch_new() };
        rng_init(&a->r, 100 + i);
        ck_assert_ptr_nonnull(a->s);
        ck_assert_ok(thread_start(&a->thread, "stress", roles[i], a, &e), &e);
    }
    pause_for((int64_t)(seconds * (double)NS_PER_S));
    atomic_store(&st->stop, true);
    for (unsigned i = 0; i < WRITERS; i++)
        thread_join(&actors[i].thread);
    atomic_store(&st->writers_done, true);
    for (unsigned i = WRITERS; i < ACTORS; i++)
        thread_join(&actors[i].thread);
    for (unsigned i = 0; i < ACTORS; i++)
        index_scratch_free(actors[i].s);
}

START_TEST(everything_at_once)
{
    static const struct {
        enum metric_kind metric;
        size_t dim;
        unsigned bits, shift;
    } kinds[] = {
        { INDEX_COSINE, 12, 24, 5 },
        { INDEX_L2, 40, 24, 6 },
        { INDEX_COSINE, 33, 12, 0 },
        { INDEX_DOT, 40, 24, 7 },
    };
    static struct stress st; /* too large for a stack */
    static struct actor actors[ACTORS];
    const char *seconds = getenv("INDEX_STRESS_SECONDS");
    struct tmpdir folder;
    memset(&st, 0, sizeof st);
    st.dim = kinds[_i].dim;
    st.o = small_options(st.dim, kinds[_i].metric);
    st.o.bits = kinds[_i].bits;
    st.saves = kinds[_i].shift == 0;
    st.ix = st.saves ? open_index(&st.o) : open_small_blocks(&st.o, kinds[_i].shift);
    tmpdir_make(&folder);
    tmpdir_file(&folder, "index", st.path);
    prepare(&st);
    run_actors(&st, actors, seconds ? strtod(seconds, NULL) / 4 : 0.5);
    tmpdir_remove(&folder);

    ck_assert_msg(atomic_load(&st.wrong) == 0, "%ld times wrong, first: %s", atomic_load(&st.wrong),
        atomic_load(&first_wrong));
    ck_assert_int_ge(atomic_load(&st.asked), st.o.metric == INDEX_DOT ? 0 : 10);
    ck_assert_int_le(atomic_load(&st.missed) * 50, atomic_load(&st.asked));
    struct index_scratch *s = index_scratch_new();
    must_verify(st.ix);
    maintain_all(st.ix, s, false);
    must_verify(st.ix);
    maintain_all(st.ix, s, true);
    must_verify(st.ix);
    compare(&st, actors);
    index_scratch_free(s);
    index_free(st.ix);
}
END_TEST

/** Many threads link the same crowd from nothing: first node, rising entry point, full lists. */
START_TEST(link_from_nothing)
{
    static struct stress st;
    static struct actor actors[4];
    struct index_options o = small_options(12, INDEX_DOT);
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 2);
    memset(&st, 0, sizeof st);
    memset(actors, 0, sizeof actors);
    o.m = 5; /* many levels, lists always full */
    st.ix = open_index(&o);
    for (uint64_t id = 0; id < 3000; id++) {
        float v[12];
        random_vector(&r, v, 12);
        ck_assert_ok(index_put(st.ix, id, v, &e), &e);
    }
    atomic_store(&st.writers_done, true);
    struct index_scratch *s = index_scratch_new();
    for (size_t i = 0; i < 4; i++) {
        actors[i].st = &st;
        actors[i].s = index_scratch_new();
        ck_assert_ok(thread_start(&actors[i].thread, "link", linker, &actors[i], &e), &e);
    }
    for (size_t n = 1; n > 0;)
        ck_assert_ok(index_link(st.ix, 16, s, &n, &e), &e);
    for (size_t i = 0; i < 4; i++) {
        thread_join(&actors[i].thread);
        index_scratch_free(actors[i].s);
    }
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
    tcase_set_timeout(tc, 1200);
    tcase_add_loop_test(tc, everything_at_once, 0, 4);
    tcase_add_test(tc, link_from_nothing);
    suite_add_tcase(s, tc);
}
