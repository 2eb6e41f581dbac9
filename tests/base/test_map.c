/* Oracle: plain arrays. */
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

START_TEST(u64_empty)
{
    struct u64_map m;
    uint32_t v = 7;
    u64_map_init(&m);
    ck_assert(!u64_map_get(&m, 1, &v));
    ck_assert(!u64_map_remove(&m, 1));
    ck_assert_uint_eq(v, 7);
    u64_map_done(&m);
    u64_map_done(&m);
}
END_TEST

START_TEST(u64_against_an_array)
{
    enum { KEYS = 500, STEPS = 20000 };
    struct u64_map m;
    struct rng r;
    uint64_t keys[KEYS];
    uint32_t want[KEYS];
    bool there[KEYS] = { false };
    size_t n = 0;
    u64_map_init(&m);
    rng_init(&r, 2);
    for (size_t i = 0; i < KEYS; i++) /* small, huge and neighbouring keys, 0 and the largest */
        keys[i] = i < 200 ? i : i < 400 ? UINT64_MAX - (i - 200) : rng_u64(&r);
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = (size_t)rng_below(&r, KEYS);
        uint32_t v = 0;
        if (rng_below(&r, 2 + (step / 5000) % 2) == 0) {
            ck_assert_int_eq(u64_map_remove(&m, keys[i]), there[i]);
            n -= there[i];
            there[i] = false;
        } else {
            want[i] = (uint32_t)rng_u64(&r);
            ck_assert_ok(u64_map_set(&m, keys[i], want[i]));
            n += !there[i];
            there[i] = true;
        }
        ck_assert_uint_eq(m.n, n);
        i = (size_t)rng_below(&r, KEYS);
        ck_assert_int_eq(u64_map_get(&m, keys[i], &v), there[i]);
        if (there[i]) ck_assert_uint_eq(v, want[i]);
    }
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_int_eq(u64_map_remove(&m, keys[i]), there[i]);
    ck_assert_uint_eq(m.n, 0);
    for (size_t i = 0; i < m.cap; i++)
        ck_assert_uint_eq(m.used[i], 0);
    u64_map_done(&m);
}
END_TEST

START_TEST(u64_load_and_reserve)
{
    struct u64_map m;
    u64_map_init(&m);
    for (uint64_t i = 0; i < 10000; i++) {
        ck_assert_ok(u64_map_set(&m, i << 32, (uint32_t)i));
        ck_assert_uint_le(m.n * 10, m.cap * 7);
    }
    u64_map_done(&m);
    ck_assert_ok(u64_map_reserve(&m, 10000));
    size_t cap = m.cap;
    for (uint64_t i = 0; i < 10000; i++)
        ck_assert_ok(u64_map_set(&m, i, 1));
    ck_assert_uint_eq(m.cap, cap);
    ck_assert_err(u64_map_reserve(&m, SIZE_MAX / 2), ERR_NOMEM);
    ck_assert_err(u64_map_reserve(&m, SIZE_MAX / 20), ERR_NOMEM);
    ck_assert_uint_eq(m.n, 10000);
    u64_map_done(&m);
}
END_TEST

START_TEST(str_set_get)
{
    enum { N = 5000 };
    struct str_map *m = str_map_new(0, 99);
    char key[40];
    uint32_t v = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < N; i++) {
            int n = snprintf(key, sizeof key, "%.*s%u", (int)(i % 20), "xxxxxxxxxxxxxxxxxxxx", i);
            ck_assert_ok(str_map_set(m, (struct str){ key, (size_t)n }, i + (uint32_t)round));
        }
    ck_assert_uint_eq(str_map_count(m), N);
    for (uint32_t i = 0; i < N; i++) {
        int n = snprintf(key, sizeof key, "%.*s%u", (int)(i % 20), "xxxxxxxxxxxxxxxxxxxx", i);
        ck_assert(str_map_get(m, (struct str){ key, (size_t)n }, &v));
        ck_assert_uint_eq(v, i + 1);
        key[n] = '!';
        ck_assert(!str_map_get(m, (struct str){ key, (size_t)n + 1 }, &v));
    }
    str_map_free(m);
    str_map_free(NULL);
}
END_TEST

START_TEST(str_keys_are_bytes)
{
    struct str_map *m = str_map_new(10, 0);
    uint32_t v;
    ck_assert_ok(str_map_set(m, (struct str){ "a\0b", 3 }, 1));
    ck_assert_ok(str_map_set(m, (struct str){ "a\0c", 3 }, 2));
    ck_assert_ok(str_map_set(m, (struct str){ NULL, 0 }, 3));
    ck_assert(str_map_get(m, (struct str){ "a\0b", 3 }, &v) && v == 1);
    ck_assert(str_map_get(m, (struct str){ "a\0c", 3 }, &v) && v == 2);
    ck_assert(str_map_get(m, STR(""), &v) && v == 3);
    ck_assert(!str_map_get(m, STR("a"), &v));
    str_map_free(m);
}
END_TEST

START_TEST(hash_depends_on_all_of_it)
{
    unsigned char bytes[64];
    struct rng r;
    rng_init(&r, 3);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)rng_u64(&r);
        uint64_t h = hash_bytes(bytes, n, 5);
        ck_assert_uint_eq(h, hash_bytes(bytes, n, 5));
        ck_assert_uint_ne(h, hash_bytes(bytes, n, 6));
        if (n) ck_assert_uint_ne(h, hash_bytes(bytes, n - 1, 5));
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            uint64_t other = hash_bytes(bytes, n, 5);
            /* About half of the bits change: 32 of 64, give or take 5 standard deviations. */
            int changed = __builtin_popcountll(h ^ other);
            ck_assert_msg(changed > 11 && changed < 53, "n %zu bit %zu: %d", n, bit, changed);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    /* Trailing zeros count. */
    memset(bytes, 0, sizeof bytes);
    for (size_t n = 1; n <= sizeof bytes; n++)
        for (size_t k = 0; k < n; k++)
            ck_assert_uint_ne(hash_bytes(bytes, n, 5), hash_bytes(bytes, k, 5));
}
END_TEST

START_TEST(hash_spreads)
{
    enum { BUCKETS = 1024, KEYS = 64 * BUCKETS };
    static int count[BUCKETS];
    for (uint32_t i = 0; i < KEYS; i++)
        count[hash_bytes(&i, sizeof i, 1) % BUCKETS]++;
    double chi2 = 0.0;
    for (int i = 0; i < BUCKETS; i++)
        chi2 += (count[i] - 64.0) * (count[i] - 64.0) / 64.0;
    /* 1023 degrees of freedom: mean 1023, standard deviation 45. */
    ck_assert_double_lt(chi2, 1023 + 6 * 45);
}
END_TEST

static enum err_code fill_both(void)
{
    struct u64_map m;
    u64_map_init(&m);
    enum err_code code = ERR_OK;
    for (uint64_t i = 0; i < 200 && code == ERR_OK; i++) {
        size_t n = m.n;
        code = u64_map_set(&m, i, (uint32_t)i);
        uint32_t v;
        if (code != ERR_OK) ck_assert(m.n == n && !u64_map_get(&m, i, &v));
        for (uint64_t k = 0; k < m.n; k++)
            ck_assert(u64_map_get(&m, k, &v) && v == k);
    }
    u64_map_done(&m);
    TRY(code);

    struct str_map *t = str_map_new(4, 1);
    if (!t) return ERR_NOMEM;
    for (int i = 0; i < 400 && code == ERR_OK; i++) {
        char key[100];
        snprintf(key, sizeof key, "%050d", i);
        size_t n = str_map_count(t);
        code = str_map_set(t, str_from(key), (uint32_t)i);
        if (code != ERR_OK) ck_assert_uint_eq(str_map_count(t), n);
    }
    str_map_free(t);
    return code;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(fill_both);
}
END_TEST

TEST_SUITE(map)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, u64_empty);
    tcase_add_test(tc, u64_against_an_array);
    tcase_add_test(tc, u64_load_and_reserve);
    tcase_add_test(tc, str_set_get);
    tcase_add_test(tc, str_keys_are_bytes);
    tcase_add_test(tc, hash_depends_on_all_of_it);
    tcase_add_test(tc, hash_spreads);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
