/* Random lives of an index against the oracle. A failure names the seed; INDEX_SEED=n runs that one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/index/oracle.h"
#include "tests/support/test.h"

enum { SLOTS = 260, STEPS = 700 };

static uint64_t running = UINT64_MAX; /* the seed at work */

/** A failed assertion ends the process with the seed still running. */
static void name_seed(void)
{
    if (running != UINT64_MAX)
        fprintf(stderr, "failed with INDEX_SEED=%llu\n", (unsigned long long)running);
}

static void put_something(struct oracle *x, struct index *ix, struct rng *r)
{
    float v[300];
    size_t slot = rng_below(r, x->n_slots);
    if (rng_below(r, 4) == 0) /* a vector that another has, or itself */
        memcpy(v, x->v + rng_below(r, x->n_slots) * x->o.dim, x->o.dim * sizeof *v);
    else
        random_vector(r, v, x->o.dim);
    bool zero = true;
    for (size_t d = 0; d < x->o.dim; d++)
        zero &= v[d] <= 0 && v[d] >= 0;
    if (!zero) oracle_put(x, ix, slot, v);
}

static void ask_something(
    const struct oracle *x, const struct index *ix, struct index_scratch *s, struct rng *r)
{
    static const size_t ks[] = { 1, 2, 10, 40, 300 };
    uint64_t bits[SLOTS * 3 / 64 + 1] = { 0 };
    struct index_allow allow = { bits, SLOTS * 3, 0 };
    float v[300];
    random_vector(r, v, x->o.dim);
    struct index_query q = { .vector = v, .k = ks[rng_below(r, 5)] };
    q.exact = rng_below(r, 3) == 0;
    q.ef = rng_below(r, 2) ? 1 : 0; /* 1: so low that the graph is walked */
    if (rng_below(r, 3) == 0) {
        double share = rng_unit(r);
        for (size_t slot = 0; slot < SLOTS; slot++) {
            if (oracle_id(slot) >= allow.n_bits || rng_unit(r) > share) continue;
            bits[oracle_id(slot) / 64] |= UINT64_C(1) << (oracle_id(slot) % 64);
            allow.count++;
        }
        q.allow = &allow;
    }
    oracle_check(x, ix, &q, s, q.exact);
}

static void live(uint64_t seed)
{
    static const size_t dims[] = { 1, 2, 3, 7, 16, 17, 64, 257 };
    struct rng r;
    rng_init(&r, seed);
    struct index_options o =
        small_options(dims[rng_below(&r, 8)], (enum metric_kind)rng_below(&r, 3));
    o.m = INDEX_M_MIN + rng_below(&r, 12);
    o.ef_construction = 8 + rng_below(&r, 60);
    o.seed = seed;
    struct index *ix = NULL;
    struct err e = ERR_INIT;
    struct oracle x;
    struct index_scratch *s = index_scratch_new();
    ck_assert_ok(index_new(&o, &ix, &e), &e);
    oracle_init(&x, &o, SLOTS);
    uint64_t put = 10 + rng_below(&r, 60), link = rng_below(&r, 30), delete = rng_below(&r, 30);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t dice = rng_below(&r, put + link + delete + 10);
        size_t n;
        if (dice < put)
            put_something(&x, ix, &r);
        else if (dice < put + link)
            ck_assert_ok(index_link(ix, 1 + rng_below(&r, 8), s, &n, &e), &e);
        else if (dice < put + link + delete)
            oracle_delete(&x, ix, rng_below(&r, SLOTS));
        else
            ask_something(&x, ix, s, &r);
        if (step % 50 == 0) must_verify(ix);
    }
    struct index_stats st;
    index_stats(ix, &st);
    ck_assert_uint_eq(st.live, oracle_live(&x));
    link_all(ix, s);
    must_verify(ix);
    for (size_t i = 0; i < 10; i++)
        ask_something(&x, ix, s, &r);
    oracle_done(&x);
    index_scratch_free(s);
    index_free(ix);
}

START_TEST(random_lives)
{
    atexit(name_seed);
    const char *one = getenv("INDEX_SEED"), *many = getenv("INDEX_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : (uint64_t)_i * 100;
    uint64_t n = one ? 1 : many ? strtoull(many, NULL, 10) : test_is_slow_run() ? 1 : 4;
    for (running = first; running < first + n; running++)
        live(running);
    running = UINT64_MAX;
}
END_TEST

TEST_SUITE(random)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_lives, 0, 12);
    suite_add_tcase(s, tc);
}
