#include "engine/hash.h"

#include "tests/support/test.h"

#include <stdlib.h>

static void check(struct str s, const char *want_hex)
{
    struct err e = ERR_INIT;
    unsigned char got[CATALOG_HASH_BYTES];
    ck_assert_ok(hash_start(&e), &e);
    hash_content(s.p, s.n, got);
    for (size_t i = 0; i < sizeof got; i++) {
        char hex[3] = { want_hex[2 * i], want_hex[2 * i + 1], '\0' };
        ck_assert_uint_eq(got[i], strtoul(hex, NULL, 16));
    }
}

/* Computed by b2sum -l 256. */
START_TEST(known_answers)
{
    check((struct str){ NULL, 0 },
        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    check(STR("abc"), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}
END_TEST

START_TEST(seeds_differ)
{
    struct err e = ERR_INIT;
    ck_assert_ok(hash_start(&e), &e);
    ck_assert_uint_ne(hash_seed(), hash_seed());
}
END_TEST

TEST_SUITE(hash)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, known_answers);
    tcase_add_test(tc, seeds_differ);
    suite_add_tcase(s, tc);
}
