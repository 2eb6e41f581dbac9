/* Searches by text against a running server, one client, keep-alive: latency, and recall@k of the default
 * search against `exact`. One query a line from a file or standard input.
 *
 *   bench_search [--url U] [--collection C] [--k K] [--n N] [--csv] [FILE]
 *
 * Latency is measured at the client, from the call to the last byte of the answer, text and metadata
 * included. Recall runs on at most 500 of the queries. */
#include "bench/head.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERIES_BYTES_MAX = 64 << 20, WARM_UP = 20, RECALL_QUERIES_MAX = 500 };

struct bench {
    const char *url, *collection, *file;
    size_t k, n_max;
    bool csv;
    CURL *curl;
    struct buf answer;
    struct str *queries;
    size_t n;
    double *ms;
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_search: %s\n", what);
    exit(1);
}

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    return buf_append(arg, p, size * n) == ERR_OK ? size * n : 0;
}

static void put_json_string(struct buf *b, struct str s)
{
    json_t *j = json_stringn(s.p, s.n);
    char *text = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;

    if (!text) fail("a query is not UTF-8");
    buf_puts(b, text);
    free(text);
    json_decref(j);
}

/* One search; returns milliseconds. The answer stays in b->answer. */
static double search(struct bench *b, struct str query, bool exact, const char *include)
{
    struct buf body = BUF_INIT(0);
    int64_t start;
    long status = 0;

    buf_puts(&body, "{\"collection\":");
    put_json_string(&body, str_from(b->collection));
    buf_puts(&body, ",\"text\":");
    put_json_string(&body, query);
    buf_printf(
        &body, ",\"k\":%zu,\"exact\":%s,\"include\":%s}", b->k, exact ? "true" : "false", include);
    buf_clear(&b->answer);
    curl_easy_setopt(b->curl, CURLOPT_POSTFIELDS, body.p);
    curl_easy_setopt(b->curl, CURLOPT_POSTFIELDSIZE, (long)body.n);
    start = time_mono_ns();
    if (curl_easy_perform(b->curl) != CURLE_OK) fail("no answer from the server");
    start = time_mono_ns() - start;
    curl_easy_getinfo(b->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) fail(b->answer.p ? b->answer.p : "an error without a reason");
    buf_done(&body);
    return (double)start / 1e6;
}

static json_t *hits(const struct bench *b)
{
    json_t *answer = json_loadb(b->answer.p, b->answer.n, 0, NULL);
    json_t *list = json_incref(json_object_get(answer, "hits"));

    json_decref(answer);
    if (!json_is_array(list)) fail("the answer has no hits");
    return list;
}

static const char *hit_id(const json_t *list, size_t i)
{
    return json_string_value(json_object_get(json_array_get(list, i), "id"));
}

/* Share of the exact hits that the default search finds. */
static double recall_of(struct bench *b, struct str query)
{
    json_t *got, *want;
    size_t found = 0, n;

    search(b, query, false, "[]");
    got = hits(b);
    search(b, query, true, "[]");
    want = hits(b);
    n = json_array_size(want);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < json_array_size(got); j++)
            found += !strcmp(hit_id(want, i), hit_id(got, j));
    json_decref(got);
    json_decref(want);
    return n ? (double)found / (double)n : 1;
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_queries(struct bench *b, char *text, size_t n)
{
    size_t cap = 0;

    for (char *p = text, *end = text + n; p < end && b->n < b->n_max;) {
        char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        if (b->n == cap) {
            cap = cap ? cap * 2 : 1024;
            b->queries = mem_realloc(b->queries, cap, sizeof *b->queries);
            if (!b->queries) fail("out of memory");
        }
        if (stop > p) b->queries[b->n++] = (struct str){ p, (size_t)(stop - p) };
        p = newline ? newline + 1 : end;
    }
    if (b->n == 0) fail("no queries");
}

static void run(struct bench *b)
{
    double recall = 0, sum = 0, *sorted;
    size_t n_recall = b->n < RECALL_QUERIES_MAX ? b->n : RECALL_QUERIES_MAX;

    b->ms = mem_alloc(b->n, sizeof *b->ms);
    if (!b->ms) fail("out of memory");
    for (size_t i = 0; i < WARM_UP; i++)
        search(b, b->queries[i % b->n], false, "[\"text\",\"metadata\"]");
    for (size_t i = 0; i < b->n; i++)
        sum += b->ms[i] = search(b, b->queries[i], false, "[\"text\",\"metadata\"]");
    sorted = b->ms;
    qsort(sorted, b->n, sizeof *sorted, compare_double);
    for (size_t i = 0; i < n_recall; i++)
        recall += recall_of(b, b->queries[i * (b->n / n_recall)]);
    recall /= (double)n_recall;
    if (b->csv) {
        bench_head();
        printf("queries,k,p50_ms,p95_ms,p99_ms,mean_ms,recall_queries,recall\n%zu,%zu,%.3f,%.3f,%."
               "3f,%.3f,%zu,%.4f\n",
            b->n, b->k, sorted[b->n / 2], sorted[b->n * 95 / 100], sorted[b->n * 99 / 100],
            sum / (double)b->n, n_recall, recall);
    } else {
        printf("%zu searches by text, one client: p50 %.2f ms, p95 %.2f ms, p99 %.2f ms; "
               "recall@%zu against exact %.3f\n",
            b->n, sorted[b->n / 2], sorted[b->n * 95 / 100], sorted[b->n * 99 / 100], b->k, recall);
    }
}

static const char *flag_value(const char *name, int argc, char **argv, int *i)
{
    if (strcmp(argv[*i], name) != 0 || *i + 1 >= argc) return NULL;
    return argv[++*i];
}

int main(int argc, char **argv)
{
    struct bench b = { .url = "http://127.0.0.1:8080",
        .collection = "default",
        .k = 10,
        .n_max = 1000,
        .answer = BUF_INIT(0) };
    char *text = NULL, url[2048];
    size_t n = 0;
    struct err e = ERR_INIT;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");

    for (int i = 1; i < argc; i++) {
        const char *v;
        if (!strcmp(argv[i], "--csv"))
            b.csv = true;
        else if ((v = flag_value("--url", argc, argv, &i)))
            b.url = v;
        else if ((v = flag_value("--collection", argc, argv, &i)))
            b.collection = v;
        else if ((v = flag_value("--k", argc, argv, &i)))
            b.k = strtoul(v, NULL, 10);
        else if ((v = flag_value("--n", argc, argv, &i)))
            b.n_max = strtoul(v, NULL, 10);
        else if (argv[i][0] != '-')
            b.file = argv[i];
        else
            fail("usage: bench_search [--url U] [--collection C] [--k K] [--n N] [--csv] [FILE]");
    }
    if ((b.file ? file_read(b.file, QUERIES_BYTES_MAX, &text, &n, &e)
                : stream_read(STDIN_FILENO, "standard input", QUERIES_BYTES_MAX, &text, &n, &e)) !=
        ERR_OK)
        fail(e.msg);
    read_queries(&b, text, n);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    b.curl = curl_easy_init();
    if (!b.curl) fail("out of memory");
    snprintf(url, sizeof url, "%s/search", b.url);
    curl_easy_setopt(b.curl, CURLOPT_URL, url);
    curl_easy_setopt(b.curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(b.curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(b.curl, CURLOPT_WRITEDATA, &b.answer);
    run(&b);
    curl_easy_cleanup(b.curl);
    curl_slist_free_all(headers);
    buf_done(&b.answer);
    mem_free(b.queries);
    mem_free(b.ms);
    mem_free(text);
    return 0;
}
