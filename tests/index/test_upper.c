/* Lists above layer 0: units in slabs, used again by level. */
#include "index/index_internal.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tests/index/oracle.h"
#include "tests/support/test.h"

static struct index *ix;

static void setup(void)
{
    struct index_options o = small_options(1, INDEX_L2);
    o.m = 5;
    ix = open_index(&o);
}

static void teardown(void)
{
    index_free(ix);
}

static uint32_t take(unsigned level)
{
    uint32_t unit = NODE_NONE;
    struct err e = ERR_INIT;
    ck_assert_ok(upper__take(ix, level, &unit, &e), &e);
    for (size_t i = 0; i < level * ix->o.m; i++)
        ck_assert_uint_eq(atomic_load(&upper__list(ix, unit)[i]), NODE_NONE);
    return unit;
}

/** All levels of a node stand in a row. */
static void fill(uint32_t unit, unsigned level, uint32_t with)
{
    for (size_t i = 0; i < level * ix->o.m; i++)
        atomic_store(&upper__list(ix, unit)[i], with);
}

static void holds(uint32_t unit, unsigned level, uint32_t with)
{
    for (unsigned l = 0; l < level; l++)
        for (size_t i = 0; i < ix->o.m; i++)
            ck_assert_uint_eq(atomic_load(&upper__list(ix, unit + l)[i]), with);
}

/** Over more slabs than the first array has room for: lists do not overlap and do not move. */
START_TEST(lists_stay_where_they_are)
{
    enum { N = 20 * UPPER_SLAB_UNITS };
    uint32_t *units = mem_alloc(N, sizeof *units);
    ck_assert_ptr_nonnull(units);
    const void *first = NULL;
    for (uint32_t i = 0; i < N; i++) {
        units[i] = take(1 + i % 3);
        if (i == 0) first = (const void *)upper__list(ix, units[0]);
        fill(units[i], 1 + i % 3, i);
    }
    ck_assert_ptr_eq(first, (const void *)upper__list(ix, units[0]));
    for (uint32_t i = 0; i < N; i++)
        holds(units[i], 1 + i % 3, i);
    size_t need = (size_t)N * 2 * ix->o.m * 4;
    ck_assert_uint_ge(upper__bytes(ix), need);
    ck_assert_uint_le(upper__bytes(ix), need + need / 20 + 100000);
    mem_free(units);
}
END_TEST

START_TEST(given_back_is_used_again)
{
    uint32_t one = take(1), two = take(2), other = take(2), high = take(LEVEL_MAX);
    size_t bytes = upper__bytes(ix);
    fill(two, 2, 5);
    upper__give(ix, two, 2);
    upper__give(ix, other, 2);
    upper__give(ix, one, 1);
    upper__give(ix, high, LEVEL_MAX);
    ck_assert_uint_eq(take(2), other); /* the last comes first; empty again */
    ck_assert_uint_eq(take(2), two);
    uint32_t third = take(2);
    ck_assert(third != two && third != other);
    ck_assert_uint_eq(take(1), one);
    ck_assert_uint_eq(take(LEVEL_MAX), high);
    ck_assert_uint_eq(upper__bytes(ix), bytes);
}
END_TEST

START_TEST(turnover_takes_no_more_memory)
{
    uint32_t units[500];
    struct rng r;
    rng_init(&r, 3);
    for (uint32_t i = 0; i < 500; i++)
        units[i] = take(1 + i % 4);
    size_t bytes = upper__bytes(ix);
    for (int round = 0; round < 20000; round++) {
        uint32_t i = (uint32_t)rng_below(&r, 500);
        upper__give(ix, units[i], 1 + i % 4);
        units[i] = take(1 + i % 4);
        fill(units[i], 1 + i % 4, i);
    }
    for (uint32_t i = 0; i < 500; i++)
        upper__give(ix, units[i], 1 + i % 4);
    for (uint32_t i = 0; i < 500; i++)
        fill(units[i] = take(1 + i % 4), 1 + i % 4, i);
    for (uint32_t i = 0; i < 500; i++)
        holds(units[i], 1 + i % 4, i);
    ck_assert_uint_eq(upper__bytes(ix), bytes);
}
END_TEST

START_TEST(no_memory)
{
#ifdef KINDRED_CHECKED
    for (long nth = 0; nth < 3; nth++) {
        uint32_t unit = 77;
        mem_fail_after(nth);
        enum err_code code = upper__take(ix, 2, &unit, NULL);
        mem_fail_after(-1);
        if (code == ERR_OK) return;
        ck_assert(code == ERR_NOMEM && unit == 77);
    }
    (void)take(2);
#endif
}
END_TEST

TEST_SUITE(upper)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, lists_stay_where_they_are);
    tcase_add_test(tc, given_back_is_used_again);
    tcase_add_test(tc, turnover_takes_no_more_memory);
    tcase_add_test(tc, no_memory);
    suite_add_tcase(s, tc);
}
