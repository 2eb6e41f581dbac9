/* A collection learns, is promoted, rolled back and promoted again while it is searched and written to.
 *
 * Searches come by the clock (open loop), at SHARE of what the server can answer, so a slow answer does not hold the
 * next one back; latency counts from when a search was due. One client writes, replaces and deletes items all the
 * time. What must hold: no request fails; every hit is of the version that its answer names, and a sample of the
 * scores is what that version's own embeddings give; every acknowledged write is there at the end. Printed, by
 * phase: p50, p99, and the ratio to idle. The load generator shares the machine with server and trainer.
 *
 * $KINDRED_ITEMS: items to load, NDJSON with id, text and metadata.modern (make check-learn makes them from two
 * translations of a book); without it, made-up sentences. */
#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tests/support/http_client.h"
#include "tests/support/server_proc.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ITEMS_MAX = 40000,
    SEARCHERS = 4,
    PHASE_S = 60, /* idle, and of training; $KINDRED_LOAD_S says otherwise */
    SWITCHES = 3, /* rollbacks, and as many promotions */
    WRITES_MAX = 200000,
    WRITE_IDS = 4000,
    WRITE_BATCH = 5,
    WRITES_PER_S = 10, /* batches */
    LATENCIES_MAX = 4000000,
    SAMPLES_MAX = 60000,
    SAMPLE_EVERY = 20,
    EMBED_BATCH = 200,
    CAPACITY_S = 4
};
#define SHARE 0.3

enum phase { WARM, IDLE, TRAINING, PROMOTING, GOING_BACK, PHASES };
static const char *const phase_names[] = { "warm", "idle", "training", "promoting",
    "rolling back" };

struct sample {
    size_t query;
    long long version;
    double score;
    char *text;
};

static struct {
    struct server_proc server;
    struct rng rng;
    json_t *items; /* [n_items] */
    size_t n_items;
    atomic_bool stop;
    atomic_int phase;
    /* searches */
    int64_t began_ns;
    double per_s; /* 0: as fast as they are answered */
    atomic_size_t ticket, answered;
    struct {
        float ms;
        unsigned char phase;
    } latency[LATENCIES_MAX];
    struct sample samples[SAMPLES_MAX];
    atomic_size_t n_samples;
    /* writes; owner: the writing client */
    long written[WRITE_IDS]; /* number of the text it has; -1: not there */
    size_t n_writes, n_deletes;
} t;

/* ---- JSON over HTTP ---- */

static json_t *call_json(const char *method, const char *path, const char *body, int want)
{
    struct http_reply reply;
    struct http_call call = { .method = method,
        .path = path,
        .type = body ? "application/json" : NULL,
        .body = body ? str_from(body) : (struct str){ NULL, 0 } };
    http_reply_init(&reply);
    http_call(t.server.port, &call, &reply);
    ck_assert_msg(
        reply.status == want, "%s %s: %d %s", method, path, reply.status, http_reply_text(&reply));
    json_t *json = json_loads(reply.body.n ? http_reply_text(&reply) : "{}", 0, NULL);
    ck_assert_ptr_nonnull(json);
    http_reply_done(&reply);
    return json;
}

static json_t *call_object(const char *method, const char *path, json_t *body, int want)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_t *answer = call_json(method, path, text, want);
    free(text);
    json_decref(body);
    return answer;
}

static const char *str_at(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static double number_at(const json_t *o, const char *group, const char *key)
{
    return json_number_value(json_object_get(json_object_get(o, group), key));
}

static double metric(const json_t *run, const char *group, const char *key)
{
    return number_at(json_object_get(run, "metrics"), group, key);
}

static long phase_s(void)
{
    const char *s = getenv("KINDRED_LOAD_S");
    return s ? strtol(s, NULL, 10) : PHASE_S;
}

static void wait_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- what is loaded ---- */

static json_t *made_up(size_t i)
{
    static const char *const old[] = { "thou", "hath", "spake", "unto", "whence", "behold",
        "thither", "yea" };
    static const char *const new[] = { "you", "has", "said", "to", "where", "look", "there",
        "yes" };
    char id[32], a[256] = "", b[256] = "";
    size_t x = i * 2654435761u;
    for (int w = 0; w < 8; w++, x = x * 31 + 7) {
        char name[32];
        snprintf(name, sizeof name, "%s%c%c%c ", w ? "" : "", (char)('a' + x % 26),
            (char)('a' + x / 26 % 26), (char)('a' + x / 700 % 26));
        strcat(strcat(a, old[x / 7 % 8]), " ");
        strcat(strcat(b, new[x / 7 % 8]), " ");
        strcat(a, name);
        strcat(b, name);
    }
    snprintf(id, sizeof id, "m%zu", i);
    return json_pack("{s:s,s:s,s:{s:s}}", "id", id, "text", a, "metadata", "modern", b);
}

static void read_items(void)
{
    const char *path = getenv("KINDRED_ITEMS");
    char *text = NULL;
    size_t n = 0;
    struct err e = ERR_INIT;
    t.items = json_array();
    if (path) ck_assert_ok(file_read(path, 1 << 28, &text, &n, &e), &e);
    for (char *p = text; p && *p && json_array_size(t.items) < ITEMS_MAX;) {
        char *end = strchr(p, '\n');
        json_t *item = json_loadb(p, end ? (size_t)(end - p) : strlen(p), 0, NULL);
        ck_assert_ptr_nonnull(item);
        json_array_append_new(t.items, item);
        p = end ? end + 1 : NULL;
    }
    while (!path && json_array_size(t.items) < ITEMS_MAX)
        json_array_append_new(t.items, made_up(json_array_size(t.items)));
    t.n_items = json_array_size(t.items);
    mem_free(text);
}

static void import(void)
{
    json_decref(call_json("PUT", "/collections/verses", "{\"modality\":\"text\"}", 201));
    for (size_t at = 0; at < t.n_items; at += 1000) {
        json_t *list = json_array();
        for (size_t i = at; i < at + 1000 && i < t.n_items; i++)
            json_array_append(list, json_array_get(t.items, i));
        json_decref(call_object(
            "POST", "/collections/verses/items", json_pack("{s:o}", "items", list), 200));
    }
    for (;;) {
        json_t *info = call_json("GET", "/collections/verses", NULL, 200);
        double pending = number_at(info, "index", "pending");
        json_decref(info);
        if (pending == 0) return;
        wait_ms(100);
    }
}

static const char *query_text(size_t i)
{
    return str_at(json_object_get(json_array_get(t.items, i % t.n_items), "metadata"), "modern");
}

/* ---- searching ---- */

static void keep_sample(size_t query, long long version, const json_t *hit)
{
    size_t at = atomic_fetch_add(&t.n_samples, 1);
    if (at >= SAMPLES_MAX) return;
    t.samples[at] = (struct sample){ query, version,
        json_number_value(json_object_get(hit, "score")), mem_strdup(str_at(hit, "text")) };
}

static void check_answer(size_t n, size_t query, const struct http_reply *reply)
{
    json_t *answer = json_loads(http_reply_text((struct http_reply *)(uintptr_t)reply), 0, NULL);
    const json_t *hits = json_object_get(answer, "hits");
    long long version =
        json_integer_value(json_object_get(json_object_get(answer, "model"), "version"));
    ck_assert_msg(json_array_size(hits) == 10, "%zu hits", json_array_size(hits));
    for (size_t i = 0; i < json_array_size(hits); i++) {
        const json_t *hit = json_array_get(hits, i);
        long long of = json_integer_value(json_object_get(hit, "model_version"));
        ck_assert_msg(of == version, "a hit of version %lld in an answer of %lld", of, version);
        if (n % SAMPLE_EVERY == 0 && i < 3) keep_sample(query, version, hit);
    }
    json_decref(answer);
}

static bool wait_for_turn(size_t n, int64_t *ret_due)
{
    int64_t now = time_mono_ns();
    *ret_due = now;
    if (t.per_s <= 0) return !atomic_load(&t.stop);
    *ret_due = t.began_ns + (int64_t)((double)n / t.per_s * 1e9);
    if (*ret_due > now)
        nanosleep(&(struct timespec){ .tv_sec = (*ret_due - now) / NS_PER_S,
                      .tv_nsec = (*ret_due - now) % NS_PER_S },
            NULL);
    return !atomic_load(&t.stop);
}

static void searcher(void *arg)
{
    struct http_client c = { .fd = -1 };
    struct http_reply reply;
    (void)arg;
    http_open(&c, t.server.port);
    http_reply_init(&reply);
    for (;;) {
        size_t n = atomic_fetch_add(&t.ticket, 1), query = n * 7919 % t.n_items;
        int64_t due;
        if (!wait_for_turn(n, &due)) break;
        int phase = atomic_load(&t.phase);
        json_t *body = json_pack("{s:s}", "text", query_text(query));
        char *text = json_dumps(body, JSON_COMPACT);
        struct http_call call = { .method = "POST",
            .path = "/collections/verses/search",
            .type = "application/json",
            .body = str_from(text) };
        ck_assert_msg(http_try_call(&c, &call, &reply), "a search was not answered");
        int64_t took = time_mono_ns() - due;
        ck_assert_msg(reply.status == 200, "search: %d %s", reply.status, http_reply_text(&reply));
        size_t at = atomic_fetch_add(&t.answered, 1);
        if (at < LATENCIES_MAX && t.per_s > 0) {
            t.latency[at].ms = (float)((double)took / 1e6);
            t.latency[at].phase = (unsigned char)phase;
        }
        if (t.per_s > 0) check_answer(n, query, &reply);
        free(text);
        json_decref(body);
    }
    http_reply_done(&reply);
    http_close(&c);
}

static void run_searchers(struct thread *threads)
{
    struct err e = ERR_INIT;
    atomic_store(&t.stop, false);
    t.began_ns = time_mono_ns();
    for (int i = 0; i < SEARCHERS; i++)
        ck_assert_ok(thread_start(&threads[i], "search", searcher, NULL, &e), &e);
}

static void join(struct thread *threads, int n)
{
    atomic_store(&t.stop, true);
    for (int i = 0; i < n; i++)
        thread_join(&threads[i]);
}

/* Answers a second when nobody waits. */
static double capacity(void)
{
    struct thread threads[SEARCHERS] = { { .started = false } };
    t.per_s = 0;
    run_searchers(threads);
    wait_ms(CAPACITY_S * 1000);
    join(threads, SEARCHERS);
    double per_s = (double)atomic_exchange(&t.answered, 0) / CAPACITY_S;
    atomic_store(&t.ticket, 0);
    return per_s;
}

/* ---- writing ---- */

static void text_of_write(long k, char *out, size_t size)
{
    snprintf(out, size, "entry %ld of the ledger, %.200s", k, query_text((size_t)k * 13));
    for (char *p = out; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = ' '; /* the cut may have gone through a character */
}

static bool write_batch(
    struct http_client *c, struct http_reply *reply, struct rng *rng, long *next)
{
    json_t *list = json_array();
    size_t ids[WRITE_BATCH];
    for (int i = 0; i < WRITE_BATCH; i++) {
        char id[32], text[512];
        ids[i] = (size_t)rng_below(rng, WRITE_IDS / WRITE_BATCH) * WRITE_BATCH + (size_t)i;
        snprintf(id, sizeof id, "w%zu", ids[i]);
        text_of_write(*next + i, text, sizeof text);
        ck_assert_int_eq(
            json_array_append_new(list, json_pack("{s:s,s:s}", "id", id, "text", text)), 0);
    }
    json_t *body = json_pack("{s:o}", "items", list);
    char *text = json_dumps(body, JSON_COMPACT);
    struct http_call call = { .method = "POST",
        .path = "/collections/verses/items",
        .type = "application/json",
        .body = str_from(text) };
    bool good = http_try_call(c, &call, reply) && reply->status == 200 &&
        strstr(http_reply_text(reply), "\"failed\":[]");
    ck_assert_msg(good, "a write failed: %d %s", reply->status, http_reply_text(reply));
    for (int i = 0; i < WRITE_BATCH; i++)
        t.written[ids[i]] = (*next)++;
    t.n_writes += WRITE_BATCH;
    free(text);
    json_decref(body);
    return good;
}

static void delete_one(struct http_client *c, struct http_reply *reply, struct rng *rng)
{
    size_t at = (size_t)rng_below(rng, WRITE_IDS);
    char path[64];
    if (t.written[at] < 0) return;
    snprintf(path, sizeof path, "/collections/verses/items/w%zu", at);
    struct http_call call = { .method = "DELETE", .path = path };
    ck_assert_msg(http_try_call(c, &call, reply) && reply->status == 204,
        "a deletion of %s (%ld) failed: %d %s", path, t.written[at], reply->status,
        http_reply_text(reply));
    t.written[at] = -1;
    t.n_deletes++;
}

static void writer(void *arg)
{
    struct http_client c = { .fd = -1 };
    struct http_reply reply;
    struct rng rng;
    long next = 0;
    (void)arg;
    rng_init(&rng, 11);
    http_open(&c, t.server.port);
    http_reply_init(&reply);
    while (!atomic_load(&t.stop)) {
        write_batch(&c, &reply, &rng, &next);
        delete_one(&c, &reply, &rng);
        wait_ms(1000 / WRITES_PER_S);
    }
    http_reply_done(&reply);
    http_close(&c);
}

/* ---- learning ---- */

/* Follow a run to its end, setting the phase; its final object. */
static json_t *follow(long long run)
{
    char path[64];
    snprintf(path, sizeof path, "/admin/runs/%lld", run);
    for (;;) {
        json_t *r = call_json("GET", path, NULL, 200);
        const char *status = str_at(r, "status");
        if (!strcmp(status, "promoting"))
            atomic_store(&t.phase, PROMOTING);
        else if (!strcmp(status, "running") || !strcmp(status, "evaluating"))
            atomic_store(&t.phase, TRAINING);
        else if (strcmp(status, "queued") != 0) {
            atomic_store(&t.phase, WARM);
            return r;
        }
        json_decref(r);
        wait_ms(50);
    }
}

static json_t *retrain(long long seed, const char *promote)
{
    json_t *answer = call_object("POST", "/admin/retrain",
        json_pack("{s:s,s:{s:s,s:s},s:I,s:s}", "collection", "verses", "pairs", "anchor",
            "metadata.modern", "positive", "text", "seed", (json_int_t)seed, "promote", promote),
        202);
    long long run = json_integer_value(json_object_get(answer, "run"));
    json_decref(answer);
    json_t *r = follow(run);
    printf("  run %lld (promote %s): %s; recall@10 %.3f -> %.3f; trained for %.1f s\n", run,
        promote, str_at(r, "status"), metric(r, "before", "recall_at_10"),
        metric(r, "after", "recall_at_10"), metric(r, "train", "seconds"));
    ck_assert_msg(
        !strcmp(str_at(r, "status"), "succeeded"), "run %lld: %s", run, str_at(r, "status"));
    return r;
}

/* Go back (version 0) or to a version; waits for it. */
static void change_version(long long version, enum phase phase)
{
    atomic_store(&t.phase, phase);
    json_t *r = version ? call_object("POST", "/admin/collections/verses/promote",
                              json_pack("{s:I}", "version", (json_int_t)version), 200)
                        : call_json("POST", "/admin/collections/verses/rollback", NULL, 200);
    atomic_store(&t.phase, WARM);
    const char *kind = version ? "promotion" : "rollback";
    printf("  %s to version %lld: %.2f s, %.0f changes replayed, writes held for %.0f ms\n", kind,
        json_integer_value(json_object_get(r, "to_version")), metric(r, kind, "seconds"),
        metric(r, kind, "replayed"), metric(r, kind, "hold_seconds") * 1000);
    json_decref(r);
}

/* ---- afterwards ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(enum phase phase, double share, size_t *ret_n)
{
    size_t n = 0, all = atomic_load(&t.answered);
    if (all > LATENCIES_MAX) all = LATENCIES_MAX;
    float *v = mem_alloc(all + 1, sizeof *v);
    for (size_t i = 0; i < all; i++)
        if (t.latency[i].phase == phase) v[n++] = t.latency[i].ms;
    qsort(v, n, sizeof *v, by_value);
    double ms = n ? v[(size_t)((double)(n - 1) * share)] : 0;
    mem_free(v);
    *ret_n = n;
    return ms;
}

static void print_latency(void)
{
    size_t n;
    double idle = percentile(IDLE, 0.99, &n);
    printf("  phase          searches   p50 ms   p99 ms   p99 / idle\n");
    for (int p = IDLE; p < PHASES; p++) {
        double p50 = percentile((enum phase)p, 0.5, &n), p99 = percentile((enum phase)p, 0.99, &n);
        printf("  %-13s %9zu %8.2f %8.2f %9.2f\n", phase_names[p], n, p50, p99, p99 / idle);
    }
}

static json_t *embed(long long version, const char **texts, size_t n)
{
    json_t *list = json_array();
    char model[64];
    snprintf(
        model, sizeof model, version > 1 ? "verses/text-small@%lld" : "text-small@%lld", version);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(texts[i]));
    return call_object(
        "POST", "/embed", json_pack("{s:s,s:o}", "model", model, "input", list), 200);
}

static double cosine(const json_t *a, const json_t *b)
{
    double sum = 0;
    for (size_t d = 0; d < json_array_size(a); d++)
        sum += json_number_value(json_array_get(a, d)) * json_number_value(json_array_get(b, d));
    return sum;
}

/* Is a hit's score what its version says of query and text? */
static void check_samples(long long version)
{
    size_t n = atomic_load(&t.n_samples), checked = 0;
    double worst = 0;
    const char *texts[2 * EMBED_BATCH];
    const struct sample *batch[EMBED_BATCH];
    if (n > SAMPLES_MAX) n = SAMPLES_MAX;
    for (size_t at = 0, m = 0; at <= n; at++) {
        if (at < n && t.samples[at].version == version) {
            batch[m] = &t.samples[at];
            texts[2 * m] = query_text(t.samples[at].query);
            texts[2 * m++ + 1] = t.samples[at].text;
        }
        if (m < EMBED_BATCH && (at < n || m == 0)) continue;
        json_t *answer = embed(version, texts, 2 * m);
        const json_t *rows = json_object_get(answer, "embeddings");
        for (size_t i = 0; i < m; i++) {
            double off = fabs(cosine(json_array_get(rows, 2 * i), json_array_get(rows, 2 * i + 1)) -
                batch[i]->score);
            if (off > worst) worst = off;
        }
        json_decref(answer);
        checked += m;
        m = 0;
    }
    printf("  version %lld: %zu hits have its scores, to %.1e\n", version, checked, worst);
    ck_assert_uint_gt(checked, 100);
    ck_assert_double_lt(worst, 1e-4);
}

static void check_writes(void)
{
    size_t there = 0, found = 0;
    for (size_t i = 0; i < WRITE_IDS; i++) {
        char path[64], text[512];
        snprintf(path, sizeof path, "/collections/verses/items/w%zu", i);
        json_decref(t.written[i] < 0 ? call_json("GET", path, NULL, 404) : NULL);
        if (t.written[i] < 0) continue;
        json_t *item = call_json("GET", path, NULL, 200);
        text_of_write(t.written[i], text, sizeof text);
        ck_assert_str_eq(str_at(item, "text"), text);
        json_decref(item);
        there++;
        if (i % 10) continue;
        json_t *answer = call_object("POST", "/collections/verses/search",
            json_pack("{s:s,s:i,s:b}", "text", text, "k", 3, "exact", 1), 200);
        const json_t *hits = json_object_get(answer, "hits");
        bool is_hit = false;
        for (size_t h = 0; h < json_array_size(hits); h++)
            is_hit |= !strcmp(
                str_at(json_array_get(hits, h), "id"), path + strlen("/collections/verses/items/"));
        ck_assert_msg(is_hit, "%s is not found by its own text", path);
        found++;
        json_decref(answer);
    }
    json_t *count = call_json("POST", "/collections/verses/items/count", "{}", 200);
    ck_assert_int_eq(
        json_integer_value(json_object_get(count, "count")), (long long)(t.n_items + there));
    json_decref(count);
    printf("  %zu writes and %zu deletions acknowledged: %zu items as written last, %zu of them "
           "looked for "
           "and found\n",
        t.n_writes, t.n_deletes, there, found);
}

START_TEST(learns_under_load)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a failure is told by what came before it */
    struct thread threads[SEARCHERS + 1] = { { .started = false } };
    struct err e = ERR_INIT;
    double trained = 0;

    for (size_t i = 0; i < WRITE_IDS; i++)
        t.written[i] = -1;
    read_items();
    server_start(&t.server, NULL);
    import();
    double per_s = capacity();
    t.per_s = per_s * SHARE;
    printf("  %zu items; %.0f searches/s at capacity, %.0f/s from now on; %d writes/s\n", t.n_items,
        per_s, t.per_s, WRITE_BATCH * WRITES_PER_S);
    run_searchers(threads);
    ck_assert_ok(thread_start(&threads[SEARCHERS], "write", writer, NULL, &e), &e);
    wait_ms(3000);
    atomic_store(&t.phase, IDLE);
    wait_ms(phase_s() * 1000);
    for (long long seed = 1; trained < (double)phase_s(); seed++) {
        json_t *r = retrain(seed, "never");
        trained += metric(r, "train", "seconds");
        json_decref(r);
    }
    json_t *r = retrain(0, "auto");
    long long version = json_integer_value(json_object_get(r, "to_version"));
    json_decref(r);
    for (int i = 0; i < SWITCHES; i++) {
        wait_ms(2000);
        change_version(0, GOING_BACK);
        wait_ms(2000);
        change_version(version, PROMOTING);
    }
    wait_ms(2000);
    join(threads, SEARCHERS + 1);
    print_latency();
    check_samples(1);
    check_samples(version);
    check_writes();
    server_stop(&t.server);
    server_remove(&t.server);
    for (size_t i = 0; i < SAMPLES_MAX; i++)
        mem_free(t.samples[i].text);
    json_decref(t.items);
}
END_TEST

TEST_SUITE(learn_load)
{
    TCase *tc = tcase_create("under load");
    tcase_set_timeout(tc, 1200);
    tcase_add_test(tc, learns_under_load);
    suite_add_tcase(s, tc);
}
