#include "core/learn/checkpoint.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct train_fixture f;
static struct trainable *t;
static char path[TMPDIR_PATH_BYTES];

static const struct train_state STATE = { 17, 400, true, 12.5,
    { { { 1, 2, 3, UINT64_MAX } }, { { 5, 6, 7, 8 } }, 9 },
    { 0.5, 1.5, 2.5, 3.5, 4.5, 10, 11, 12, 13, 14 } };
static const struct train_record RECORDS[2] = {
    { 5, 1, 2, 3, 4, NAN, -0.0, 7 },
    { 10, 8, 9, 10, 11, 12, 13, 14 },
};

static void set_up(void)
{
    struct err e = ERR_INIT;
    train_fixture_make(&f);
    tmpdir_file(&f.dir, "checkpoint", path);
    ck_assert_ok(trainable_open(f.model, NULL, &t, &e), &e);
}

static void tear_down(void)
{
    trainable_free(t);
    train_fixture_remove(&f);
}

static float *table(void)
{
    struct safetensor_out out;
    trainable_state_get(t, 0, &out);
    return (float *)(uintptr_t)out.data;
}

static void write_it(void)
{
    struct err e = ERR_INIT;
    struct train_log log = { (struct train_record *)(uintptr_t)RECORDS, 2, 2 };
    ck_assert_ok(checkpoint_write(path, 42, t, &STATE, &log, &e), &e);
}

static enum err_code read_it(uint64_t fingerprint, struct train_state *state, struct err *e)
{
    struct train_log log = { 0 };
    enum err_code code = checkpoint_read(path, fingerprint, t, state, &log, e);
    if (code == ERR_OK) {
        ck_assert_uint_eq(log.n, 2);
        ck_assert_mem_eq(log.records, RECORDS, sizeof RECORDS);
    }
    train_log_done(&log);
    return code;
}

START_TEST(everything_comes_back)
{
    struct err e = ERR_INIT;
    struct train_state got;
    memset(&got, 0, sizeof got);
    table()[3] = 7.25F;
    write_it();
    table()[3] = 0;
    ck_assert_ok(read_it(42, &got, &e), &e);
    ck_assert_float_eq(table()[3], 7.25F);
    ck_assert_int_eq(got.step, STATE.step);
    ck_assert_int_eq(got.steps, STATE.steps);
    ck_assert_int_eq(got.fitted, STATE.fitted);
    ck_assert_double_eq(got.seconds, STATE.seconds);
    ck_assert_mem_eq(&got.cursor, &STATE.cursor, sizeof got.cursor);
    ck_assert_mem_eq(&got.window, &STATE.window, sizeof got.window);
}
END_TEST

START_TEST(another_run)
{
    struct err e = ERR_INIT;
    struct train_state got;
    write_it();
    ck_assert_err(read_it(43, &got, &e), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(e.msg, "other options"));
    ck_assert_ok(file_write_atomic(path, "no checkpoint", 13, &e), &e);
    ck_assert_err(read_it(42, &got, &e), ERR_CORRUPT);
    tmpdir_file(&f.dir, "model/model.safetensors", path);
    ck_assert_err(read_it(42, &got, &e), ERR_CORRUPT);
    tmpdir_file(&f.dir, "none", path);
    ck_assert_err(read_it(42, &got, &e), ERR_NOT_FOUND);
}
END_TEST

/* Without a sync: there are many. */
static void put_bytes(const char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(damage_is_noticed_wherever_it_is)
{
    struct train_state got;
    size_t n, n_checked = 0;
    write_it();
    AUTO_FREE char *bytes = train_fixture_read(path, &n);
    /* What nobody reads may say anything. */
    const char note[] = "\"format\":\"pt\"";
    const char *at = memmem(bytes, n, note, sizeof note - 1);
    size_t unread = at ? (size_t)(at - bytes) : n, unread_end = unread + sizeof note - 1;
    /* The header and the run's bytes one by one, the tensors here and there. */
    for (size_t i = 0; i < n; i += i < 400 || i > n - 700 ? 1 : 331) {
        if (i >= unread && i < unread_end) continue;
        bytes[i] ^= 0x01;
        put_bytes(bytes, n);
        enum err_code code = read_it(42, &got, NULL);
        ck_assert_msg(code == ERR_CORRUPT, "byte %zu of %zu: %s", i, n, err_name(code));
        bytes[i] ^= 0x01;
        n_checked++;
    }
    for (size_t i = 1; i < n; i += n / 50) {
        put_bytes(bytes, n - i);
        ck_assert_err(read_it(42, &got, NULL), ERR_CORRUPT);
    }
    ck_assert_uint_gt(n_checked, 1000);
}
END_TEST

START_TEST(leftovers_of_killed_writers_go)
{
    char left[TMPDIR_PATH_BYTES], other[TMPDIR_PATH_BYTES];
    write_it();
    train_fixture_write(tmpdir_file(&f.dir, "checkpoint.tmp.123.0", left), "half");
    train_fixture_write(tmpdir_file(&f.dir, "other.tmp.123.0", other), "half");
    checkpoint_tidy(path);
    ck_assert(!file_exists(left));
    ck_assert(file_exists(other));
    ck_assert(file_exists(path));
}
END_TEST

TEST_SUITE(checkpoint)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, everything_comes_back);
    tcase_add_test(tc, another_run);
    tcase_add_test(tc, damage_is_noticed_wherever_it_is);
    tcase_add_test(tc, leftovers_of_killed_writers_go);
    suite_add_tcase(s, tc);
}
