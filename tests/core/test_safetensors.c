/* Hostile files are written as header text and a number of data bytes. */
#include "core/model/safetensors.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <string.h>

static struct tmpdir dir;
static char path[TMPDIR_PATH_BYTES];

static void set_up(void)
{
    tmpdir_make(&dir);
    tmpdir_file(&dir, "x.safetensors", path);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static void write_bytes(const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* Returns the file's size. */
static size_t compose(unsigned char *file, const char *header, size_t n_data)
{
    size_t n = strlen(header);
    for (unsigned i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        file[8 + n + i] = (unsigned char)i;
    return 8 + n + n_data;
}

static enum err_code open_header(
    const char *header, size_t n_data, struct safetensors **ret_s, struct err *e)
{
    unsigned char file[8192];
    write_bytes(file, compose(file, header, n_data));
    return safetensors_open(path, ret_s, e);
}

#define A_F32_2 "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
static const char GOOD[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]}," A_F32_2
    ",\"empty\":{\"dtype\":\"I64\",\"shape\":[0,4],\"data_offsets\":[20,20]},"
    "\"scalar\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[20,28]}}   ";

START_TEST(a_good_file)
{
    struct safetensors *s;
    struct err e = ERR_INIT;
    ck_assert_ok(open_header(GOOD, 28, &s, &e), &e);
    ck_assert_uint_eq(safetensors_count(s), 4);
    ck_assert(str_is(safetensors_at(s, 0)->name, "a")); /* in the order of the data */
    ck_assert_ptr_null(safetensors_at(s, 4));
    const struct safetensor *b = safetensors_find(s, "b");
    ck_assert_ptr_nonnull(b);
    ck_assert(b->dtype == DTYPE_F16 && b->n_dims == 2 && b->dims[0] == 2 && b->dims[1] == 3);
    ck_assert(b->n_elements == 6 && b->size_bytes == 12);
    ck_assert_uint_eq(((const unsigned char *)b->data)[0], 8);
    ck_assert_uint_eq(safetensors_find(s, "empty")->size_bytes, 0);
    ck_assert_uint_eq(safetensors_find(s, "scalar")->n_elements, 1);
    ck_assert(safetensors_find(s, "scalar")->dtype == DTYPE_OTHER);
    ck_assert_ptr_null(safetensors_find(s, "__metadata__"));
    ck_assert_ptr_null(safetensors_find(s, "c"));
    safetensors_close(s);
}
END_TEST

static const struct {
    const char *header;
    size_t n_data;
    const char *mentions;
} BAD[] = {
    { "", 0, "JSON" },
    { "[]", 0, "object" },
    { "{", 0, "JSON" },
    { "{\"a\":1}", 0, "must have" },
    { "{\"a\":[]}", 0, "must have" },
    { "{" A_F32_2 "," A_F32_2 "}", 8, "JSON" }, /* a name twice */
    { "{" A_F32_2 "}", 7, "outside" },
    { "{" A_F32_2 "}", 9, "belong to no tensor" },
    { "{}", 1, "belong to no tensor" },
    { "{" A_F32_2 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12,
        "overlaps" },
    { "{" A_F32_2 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
        "overlaps" },
    { "{" A_F32_2 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", 20,
        "hole" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "hole" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
        "contradict each other: 12 bytes by shape and dtype, 8 by data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "two sizes" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,-8]}}", 8, "two sizes" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", 8, "two sizes" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "sizes" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "array" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
        "overflow" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
        "too many bytes by shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
        "dimensions" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0,
        "overflow" },
    { "{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952,2],\"data_offsets\":[0,0]}}", 0,
        "contradict" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]}}", 0,
        "JSON" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[true],\"data_offsets\":[0,1]}}", 1, "sizes" },
    { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
        "JSON" },
    { "{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
        "unknown dtype \"F33\"" },
    { "{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "must have" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "must have" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999]}}", 8,
        "JSON" },
};
enum { N_BAD = sizeof BAD / sizeof *BAD };

START_TEST(bad_headers)
{
    struct safetensors *s = NULL;
    struct err e = ERR_INIT;
    ck_assert_err(open_header(BAD[_i].header, BAD[_i].n_data, &s, &e), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, BAD[_i].mentions) != NULL, "%s: \"%s\" does not mention %s",
        BAD[_i].header, e.msg, BAD[_i].mentions);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(bad_lengths)
{
    struct safetensors *s;
    unsigned char file[16] = { 0 };
    for (size_t n = 0; n < 8; n++) {
        write_bytes(file, n);
        ck_assert_err(safetensors_open(path, &s, NULL), ERR_CORRUPT);
    }
    const uint64_t lengths[] = { 0, 9, (16 << 20) + 1, 100000001, UINT64_MAX, UINT64_MAX - 7,
        1ULL << 63 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (unsigned k = 0; k < 8; k++)
            file[k] = (unsigned char)(lengths[i] >> (8 * k));
        write_bytes(file, sizeof file);
        ck_assert_err(safetensors_open(path, &s, NULL), ERR_CORRUPT);
    }
    ck_assert_err(safetensors_open("/nonexistent/x", &s, NULL), ERR_NOT_FOUND);
}
END_TEST

/* A file large enough for the header that it promises, which is refused all the same; one of a thousand
 * arrays in each other; one whose names differ only in escapes. */
START_TEST(odd_headers)
{
    struct safetensors *s;
    struct err e = ERR_INIT;
    enum { LARGE = (16 << 20) + 9, DEPTH = 3000 };
    unsigned char *file = mem_alloc(LARGE, 1);
    ck_assert_ptr_nonnull(file);
    memset(file, ' ', LARGE);
    const uint64_t n = LARGE - 8;
    for (unsigned k = 0; k < 8; k++)
        file[k] = (unsigned char)(n >> (8 * k));
    memcpy(file + 8, "{}", 2);
    ck_assert_err(safetensors_open_memory(file, LARGE, &s, &e), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "does not fit") != NULL, "%s", e.msg);
    mem_free(file);

    static char deep[2 * DEPTH + 16] = "{\"a\":";
    memset(deep + 5, '[', DEPTH);
    memset(deep + 5 + DEPTH, ']', DEPTH);
    deep[5 + 2 * DEPTH] = '}';
    ck_assert_err(open_header(deep, 0, &s, &e), ERR_CORRUPT);

    ck_assert_err(
        open_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    "\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
            1, &s, &e),
        ERR_CORRUPT);
}
END_TEST

START_TEST(memory_is_as_a_file)
{
    unsigned char file[1024];
    size_t n = compose(file, GOOD, 28);
    struct safetensors *s = NULL;
    struct err e = ERR_INIT;
    for (size_t k = 0; k < n; k++)
        ck_assert_err(safetensors_open_memory(file, k, &s, NULL), ERR_CORRUPT);
    ck_assert_ptr_null(s);
    ck_assert_ok(safetensors_open_memory(file, n, &s, &e), &e);
    ck_assert_uint_eq(safetensors_count(s), 4);
    ck_assert_ptr_eq(safetensors_at(s, 0)->data, file + n - 28);
    safetensors_close(s);
}
END_TEST

/* Whatever opens must lie within the file: ASan reads every byte. */
START_TEST(random_damage)
{
    unsigned char good[1024], file[1024];
    size_t n = compose(good, GOOD, 28), opened = 0, sum = 0;
    struct rng rng;
    rng_init(&rng, 41);
    for (int round = 0; round < 3000; round++) {
        struct safetensors *s = NULL;
        memcpy(file, good, n);
        for (size_t k = 1 + rng_below(&rng, 2); k > 0; k--)
            file[rng_below(&rng, n - 28)] =
                (unsigned char)(rng_below(&rng, 3) ? '0' + rng_below(&rng, 10)
                                                   : rng_below(&rng, 256));
        write_bytes(file, n - (rng_below(&rng, 10) == 0 ? rng_below(&rng, n) : 0));
        if (safetensors_open(path, &s, NULL) != ERR_OK) continue;
        opened++;
        for (size_t i = 0; i < safetensors_count(s); i++)
            for (size_t b = 0; b < safetensors_at(s, i)->size_bytes; b++)
                sum += ((const unsigned char *)safetensors_at(s, i)->data)[b];
        safetensors_close(s);
    }
    ck_assert(opened > 0 && opened < 3000 && sum > 0);
}
END_TEST

START_TEST(types)
{
    ck_assert_str_eq(dtype_name(DTYPE_BF16), "BF16");
    ck_assert_str_eq(dtype_name(DTYPE_OTHER), "other");
    ck_assert_uint_eq(dtype_size_bytes(DTYPE_F32), 4);
    ck_assert_uint_eq(dtype_size_bytes(DTYPE_F16), 2);
    ck_assert_uint_eq(dtype_size_bytes(DTYPE_U8), 1);
    ck_assert_uint_eq(dtype_size_bytes(DTYPE_I64), 8);
    ck_assert_uint_eq(dtype_size_bytes(DTYPE_OTHER), 0);
}
END_TEST

static enum err_code open_once(void)
{
    struct safetensors *s;
    enum err_code code = safetensors_open(path, &s, NULL);
    if (code == ERR_OK) safetensors_close(s);
    return code;
}

START_TEST(out_of_memory)
{
    unsigned char file[1024];
    write_bytes(file, compose(file, GOOD, 28));
    OOM_LOOP(open_once);
}
END_TEST

TEST_SUITE(safetensors)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_good_file);
    tcase_add_loop_test(tc, bad_headers, 0, N_BAD);
    tcase_add_test(tc, bad_lengths);
    tcase_add_test(tc, odd_headers);
    tcase_add_test(tc, memory_is_as_a_file);
    tcase_add_test(tc, random_damage);
    tcase_add_test(tc, types);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
