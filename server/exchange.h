/* Layer: server. May include: engine, base.
 *
 * One request and its answer. A handler has one of four shapes
 * (enum route_kind, router.h):
 *
 * INLINE  parse, validate, fill x->rs, return ERR_OK. On an event thread: must not block.
 * POOLED  the same, but run on the engine's search pool: may call what engine.h marks "blocking".
 * ASYNC   parse, validate, then wait for an engine operation without holding a thread:
 *
 *             struct search_op *op = arena_zalloc(x->arena, 1, sizeof *op);
 *             ...
 *             exchange_await(x, &op->op, render_search);
 *             return engine_search(x->engine, op, e);
 *
 *         When the operation is done, `render` fills x->rs on the engine's thread. An error of the
 *         operation, or one that `render` returns, becomes the answer by itself. If the submit call
 *         fails, its error is returned as usual and becomes the answer.
 * STREAM  the body arrives piece by piece: struct route_stream in router.h.
 *
 * An error that a handler returns is rendered as problem+json (or in the route's own style); a handler
 * never does that itself and never logs.
 *
 * Memory: everything in x->arena, and x itself, lives until the answer is sent and no operation is under
 * way. Strings of the request (captures, query, body, parsed JSON) live as long.
 *
 * Threads: an exchange has one owner at a time: the event thread, or between exchange_await (or
 * exchange_suspend) and the operation's end, the engine.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "server/json_spec.h"
#include "server/problem.h"
#include "server/response.h"
#include "server/url.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXCHANGE_CAPTURES_MAX = 4, EXCHANGE_QUERY_MAX = 16, EXCHANGE_ID_BYTES = 129 };

/* How errors of a route are written. */
enum route_errors { ERRORS_PROBLEM, ERRORS_OPENAI };

struct http_server;
struct http_conn;
struct route;
struct exchange;

/** Fills x->rs after an operation succeeded. On an engine thread. */
typedef enum err_code (*exchange_render_fn)(
    struct exchange *x, struct engine_op *op, struct err *e);
typedef enum err_code (*exchange_work_fn)(struct exchange *x, struct err *e);

struct exchange {
    /* ---- for handlers ---- */
    struct engine *engine;
    const struct config *cfg;
    struct arena *arena; /* bounded by the body limit; use it for everything the answer needs */
    struct response rs;
    struct str body;            /* whole, NUL-terminated; empty for STREAM routes */
    int64_t deadline_ns;        /* time_mono_ns; for operations. STREAM: renewed at every call */
    void *user;                 /* the handler's own; STREAM state */
    char id[EXCHANGE_ID_BYTES]; /* X-Request-Id */
    const struct route *route;
    struct str captures[EXCHANGE_CAPTURES_MAX]; /* {…} of the route's pattern, in order, decoded */

    /* ---- private to the plumbing (http_internal.h) ---- */
    struct http_server *server;
    struct http_conn *conn; /* NULL once the connection let go */
    atomic_int state;       /* enum exchange_state */
    atomic_uint refs;       /* the connection, and every hold */
    int phase, outcome;     /* enum exchange_phase, exchange_outcome; the owner's */
    exchange_render_fn render;
    exchange_work_fn work;
    struct engine_op pool_op;
    struct buf body_buf;
    struct json_doc doc;
    struct str method, target; /* as sent: the target is the raw path and query */
    struct url_param query[EXCHANGE_QUERY_MAX];
    size_t n_query;
    enum route_errors errors; /* style, known before the route is */
    size_t body_limit, body_received, body_discarded;
    int64_t start_ns;
    int64_t queue_ns, work_ns; /* of the operations, for the log */
    struct err failure;        /* what the log says; code ERR_OK if nothing failed */
    const char *failure_code;  /* wire code; NULL if nothing failed */
    bool answer_early;         /* before the body, which is not read; then close */
    bool discard;    /* the answer is known: read the rest of the body and throw it away */
    bool sent_raw;   /* the answer was written to the socket, past the HTTP library */
    bool feed_asked; /* the answer's feed: asked since it was parked */
    bool feed_over;  /* it has said its last */
    size_t feed_at, feed_sent; /* bytes of rs.body that are sent; of the whole answer */
    bool queued;
    struct exchange *next_free;
};

/** Value of capture {name} of the route's pattern, decoded. A name that the pattern lacks is our mistake. */
struct str exchange_capture(const struct exchange *x, const char *name);

/** Value of ?name=…, decoded; false if it is not there. Names were checked against the route's list and are
 * unique. */
bool exchange_query(const struct exchange *x, const char *name, struct str *ret_value);
/** ?name= as a whole number in min..max; `fallback` if it is not there. INVALID names field "/name". */
MUST_USE enum err_code exchange_query_u64(const struct exchange *x, const char *name, uint64_t min,
    uint64_t max, uint64_t fallback, uint64_t *ret, struct err *e);

/**
 * Parse the body as a JSON object and read it into `ret` (a struct with its defaults set) by `spec`.
 * Strings and values borrow from the exchange. Call it once for an exchange.
 * Errors: INVALID, UNKNOWN_FIELD, TOO_MANY with the JSON pointer in e->field; NOMEM.
 */
MUST_USE enum err_code exchange_read_json(
    struct exchange *x, const struct json_spec *spec, void *ret, struct err *e);

/** Retry-After of a problem that has one. An overload's says when what waits now will be done. */
void exchange_retry_after(struct exchange *x, enum problem p);

/** True once SIGTERM came: /readyz answers 503 while everything else is still served. */
bool exchange_draining(const struct exchange *x);

/* ---- waiting for an operation ---- */

/**
 * Prepare `op` (arena, deadline, done, user) and mark the exchange as waiting; submit it next, as the
 * handler's last act, and return what the submit call returned. op->user belongs to the exchange.
 */
void exchange_await(struct exchange *x, struct engine_op *op, exchange_render_fn render);
/** Run `work` on the engine's search pool, then answer; the handler's last act. */
MUST_USE enum err_code exchange_run_blocking(
    struct exchange *x, exchange_work_fn work, struct err *e);

/* The parts, for streams and for answers that take several operations: mark as waiting on the thread that
 * owns the exchange, before submitting; then exactly one of resume, finish, fail, from any thread (none if
 * the submit call failed: return its error). After that call the exchange may be gone. */
void exchange_suspend(struct exchange *x);
/** STREAM: go on with data() or end(). */
void exchange_resume(struct exchange *x);
/** The answer in x->rs is complete. */
void exchange_finish(struct exchange *x);
/** The answer is this error. */
void exchange_fail(struct exchange *x, const struct err *e);
/** Fill an operation's arena, deadline; for callers who set done and user themselves. */
void exchange_op_init(struct exchange *x, struct engine_op *op);
/** Count an operation's times for the log; from done callbacks that are not exchange_await's. */
void exchange_op_count(struct exchange *x, const struct engine_op *op);

/** Keep x alive while an operation runs that the connection does not wait for: of a STREAM, or of a feed. */
void exchange_hold(struct exchange *x);
/** Undo one exchange_hold; x may be gone afterwards. */
void exchange_release(struct exchange *x);
