/* Between the write to the log and the answer there is an fdatasync. The server runs with a preloaded
 * library (tools/preload_trace.c, $KINDRED_TRACE_LIB) that notes each write to the SQLite log, each sync of it
 * and each send on a socket, in order. */
#include "base/fileio.h"
#include "base/mem.h"
#include "tests/support/http_client.h"
#include "tests/support/server_proc.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRACE_BYTES_MAX = 16 << 20 };

static struct server_proc server;
static char trace_path[600];

static void setup(void)
{
    const char *lib = getenv("KINDRED_TRACE_LIB");

    ck_assert_msg(lib && file_exists(lib), "KINDRED_TRACE_LIB must name the preload library");
    snprintf(trace_path, sizeof trace_path, "/tmp/kindred-trace-%d", (int)getpid());
    remove(trace_path);
    setenv("KINDRED_TRACE", trace_path, 1);
    setenv("LD_PRELOAD", lib, 1);
    server_start(&server, NULL);
    unsetenv("LD_PRELOAD");
}

static void teardown(void)
{
    server_remove(&server);
    remove(trace_path);
}

/* The events of one request, as letters: w(rite), s(ync), a(nswer). */
static char *events_of(const struct http_call *call, int want)
{
    struct http_reply reply;
    struct err e = ERR_INIT;
    char *before = NULL, *after = NULL;
    size_t n_before = 0, n_after = 0;
    char *events;

    ck_assert_ok(file_read(trace_path, TRACE_BYTES_MAX, &before, &n_before, &e), &e);
    http_reply_init(&reply);
    http_call(server.port, call, &reply);
    ck_assert_msg(reply.status == want, "%s %s: %d %s", call->method, call->path, reply.status,
        http_reply_text(&reply));
    http_reply_done(&reply);
    ck_assert_ok(file_read(trace_path, TRACE_BYTES_MAX, &after, &n_after, &e), &e);
    events = mem_strndup(after + n_before, n_after - n_before);
    mem_free(before);
    mem_free(after);
    return events;
}

static void expect_synced(const struct http_call *call, int want)
{
    char *events = events_of(call, want), *answer = strchr(events, 'a');
    char *last_write = NULL, *last_sync = NULL;

    ck_assert_msg(answer != NULL, "%s: no answer in \"%s\"", call->path, events);
    for (char *p = events; p < answer; p++) {
        if (*p == 'w') last_write = p;
        if (*p == 's') last_sync = p;
    }
    ck_assert_msg(last_write && last_sync && last_write < last_sync,
        "%s %s: wanted write, sync, answer; saw \"%s\"", call->method, call->path, events);
    printf("  %s %s: %s\n", call->method, call->path, events);
    mem_free(events);
}

START_TEST(syncs_before_it_answers)
{
    const struct http_call calls[] = {
        { .method = "PUT",
            .path = "/collections/f",
            .type = "application/json",
            .body = STR("{\"modality\":\"text\"}") },
        { .method = "PUT",
            .path = "/collections/f/items/a",
            .type = "application/json",
            .body = STR("{\"text\":\"a red house\"}") },
        { .method = "PUT",
            .path = "/collections/f/items/a",
            .type = "application/json",
            .body = STR("{\"text\":\"a blue house\"}") },
        { .method = "POST",
            .path = "/collections/f/items",
            .type = "application/json",
            .body = STR("{\"items\":[{\"id\":\"b\",\"text\":\"one "
                        "tree\"},{\"id\":\"c\",\"text\":\"two trees\"}]}") },
        { .method = "POST",
            .path = "/collections/f/items",
            .type = "application/x-ndjson",
            .body = STR("{\"id\":\"d\",\"text\":\"a small dog\"}\n{\"id\":\"e\",\"text\":\"a large "
                        "dog\"}\n") },
        { .method = "DELETE", .path = "/collections/f/items/a" },
    };
    const int want[] = { 201, 201, 200, 200, 200, 204 };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        expect_synced(&calls[i], want[i]);
}
END_TEST

/* The check can tell: what writes nothing shows no write. */
START_TEST(reads_do_not_write)
{
    const struct http_call call = { .method = "GET", .path = "/collections" };
    char *events = events_of(&call, 200);

    ck_assert_msg(strchr(events, 'a') && !strchr(events, 'w'), "saw \"%s\"", events);
    mem_free(events);
}
END_TEST

TEST_SUITE(fsync)
{
    TCase *tc = tcase_create("preload");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, syncs_before_it_answers);
    tcase_add_test(tc, reads_do_not_write);
    suite_add_tcase(s, tc);
}
