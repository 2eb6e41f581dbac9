/* Items go to the server as one chunked POST of NDJSON: the server takes lines as fast as it can write
 * them and pushes back through TCP, so neither side holds more than a few chunks. The only place that
 * uses libcurl in the binary. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/thread.h"
#include "server/cmd.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BAR_CHARS = 32, ANSWER_BYTES_MAX = 8 << 20, FAILURES_SHOWN = 5 };

struct import_args {
    const char *url, *collection, *key, *file; /* file NULL: standard input */
    bool quiet;
};

struct import {
    FILE *in;
    size_t total_bytes; /* 0: unknown */
    size_t sent_bytes, sent_lines;
    int64_t started_ns, shown_ns;
    bool terminal, quiet;
    struct buf answer;
};

static void usage(FILE *out)
{
    fputs("usage: kindred import --collection C [--url http://127.0.0.1:8080] [--key KEY] "
          "[--quiet] [FILE]\n\n"
          "Send items, one JSON object a line (NDJSON), to a running server. Reads FILE, or "
          "standard\n"
          "input. An item: {\"id\": \"a1\", \"text\": \"...\", \"metadata\": {...}}. Items that "
          "are there\n"
          "already, unchanged, cost nothing. The key can also come from KINDRED_API_KEY.\n",
        out);
}

/* ---- progress ---- */

static void show_progress(struct import *im, bool last)
{
    int64_t now = time_mono_ns();
    int64_t every = im->terminal ? 100 * NS_PER_MS : 2 * NS_PER_S;
    double seconds = (double)(now - im->started_ns) / 1e9;
    double rate = seconds > 0 ? (double)im->sent_lines / seconds : 0;
    double part = im->total_bytes ? (double)im->sent_bytes / (double)im->total_bytes : 0;
    char bar[BAR_CHARS + 1];

    if (im->quiet || (!last && now - im->shown_ns < every)) return;
    im->shown_ns = now;
    if (part > 1) part = 1;
    memset(bar, ' ', BAR_CHARS);
    memset(bar, '#', (size_t)(part * BAR_CHARS));
    bar[BAR_CHARS] = '\0';
    if (im->terminal) {
        if (im->total_bytes)
            fprintf(stderr, "\r[%s] %3d%%  %zu items  %.0f items/s ", bar, (int)(part * 100),
                im->sent_lines, rate);
        else
            fprintf(stderr, "\r%zu items  %.0f items/s ", im->sent_lines, rate);
        if (last) fputc('\n', stderr);
    } else if (im->total_bytes) {
        fprintf(stderr, "import: %d%% %zu items %.0f items/s\n", (int)(part * 100), im->sent_lines,
            rate);
    } else {
        fprintf(stderr, "import: %zu items %.0f items/s\n", im->sent_lines, rate);
    }
    fflush(stderr);
}

/* ---- the transfer ---- */

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
    struct import *im = arg;
    size_t got = fread(p, 1, size * n, im->in);

    if (got == 0 && ferror(im->in)) return CURL_READFUNC_ABORT;
    im->sent_bytes += got;
    for (size_t i = 0; i < got; i++)
        im->sent_lines += p[i] == '\n';
    show_progress(im, false);
    return got;
}

static size_t on_write(char *p, size_t size, size_t n, void *arg)
{
    struct import *im = arg;

    return buf_append(&im->answer, p, size * n) == ERR_OK ? size * n : 0;
}

static long long count_of(const json_t *answer, const char *key)
{
    return (long long)json_integer_value(json_object_get(answer, key));
}

/* What the server said, in a person's words. */
static int report(const struct import *im, long status)
{
    json_t *answer = json_loadb(im->answer.p ? im->answer.p : "", im->answer.n, 0, NULL);
    const json_t *counts = status == 200 ? answer : json_object_get(answer, "progress");
    const json_t *failed = json_object_get(counts, "failed");
    const char *detail = json_string_value(json_object_get(answer, "detail"));
    double seconds = (double)(time_mono_ns() - im->started_ns) / 1e9;
    int exit_status = status == 200 && counts ? 0 : 1;
    long long n_failed = count_of(counts, "failed_count");

    if (status != 200)
        fprintf(stderr, "kindred import: the server answered %ld: %s\n", status,
            detail ? detail : "no reason given");
    else if (!counts)
        fputs("kindred import: the server's answer was cut off\n", stderr);
    if (counts)
        printf("%lld written, %lld unchanged, %lld failed in %.1f s\n",
            count_of(counts, "upserted"), count_of(counts, "unchanged"), n_failed, seconds);
    for (size_t i = 0; i < json_array_size(failed) && i < FAILURES_SHOWN; i++) {
        const json_t *f = json_array_get(failed, i);
        const char *why = json_string_value(json_object_get(f, "detail"));
        fprintf(stderr, "  line %lld: %s\n", count_of(f, "line"), why ? why : "failed");
    }
    if (n_failed) exit_status = 1;
    json_decref(answer);
    return exit_status;
}

static char *make_url(CURL *curl, const struct import_args *a)
{
    struct buf url = BUF_INIT(8192);
    size_t n = strlen(a->url);
    char *name = curl_easy_escape(curl, a->collection, 0);

    while (n && a->url[n - 1] == '/')
        n--;
    buf_append(&url, a->url, n);
    buf_puts(&url, "/collections/");
    buf_puts(&url, name ? name : "");
    buf_puts(&url, "/items");
    curl_free(name);
    return buf_take(&url, NULL);
}

static int transfer(CURL *curl, struct import *im, const struct import_args *a)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
    char *url = make_url(curl, a);
    char authorization[600];
    CURLcode code;
    long status = 0;
    int exit_status = 1;

    headers = curl_slist_append(headers, "Expect:"); /* do not wait for 100 Continue */
    if (a->key && *a->key) {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %.512s", a->key);
        headers = curl_slist_append(headers, authorization);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, im);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, im);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "POST");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    im->started_ns = im->shown_ns = time_mono_ns();
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    show_progress(im, true);
    if (code != CURLE_OK && im->answer.n == 0)
        fprintf(stderr, "kindred import: %s: %s\n", url ? url : a->url, curl_easy_strerror(code));
    else
        exit_status = report(im, status);
    curl_slist_free_all(headers);
    mem_free(url);
    return exit_status;
}

static int import_run(const struct import_args *a)
{
    struct import im = { .in = stdin, .quiet = a->quiet, .answer = BUF_INIT(ANSWER_BYTES_MAX) };
    struct stat st;
    CURL *curl;
    int exit_status;

    if (a->file && !(im.in = fopen(a->file, "rbe"))) {
        fprintf(stderr, "kindred import: cannot open %s: %m\n", a->file);
        return 1;
    }
    if (fstat(fileno(im.in), &st) == 0 && S_ISREG(st.st_mode)) im.total_bytes = (size_t)st.st_size;
    im.terminal = isatty(STDERR_FILENO) != 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    if (!curl) {
        fputs("kindred import: out of memory\n", stderr);
        exit_status = 1;
    } else {
        exit_status = transfer(curl, &im, a);
        curl_easy_cleanup(curl);
    }
    curl_global_cleanup();
    buf_done(&im.answer);
    if (a->file) fclose(im.in);
    return exit_status;
}

/* A flag's value: "--url X" or "--url=X"; NULL if argv[*i] is another flag. */
static const char *flag_value(const char *name, int argc, char **argv, int *i)
{
    size_t n = strlen(name);

    if (strncmp(argv[*i], name, n) != 0) return NULL;
    if (argv[*i][n] == '=') return argv[*i] + n + 1;
    if (argv[*i][n] != '\0' || *i + 1 >= argc) return NULL;
    return argv[++*i];
}

int cmd_import(int argc, char **argv)
{
    struct import_args a = { .url = "http://127.0.0.1:8080", .key = getenv("KINDRED_API_KEY") };

    for (int i = 0; i < argc; i++) {
        const char *v;
        if (!strcmp(argv[i], "--help")) {
            usage(stdout);
            return 0;
        }
        if (!strcmp(argv[i], "--quiet"))
            a.quiet = true;
        else if ((v = flag_value("--url", argc, argv, &i)))
            a.url = v;
        else if ((v = flag_value("--collection", argc, argv, &i)))
            a.collection = v;
        else if ((v = flag_value("--key", argc, argv, &i)))
            a.key = v;
        else if (argv[i][0] == '-' && argv[i][1]) {
            fprintf(stderr,
                "kindred import: unknown or incomplete flag %s; see kindred import --help\n",
                argv[i]);
            return 2;
        } else if (a.file) {
            fputs("kindred import: one file at a time\n", stderr);
            return 2;
        } else {
            a.file = argv[i];
        }
    }
    if (!a.collection) {
        usage(stderr);
        return 2;
    }
    if (a.file && !strcmp(a.file, "-")) a.file = NULL;
    return import_run(&a);
}
