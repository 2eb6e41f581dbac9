/* See hub_server.h. */
#include "tests/support/hub_server.h"

#include "base/mem.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, POLL_MS = 20 };

static bool is_stopping(struct hub_server *h)
{
    AUTO_LOCK(&h->lock);
    return h->stopping;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        p += k;
        n -= (size_t)k;
    }
}

static void send_head(int fd, int status, size_t n, size_t from, size_t whole, const char *location)
{
    char head[1024], extra[512] = "";
    if (location[0]) (void)snprintf(extra, sizeof extra, "Location: %s\r\n", location);
    if (status == 206)
        (void)snprintf(
            extra, sizeof extra, "Content-Range: bytes %zu-%zu/%zu\r\n", from, whole - 1, whole);
    int len = snprintf(head, sizeof head,
        "HTTP/1.1 %d Such\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status, n, extra);
    send_all(fd, head, (size_t)len);
}

/* Reads until the client has gone, or the server stops. */
static void wait_until_left(struct hub_server *h, int fd)
{
    char gone[64];
    while (!is_stopping(h)) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, POLL_MS) > 0 && recv(fd, gone, sizeof gone, 0) <= 0) return;
    }
}

static struct hub_answer *find(struct hub_server *h, const char *path)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->answers[i].path, path) == 0) return &h->answers[i];
    return NULL;
}

/* What is to be done for a request, and the notes of it. */
struct plan {
    struct hub_answer answer; /* a copy; the body stays the server's */
    bool found, busy, cut;
};

static struct plan plan(struct hub_server *h, const char *path, size_t from, bool auth)
{
    AUTO_LOCK(&h->lock);
    struct plan p = { .found = false };
    buf_printf(&h->log, "%s range=%zu auth=%s\n", path, from, auth ? "yes" : "no");
    struct hub_answer *a = find(h, path);
    if (!a) return p;
    p = (struct plan){ .answer = *a, .found = true, .busy = a->busy > 0, .cut = a->cuts > 0 };
    if (a->busy > 0)
        a->busy--;
    else if (a->cuts > 0)
        a->cuts--;
    return p;
}

static void answer(struct hub_server *h, int fd, const char *path, size_t from, bool auth)
{
    const struct plan p = plan(h, path, from, auth);
    const struct hub_answer *a = &p.answer;
    if (!p.found || p.busy) {
        send_head(fd, p.busy ? 503 : 404, 4, 0, 0, "");
        send_all(fd, "none", 4);
        return;
    }
    if (a->no_ranges) from = 0;
    if (from > 0 && from >= a->n) {
        send_head(fd, 416, 0, 0, 0, "");
        return;
    }
    size_t n = a->n - from;
    send_head(fd, from ? 206 : a->status, n, from, a->n, a->location);
    bool cut = p.cut || a->stall;
    if (cut && a->cut_after < n) n = a->cut_after;
    send_all(fd, (const char *)a->body + from, n);
    if (a->stall) wait_until_left(h, fd);
}

static void serve(struct hub_server *h, int fd)
{
    char head[HEAD_MAX], path[256];
    size_t n = 0, from = 0;
    head[0] = '\0';
    while (!strstr(head, "\r\n\r\n") && n + 1 < sizeof head) {
        ssize_t k = recv(fd, head + n, sizeof head - 1 - n, 0);
        if (k <= 0) return;
        n += (size_t)k;
        head[n] = '\0';
    }
    if (sscanf(head, "GET %255s", path) != 1) return;
    const char *range = strcasestr(head, "\r\nRange: bytes=");
    if (range) from = strtoul(range + 15, NULL, 10);
    answer(h, fd, path, from, strcasestr(head, "\r\nAuthorization: Bearer ") != NULL);
}

static void run(void *arg)
{
    struct hub_server *h = arg;
    while (!is_stopping(h)) {
        struct pollfd p = { .fd = h->fd, .events = POLLIN };
        if (poll(&p, 1, POLL_MS) <= 0) continue;
        int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        serve(h, fd);
        (void)shutdown(fd, SHUT_WR);
        (void)close(fd);
    }
}

void hub_start(struct hub_server *h)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    struct err e = ERR_INIT;
    *h = (struct hub_server){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    h->log = BUF_INIT(0);
    mutex_init(&h->lock, RANK_SERVER);
    ck_assert_msg(h->fd >= 0 && bind(h->fd, (struct sockaddr *)&at, sizeof at) == 0 &&
            listen(h->fd, 16) == 0 && getsockname(h->fd, (struct sockaddr *)&at, &len) == 0,
        "a server cannot listen: %s", strerror(errno));
    (void)snprintf(h->url, sizeof h->url, "http://127.0.0.1:%u", ntohs(at.sin_port));
    ck_assert_ok(thread_start(&h->thread, "hub", run, h, &e), &e);
}

void hub_stop(struct hub_server *h)
{
    mutex_lock(&h->lock);
    h->stopping = true;
    mutex_unlock(&h->lock);
    thread_join(&h->thread);
    (void)close(h->fd);
    for (size_t i = 0; i < h->n; i++)
        mem_free(h->answers[i].body);
    buf_done(&h->log);
    mutex_done(&h->lock);
}

struct hub_answer *hub_add(struct hub_server *h, const char *path, const void *body, size_t n)
{
    AUTO_LOCK(&h->lock);
    struct hub_answer *a = find(h, path);
    if (!a) {
        ck_assert_uint_lt(h->n, HUB_ANSWERS_MAX);
        a = &h->answers[h->n++];
    } else {
        mem_free(a->body);
    }
    *a = (struct hub_answer){ .status = 200, .body = mem_strndup(n ? body : "", n), .n = n };
    ck_assert_ptr_nonnull(a->body);
    (void)snprintf(a->path, sizeof a->path, "%s", path);
    return a;
}

size_t hub_asked(struct hub_server *h, const char *text)
{
    AUTO_LOCK(&h->lock);
    size_t count = 0;
    for (const char *line = h->log.p; line && *line;) {
        const char *end = strchr(line, '\n');
        AUTO_FREE char *copy = mem_strndup(line, (size_t)(end - line));
        ck_assert_ptr_nonnull(copy);
        count += strstr(copy, text) != NULL;
        line = end + 1;
    }
    return count;
}
