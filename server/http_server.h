/* Layer: server. May include: engine, base.
 *
 * The HTTP server: a listening socket, event threads, and the connections.
 *
 * Threads: start, drain and stop from one thread.
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"
#include "server/router.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auth;
struct config;
struct http_server;

struct http_server_opts {
    const struct config *cfg;
    struct engine *engine;
    const struct auth *auth; /* NULL: no key */
    struct router router;
    /* how work of POOLED routes is run; NULL: engine_run */
    enum err_code (*run)(
        struct engine *g, struct engine_op *op, void (*work)(struct engine_op *op), struct err *e);
};

/** Would http_server_start get its address? For finding out before the work of opening an engine. */
MUST_USE enum err_code http_server_check_listen(
    const struct config *cfg, const struct auth *auth, struct err *e);
/**
 * Listen on cfg->listen and serve. json_init() must have been called.
 * Errors: INVALID (address, or beyond loopback without a key), CONFLICT (address in use), IO, NOMEM.
 */
MUST_USE enum err_code http_server_start(
    const struct http_server_opts *o, struct http_server **ret_server, struct err *e);
/** "127.0.0.1:8080", "[::1]:8080": the address with the port that was taken. Lives as long as s. */
const char *http_server_address(const struct http_server *s);
uint16_t http_server_port(const struct http_server *s);
/** Requests under way (from the request line to the last byte of the answer). */
size_t http_server_open_exchanges(struct http_server *s);
size_t http_server_open_connections(struct http_server *s);

/** From now on /readyz says no, and every answer closes its connection. Everything is still served. */
void http_server_drain(struct http_server *s);
/** Accept no connection more, and wait until no request is under way; false if some still are after
 * grace_ms. */
bool http_server_quiesce(struct http_server *s, int64_t grace_ms);
/**
 * Quiesce, cut the requests whose body has not arrived after grace_ms, and after as long again those whose
 * answer is not read; wait for the operations of the rest; stop the threads, free. The engine must still
 * run. Accepts NULL.
 */
void http_server_stop(struct http_server *s, int64_t grace_ms);
