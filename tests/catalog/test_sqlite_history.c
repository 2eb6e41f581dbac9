/* Histories: what another run, and a copy that was put back, make of the same change numbers. */
#include "tests/catalog/fixture.h"

#include "base/fileio.h"

#include <stdio.h>

static void id_of(struct fixture *f, char ret[CATALOG_HISTORY_BYTES])
{
    struct err e = ERR_INIT;
    ck_assert_ok(catalog_history(f->c, ret, &e), &e);
    ck_assert_uint_eq(strlen(ret), CATALOG_HISTORY_BYTES - 1);
}

static enum err_code check(struct fixture *f, const char *id, int64_t seq)
{
    struct err e = ERR_INIT;
    enum err_code code = catalog_history_check(f->c, id, seq, &e);
    if (code != ERR_OK) ck_assert_uint_gt(strlen(e.msg), 0);
    return code;
}

START_TEST(a_run_begins_one_with_its_first_change)
{
    char first[CATALOG_HISTORY_BYTES], id[CATALOG_HISTORY_BYTES], again[CATALOG_HISTORY_BYTES];
    struct fixture f, other;
    fixture_open(&f);
    fixture_open(&other);
    id_of(&f, first);
    id_of(&other, id);
    ck_assert_str_ne(first, id);
    ck_assert_err(check(&f, first, 0), ERR_OK);
    ck_assert_err(check(&f, id, 0), ERR_CONFLICT);

    int64_t seq = fixture_put(&f, "a", "text", "{}", 1).seq;
    id_of(&f, id);
    ck_assert_str_ne(first, id);
    seq = fixture_put(&f, "b", "text", "{}", 1).seq;
    id_of(&f, again);
    ck_assert_str_eq(id, again);
    fixture_reopen(&f); /* nothing changes: no new one */
    id_of(&f, again);
    ck_assert_str_eq(id, again);
    ck_assert_err(check(&f, id, seq), ERR_OK);
    ck_assert_err(check(&f, id, seq + 1), ERR_CONFLICT);

    int64_t next = fixture_put(&f, "c", "text", "{}", 1).seq;
    id_of(&f, again);
    ck_assert_str_ne(id, again);
    ck_assert_err(check(&f, again, next), ERR_OK);
    ck_assert_err(check(&f, id, seq), ERR_OK);
    ck_assert_err(check(&f, id, next), ERR_CONFLICT); /* the other run never came so far */
    ck_assert_err(check(&f, first, 0), ERR_OK);
    ck_assert_err(check(&f, first, 1), ERR_CONFLICT);
    ck_assert_err(check(&f, "", 0), ERR_CONFLICT);
    fixture_close(&other);
    fixture_close(&f);
}
END_TEST

/* A transaction that is undone leaves no trace, and the next one begins the history after all. */
START_TEST(what_is_undone_begins_none)
{
    char first[CATALOG_HISTORY_BYTES], id[CATALOG_HISTORY_BYTES];
    const float vector[FIXTURE_DIM] = { 1, 2, 3, 4 };
    struct catalog_put_result r;
    struct err e = ERR_INIT;
    struct fixture f;
    fixture_open(&f);
    id_of(&f, first);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(fixture_put_code(&f, &f.col, "a", "text", "{}", vector, &r, &e), &e);
    catalog_rollback(f.c);
    id_of(&f, id);
    ck_assert_str_eq(first, id);
    (void)fixture_put(&f, "a", "text", "{}", 1);
    id_of(&f, id);
    ck_assert_str_ne(first, id);
    fixture_close(&f);
}
END_TEST

static void copy_file(const char *from, const char *to)
{
    struct err e = ERR_INIT;
    char *p;
    size_t n;
    ck_assert_ok(file_read(from, 1 << 26, &p, &n, &e), &e);
    ck_assert_ok(file_write_atomic(to, p, n, &e), &e);
    mem_free(p);
}

START_TEST(a_copy_that_is_put_back_is_told_apart)
{
    char id[CATALOG_HISTORY_BYTES], copy[TMPDIR_PATH_BYTES];
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    (void)tmpdir_file(&f.dir, "copy.db", copy);
    int64_t kept = fixture_put(&f, "a", "text", "{}", 1).seq;
    id_of(&f, id);
    catalog_close(f.c); /* puts the log into the file */
    copy_file(f.path, copy);
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    int64_t lost = fixture_put(&f, "b", "text", "{}", 2).seq;
    char lost_id[CATALOG_HISTORY_BYTES];
    id_of(&f, lost_id);
    catalog_close(f.c);

    copy_file(copy, f.path);
    ck_assert_ok(catalog_open(f.path, &f.c, &e), &e);
    ck_assert_err(check(&f, id, kept), ERR_OK);
    ck_assert_err(check(&f, lost_id, lost), ERR_CONFLICT);
    ck_assert_int_eq(fixture_put(&f, "c", "text", "{}", 3).seq, lost); /* the same number again */
    ck_assert_err(check(&f, lost_id, lost), ERR_CONFLICT);
    ck_assert_err(check(&f, id, kept), ERR_OK);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_history)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, a_run_begins_one_with_its_first_change);
    tcase_add_test(tc, what_is_undone_begins_none);
    tcase_add_test(tc, a_copy_that_is_put_back_is_told_apart);
    suite_add_tcase(s, tc);
}
