/* Layer: server. May include: engine, base.
 *
 * Routes are one const table, `routes` in routes.c. A pattern is a list of
 * segments, each literal or {name}; {name} takes one segment that is not empty,
 * so a slash in an id must be sent as %2F. Several rows may share method and
 * pattern if they take different bodies: Content-Type chooses. GET rows answer
 * HEAD too. No row: 404; rows of other methods only: 405 with Allow; no row that
 * takes the body's type: 415; an Accept that rules out the answer's type: 406.
 *
 * Threads: any.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "server/exchange.h"

#include <stddef.h>

enum route_scope { SCOPE_NONE, SCOPE_READ, SCOPE_WRITE, SCOPE_ADMIN };

/* exchange.h says what each means */
enum route_kind { ROUTE_INLINE, ROUTE_POOLED, ROUTE_ASYNC, ROUTE_STREAM };

/* What a request may carry. */
enum route_body {
    BODY_NONE, /* nothing; what comes is ignored, up to 1 MiB */
    BODY_JSON, /* application/json, with or without parameters, or no Content-Type; cfg->body_max_bytes */
    BODY_NDJSON, /* application/x-ndjson, application/jsonl; any length; ROUTE_STREAM only */
};

typedef enum err_code (*route_handler_fn)(struct exchange *x, struct err *e);

/**
 * A body that arrives in pieces. All calls come from the event thread that has the connection, one at a
 * time. Each may call exchange_suspend and submit an operation, whose done callback calls exchange_resume
 * (then data() or end() is called next), exchange_finish or exchange_fail. While suspended, nothing is read
 * from the socket: that is the back-pressure. After finish, fail or an error the rest of the body is read
 * and thrown away (up to 16 MiB, then the connection is closed after the answer), and the answer sent.
 */
struct route_stream {
    /** The whole chunk must be taken (at most 64 KiB). */
    enum err_code (*data)(struct exchange *x, struct str chunk, struct err *e);
    /** The body is complete. Returning ERR_OK without exchange_suspend: x->rs is the answer. Called again
     * after an exchange_resume that follows it. */
    enum err_code (*end)(struct exchange *x, struct err *e);
    /** Optional: free what is not in the arena. Once, last, also after errors and cuts, if x->user is set. */
    void (*close)(struct exchange *x);
};

struct route {
    const char *method;  /* "GET" */
    const char *pattern; /* "/collections/{c}/items/{id}"; also the label in metrics and log */
    enum route_scope scope;
    enum route_kind kind;
    enum route_body body;
    enum route_errors errors;
    route_handler_fn
        handler; /* STREAM: called when the headers are there, to set up x->user; may be NULL */
    const struct route_stream *stream; /* STREAM only */
    const char *query;  /* names allowed in the query, separated by spaces; NULL: none; "*": any */
    const char *answer; /* type of a successful answer, for Accept; NULL: application/json */
};

/* routes.c */
extern const struct route routes[];
extern const size_t n_routes;

struct router {
    const struct route *routes;
    size_t n;
};

enum { ROUTER_SEGMENTS_MAX = 16, ROUTER_ALLOW_BYTES = 64 };

enum router_result { ROUTER_FOUND, ROUTER_NO_PATH, ROUTER_NO_METHOD, ROUTER_NO_TYPE };
struct router_match {
    enum router_result result;
    const struct route *route; /* FOUND; NO_TYPE: one of the rows that take another body */
    struct str captures[EXCHANGE_CAPTURES_MAX];
    char allow[ROUTER_ALLOW_BYTES]; /* NO_METHOD, NO_TYPE: "GET, HEAD, PUT" */
};

/** Find the row. segments are decoded. content_type: p == NULL without the header, or without a body. */
void router_find(const struct router *r, struct str method, const struct str *segments,
    size_t n_segments, struct str content_type, struct router_match *ret);
/** Error style for a path that has no row: OpenAI's below /v1/. */
enum route_errors router_errors_of_path(struct str path);
/** Our own mistakes in a table (bad pattern, two rows that no request can tell apart, STREAM without
 * stream); INTERNAL with a sentence. For the start of the server and for tests. */
MUST_USE enum err_code router_check(const struct router *r, struct err *e);
