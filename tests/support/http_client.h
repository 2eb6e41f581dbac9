/* Layer: tests. May include: libcheck, base.
 *
 * A small HTTP/1.1 client on loopback that sends exactly the bytes it is given, so that tests can send
 * broken requests and literal recordings of other clients. Blocking, with a time limit on every wait.
 *
 * Functions named try_ report failure; the others fail the test. Threads: one a client.
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_WAIT_MS = 60000 };

struct http_client {
    int fd; /* -1: not connected */
    uint16_t port;
    struct buf in; /* received, not yet consumed */
};

struct http_reply {
    int status;
    struct buf head; /* status line and headers, as received */
    struct buf body; /* without chunk framing */
};

void http_open(struct http_client *c, uint16_t port);
bool http_try_open(struct http_client *c, uint16_t port);
/** Accepts a closed one. */
void http_close(struct http_client *c);
/** No more will be sent; answers can still be read. */
void http_half_close(struct http_client *c);

void http_send(struct http_client *c, const void *p, size_t n);
bool http_try_send(struct http_client *c, const void *p, size_t n);
/** The next answer; interim 1xx answers are skipped. head_only: the answer to a HEAD request. false:
 * closed, timed out, or not HTTP. */
bool http_try_receive(struct http_client *c, struct http_reply *ret, bool head_only);
void http_receive(struct http_client *c, struct http_reply *ret, bool head_only);
/** true if the peer closes within the time, without sending anything more. */
bool http_is_closed(struct http_client *c, int timeout_ms);

void http_reply_init(struct http_reply *r);
void http_reply_done(struct http_reply *r);
/** Value of a header, or NULL; valid until the next call from this thread. */
const char *http_reply_header(const struct http_reply *r, const char *name);
/** The body as a C string ("" when empty). */
const char *http_reply_text(const struct http_reply *r);

struct http_call {
    const char *method, *path;
    const char *type;    /* Content-Type; NULL: none */
    const char *headers; /* further lines, each ended by \r\n; NULL: none */
    struct str body;     /* p == NULL: none */
};
/** Send over an open connection and wait for the answer. ret is initialised by the caller and cleared first. */
bool http_try_call(struct http_client *c, const struct http_call *call, struct http_reply *ret);
/** The same over a connection of its own. */
void http_call(uint16_t port, const struct http_call *call, struct http_reply *ret);
