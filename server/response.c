#include "server/http_internal.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

enum { FEED_BLOCK_BYTES = 4096 };

void response_clear(struct response *rs)
{
    struct buf body = rs->body;
    buf_clear(&body);
    *rs = (struct response){ .status = 200, .content_type = "application/json", .body = body };
}

void response_header_add(struct response *rs, const char *name, const char *value)
{
    ASSERT_BUG(rs->n_headers < RESPONSE_HEADERS_MAX);
    rs->headers[rs->n_headers++] = (struct response_header){ name, value };
}

void response_set_fixed(struct response *rs, const char *content_type, const void *p, size_t n)
{
    rs->content_type = content_type;
    rs->fixed = (struct str){ p, n };
}

static struct str body_of(const struct response *rs)
{
    return rs->fixed.p ? rs->fixed : buf_str(&rs->body);
}

static bool add_headers(struct exchange *x, struct MHD_Response *r, bool has_body)
{
    const struct response *rs = &x->rs;
    enum MHD_Result good = MHD_add_response_header(r, "X-Request-Id", x->id);
    if (good && has_body) good = MHD_add_response_header(r, "Content-Type", rs->content_type);
    for (size_t i = 0; good && i < rs->n_headers; i++)
        good = MHD_add_response_header(r, rs->headers[i].name, rs->headers[i].value);
    bool close = rs->close || atomic_load(&x->server->draining);
    if (good && close) good = MHD_add_response_header(r, "Connection", "close");
    return good == MHD_YES;
}

/* A feed is sent from x->rs.body, which is emptied and filled again. When what next() gave is sent, the connection
 * is suspended, and the sweeper, which comes by four times a second, resumes it: the library would ask again and
 * again otherwise, also a feed that has something new each time. The flag is set after the suspension, so
 * that nobody resumes before it. */
static ssize_t feed_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct exchange *x = cls;
    struct buf *b = &x->rs.body;
    (void)pos;
    if (x->feed_at == b->n && !x->feed_over && !x->feed_asked) {
        buf_clear(b);
        x->feed_at = 0;
        x->feed_asked = true;
        x->feed_over = !x->rs.feed.next(x, x->rs.feed.arg, b);
    }
    size_t n = b->n - x->feed_at;
    if (b->failed != ERR_OK) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && x->feed_over) return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        if (http_conn_is_broken(x->conn)) return MHD_CONTENT_READER_END_WITH_ERROR;
        x->feed_asked = false;
        MHD_suspend_connection(x->conn->mhd);
        atomic_store(&x->conn->feed_parked, true);
        return 0;
    }
    if (n > max) n = max;
    memcpy(out, b->p + x->feed_at, n);
    x->feed_at += n;
    x->feed_sent += n;
    return (ssize_t)n;
}

bool response_queue(struct exchange *x)
{
    struct str body = body_of(&x->rs);
    bool feeds = x->rs.feed.next != NULL;
    /* To HEAD the library sends the end of a chunked body, which would be the start of the next answer. */
    if (feeds && str_is(x->method, MHD_HTTP_METHOD_HEAD)) x->rs.close = true;
    /* The bytes stay where they are until on_completed, when nothing is sent any more. */
    struct MHD_Response *r = feeds
        ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, FEED_BLOCK_BYTES, feed_read, x, NULL)
        : MHD_create_response_from_buffer(
              body.n, body.n ? (void *)(uintptr_t)body.p : NULL, MHD_RESPMEM_PERSISTENT);
    if (!r) return false;
    bool queued = add_headers(x, r, feeds || body.n > 0) &&
        MHD_queue_response(x->conn->mhd, x->rs.status, r) == MHD_YES;
    MHD_destroy_response(r);
    return queued;
}

void response_send_raw(int fd, const struct response *rs, const char *id)
{
    struct str body = body_of(rs);
    char head[512];
    int n = snprintf(head, sizeof head,
        "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s%sConnection: "
        "close\r\n\r\n",
        rs->status, MHD_get_reason_phrase_for(rs->status), rs->content_type, body.n,
        id ? "X-Request-Id: " : "", id ? id : "", id ? "\r\n" : "");
    if (n < 0 || (size_t)n >= sizeof head) return;
    struct iovec parts[2] = { { head, (size_t)n }, { (void *)(uintptr_t)body.p, body.n } };
    struct msghdr m = { .msg_iov = parts, .msg_iovlen = body.n ? 2 : 1 };
    (void)sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}
