/* Layer: tests. May include: libcheck, base.
 *
 * A small HTTP server on loopback that answers from a list, one connection at a time, and does what servers
 * and networks do to downloads: redirects, cuts, stalls, busy spells, no ranges. Stands for a model hub.
 *
 * Everything fails the test if it cannot. Threads: its own one, and the test's; answers are added before they
 * are asked for.
 */
#pragma once

#include "base/buf.h"
#include "base/thread.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HUB_ANSWERS_MAX = 32 };

struct hub_answer {
    char path[256]; /* with the query */
    int status;
    char location[256]; /* of a redirect; "": none */
    void *body;
    size_t n;
    size_t cut_after; /* bytes of the body after which the connection ends; 0: none */
    int cuts;         /* how many times */
    bool stall;       /* after these bytes: nothing more, until the client leaves */
    int busy;         /* so many times 503 first */
    bool no_ranges;
};
struct hub_server {
    char url[64]; /* "http://127.0.0.1:PORT" */
    int fd;
    struct thread thread;
    bool stopping; /* guarded by lock, as is the rest */
    struct mutex lock;
    struct hub_answer answers[HUB_ANSWERS_MAX];
    size_t n;
    struct buf log; /* a line a request: "PATH range=N auth=yes" */
};

void hub_start(struct hub_server *h);
void hub_stop(struct hub_server *h);
/** 200 with a copy of these bytes; what it returns can be changed until it is asked for. */
struct hub_answer *hub_add(struct hub_server *h, const char *path, const void *body, size_t n);
/** How many requests held this text in their line of the log. */
size_t hub_asked(struct hub_server *h, const char *text);
