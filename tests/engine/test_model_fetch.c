#include "engine/model_fetch.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/hub_server.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY = 300000, CUT = 100000 };

static struct hub_server hub;
static struct tmpdir dir;
static char path[TMPDIR_PATH_BYTES], part[TMPDIR_PATH_BYTES], url[160], sha256[65];
static char body[BODY];
static struct fetch_options quick;
static struct err e;

static void setup(void)
{
    /* A proxy of the machine has no business here. */
    static const char *const proxies[] = { "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
        "all_proxy", "ALL_PROXY" };
    unsigned char hash[crypto_hash_sha256_BYTES];
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        (void)unsetenv(proxies[i]);
    e = ERR_INIT;
    ck_assert_ok(fetch_start(&e), &e);
    hub_start(&hub);
    tmpdir_make(&dir);
    tmpdir_file(&dir, "file", path);
    tmpdir_file(&dir, "file.part", part);
    for (size_t i = 0; i < BODY; i++)
        body[i] = (char)(i * 7 + i / 251);
    (void)crypto_hash_sha256(hash, (const unsigned char *)body, BODY);
    (void)sodium_bin2hex(sha256, sizeof sha256, hash, sizeof hash);
    (void)snprintf(url, sizeof url, "%s/file", hub.url);
    quick = (struct fetch_options){ .retry_ms = 1 };
}

static void teardown(void)
{
    hub_stop(&hub);
    tmpdir_remove(&dir);
    fetch_stop();
}

static enum err_code fetch(uint64_t bytes, const char *hash)
{
    const struct fetch_file f = { .url = url, .path = path, .bytes = bytes, .sha256 = hash };
    return fetch_file(&f, &quick, &e);
}

static void expect_whole(void)
{
    AUTO_FREE char *got = NULL;
    size_t n;
    ck_assert_ok(file_read(path, BODY + 1, &got, &n, &e), &e);
    ck_assert_uint_eq(n, BODY);
    ck_assert_mem_eq(got, body, BODY);
    ck_assert(!file_exists(part));
}

static void expect_nothing(void)
{
    ck_assert(!file_exists(path));
    ck_assert(!file_exists(part));
}

START_TEST(a_text)
{
    AUTO(buf_done) struct buf b = BUF_INIT(0);
    hub_add(&hub, "/file", "hello", 5);
    ck_assert_ok(fetch_text(url, 5, &quick, &b, &e), &e);
    ck_assert_str_eq(b.p, "hello");
    ck_assert_err(fetch_text(url, 4, &quick, &b, &e), ERR_LIMIT);
    hub_add(&hub, "/file", "after", 5)->busy = 2;
    ck_assert_ok(fetch_text(url, 5, &quick, &b, &e), &e);
    ck_assert_str_eq(b.p, "after");
    struct hub_answer *a = hub_add(&hub, "/file", "halves", 6);
    a->cut_after = 3;
    a->cuts = 1;
    ck_assert_ok(fetch_text(url, 6, &quick, &b, &e), &e);
    ck_assert_str_eq(b.p, "halves"); /* not the three bytes twice */
}
END_TEST

START_TEST(what_the_server_says)
{
    static const struct {
        int status;
        enum err_code code;
        const char *text;
        size_t asked;
    } rows[] = { { 404, ERR_NOT_FOUND, "404", 1 }, { 401, ERR_INVALID, "HF_TOKEN", 1 },
        { 403, ERR_INVALID, "HF_TOKEN", 1 }, { 500, ERR_IO, "500", FETCH_TRIES },
        { 429, ERR_IO, "429", FETCH_TRIES }, { 418, ERR_IO, "418", 1 } };
    const size_t i = (size_t)_i;
    hub_add(&hub, "/file", "what", 4)->status = rows[i].status;
    ck_assert_err(fetch(4, NULL), rows[i].code);
    ck_assert_msg(strstr(e.msg, rows[i].text) != NULL, "%s", e.msg);
    ck_assert_uint_eq(hub_asked(&hub, "/file"), rows[i].asked);
    ck_assert(!file_exists(path));
}
END_TEST

START_TEST(nobody_is_there)
{
    struct hub_server gone;
    hub_start(&gone);
    (void)snprintf(url, sizeof url, "%s/file", gone.url);
    hub_stop(&gone);
    ck_assert_err(fetch(4, NULL), ERR_IO);
    ck_assert_msg(strstr(e.msg, "onnect") != NULL, "%s", e.msg);
}
END_TEST

START_TEST(a_file_by_a_redirect)
{
    struct hub_answer *a = hub_add(&hub, "/file", "", 0);
    a->status = 302;
    (void)snprintf(a->location, sizeof a->location, "/store/file");
    hub_add(&hub, "/store/file", body, BODY);
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
}
END_TEST

START_TEST(redirects_elsewhere_are_not_followed)
{
    static const char *const places[] = { "file:///etc/hostname", "ftp://127.0.0.1/file" };
    struct hub_answer *a = hub_add(&hub, "/file", "", 0);
    a->status = 302;
    (void)snprintf(a->location, sizeof a->location, "%s", places[_i]);
    ck_assert_err(fetch(BODY, sha256), ERR_IO);
    ck_assert(!file_exists(path));
}
END_TEST

START_TEST(a_ring_of_redirects_ends)
{
    struct hub_answer *a = hub_add(&hub, "/file", "", 0);
    a->status = 302;
    (void)snprintf(a->location, sizeof a->location, "/file");
    ck_assert_err(fetch(BODY, sha256), ERR_IO);
}
END_TEST

START_TEST(a_token_stays_with_its_host)
{
    struct hub_server other;
    hub_start(&other);
    struct hub_answer *a = hub_add(&hub, "/file", "", 0);
    a->status = 302;
    (void)snprintf(a->location, sizeof a->location, "%s/elsewhere", other.url);
    hub_add(&other, "/elsewhere", body, BODY);
    quick.token = "secret";
    ck_assert_ok(fetch(BODY, sha256), &e);
    ck_assert_uint_eq(hub_asked(&hub, "/file range=0 auth=yes"), 1);
    ck_assert_uint_eq(hub_asked(&other, "/elsewhere range=0 auth=no"), 1);
    hub_stop(&other);
}
END_TEST

START_TEST(a_token_is_no_header_of_its_own)
{
    hub_add(&hub, "/file", body, BODY);
    quick.token = "secret\r\nX-Other: 1";
    ck_assert_ok(fetch(BODY, sha256), &e);
    ck_assert_uint_eq(hub_asked(&hub, "auth=no"), 1);
}
END_TEST

START_TEST(goes_on_after_a_cut)
{
    struct hub_answer *a = hub_add(&hub, "/file", body, BODY);
    a->cut_after = CUT;
    a->cuts = 2;
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
    ck_assert_uint_eq(hub_asked(&hub, "/file range=0 "), 1);
    ck_assert_uint_eq(hub_asked(&hub, "/file range=100000 "), 1);
    ck_assert_uint_eq(hub_asked(&hub, "/file range=200000 "), 1);
}
END_TEST

START_TEST(begins_again_where_there_are_no_ranges)
{
    struct hub_answer *a = hub_add(&hub, "/file", body, BODY);
    a->cut_after = CUT;
    a->cuts = 1;
    a->no_ranges = true;
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
}
END_TEST

START_TEST(gives_up_after_cuts_without_progress)
{
    struct hub_answer *a = hub_add(&hub, "/file", body, BODY);
    a->cut_after = 0;
    a->cuts = 1000;
    ck_assert_err(fetch(BODY, sha256), ERR_IO);
    ck_assert_uint_eq(hub_asked(&hub, "/file"), FETCH_TRIES);
}
END_TEST

START_TEST(goes_on_with_what_an_earlier_process_left)
{
    hub_add(&hub, "/file", body, BODY);
    ck_assert_ok(file_write_atomic(part, body, CUT, &e), &e);
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
    ck_assert_uint_eq(hub_asked(&hub, "range=100000"), 1);
    ck_assert_uint_eq(hub_asked(&hub, "/file"), 1);
}
END_TEST

START_TEST(what_was_left_can_be_of_another_file)
{
    static const size_t sizes[] = { CUT, BODY, BODY + 5 };
    AUTO_FREE char *other = mem_zalloc(BODY + 5, 1);
    hub_add(&hub, "/file", body, BODY);
    ck_assert_ok(file_write_atomic(part, other, sizes[_i], &e), &e);
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
}
END_TEST

START_TEST(without_a_hash_nothing_is_continued)
{
    hub_add(&hub, "/file", body, BODY);
    ck_assert_ok(file_write_atomic(part, "other", 5, &e), &e);
    ck_assert_ok(fetch(BODY, NULL), &e);
    expect_whole();
    ck_assert_uint_eq(hub_asked(&hub, "/file range=0 "), 1);
}
END_TEST

START_TEST(another_hash_is_refused)
{
    body[BODY / 2] ^= 1;
    hub_add(&hub, "/file", body, BODY);
    ck_assert_err(fetch(BODY, sha256), ERR_CORRUPT);
    ck_assert_msg(strstr(e.msg, "SHA-256") != NULL, "%s", e.msg);
    expect_nothing();
}
END_TEST

START_TEST(another_size_is_refused)
{
    hub_add(&hub, "/file", body, BODY);
    ck_assert_err(fetch(BODY + 1, NULL), ERR_CORRUPT);
    expect_nothing();
    ck_assert_err(fetch(BODY - 1, NULL), ERR_LIMIT);
    expect_nothing();
}
END_TEST

static bool stop_now(void *arg)
{
    return *(const bool *)arg;
}
static bool stop;
static void stop_at_half(void *arg, uint64_t done)
{
    *(bool *)arg = done >= CUT;
}

START_TEST(a_stop_keeps_the_part)
{
    struct hub_answer *a = hub_add(&hub, "/file", body, BODY);
    a->cut_after = CUT;
    a->stall = true;
    stop = false;
    quick.progress = stop_at_half;
    quick.stopped = stop_now;
    quick.arg = &stop;
    ck_assert_err(fetch(BODY, sha256), ERR_CANCELLED);
    ck_assert(!file_exists(path));
    ck_assert(file_exists(part));
    hub_add(&hub, "/file", body, BODY);
    quick.stopped = NULL;
    ck_assert_ok(fetch(BODY, sha256), &e);
    expect_whole();
    ck_assert_uint_eq(hub_asked(&hub, "range=100000"), 1);
}
END_TEST

START_TEST(no_place_to_write)
{
    hub_add(&hub, "/file", body, BODY);
    tmpdir_file(&dir, "nowhere/file", path);
    ck_assert_err(fetch(BODY, sha256), ERR_IO);
}
END_TEST

TEST_SUITE(model_fetch)
{
    TCase *tc = tcase_create("fetch");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_text);
    tcase_add_loop_test(tc, what_the_server_says, 0, 6);
    tcase_add_test(tc, nobody_is_there);
    tcase_add_test(tc, a_file_by_a_redirect);
    tcase_add_loop_test(tc, redirects_elsewhere_are_not_followed, 0, 2);
    tcase_add_test(tc, a_ring_of_redirects_ends);
    tcase_add_test(tc, a_token_stays_with_its_host);
    tcase_add_test(tc, a_token_is_no_header_of_its_own);
    tcase_add_test(tc, goes_on_after_a_cut);
    tcase_add_test(tc, begins_again_where_there_are_no_ranges);
    tcase_add_test(tc, gives_up_after_cuts_without_progress);
    tcase_add_test(tc, goes_on_with_what_an_earlier_process_left);
    tcase_add_loop_test(tc, what_was_left_can_be_of_another_file, 0, 3);
    tcase_add_test(tc, without_a_hash_nothing_is_continued);
    tcase_add_test(tc, another_hash_is_refused);
    tcase_add_test(tc, another_size_is_refused);
    tcase_add_test(tc, a_stop_keeps_the_part);
    tcase_add_test(tc, no_place_to_write);
    suite_add_tcase(s, tc);
}
