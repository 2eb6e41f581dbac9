/* The checksum is XXH3 with 64 bits: values known from its specification's reference, and what a checksum is for. */
#include "base/checksum.h"

#include "tests/support/test.h"

#include <string.h>

START_TEST(is_xxh3)
{
    ck_assert_uint_eq(checksum64("", 0), UINT64_C(0x2d06800538d394c2));
    ck_assert_uint_eq(checksum64("a", 1), UINT64_C(0xe6c632b61e964e1f));
    ck_assert_uint_eq(checksum64("abc", 3), UINT64_C(0x78af5f94892f3950));
}
END_TEST

START_TEST(every_bit_counts)
{
    unsigned char p[300];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (unsigned char)(i * 7);
    for (size_t n = 1; n <= sizeof p; n += 23) {
        uint64_t whole = checksum64(p, n);
        for (size_t bit = 0; bit < 8 * n; bit += 3) {
            p[bit / 8] ^= (unsigned char)(1u << bit % 8);
            ck_assert_uint_ne(checksum64(p, n), whole);
            p[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        ck_assert_uint_eq(checksum64(p, n), whole);
        ck_assert_uint_ne(checksum64(p, n - 1), whole);
    }
}
END_TEST

TEST_SUITE(checksum)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, is_xxh3);
    tcase_add_test(tc, every_bit_counts);
    suite_add_tcase(s, tc);
}
