/* Layer: bench. May include: base.
 *
 * A peer is another program that does the same work: started once, asked for a
 * round at a time, so that rounds of all of them take turns. A request is a
 * line, and so is its answer; bench/peers/worker.py says which there are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

struct peer {
    pid_t pid;
    FILE *to, *from;
    char name[40], version[40];
};

/**
 * Start argv (NULL at its end) and wait for its "ready NAME VERSION". false: it cannot be had; why stands on
 * standard error, once.
 */
bool peer_start(struct peer *p, const char *const argv[]);
/** Send one line, formatted, and read the answer without its end; ends the program if the peer has died. */
void peer_ask(struct peer *p, char *reply, size_t size, const char *request, ...)
    __attribute__((format(printf, 4, 5)));
/** Accepts a zeroed struct. */
void peer_stop(struct peer *p);
