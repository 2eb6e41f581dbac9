/* Upkeep: what is deleted leaves the graph, its places are used again, its memory is given back, and the answers stay as
 * good as those of an index that never knew it. */
#include "index/index_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static const enum metric_kind metrics[] = { INDEX_COSINE, INDEX_DOT, INDEX_L2 };

struct world {
    struct oracle x;
    struct index *ix;
    struct index_scratch *s;
    struct rng r;
    float v[128];
};

static struct world open_world(const struct index_options *o, size_t n)
{
    struct world w = { .ix = open_index(o), .s = index_scratch_new() };
    oracle_init(&w.x, o, n);
    rng_init(&w.r, 77 + o->dim);
    return w;
}

static void close_world(struct world *w)
{
    must_verify(w->ix);
    oracle_compare(&w->x, w->ix);
    oracle_done(&w->x);
    index_scratch_free(w->s);
    index_free(w->ix);
}

static void put(struct world *w, size_t slot)
{
    random_vector(&w->r, w->v, w->x.o.dim);
    oracle_put(&w->x, w->ix, slot, w->v);
}

static void put_all(struct world *w)
{
    for (size_t slot = 0; slot < w->x.n_slots; slot++)
        put(w, slot);
}

static struct index_stats stats(const struct world *w)
{
    struct index_stats st;
    index_stats(w->ix, &st);
    return st;
}

/** Mean recall of walks with that ef, by queries of their own. */
static double walk_recall(
    const struct oracle *x, const struct index *ix, struct index_scratch *s, size_t ef)
{
    enum { TIMES = 60 };
    struct rng r;
    double recall = 0;
    float v[128];
    rng_init(&r, 4321);
    index_force(s, INDEX_FORCE_WALK);
    for (size_t i = 0; i < TIMES; i++) {
        random_vector(&r, v, x->o.dim);
        struct index_query q = { .vector = v, .k = 10, .ef = ef };
        recall += oracle_check(x, ix, &q, s, false) / TIMES;
    }
    index_force(s, INDEX_FORCE_NONE);
    return recall;
}

/** That of an index which was made of what is live now. */
static double fresh_recall(struct world *w, size_t ef)
{
    struct index *fresh = open_index(&w->x.o);
    struct err e = ERR_INIT;
    for (size_t slot = 0; slot < w->x.n_slots; slot++)
        if (w->x.live[slot])
            ck_assert_ok(index_put(fresh, oracle_id(slot), w->x.v + slot * w->x.o.dim, &e), &e);
    link_all(fresh, w->s);
    double recall = walk_recall(&w->x, fresh, w->s, ef);
    index_free(fresh);
    return recall;
}

static void as_good_as_fresh(struct world *w, const char *when)
{
    double fresh = fresh_recall(w, 40), now = walk_recall(&w->x, w->ix, w->s, 40);
    ck_assert_msg(now >= 0.98 * fresh && fresh > 0.9, "%s, metric %d: recall %.3f, fresh %.3f",
        when, (int)w->x.o.metric, now, fresh);
}

/* ---- turnover ---- */
/** Every vector replaced ten times over, in random order, upkeep going on meanwhile. */
START_TEST(ten_turnovers)
{
    const size_t n = test_is_slow_run() ? 300 : 400;
    struct index_options o = small_options(20, metrics[_i]);
    struct world w = open_world(&o, n);
    size_t worked, linked;
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 10 * n; i++) {
        put(&w, rng_below(&w.r, n));
        if (i % 16 != 0) continue;
        ck_assert_ok(index_link(w.ix, 32, w.s, &linked, NULL));
        ck_assert_ok(index_maintain(w.ix, 1000, false, w.s, &worked, NULL));
        if (i % (n / 2) == 0) maintain_all(w.ix, w.s, false);
    }
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_lt(stats(&w).deleted * 9, n + 9 * 64);
    ck_assert_uint_ge(stats(&w).repairs, 8);
    ck_assert_msg(atomic_load(&w.ix->n_nodes) <= n * 8 / 5, "%u places for %zu vectors",
        atomic_load(&w.ix->n_nodes), n);
    must_verify(w.ix);
    as_good_as_fresh(&w, "after ten turnovers");
    maintain_all(w.ix, w.s, true);
    ck_assert_uint_eq(stats(&w).deleted, 0);
    as_good_as_fresh(&w, "without a tombstone");
    close_world(&w);
}
END_TEST

/** Deleted and put again under other ids, a tenth at a time; no tombstone is left between. */
START_TEST(ids_come_and_go)
{
    struct index_options o = small_options(20, metrics[_i]);
    struct world w = open_world(&o, 1000);
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 500; i < 1000; i++)
        oracle_delete(&w.x, w.ix, i);
    maintain_all(w.ix, w.s, true);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) {
            size_t gone = rng_below(&w.r, 1000), come = rng_below(&w.r, 1000);
            while (!w.x.live[gone])
                gone = (gone + 1) % 1000;
            while (w.x.live[come])
                come = (come + 1) % 1000;
            oracle_delete(&w.x, w.ix, gone);
            put(&w, come);
        }
        maintain_all(w.ix, w.s, true);
        ck_assert_uint_eq(stats(&w).deleted, 0);
        must_verify(w.ix);
    }
    ck_assert_uint_le(atomic_load(&w.ix->n_nodes), 1000);
    as_good_as_fresh(&w, "after twenty rounds");
    close_world(&w);
}
END_TEST

/** Nothing is done for fewer than a fifth, unless it is forced. */
START_TEST(waits_for_a_fifth)
{
    struct index_options o = small_options(8, INDEX_L2);
    struct world w = open_world(&o, 1000);
    size_t worked = 77;
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 195; i++)
        oracle_delete(&w.x, w.ix, i * 5);
    ck_assert_ok(index_maintain(w.ix, 100, false, w.s, &worked, NULL));
    ck_assert_uint_eq(worked, 0);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(stats(&w).deleted, 195);
    ck_assert_uint_eq(stats(&w).repairs, 0);
    for (size_t i = 195; i < 200; i++)
        oracle_delete(&w.x, w.ix, i * 5);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(stats(&w).deleted, 200);
    oracle_delete(&w.x, w.ix, 1);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(stats(&w).deleted, 0);
    ck_assert_uint_eq(stats(&w).vacant, 201);
    ck_assert_uint_eq(stats(&w).repairs, 1);
    oracle_delete(&w.x, w.ix, 2);
    maintain_all(w.ix, w.s, true);
    ck_assert_uint_eq(stats(&w).deleted, 0);
    close_world(&w);
}
END_TEST

/** Slices of one node each come to the same end; between any two the index answers, and is put to and deleted from. */
START_TEST(one_node_at_a_time)
{
    struct index_options o = small_options(8, metrics[_i]);
    struct world w = open_world(&o, 300);
    size_t worked, linked;
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 100; i++)
        oracle_delete(&w.x, w.ix, i * 3);
    for (size_t step = 0; stats(&w).repairs < 3; step++) {
        ck_assert_ok(index_maintain(w.ix, 1, true, w.s, &worked, NULL));
        random_vector(&w.r, w.v, 8);
        struct index_query q = { .vector = w.v, .k = 5, .ef = 8, .exact = step % 4 == 0 };
        if (step % 5 == 0) oracle_check(&w.x, w.ix, &q, w.s, q.exact);
        size_t slot = rng_below(&w.r, 300);
        if (step % 11 == 0 && w.x.live[slot]) oracle_delete(&w.x, w.ix, slot);
        if (step % 7 == 0) put(&w, slot);
        if (step % 3 == 0) ck_assert_ok(index_link(w.ix, 1, w.s, &linked, NULL));
        if (step % 50 == 0) oracle_compare(&w.x, w.ix);
        ck_assert_uint_lt(step, 100000);
    }
    maintain_all(w.ix, w.s, true);
    close_world(&w);
}
END_TEST

/* ---- what is left ---- */
static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/** Of several blocks few vectors are left, spread over all of them: they move together, and blocks go back. */
START_TEST(memory_is_given_back)
{
    struct index_options o = small_options(_i ? 40 : 4, INDEX_L2);
    const size_t n = 4 * 8192, block = 8192;
    o.m = _i ? 8 : 4;
    o.ef_construction = _i ? 32 : 8;
    struct world w = open_world(&o, n);
    put_all(&w);
    if (!_i) link_all(w.ix, w.s);
    size_t before = stats(&w).size_bytes, resident = resident_bytes();
    ck_assert_uint_eq(w.ix->n_blocks, n / block);
    for (size_t i = 0; i < n; i++)
        if (i % 32 != 7) oracle_delete(&w.x, w.ix, i);
    maintain_all(w.ix, w.s, false);
    struct index_stats st = stats(&w);
    ck_assert_uint_eq(st.live, n / 32);
    ck_assert_uint_eq(st.pending, 0);
    ck_assert_uint_eq(w.ix->n_blocks, 1);
    ck_assert_msg(st.size_bytes < before / 3, "%zu bytes of %zu", st.size_bytes, before);
    if (!test_is_slow_run())
        ck_assert_uint_le(resident_bytes() + (before - st.size_bytes) / 2, resident);
    oracle_compare(&w.x, w.ix);
    must_verify(w.ix);
    for (size_t i = 0; i < 2000; i++)
        put(&w, i);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(w.ix->n_blocks, 1);
    close_world(&w);
}
END_TEST

/** With what waits, is deleted and is vacant all mixed, moving together comes to an end. */
START_TEST(moving_together_ends)
{
    struct index_options o = small_options(4, INDEX_L2);
    o.m = 4;
    o.ef_construction = 8;
    struct world w = open_world(&o, 3 * 8192);
    size_t worked, linked;
    put_all(&w);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < w.x.n_slots; i++)
            if (w.x.live[i] && rng_below(&w.r, 3)) oracle_delete(&w.x, w.ix, i);
        for (int i = 0; i < 20; i++) { /* linking does not keep up */
            ck_assert_ok(index_maintain(w.ix, 2000, i % 2, w.s, &worked, NULL));
            ck_assert_ok(index_link(w.ix, 30, w.s, &linked, NULL));
        }
    }
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(w.ix->n_blocks, 1);
    close_world(&w);
}
END_TEST

/** While an import waits to be linked nothing is moved, but what was deleted is taken out all the same. */
START_TEST(upkeep_goes_on_while_many_wait)
{
    struct index_options o = small_options(4, INDEX_L2);
    o.m = 4;
    o.ef_construction = 8;
    struct world w = open_world(&o, 14000);
    size_t worked;
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 13900; i++)
        oracle_delete(&w.x, w.ix, i);
    while (stats(&w).repairs == 0)
        ck_assert_ok(index_maintain(w.ix, 500, false, w.s, &worked, NULL));
    for (size_t i = 1000; i < 5500; i++)
        put(&w, i);
    size_t places = atomic_load(&w.ix->n_nodes);
    ck_assert_uint_gt(stats(&w).vacant, places / 2);
    for (size_t i = 13900; i < 13950; i++)
        oracle_delete(&w.x, w.ix, i);
    for (worked = 1; worked > 0;)
        ck_assert_ok(index_maintain(w.ix, 500, true, w.s, &worked, NULL));
    ck_assert_uint_eq(stats(&w).deleted, 0);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_eq(w.ix->n_blocks, 1);
    close_world(&w);
}
END_TEST

START_TEST(all_deleted_and_imported_again)
{
    struct index_options o = small_options(12, metrics[_i]);
    struct world w = open_world(&o, 1200);
    for (int round = 0; round < 3; round++) {
        put_all(&w);
        if (round < 2) link_all(w.ix, w.s);
        for (size_t i = 0; i < 1200; i++)
            oracle_delete(&w.x, w.ix, i);
        maintain_all(w.ix, w.s, false);
        struct index_stats st = stats(&w);
        ck_assert_uint_eq(st.live + st.deleted + st.pending, 0);
        ck_assert(atomic_load(&w.ix->entry) == ENTRY_NONE);
        ck_assert_uint_eq(atomic_load(&w.ix->in_graph), 0);
        must_verify(w.ix);
        random_vector(&w.r, w.v, 12);
        struct index_query q = { .vector = w.v, .k = 5 };
        oracle_check(&w.x, w.ix, &q, w.s, true);
    }
    put_all(&w);
    maintain_all(w.ix, w.s, false);
    ck_assert_uint_le(atomic_load(&w.ix->n_nodes), 1200);
    as_good_as_fresh(&w, "imported again");
    close_world(&w);
}
END_TEST

/** All tombstones, and new vectors come while they are taken out. */
START_TEST(new_ones_among_the_dying)
{
    struct index_options o = small_options(12, metrics[_i]);
    struct world w = open_world(&o, 1000);
    size_t worked, linked;
    for (size_t i = 0; i < 500; i++)
        put(&w, i);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 500; i++)
        oracle_delete(&w.x, w.ix, i);
    for (size_t i = 500; i < 1000; i++) {
        put(&w, i);
        ck_assert_ok(index_maintain(w.ix, 3, false, w.s, &worked, NULL));
        ck_assert_ok(index_link(w.ix, 2, w.s, &linked, NULL));
    }
    maintain_all(w.ix, w.s, true);
    ck_assert_uint_eq(stats(&w).pending + stats(&w).deleted, 0);
    as_good_as_fresh(&w, "come among the dying");
    close_world(&w);
}
END_TEST

/* ---- entry point ---- */
/** The entry point is deleted again and again. */
START_TEST(dead_entry_point)
{
    struct index_options o = small_options(8, INDEX_COSINE);
    struct world w = open_world(&o, 400);
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t left = 400; left > 0; left--) {
        uint32_t entry = (uint32_t)atomic_load(&w.ix->entry);
        uint64_t id = index__meta(w.ix, entry)->id;
        for (size_t slot = 0; slot < 400; slot++)
            if (oracle_id(slot) == id) oracle_delete(&w.x, w.ix, slot);
        if (left % 3 == 0 || left < 20) {
            maintain_all(w.ix, w.s, true);
            must_verify(w.ix);
            if (left > 1) ck_assert(index__is_live(w.ix, (uint32_t)atomic_load(&w.ix->entry)));
        } else {
            size_t slot = rng_below(&w.r, 400);
            while (!w.x.live[slot])
                slot = (slot + 1) % 400;
            put(&w, slot); /* replaced; the next entry point is still the dead one */
            maintain_all(w.ix, w.s, true);
        }
        random_vector(&w.r, w.v, 8);
        struct index_query q = { .vector = w.v, .k = 3, .ef = 10 };
        index_force(w.s, INDEX_FORCE_WALK);
        oracle_check(&w.x, w.ix, &q, w.s, false);
        index_force(w.s, INDEX_FORCE_NONE);
    }
    close_world(&w);
}
END_TEST

/** The whole neighbourhood of the entry point goes, it stays alone far from all the others; and the other way round. */
START_TEST(lonely_entry_point)
{
    struct index_options o = small_options(8, INDEX_L2);
    o.m = _i % 2 ? 4 : 48; /* many layers, or none above the lowest */
    struct world w = open_world(&o, 2000);
    for (size_t i = 0; i < 2000; i++) {
        for (size_t d = 0; d < 8; d++)
            w.v[d] = (float)(random_normal(&w.r) + (i < 1000 ? 0 : 1000));
        oracle_put(&w.x, w.ix, i, w.v);
        if (i == 999 || i == 1999) link_all(w.ix, w.s);
    }
    uint64_t entry = index__meta(w.ix, (uint32_t)atomic_load(&w.ix->entry))->id;
    bool low = false;
    for (size_t i = 0; i < 1000; i++)
        low |= oracle_id(i) == entry;
    if (_i >= 2) low = !low;
    for (size_t i = low ? 0 : 1000, n = 0; n < 1000; n++, i++)
        if (oracle_id(i) != entry) oracle_delete(&w.x, w.ix, i);
    maintain_all(w.ix, w.s, false);
    must_verify(w.ix);
    as_good_as_fresh(&w, "one island left");
    for (size_t i = 0; i < 500; i++) { /* and what comes now is found too */
        for (size_t d = 0; d < 8; d++)
            w.v[d] = (float)(random_normal(&w.r) + 2000);
        oracle_put(&w.x, w.ix, low ? i + 1000 : i, w.v);
    }
    maintain_all(w.ix, w.s, false);
    must_verify(w.ix);
    as_good_as_fresh(&w, "a new island");
    close_world(&w);
}
END_TEST

/* ---- twins ---- */
static void put_equal(struct world *w, size_t from, size_t n, const float *v)
{
    for (size_t slot = from; slot < from + n; slot++)
        oracle_put(&w->x, w->ix, slot, v);
}

/** All of them and nothing else, best first: a walk finds equals together. */
static void finds_equals(struct world *w, const float *v, size_t n)
{
    struct index_hit hits[200];
    struct index_query q = { .vector = v, .k = n, .ef = n };
    struct err e = ERR_INIT;
    size_t got;
    index_force(w->s, INDEX_FORCE_WALK);
    ck_assert_ok(index_search(w->ix, &q, w->s, hits, &got, NULL, &e), &e);
    index_force(w->s, INDEX_FORCE_NONE);
    ck_assert_uint_eq(got, n);
    double tolerance = 1e-5;
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(
            (double)hits[i].score, w->x.o.metric == INDEX_L2 ? 0 : 1, tolerance);
}

/** A hundred equal vectors; the one that they hang on is deleted, and the next, and so on. */
START_TEST(twins_of_dead_heads)
{
    struct index_options o = small_options(_i % 2 ? 40 : 6, _i < 2 ? INDEX_L2 : INDEX_COSINE);
    struct world w = open_world(&o, 700);
    float equal[40];
    put_all(&w);
    random_vector(&w.r, equal, o.dim);
    link_all(w.ix, w.s); /* the centre is taken once before them */
    put_equal(&w, 100, 100, equal);
    link_all(w.ix, w.s);
    must_verify(w.ix);
    finds_equals(&w, equal, 100);
    for (size_t n = 0; n < 99; n++) {
        oracle_delete(&w.x, w.ix, 100 + n);
        if (n % 3 == 0) finds_equals(&w, equal, 99 - n);
        if (n % 2 == 0) maintain_all(w.ix, w.s, true);
        must_verify(w.ix);
        finds_equals(&w, equal, 99 - n);
    }
    close_world(&w);
}
END_TEST

/** Heads and twins die together, in any order, while their round is under way; some come back. A walk finds all of what is
 * left once upkeep is done. */
START_TEST(twins_in_all_phases)
{
    struct index_options o = small_options(6, INDEX_L2);
    struct world w = open_world(&o, 300);
    size_t worked, linked;
    float groups[10][6];
    for (size_t g = 0; g < 10; g++)
        random_vector(&w.r, groups[g], 6);
    for (size_t i = 0; i < 300; i++)
        oracle_put(&w.x, w.ix, i, groups[i % 10]);
    link_all(w.ix, w.s);
    for (size_t step = 0; step < 6000; step++) {
        size_t slot = rng_below(&w.r, 300);
        uint64_t dice = rng_below(&w.r, 10);
        if (dice < 3 && w.x.live[slot])
            oracle_delete(&w.x, w.ix, slot);
        else if (dice < 5)
            oracle_put(&w.x, w.ix, slot, groups[rng_below(&w.r, 10)]);
        else if (dice < 7)
            ck_assert_ok(index_link(w.ix, 1 + rng_below(&w.r, 3), w.s, &linked, NULL));
        else
            ck_assert_ok(index_maintain(w.ix, 1 + rng_below(&w.r, 40), true, w.s, &worked, NULL));
        if (step % 20 == 0) {
            struct index_query q = { .vector = groups[step / 20 % 10], .k = 40, .ef = 40 };
            if (step % 40 == 0) index_force(w.s, INDEX_FORCE_WALK);
            oracle_check(&w.x, w.ix, &q, w.s, step % 40 != 0);
            index_force(w.s, INDEX_FORCE_NONE);
        }
        if (step % 100 == 0) oracle_compare(&w.x, w.ix);
        if (step % 500 == 499) {
            maintain_all(w.ix, w.s, true);
            must_verify(w.ix);
            index_force(w.s, INDEX_FORCE_WALK);
            for (size_t g = 0; g < 10; g++) {
                struct index_query q = { .vector = groups[g], .k = 40, .ef = 40 };
                ck_assert(oracle_check(&w.x, w.ix, &q, w.s, true) >= 1);
            }
            index_force(w.s, INDEX_FORCE_NONE);
        }
    }
    maintain_all(w.ix, w.s, true);
    ck_assert_uint_eq(stats(&w).deleted, 0);
    close_world(&w);
}
END_TEST

/* ---- k hits whenever there are k ---- */
START_TEST(k_hits_whenever_there_are_k)
{
    struct index_options o = small_options(10, metrics[_i]);
    struct world w = open_world(&o, 900);
    size_t worked, linked;
    put_all(&w);
    for (int step = 0; step < 180; step++) {
        size_t part = rng_below(&w.r, 3);
        for (int i = 0; i < 10; i++) {
            size_t slot = rng_below(&w.r, 300) + part * 300;
            if (step % 60 < 40 && w.x.live[slot])
                oracle_delete(&w.x, w.ix, slot);
            else if (step % 60 >= 40)
                put(&w, slot);
        }
        if (step % 2) ck_assert_ok(index_link(w.ix, 20, w.s, &linked, NULL));
        ck_assert_ok(index_maintain(w.ix, 100, step % 3 == 0, w.s, &worked, NULL));
        random_vector(&w.r, w.v, 10);
        size_t ks[] = { 1, 10, oracle_live(&w.x), oracle_live(&w.x) + 5 };
        struct index_query q = { .vector = w.v, .k = ks[step % 4], .ef = 1 };
        if (q.k == 0) q.k = 1;
        if (step % 3 == 0) index_force(w.s, INDEX_FORCE_WALK);
        oracle_check(&w.x, w.ix, &q, w.s, false); /* counts them */
        index_force(w.s, INDEX_FORCE_NONE);
    }
    maintain_all(w.ix, w.s, true);
    close_world(&w);
}
END_TEST

/** Who is inside holds back what is to be freed, and what may be chosen from. */
START_TEST(readers_hold_it_back)
{
    struct index_options o = small_options(8, INDEX_L2);
    struct world w = open_world(&o, 300);
    size_t worked;
    int who;
    put_all(&w);
    link_all(w.ix, w.s);
    for (size_t i = 0; i < 200; i++)
        oracle_delete(&w.x, w.ix, i);
    unsigned token = epoch__enter(w.ix, &who);
    for (int i = 0; i < 1000; i++)
        ck_assert_ok(index_maintain(w.ix, 100, true, w.s, &worked, NULL));
    ck_assert_uint_eq(worked, 0);
    ck_assert_uint_eq(stats(&w).deleted, 200);
    epoch__leave(w.ix, &who, token);
    ck_assert_ok(index_maintain(w.ix, 100, true, w.s, &worked, NULL));
    ck_assert_uint_gt(worked, 0);
    maintain_all(w.ix, w.s, true);
    ck_assert_uint_eq(stats(&w).deleted, 0);
    close_world(&w);
}
END_TEST

TEST_SUITE(repair)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, ten_turnovers, 0, 3);
    tcase_add_loop_test(tc, ids_come_and_go, 0, 3);
    tcase_add_test(tc, waits_for_a_fifth);
    tcase_add_loop_test(tc, one_node_at_a_time, 0, 3);
    tcase_add_loop_test(tc, memory_is_given_back, 0, 2);
    tcase_add_test(tc, moving_together_ends);
    tcase_add_test(tc, upkeep_goes_on_while_many_wait);
    tcase_add_loop_test(tc, all_deleted_and_imported_again, 0, 3);
    tcase_add_loop_test(tc, new_ones_among_the_dying, 0, 3);
    tcase_add_test(tc, dead_entry_point);
    tcase_add_loop_test(tc, lonely_entry_point, 0, 4);
    tcase_add_loop_test(tc, twins_of_dead_heads, 0, 4);
    tcase_add_test(tc, twins_in_all_phases);
    tcase_add_loop_test(tc, k_hits_whenever_there_are_k, 0, 3);
    tcase_add_test(tc, readers_hold_it_back);
    suite_add_tcase(s, tc);
}
