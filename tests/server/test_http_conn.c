/* Clients that are slow, leave, send too much or do not read. */
#include "server/http_internal.h"

#include "base/mem.h"
#include "base/thread.h"
#include "tests/server/live.h"
#include "tests/support/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define H "Host: x\r\n\r\n"

static void start_with(struct live *l, const char *key, const char *value)
{
    struct err e = ERR_INIT;
    live_init(l);
    if (key) ck_assert_ok(config_set(&l->cfg, key, value, &e), &e);
    live_start(l);
}

static void sleep_ms(int ms)
{
    (void)usleep((useconds_t)ms * 1000);
}

static void wait_until_idle(struct live *l)
{
    for (int i = 0; i < 1000 && http_server_open_exchanges(l->s) > 0; i++)
        sleep_ms(10);
    ck_assert_uint_eq(http_server_open_exchanges(l->s), 0);
}

static void expect(int fd, int status, const char *part)
{
    struct reply r;
    live_recv(fd, &r, false);
    ck_assert_msg(r.status == status, "%d, not %d: %s", r.status, status, r.body);
    ck_assert_msg(strstr(r.body, part) != NULL, "%s", r.body);
    ck_assert_ptr_nonnull(reply_header(&r, "X-Request-Id") ? "" : status == 408 ? "" : NULL);
    reply_done(&r);
}

static void ping(const struct live *l)
{
    struct reply r;
    live_ask(l, "GET /ping HTTP/1.1\r\n" H, &r);
    ck_assert_int_eq(r.status, 200);
    reply_done(&r);
}

/* ---- slow ---- */

START_TEST(cuts_slow_bodies)
{
    struct live l;
    start_with(&l, "http.idle_timeout_s", "1");
    int silent = live_connect(&l), trickling = live_connect(&l);
    ck_assert(live_puts(silent, "POST /echo HTTP/1.1\r\nContent-Length: 100\r\n" H "abc"));
    ck_assert(live_puts(trickling, "POST /echo HTTP/1.1\r\nContent-Length: 100\r\n" H));
    for (int i = 0; i < 15 && live_puts(trickling, "x"); i++)
        sleep_ms(150);
    expect(silent, 408, "\"code\":\"timeout\"");
    expect(trickling, 408, "\"code\":\"timeout\"");
    ck_assert(live_is_closed(silent) && live_is_closed(trickling));
    (void)close(silent);
    (void)close(trickling);
    ping(&l);
    live_stop(&l);
}
END_TEST

START_TEST(cuts_slow_headers)
{
    struct live l;
    start_with(&l, "http.idle_timeout_s", "1");
    int silent = live_connect(&l), half_line = live_connect(&l), half_head = live_connect(&l);
    ck_assert(live_puts(half_line, "GET /pi"));
    ck_assert(live_puts(half_head, "GET /ping HTTP/1.1\r\nA: b"));
    for (int i = 0; i < 10; i++) {
        sleep_ms(150);
        (void)live_puts(half_line, "n");
        (void)live_puts(half_head, "b");
    }
    ck_assert(live_is_closed(silent));
    ck_assert(live_is_closed(half_line));
    struct reply r;
    live_recv(half_head, &r, false);
    ck_assert(r.status == 408 || r.status == 0);
    reply_done(&r);
    (void)close(silent);
    (void)close(half_line);
    (void)close(half_head);
    ping(&l);
    live_stop(&l);
}
END_TEST

START_TEST(waits_for_slow_operations)
{
    struct live l;
    start_with(&l, "http.idle_timeout_s", "1");
    struct reply r;
    live_ask(&l, "GET /slow?ms=3500 HTTP/1.1\r\n" H, &r);
    ck_assert_int_eq(r.status, 200);
    reply_done(&r);
    live_stop(&l);
}
END_TEST

/* ---- unusual, but right ---- */

START_TEST(answers_the_half_closed)
{
    struct live l;
    start_with(&l, NULL, NULL);
    static const char *const requests[] = { "GET /ping HTTP/1.1\r\n" H,
        "GET /slow?ms=100 HTTP/1.1\r\n" H, "GET /pooled HTTP/1.1\r\n" H,
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n" H "abc" };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int fd = live_connect(&l);
        ck_assert(live_puts(fd, requests[i]));
        (void)shutdown(fd, SHUT_WR);
        expect(fd, 200, "");
        (void)close(fd);
    }
    live_stop(&l);
}
END_TEST

START_TEST(answers_pipelines_in_order)
{
    struct live l;
    start_with(&l, NULL, NULL);
    enum { ROUNDS = 20 };
    static const struct {
        const char *request;
        int status;
        const char *part;
    } rows[] = { { "GET /slow?ms=5 HTTP/1.1\r\n" H, 200, "ok" },
        { "GET /query?limit=3 HTTP/1.1\r\n" H, 200, "3" },
        { "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n" H "[1,2,3,4]", 200, "[1,2,3,4]" },
        { "GET /fast HTTP/1.1\r\n" H, 200, "ok" }, { "GET /none HTTP/1.1\r\n" H, 404, "not_found" },
        { "GET /refused HTTP/1.1\r\n" H, 429, "overloaded" },
        { "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nContent-Length: 4\r\n" H
          "a\nb\n",
            200, "\"lines\":2" },
        { "GET /pooled HTTP/1.1\r\n" H, 200, "ok" } };
    int fd = live_connect(&l);
    for (int i = 0; i < ROUNDS; i++) {
        for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++)
            ck_assert(live_puts(fd, rows[j].request));
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++)
            expect(fd, rows[j].status, rows[j].part);
    }
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(carries_a_thousand_idle)
{
    enum { IDLE = 1000 };
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 3 * IDLE) return; /* this machine cannot hold both ends */

    struct live l;
    start_with(&l, NULL, NULL);
    static int fds[IDLE];
    for (int i = 0; i < IDLE; i++) {
        fds[i] = live_connect(&l);
        if (i % 2) {
            ck_assert(live_puts(fds[i], "GET /ping HTTP/1.1\r\n" H));
            expect(fds[i], 200, "ok");
        }
    }
    ping(&l);
    for (int i = 0; i < 100 && http_server_open_connections(l.s) < IDLE; i++)
        sleep_ms(10);
    ck_assert_uint_ge(http_server_open_connections(l.s), IDLE);
    wait_until_idle(&l);
    for (int i = 0; i < IDLE; i += 7) {
        ck_assert(live_puts(fds[i], "GET /ping HTTP/1.1\r\n" H));
        expect(fds[i], 200, "ok");
    }
    for (int i = 0; i < IDLE; i++)
        (void)close(fds[i]);
    live_stop(&l);
}
END_TEST

/* ---- too much ---- */

START_TEST(refuses_huge_headers)
{
    struct live l;
    start_with(&l, NULL, NULL);
    enum { HUGE = 200 * 1024 };
    char *text = mem_alloc(HUGE + 1, 1);
    memset(text, 'a', HUGE);
    text[HUGE] = '\0';
    static const char *const starts[] = { "GET /ping HTTP/1.1\r\nX: ", "GET /", "X" };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        int fd = live_connect(&l);
        (void)live_puts(fd, starts[i]);
        (void)live_puts(fd, text);
        struct reply r;
        live_recv(fd, &r, false);
        ck_assert_msg(r.status == 0 || (r.status >= 400 && r.status < 500), "%d", r.status);
        reply_done(&r);
        (void)close(fd);
    }
    mem_free(text);
    ping(&l);
    wait_until_idle(&l);
    live_stop(&l);
}
END_TEST

START_TEST(refuses_large_bodies)
{
    struct live l;
    start_with(&l, "body.max_bytes", "1024");
    enum { BODY = 100000 };
    char *text = mem_alloc(BODY, 1), head[128];
    memset(text, ' ', BODY);

    /* announced, and sent: read and thrown away, the connection goes on */
    int fd = live_connect(&l);
    (void)snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nContent-Length: %d\r\n" H, BODY);
    ck_assert(live_puts(fd, head) && live_send(fd, text, BODY));
    expect(fd, 413, "larger than 1024 bytes");
    ck_assert(live_puts(fd, "GET /ping HTTP/1.1\r\n" H));
    expect(fd, 200, "ok");

    /* not announced */
    (void)snprintf(head, sizeof head,
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" H "%x\r\n", BODY);
    ck_assert(live_puts(fd, head) && live_send(fd, text, BODY) && live_puts(fd, "\r\n0\r\n\r\n"));
    expect(fd, 413, "payload_too_large");
    ck_assert(live_puts(fd, "GET /ping HTTP/1.1\r\n" H));
    expect(fd, 200, "ok");
    (void)close(fd);

    /* announced, and waiting for leave; announced as enormous: at once */
    static const char *const rows[] = {
        "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n" H,
        "POST /echo HTTP/1.1\r\nContent-Length: 10000000000\r\n" H
    };
    for (size_t i = 0; i < 2; i++) {
        fd = live_connect(&l);
        ck_assert(live_puts(fd, rows[i]));
        expect(fd, 413, "payload_too_large");
        ck_assert(live_is_closed(fd));
        (void)close(fd);
    }
    /* exactly the limit */
    fd = live_connect(&l);
    ck_assert(live_puts(fd, "POST /echo HTTP/1.1\r\nContent-Length: 1024\r\n" H) &&
        live_send(fd, text, 1024));
    expect(fd, 200, "");
    (void)close(fd);
    mem_free(text);
    live_stop(&l);
}
END_TEST

START_TEST(gives_up_on_endless_bodies)
{
    struct live l;
    start_with(&l, "body.max_bytes", "1024");
    enum { CHUNK = 0x10000 };
    char *text = mem_alloc(CHUNK, 1);
    memset(text, ' ', CHUNK);
    int fd = live_connect(&l), sent = 0;
    ck_assert(live_puts(fd, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" H));
    while (sent < 1000 && live_puts(fd, "10000\r\n") && live_send(fd, text, CHUNK) &&
        live_puts(fd, "\r\n"))
        sent++;
    ck_assert_int_lt(sent, 1000); /* the server closed */
    struct reply r;
    live_recv(fd, &r, false);
    ck_assert(r.status == 413 || r.status == 0);
    reply_done(&r);
    (void)close(fd);
    mem_free(text);
    wait_until_idle(&l);
    live_stop(&l);
}
END_TEST

START_TEST(refuses_more_connections)
{
    struct live l;
    start_with(&l, "http.connections_max", "4");
    int fds[12];
    for (int i = 0; i < 12; i++)
        fds[i] = live_connect(&l);
    sleep_ms(200);
    ck_assert_uint_le(http_server_open_connections(l.s), 4);
    for (int i = 0; i < 12; i++)
        (void)close(fds[i]);
    sleep_ms(200);
    ping(&l);
    live_stop(&l);
}
END_TEST

/* ---- leaving ---- */

static void leave(int fd, bool reset)
{
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    if (reset) (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    (void)close(fd);
}

START_TEST(survives_who_leaves)
{
    struct live l;
    start_with(&l, NULL, NULL);
    static const char *const requests[] = { "GET /slow?ms=100 HTTP/1.1\r\n" H,
        "GET /pooled HTTP/1.1\r\n" H, "GET /timeout HTTP/1.1\r\n" H, "GET /big HTTP/1.1\r\n" H,
        "GET /ping HTTP/1.1\r\n", "POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n" H "abc",
        "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nContent-Length: 1000\r\n" H
        "a\nb\n",
        "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: "
        "chunked\r\n" H "4\r\nbad\n\r\n3\r\n" };
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
            int fd = live_connect(&l);
            ck_assert(live_puts(fd, requests[i]));
            if (round % 3 == 0) sleep_ms(2);
            leave(fd, round % 2);
        }
    }
    sleep_ms(100); /* what was not accepted yet */
    wait_until_idle(&l);
    ping(&l);
    live_stop(&l);
    ck_assert_int_eq(atomic_load(&live_streams_closed), atomic_load(&live_streams_opened));
}
END_TEST

/* ---- streams ---- */

START_TEST(streams_at_constant_memory)
{
    struct live l;
    start_with(&l, "body.max_bytes", "1024");
    enum { LINES = 400000 };
    int fd = live_connect(&l);
    char head[160], part[64];
    (void)snprintf(head, sizeof head,
        "POST /lines HTTP/1.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n" H,
        LINES * 10);
    ck_assert(live_puts(fd, head));
    char lines[10000];
    for (size_t i = 0; i < sizeof lines; i += 10)
        memcpy(lines + i, "123456789\n", 10);
    for (int i = 0; i < LINES; i += (int)sizeof lines / 10)
        ck_assert(live_send(fd, lines, sizeof lines));
    (void)snprintf(part, sizeof part, "{\"lines\":%d,\"bytes\":%d}", LINES, LINES * 10);
    expect(fd, 200, part);
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(reads_the_rest_after_an_error)
{
    struct live l;
    start_with(&l, NULL, NULL);
    static const struct {
        const char *line;
        int status;
    } rows[] = { { "bad\n", 409 }, { "worse\n", 400 } };
    for (size_t i = 0; i < 2; i++) {
        int fd = live_connect(&l);
        ck_assert(live_puts(fd,
            "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\n"
            "Transfer-Encoding: chunked\r\n" H));
        char chunk[32];
        (void)snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(rows[i].line), rows[i].line);
        ck_assert(live_puts(fd, chunk));
        for (int j = 0; j < 100; j++)
            ck_assert(live_puts(fd, "5\r\nline\n\r\n"));
        ck_assert(live_puts(fd, "0\r\n\r\n"));
        expect(fd, rows[i].status, "line");
        ck_assert(live_puts(fd, "GET /ping HTTP/1.1\r\n" H));
        expect(fd, 200, "ok");
        (void)close(fd);
    }
    live_stop(&l);
    ck_assert_int_eq(atomic_load(&live_streams_closed), 2);
}
END_TEST

/* ---- draining ---- */

START_TEST(drains)
{
    struct live l;
    start_with(&l, NULL, NULL);
    struct reply r;
    int kept = live_connect(&l);
    ck_assert(live_puts(kept, "GET /ping HTTP/1.1\r\n" H));
    expect(kept, 200, "ok");
    live_ask(&l, "GET /readyz HTTP/1.1\r\n" H, &r);
    ck_assert(r.status == 200 && !r.closes);
    reply_done(&r);

    http_server_drain(l.s);
    live_ask(&l, "GET /readyz HTTP/1.1\r\n" H, &r);
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(reply_header(&r, "Retry-After"), "5");
    reply_done(&r);
    ck_assert(live_puts(kept, "GET /ping HTTP/1.1\r\n" H));
    live_recv(kept, &r, false);
    ck_assert(r.status == 200 && r.closes && live_is_closed(kept));
    reply_done(&r);
    (void)close(kept);

    int slow = live_connect(&l);
    ck_assert(live_puts(slow, "GET /slow?ms=400 HTTP/1.1\r\n" H));
    sleep_ms(100);
    ck_assert(http_server_quiesce(l.s, 5000));
    expect(slow, 200, "ok");
    (void)close(slow);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = { .sin_family = AF_INET,
        .sin_port = htons(http_server_port(l.s)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&at, sizeof at), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    (void)close(fd);
    live_stop(&l);
}
END_TEST

START_TEST(stops_whatever_clients_do)
{
    struct live l;
    start_with(&l, NULL, NULL);
    int fds[40], n = 0;
    static const char *const requests[] = { "", "GET /pi", "GET /ping HTTP/1.1\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 10\r\n" H "abc", "GET /slow?ms=1500 HTTP/1.1\r\n" H,
        "POST /lines HTTP/1.1\r\nContent-Type: application/jsonl\r\nContent-Length: 9999\r\n" H
        "a\n",
        "GET /big HTTP/1.1\r\n" H "GET /big HTTP/1.1\r\n" H, "GET /slow?ms=2500 HTTP/1.1\r\n" H };
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
            fds[n] = live_connect(&l);
            ck_assert(live_puts(fds[n++], requests[i]));
        }
    }
    sleep_ms(100);
    int64_t start_ns = time_mono_ns();
    live_stop(&l);
    int64_t took_ms = (time_mono_ns() - start_ns) / NS_PER_MS;
    ck_assert_int_lt(took_ms, test_is_slow_run() ? 20000 : 4000);
    for (int i = 0; i < n; i++)
        (void)close(fds[i]);
    ck_assert_int_eq(atomic_load(&live_streams_closed), atomic_load(&live_streams_opened));
}
END_TEST

/* ---- many at once ---- */

enum { CLIENTS = 8, REQUESTS = 100 };
static struct live crowd;

static void client_run(void *arg)
{
    (void)arg;
    static const char *const requests[] = { "GET /ping HTTP/1.1\r\n" H, "GET /fast HTTP/1.1\r\n" H,
        "GET /pooled HTTP/1.1\r\n" H, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n" H "abc" };
    int fd = live_connect(&crowd);
    for (int i = 0; i < REQUESTS; i++) {
        struct reply r;
        ck_assert(live_puts(fd, requests[i % 4]));
        live_recv(fd, &r, false);
        ck_assert_int_eq(r.status, 200);
        reply_done(&r);
    }
    (void)close(fd);
}

START_TEST(serves_many_at_once)
{
    start_with(&crowd, "http.threads", "3");
    struct thread t[CLIENTS] = { 0 };
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_ok(thread_start(&t[i], "client", client_run, NULL, NULL));
    for (int i = 0; i < CLIENTS; i++)
        thread_join(&t[i]);
    live_stop(&crowd);
}
END_TEST

TEST_SUITE(http_conn)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, cuts_slow_bodies);
    tcase_add_test(tc, cuts_slow_headers);
    tcase_add_test(tc, waits_for_slow_operations);
    tcase_add_test(tc, answers_the_half_closed);
    tcase_add_test(tc, answers_pipelines_in_order);
    tcase_add_test(tc, carries_a_thousand_idle);
    tcase_add_test(tc, refuses_huge_headers);
    tcase_add_test(tc, refuses_large_bodies);
    tcase_add_test(tc, gives_up_on_endless_bodies);
    tcase_add_test(tc, refuses_more_connections);
    tcase_add_test(tc, survives_who_leaves);
    tcase_add_test(tc, streams_at_constant_memory);
    tcase_add_test(tc, reads_the_rest_after_an_error);
    tcase_add_test(tc, drains);
    tcase_add_test(tc, stops_whatever_clients_do);
    tcase_add_test(tc, serves_many_at_once);
    suite_add_tcase(s, tc);
}
