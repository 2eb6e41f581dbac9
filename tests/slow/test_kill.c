/* kill -9 in the middle of an import, twenty times. Three clients write to one collection: one sends
 * batches and notes what was acknowledged, one deletes again some of what was acknowledged, one streams
 * NDJSON that is never acknowledged as a whole. After each restart every acknowledged write must be there
 * and be found, and count, list and index must agree. Some rounds last long enough for a snapshot of the index,
 * so that the restarts after them begin with it, and with what came later. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tests/support/http_client.h"
#include "tests/support/server_proc.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ROUNDS = 20,
    ITEMS_MAX = 400000,
    BATCH = 20,
    FOUND_SAMPLE = 60,
    HITS_MAX = 10000,
    STREAM_LINES = 6000
};

/* What a client was told. A request without an answer leaves the item in either state. */
enum known { UNSENT, MAYBE, THERE, MAYBE_GONE, GONE };

static struct {
    struct server_proc server;
    uint16_t port;
    atomic_size_t next;            /* items sent by the batch client */
    atomic_uchar known[ITEMS_MAX]; /* enum known */
    atomic_bool stop;
    struct rng rng;
} t;

static const char *const words[] = { "river", "stone", "garden", "engine", "winter", "silver",
    "letter", "island", "music", "window", "forest", "bridge", "candle", "market", "planet",
    "shadow" };

/* A sentence that no other number has. */
static void sentence(size_t i, char *out, size_t size)
{
    size_t n = 0;

    for (int digit = 0; digit < 6; digit++, i /= 16)
        n += (size_t)snprintf(out + n, size - n, "%s%s", digit ? " " : "", words[i % 16]);
}

static json_t *call_json(const char *method, const char *path, const char *body, int want)
{
    struct http_reply reply;
    struct http_call call = { .method = method,
        .path = path,
        .type = body ? "application/json" : NULL,
        .body = body ? str_from(body) : (struct str){ NULL, 0 } };
    json_t *json;

    http_reply_init(&reply);
    http_call(t.port, &call, &reply);
    ck_assert_msg(
        reply.status == want, "%s %s: %d %s", method, path, reply.status, http_reply_text(&reply));
    json = json_loads(reply.body.n ? http_reply_text(&reply) : "{}", JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(json);
    http_reply_done(&reply);
    return json;
}

/* ---- the clients: each stops at its first failed call, that is when the server dies ---- */

static bool send_batch(struct http_client *c, struct http_reply *reply, size_t first)
{
    struct buf body = BUF_INIT(0);
    char text[128];
    struct http_call call = {
        .method = "POST", .path = "/collections/k/items", .type = "application/json"
    };
    bool ok;

    buf_puts(&body, "{\"items\":[");
    for (size_t i = first; i < first + BATCH; i++) {
        sentence(i, text, sizeof text);
        buf_printf(&body, "%s{\"id\":\"b%zu\",\"text\":\"%s\",\"metadata\":{\"n\":%zu}}",
            i > first ? "," : "", i, text, i);
        atomic_store(&t.known[i], MAYBE);
    }
    buf_puts(&body, "]}");
    call.body = buf_str(&body);
    ok = http_try_call(c, &call, reply) && reply->status == 200;
    if (ok)
        for (size_t i = first; i < first + BATCH; i++)
            atomic_store(&t.known[i], THERE);
    buf_done(&body);
    return ok;
}

static void batch_client(void *arg)
{
    struct http_client c = { .fd = -1 };
    struct http_reply reply;
    (void)arg;

    http_reply_init(&reply);
    if (http_try_open(&c, t.port))
        while (!atomic_load(&t.stop)) {
            size_t first = atomic_load(&t.next);
            if (first + BATCH > ITEMS_MAX) break;
            atomic_store(&t.next, first + BATCH);
            if (!send_batch(&c, &reply, first)) break;
        }
    http_reply_done(&reply);
    http_close(&c);
}

static void delete_client(void *arg)
{
    struct http_client c = { .fd = -1 };
    struct http_reply reply;
    struct rng rng;
    char path[64];

    rng_init(&rng, (uint64_t)(uintptr_t)arg + 7);
    http_reply_init(&reply);
    if (http_try_open(&c, t.port))
        while (!atomic_load(&t.stop)) {
            size_t n = atomic_load(&t.next), i = n ? (size_t)rng_below(&rng, n) : 0;
            unsigned char there = THERE;
            struct http_call call = { .method = "DELETE", .path = path };

            if (!n || !atomic_compare_exchange_strong(&t.known[i], &there, MAYBE_GONE)) continue;
            snprintf(path, sizeof path, "/collections/k/items/b%zu", i);
            if (!http_try_call(&c, &call, &reply) || reply.status != 204) break;
            atomic_store(&t.known[i], GONE);
        }
    http_reply_done(&reply);
    http_close(&c);
}

static void stream_client(void *arg)
{
    static const char head[] =
        "POST /collections/k/items HTTP/1.1\r\nHost: k\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct http_client c = { .fd = -1 };
    size_t round = (size_t)(uintptr_t)arg;
    char line[256], text[128], chunk[300];

    if (http_try_open(&c, t.port) && http_try_send(&c, head, sizeof head - 1))
        for (size_t i = 0; !atomic_load(&t.stop); i++) {
            int n, m;
            sentence(i * 31 + round * 100003, text, sizeof text);
            n = snprintf(
                line, sizeof line, "{\"id\":\"s%zu-%zu\",\"text\":\"%s\"}\n", round, i, text);
            m = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)n, line);
            if (i >= STREAM_LINES || !http_try_send(&c, chunk, (size_t)m))
                break; /* then the stream stays open */
        }
    while (!atomic_load(&t.stop))
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    http_close(&c);
}

/* ---- what must hold after a restart ---- */

/* All ids by paging; marks the batch client's in `listed`. Returns how many ids there are. */
static size_t list_all(unsigned char *listed)
{
    char path[512] = "/collections/k/items?limit=1000";
    size_t n = 0;

    memset(listed, 0, ITEMS_MAX);
    for (;;) {
        json_t *page = call_json("GET", path, NULL, 200);
        const json_t *items = json_object_get(page, "items");
        const char *cursor = json_string_value(json_object_get(page, "cursor"));

        for (size_t i = 0; i < json_array_size(items); i++, n++) {
            const char *id = json_string_value(json_object_get(json_array_get(items, i), "id"));
            size_t k;
            ck_assert_ptr_nonnull(id);
            if (id[0] != 'b') continue;
            k = strtoul(id + 1, NULL, 10);
            ck_assert_uint_lt(k, ITEMS_MAX);
            ck_assert_msg(!listed[k], "%s is listed twice", id);
            listed[k] = 1;
        }
        snprintf(
            path, sizeof path, "/collections/k/items?limit=1000&cursor=%s", cursor ? cursor : "");
        bool last = !cursor;
        json_decref(page);
        if (last) return n;
    }
}

static size_t hits_of(const char *body, const char *want_id)
{
    json_t *answer = call_json("POST", "/collections/k/search", body, 200);
    const json_t *hits = json_object_get(answer, "hits");
    size_t n = json_array_size(hits);
    bool found = !want_id;

    for (size_t i = 0; i < n && !found; i++) {
        const json_t *hit = json_array_get(hits, i);
        found = !strcmp(json_string_value(json_object_get(hit, "id")), want_id);
        if (found) ck_assert_double_gt(json_number_value(json_object_get(hit, "score")), 0.999);
    }
    ck_assert_msg(found, "%s was acknowledged but %s does not find it", want_id, body);
    json_decref(answer);
    return n;
}

static void check_found(size_t i)
{
    char text[128], body[256], id[32];

    sentence(i, text, sizeof text);
    snprintf(id, sizeof id, "b%zu", i);
    snprintf(body, sizeof body, "{\"text\":\"%s\",\"exact\":true,\"k\":50,\"include\":[]}", text);
    hits_of(body, id);
}

static void check_after_restart(unsigned char *listed)
{
    size_t n = list_all(listed), sent = atomic_load(&t.next), acknowledged = 0;
    json_t *count = call_json("POST", "/collections/k/items/count", "{}", 200);
    json_t *info = call_json("GET", "/collections/k", NULL, 200);

    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(count, "count")), n);
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(info, "items")), n);
    if (n)
        ck_assert_uint_eq(
            hits_of("{\"text\":\"river\",\"exact\":true,\"k\":10000,\"include\":[]}", NULL),
            n < HITS_MAX ? n : HITS_MAX);
    for (size_t i = 0; i < sent; i++) {
        unsigned char known = atomic_load(&t.known[i]);
        acknowledged += known == THERE;
        ck_assert_msg(known != THERE || listed[i], "b%zu was acknowledged and is lost", i);
        ck_assert_msg(known != GONE || !listed[i], "b%zu was deleted and is back", i);
        if (known == MAYBE || known == MAYBE_GONE)
            atomic_store(&t.known[i], listed[i] ? THERE : GONE);
    }
    for (size_t s = 0; s < FOUND_SAMPLE && sent; s++) {
        /* the newest ones first: they were in flight */
        size_t i =
            s < FOUND_SAMPLE / 2 && s < sent ? sent - 1 - s : (size_t)rng_below(&t.rng, sent);
        if (atomic_load(&t.known[i]) == THERE) check_found(i);
    }
    printf("  %zu items, %zu of them acknowledged one batch at a time: all there and found\n", n,
        acknowledged);
    json_decref(count);
    json_decref(info);
}

static void run_round(size_t round)
{
    static void (*const clients[])(void *) = { batch_client, delete_client, stream_client };
    struct thread threads[3] = { { .started = false } };
    struct err e = ERR_INIT;
    int64_t wait_ns = (20 + (int64_t)rng_below(&t.rng, 400)) * NS_PER_MS;
    if (round % 4 == 1) wait_ns += 2500 * NS_PER_MS;

    t.port = t.server.port;
    atomic_store(&t.stop, false);
    for (int i = 0; i < 3; i++)
        ck_assert_ok(
            thread_start(&threads[i], "client", clients[i], (void *)(uintptr_t)round, &e), &e);
    nanosleep(
        &(struct timespec){ .tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S }, NULL);
    server_kill(&t.server);
    atomic_store(&t.stop, true);
    for (int i = 0; i < 3; i++)
        thread_join(&threads[i]);
}

START_TEST(loses_nothing_when_killed)
{
    static const char *const args[] = { "--index-snapshot-seconds", "1", NULL };
    size_t from_snapshot = 0;
    uint64_t seed = (uint64_t)time_unix_ms();
    unsigned char *listed = mem_zalloc(ITEMS_MAX, 1);

    printf("  seed %llu\n", (unsigned long long)seed);
    rng_init(&t.rng, seed);
    server_start(&t.server, args);
    t.port = t.server.port;
    json_decref(call_json("PUT", "/collections/k",
        "{\"modality\":\"text\",\"filterable\":{\"n\":\"integer\"}}", 201));
    for (size_t round = 0; round < ROUNDS; round++) {
        run_round(round);
        server_restart(&t.server, args);
        t.port = t.server.port;
        check_after_restart(listed);
    }
    char *log = server_log(&t.server);
    for (const char *at = log; (at = strstr(at, "event=snapshot_loaded collection=k ")); at++)
        from_snapshot++;
    ck_assert_ptr_null(strstr(log, "event=snapshot_unusable"));
    mem_free(log);
    printf("  %zu of %d starts from a snapshot\n", from_snapshot, (int)ROUNDS);
    ck_assert_uint_ge(from_snapshot, ROUNDS / 2);
    server_stop(&t.server);
    server_remove(&t.server);
    mem_free(listed);
}
END_TEST

TEST_SUITE(kill)
{
    TCase *tc = tcase_create("kill -9");

    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, loses_nothing_when_killed);
    suite_add_tcase(s, tc);
}
