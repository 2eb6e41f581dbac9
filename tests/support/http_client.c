/* See http_client.h. Answers are read into one growing buffer and cut out of it, so that pipelined answers
 * come out one by one. Bodies are by Content-Length, by chunks, or until the connection closes. */
#include "tests/support/http_client.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

bool http_try_open(struct http_client *c, uint16_t port)
{
    *c = (struct http_client){ .fd = -1, .port = port };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return false;
    }
    c->fd = fd;
    return true;
}

void http_open(struct http_client *c, uint16_t port)
{
    ck_assert_msg(http_try_open(c, port), "cannot connect to port %u: %s", port, strerror(errno));
}

void http_close(struct http_client *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    buf_done(&c->in);
}

void http_half_close(struct http_client *c)
{
    (void)shutdown(c->fd, SHUT_WR);
}

bool http_try_send(struct http_client *c, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t k = send(c->fd, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

void http_send(struct http_client *c, const void *p, size_t n)
{
    ck_assert_msg(http_try_send(c, p, n), "cannot send: %s", strerror(errno));
}

/* More bytes into c->in. 1: some, 0: the peer closed, -1: error or time is up. */
static int fill(struct http_client *c, int timeout_ms)
{
    struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
    int k;
    do {
        k = poll(&pfd, 1, timeout_ms);
    } while (k < 0 && errno == EINTR);
    if (k <= 0) return -1;
    if (buf_reserve(&c->in, 65536) != ERR_OK) return -1;
    ssize_t got = recv(c->fd, c->in.p + c->in.n, 65535, 0);
    if (got < 0) return -1;
    if (got == 0) return 0;
    c->in.n += (size_t)got;
    c->in.p[c->in.n] = '\0';
    return 1;
}

static void consume(struct http_client *c, size_t n)
{
    memmove(c->in.p, c->in.p + n, c->in.n - n);
    c->in.n -= n;
    c->in.p[c->in.n] = '\0';
}

/* Wait until n bytes are there. */
static bool want(struct http_client *c, size_t n)
{
    while (c->in.n < n)
        if (fill(c, HTTP_WAIT_MS) != 1) return false;
    return true;
}

/* Wait for `mark`; its offset into *ret_at. */
static bool want_mark(struct http_client *c, const char *mark, size_t *ret_at)
{
    for (;;) {
        char *at = c->in.n ? memmem(c->in.p, c->in.n, mark, strlen(mark)) : NULL;
        if (at) {
            *ret_at = (size_t)(at - c->in.p);
            return true;
        }
        if (fill(c, HTTP_WAIT_MS) != 1) return false;
    }
}

static bool take(struct http_client *c, size_t n, struct buf *to)
{
    if (!want(c, n)) return false;
    if (n > 0) {
        buf_append(to, c->in.p, n);
        consume(c, n);
    }
    return true;
}

static bool take_chunks(struct http_client *c, struct buf *to)
{
    for (;;) {
        size_t at;
        if (!want_mark(c, "\r\n", &at)) return false;
        char *end;
        unsigned long n = strtoul(c->in.p, &end, 16);
        if (end == c->in.p) return false;
        consume(c, at + 2);
        if (n == 0) {
            /* No trailers are expected: the empty line ends the message. */
            if (!want(c, 2)) return false;
            consume(c, 2);
            return true;
        }
        if (!take(c, n, to) || !want(c, 2)) return false;
        consume(c, 2);
    }
}

static bool take_until_close(struct http_client *c, struct buf *to)
{
    int k;
    while ((k = fill(c, HTTP_WAIT_MS)) == 1)
        ;
    if (k < 0) return false;
    return take(c, c->in.n, to);
}

bool http_try_receive(struct http_client *c, struct http_reply *ret, bool head_only)
{
    do {
        size_t at;
        buf_clear(&ret->head);
        buf_clear(&ret->body);
        if (!want_mark(c, "\r\n\r\n", &at) || !take(c, at + 4, &ret->head)) return false;
        if (strncmp(ret->head.p, "HTTP/1.", 7) != 0) return false;
        ret->status = atoi(ret->head.p + 9);
    } while (ret->status >= 100 && ret->status < 200);
    if (head_only || ret->status == 204 || ret->status == 304) return true;

    const char *v = http_reply_header(ret, "Transfer-Encoding");
    if (v && strcasecmp(v, "chunked") == 0) return take_chunks(c, &ret->body);
    v = http_reply_header(ret, "Content-Length");
    if (v) return take(c, strtoul(v, NULL, 10), &ret->body);
    return take_until_close(c, &ret->body);
}

void http_receive(struct http_client *c, struct http_reply *ret, bool head_only)
{
    ck_assert_msg(http_try_receive(c, ret, head_only), "no answer (%zu bytes so far: %.200s)",
        c->in.n, c->in.n ? c->in.p : "");
}

bool http_is_closed(struct http_client *c, int timeout_ms)
{
    return c->in.n == 0 && fill(c, timeout_ms) == 0;
}

void http_reply_init(struct http_reply *r)
{
    *r = (struct http_reply){ 0 };
}

void http_reply_done(struct http_reply *r)
{
    buf_done(&r->head);
    buf_done(&r->body);
}

const char *http_reply_header(const struct http_reply *r, const char *name)
{
    static _Thread_local char value[1024];
    size_t n = strlen(name);
    const char *line = r->head.n ? strstr(r->head.p, "\r\n") : NULL;

    for (; line && line[2]; line = strstr(line + 2, "\r\n")) {
        const char *p = line + 2;
        if (strncasecmp(p, name, n) != 0 || p[n] != ':') continue;
        p += n + 1;
        p += strspn(p, " ");
        size_t len = strcspn(p, "\r");
        if (len >= sizeof value) len = sizeof value - 1;
        memcpy(value, p, len);
        value[len] = '\0';
        return value;
    }
    return NULL;
}

const char *http_reply_text(const struct http_reply *r)
{
    return r->body.n ? r->body.p : "";
}

bool http_try_call(struct http_client *c, const struct http_call *call, struct http_reply *ret)
{
    struct buf out = BUF_INIT(0);
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n", call->method, call->path, c->port);
    if (call->type) buf_printf(&out, "Content-Type: %s\r\n", call->type);
    if (call->headers) buf_puts(&out, call->headers);
    if (call->body.p) buf_printf(&out, "Content-Length: %zu\r\n", call->body.n);
    buf_puts(&out, "\r\n");
    if (call->body.p) buf_append(&out, call->body.p, call->body.n);
    /* A server may refuse a body before it has come; its answer counts, whatever became of the rest. */
    bool sent = http_try_send(c, out.p, out.n);
    buf_done(&out);
    bool got = http_try_receive(c, ret, strcmp(call->method, "HEAD") == 0);
    return got && (sent || ret->status >= 400);
}

void http_call(uint16_t port, const struct http_call *call, struct http_reply *ret)
{
    struct http_client c;
    http_open(&c, port);
    bool ok = http_try_call(&c, call, ret);
    http_close(&c);
    ck_assert_msg(ok, "%s %s: no answer", call->method, call->path);
}
