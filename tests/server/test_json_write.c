#include "server/json_write.h"

#include "base/mem.h"
#include "server/json_read.h"
#include "tests/support/test.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

START_TEST(puts_commas)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    json_write_object(&w);
    json_write_key(&w, "a");
    json_write_array(&w);
    json_write_i64(&w, INT64_MIN);
    json_write_u64(&w, UINT64_MAX);
    json_write_array(&w);
    json_write_array_end(&w);
    json_write_object(&w);
    json_write_object_end(&w);
    json_write_array_end(&w);
    json_write_key_str(&w, STR("b\"c"));
    json_write_bool(&w, true);
    json_write_key(&w, "d");
    json_write_null(&w);
    json_write_key(&w, "e");
    json_write_raw(&w, STR("{\"x\":1}"));
    json_write_key(&w, "f");
    json_write_z(&w, "");
    json_write_object_end(&w);
    ck_assert_str_eq(b.p,
        "{\"a\":[-9223372036854775808,18446744073709551615,[],{}],\"b\\\"c\":true,"
        "\"d\":null,\"e\":{\"x\":1},\"f\":\"\"}");
    buf_done(&b);
}
END_TEST

START_TEST(escapes_strings)
{
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    json_write_str(&w, (struct str){ "a\"\\/\b\f\n\r\t\x01\0\x1f\x7f\xc3\xa4z", 16 });
    ck_assert_str_eq(b.p, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u0000\\u001f\\u007f\xc3\xa4z\"");
    buf_done(&b);
}
END_TEST

START_TEST(writes_numbers)
{
    static const double rows[] = { 0, 1, -1.5, 0.1, 1.0 / 3, 1e300, 5e-324, 123456789012345680.0 };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT(0);
        struct json_write w = JSON_WRITE_INIT(&b);
        json_write_f64(&w, rows[i]);
        ck_assert(strtod(b.p, NULL) == rows[i]);
        ck_assert_uint_le(b.n, 24);
        buf_done(&b);
    }
    struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    json_write_array(&w);
    json_write_f64(&w, 0.1);
    json_write_f64(&w, NAN);
    json_write_f32(&w, INFINITY);
    json_write_f32(&w, 0.1f);
    json_write_array_end(&w);
    ck_assert_str_eq(b.p, "[0.1,null,null,0.1]");
    buf_done(&b);
}
END_TEST

START_TEST(writes_floats)
{
    float v[1000];
    for (int i = 0; i < 1000; i++)
        v[i] = (float)i * 0.37f - 11;
    for (size_t n = 0; n <= 1000; n += n < 4 ? 1 : 83) {
        struct buf b = BUF_INIT(0);
        struct json_write w = JSON_WRITE_INIT(&b);
        json_write_floats(&w, v, n);
        ck_assert_ok(buf_check(&b, NULL));
        json_t *list = json_loads(b.p, 0, NULL);
        ck_assert_ptr_nonnull(list);
        ck_assert_uint_eq(json_array_size(list), n);
        for (size_t i = 0; i < n; i++)
            ck_assert((float)json_number_value(json_array_get(list, i)) == v[i]);
        json_decref(list);
        buf_done(&b);
    }
}
END_TEST

START_TEST(writes_base64)
{
    float v[500], back[501];
    for (int i = 0; i < 500; i++)
        v[i] = (float)i * 1.7f;
    for (size_t n = 0; n <= 500; n += n < 4 ? 1 : 31) {
        struct buf b = BUF_INIT(0);
        struct json_write w = JSON_WRITE_INIT(&b);
        json_write_floats_base64(&w, v, n);
        ck_assert(b.p[0] == '"' && b.p[b.n - 1] == '"');
        size_t got = 0;
        ck_assert_int_eq(sodium_base642bin((unsigned char *)back, sizeof back, b.p + 1, b.n - 2,
                             NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL),
            0);
        ck_assert_uint_eq(got, n * sizeof *v);
        ck_assert_int_eq(memcmp(back, v, got), 0);
        buf_done(&b);
    }
}
END_TEST

START_TEST(failure_sticks)
{
    struct buf b = BUF_INIT(20);
    struct json_write w = JSON_WRITE_INIT(&b);
    json_write_array(&w);
    for (int i = 0; i < 100; i++)
        json_write_z(&w, "abc");
    json_write_array_end(&w);
    ck_assert_err(buf_check(&b, NULL), ERR_LIMIT);
    buf_done(&b);
}
END_TEST

TEST_SUITE(json_write)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, puts_commas);
    tcase_add_test(tc, escapes_strings);
    tcase_add_test(tc, writes_numbers);
    tcase_add_test(tc, writes_floats);
    tcase_add_test(tc, writes_base64);
    tcase_add_test(tc, failure_sticks);
    suite_add_tcase(s, tc);
}
