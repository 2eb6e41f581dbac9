#include "server/http_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/config.h"
#include "server/auth.h"

#include <microhttpd.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

enum { SWEEP_MS = 250, SPARE_DESCRIPTORS = 256, STOP_STEP_MS = 50, EVENT_THREADS_DEFAULT_MAX = 4 };

static void sweep_run(void *arg)
{
    struct http_server *s = arg;
    mutex_lock(&s->lock);
    while (!s->sweeper_stop) {
        (void)cond_wait_until(&s->sweeper_wake, &s->lock, time_mono_ns() + SWEEP_MS * NS_PER_MS);
        mutex_unlock(&s->lock);
        http_conn_sweep(s, false);
        mutex_lock(&s->lock);
    }
    mutex_unlock(&s->lock);
}

static unsigned event_threads(const struct config *cfg)
{
    if (cfg->http_threads) return (unsigned)cfg->http_threads;
    unsigned cores = thread_cores();
    return cores < EVENT_THREADS_DEFAULT_MAX ? cores : EVENT_THREADS_DEFAULT_MAX;
}

/* Connections that the descriptor limit leaves room for. */
static unsigned connection_limit(const struct config *cfg)
{
    size_t want = (size_t)cfg->http_connections_max;
    size_t have = http_listen_raise_nofile(want + SPARE_DESCRIPTORS);
    if (have >= want + SPARE_DESCRIPTORS) return (unsigned)want;
    size_t fit = have > 2 * SPARE_DESCRIPTORS ? have - SPARE_DESCRIPTORS : have / 2;
    if (fit == 0) fit = 1;
    LOG(WARN, "few_descriptors", F_UINT("connections_max", fit), F_UINT("wanted", want));
    return (unsigned)fit;
}

static enum err_code listen_on(
    const struct config *cfg, const struct auth *auth, struct http_listen *ret, struct err *e)
{
    struct http_listen l = { .fd = -1 };
    TRY(http_listen_open(cfg->listen, &l, e));
    enum err_code code = auth_check_listen(auth, l.loopback, cfg->insecure, e);
    if (code == ERR_OK) {
        *ret = l;
    } else {
        (void)close(l.fd);
    }
    return code;
}

enum err_code http_server_check_listen(
    const struct config *cfg, const struct auth *auth, struct err *e)
{
    struct http_listen l;
    TRY(listen_on(cfg, auth, &l, e));
    (void)close(l.fd);
    return ERR_OK;
}

static void destroy(struct http_server *s)
{
    if (s->listen_fd >= 0) (void)close(s->listen_fd);
    exchange__free_pool(s);
    cond_done(&s->changed);
    cond_done(&s->sweeper_wake);
    mutex_done(&s->lock);
    mem_free(s);
}

static enum err_code start(struct http_server *s, struct err *e)
{
    struct http_listen l;
    TRY(listen_on(s->o.cfg, s->o.auth, &l, e));
    s->listen_fd = l.fd;
    s->port = l.port;
    memcpy(s->address, l.address, sizeof s->address);

    unsigned threads = event_threads(s->o.cfg), connections = connection_limit(s->o.cfg);
    if (threads > connections) threads = connections;
    TRY(thread_start(&s->sweeper, "http-sweep", sweep_run, s, e));
    s->daemon = request_daemon_start(s, threads, connections);
    if (!s->daemon) return err_set(e, ERR_IO, "the HTTP library did not start");
    return ERR_OK;
}

static void stop_sweeper(struct http_server *s)
{
    mutex_lock(&s->lock);
    s->sweeper_stop = true;
    cond_signal(&s->sweeper_wake);
    mutex_unlock(&s->lock);
    thread_join(&s->sweeper);
}

enum err_code http_server_start(
    const struct http_server_opts *o, struct http_server **ret_server, struct err *e)
{
    TRY(router_check(&o->router, e));
    struct http_server *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for the HTTP server");
    s->o = *o;
    if (!s->o.run) s->o.run = engine_run;
    s->listen_fd = -1;
    mutex_init(&s->lock, RANK_SERVER);
    cond_init(&s->changed);
    cond_init(&s->sweeper_wake);
    enum err_code code = start(s, e);
    if (code != ERR_OK) {
        stop_sweeper(s);
        destroy(s);
        return code;
    }
    *ret_server = s;
    return ERR_OK;
}

const char *http_server_address(const struct http_server *s)
{
    return s->address;
}
uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}
size_t http_server_open_exchanges(struct http_server *s)
{
    return atomic_load(&s->open_exchanges);
}
size_t http_server_open_connections(struct http_server *s)
{
    AUTO_LOCK(&s->lock);
    return s->n_conns;
}

void http_server_drain(struct http_server *s)
{
    atomic_store(&s->draining, true);
}

/* True when no exchange is open; false at the deadline. */
static bool wait_idle(struct http_server *s, int64_t deadline_ns)
{
    AUTO_LOCK(&s->lock);
    while (atomic_load(&s->open_exchanges) > 0) {
        if (time_mono_ns() >= deadline_ns) return false;
        (void)cond_wait_until(&s->changed, &s->lock, deadline_ns);
    }
    return true;
}

bool http_server_quiesce(struct http_server *s, int64_t grace_ms)
{
    atomic_store(&s->draining, true);
    if (!s->quiesced) {
        (void)MHD_quiesce_daemon(s->daemon);   /* hands the socket back; it is s->listen_fd */
        (void)shutdown(s->listen_fd, SHUT_RD); /* who connects now is refused */
        s->quiesced = true;
    }
    return wait_idle(s, time_mono_ns() + grace_ms * NS_PER_MS);
}

void http_server_stop(struct http_server *s, int64_t grace_ms)
{
    if (!s) return;
    bool idle = http_server_quiesce(s, grace_ms);
    /* From here on no exchange begins; those that still read their request are cut, then those that do not
     * read their answer; operations have deadlines of their own, so the last wait ends. */
    atomic_store(&s->stopping, true);
    if (!idle) http_conn_sweep(s, true);
    idle = wait_idle(s, time_mono_ns() + grace_ms * NS_PER_MS);
    if (!idle) http_conn_shutdown_all(s);
    while (!wait_idle(s, time_mono_ns() + STOP_STEP_MS * NS_PER_MS)) {}
    while (atomic_load(&s->waking) > 0)
        (void)sched_yield(); /* a few instructions away */
    stop_sweeper(s);
    MHD_stop_daemon(s->daemon);
    destroy(s);
}
