/* Layer: engine. May include: core, index, catalog, base.
 *
 * Files over HTTP: with resume, retries, limits and a checksum. The only place of the engine that knows
 * libcurl. Redirects are followed, from https to https only.
 *
 * Arguments are borrowed for the call. Threads: one transfer at a time each; fetch_start first, once.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct fetch_options {
    const char *
        token; /* sent as Authorization: Bearer, over https or to this machine, and to no host that a redirect
                          leads to; NULL or "": none */
    uint64_t retry_ms; /* pause before the first further try; it doubles */
    /* Both are called several times a second, and may be NULL. */
    void (*progress)(void *arg, uint64_t done_bytes);
    bool (*stopped)(void *arg); /* true: give up */
    void *arg;
};
enum { FETCH_TRIES = 5, FETCH_RETRY_MS = 1000 };

/** Is it plain http to this machine by one of its names: 127.0.0.1, [::1], localhost? Any thread. */
bool fetch_is_this_machine(const char *url);

/** Before threads start. INTERNAL: the library does not start. */
MUST_USE enum err_code fetch_start(struct err *e);
/** Undo fetch_start. */
void fetch_stop(void);

/**
 * The body of a GET, at most max_bytes, appended to `ret`.
 * Errors: NOT_FOUND (404), INVALID (401, 403: a token is wanted), LIMIT, IO (not reached; cut off; another status),
 * CANCELLED, NOMEM. What may pass (no answer, 429, 5xx, a cut) is tried FETCH_TRIES times.
 */
MUST_USE enum err_code fetch_text(const char *url, uint64_t max_bytes,
    const struct fetch_options *o, struct buf *ret, struct err *e);

struct fetch_file {
    const char *url, *path;
    uint64_t bytes; /* that it has */
    const char
        *sha256; /* hex; NULL: not known, then only the size is checked, and it is never resumed */
};
/**
 * Into path.part, which becomes `path` when it is whole and right. A path.part that is there is continued; if
 * what comes out is wrong, it is fetched once more from the start. After an error path.part stays for the next
 * time, unless it is wrong.
 * Errors: fetch_text's, CORRUPT (size, checksum), FULL.
 */
MUST_USE enum err_code fetch_file(
    const struct fetch_file *f, const struct fetch_options *o, struct err *e);
