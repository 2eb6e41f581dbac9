/* Answers that come piece by piece: in time, to their end, and whatever the client does meanwhile. */
#include "server/response.h"

#include "base/mem.h"
#include "base/thread.h"
#include "tests/server/live.h"
#include "tests/support/test.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: x\r\n\r\n"
#define LAST_CHUNK "0\r\n\r\n"

static void start_with(struct live *l, const char *key, const char *value)
{
    struct err e = ERR_INIT;
    live_init(l);
    if (key) ck_assert_ok(config_set(&l->cfg, key, value, &e), &e);
    live_start(l);
}

static void sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

static int64_t now_ms(void)
{
    return time_mono_ns() / NS_PER_MS;
}

static void wait_until_idle(struct live *l)
{
    for (int i = 0; i < 2000 && http_server_open_exchanges(l->s) > 0; i++)
        sleep_ms(10);
    ck_assert_uint_eq(http_server_open_exchanges(l->s), 0);
}

static int ask(const struct live *l, const char *request)
{
    int fd = live_connect(l);
    ck_assert(live_puts(fd, request));
    return fd;
}

static void ping_over(int fd)
{
    struct reply r;
    ck_assert(live_puts(fd, "GET /ping HTTP/1.1\r\n" H));
    live_recv(fd, &r, false);
    ck_assert_int_eq(r.status, 200);
    reply_done(&r);
}

static void ping(const struct live *l)
{
    int fd = live_connect(l);
    ping_over(fd);
    (void)close(fd);
}

/* Bytes up to `end`, "" for the end of the connection; into `ret`, whole. */
static void read_until(int fd, const char *end, char *ret, size_t room)
{
    size_t n = 0, n_end = strlen(end);
    int64_t limit_ms = now_ms() + (test_is_slow_run() ? 60000 : 20000);
    ret[0] = '\0';
    for (;;) {
        struct pollfd f = { .fd = fd, .events = POLLIN };
        ck_assert_msg(now_ms() < limit_ms && n + 1 < room, "no %s in %s", end, ret);
        if (poll(&f, 1, 100) <= 0) continue;
        ssize_t got = recv(fd, ret + n, n_end ? 1 : room - n - 1, 0); /* nothing beyond `end` */
        if (got <= 0) break;
        n += (size_t)got;
        ret[n] = '\0';
        if (n_end && n >= n_end && memcmp(ret + n - n_end, end, n_end) == 0) return;
    }
    ck_assert_msg(n_end == 0, "ends before %s: %s", end, ret);
}

/* ---- arriving ---- */

START_TEST(arrives_in_pieces)
{
    struct live l;
    char text[4096];
    start_with(&l, NULL, NULL);
    int64_t start = now_ms();
    int fd = ask(&l, "GET /feed?n=4 HTTP/1.1\r\n" H);
    read_until(fd, "\r\n\r\n", text, sizeof text);
    ck_assert(strstr(text, " 200 ") && strstr(text, "text/event-stream"));
    ck_assert(strstr(text, "hunked") && !strstr(text, "Content-Length"));
    read_until(fd, "data: 0\n\n", text, sizeof text);
    ck_assert_int_lt(now_ms() - start, test_is_slow_run() ? 20000 : 5000);
    read_until(fd, LAST_CHUNK, text, sizeof text);
    ck_assert(strstr(text, "data: 1\n\n") && strstr(text, "data: 2\n\n"));
    ck_assert(strstr(text, "data: 3\n\n") && !strstr(text, "data: 4"));
    /* one a sweep, however much there is to say */
    ck_assert_int_ge(now_ms() - start, 500);
    ping_over(fd);
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(arrives_in_parts_of_its_pieces)
{
    struct live l;
    enum { BYTES = 300000, ROOM = 3 * BYTES };
    char *text = mem_alloc(ROOM, 1);
    start_with(&l, NULL, NULL);
    int fd = ask(&l, "GET /feed?n=2&bytes=300000 HTTP/1.0\r\n" H);
    read_until(fd, "", text, ROOM);
    const char *body = strstr(text, "\r\n\r\n");
    ck_assert_ptr_nonnull(body);
    ck_assert_uint_eq(strlen(body + 4), 2 * (BYTES + strlen("data: 0\n\n")));
    ck_assert_ptr_nonnull(strstr(body, "\n\ndata: 1"));
    (void)close(fd);
    mem_free(text);
    live_stop(&l);
}
END_TEST

START_TEST(is_plain_for_http_1_0)
{
    struct live l;
    char text[4096];
    start_with(&l, NULL, NULL);
    int fd = ask(&l, "GET /feed?n=2 HTTP/1.0\r\n" H);
    read_until(fd, "", text, sizeof text);
    ck_assert(strstr(text, " 200 ") && !strstr(text, "hunked"));
    ck_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\ndata: 0\n\ndata: 1\n\n");
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(has_no_body_for_head)
{
    struct live l;
    char text[4096];
    start_with(&l, NULL, NULL);
    int fd = ask(&l, "HEAD /feed HTTP/1.1\r\n" H);
    read_until(fd, "\r\n\r\n", text, sizeof text);
    ck_assert(strstr(text, " 200 ") && strstr(text, "text/event-stream"));
    ck_assert_ptr_nonnull(strstr(text, "Connection: close"));
    read_until(fd, "", text, sizeof text);
    ck_assert_ptr_null(strstr(text, "data:"));
    (void)close(fd);
    wait_until_idle(&l);
    live_stop(&l);
}
END_TEST

START_TEST(reaches_the_half_closed)
{
    struct live l;
    char text[4096];
    start_with(&l, NULL, NULL);
    int fd = ask(&l, "GET /feed?n=3 HTTP/1.1\r\n" H);
    (void)shutdown(fd, SHUT_WR);
    read_until(fd, LAST_CHUNK, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "data: 2\n\n"));
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(goes_to_a_hundred_at_once)
{
    enum { STREAMS = 100 };
    struct live l;
    char text[4096];
    int fds[STREAMS];
    start_with(&l, "http.threads", "2");
    for (int i = 0; i < STREAMS; i++)
        fds[i] = ask(&l, "GET /feed?n=3 HTTP/1.1\r\n" H);
    ping(&l);
    for (int i = 0; i < STREAMS; i++) {
        read_until(fds[i], LAST_CHUNK, text, sizeof text);
        ck_assert_ptr_nonnull(strstr(text, "data: 2\n\n"));
        ping_over(fds[i]);
        (void)close(fds[i]);
    }
    wait_until_idle(&l);
    live_stop(&l);
}
END_TEST

/* ---- ending early ---- */

START_TEST(ends_when_the_client_leaves)
{
    enum { STREAMS = 60 };
    struct live l;
    char text[4096];
    start_with(&l, NULL, NULL);
    for (int i = 0; i < STREAMS; i++) {
        struct linger hard = { .l_onoff = 1, .l_linger = 0 };
        int fd = ask(&l, i % 4 == 0 ? "GET /feed HTTP/1.0\r\n" H : "GET /feed HTTP/1.1\r\n" H);
        if (i % 3) read_until(fd, i % 3 == 1 ? "\r\n\r\n" : "data: 0", text, sizeof text);
        if (i % 2) (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        (void)close(fd);
    }
    int quiet = ask(&l, "GET /feed?quiet=1 HTTP/1.1\r\n" H);
    read_until(quiet, "\r\n\r\n", text, sizeof text);
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(quiet, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    (void)close(quiet);
    sleep_ms(100); /* what was not accepted yet */
    wait_until_idle(&l);
    ping(&l);
    live_stop(&l);
}
END_TEST

/* Who does not read is given up after the idle time; who has nothing to read is not; a drain ends the feed. */
START_TEST(waits_for_news_but_not_for_readers)
{
    struct live l;
    char text[4096];
    start_with(&l, "http.idle_timeout_s", "1");
    int quiet = ask(&l, "GET /feed?quiet=1 HTTP/1.1\r\n" H);
    read_until(quiet, "\r\n\r\n", text, sizeof text);
    int lazy = ask(&l, "GET /feed?bytes=9000000 HTTP/1.1\r\n" H);
    for (int i = 0; i < 1500 && http_server_open_exchanges(l.s) > 1; i++)
        sleep_ms(10);
    ck_assert_uint_eq(http_server_open_exchanges(l.s), 1);
    (void)close(lazy);
    struct pollfd f = { .fd = quiet, .events = POLLIN };
    ck_assert_int_eq(poll(&f, 1, 1000), 0);
    http_server_drain(l.s);
    read_until(quiet, LAST_CHUNK, text, sizeof text);
    ck_assert_str_eq(text, LAST_CHUNK);
    (void)close(quiet);
    live_stop(&l);
}
END_TEST

START_TEST(does_not_keep_the_server_from_stopping)
{
    enum { STREAMS = 20 };
    struct live l;
    char text[4096];
    int fds[STREAMS];
    start_with(&l, NULL, NULL);
    for (int i = 0; i < STREAMS; i++) {
        fds[i] = ask(&l, i % 2 ? "GET /feed?quiet=1 HTTP/1.1\r\n" H : "GET /feed HTTP/1.1\r\n" H);
        if (i % 4 < 2) read_until(fds[i], "\r\n\r\n", text, sizeof text);
    }
    int lazy = ask(&l, "GET /feed?bytes=9000000 HTTP/1.1\r\n" H);
    sleep_ms(100);
    int64_t start = now_ms();
    live_stop(&l);
    ck_assert_int_lt(now_ms() - start, test_is_slow_run() ? 20000 : 5000);
    for (int i = 0; i < STREAMS; i++) {
        read_until(fds[i], "", text, sizeof text);
        size_t n = strlen(text);
        ck_assert_msg(n >= 5 && strcmp(text + n - 5, LAST_CHUNK) == 0, "stream %d: %s", i, text);
        (void)close(fds[i]);
    }
    (void)close(lazy);
}
END_TEST

TEST_SUITE(response)
{
    TCase *tc = tcase_create("feeds");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, arrives_in_pieces);
    tcase_add_test(tc, arrives_in_parts_of_its_pieces);
    tcase_add_test(tc, is_plain_for_http_1_0);
    tcase_add_test(tc, has_no_body_for_head);
    tcase_add_test(tc, reaches_the_half_closed);
    tcase_add_test(tc, goes_to_a_hundred_at_once);
    tcase_add_test(tc, ends_when_the_client_leaves);
    tcase_add_test(tc, waits_for_news_but_not_for_readers);
    tcase_add_test(tc, does_not_keep_the_server_from_stopping);
    suite_add_tcase(s, tc);
}
