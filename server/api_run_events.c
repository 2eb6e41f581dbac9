/* GET /admin/runs/{run}/events: server-sent events.
 *
 *   event: progress   when something changed, at most four times a second
 *   event: end        the run as GET /admin/runs/{run} shows it, once it is final; then the answer ends
 *
 * A comment every HEARTBEAT_S seconds keeps what stands between us and the client from closing. The stream ends
 * without an `end` event when the server stops: a client connects again.
 *
 * The feed is called on an event thread, where nothing may block; the last event needs the catalog, so it is
 * read by an operation, which keeps the exchange alive. A run that has begun a moment ago may be in the catalog and
 * not yet among those under way: what was read is not final then, and we go on watching.
 */
#include "server/api.h"

#include "base/mem.h"
#include "base/thread.h"
#include "engine/learn.h"
#include "server/run_json.h"

#include <stdatomic.h>

enum { HEARTBEAT_S = 15, END_BYTES_MAX = 1 << 20, READS_MAX = 40 };
enum feed_state { FEED_WATCHING, FEED_READING, FEED_READ, FEED_FAILED };

struct events {
    struct exchange *x;
    int64_t run;
    uint64_t change;
    bool said; /* one event at least */
    int64_t last_ns;
    atomic_int state; /* enum feed_state */
    struct engine_op op;
    struct str last; /* the end event, or nothing; the reader's until FEED_READ */
    int reads;
};

static void write_end(struct buf *out, const struct catalog_run *r)
{
    static const char head[] = "event: end\ndata: ";
    struct json_write w = JSON_WRITE_INIT(out);
    (void)buf_append(out, head, sizeof head - 1);
    run_json(&w, r, 1);
    (void)buf_append(out, "\n\n", 2);
}

/* On a search thread. Nobody else uses the exchange's arena while its answer is sent. */
static enum err_code read_last(struct events *v, struct err *e)
{
    struct catalog_run r;
    AUTO(buf_done) struct buf b = BUF_INIT(END_BYTES_MAX);
    TRY(engine_run_get(v->x->engine, v->run, v->x->arena, &r, e));
    if (!run_is_final(r.status) && v->reads++ < READS_MAX) return ERR_OK;
    if (!run_is_final(r.status)) return err_set(e, ERR_INTERNAL, "a run that has no end");
    write_end(&b, &r);
    TRY(buf_check(&b, e));
    v->last.p = arena_strndup(v->x->arena, b.p, b.n);
    if (!v->last.p) return err_set(e, ERR_NOMEM, "no memory for an event");
    v->last.n = b.n;
    return ERR_OK;
}

static void read_work(struct engine_op *op)
{
    struct events *v = op->user;
    struct err e = ERR_INIT;
    if (read_last(v, &e) != ERR_OK) op->err = e;
}

static void read_done(struct engine_op *op)
{
    struct events *v = op->user;
    struct exchange *x = v->x;
    atomic_store(&v->state, op->err.code == ERR_OK ? FEED_READ : FEED_FAILED);
    exchange_release(x);
}

static void start_reading(struct events *v)
{
    v->op = (struct engine_op){ .arena = v->x->arena };
    v->op.done = read_done;
    v->op.user = v;
    atomic_store(&v->state, FEED_READING);
    exchange_hold(v->x);
    if (engine_run(v->x->engine, &v->op, read_work, NULL) == ERR_OK) return;
    exchange_release(v->x);
    atomic_store(&v->state, FEED_WATCHING); /* a full queue: at the next call again */
}

static void say_progress(struct events *v, const struct run_progress *p, struct buf *out)
{
    static const char head[] = "event: progress\ndata: ";
    struct json_write w = JSON_WRITE_INIT(out);
    if (v->said && p->change == v->change) return;
    v->said = true;
    v->change = p->change;
    v->last_ns = time_mono_ns();
    (void)buf_append(out, head, sizeof head - 1);
    run_json_progress(&w, v->run, p);
    (void)buf_append(out, "\n\n", 2);
}

static bool next(struct exchange *x, void *arg, struct buf *out)
{
    struct events *v = arg;
    struct run_progress p;
    int state = atomic_load(&v->state);
    if (state == FEED_READ && v->last.n > 0) {
        (void)buf_append(out, v->last.p, v->last.n);
        return false;
    }
    if (state == FEED_READ) atomic_store(&v->state, state = FEED_WATCHING);
    if (state == FEED_FAILED || exchange_draining(x)) return state == FEED_READING;
    if (state == FEED_WATCHING) {
        if (engine_run_progress(x->engine, v->run, &p))
            say_progress(v, &p, out);
        else
            start_reading(v);
    }
    if (out->n == 0 && time_mono_ns() - v->last_ns > HEARTBEAT_S * NS_PER_S) {
        v->last_ns = time_mono_ns();
        (void)buf_append(out, ": \n\n", 4);
    }
    return true;
}

enum err_code api_run_events(struct exchange *x, struct err *e)
{
    struct catalog_run r;
    struct run_progress p;
    int64_t id;
    TRY(api_run_id(x, &id, e));
    TRY(engine_run_get(x->engine, id, x->arena, &r, e));
    struct events *v = arena_zalloc(x->arena, 1, sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "no memory for an answer");
    v->x = x;
    v->run = id;
    v->last_ns = time_mono_ns();
    atomic_init(&v->state, FEED_WATCHING);
    x->rs.content_type = "text/event-stream";
    response_header_add(&x->rs, "Cache-Control", "no-store");
    response_header_add(&x->rs, "X-Accel-Buffering", "no");
    if (run_is_final(r.status)) {
        write_end(&x->rs.body, &r);
        return buf_check(&x->rs.body, e);
    }
    if (engine_run_progress(x->engine, id, &p)) say_progress(v, &p, &x->rs.body);
    x->rs.feed = (struct response_feed){ next, v };
    return buf_check(&x->rs.body, e);
}
