/* Vectors of your own through a running server: importing, linking and searching over HTTP, beside the same index asked
 * in this process.
 *
 *   bench_vectors [--url http://127.0.0.1:8080] [--collection vectors] --data BASE.npy [--query-data Q.npy]
 *                 [--metric cosine|dot|l2] [--format base64|json] [--n N] [--bits 24] [--filterable] [--k 10]
 *                 [--connections 1,2,4] [--seconds 5] [--no-inprocess]
 *
 * --n: so many rows of BASE, all if not given; a row's number is its item's id. Queries are up to 10,000 rows of Q, without it
 * the first 1,000 of BASE. --filterable: each item has metadata of two filterable keys, {"part": i % 100, "name": "n<i % 10>"}.
 * The collection is made if it is not there. If it has n items already, they are taken to be these and not imported again.
 *
 * CSV: what,format,connections,n,dim,per_s,p50_ms,p99_ms,seconds; a cell that does not apply is empty.
 *
 *   import            base64: one NDJSON stream, its lines made while they are sent; seconds from its first byte to the
 *                     answer. json: requests of 500 items with lists of numbers, one after the other; only the time inside
 *                     requests counts, not the making of their bodies. The connection is there before the clock starts.
 *   link              seconds from the end of the import until nothing is pending (asked every 20 ms); per_s: items by
 *                     these seconds and those of the import together
 *   search_closed     each connection, a thread of this program, sends the next search when it has the answer
 *   search_half_load  half of the best search_closed per_s, at fixed times spread evenly over the greatest number of
 *                     connections; latency counts from when a search was due, so waiting behind a late one counts in full.
 *                     per_s: what was reached; below that half, the figures are of an overload
 *   recall            under per_s: recall@10 over HTTP of up to 200 queries, k 10, by comparing with every vector here
 *   inprocess         the same searches in an index of this program, m 16, ef_construction 200, on 1 thread and on one a
 *                     core; their number is under connections
 *   ratio             under per_s: search_closed by inprocess. With 1 connection: by that on 1 thread. The other: the best
 *                     search_closed, if that was on several connections, by that on all cores
 *
 * Bodies of searches are made beforehand, the vector in base64, "include": []. When an import was answered its last item must
 * be found at once, or the program ends: by its vector as the best hit (or another item of the same vector); with `dot`, where
 * another may be better, by its id. The client takes its time from the cores of the server, and what the server does
 * besides (snapshots, measuring recall) counts, too.
 */
#include "bench/args.h"
#include "bench/head.h"
#include "bench/index_data.h"
#include "bench/index_kindred.h"
#include "bench/index_truth.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors are sent as they lie in memory");

enum { QUERIES_MAX = 10000, QUERIES_OF_BASE = 1000, RECALL_QUERIES = 200, BATCH = 500 };
enum { THREADS_MAX = 256, TIMES_MAX = 1 << 20, WARM_UP = 20, K_MAX = 10000 };
enum { LIST_MAX = 16, URL_BYTES = 4096 };

struct bench {
    const char *url, *collection, *data, *query_data, *metric_name, *format;
    size_t n, bits, k, seconds;
    bool filterable, no_inprocess;
    enum matrix_metric metric;
    struct matrix base, query;
    struct buf *bodies; /* [query.n] */
    struct kindred *x;
    size_t connections[LIST_MAX], n_connections; /* what --connections lists */
    size_t best_connections, most_connections;
    double best_per_s, one_per_s; /* of search_closed; NAN: not measured */
};

/* What stands in a row; NAN: nothing. */
struct figures {
    double per_s, p50_ms, p99_ms, seconds;
};
#define FIGURES_NONE ((struct figures){ NAN, NAN, NAN, NAN })

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_vectors: %s\n", what);
    exit(1);
}

static void *must(void *p)
{
    if (!p) die("out of memory");
    return p;
}

static void number(double value, int decimals)
{
    if (isnan(value))
        printf(",");
    else
        printf(",%.*f", decimals, value);
}

/* connections 0: does not apply. */
static void row(const struct bench *b, const char *what, const char *format, size_t connections,
    const struct figures *f)
{
    printf("%s,%s,", what, format);
    if (connections > 0) printf("%zu", connections);
    printf(",%zu,%zu", b->base.n, b->base.dim);
    number(f->per_s, f->per_s < 10 ? 4 : 1);
    number(f->p50_ms, 4);
    number(f->p99_ms, 4);
    number(f->seconds, 3);
    printf("\n");
    fflush(stdout);
}

/* ---- what is sent ---- */
static void put_base64(struct buf *to, const float *v, size_t dim)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)v;
    size_t n = dim * sizeof *v;
    if (buf_reserve(to, (n + 2) / 3 * 4 + 1) != ERR_OK) die("out of memory");
    char *q = to->p + to->n;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned bits = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) |
            (left > 2 ? p[i + 2] : 0u);
        *q++ = digits[bits >> 18];
        *q++ = digits[bits >> 12 & 63];
        *q++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *q++ = left > 2 ? digits[bits & 63] : '=';
    }
    *q = '\0';
    to->n = (size_t)(q - to->p);
}

static void put_item(struct buf *to, const struct bench *b, size_t i, bool base64)
{
    const float *v = b->base.v + i * b->base.dim;
    buf_printf(to, "{\"id\":\"%zu\",\"vector\":%s", i, base64 ? "\"" : "[");
    if (base64)
        put_base64(to, v, b->base.dim);
    else
        for (size_t d = 0; d < b->base.dim; d++)
            buf_printf(to, d ? ",%.9g" : "%.9g", (double)v[d]);
    buf_puts(to, base64 ? "\"" : "]");
    if (b->filterable)
        buf_printf(to, ",\"metadata\":{\"part\":%zu,\"name\":\"n%zu\"}", i % 100, i % 10);
    buf_puts(to, "}");
    if (to->failed != ERR_OK) die("out of memory");
}

static void put_search(struct buf *to, const float *v, size_t dim, size_t k)
{
    buf_puts(to, "{\"vector\":\"");
    put_base64(to, v, dim);
    buf_printf(to, "\",\"k\":%zu,\"include\":[]}", k);
    if (to->failed != ERR_OK) die("out of memory");
}

/* ---- a connection ---- */
struct client {
    CURL *curl; /* NULL at first */
    struct curl_slist *headers;
    struct buf answer;
};

static void client_done(struct client *c)
{
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    buf_done(&c->answer);
}

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    return buf_append(arg, p, size * n) == ERR_OK ? size * n : 0;
}

/* What the next requests go to, below the collection; the connection stays. */
static void client_aim(
    struct client *c, const struct bench *b, const char *method, const char *path, const char *type)
{
    char url[URL_BYTES], line[128];
    snprintf(url, sizeof url, "%s/collections/%s%s", b->url, b->collection, path);
    snprintf(line, sizeof line, "Content-Type: %s", type);
    curl_slist_free_all(c->headers);
    c->headers = must(curl_slist_append(must(curl_slist_append(NULL, line)), "Expect:"));
    if (!c->curl) c->curl = must(curl_easy_init());
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->answer);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
}

/* body NULL: none, or what a read function gives. The answer stays in c->answer. */
static void client_send(struct client *c, const struct buf *body)
{
    long status = 0;
    buf_clear(&c->answer);
    if (body) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body->p);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->n);
    }
    CURLcode code = curl_easy_perform(c->curl);
    if (code != CURLE_OK) die(curl_easy_strerror(code));
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) die(c->answer.n ? c->answer.p : "an error without a reason");
}

static json_t *client_json(const struct client *c)
{
    json_t *j = c->answer.n ? json_loadb(c->answer.p, c->answer.n, 0, NULL) : NULL;
    if (!j) die("an answer is not JSON");
    return j;
}

/* The collection's items, and how many of them are not linked. */
static size_t count_items(const struct bench *b, struct client *c, size_t *ret_pending)
{
    json_int_t items, pending;
    client_aim(c, b, "GET", "", "application/json");
    client_send(c, NULL);
    json_t *j = client_json(c);
    if (json_unpack(j, "{s:I,s:{s:I}}", "items", &items, "index", "pending", &pending) != 0)
        die(c->answer.p);
    json_decref(j);
    *ret_pending = (size_t)pending;
    return (size_t)items;
}

/* Up to max ids of the last search's hits, best first; how many. */
static size_t hit_ids(const struct client *c, uint32_t *ids, size_t max)
{
    json_t *j = client_json(c);
    const json_t *hits = json_object_get(j, "hits");
    size_t n = json_array_size(hits);
    if (n > max) n = max;
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(hits, i), "id"));
        if (!id) die("a hit has no id");
        ids[i] = (uint32_t)strtoul(id, NULL, 10);
    }
    json_decref(j);
    return n;
}

/* ---- importing ---- */
static void make_collection(const struct bench *b, struct client *c)
{
    struct buf body = BUF_INIT(0);
    buf_printf(&body,
        "{\"model\":null,\"dimensions\":%zu,\"metric\":\"%s\",\"index\":{\"bits\":%zu}",
        b->base.dim, b->metric_name, b->bits);
    if (b->filterable)
        buf_puts(&body, ",\"filterable\":{\"part\":\"integer\",\"name\":\"string\"}");
    buf_puts(&body, "}");
    if (body.failed != ERR_OK) die("out of memory");
    client_aim(c, b, "PUT", "", "application/json");
    client_send(c, &body);
    buf_done(&body);
}

/* The answer to an import of n items. */
static void check_import(const struct client *c, size_t n)
{
    json_int_t upserted, unchanged;
    json_t *j = client_json(c), *failed;
    if (json_unpack(j, "{s:I,s:I,s:o}", "upserted", &upserted, "unchanged", &unchanged, "failed",
            &failed) != 0 ||
        (size_t)(upserted + unchanged) != n || json_array_size(failed) > 0) {
        fprintf(stderr, "%.2000s\n", c->answer.p);
        die("not all items were imported");
    }
    json_decref(j);
}

struct stream {
    const struct bench *b;
    struct buf line;
    size_t sent, next; /* bytes of the line; the row after it */
    int64_t start_ns;
};

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    size_t room = size * n, filled = 0;
    if (s->start_ns == 0) s->start_ns = time_mono_ns();
    while (filled < room) {
        if (s->sent == s->line.n) {
            if (s->next == s->b->base.n) break;
            buf_clear(&s->line);
            put_item(&s->line, s->b, s->next++, true);
            buf_putc(&s->line, '\n');
            s->sent = 0;
        }
        size_t some = s->line.n - s->sent < room - filled ? s->line.n - s->sent : room - filled;
        memcpy(to + filled, s->line.p + s->sent, some);
        filled += some;
        s->sent += some;
    }
    return filled;
}

/* Seconds. */
static double import_stream(const struct bench *b, struct client *c)
{
    struct stream s = { .b = b, .line = BUF_INIT(0) };
    client_aim(c, b, "POST", "/items", "application/x-ndjson");
    c->headers = must(curl_slist_append(c->headers, "Transfer-Encoding: chunked"));
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(c->curl, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 18);
    curl_easy_setopt(c->curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(c->curl, CURLOPT_READDATA, &s);
    client_send(c, NULL);
    double seconds = (double)(time_mono_ns() - s.start_ns) / 1e9;
    check_import(c, b->base.n);
    buf_done(&s.line);
    return seconds;
}

/* Seconds inside requests. */
static double import_batches(const struct bench *b, struct client *c)
{
    struct buf body = BUF_INIT(0);
    int64_t ns = 0;
    client_aim(c, b, "POST", "/items", "application/json");
    for (size_t first = 0, end; first < b->base.n; first = end) {
        end = b->base.n - first < BATCH ? b->base.n : first + BATCH;
        buf_clear(&body);
        for (size_t i = first; i < end; i++) {
            buf_puts(&body, i == first ? "{\"items\":[" : ",");
            put_item(&body, b, i, false);
        }
        buf_puts(&body, "]}");
        if (body.failed != ERR_OK) die("out of memory");
        int64_t start = time_mono_ns();
        client_send(c, &body);
        ns += time_mono_ns() - start;
        check_import(c, end - first);
    }
    buf_done(&body);
    return (double)ns / 1e9;
}

/* What was acknowledged is found. */
static void check_last(const struct bench *b, struct client *c)
{
    size_t dim = b->base.dim, last = b->base.n - 1;
    const float *v = b->base.v + last * dim;
    struct buf body = BUF_INIT(0);
    char path[64];
    uint32_t id;
    snprintf(path, sizeof path, "/items/%zu", last);
    if (b->metric == MATRIX_DOT) {
        client_aim(c, b, "GET", path, "application/json");
        client_send(c, NULL);
        return;
    }
    put_search(&body, v, dim, 1);
    client_aim(c, b, "POST", "/search", "application/json");
    client_send(c, &body);
    if (hit_ids(c, &id, 1) != 1 || id > last ||
        (id != last && memcmp(b->base.v + id * dim, v, dim * sizeof *v) != 0)) {
        fprintf(stderr, "item %zu: %s\n", last, c->answer.p);
        die("the last item was acknowledged and is not found");
    }
    buf_done(&body);
}

static void rest(long ms)
{
    const struct timespec moment = { .tv_nsec = ms * 1000000 };
    (void)nanosleep(&moment, NULL);
}

static void measure_import(const struct bench *b)
{
    struct client c = { 0 };
    struct figures f = FIGURES_NONE;
    size_t pending;
    make_collection(b, &c);
    size_t items = count_items(b, &c, &pending);
    bool there = items == b->base.n;
    double seconds = 0;
    if (items > b->base.n) die("the collection has more items than the set");
    if (!there) {
        seconds = strcmp(b->format, "json") ? import_stream(b, &c) : import_batches(b, &c);
        f.per_s = (double)b->base.n / seconds;
        f.seconds = seconds;
        row(b, "import", b->format, 1, &f);
    }
    int64_t end = time_mono_ns();
    if (!there) check_last(b, &c);
    if (count_items(b, &c, &pending) != b->base.n) die("the collection has other items as well");
    for (; pending > 0; (void)count_items(b, &c, &pending))
        rest(20);
    f.seconds = (double)(time_mono_ns() - end) / 1e9;
    f.per_s = (double)b->base.n / (seconds + f.seconds);
    if (!there) row(b, "link", "", 0, &f);
    client_done(&c);
}

/* ---- searching ---- */
struct load {
    const struct bench *b;
    size_t threads;
    bool inprocess;
    int64_t interval_ns; /* of a thread's searches; 0: each follows the one before */
    atomic_size_t ready;
    _Atomic int64_t start_ns; /* 0: not yet */
};

struct lane {
    struct load *load;
    size_t number;
    struct thread thread;
    struct client client;
    struct kindred_searcher *searcher;
    double *ms; /* [n] */
    size_t n;
    int64_t end_ns;
};

static void lane_ask(struct lane *l, size_t i, uint64_t *ids)
{
    const struct bench *b = l->load->b;
    size_t at = (l->number * b->query.n / l->load->threads + i) % b->query.n;
    const struct kindred_query q = { .vector = b->query.v + at * b->query.dim, .k = b->k };
    if (l->load->inprocess)
        (void)kindred_search(b->x, &q, l->searcher, ids);
    else
        client_send(&l->client, &b->bodies[at]);
}

static void wait_until(int64_t ns)
{
    const struct timespec t = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {}
}

static void lane_run(void *arg)
{
    struct lane *l = arg;
    struct load *load = l->load;
    uint64_t *ids = must(mem_alloc(load->b->k, sizeof *ids));
    int64_t start, now = 0, interval = load->interval_ns;
    if (load->inprocess)
        l->searcher = kindred_searcher_new();
    else
        client_aim(&l->client, load->b, "POST", "/search", "application/json");
    (void)prctl(PR_SET_TIMERSLACK, 1ul); /* else the system may wake it 50 us late */
    for (size_t i = 0; i < WARM_UP; i++)
        lane_ask(l, i, ids);
    atomic_fetch_add(&load->ready, 1);
    while ((start = atomic_load(&load->start_ns)) == 0)
        rest(1);
    wait_until(start);
    int64_t first = start + interval * (int64_t)l->number / (int64_t)load->threads;
    int64_t end = start + (int64_t)load->b->seconds * NS_PER_S;
    while (l->n < TIMES_MAX) {
        int64_t due = interval ? first + interval * (int64_t)l->n : time_mono_ns();
        if (due >= end) break;
        if (interval) wait_until(due);
        lane_ask(l, l->n, ids);
        now = time_mono_ns();
        l->ms[l->n++] = (double)(now - due) / 1e6;
    }
    l->end_ns = now;
    mem_free(ids);
}

static void lane_done(struct lane *l)
{
    kindred_searcher_free(l->searcher);
    client_done(&l->client);
    mem_free(l->ms);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The threads' times together. */
static struct figures summary(const struct lane *lanes, size_t threads, int64_t start)
{
    struct figures f = FIGURES_NONE;
    size_t n = 0;
    int64_t end = start;
    for (size_t i = 0; i < threads; i++) {
        n += lanes[i].n;
        if (lanes[i].end_ns > end) end = lanes[i].end_ns;
    }
    if (n == 0) die("--seconds is too short for one search");
    double *all = must(mem_alloc(n, sizeof *all));
    for (size_t i = 0, at = 0; i < threads; at += lanes[i++].n)
        memcpy(all + at, lanes[i].ms, lanes[i].n * sizeof *all);
    qsort(all, n, sizeof *all, by_value);
    f.per_s = (double)n / ((double)(end - start) / 1e9);
    f.p50_ms = all[n / 2];
    f.p99_ms = all[n * 99 / 100];
    mem_free(all);
    return f;
}

/* per_s 0: each search when the one before it was answered. */
static struct figures search(const struct bench *b, size_t threads, double per_s, bool inprocess)
{
    struct err e = ERR_INIT;
    struct load load = { .b = b, .threads = threads, .inprocess = inprocess };
    struct lane *lanes = must(mem_alloc(threads, sizeof *lanes));
    if (per_s > 0) load.interval_ns = (int64_t)(1e9 * (double)threads / per_s);
    for (size_t i = 0; i < threads; i++) {
        lanes[i] = (struct lane){
            .load = &load, .number = i, .ms = must(mem_alloc(TIMES_MAX, sizeof(double)))
        };
        if (thread_start(&lanes[i].thread, "search", lane_run, &lanes[i], &e) != ERR_OK) die(e.msg);
    }
    while (atomic_load(&load.ready) < threads)
        rest(1);
    int64_t start = time_mono_ns() + 10 * NS_PER_MS;
    atomic_store(&load.start_ns, start);
    for (size_t i = 0; i < threads; i++)
        thread_join(&lanes[i].thread);
    struct figures f = summary(lanes, threads, start);
    for (size_t i = 0; i < threads; i++)
        lane_done(&lanes[i]);
    mem_free(lanes);
    return f;
}

static void measure_closed(struct bench *b, size_t threads)
{
    struct figures f = search(b, threads, 0, false);
    row(b, "search_closed", "base64", threads, &f);
    if (threads > b->most_connections) b->most_connections = threads;
    if (threads == 1) b->one_per_s = f.per_s;
    if (isnan(b->best_per_s) || f.per_s > b->best_per_s) {
        b->best_per_s = f.per_s;
        b->best_connections = threads;
    }
}

static void measure_recall(const struct bench *b)
{
    struct matrix query = b->query;
    struct figures f = FIGURES_NONE;
    struct buf body = BUF_INIT(0);
    struct client c = { 0 };
    struct truth t;
    double sum = 0;
    if (query.n > RECALL_QUERIES) query.n = RECALL_QUERIES;
    /* so few queries are compared again each time, without a file */
    truth_open(&t, &b->base, &query, b->metric, "/dev/null", thread_cores());
    client_aim(&c, b, "POST", "/search", "application/json");
    for (size_t i = 0; i < query.n; i++) {
        uint32_t ids[TRUTH_K];
        buf_clear(&body);
        put_search(&body, query.v + i * query.dim, query.dim, TRUTH_K);
        client_send(&c, &body);
        size_t n = hit_ids(&c, ids, TRUTH_K);
        sum += truth_recall(&t, i, ids, n);
    }
    f.per_s = sum / (double)query.n;
    row(b, "recall", "base64", 1, &f);
    client_done(&c);
    buf_done(&body);
    truth_close(&t);
}

static void measure_inprocess(struct bench *b)
{
    struct figures f, ratio = FIGURES_NONE;
    char settings[32];
    unsigned cores = thread_cores();
    snprintf(settings, sizeof settings, "bits=%zu", b->bits);
    const struct kindred_options o = { b->base.dim, 16, 200, b->metric, settings };
    b->x = kindred_of(&b->base, &o, cores, NULL);
    f = search(b, 1, 0, true);
    row(b, "inprocess", "", 1, &f);
    ratio.per_s = b->one_per_s / f.per_s;
    if (cores > 1) {
        f = search(b, cores, 0, true);
        row(b, "inprocess", "", cores, &f);
    }
    if (!isnan(ratio.per_s)) row(b, "ratio", "", 1, &ratio);
    ratio.per_s = b->best_per_s / f.per_s;
    if (b->best_connections > 1) row(b, "ratio", "", b->best_connections, &ratio);
    kindred_free(b->x);
}

/* ---- the whole ---- */
static void add_connections(void *arg, const char *word)
{
    struct bench *b = arg;
    char *end;
    size_t n = strtoul(word, &end, 10);
    if (*end || n < 1 || n > THREADS_MAX || b->n_connections == LIST_MAX)
        die("--connections: up to 16 numbers from 1 to 256");
    b->connections[b->n_connections++] = n;
}

static void open_sets(struct bench *b)
{
    const char *wrong = matrix_open(b->data, &b->base);
    if (wrong) die(wrong);
    if (b->n > b->base.n) die("--n is more than there are rows");
    if (b->n > 0) b->base.n = b->n;
    if (b->base.n < TRUTH_K) die("fewer than 10 vectors");
    b->query = (struct matrix){ .v = b->base.v, .n = b->base.n, .dim = b->base.dim };
    if (b->query.n > QUERIES_OF_BASE) b->query.n = QUERIES_OF_BASE;
    wrong = b->query_data ? matrix_open(b->query_data, &b->query) : NULL;
    if (wrong) die(wrong);
    if (b->query.n == 0 || b->query.dim != b->base.dim) die("queries of other dimensions");
    if (b->query.n > QUERIES_MAX) b->query.n = QUERIES_MAX;
    b->bodies = must(mem_zalloc(b->query.n, sizeof *b->bodies));
    for (size_t i = 0; i < b->query.n; i++)
        put_search(&b->bodies[i], b->query.v + i * b->query.dim, b->query.dim, b->k);
}

static void close_sets(struct bench *b)
{
    for (size_t i = 0; i < b->query.n; i++)
        buf_done(&b->bodies[i]);
    mem_free(b->bodies);
    if (b->query_data) matrix_close(&b->query);
    matrix_close(&b->base);
}

static void measure(struct bench *b)
{
    measure_import(b);
    for (size_t i = 0; i < b->n_connections; i++)
        measure_closed(b, b->connections[i]);
    struct figures f = search(b, b->most_connections, b->best_per_s / 2, false);
    row(b, "search_half_load", "base64", b->most_connections, &f);
    measure_recall(b);
    if (!b->no_inprocess) measure_inprocess(b);
}

int main(int argc, char **argv)
{
    const char *connections = "1,2,4";
    struct bench b = { .url = "http://127.0.0.1:8080",
        .collection = "vectors",
        .metric_name = "cosine",
        .format = "base64",
        .bits = 24,
        .k = 10,
        .seconds = 5,
        .best_per_s = NAN,
        .one_per_s = NAN };
    const struct arg table[] = {
        { "--url", ARG_TEXT, &b.url },
        { "--collection", ARG_TEXT, &b.collection },
        { "--data", ARG_TEXT, &b.data },
        { "--query-data", ARG_TEXT, &b.query_data },
        { "--metric", ARG_TEXT, &b.metric_name },
        { "--format", ARG_TEXT, &b.format },
        { "--n", ARG_NUMBER, &b.n },
        { "--bits", ARG_NUMBER, &b.bits },
        { "--filterable", ARG_FLAG, &b.filterable },
        { "--k", ARG_NUMBER, &b.k },
        { "--connections", ARG_TEXT, &connections },
        { "--seconds", ARG_NUMBER, &b.seconds },
        { "--no-inprocess", ARG_FLAG, &b.no_inprocess },
    };
    args_read(table, sizeof table / sizeof *table, "bench_vectors.c", argc, argv);
    int metric = matrix_metric_parse(b.metric_name);
    args_each(connections, add_connections, &b);
    if (!b.data || metric < 0 || b.n_connections == 0 ||
        (strcmp(b.format, "base64") && strcmp(b.format, "json")) || b.k < 1 || b.k > K_MAX ||
        b.seconds < 1 || b.seconds > 3600)
        die("arguments missing or out of range; see the top of bench_vectors.c");
    b.metric = (enum matrix_metric)metric;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    open_sets(&b);
    bench_head();
    printf("what,format,connections,n,dim,per_s,p50_ms,p99_ms,seconds\n");
    fflush(stdout);
    measure(&b);
    close_sets(&b);
    curl_global_cleanup();
    return 0;
}
