#include "tests/http/learn_fixture.h"

#include "base/rng.h"
#include "base/thread.h"
#include "tests/support/tiny_model.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 32, TITLE_WORDS = 128, WORDS = 5, PRINT_BYTES = 2000, PRINTS = 4, WAIT_S = 120 };

static struct tmpdir models;

/* Only for the time in which the server is started: other suites take the model that ships. */
static void with_models(void (*begin)(const char *const *args), const char *const *args)
{
    const char *set = getenv("KINDRED_MODELS");
    char *before = set ? strdup(set) : NULL;
    ck_assert_int_eq(setenv("KINDRED_MODELS", models.path, 1), 0);
    begin(args);
    if (before)
        (void)setenv("KINDRED_MODELS", before, 1);
    else
        (void)unsetenv("KINDRED_MODELS");
    free(before);
}

static void begin(const char *const *args)
{
    server_start(&suite_server, args);
}

static void begin_again(const char *const *args)
{
    server_restart(&suite_server, args);
}

void learn_server_start(const char *const *args)
{
    tmpdir_make(&models);
    tiny_model_write_letters(models.path, LEARN_MODEL, DIM, 1);
    with_models(begin, args);
}

const char *learn_models(void)
{
    return models.path;
}

void learn_server_restart(void)
{
    with_models(begin_again, NULL);
}

void learn_server_stop(void)
{
    suite_server_stop();
    tmpdir_remove(&models);
}

const char *learn_print(const char *fmt, ...)
{
    static char texts[PRINTS][PRINT_BYTES];
    static size_t next;
    char *text = texts[next++ % PRINTS];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, PRINT_BYTES, fmt, args);
    va_end(args);
    ck_assert(n >= 0 && n < PRINT_BYTES);
    return text;
}

json_t *learn_call(const char *method, const char *path, const char *body, int status)
{
    char *text = body ? dquote(body) : NULL;
    json_t *v = call(method, path, text, status);
    free(text);
    return v;
}

/* Item i has WORDS words below TITLE_WORDS, which are the same in every run; a title has the same, shifted. */
static void put_words(struct buf *b, size_t i, unsigned shift)
{
    struct rng rng;
    rng_init(&rng, i);
    for (int w = 0; w < WORDS; w++)
        buf_printf(b, "%sw%u", w ? " " : "", (unsigned)rng_below(&rng, TITLE_WORDS) + shift);
}

void learn_add(const char *collection, size_t first, size_t n)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"items\":[");
    for (size_t i = first; i < first + n; i++) {
        buf_printf(&b, "%s{\"id\":\"i%zu\",\"text\":\"", i > first ? "," : "", i);
        put_words(&b, i, 0);
        buf_puts(&b, "\",\"metadata\":{\"title\":\"");
        put_words(&b, i, TITLE_WORDS);
        buf_puts(&b, "\",\"wrong\":\"");
        put_words(&b, i + 100000, TITLE_WORDS);
        buf_puts(&b, "\"}}");
    }
    buf_puts(&b, "]}");
    json_t *v = call("POST", learn_print("/collections/%s/items", collection), b.p, 200);
    ck_assert_int_eq(int_at(v, "/upserted"), (long long)n);
    json_decref(v);
    buf_done(&b);
}

void learn_fill(const char *collection)
{
    expect("PUT", learn_print("/collections/%s", collection), "{'modality':'text'}", 201);
    learn_add(collection, 0, LEARN_ITEMS);
}

long long learn_retrain(const char *collection, const char *members)
{
    char *body = dquote(learn_print("{'collection':'%s',%s}", collection, members));
    const char *bad =
        openapi_check_request(suite_openapi(), "POST", "/admin/retrain", str_from(body));
    ck_assert_msg(!bad, "%s: %s", body, bad);
    struct http_reply r;
    http_reply_init(&r);
    http_call(suite_server.port,
        &(struct http_call){ .method = "POST",
            .path = "/admin/retrain",
            .type = "application/json",
            .body = str_from(body) },
        &r);
    ck_assert_msg(r.status == 202, "%s: %d %s", body, r.status, http_reply_text(&r));
    check_documented("POST", "/admin/retrain", &r);
    json_t *v = json_loadb(r.body.p, r.body.n, 0, NULL);
    long long run = int_at(v, "/run");
    ck_assert_str_eq(text_at(v, "/status"), "queued");
    const char *location = http_reply_header(&r, "Location");
    ck_assert_ptr_nonnull(location);
    ck_assert_str_eq(location, learn_print("/admin/runs/%lld", run));
    json_decref(v);
    http_reply_done(&r);
    free(body);
    return run;
}

json_t *learn_wait(long long run, const char *status)
{
    int64_t deadline = time_mono_ns() + WAIT_S * NS_PER_S;
    for (;;) {
        json_t *v = call("GET", learn_print("/admin/runs/%lld", run), NULL, 200);
        const char *now = text_at(v, "/status");
        if (strcmp(now, status) == 0) return v;
        char *all = json_dumps(v, JSON_COMPACT);
        ck_assert_msg(json_is_null(at(v, "/finished_at")), "not %s: %s", status, all);
        ck_assert_msg(time_mono_ns() < deadline, "not %s in time: %s", status, all);
        free(all);
        json_decref(v);
        (void)poll(NULL, 0, 20);
    }
}
