/* Open connections, and the clients that are too slow.
 *
 * The HTTP library ends connections on which nothing at all happens, without an answer. It does not end one
 * that sends a byte now and then, and it cannot answer before a request is complete. So a thread of our
 * own looks at all connections a few times a second; what is overdue is marked CONN_CUT, gets a 408 written
 * straight to its socket (nothing of an answer can have been sent in the states that are cut), and is shut
 * down; the event thread then sees the end of the stream and cleans up as for any client that left.
 *
 * It also looks for clients that have closed. The library waits for edges of epoll, and takes a short read
 * for the last; when a client sends and closes at once, data and end are one edge, and the end is not seen.
 *
 * Races: state changes are compare-and-swap, so either the cutter or the event thread wins. A cutter that
 * won may still be reading conn->x while the event thread sees the connection end; http_conn_leave
 * therefore passes through the lock when it finds the connection given up. The descriptor is closed only after
 * http_conn_close, which takes the lock too.
 */
#include "server/http_internal.h"

#include "base/mem.h"
#include "engine/config.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>

enum {
    BODY_BYTES_PER_S_MIN = 16 * 1024,
    LEFT_AFTER_MS = 200,  /* quiet for so long: has the client closed? */
    LEFT_BEFORE_MS = 2000 /* an end that comes later is an edge of its own */
};

struct http_conn *http_conn_open(struct http_server *s, struct MHD_Connection *mhd, int fd)
{
    struct http_conn *c = mem_zalloc(1, sizeof *c);
    if (!c) return NULL;
    c->server = s;
    c->mhd = mhd;
    c->fd = fd;
    atomic_init(&c->state, CONN_IDLE);
    atomic_init(&c->since_ns, time_mono_ns());
    AUTO_LOCK(&s->lock);
    c->next = s->conns;
    if (c->next) c->next->prev = c;
    s->conns = c;
    s->n_conns++;
    return c;
}

void http_conn_close(struct http_conn *c)
{
    if (!c) return;
    struct http_server *s = c->server;
    mutex_lock(&s->lock);
    if (c->next) c->next->prev = c->prev;
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        s->conns = c->next;
    }
    s->n_conns--;
    mutex_unlock(&s->lock);
    mem_free(c);
}

bool http_conn_enter(struct http_conn *c, enum conn_state to)
{
    int from = atomic_load(&c->state);
    int64_t now = time_mono_ns();
    if (to == CONN_READING) atomic_store(&c->last_byte_ns, now);
    while (from < CONN_CUT) {
        atomic_store(&c->since_ns, now);
        if (atomic_compare_exchange_weak(&c->state, &from, to)) return true;
    }
    return false;
}

void http_conn_progress(struct http_conn *c, size_t n)
{
    atomic_store(&c->last_byte_ns, time_mono_ns());
    atomic_fetch_add(&c->body_bytes, n);
}

bool http_conn_leave(struct http_conn *c)
{
    atomic_store(&c->body_bytes, 0);
    if (http_conn_enter(c, CONN_IDLE)) return false;
    mutex_lock(&c->server->lock);
    mutex_unlock(&c->server->lock);
    return atomic_load(&c->state) == CONN_CUT;
}

/* ---- cutting ---- */

static bool is_overdue(struct http_conn *c, int state, int64_t now, int64_t idle_ns)
{
    int64_t since = atomic_load(&c->since_ns), last = atomic_load(&c->last_byte_ns);
    if (state == CONN_IDLE || state == CONN_HEAD) return now - since > idle_ns;
    if (now - last > idle_ns) return true;
    int64_t s_by_rate = (int64_t)(atomic_load(&c->body_bytes) / BODY_BYTES_PER_S_MIN);
    return !atomic_load(&c->stream) && now - since > idle_ns + s_by_rate * NS_PER_S;
}

static bool has_left(struct http_conn *c, int64_t now)
{
    int64_t since = atomic_load(&c->since_ns), last = atomic_load(&c->last_byte_ns);
    int64_t quiet_ms = (now - (last > since ? last : since)) / NS_PER_MS;
    if (quiet_ms < LEFT_AFTER_MS || quiet_ms > LEFT_BEFORE_MS) return false;
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

bool http_conn_is_broken(const struct http_conn *c)
{
    struct pollfd f = { .fd = c->fd };
    return poll(&f, 1, 0) > 0 && (f.revents & (POLLERR | POLLHUP)) != 0;
}

/* With s->lock held, so that neither the connection nor its exchange goes away. */
static void cut(struct http_conn *c, int state)
{
    if (!atomic_compare_exchange_strong(&c->state, &state, CONN_CUT)) return;
    if (state != CONN_IDLE) {
        static const char detail[] = "the request did not arrive in time";
        bool has_route = state == CONN_READING && c->x && c->x->route;
        struct response rs = { .status = problem_info(PROBLEM_BODY_TIMEOUT)->status,
            .close = true };
        if (has_route && c->x->route->errors == ERRORS_OPENAI) {
            rs.content_type = "application/json";
            problem_render_openai(&rs.body, PROBLEM_BODY_TIMEOUT, detail, "");
        } else {
            rs.content_type = "application/problem+json";
            problem_render(&rs.body, PROBLEM_BODY_TIMEOUT, detail, "");
        }
        response_send_raw(c->fd, &rs, state == CONN_READING && c->x ? c->x->id : NULL);
        buf_done(&rs.body);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
}

void http_conn_sweep(struct http_server *s, bool all_readers)
{
    int64_t now = time_mono_ns();
    int64_t idle_ns = (int64_t)s->o.cfg->http_idle_timeout_s * NS_PER_S;
    AUTO_LOCK(&s->lock);
    for (struct http_conn *c = s->conns; c; c = c->next) {
        int state = atomic_load(&c->state);
        if (atomic_exchange(&c->feed_parked, false)) MHD_resume_connection(c->mhd);
        if (state >= CONN_BUSY) continue;
        if (all_readers || is_overdue(c, state, now, idle_ns)) {
            cut(c, state);
        } else if (has_left(c, now) &&
            atomic_compare_exchange_strong(&c->state, &state, CONN_LEFT)) {
            (void)shutdown(c->fd, SHUT_RDWR);
        }
    }
}

void http_conn_shutdown_all(struct http_server *s)
{
    AUTO_LOCK(&s->lock);
    for (struct http_conn *c = s->conns; c; c = c->next)
        (void)shutdown(c->fd, SHUT_RDWR);
}
