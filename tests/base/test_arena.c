#include "tests/support/oom.h"
#include "tests/support/test.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdint.h>
#include <string.h>

START_TEST(allocations_are_apart_and_aligned)
{
    struct arena *a = arena_new(64, 0);
    struct rng r;
    unsigned char *p[300];
    size_t n[300];
    rng_init(&r, 1);
    for (size_t i = 0; i < 300; i++) {
        size_t align = (size_t)1 << rng_below(&r, 13);
        n[i] = (size_t)rng_below(&r, 700);
        p[i] = arena_alloc_aligned(a, align, n[i], 1);
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % (align < 16 ? 16 : align), 0);
        memset(p[i], (int)(i & 0xFF), n[i]);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t j = 0; j < n[i]; j++)
            ck_assert_uint_eq(p[i][j], i & 0xFF);
    arena_free(a);
    arena_free(NULL);
}
END_TEST

START_TEST(zero_sized_are_distinct)
{
    struct arena *a = arena_new(0, 0);
    void *p = arena_alloc(a, 0, 8), *q = arena_zalloc(a, 8, 0);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_nonnull(q);
    ck_assert_ptr_ne(p, q);
    arena_free(a);
}
END_TEST

START_TEST(limit_and_overflow_give_null)
{
    struct arena *a = arena_new(256, 1000);
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX, 2));
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX / 2 + 10, 1));
    ck_assert_ptr_null(arena_alloc(a, 1001, 1));
    ck_assert_ptr_nonnull(arena_alloc(a, 960, 1));
    ck_assert_ptr_null(arena_alloc(a, 41, 1));
    ck_assert_ptr_nonnull(arena_alloc(a, 16, 1));
    ck_assert_uint_le(arena_used_bytes(a), 1000);
    mem_fail_after(-1);
    ck_assert_ptr_null(arena_alloc(a, 5000, 1));
    ck_assert_int_eq(mem_alloc_count(), 0); /* what is refused is not fetched first */
    arena_clear(a);
    ck_assert_uint_eq(arena_used_bytes(a), 0);
    ck_assert_ptr_nonnull(arena_alloc(a, 1000, 1));
    arena_free(a);
}
END_TEST

START_TEST(marks_nest_and_memory_is_reused)
{
    struct arena *a = arena_new(256, 0);
    char *base = arena_strndup(a, "base", 4);
    struct arena_mark outer = arena_mark(a);
    size_t used = arena_used_bytes(a);
    long rounds_with_malloc = 0;
    for (int round = 0; round < 10; round++) {
        mem_fail_after(-1);
        ck_assert_ptr_nonnull(arena_alloc(a, 5000, 1));
        struct arena_mark inner = arena_mark(a);
        char *first = arena_zalloc(a, 100000, 1);
        ck_assert_ptr_nonnull(first);
        arena_rewind(a, inner);
        ck_assert_ptr_eq(arena_alloc(a, 100000, 1), first);
        arena_rewind(a, outer);
        ck_assert_uint_eq(arena_used_bytes(a), used);
        if (round > 0) rounds_with_malloc += mem_alloc_count();
    }
    ck_assert_int_eq(rounds_with_malloc, 0);
    ck_assert_str_eq(base, "base");
    ck_assert_uint_ge(arena_high_water_bytes(a), 105000);
    ck_assert_uint_lt(arena_high_water_bytes(a), 106000);
    arena_free(a);
}
END_TEST

START_TEST(text)
{
    struct arena *a = arena_new(16, 0);
    ck_assert_str_eq(arena_printf(a, "%s-%d", "n", 42), "n-42");
    ck_assert_str_eq(arena_strndup(a, "abcdef", 2), "ab");
    char *longer = arena_printf(a, "%0500d", 7);
    ck_assert_uint_eq(strlen(longer), 500);
    arena_free(a);
}
END_TEST

static enum err_code fill_up(void)
{
    struct arena *a = arena_new(64, 0);
    if (!a) return ERR_NOMEM;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < 8 && code == ERR_OK; i++) {
        size_t before = arena_used_bytes(a);
        if (!arena_alloc(a, 300 * (i + 1), 1)) {
            /* A failure takes nothing, and smaller requests still work. */
            ck_assert_uint_eq(arena_used_bytes(a), before);
            code = ERR_NOMEM;
        }
    }
    arena_free(a);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(fill_up);
}
END_TEST

TEST_SUITE(arena)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, allocations_are_apart_and_aligned);
    tcase_add_test(tc, zero_sized_are_distinct);
    tcase_add_test(tc, limit_and_overflow_give_null);
    tcase_add_test(tc, marks_nest_and_memory_is_reused);
    tcase_add_test(tc, text);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
