#include "tests/support/oom.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tmpdir tmp;
static char path[TMPDIR_PATH_BYTES];

static void setup(void)
{
    tmpdir_make(&tmp);
    tmpdir_file(&tmp, "file", path);
}

static void teardown(void)
{
    tmpdir_remove(&tmp);
}

static size_t entries(const char *folder)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

START_TEST(write_then_read)
{
    struct err e = ERR_INIT;
    static const char data[] = "one\0two";
    char *p = NULL;
    size_t n = 0;
    ck_assert_ok(file_write_atomic(path, data, sizeof data, &e), &e);
    ck_assert_ok(file_read(path, sizeof data, &p, &n, &e), &e);
    ck_assert_uint_eq(n, sizeof data);
    ck_assert_mem_eq(p, data, n);
    ck_assert_int_eq(p[n], '\0');
    mem_free(p);
    ck_assert_ok(file_write_atomic(path, NULL, 0, &e), &e); /* replaces */
    ck_assert_ok(file_read(path, 0, &p, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_str_eq(p, "");
    mem_free(p);
    ck_assert_uint_eq(entries(tmp.path), 1); /* nothing temporary is left */
}
END_TEST

START_TEST(failures_have_codes_and_name_the_path)
{
    struct err e = ERR_INIT;
    char *p = NULL;
    size_t n;
    struct file_map m;
    ck_assert_err(file_read(path, 10, &p, &n, &e), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.msg, path));
    ck_assert_err(file_map_open(path, &m, &e), ERR_NOT_FOUND);
    ck_assert_err(file_read(tmp.path, 10, &p, &n, &e), ERR_IO);
    ck_assert_err(file_map_open(tmp.path, &m, &e), ERR_IO);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_err(file_read(path, 10, &p, &n, &e), ERR_IO); /* and does not wait for a writer */
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_ok(file_write_atomic(path, "12345", 5, &e), &e);
    ck_assert_err(file_read(path, 4, &p, &n, &e), ERR_LIMIT);
    ck_assert_ptr_null(p);
    char below[TMPDIR_PATH_BYTES];
    ck_assert_err(
        file_write_atomic(tmpdir_file(&tmp, "no/such", below), "x", 1, &e), ERR_NOT_FOUND);
    ck_assert_err(file_write_atomic(tmpdir_file(&tmp, "file/x", below), "x", 1, &e), ERR_IO);
}
END_TEST

START_TEST(a_failed_write_leaves_the_old)
{
    struct err e = ERR_INIT;
    char folder[TMPDIR_PATH_BYTES];
    tmpdir_file(&tmp, "folder", folder);
    ck_assert_ok(dir_make(folder, &e), &e);
    /* A folder cannot be replaced by a file. */
    ck_assert_err(file_write_atomic(folder, "x", 1, &e), ERR_IO);
    ck_assert(dir_exists(folder));
    ck_assert_uint_eq(entries(tmp.path), 1);
    /* A file size limit stops the write half-way; the old content stays. */
    ck_assert_ok(file_write_atomic(path, "old", 3, &e), &e);
    struct rlimit limit, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    char *big = mem_zalloc(5000, 1);
    enum err_code code = file_write_atomic(path, big, 5000, &e);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    mem_free(big);
    ck_assert_err(code, ERR_IO);
    char *p = NULL;
    size_t n;
    ck_assert_ok(file_read(path, 10, &p, &n, &e), &e);
    ck_assert_str_eq(p, "old");
    mem_free(p);
    ck_assert_uint_eq(entries(tmp.path), 2);
}
END_TEST

START_TEST(maps)
{
    struct err e = ERR_INIT;
    struct file_map m = { 0 };
    file_map_close(&m);
    ck_assert_ok(file_write_atomic(path, "mapped", 6, &e), &e);
    ck_assert_ok(file_map_open(path, &m, &e), &e);
    ck_assert_uint_eq(m.n, 6);
    ck_assert_mem_eq(m.p, "mapped", 6);
    /* The mapping outlives the replacement of the file. */
    ck_assert_ok(file_write_atomic(path, "", 0, &e), &e);
    ck_assert_mem_eq(m.p, "mapped", 6);
    file_map_close(&m);
    ck_assert_ptr_null(m.p);
    ck_assert_ok(file_map_open(path, &m, &e), &e);
    ck_assert_ptr_nonnull(m.p);
    ck_assert_uint_eq(m.n, 0);
    file_map_close(&m);
}
END_TEST

/* The reason is that of mkdir, whatever was looked up after it. */
START_TEST(a_folder_that_cannot_be_made)
{
    struct err e = ERR_INIT;
    char closed[TMPDIR_PATH_BYTES], below[TMPDIR_PATH_BYTES];
    uid_t user = geteuid();
    ck_assert_int_eq(chmod(tmp.path, 0755), 0);
    ck_assert_int_eq(mkdir(tmpdir_file(&tmp, "closed", closed), 0555), 0);
    if (user == 0) ck_assert_int_eq(seteuid(65534), 0); /* nothing is closed to root */
    enum err_code code = dir_make(tmpdir_file(&tmp, "closed/below", below), &e);
    if (user == 0) ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_ne(code, ERR_OK);
    ck_assert_ptr_nonnull(strstr(e.msg, strerror(EACCES)));
}
END_TEST

START_TEST(folders)
{
    struct err e = ERR_INIT;
    char deep[TMPDIR_PATH_BYTES];
    struct stat st;
    tmpdir_file(&tmp, "a//b/c/", deep);
    ck_assert_ok(dir_make(deep, &e), &e);
    ck_assert_ok(dir_make(deep, &e), &e);
    ck_assert(dir_exists(deep));
    ck_assert(!file_exists(deep));
    ck_assert_int_eq(stat(deep, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    ck_assert_ok(dir_make("/", &e), &e);
    ck_assert_ok(file_write_atomic(path, "x", 1, &e), &e);
    ck_assert(file_exists(path));
    ck_assert(!dir_exists(path));
    ck_assert_err(dir_make(path, &e), ERR_IO);
    ck_assert_err(dir_make(tmpdir_file(&tmp, "file/below", deep), &e), ERR_IO);
    ck_assert_err(dir_make("", &e), ERR_IO);
}
END_TEST

START_TEST(joins)
{
    static const char *const rows[][3] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" },
        { "", "b", "b" }, { "/", "b", "/b" }, { "a", "", "a/" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *p = path_join(rows[i][0], rows[i][1]);
        ck_assert_str_eq(p, rows[i][2]);
        mem_free(p);
    }
}
END_TEST

START_TEST(one_lock_a_folder)
{
    struct err e = ERR_INIT;
    int first = -1, second = -1;
    ck_assert_ok(file_lock(path, &first, &e), &e);
    ck_assert_err(file_lock(path, &second, &e), ERR_CONFLICT);
    ck_assert_int_eq(second, -1);
    close(first);
    ck_assert_ok(file_lock(path, &second, &e), &e);
    close(second);
    char below[TMPDIR_PATH_BYTES];
    ck_assert_err(file_lock(tmpdir_file(&tmp, "no/lock", below), &first, &e), ERR_NOT_FOUND);
}
END_TEST

START_TEST(little_endian)
{
    static const unsigned char bytes[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
        0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0xF0 };
    struct le_reader r = { .p = bytes, .n = sizeof bytes };
    ck_assert_uint_eq(le_u8(&r), 0x01);
    ck_assert_uint_eq(le_u16(&r), 0x0302);
    ck_assert_uint_eq(le_u32(&r), 0x07060504);
    ck_assert_uint_eq(le_u64(&r), UINT64_C(0x0F0E0D0C0B0A0908));
    ck_assert(!r.failed);
    ck_assert_uint_eq(le_u16(&r), 0); /* one byte is left */
    ck_assert(r.failed);
    ck_assert_uint_eq(le_u8(&r), 0); /* and stays out of reach */
    ck_assert_uint_eq(r.at, 15);
    r = (struct le_reader){ .p = bytes, .n = sizeof bytes };
    ck_assert_ptr_eq(le_bytes(&r, 16), bytes);
    ck_assert_ptr_nonnull(le_bytes(&r, 0));
    ck_assert_ptr_null(le_bytes(&r, SIZE_MAX));
    ck_assert(r.failed);
}
END_TEST

static enum err_code round_trip(void)
{
    char *p = NULL;
    size_t n;
    AUTO_FREE char *joined = path_join(tmp.path, "oom");
    if (!joined) return ERR_NOMEM;
    TRY(file_write_atomic(joined, "abc", 3, NULL));
    TRY(file_read(joined, 100, &p, &n, NULL));
    mem_free(p);
    return ERR_OK;
}

START_TEST(out_of_memory)
{
    OOM_LOOP(round_trip);
}
END_TEST

START_TEST(reads_a_pipe_to_its_end)
{
    int ends[2];
    char *p = NULL;
    size_t n = 0, sent = 0;
    struct err e = ERR_INIT;
    static char chunk[4096];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        for (; sent < 50 * sizeof chunk; sent += sizeof chunk)
            if (write(ends[1], chunk, sizeof chunk) < 0) _exit(1);
        _exit(0);
    }
    (void)close(ends[1]);
    ck_assert_ok(stream_read(ends[0], "pipe", 1 << 20, &p, &n, &e), &e);
    ck_assert_uint_eq(n, 50 * sizeof chunk);
    ck_assert_int_eq(p[n], 0);
    mem_free(p);
    (void)close(ends[0]);

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "12345678", 8), 8);
    (void)close(ends[1]);
    ck_assert_err(stream_read(ends[0], "pipe", 7, &p, &n, &e), ERR_LIMIT);
    (void)close(ends[0]);
}
END_TEST

TEST_SUITE(fileio)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, write_then_read);
    tcase_add_test(tc, failures_have_codes_and_name_the_path);
    tcase_add_test(tc, a_failed_write_leaves_the_old);
    tcase_add_test(tc, maps);
    tcase_add_test(tc, folders);
    tcase_add_test(tc, a_folder_that_cannot_be_made);
    tcase_add_test(tc, joins);
    tcase_add_test(tc, one_lock_a_folder);
    tcase_add_test(tc, little_endian);
    tcase_add_test(tc, reads_a_pipe_to_its_end);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(s, tc);
}
