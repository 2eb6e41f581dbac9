/* Layer: server. May include: engine, base.
 *
 * The answer under construction. A handler sets the status, writes the body
 * into `body` (json_write.h), and may add headers; everything else (request
 * id, Content-Length, Date, Connection) is added when it is sent.
 *
 * Threads: whoever holds the exchange.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

enum { RESPONSE_HEADERS_MAX = 8 };

struct response_header {
    const char *name, *value; /* live as long as the exchange, or for ever */
};

struct exchange;

/* An answer that has no end yet: server-sent events, say. Not of INLINE routes: when one of those is parked, the
 * library takes a client that has closed its sending side for gone. */
struct response_feed {
    /** Append what is new to `out`, which may be nothing. false: this was the last of it. Called on an event
     * thread four times a second; must not block. */
    bool (*next)(struct exchange *x, void *arg, struct buf *out);
    void *arg;
};

struct response {
    unsigned status; /* 200 unless set */
    const char
        *content_type; /* a constant; "application/json" unless set; ignored without a body */
    struct buf body;   /* its storage is reused by later requests */
    struct str fixed;  /* p != NULL: sent instead of `body`; must live for ever */
    struct response_feed feed; /* next != NULL: what follows after `body`, piece by piece */
    struct response_header headers[RESPONSE_HEADERS_MAX];
    size_t n_headers;
    bool close; /* say Connection: close */
};

/** Forget what was written, keep the storage. */
void response_clear(struct response *rs);
/** Add a header. name and value are borrowed (constants, or from the exchange's arena). A header beyond
 * RESPONSE_HEADERS_MAX is our mistake. */
void response_header_add(struct response *rs, const char *name, const char *value);
/** Answer with constant bytes, such as a file that is compiled in. */
void response_set_fixed(struct response *rs, const char *content_type, const void *p, size_t n);
