#include "core/learn/npy.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static struct tmpdir dir;
static char path[TMPDIR_PATH_BYTES];

static void set_up(void)
{
    tmpdir_make(&dir);
    tmpdir_file(&dir, "x.npy", path);
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

/* A header of `text`, then n bytes. */
static void write_npy(unsigned major, const char *text, const void *data, size_t n)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT(0);
    size_t len = strlen(text);
    buf_append(&b, "\x93NUMPY", 6);
    buf_putc(&b, (char)major);
    buf_putc(&b, 0);
    for (unsigned i = 0; i < (major == 1 ? 2 : 4); i++)
        buf_putc(&b, (char)(len >> (8 * i)));
    buf_puts(&b, text);
    buf_append(&b, data, n);
    ck_assert_ok(buf_check(&b, &e), &e);
    ck_assert_ok(file_write_atomic(path, b.p, b.n, &e), &e);
    buf_done(&b);
}

static const float VALUES[6] = { 1, -2, 0.5F, 0, 3, -0.25F };

static void check_read(const char *text, unsigned major, const void *data, size_t n)
{
    struct err e = ERR_INIT;
    struct npy *npy = NULL;
    float row[3];
    write_npy(major, text, data, n);
    ck_assert_ok(npy_open(path, &npy, &e), &e);
    ck_assert_uint_eq(npy_rows(npy), 2);
    ck_assert_uint_eq(npy_columns(npy), 3);
    for (size_t i = 0; i < 2; i++) {
        npy_row(npy, i, row);
        ck_assert_near(row, VALUES + 3 * i, 3, 0, 0);
    }
    ck_assert_ok(npy_check_finite(npy, &e), &e);
    npy_close(npy);
}

START_TEST(reads_both_types_and_all_versions)
{
    uint16_t half[6];
    for (size_t i = 0; i < 6; i++)
        half[i] = f32_to_f16(VALUES[i]);
    for (unsigned major = 1; major <= 3; major++) {
        check_read("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", major, VALUES,
            sizeof VALUES);
        /* Odd length: the data is not aligned. */
        check_read(
            "{'shape':(2,3),\"fortran_order\":False,'descr':'<f2'}  ", major, half, sizeof half);
        check_read(" { 'descr' : '<f2' , 'shape' : ( 2 , 3 , ) , 'fortran_order' : False } ", major,
            half, sizeof half);
    }
}
END_TEST

START_TEST(an_empty_matrix)
{
    struct npy *npy = NULL;
    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 7), }", NULL, 0);
    ck_assert_ok(npy_open(path, &npy, NULL));
    ck_assert_uint_eq(npy_rows(npy), 0);
    npy_close(npy);
}
END_TEST

START_TEST(refuses_what_it_does_not_know)
{
    const struct {
        const char *text;
        enum err_code code;
    } cases[] = {
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", ERR_UNPROCESSABLE },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387906, 4), }",
            ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }",
            ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': Fals, 'shape': (2, 3), }", ERR_CORRUPT },
        { "{'descr': '<f4', 'shape': (2, 3), }", ERR_CORRUPT },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
            ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", ERR_CORRUPT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", ERR_CORRUPT },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", ERR_CORRUPT },
        { "{'descr': '<f4", ERR_CORRUPT },
        { "", ERR_CORRUPT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = ERR_INIT;
        struct npy *npy = NULL;
        write_npy(1, cases[i].text, VALUES, sizeof VALUES);
        enum err_code code = npy_open(path, &npy, &e);
        ck_assert_msg(code == cases[i].code, "%s: %s", cases[i].text, err_name(code));
        ck_assert_msg(strstr(e.msg, "x.npy") != NULL, "%s", e.msg);
    }
}
END_TEST

START_TEST(every_cut_and_every_changed_byte)
{
    size_t n;
    write_npy(
        1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", VALUES, sizeof VALUES);
    AUTO_FREE char *bytes = train_fixture_read(path, &n);
    for (size_t i = 0; i < n; i++) {
        struct npy *npy = NULL;
        ck_assert_ok(file_write_atomic(path, bytes, i, NULL));
        ck_assert_err(npy_open(path, &npy, NULL), ERR_CORRUPT);
    }
    for (size_t i = 0; i < n - sizeof VALUES; i++) {
        struct npy *npy = NULL;
        float row[64];
        bytes[i] ^= 0x10;
        ck_assert_ok(file_write_atomic(path, bytes, n, NULL));
        if (npy_open(path, &npy, NULL) == ERR_OK && npy_rows(npy) && npy_columns(npy) <= 64)
            npy_row(npy, npy_rows(npy) - 1, row);
        npy_close(npy);
        bytes[i] ^= 0x10;
    }
}
END_TEST

START_TEST(values_that_are_not_finite)
{
    const float bad[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < 3; i++) {
        struct err e = ERR_INIT;
        struct npy *npy = NULL;
        float values[6];
        uint16_t half[6] = { 0 };
        memcpy(values, VALUES, sizeof values);
        values[4] = bad[i];
        half[4] = f32_to_f16(bad[i]);
        write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", values,
            sizeof values);
        ck_assert_ok(npy_open(path, &npy, &e), &e);
        ck_assert_err(npy_check_finite(npy, &e), ERR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(e.msg, "row 1"));
        npy_close(npy);
        write_npy(
            1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }", half, sizeof half);
        ck_assert_ok(npy_open(path, &npy, &e), &e);
        ck_assert_err(npy_check_finite(npy, &e), ERR_CORRUPT);
        npy_close(npy);
    }
}
END_TEST

START_TEST(no_such_file)
{
    struct npy *npy = NULL;
    ck_assert_err(npy_open(path, &npy, NULL), ERR_NOT_FOUND);
    npy_close(NULL);
}
END_TEST

TEST_SUITE(npy)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, reads_both_types_and_all_versions);
    tcase_add_test(tc, an_empty_matrix);
    tcase_add_test(tc, refuses_what_it_does_not_know);
    tcase_add_test(tc, every_cut_and_every_changed_byte);
    tcase_add_test(tc, values_that_are_not_finite);
    tcase_add_test(tc, no_such_file);
    suite_add_tcase(s, tc);
}
