#include "tests/support/oom.h"
#include "tests/support/test.h"

#include "base/buf.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

START_TEST(appends)
{
    struct buf b = BUF_INIT(0);
    ck_assert_ok(buf_puts(&b, "ab"));
    ck_assert_ok(buf_putc(&b, 'c'));
    ck_assert_ok(buf_append(&b, "\0d", 2));
    ck_assert_ok(buf_printf(&b, "%s", ""));
    ck_assert_ok(buf_printf(&b, "[%d]", -5));
    ck_assert_uint_eq(b.n, 9);
    ck_assert_mem_eq(b.p, "abc\0d[-5]", 10);
    struct err e = ERR_INIT;
    ck_assert_ok(buf_check(&b, &e), &e);
    ck_assert(str_eq(buf_str(&b), (struct str){ "abc\0d[-5]", 9 }));
    buf_done(&b);
    ck_assert_ptr_null(b.p);
    ck_assert_ok(buf_puts(&b, "again"));
    ck_assert_str_eq(b.p, "again");
    buf_done(&b);
}
END_TEST

START_TEST(grows)
{
    struct buf b = BUF_INIT(0);
    char piece[501];
    memset(piece, 'x', 500);
    piece[500] = '\0';
    for (int i = 0; i < 200; i++) {
        ck_assert_ok(i % 2 ? buf_puts(&b, piece) : buf_printf(&b, "%s", piece));
        ck_assert_int_eq(b.p[b.n], '\0');
    }
    ck_assert_uint_eq(b.n, 100000);
    ck_assert_uint_eq(strspn(b.p, "x"), 100000);
    buf_done(&b);
}
END_TEST

START_TEST(numbers)
{
    static const uint64_t v[] = { 0, 9, 10, 12345, UINT64_C(18446744073709551615) };
    struct buf b = BUF_INIT(0);
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        char want[32];
        snprintf(want, sizeof want, "%" PRIu64, v[i]);
        buf_clear(&b);
        ck_assert_ok(buf_put_u64(&b, v[i]));
        ck_assert_str_eq(b.p, want);
    }
    buf_done(&b);
}
END_TEST

START_TEST(limit_is_exact_and_sticky)
{
    struct err e = ERR_INIT;
    for (int how = 0; how < 2; how++) {
        struct buf b = BUF_INIT(10);
        ck_assert_ok(buf_puts(&b, "0123456"));
        ck_assert_ok(how ? buf_printf(&b, "%d", 789) : buf_puts(&b, "789"));
        ck_assert_err(how ? buf_printf(&b, "%c", 'x') : buf_putc(&b, 'x'), ERR_LIMIT);
        ck_assert_err(buf_puts(&b, ""), ERR_LIMIT);
        ck_assert_str_eq(b.p, "0123456789");
        ck_assert_err(buf_check(&b, &e), ERR_LIMIT);
        ck_assert_ptr_nonnull(strstr(e.msg, "10 bytes"));
        buf_clear(&b);
        ck_assert_ok(buf_check(&b, NULL));
        ck_assert_str_eq(b.p, "");
        ck_assert_err(buf_reserve(&b, SIZE_MAX), ERR_LIMIT);
        buf_done(&b);
    }
}
END_TEST

START_TEST(take_moves_ownership)
{
    struct buf b = BUF_INIT(0);
    size_t n = 1;
    ck_assert_ptr_null(buf_take(&b, &n));
    ck_assert_uint_eq(n, 0);
    buf_puts(&b, "mine");
    char *p = buf_take(&b, &n);
    ck_assert_str_eq(p, "mine");
    ck_assert_uint_eq(n, 4);
    ck_assert_ptr_null(b.p);
    mem_free(p);
}
END_TEST

static enum err_code render(void)
{
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "line %d of many lines\n", i);
    enum err_code code = buf_check(&b, NULL);
    buf_done(&b);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(render);
}
END_TEST

TEST_SUITE(buf)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, appends);
    tcase_add_test(tc, grows);
    tcase_add_test(tc, numbers);
    tcase_add_test(tc, limit_is_exact_and_sticky);
    tcase_add_test(tc, take_moves_ownership);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
