/* The life of an exchange.
 *
 *   RUNNING --exchange_suspend--> PENDING --event thread parks--> PARKED
 *                                    \                              |
 *                                     `--- resume/finish/fail ---> READY --event thread--> RUNNING
 *
 * The connection is really suspended only after the handler has returned, and not at all if the
 * operation was done by then. So a submit call that fails after exchange_suspend needs no undoing: the event
 * thread sees an error and puts the state back. The thread that makes an exchange READY must not touch it
 * afterwards, unless it was PARKED: then it wakes the connection, which nobody else does.
 *
 * Exchanges are reused with their arena and buffers, so that a small request allocates next to nothing.
 */
#include "server/http_internal.h"

#include "base/mem.h"
#include "engine/config.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_FIRST_BYTES = 16 * 1024, ARENA_SLACK_BYTES = 64 << 20 };

/* ---- making and recycling ---- */

static void destroy(struct exchange *x)
{
    buf_done(&x->body_buf);
    buf_done(&x->rs.body);
    arena_free(x->arena);
    mem_free(x);
}

static struct exchange *create(struct http_server *s)
{
    struct exchange *x = mem_zalloc(1, sizeof *x);
    if (!x) return NULL;
    /* Parsed input, and an answer whose floats and texts were read for it. */
    size_t limit = (size_t)s->o.cfg->body_max_bytes * 8 + ARENA_SLACK_BYTES;
    x->arena = arena_new(ARENA_FIRST_BYTES, limit);
    x->rs.body = BUF_INIT(limit);
    if (x->arena) return x;
    destroy(x);
    return NULL;
}

struct exchange *exchange__new(struct http_server *s)
{
    mutex_lock(&s->lock);
    struct exchange *x = s->free_list;
    if (x) {
        s->free_list = x->next_free;
        s->n_free--;
    }
    mutex_unlock(&s->lock);
    if (!x) x = create(s);
    if (!x) return NULL;
    x->server = s;
    x->engine = s->o.engine;
    x->cfg = s->o.cfg;
    x->start_ns = time_mono_ns();
    atomic_store(&x->state, EXCHANGE_RUNNING);
    atomic_store(&x->refs, 1);
    response_clear(&x->rs);
    return x;
}

static void trim(struct buf *b)
{
    if (b->cap > EXCHANGE_KEEP_BYTES) {
        buf_done(b);
    } else {
        buf_clear(b);
    }
}

/* All but the storage back to zero. */
static void reset(struct exchange *x)
{
    if (x->doc.root) json_doc_done(&x->doc);
    arena_clear(x->arena);
    trim(&x->body_buf);
    trim(&x->rs.body);
    struct arena *arena = x->arena;
    struct buf body = x->body_buf, answer = x->rs.body;
    memset(x, 0, sizeof *x);
    x->arena = arena;
    x->body_buf = body;
    x->rs.body = answer;
}

void exchange_hold(struct exchange *x)
{
    atomic_fetch_add(&x->refs, 1);
}

void exchange_release(struct exchange *x)
{
    if (atomic_fetch_sub(&x->refs, 1) != 1) return;
    struct http_server *s = x->server;
    if (x->user && x->route && x->route->stream && x->route->stream->close)
        x->route->stream->close(x);
    reset(x);
    mutex_lock(&s->lock);
    bool keep = s->n_free < EXCHANGE_POOL_MAX;
    if (keep) {
        x->next_free = s->free_list;
        s->free_list = x;
        s->n_free++;
    }
    mutex_unlock(&s->lock);
    if (!keep) destroy(x);
    /* Last: stop waits for this count before it frees the server. */
    mutex_lock(&s->lock);
    atomic_fetch_sub(&s->open_exchanges, 1);
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}

void exchange__free_pool(struct http_server *s)
{
    while (s->free_list) {
        struct exchange *x = s->free_list;
        s->free_list = x->next_free;
        destroy(x);
    }
    s->n_free = 0;
}

/* ---- reading the request ---- */

struct str exchange_capture(const struct exchange *x, const char *name)
{
    size_t n = strlen(name), i = 0;
    for (const char *p = x->route->pattern; (p = strchr(p, '{')); i++) {
        p++;
        if (strncmp(p, name, n) == 0 && p[n] == '}') return x->captures[i];
    }
    ASSERT_BUG(name == NULL); /* the pattern has no such capture */
    return (struct str){ NULL, 0 };
}

bool exchange_query(const struct exchange *x, const char *name, struct str *ret_value)
{
    for (size_t i = 0; i < x->n_query; i++) {
        if (!str_is(x->query[i].name, name)) continue;
        *ret_value = x->query[i].value;
        return true;
    }
    return false;
}

enum err_code exchange_query_u64(const struct exchange *x, const char *name, uint64_t min,
    uint64_t max, uint64_t fallback, uint64_t *ret, struct err *e)
{
    struct str s;
    if (!exchange_query(x, name, &s)) {
        *ret = fallback;
        return ERR_OK;
    }
    uint64_t v = 0;
    bool good = s.n > 0 && s.n <= 19;
    for (size_t i = 0; good && i < s.n; i++) {
        good = s.p[i] >= '0' && s.p[i] <= '9';
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    if (good && v >= min && v <= max) {
        *ret = v;
        return ERR_OK;
    }
    char field[64];
    (void)snprintf(field, sizeof field, "/%s", name);
    return err_set_field(e, ERR_INVALID, field, "%s must be a whole number from %llu to %llu", name,
        (unsigned long long)min, (unsigned long long)max);
}

enum err_code exchange_read_json(
    struct exchange *x, const struct json_spec *spec, void *ret, struct err *e)
{
    ASSERT_BUG(!x->doc.root);
    TRY(json_read(x->body_buf.p, x->body_buf.n, spec->vectors, x->arena, &x->doc, e));
    const struct json_reader r = { .arena = x->arena, .doc = &x->doc, .user = x };
    return json_spec_object(&r, &JSON_ROOT, spec, x->doc.root, ret, e);
}

bool exchange_draining(const struct exchange *x)
{
    return atomic_load(&x->server->draining);
}

/* ---- the answer ---- */

static const char fallback_body[] =
    "{\"type\":\"urn:kindred:problem:internal\",\"title\":\"Internal error\",\"status\":500,"
    "\"detail\":\"out of memory\",\"code\":\"internal\"}";

void exchange_retry_after(struct exchange *x, enum problem p)
{
    unsigned s = problem_info(p)->retry_after_s;
    if (s == 0) return;
    if (p == PROBLEM_OVERLOADED && x->engine) s = engine_retry_after_s(x->engine);
    const char *text = arena_printf(x->arena, "%u", s);
    response_header_add(&x->rs, "Retry-After", text ? text : "1");
}

void exchange__set_problem(
    struct exchange *x, enum problem p, const char *detail, const char *field)
{
    const struct problem_info *info = problem_info(p);
    bool close = x->rs.close;
    response_clear(&x->rs);
    x->rs.status = info->status;
    x->rs.close = close;
    x->failure_code = info->code;
    if (x->errors == ERRORS_OPENAI) {
        problem_render_openai(&x->rs.body, p, detail, field);
    } else {
        x->rs.content_type = "application/problem+json";
        problem_render(&x->rs.body, p, detail, field);
    }
    if (x->rs.body.failed != ERR_OK)
        response_set_fixed(
            &x->rs, "application/problem+json", fallback_body, sizeof fallback_body - 1);
    exchange_retry_after(x, p);
    if (p == PROBLEM_UNAUTHORIZED) response_header_add(&x->rs, "WWW-Authenticate", "Bearer");
    if (x->failure.code == ERR_OK && x->failure.msg[0] == '\0')
        (void)snprintf(x->failure.msg, sizeof x->failure.msg, "%s", detail);
}

void exchange__set_error(struct exchange *x, const struct err *e)
{
    x->failure = *e;
    if (!problem_is_internal(e->code)) {
        exchange__set_problem(x, problem_of(e->code), e->msg, e->field);
        return;
    }
    char detail[EXCHANGE_ID_BYTES + 80];
    (void)snprintf(
        detail, sizeof detail, "something went wrong here; the log has more at request %s", x->id);
    exchange__set_problem(x, problem_of(e->code), detail, "");
}

void exchange_suspend(struct exchange *x)
{
    atomic_store(&x->state, EXCHANGE_PENDING);
}

void exchange_resume(struct exchange *x)
{
    request_wake(x, OUTCOME_RESUME);
}

void exchange_finish(struct exchange *x)
{
    struct err e = ERR_INIT;
    if (!x->rs.fixed.p && buf_check(&x->rs.body, &e) != ERR_OK) exchange__set_error(x, &e);
    request_wake(x, OUTCOME_ANSWER);
}

void exchange_fail(struct exchange *x, const struct err *e)
{
    exchange__set_error(x, e);
    request_wake(x, OUTCOME_ANSWER);
}

/* ---- operations ---- */

void exchange_op_init(struct exchange *x, struct engine_op *op)
{
    op->arena = x->arena;
    op->deadline_ns = x->deadline_ns;
}

void exchange_op_count(struct exchange *x, const struct engine_op *op)
{
    x->queue_ns += op->queue_ns;
    x->work_ns += op->work_ns;
}

static void await_done(struct engine_op *op)
{
    struct exchange *x = op->user;
    exchange_op_count(x, op);
    struct err e = op->err;
    if (e.code == ERR_OK) {
        enum err_code code = x->render(x, op, &e);
        e.code = code;
    }
    if (e.code == ERR_OK) {
        exchange_finish(x);
    } else {
        exchange_fail(x, &e);
    }
}

void exchange_await(struct exchange *x, struct engine_op *op, exchange_render_fn render)
{
    exchange_op_init(x, op);
    op->done = await_done;
    op->user = x;
    x->render = render;
    exchange_suspend(x);
}

static void pool_work(struct engine_op *op)
{
    struct exchange *x = op->user;
    struct err e = ERR_INIT;
    enum err_code code = x->work(x, &e);
    if (code == ERR_OK) return;
    e.code = code;
    op->err = e;
}

static enum err_code pool_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)x, (void)op, (void)e;
    return ERR_OK;
}

enum err_code exchange_run_blocking(struct exchange *x, exchange_work_fn work, struct err *e)
{
    x->work = work;
    exchange_await(x, &x->pool_op, pool_render);
    return x->server->o.run(x->engine, &x->pool_op, pool_work, e);
}
