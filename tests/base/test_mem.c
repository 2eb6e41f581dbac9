#include "tests/support/test.h"

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

START_TEST(sizes_are_checked)
{
    size_t r = 5;
    ck_assert(mem_mul(3, 4, &r) && r == 12);
    ck_assert(!mem_mul(SIZE_MAX / 2, 3, &r));
    ck_assert(!mem_add(SIZE_MAX, 1, &r));
    ck_assert_uint_eq(r, 12);
    ck_assert(mem_add(SIZE_MAX, 0, &r) && r == SIZE_MAX);
    ck_assert_ptr_null(mem_alloc(SIZE_MAX / 2, 4));
    ck_assert_ptr_null(mem_zalloc(SIZE_MAX, 2));
    ck_assert_ptr_null(mem_alloc_aligned(64, SIZE_MAX, 2));
    ck_assert_ptr_null(mem_alloc(SIZE_MAX, 1));
}
END_TEST

START_TEST(nothing_is_something)
{
    void *a = mem_alloc(0, 8), *b = mem_alloc(8, 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_ne(a, b);
    mem_free(a);
    mem_free(b);
    mem_free(NULL);
}
END_TEST

START_TEST(zalloc_and_realloc)
{
    unsigned char *p = mem_zalloc(100, 3);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < 300; i++)
        ck_assert_int_eq(p[i], 0);
    memset(p, 7, 300);
    ck_assert_ptr_null(mem_realloc(p, SIZE_MAX, 2)); /* p is still ours */
    unsigned char *q = mem_realloc(p, 1000, 1);
    ck_assert_ptr_nonnull(q);
    for (size_t i = 0; i < 300; i++)
        ck_assert_int_eq(q[i], 7);
    mem_free(q);
}
END_TEST

START_TEST(aligned)
{
    for (size_t align = 8; align <= 4096; align *= 2) {
        void *p = mem_alloc_aligned(align, 3, 5);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % align, 0);
        mem_free(p);
    }
}
END_TEST

START_TEST(copies_end_with_nul)
{
    char *a = mem_strndup("abcdef", 3), *b = mem_strdup("xyz"), *c = mem_strndup(NULL, 0);
    ck_assert_str_eq(a, "abc");
    ck_assert_str_eq(b, "xyz");
    ck_assert_str_eq(c, "");
    mem_free(a);
    mem_free(b);
    mem_free(c);
}
END_TEST

START_TEST(auto_free_and_steal)
{
    char *kept;
    {
        AUTO_FREE char *gone = mem_strdup("gone"); /* LeakSanitizer would tell */
        AUTO_FREE char *p = mem_strdup("kept");
        ck_assert_ptr_nonnull(gone);
        kept = steal_ptr(&p);
        ck_assert_ptr_null(p);
    }
    ck_assert_str_eq(kept, "kept");
    mem_free(kept);
}
END_TEST

#ifdef KINDRED_CHECKED
START_TEST(hook_fails_the_nth_once)
{
    mem_fail_after(2);
    void *a = mem_alloc(1, 1), *b = mem_zalloc(1, 1), *c = mem_alloc(1, 1), *d = mem_alloc(1, 1);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_null(c);
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(mem_alloc_count(), 4);
    mem_fail_after(0);
    void *r = mem_realloc(a, 100, 1);
    ck_assert_ptr_null(r);
    mem_free(a);
    mem_free(b);
    mem_free(d);
    mem_fail_after(-1);
    ck_assert_int_eq(mem_alloc_count(), 0);
}
END_TEST
#endif

TEST_SUITE(mem)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, sizes_are_checked);
    tcase_add_test(tc, nothing_is_something);
    tcase_add_test(tc, zalloc_and_realloc);
    tcase_add_test(tc, aligned);
    tcase_add_test(tc, copies_end_with_nul);
    tcase_add_test(tc, auto_free_and_steal);
#ifdef KINDRED_CHECKED
    tcase_add_test(tc, hook_fails_the_nth_once);
#endif
    suite_add_tcase(s, tc);
}
