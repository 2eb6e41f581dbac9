#include "tests/server/live.h"

#include "base/mem.h"
#include "base/thread.h"
#include "server/json_read.h"
#include "server/json_write.h"
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

atomic_int live_streams_opened, live_streams_closed;

/* ---- operations without an engine: each is a thread that sleeps, then is done ---- */

enum { THREADS_MAX = 2048 };
struct job {
    struct engine_op *op;
    void (*work)(struct engine_op *op);
    int64_t sleep_ms;
};
static struct thread threads[THREADS_MAX];
static struct job jobs[THREADS_MAX];
static atomic_int n_jobs;

static void job_run(void *arg)
{
    struct job *j = arg;
    if (j->sleep_ms) (void)usleep((useconds_t)(j->sleep_ms * 1000));
    if (j->work) j->work(j->op);
    j->op->work_ns = j->sleep_ms * NS_PER_MS;
    j->op->done(j->op);
}

static enum err_code job_start(struct engine_op *op, void (*work)(struct engine_op *op),
    int64_t sleep_ms, bool at_once, struct err *e)
{
    int i = atomic_fetch_add(&n_jobs, 1);
    ck_assert_int_lt(i, THREADS_MAX);
    jobs[i] = (struct job){ op, work, sleep_ms };
    TRY(thread_start(&threads[i], "job", job_run, &jobs[i], e));
    if (at_once) thread_join(&threads[i]);
    if (at_once) threads[i].started = false;
    return ERR_OK;
}

static enum err_code run_work(
    struct engine *g, struct engine_op *op, void (*work)(struct engine_op *op), struct err *e)
{
    (void)g;
    return job_start(op, work, 0, false, e);
}

/* ---- handlers ---- */

static enum err_code put_ok(struct exchange *x)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_object(&w);
    json_write_key(&w, "ok");
    json_write_bool(&w, true);
    json_write_object_end(&w);
    return ERR_OK;
}

static enum err_code on_ping(struct exchange *x, struct err *e)
{
    (void)e;
    return put_ok(x);
}

static enum err_code on_echo(struct exchange *x, struct err *e)
{
    static const struct json_spec spec = { .n = 0 };
    if (x->body.n == 0) return err_set_field(e, ERR_EMPTY, "/body", "nothing to echo");
    if (x->body.n < 3) TRY(exchange_read_json(x, &spec, NULL, e));
    (void)buf_append(&x->rs.body, x->body.p, x->body.n);
    return ERR_OK;
}

static enum err_code on_thing(struct exchange *x, struct err *e)
{
    (void)e;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_array(&w);
    json_write_str(&w, exchange_capture(x, "a"));
    json_write_str(&w, exchange_capture(x, "b"));
    json_write_array_end(&w);
    x->rs.status = 201;
    response_header_add(&x->rs, "Location", "/here");
    return ERR_OK;
}

static enum err_code on_query(struct exchange *x, struct err *e)
{
    uint64_t limit = 0;
    TRY(exchange_query_u64(x, "limit", 1, 100, 10, &limit, e));
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_u64(&w, limit);
    return ERR_OK;
}

static enum err_code on_fail(struct exchange *x, struct err *e)
{
    (void)x;
    return err_set_field(e, ERR_INVALID, "/input/3", "the input is wrong");
}

static enum err_code on_broken(struct exchange *x, struct err *e)
{
    (void)buf_puts(&x->rs.body, "half an answer");
    return err_set(e, ERR_IO, "secret path /var/lib/x");
}

static enum err_code on_delete(struct exchange *x, struct err *e)
{
    (void)e;
    x->rs.status = 204;
    return ERR_OK;
}

static enum err_code on_big(struct exchange *x, struct err *e)
{
    (void)e;
    for (int i = 0; i < 400000; i++)
        (void)buf_puts(&x->rs.body, "0123456789");
    return ERR_OK;
}

static enum err_code on_fixed(struct exchange *x, struct err *e)
{
    (void)e;
    response_set_fixed(&x->rs, "text/plain", "fixed", 5);
    return ERR_OK;
}

static enum err_code render_ok(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)op, (void)e;
    return put_ok(x);
}
static enum err_code render_broken(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)op;
    (void)buf_puts(&x->rs.body, "half");
    return err_set(e, ERR_CONFLICT, "found while rendering");
}

static enum err_code on_slow(struct exchange *x, struct err *e)
{
    uint64_t ms = 0;
    TRY(exchange_query_u64(x, "ms", 0, 10000, 50, &ms, e));
    struct engine_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory");
    exchange_await(x, op, render_ok);
    return job_start(op, NULL, (int64_t)ms, false, e);
}

/* Done before the handler returns. */
static enum err_code on_fast(struct exchange *x, struct err *e)
{
    struct engine_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory");
    exchange_await(x, op, render_ok);
    return job_start(op, NULL, 0, true, e);
}

static enum err_code on_refused(struct exchange *x, struct err *e)
{
    struct engine_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory");
    exchange_await(x, op, render_ok);
    return err_set(e, ERR_BUSY, "the queue is full");
}

static void time_out(struct engine_op *op)
{
    (void)err_set(&op->err, ERR_TIMEOUT, "the deadline passed");
}
static enum err_code on_timeout(struct exchange *x, struct err *e)
{
    struct engine_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory");
    exchange_await(x, op, render_ok);
    return job_start(op, time_out, 5, false, e);
}

static enum err_code on_conflict(struct exchange *x, struct err *e)
{
    struct engine_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory");
    exchange_await(x, op, render_broken);
    return job_start(op, NULL, 5, false, e);
}

static enum err_code on_ready(struct exchange *x, struct err *e)
{
    if (exchange_draining(x)) return err_set(e, ERR_DRAINING, "the server is stopping");
    return put_ok(x);
}

/* ---- a stream: counts lines, waits for an operation after every chunk, breaks at a line "bad" ---- */

struct lines {
    struct engine_op op;
    size_t n, bytes, calls;
    bool bad, saw_end;
};

static enum err_code lines_open(struct exchange *x, struct err *e)
{
    x->user = mem_zalloc(1, sizeof(struct lines)); /* not from the arena: close() must run */
    if (!x->user) return err_set(e, ERR_NOMEM, "no memory");
    atomic_fetch_add(&live_streams_opened, 1);
    return ERR_OK;
}

static void lines_op_done(struct engine_op *op)
{
    struct exchange *x = op->user;
    struct lines *s = x->user;
    const struct err e = { .code = ERR_CONFLICT, .msg = "a bad line" };
    if (s->bad) {
        exchange_fail(x, &e);
    } else {
        exchange_resume(x);
    }
}

static enum err_code lines_wait(struct exchange *x, struct err *e)
{
    struct lines *s = x->user;
    s->op = (struct engine_op){ .done = lines_op_done, .user = x };
    exchange_op_init(x, &s->op);
    exchange_suspend(x);
    return job_start(&s->op, NULL, 1, s->calls++ % 2, e);
}

static enum err_code lines_data(struct exchange *x, struct str chunk, struct err *e)
{
    struct lines *s = x->user;
    s->bytes += chunk.n;
    for (size_t i = 0; i < chunk.n; i++)
        s->n += chunk.p[i] == '\n';
    if (memmem(chunk.p, chunk.n, "bad", 3)) s->bad = true;
    if (memmem(chunk.p, chunk.n, "worse", 5)) return err_set(e, ERR_INVALID, "a worse line");
    return lines_wait(x, e);
}

static enum err_code lines_end(struct exchange *x, struct err *e)
{
    struct lines *s = x->user;
    if (!s->saw_end) {
        s->saw_end = true;
        return lines_wait(x, e);
    }
    (void)buf_printf(&x->rs.body, "{\"lines\":%zu,\"bytes\":%zu}", s->n, s->bytes);
    return ERR_OK;
}

static void lines_close(struct exchange *x)
{
    mem_free(x->user);
    atomic_fetch_add(&live_streams_closed, 1);
}

/* ---- a feed: events of `bytes` bytes, one a call, `n` of them or without end; nothing at all if `quiet` ---- */

struct feed {
    uint64_t at, n, bytes, quiet;
};

static bool feed_next(struct exchange *x, void *arg, struct buf *out)
{
    struct feed *f = arg;
    if (exchange_draining(x)) return false;
    if (f->quiet) return true;
    (void)buf_printf(out, "data: %llu", (unsigned long long)f->at++);
    for (uint64_t i = 0; i < f->bytes; i += 10)
        (void)buf_puts(out, "0123456789");
    (void)buf_puts(out, "\n\n");
    return f->n == 0 || f->at < f->n;
}

static enum err_code on_feed(struct exchange *x, struct err *e)
{
    struct feed *f = arena_zalloc(x->arena, 1, sizeof *f);
    if (!f) return err_set(e, ERR_NOMEM, "no memory");
    TRY(exchange_query_u64(x, "n", 1, 1000, 0, &f->n, e));
    TRY(exchange_query_u64(x, "bytes", 0, 10000000, 0, &f->bytes, e));
    TRY(exchange_query_u64(x, "quiet", 0, 1, 0, &f->quiet, e));
    x->rs.content_type = "text/event-stream";
    x->rs.feed = (struct response_feed){ feed_next, f };
    return ERR_OK;
}

static const struct route_stream lines_stream = { lines_data, lines_end, lines_close };

#define GET .method = "GET", .body = BODY_NONE
#define POST .method = "POST", .body = BODY_JSON
static const struct route table[] = {
    { GET, .pattern = "/ping", .handler = on_ping },
    { POST, .pattern = "/echo", .handler = on_echo },
    { .method = "PUT", .body = BODY_JSON, .pattern = "/things/{a}/{b}", .handler = on_thing },
    { GET, .pattern = "/query", .handler = on_query, .query = "limit cursor" },
    { GET, .pattern = "/v1/fail", .handler = on_fail, .errors = ERRORS_OPENAI },
    { GET, .pattern = "/fail", .handler = on_fail },
    { GET, .pattern = "/broken", .handler = on_broken },
    { .method = "DELETE", .body = BODY_NONE, .pattern = "/ping", .handler = on_delete },
    { GET, .pattern = "/big", .handler = on_big },
    { GET, .pattern = "/fixed", .handler = on_fixed, .answer = "text/plain" },
    { GET, .pattern = "/pooled", .handler = on_ping, .kind = ROUTE_POOLED },
    { GET, .pattern = "/pooled_broken", .handler = on_broken, .kind = ROUTE_POOLED },
    { GET, .pattern = "/feed", .handler = on_feed, .kind = ROUTE_POOLED, .query = "n bytes quiet",
        .answer = "text/event-stream" },
    { GET, .pattern = "/slow", .handler = on_slow, .kind = ROUTE_ASYNC, .query = "ms" },
    { GET, .pattern = "/fast", .handler = on_fast, .kind = ROUTE_ASYNC },
    { GET, .pattern = "/refused", .handler = on_refused, .kind = ROUTE_ASYNC },
    { GET, .pattern = "/timeout", .handler = on_timeout, .kind = ROUTE_ASYNC },
    { GET, .pattern = "/conflict", .handler = on_conflict, .kind = ROUTE_ASYNC },
    { GET, .pattern = "/readyz", .handler = on_ready },
    { POST, .pattern = "/admin", .handler = on_ping, .scope = SCOPE_ADMIN },
    { POST, .pattern = "/lines", .handler = on_ping },
    { .method = "POST",
        .pattern = "/lines",
        .body = BODY_NDJSON,
        .kind = ROUTE_STREAM,
        .handler = lines_open,
        .stream = &lines_stream },
};

/* ---- server ---- */

void live_init(struct live *l)
{
    memset(l, 0, sizeof *l);
    struct err e = ERR_INIT;
    ck_assert_ok(config_init(&l->cfg, &e), &e);
    ck_assert_ok(config_set(&l->cfg, "listen", "127.0.0.1:0", &e), &e);
}

void live_start(struct live *l)
{
    struct err e = ERR_INIT;
    atomic_store(&n_jobs, 0);
    atomic_store(&live_streams_opened, 0);
    atomic_store(&live_streams_closed, 0);
    json_init();
    ck_assert_ok(auth_open(&l->cfg, &l->auth, &e), &e);
    const struct http_server_opts o = { .cfg = &l->cfg,
        .auth = l->auth,
        .router = { table, sizeof table / sizeof table[0] },
        .run = run_work };
    ck_assert_ok(http_server_start(&o, &l->s, &e), &e);
}

void live_stop(struct live *l)
{
    http_server_stop(l->s, 1000);
    int n = atomic_load(&n_jobs);
    for (int i = 0; i < n; i++)
        thread_join(&threads[i]);
    auth_close(l->auth);
    config_done(&l->cfg);
}

/* ---- client ---- */

static int timeout_ms(void)
{
    return test_is_slow_run() ? 60000 : 10000;
}

int live_connect(const struct live *l)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    struct sockaddr_in at = { .sin_family = AF_INET,
        .sin_port = htons(http_server_port(l->s)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

bool live_send(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0) return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool live_puts(int fd, const char *z)
{
    return live_send(fd, z, strlen(z));
}

/* 0: end, error or too late */
static size_t read_some(int fd, char *p, size_t n)
{
    struct pollfd f = { .fd = fd, .events = POLLIN };
    if (poll(&f, 1, timeout_ms()) <= 0) return 0;
    ssize_t got = recv(fd, p, n, 0);
    return got > 0 ? (size_t)got : 0;
}

const char *reply_header(const struct reply *r, const char *name)
{
    static _Thread_local char value[512];
    size_t n = strlen(name);
    for (const char *line = strstr(r->head, "\r\n"); line && line[2];
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) != 0 || line[2 + n] != ':') continue;
        const char *from = line + 3 + n;
        from += strspn(from, " ");
        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
        return value;
    }
    return NULL;
}

void live_recv(int fd, struct reply *r, bool no_body)
{
    memset(r, 0, sizeof *r);
    r->body = mem_zalloc(1, 1);
    size_t n = 0;
    /* One byte at a time, so that nothing of a pipelined answer is taken. */
    while (n < sizeof r->head - 1 && !strstr(n > 4 ? r->head + n - 4 : r->head, "\r\n\r\n")) {
        if (read_some(fd, r->head + n, 1) == 0) return;
        r->head[++n] = '\0';
    }
    ck_assert_int_eq(sscanf(r->head, "HTTP/1.%*d %d", &r->status), 1);
    const char *close = reply_header(r, "Connection");
    r->closes = close && strcasecmp(close, "close") == 0;
    const char *length = reply_header(r, "Content-Length");
    size_t want = length && !no_body ? strtoul(length, NULL, 10) : 0;
    mem_free(r->body);
    r->body = mem_zalloc(want + 1, 1);
    while (r->n < want) {
        size_t got = read_some(fd, r->body + r->n, want - r->n);
        ck_assert_msg(got > 0, "the answer ends after %zu of %zu bytes", r->n, want);
        r->n += got;
    }
}

void reply_done(struct reply *r)
{
    mem_free(r->body);
    r->body = NULL;
}

bool live_is_closed(int fd)
{
    char c;
    struct pollfd f = { .fd = fd, .events = POLLIN };
    if (poll(&f, 1, timeout_ms()) <= 0) return false;
    return recv(fd, &c, 1, 0) <= 0;
}

void live_ask(const struct live *l, const char *request, struct reply *r)
{
    int fd = live_connect(l);
    ck_assert(live_puts(fd, request));
    live_recv(fd, r, strncmp(request, "HEAD", 4) == 0);
    (void)close(fd);
}
