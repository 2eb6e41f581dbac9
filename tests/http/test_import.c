/* NDJSON imports: many lines, pieces that end anywhere, streams that break, and what stays of them. */
#include "tests/http/http_test.h"

#include "base/rng.h"
#include "base/thread.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "/collections/c/items"

static void setup(void)
{
    static const char *const args[] = { "--body-line-max-bytes", "200000", NULL };
    suite_server_args = args;
    suite_server_start();
}

static void fresh_collection(const char *body)
{
    struct http_reply r;
    http_reply_init(&r);
    http_call(
        suite_server.port, &(struct http_call){ .method = "DELETE", .path = "/collections/c" }, &r);
    http_reply_done(&r);
    expect("PUT", "/collections/c", body, 201);
}

static long long count(void)
{
    json_t *v = call("POST", PATH "/count", "{}", 200);
    long long n = int_at(v, "/count");
    json_decref(v);
    return n;
}

/* ---- a stream over a connection that is kept open ---- */

static void stream_begin(struct http_client *c)
{
    static const char head[] =
        "POST " PATH " HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    http_send(c, head, sizeof head - 1);
}

static bool stream_put(struct http_client *c, const char *p, size_t n)
{
    char size[32];
    int k = snprintf(size, sizeof size, "%zx\r\n", n);
    return n == 0 ||
        (http_try_send(c, size, (size_t)k) && http_try_send(c, p, n) &&
            http_try_send(c, "\r\n", 2));
}

static json_t *stream_end(struct http_client *c, int status)
{
    struct http_reply r;
    http_reply_init(&r);
    (void)http_try_send(c, "0\r\n\r\n", 5);
    http_receive(c, &r, false);
    ck_assert_msg(r.status == status, "status %d: %.500s", r.status, http_reply_text(&r));
    check_documented("POST", PATH, &r);
    json_t *v = json_loadb(r.body.p, r.body.n, 0, NULL);
    ck_assert_ptr_nonnull(v);
    http_reply_done(&r);
    return v;
}

static json_t *import(const char *lines, int status)
{
    char *body = dquote(lines);
    json_t *v = call_raw("POST", PATH, "application/x-ndjson", str_from(body), status);
    free(body);
    return v;
}

/* ---- tests ---- */

START_TEST(many_lines_in_odd_pieces)
{
    /* sizes of pieces: around line ends, tiny, and larger than what the server takes at once */
    static const size_t sizes[] = { 1, 2, 3, 7, 61, 1000, 4095, 4096, 4097, 65535, 65536, 65537,
        200000 };
    size_t lines = test_is_slow_run() ? 5000 : 50000, n_items = 0;
    struct buf all = BUF_INIT(0);
    struct rng rng;

    fresh_collection("{'modality':'text'}");
    for (size_t i = 0; i < lines; i++) {
        if (i % 997 == 3) {
            buf_puts(&all, i % 2 ? "\r\n" : "  \n");
            continue;
        }
        buf_printf(&all,
            "{\"id\":\"k%zu\",\"text\":\"w%zu \xc3\xa9t\xc3\xa9 w%zu\",\"metadata\":{\"n\":%zu}}",
            i, i % 256, i % 7, i);
        n_items++;
        if (i + 1 < lines) buf_puts(&all, i % 3 ? "\n" : "\r\n");
    }
    rng_init(&rng, 7);
    struct http_client c;
    http_open(&c, suite_server.port);
    stream_begin(&c);
    for (size_t at_byte = 0, k = 0; at_byte < all.n; k++) {
        /* the first ten thousand bytes in the smallest pieces, then a mix */
        size_t n = at_byte < 10000 ? sizes[k % 5] : sizes[5 + rng_below(&rng, 8)];
        if (n > all.n - at_byte) n = all.n - at_byte;
        ck_assert(stream_put(&c, all.p + at_byte, n));
        at_byte += n;
    }
    json_t *v = stream_end(&c, 200);
    ck_assert_int_eq(int_at(v, "/lines"), (long long)lines);
    ck_assert_int_eq(int_at(v, "/upserted"), (long long)n_items);
    ck_assert_int_eq(int_at(v, "/failed_count"), 0);
    json_decref(v);
    ck_assert_int_eq(count(), (long long)n_items);

    /* the same again over the same connection: nothing to do */
    stream_begin(&c);
    ck_assert(stream_put(&c, all.p, all.n));
    v = stream_end(&c, 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 0);
    ck_assert_int_eq(int_at(v, "/unchanged"), (long long)n_items);
    json_decref(v);
    http_close(&c);
    buf_done(&all);

    char path[100];
    (void)snprintf(path, sizeof path, PATH "/k%zu", lines - 1);
    v = call("GET", path, NULL, 200);
    ck_assert_int_eq(int_at(v, "/metadata/n"), (long long)lines - 1);
    json_decref(v);
}
END_TEST

/* Two pieces, cut at each byte in turn: in the middle of names, escapes, characters and line ends. */
START_TEST(a_cut_at_every_byte)
{
    static const char body[] =
        "{\"id\":\"a\",\"vector\":[1,0.5e1,-2]}\r\n\n"
        "{\"id\":\"\\u00e9\xe2\x82\xac\",\"vector\":\"AACAPwAAgD8AAIA/\"}\n \t\r\n"
        "{\"vector\":[1,2]}\n"
        "{\"id\":\"z\",\"vector\":[3,2,1],\"metadata\":{\"a\":\"\\\"\\\\\"}}";
    struct http_client c;

    fresh_collection("{'model':null,'dimensions':3}");
    http_open(&c, suite_server.port);
    for (size_t cut = 0; cut < sizeof body; cut++) {
        stream_begin(&c);
        ck_assert(stream_put(&c, body, cut));
        /* let the first piece arrive by itself, now and then */
        if (cut % 8 == 0) (void)poll(NULL, 0, 1);
        ck_assert(stream_put(&c, body + cut, sizeof body - 1 - cut));
        json_t *v = stream_end(&c, 200);
        ck_assert_int_eq(int_at(v, "/upserted") + int_at(v, "/unchanged"), 3);
        ck_assert_int_eq(int_at(v, "/lines"), 6);
        ck_assert_int_eq(int_at(v, "/failed_count"), 1);
        ck_assert_int_eq(int_at(v, "/failed/0/line"), 5);
        json_decref(v);
    }
    http_close(&c);
    ck_assert_int_eq(count(), 3);
    json_t *v = call("GET", PATH "/%C3%A9%E2%82%AC?include=vector", NULL, 200);
    ck_assert_double_eq_tol(num_at(v, "/vector/2"), num_at(v, "/vector/0"), 1e-6);
    json_decref(v);
}
END_TEST

START_TEST(a_broken_line_ends_it)
{
    static const struct {
        const char *lines;
        int status;
        const char *code;
        long long n_lines, upserted, failed;
    } rows[] = {
        { "{'id':'a','text':'one'}\n{'id':'b','text':'two'}\nnonsense\n{'id':'c','text':'three'}\n",
            400, "invalid_request", 2, 2, 0 },
        { "{'id':'a','text':'one'}\n{'id':'b','text':", 400, "invalid_request", 1, 1, 0 },
        { "{'id':'a','text':'one'} {'id':'b','text':'two'}\n", 400, "invalid_request", 0, 0, 0 },
        { "{'id':'a','text':'one'}\n\n{'text':''}\n{'text':'\xff'}", 400, "invalid_request", 3, 1,
            1 },
        { "{'id':'a','text':'one'}\n{'id':'b','id':'c','text':'two'}\n", 400, "invalid_request", 1,
            1, 0 },
        { "{'id':'a','text':'one'}\n5\n", 400, "invalid_request", 1, 1, 0 },
        { "\xef\xbb\xbf{'id':'a','text':'one'}\n", 400, "invalid_request", 0, 0, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fresh_collection("{'modality':'text'}");
        json_t *v = import(rows[i].lines, rows[i].status);
        ck_assert_str_eq(text_at(v, "/code"), rows[i].code);
        ck_assert_int_eq(int_at(v, "/progress/lines"), rows[i].n_lines);
        ck_assert_int_eq(int_at(v, "/progress/upserted"), rows[i].upserted);
        ck_assert_int_eq(int_at(v, "/progress/failed_count"), rows[i].failed);
        char line[32];
        (void)snprintf(line, sizeof line, "line %lld", rows[i].n_lines + 1);
        ck_assert_msg(
            strstr(text_at(v, "/detail"), line) != NULL, "row %zu: %s", i, text_at(v, "/detail"));
        json_decref(v);
        ck_assert_int_eq(count(), rows[i].upserted);
    }
}
END_TEST

START_TEST(bad_items_are_listed)
{
    fresh_collection("{'modality':'text'}");
    json_t *v =
        import("{'id':'a','text':'one'}\n{'id':'b'}\n[1]\n{'id':'c','text':'','metadata':{}}\n"
               "{'id':'d','text':'x','color':1}\n{'id':'e','vector':[1,2,'3']}\n"
               "{'id':'f','vector':[1,2,3]}\n{'id':'g','text':'two'}\n",
            200);
    ck_assert_int_eq(int_at(v, "/upserted"), 2);
    ck_assert_int_eq(int_at(v, "/failed_count"), 6);
    static const char *const codes[] = { "invalid_request", "invalid_request", "empty_input",
        "unknown_field", "invalid_request", "invalid_request" };
    for (size_t i = 0; i < 6; i++) {
        const json_t *f = json_array_get(at(v, "/failed"), i);
        ck_assert_int_eq(int_at(f, "/line"), (long long)i + 2);
        ck_assert_str_eq(text_at(f, "/code"), codes[i]);
    }
    ck_assert_str_eq(text_at(v, "/failed/0/id"), "b");
    json_decref(v);

    /* JSON, but with values that are not taken */
    v = call_raw("POST", PATH, "application/x-ndjson",
        STR("{\"text\":\"a\\u0000b\"}\n{\"text\":\"a\",\"metadata\":{\"n\":99999999999999999999}}\n"
            "{\"text\":\"a\",\"metadata\":{\"n\":1e400}}\n{\"id\":\"g\",\"text\":\"two\"}\n"),
        200);
    ck_assert_int_eq(int_at(v, "/unchanged"), 1);
    ck_assert_int_eq(int_at(v, "/failed_count"), 3);
    ck_assert_ptr_nonnull(strstr(text_at(v, "/failed/0/detail"), "line 1"));
    ck_assert_ptr_nonnull(strstr(text_at(v, "/failed/0/detail"), "u0000"));
    ck_assert_ptr_nonnull(strstr(text_at(v, "/failed/1/detail"), "64 bits"));
    ck_assert_ptr_nonnull(strstr(text_at(v, "/failed/2/detail"), "64 bits"));
    json_decref(v);

    /* many: counted, the first thousand listed */
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, i % 2 ? "{\"id\":\"n%d\",\"text\":\"fine\"}\n" : "{\"id\":\"n%d\"}\n", i);
    v = call_raw("POST", PATH, "application/x-ndjson; charset=utf-8", buf_str(&b), 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 2500);
    ck_assert_int_eq(int_at(v, "/failed_count"), 2500);
    ck_assert_uint_eq(json_array_size(at(v, "/failed")), 1000);
    ck_assert_int_eq(int_at(v, "/failed/999/line"), 1999);
    json_decref(v);
    buf_done(&b);
    v = import("\n\r\n", 200);
    ck_assert_int_eq(int_at(v, "/upserted"), 0);
    json_decref(v);
    struct http_client c;
    http_open(&c, suite_server.port);
    stream_begin(&c);
    v = stream_end(&c, 200);
    ck_assert_int_eq(int_at(v, "/lines"), 0);
    json_decref(v);
    http_close(&c);
}
END_TEST

START_TEST(the_later_of_two_wins)
{
    fresh_collection("{'modality':'text'}");
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < 6000; i++)
        buf_printf(&b, "{\"id\":\"same%d\",\"text\":\"version %d\"}\n", i % 3, i);
    json_decref(call_raw("POST", PATH, "application/x-ndjson", buf_str(&b), 200));
    buf_done(&b);
    ck_assert_int_eq(count(), 3);
    json_t *v = call("GET", PATH "/same2", NULL, 200);
    ck_assert_str_eq(text_at(v, "/text"), "version 5999");
    json_decref(v);
}
END_TEST

/* Whatever was committed before the connection went away stays; nothing else happens. */
START_TEST(a_cut_connection_keeps_what_was_committed)
{
    fresh_collection("{'modality':'text'}");
    for (int round = 0; round < 5; round++) {
        struct http_client c;
        struct buf b = BUF_INIT(0);
        for (int i = 0; i < 3000; i++)
            buf_printf(&b, "{\"id\":\"r%di%d\",\"text\":\"cut %d\"}\n", round, i, i);
        http_open(&c, suite_server.port);
        stream_begin(&c);
        ck_assert(stream_put(&c, b.p, b.n));
        http_send(&c, "40\r\n{\"id\":\"never\"", 18);
        if (round % 2) (void)poll(NULL, 0, 20 * round);
        http_close(&c);
        buf_done(&b);
    }
    /* what is under way ends by itself */
    long long n = count(), before;
    do {
        before = n;
        (void)poll(NULL, 0, 200);
        n = count();
    } while (n != before);
    ck_assert_int_le(n, 15000);
    expect("GET", PATH "/never", NULL, 404);
    /* every item that is there is whole */
    json_t *v = call("POST", "/collections/c/search", "{\"text\":\"cut\",\"k\":5}", 200);
    ck_assert_uint_eq(json_array_size(at(v, "/hits")), n < 5 ? (size_t)n : 5);
    json_decref(v);
}
END_TEST

/* Memory of the server from its metrics. */
static double resident_bytes(void)
{
    struct http_reply r;
    http_reply_init(&r);
    http_call(suite_server.port, &(struct http_call){ .method = "GET", .path = "/metrics" }, &r);
    const char *p = strstr(http_reply_text(&r), "\nprocess_resident_memory_bytes ");
    ck_assert_ptr_nonnull(p);
    double n = atof(strchr(p + 1, ' '));
    http_reply_done(&r);
    return n;
}

START_TEST(memory_stays_as_it_is)
{
    enum { LINES = 600, LINE_BYTES = 150000 };
    fresh_collection("{'modality':'text'}");
    struct buf line = BUF_INIT(0);
    buf_puts(&line, "{\"id\":\"x\",\"text\":\"a\",\"metadata\":{\"big\":\"");
    for (int i = 0; i < LINE_BYTES; i++)
        buf_putc(&line, 'x');
    buf_puts(&line, "\"}}\n");

    struct http_client c;
    double before = 0;
    http_open(&c, suite_server.port);
    stream_begin(&c);
    for (int i = 0; i < LINES; i++) {
        ck_assert(stream_put(&c, line.p, line.n));
        if (i == LINES / 6) before = resident_bytes();
    }
    json_t *v = stream_end(&c, 200);
    double after = resident_bytes();
    ck_assert_int_eq(int_at(v, "/failed_count"), LINES);
    ck_assert_str_eq(text_at(v, "/failed/0/code"), "payload_too_large");
    json_decref(v);
    http_close(&c);
    buf_done(&line);
    if (!test_is_slow_run())
        ck_assert_msg(after - before < 16e6, "grew by %.0f bytes over 75 MB", after - before);
}
END_TEST

/* ---- full queues ---- */

enum { IMPORTERS = 4, IMPORTER_LINES = 6000 };

struct importer {
    struct thread thread;
    int number, status;
    long long upserted;
};

static void run_importer(void *arg)
{
    struct importer *me = arg;
    struct buf b = BUF_INIT(0);
    struct http_client c;
    struct http_reply r;

    for (int i = 0; i < IMPORTER_LINES; i++)
        buf_printf(&b, "{\"id\":\"i%d-%d\",\"text\":\"importer %d line %d\"}\n", me->number, i,
            me->number, i);
    http_reply_init(&r);
    if (http_try_open(&c, suite_server.port)) {
        const struct http_call post = {
            .method = "POST", .path = PATH, .type = "application/x-ndjson", .body = buf_str(&b)
        };
        if (http_try_call(&c, &post, &r)) {
            const char *n = strstr(http_reply_text(&r), "\"upserted\":");
            me->status = r.status;
            me->upserted = n ? atoll(n + 11) : -1;
        }
    }
    http_close(&c);
    http_reply_done(&r);
    buf_done(&b);
}

/* A stream waits for room in the queues instead of being refused. */
START_TEST(full_queues_are_waited_for)
{
    static const char *const args[] = { "--write-queue-items", "1", "--encode-queue-tokens", "64",
        "--search-queue", "1", NULL };
    static struct importer importers[IMPORTERS];
    struct err e = ERR_INIT;

    suite_server_args = args;
    suite_server_start();
    fresh_collection("{'modality':'text'}");
    for (int i = 0; i < IMPORTERS; i++) {
        importers[i] = (struct importer){ .number = i };
        ck_assert_int_eq(
            thread_start(&importers[i].thread, "importer", run_importer, &importers[i], &e),
            ERR_OK);
    }
    for (int i = 0; i < IMPORTERS; i++)
        thread_join(&importers[i].thread);
    for (int i = 0; i < IMPORTERS; i++) {
        ck_assert_int_eq(importers[i].status, 200);
        ck_assert_int_eq(importers[i].upserted, IMPORTER_LINES);
    }
    ck_assert_int_eq(count(), IMPORTERS * IMPORTER_LINES);
    suite_server_stop();
}
END_TEST

TEST_SUITE(import)
{
    TCase *tc = tcase_create("ndjson");
    tcase_add_unchecked_fixture(tc, setup, suite_server_stop);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, many_lines_in_odd_pieces);
    tcase_add_test(tc, a_cut_at_every_byte);
    tcase_add_test(tc, a_broken_line_ends_it);
    tcase_add_test(tc, bad_items_are_listed);
    tcase_add_test(tc, the_later_of_two_wins);
    tcase_add_test(tc, a_cut_connection_keeps_what_was_committed);
    tcase_add_test(tc, memory_stays_as_it_is);
    suite_add_tcase(s, tc);

    TCase *own = tcase_create("queues");
    tcase_set_timeout(own, 120);
    tcase_add_test(own, full_queues_are_waited_for);
    suite_add_tcase(s, own);
}
