/* A transfer is one curl handle for one try. The bytes of a file are counted by us and not by curl, because
 * a server that does not know ranges answers 200 from the start where we asked for the rest. */
#include "engine/model_fetch.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/hash.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_S = 30,
    SLOW_BYTES_PER_S = 1000, /* slower than this for so long: as good as cut off */
    SLOW_S = 60,
    REDIRECTS_MAX = 10,
    STATUS_OK = 200,
    STATUS_UNAUTHORIZED = 401,
    STATUS_FORBIDDEN = 403,
    STATUS_NOT_FOUND = 404,
    STATUS_RANGE = 416,
    STATUS_TOO_MANY = 429,
    STATUS_SERVER = 500,
};

struct transfer {
    const char *url;
    const struct fetch_options *o;
    CURL *curl;
    struct buf *text;     /* the body goes here … */
    int fd;               /* … or here; -1 */
    uint64_t at, limit;   /* bytes that are there; that may be there */
    bool begun;           /* the first bytes of an answer with status 2xx came */
    enum err_code failed; /* of a write of ours */
    int failed_errno;
};

enum err_code fetch_start(struct err *e)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return ERR_OK;
    return err_set(e, ERR_INTERNAL, "libcurl does not start");
}

void fetch_stop(void)
{
    curl_global_cleanup();
}

static bool is_stopped(const struct fetch_options *o)
{
    return o->stopped && o->stopped(o->arg);
}

/* ---- what comes in ---- */

static bool write_all(struct transfer *t, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(t->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            t->failed = ERR_IO;
            t->failed_errno = errno;
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* The answer to a request for the rest is all of it: begin again. */
static bool begin_again(struct transfer *t)
{
    if (ftruncate(t->fd, 0) == 0 && lseek(t->fd, 0, SEEK_SET) == 0) {
        t->at = 0;
        return true;
    }
    t->failed = ERR_IO;
    t->failed_errno = errno;
    return false;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    n *= size;
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status / 100 != 2) return n; /* a page that says what the status says */
    if (!t->begun && status == STATUS_OK && t->fd >= 0 && t->at > 0 && !begin_again(t)) return 0;
    t->begun = true;
    if (n > t->limit - t->at) {
        t->failed = ERR_LIMIT;
        return 0;
    }
    if (t->text) {
        t->failed = buf_append(t->text, p, n);
        if (t->failed != ERR_OK) return 0;
    } else if (!write_all(t, p, n)) {
        return 0;
    }
    t->at += n;
    return n;
}

static int on_progress(
    void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    const struct transfer *t = arg;
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    if (t->o->progress) t->o->progress(t->o->arg, t->at);
    return is_stopped(t->o) ? 1 : 0;
}

/* ---- one try ---- */

static bool is_https(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0;
}

bool fetch_is_this_machine(const char *url)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t n = strlen(hosts[i]);
        if (strncasecmp(url, hosts[i], n) != 0 || !strchr(":/", url[n])) continue;
        return !memchr(url + n, '@', strcspn(url + n, "/")); /* localhost:8000@elsewhere */
    }
    return false;
}

static struct curl_slist *make_headers(const struct transfer *t)
{
    AUTO_FREE char *header = NULL;
    if (!t->o->token || !t->o->token[0] || strpbrk(t->o->token, "\r\n")) return NULL;
    if (!is_https(t->url) && !fetch_is_this_machine(t->url)) return NULL;
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "Authorization: Bearer %s", t->o->token);
    header = buf_take(&b, NULL);
    /* Curl sends it to the host of the URL only, not to one that a redirect leads to. */
    return header ? curl_slist_append(NULL, header) : NULL;
}

static void set_options(struct transfer *t, struct curl_slist *headers, char *range, char *message)
{
    const char *protocols = is_https(t->url) ? "https" : "http,https";
    CURL *c = t->curl;
    (void)curl_easy_setopt(c, CURLOPT_URL, t->url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols);
    (void)curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "kindred");
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, message);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    if (range[0]) (void)curl_easy_setopt(c, CURLOPT_RANGE, range);
}

static enum err_code say_status(const char *url, long status, bool *ret_again, struct err *e)
{
    *ret_again = status == STATUS_TOO_MANY || status >= STATUS_SERVER || status == STATUS_RANGE;
    if (status == STATUS_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND, "%.180s: not there (404)", url);
    if (status == STATUS_UNAUTHORIZED || status == STATUS_FORBIDDEN)
        return err_set(e, ERR_INVALID,
            "%.120s: not without permission (%ld): it is not there, or needs a token in HF_TOKEN",
            url, status);
    return err_set(e, ERR_IO, "%.180s: the server answered %ld", url, status);
}

/* What became of a try. *ret_again: another one may do better. */
static enum err_code say_outcome(
    const struct transfer *t, CURLcode code, const char *message, bool *ret_again, struct err *e)
{
    long status = 0;
    *ret_again = false;
    if (code == CURLE_ABORTED_BY_CALLBACK) return err_set(e, ERR_CANCELLED, "stopped");
    if (t->failed == ERR_IO)
        return err_errno(
            e, ERR_IO, t->failed_errno, "what comes from %.100s cannot be written", t->url);
    if (t->failed == ERR_LIMIT)
        return err_set(
            e, ERR_LIMIT, "%.150s: more than %llu bytes", t->url, (unsigned long long)t->limit);
    if (t->failed != ERR_OK) return err_set(e, t->failed, "out of memory for %.150s", t->url);
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
        return status / 100 == 2 ? ERR_OK : say_status(t->url, status, ret_again, e);
    }
    *ret_again = code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR ||
        code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_OPERATION_TIMEDOUT ||
        code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM;
    return err_set(
        e, ERR_IO, "%.110s: %.110s", t->url, message[0] ? message : curl_easy_strerror(code));
}

static enum err_code try_once(struct transfer *t, bool *ret_again, struct err *e)
{
    char range[32] = "", message[CURL_ERROR_SIZE] = "";
    *ret_again = false;
    t->begun = false;
    t->failed = ERR_OK;
    if (t->fd >= 0 && t->at > 0)
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)t->at);
    t->curl = curl_easy_init();
    if (!t->curl) return err_set(e, ERR_NOMEM, "out of memory for a transfer");
    struct curl_slist *headers = make_headers(t);
    set_options(t, headers, range, message);
    CURLcode code = curl_easy_perform(t->curl);
    enum err_code ret = say_outcome(t, code, message, ret_again, e);
    long status = 0;
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == STATUS_RANGE && t->fd >= 0 && t->at > 0 && !begin_again(t))
        *ret_again = false; /* what was there is longer than the file: it is another one */
    curl_slist_free_all(headers);
    curl_easy_cleanup(t->curl);
    t->curl = NULL;
    return ret;
}

/* false: stopped meanwhile. */
static bool wait_ms(const struct fetch_options *o, uint64_t ms)
{
    enum { SLICE_MS = 100 };
    for (; ms > 0 && !is_stopped(o); ms -= ms < SLICE_MS ? ms : SLICE_MS)
        (void)poll(NULL, 0, (int)(ms < SLICE_MS ? ms : SLICE_MS));
    return !is_stopped(o);
}

static enum err_code transfer(struct transfer *t, struct err *e)
{
    uint64_t pause_ms = t->o->retry_ms;
    int tries = 0;
    for (;;) {
        bool again;
        uint64_t before = t->at;
        enum err_code code = try_once(t, &again, e);
        if (code == ERR_OK || !again) return code;
        if (t->fd >= 0 && t->at > before) { /* a cut after progress does not count against it */
            tries = 0;
            pause_ms = t->o->retry_ms;
        }
        tries++;
        if (tries >= FETCH_TRIES) return code;
        if (t->text) {
            buf_clear(t->text);
            t->at = 0;
        }
        if (!wait_ms(t->o, pause_ms)) return err_set(e, ERR_CANCELLED, "stopped");
        pause_ms *= 2;
    }
}

enum err_code fetch_text(const char *url, uint64_t max_bytes, const struct fetch_options *o,
    struct buf *ret, struct err *e)
{
    struct transfer t = { .url = url, .o = o, .text = ret, .fd = -1, .limit = max_bytes };
    buf_clear(ret);
    return transfer(&t, e);
}

/* ---- a file ---- */

static enum err_code check_file(
    const struct fetch_file *f, const char *part, uint64_t bytes, struct err *e)
{
    char sha256[HASH_SHA256_CHARS + 1];
    if (bytes != f->bytes)
        return err_set(e, ERR_CORRUPT, "%.130s: %llu bytes came, %llu were expected", f->url,
            (unsigned long long)bytes, (unsigned long long)f->bytes);
    if (!f->sha256) return ERR_OK;
    TRY(hash_sha256_file(part, sha256, e));
    if (strcmp(sha256, f->sha256) == 0) return ERR_OK;
    return err_set(
        e, ERR_CORRUPT, "%.120s: SHA-256 %.12s… expected, %.12s… came", f->url, f->sha256, sha256);
}

/* The rest of path.part, or all of it. *ret_resumed: some of it was there before. */
static enum err_code fetch_part(const struct fetch_file *f, const char *part,
    const struct fetch_options *o, bool *ret_resumed, struct err *e)
{
    struct transfer t = { .url = f->url, .o = o, .limit = f->bytes };
    struct stat st;
    t.fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | (f->sha256 ? 0 : O_TRUNC), 0644);
    if (t.fd < 0 || fstat(t.fd, &st) != 0 || lseek(t.fd, 0, SEEK_END) < 0) {
        enum err_code code = err_errno(e, ERR_IO, errno, "cannot write %s", part);
        if (t.fd >= 0) (void)close(t.fd);
        return code;
    }
    t.at = (uint64_t)st.st_size;
    if (t.at > f->bytes && begin_again(&t)) t.at = 0;
    *ret_resumed = t.at > 0;
    enum err_code code = t.at == f->bytes && t.at > 0 ? ERR_OK : transfer(&t, e);
    if (close(t.fd) != 0 && code == ERR_OK)
        code = err_errno(e, ERR_IO, errno, "cannot write %s", part);
    return code == ERR_OK ? check_file(f, part, t.at, e) : code;
}

enum err_code fetch_file(const struct fetch_file *f, const struct fetch_options *o, struct err *e)
{
    bool resumed = false;
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "%s.part", f->path);
    AUTO_FREE char *part = buf_take(&b, NULL);
    if (!part) return err_set(e, ERR_NOMEM, "out of memory for a path");
    enum err_code code = fetch_part(f, part, o, &resumed, e);
    bool wrong = code == ERR_CORRUPT || code == ERR_LIMIT;
    if (wrong) (void)unlink(part);
    if (wrong && resumed) {
        code = fetch_part(f, part, o, &resumed, e);
        if (code == ERR_CORRUPT || code == ERR_LIMIT) (void)unlink(part);
    }
    if (code == ERR_OK && rename(part, f->path) != 0)
        code = err_errno(e, ERR_IO, errno, "cannot rename %s", part);
    return code;
}
