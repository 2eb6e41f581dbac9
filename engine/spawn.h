/* Layer: engine. May include: core, index, catalog, base.
 *
 * A child process of its own session, whose standard output is read by a pipe.
 *
 * It gets /dev/null as standard input, a file as standard error, no other descriptor, default signal
 * handling, and this process's environment without the API key. Its session is its process group, so
 * a signal reaches what it started too.
 *
 * Threads: one at a time a child. A child that asks for a signal at its parent's death gets it when the
 * *thread* that started it ends, so that thread has to stay.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_options {
    const char *program;     /* path; not searched for */
    const char *const *argv; /* ended by NULL */
    const char *stderr_path; /* appended to; emptied first when it is over 1 MiB */
    const char *const *env; /* "NAME=value" in place of what is there, ended by NULL; may be NULL */
};

struct child {
    pid_t pid; /* 0: none */
    int out;   /* read end, non-blocking; -1: closed */
};
#define CHILD_INIT ((struct child){ .out = -1 })

/** Start it. NOT_FOUND (no such program), IO, NOMEM. */
MUST_USE enum err_code child_start(const struct spawn_options *o, struct child *ret, struct err *e);
/** To it and everything in its group; nothing to a child that was reaped. */
void child_signal(const struct child *c, int signal_number);
/** Has it ended (it still has to be reaped)? Does not wait. */
bool child_has_ended(const struct child *c);
/** Would it run if it were given a core (or its disk answered)? Of its main thread. Does not wait. */
bool child_is_runnable(const struct child *c);
/** What poll says within timeout_ms, then read: bytes into buf [n]; 0: nothing yet; closes `out` at its end. */
size_t child_read(struct child *c, char *buf, size_t n, int timeout_ms);
/** Kill what is left of its group, close the pipe, wait for it. Returns the status of waitpid. */
int child_reap(struct child *c);

/** The environment with o->env and without KINDRED_API_KEY…: an array ended by NULL in one block
 * (mem_free), strings borrowed. NULL: no memory. */
char **spawn_environment(const char *const *env);
