/* The HTTP library's callbacks. For one request they come in this order, all on one event thread:
 *
 *   on_uri        the request line; makes the exchange
 *   on_request    phase HEAD, headers are complete; then BODY, a piece at a time; then once without data
 *                 (phase ANSWER); and again, in BODY or ANSWER, after each time it was parked
 *   on_completed  the answer was sent, or the connection ended
 *
 * An answer can be queued in HEAD (the connection is then closed) and in ANSWER only. While parked the
 * connection cannot end, so nothing goes away under an operation's feet.
 *
 * When a parked connection goes on, the library first reads from the socket if it was reading last, and
 * gives up if the client has closed its sending side, as it may once the request is sent. So what may park
 * at the end of its body is not dispatched by the first call without data: that one answers nothing, the
 * library notes that it waits for us and not for the socket, and calls again at once (phase LAST).
 */
#include "server/http_internal.h"

#include "base/log.h"
#include "engine/config.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CONNECTION_BYTES = 32 * 1024, READ_STEP_BYTES = 8 * 1024 };

/* ---- headers ---- */

struct header_search {
    const char *name;
    struct str first;
    size_t n;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key,
    size_t key_size, const char *value, size_t value_size)
{
    struct header_search *h = cls;
    (void)kind, (void)key_size;
    if (strcasecmp(key, h->name) != 0) return MHD_YES;
    if (h->n++ == 0) h->first = (struct str){ value ? value : "", value ? value_size : 0 };
    return MHD_YES;
}

struct str request_header(const struct exchange *x, const char *name, size_t *ret_count)
{
    struct header_search h = { .name = name };
    if (x->conn) (void)MHD_get_connection_values_n(x->conn->mhd, MHD_HEADER_KIND, on_header, &h);
    if (ret_count) *ret_count = h.n;
    return h.first;
}

/* ---- parking ---- */

void request_wake(struct exchange *x, enum exchange_outcome outcome)
{
    struct http_server *s = x->server;
    struct MHD_Connection *mhd = x->conn->mhd;
    x->outcome = (int)outcome;
    if (x->phase == PHASE_BODY && atomic_load(&x->state) == EXCHANGE_PARKED)
        (void)http_conn_enter(x->conn, CONN_READING);
    /* The daemon must not be stopped while a thread is in MHD_resume_connection. */
    atomic_fetch_add(&s->waking, 1);
    if (atomic_exchange(&x->state, EXCHANGE_READY) == EXCHANGE_PARKED) MHD_resume_connection(mhd);
    atomic_fetch_sub(&s->waking, 1);
}

static enum MHD_Result park(struct exchange *x)
{
    (void)http_conn_enter(
        x->conn, CONN_BUSY); /* if it was cut, the operation goes on all the same */
    struct MHD_Connection *mhd = x->conn->mhd;
    MHD_suspend_connection(mhd);
    int pending = EXCHANGE_PENDING;
    if (!atomic_compare_exchange_strong(&x->state, &pending, EXCHANGE_PARKED))
        MHD_resume_connection(mhd); /* it was done first, and left the waking to us */
    return MHD_YES;
}

/* Own the exchange again after an operation. */
static void unpark(struct exchange *x)
{
    if (atomic_load(&x->state) != EXCHANGE_READY) return;
    atomic_store(&x->state, EXCHANGE_RUNNING);
    if (x->outcome == OUTCOME_RESUME) x->outcome = OUTCOME_NONE;
    if (x->outcome == OUTCOME_ANSWER) x->discard = true;
}

static enum MHD_Result answer(struct exchange *x)
{
    if (!http_conn_enter(x->conn, CONN_BUSY)) return MHD_NO;
    x->queued = response_queue(x);
    return x->queued ? MHD_YES : MHD_NO;
}

/* After dispatching: go on reading, park, or answer. */
static enum MHD_Result settle(struct exchange *x)
{
    for (;;) {
        if (atomic_load(&x->state) == EXCHANGE_PENDING) return park(x);
        unpark(x);
        if (x->phase != PHASE_ANSWER) return MHD_YES;
        if (x->outcome == OUTCOME_ANSWER) return answer(x);
        dispatch_end(x);
    }
}

/* ---- callbacks ---- */

static size_t on_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls, (void)mhd;
    return strlen(s); /* url.c splits first, then decodes */
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *c = info ? info->socket_context : NULL;
    if (!c || !http_conn_enter(c, CONN_HEAD)) return NULL;
    atomic_fetch_add(&s->open_exchanges, 1);
    struct exchange *x = atomic_load(&s->stopping) ? NULL : exchange__new(s);
    if (!x) {
        mutex_lock(&s->lock);
        atomic_fetch_sub(&s->open_exchanges, 1);
        cond_broadcast(&s->changed);
        mutex_unlock(&s->lock);
        return NULL;
    }
    x->conn = c;
    c->x = x;
    size_t n = strlen(uri);
    x->target = (struct str){ arena_strndup(x->arena, uri, n), n };
    if (!x->target.p) x->target.n = 0;
    return x;
}

static enum MHD_Result on_head(struct exchange *x, const char *method)
{
    x->phase = PHASE_BODY;
    x->method = str_from(method);
    if (!x->target.p) return MHD_NO;
    dispatch_head(x);
    if (x->answer_early) {
        x->rs.close = true;
        return answer(x);
    }
    bool stream = !x->discard && x->route->kind == ROUTE_STREAM;
    atomic_store(&x->conn->stream, stream);
    return http_conn_enter(x->conn, CONN_READING) ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_body(struct exchange *x, const char *p, size_t *n)
{
    if (atomic_load(&x->conn->state) != CONN_READING && !http_conn_enter(x->conn, CONN_READING))
        return MHD_NO;
    http_conn_progress(x->conn, *n);
    dispatch_data(x, p, *n);
    *n = 0;
    if (x->body_discarded > DISCARD_BYTES_MAX) {
        if (http_conn_enter(x->conn, CONN_BUSY)) {
            x->rs.close = true;
            response_send_raw(x->conn->fd, &x->rs, x->id);
            x->sent_raw = true;
        }
        return MHD_NO;
    }
    return settle(x);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
    const char *method, const char *version, const char *data, size_t *n_data, void **context)
{
    struct exchange *x = *context;
    (void)cls, (void)mhd, (void)url, (void)version;
    if (!x) return MHD_NO;
    if (x->phase == PHASE_HEAD) return on_head(x, method);
    unpark(x);
    /* With chunked bodies the library goes on to the next chunk that it has read, parked or not: leave it
     * where it is, and it comes again after the wake. */
    if (atomic_load(&x->state) != EXCHANGE_RUNNING) return MHD_YES;
    if (x->phase == PHASE_BODY && *n_data > 0) return on_body(x, data, n_data);
    if (x->phase == PHASE_BODY) {
        if (!http_conn_enter(x->conn, CONN_BUSY)) return MHD_NO;
        x->phase = PHASE_LAST;
        if (!x->discard && x->route->kind != ROUTE_INLINE) return MHD_YES;
    }
    if (x->phase == PHASE_LAST) {
        x->phase = PHASE_ANSWER;
        dispatch_end(x);
    }
    return settle(x);
}

static void on_completed(
    void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;
    (void)cls, (void)mhd;
    if (!x) return;
    struct http_conn *c = x->conn;
    bool cut = http_conn_leave(c);
    c->x = NULL;
    bool sent = x->sent_raw || (x->queued && code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    exchange_log(x, sent, cut);
    x->conn = NULL;
    *context = NULL;
    exchange_release(x);
}

static void on_connection(
    void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_conn_close(*context);
        *context = NULL;
        exchange_log_connections(-1);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = info ? http_conn_open(s, mhd, info->connect_fd) : NULL;
    exchange_log_connections(1);
}

__attribute__((format(printf, 2, 0))) static void on_library_log(
    void *cls, const char *fmt, va_list args)
{
    (void)cls;
    if (log_get_level() > LOG_DEBUG) return;
    char text[256];
    (void)vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    LOG(DEBUG, "http_library", F_STR("message", text));
}

struct MHD_Daemon *request_daemon_start(
    struct http_server *s, unsigned threads, unsigned connections)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    unsigned idle_s = (unsigned)s->o.cfg->http_idle_timeout_s + 2; /* http_conn.c comes first */
    /* First of the options, so that it is there for what the others have to say. */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, /* clang-format off */
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0,
        MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)READ_STEP_BYTES,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_END); /* clang-format on */
}
