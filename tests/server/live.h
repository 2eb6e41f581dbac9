/* Layer: tests. May include: libcheck, base, server.
 *
 * A real server on a free port of loopback with routes made for tests, and a
 * client that is a bare socket, so that it can misbehave.
 */
#pragma once

#include "engine/config.h"
#include "server/auth.h"
#include "server/http_server.h"

#include <stdatomic.h>
#include <stddef.h>

enum { LIVE_REPLY_BYTES = 64 * 1024 };

struct live {
    struct config cfg;
    struct auth *auth;
    struct http_server *s;
};

/** Defaults with port 0; change them with config_set before live_start. */
void live_init(struct live *l);
void live_start(struct live *l);
/** Stops the server, and waits for every thread that a route started. Fails the test if an exchange is left. */
void live_stop(struct live *l);

/* Since live_start: streams of POST /lines that began, and those for which close() ran. */
extern atomic_int live_streams_opened, live_streams_closed;
int live_connect(const struct live *l);
/** All of it, however long it takes; false if the connection broke. */
bool live_send(int fd, const void *p, size_t n);
bool live_puts(int fd, const char *z);

struct reply {
    int status;      /* 0: the connection ended before an answer */
    char head[4096]; /* status line and headers */
    char *body;      /* NUL-terminated; mem_free */
    size_t n;
    bool closes; /* Connection: close */
};
/** One answer; waits up to 10 s (60 s under a sanitizer). body is empty after HEAD if `no_body`. */
void live_recv(int fd, struct reply *r, bool no_body);
void reply_done(struct reply *r);
/** Value of a header, or NULL; until this thread calls it again. */
const char *reply_header(const struct reply *r, const char *name);
/** True if the server has closed: nothing but the end can be read within 10 s. */
bool live_is_closed(int fd);

/** connect, send, receive, close: for what fits on one line. */
void live_ask(const struct live *l, const char *request, struct reply *r);
