/* Layer: server. May include: engine, base.
 *
 * Shared by the files that move a request through the server; handlers never
 * include this. Who does what:
 *
 *   http_listen.c   address, listening socket, descriptors
 *   http_server.c   start, drain, stop
 *   http_conn.c     open connections, and cutting those that are too slow
 *   request.c       from the HTTP library's callbacks to the exchange, and parking
 *   dispatch.c      what a request may do: route, key, types, sizes; calling its handler
 *   exchange.c      life of an exchange; its operations
 *   response.c      from the exchange to the HTTP library
 *   exchange_log.c  one line and a few counters a request
 */
#pragma once

#include "base/thread.h"
#include "server/exchange.h"
#include "server/http_server.h"
#include "server/router.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

struct MHD_Connection;
struct MHD_Daemon;

enum {
    EXCHANGE_POOL_MAX = 64,           /* idle exchanges kept for reuse */
    EXCHANGE_KEEP_BYTES = 256 * 1024, /* larger buffers are given back after a request */
    BODY_NONE_BYTES_MAX = 1 << 20,
    DISCARD_BYTES_MAX = 16 << 20, /* read and thrown away so that the client sees the answer */
    LISTEN_ADDRESS_BYTES = 80,
};

/* ---- connections (http_conn.c) ---- */

/* What a connection is doing, for the one who cuts slow ones. */
enum conn_state {
    CONN_IDLE,    /* no request line yet */
    CONN_HEAD,    /* reading headers */
    CONN_READING, /* reading a body; conn->x and its id and route do not change */
    CONN_BUSY,    /* waiting for us, or sending */
    CONN_CUT,     /* too slow, given up; final, as is the next */
    CONN_LEFT,    /* the client closed in the middle of a request */
};

struct http_conn {
    struct http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    atomic_int state;
    atomic_int_least64_t since_ns;     /* when the state began */
    atomic_int_least64_t last_byte_ns; /* of the body */
    atomic_size_t body_bytes;
    atomic_bool stream;            /* no least rate */
    atomic_bool feed_parked;       /* a feed had nothing new: suspended until the next sweep */
    struct exchange *x;            /* owner: event thread; read by the cutter while CONN_READING */
    struct http_conn *next, *prev; /* guarded by server->lock */
};

/** A connection was accepted. NULL: no memory. */
struct http_conn *http_conn_open(struct http_server *s, struct MHD_Connection *mhd, int fd);
/** Accepts NULL. Before the descriptor is closed. */
void http_conn_close(struct http_conn *c);
/** false: it was cut meanwhile. */
bool http_conn_enter(struct http_conn *c, enum conn_state to);
/** Body bytes arrived. */
void http_conn_progress(struct http_conn *c, size_t n);
/** A request ended: idle again, unless given up. True if it was cut. */
bool http_conn_leave(struct http_conn *c);
/** Cut what is overdue; `all_readers`: and every connection that still reads a request. */
void http_conn_sweep(struct http_server *s, bool all_readers);
/** Has the client reset the connection, or have both sides closed it? A client that is gone without a reset
 * looks like one that has closed its sending side only, until something is sent to it. */
bool http_conn_is_broken(const struct http_conn *c);
/** Shut every socket down: for those who do not read their answers, at the end of stop. */
void http_conn_shutdown_all(struct http_server *s);

/* ---- the server ---- */

struct http_server {
    /* set once before start */
    struct http_server_opts o;
    struct MHD_Daemon *daemon;
    int listen_fd;
    char address[LISTEN_ADDRESS_BYTES];
    uint16_t port;
    struct thread sweeper;
    bool quiesced; /* owner: the thread that stops */

    atomic_bool draining, stopping;
    atomic_size_t open_exchanges;
    atomic_uint waking; /* threads inside request_wake */

    struct mutex lock;   /* RANK_SERVER */
    struct cond changed; /* an exchange ended */
    struct cond sweeper_wake;
    struct http_conn *conns;    /* guarded by lock */
    size_t n_conns;             /* guarded by lock */
    struct exchange *free_list; /* guarded by lock */
    size_t n_free;              /* guarded by lock */
    bool sweeper_stop;          /* guarded by lock */
};

/* ---- listening (http_listen.c) ---- */

struct http_listen {
    int fd;
    uint16_t port;
    bool loopback;
    char address[LISTEN_ADDRESS_BYTES];
};
/** "127.0.0.1:0", "[::1]:8080", "localhost:80", ":8080" (every address). INVALID, CONFLICT (in use), IO. */
MUST_USE enum err_code http_listen_open(const char *where, struct http_listen *ret, struct err *e);
/** Let the process have `want` descriptors; returns how many it may have. */
size_t http_listen_raise_nofile(size_t want);

/* ---- exchanges (exchange.c) ---- */

enum exchange_state {
    EXCHANGE_RUNNING, /* owner: event thread */
    EXCHANGE_PENDING, /* marked as waiting; the event thread is still inside the handler */
    EXCHANGE_PARKED,  /* its connection is suspended */
    EXCHANGE_READY,   /* resumed, finished or failed */
};
enum exchange_outcome { OUTCOME_NONE, OUTCOME_RESUME, OUTCOME_ANSWER };
enum exchange_phase { PHASE_HEAD, PHASE_BODY, PHASE_LAST, PHASE_ANSWER };

/** A fresh or reused one, with one reference. NULL: no memory. */
struct exchange *exchange__new(struct http_server *s);
/** Free those kept for reuse. */
void exchange__free_pool(struct http_server *s);
/** x->rs becomes the answer for an error, without waking anybody. */
void exchange__set_error(struct exchange *x, const struct err *e);
/** The same for a problem that only HTTP knows. detail: a constant, or from the arena. */
void exchange__set_problem(
    struct exchange *x, enum problem p, const char *detail, const char *field);

/* ---- dispatch.c ---- */

/** Headers are complete: decide what may be decided without the body. After an error x->rs is the answer and
 * x->discard is set. */
void dispatch_head(struct exchange *x);
/** A piece of the body. */
void dispatch_data(struct exchange *x, const char *p, size_t n);
/** The body is complete: call the handler, or a stream's end(). */
void dispatch_end(struct exchange *x);

/* ---- request.c ---- */

/** Options of the HTTP library that name callbacks: accepts, headers, body, end. */
struct MHD_Daemon *request_daemon_start(
    struct http_server *s, unsigned threads, unsigned connections);
/** Let the event thread go on with x; x may be gone afterwards. Any thread. */
void request_wake(struct exchange *x, enum exchange_outcome outcome);
/** Value of a header; p == NULL if there is none. ret_count may be NULL. */
struct str request_header(const struct exchange *x, const char *name, size_t *ret_count);

/* ---- response.c ---- */

/** Hand x->rs to the HTTP library. False: it refused. */
bool response_queue(struct exchange *x);
/** Write an answer straight to a socket whose request was not read to its end, where the HTTP library
 * cannot answer any more; never waits. */
void response_send_raw(int fd, const struct response *rs, const char *id);

/* ---- exchange_log.c ---- */

/** One line and the counters. completed: the answer was sent whole; cut: given up as too slow. */
void exchange_log(struct exchange *x, bool completed, bool cut);
void exchange_log_connections(int change);
