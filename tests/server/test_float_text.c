#include "server/float_text.h"

#include "base/rng.h"
#include "tests/support/test.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Significant digits of a number's text, without leading and trailing zeros. */
static int digits_of(const char *s)
{
    int n = 0, zeros = 0;
    for (; *s && *s != 'e'; s++) {
        if (*s < '0' || *s > '9') continue;
        if (n == 0 && *s == '0') continue;
        n++;
        zeros = *s == '0' ? zeros + 1 : 0;
    }
    return n - zeros;
}

/* Writes x; the text must be JSON, read back as x by the C library and by us. */
static void check_round_trip(float x)
{
    char text[FLOAT_TEXT_BYTES + 1];
    size_t n = float_text_write(text, x);
    ck_assert_uint_le(n, FLOAT_TEXT_BYTES);
    text[n] = '\0';
    float back = 0;
    ck_assert_msg(float_text_read(text, &back) == text + n, "%s is no JSON number", text);
    ck_assert_msg(bits_of(back) == bits_of(x), "%s reads as %a, not %a", text, back, x);
    ck_assert_msg(bits_of(strtof(text, NULL)) == bits_of(x), "%s is not %a", text, x);
}

START_TEST(writes_every_exponent)
{
    for (uint32_t e = 0; e < 255; e++) {
        static const uint32_t fractions[] = { 0, 1, 2, 3, 0x3fffff, 0x400000, 0x400001, 0x7ffffe,
            0x7fffff };
        for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
            check_round_trip(float_of(e << 23 | fractions[i]));
            check_round_trip(float_of(UINT32_C(1) << 31 | e << 23 | fractions[i]));
        }
    }
}
END_TEST

START_TEST(writes_random_bits)
{
    struct rng r;
    rng_init(&r, 20260131);
    long n = test_is_slow_run() ? 200000 : 3000000;
    for (long i = 0; i < n; i++) {
        float x = float_of((uint32_t)rng_u64(&r));
        if (isfinite(x)) check_round_trip(x);
    }
}
END_TEST

START_TEST(writes_the_shortest)
{
    struct rng r;
    rng_init(&r, 7);
    for (long i = 0; i < 100000; i++) {
        float x = float_of((uint32_t)rng_u64(&r));
        if (!isfinite(x) || x == 0) continue;
        char text[FLOAT_TEXT_BYTES + 1], shorter[32];
        text[float_text_write(text, x)] = '\0';
        int digits = digits_of(text);
        if (digits == 1) continue;
        (void)snprintf(shorter, sizeof shorter, "%.*e", digits - 2, x);
        ck_assert_msg(strtof(shorter, NULL) != x, "%s is longer than %s", text, shorter);
    }
}
END_TEST

START_TEST(writes_plain_notation)
{
    static const struct {
        float x;
        const char *text;
    } rows[] = { { 0, "0" }, { 1, "1" }, { -1, "-1" }, { 0.1f, "0.1" }, { -0.0625f, "-0.0625" },
        { 100, "100" }, { 123456.78f, "123456.78" }, { 1e9f, "1000000000" }, { 1e10f, "1e10" },
        { 1e-4f, "0.0001" }, { 1e-7f, "1e-7" }, { 1.5e-7f, "1.5e-7" }, { FLT_MAX, "3.4028235e38" },
        { FLT_MIN, "1.1754944e-38" }, { 1e-45f, "1e-45" }, { -0.0f, "-0" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[FLOAT_TEXT_BYTES + 1];
        text[float_text_write(text, rows[i].x)] = '\0';
        ck_assert_str_eq(text, rows[i].text);
    }
}
END_TEST

START_TEST(reads_like_the_c_library)
{
    struct rng r;
    rng_init(&r, 99);
    for (long i = 0; i < 300000; i++) {
        /* near a float, or exactly between two, with 1 to 25 digits */
        float x = float_of((uint32_t)rng_u64(&r));
        if (!isfinite(x)) continue;
        double d = i % 2 ? ((double)x + (double)nextafterf(x, INFINITY)) / 2
                         : (double)x * (1 + rng_unit(&r) * 1e-7);
        char text[64];
        (void)snprintf(text, sizeof text, i % 3 ? "%.*e" : "%.*f", (int)rng_below(&r, 25), d);
        if (strlen(text) > 60) continue;
        float got = 0, want = strtof(text, NULL);
        ck_assert_ptr_nonnull(float_text_read(text, &got));
        ck_assert_msg(bits_of(got) == bits_of(want), "%s: %a, not %a", text, got, want);
    }
}
END_TEST

START_TEST(reads_corner_cases)
{
    static const struct {
        const char *text;
        float want;
    } rows[] = { { "0", 0 }, { "-0", 0 }, { "0.0e5", 0 }, { "1e400", INFINITY },
        { "-1e99999999999999999999", -INFINITY }, { "1e-400", 0 }, { "3.4028236e38", INFINITY },
        { "16777217", 16777216 }, { "16777219", 16777220 },
        { "0.000000000000000000000000000000000000000000001", 1e-45f },
        { "100000000000000000000000000000000000000", 1e38f },
        { "1.00000000000000000000000000000000000000000000001", 1 },
        { "0000000001", 0 } /* stops after the first 0 */ };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float got = 7;
        ck_assert_ptr_nonnull(float_text_read(rows[i].text, &got));
        ck_assert_msg(got == rows[i].want, "%s: %a", rows[i].text, got);
    }
}
END_TEST

START_TEST(refuses_what_is_no_number)
{
    static const char *const rows[] = { "", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "NaN",
        "Infinity", "-Infinity", "nan", "x", "\"1\"", "[", "--1" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float got;
        ck_assert_msg(!float_text_read(rows[i], &got), "\"%s\" was read", rows[i]);
    }
    float f = 0;
    const char *hex = "0x1p3", *text = "1.5,2";
    ck_assert_ptr_eq(float_text_read(hex, &f), hex + 1);
    ck_assert_ptr_eq(float_text_read(text, &f), text + 3);
}
END_TEST

TEST_SUITE(float_text)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, writes_every_exponent);
    tcase_add_test(tc, writes_random_bits);
    tcase_add_test(tc, writes_the_shortest);
    tcase_add_test(tc, writes_plain_notation);
    tcase_add_test(tc, reads_like_the_c_library);
    tcase_add_test(tc, reads_corner_cases);
    tcase_add_test(tc, refuses_what_is_no_number);
    suite_add_tcase(s, tc);
}
