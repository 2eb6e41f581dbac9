/* Layer: tests. May include: libcheck, base.
 *
 * A server of a test's own: the built program in a child process, on a free port, with its data in a
 * temporary folder. The program is $KINDRED_BIN; its models are in $KINDRED_MODELS, else in models/, else a tiny one
 * called text-small.
 *
 * Everything fails the test if it cannot. Threads: one at a time.
 */
#pragma once

#include "tests/support/tmpdir.h"

#include <stdint.h>
#include <sys/types.h>

struct server_proc {
    pid_t pid; /* 0: not running */
    uint16_t port;
    struct tmpdir dir; /* holds data/ and log */
};

/** Start in a new temporary folder and wait until it is ready. args: further flags, ended by NULL; may
 * be NULL. */
void server_start(struct server_proc *s, const char *const *args);
/** Start again on the data that is there; the port is another one. */
void server_restart(struct server_proc *s, const char *const *args);
/** SIGTERM, and exit status 0 within a minute. */
void server_stop(struct server_proc *s);
/** SIGKILL. */
void server_kill(struct server_proc *s);
/** SIGKILL if it still runs, and remove the folder. For teardown. */
void server_remove(struct server_proc *s);
/** What it wrote to stderr so far; mem_free. */
char *server_log(const struct server_proc *s);
