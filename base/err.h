/* Layer: base. May include: libc, pthread.
 *
 * Errors: a must-use code for the caller to act on, and a full sentence for
 * the person who reads it. `struct err` lives on the caller's stack, is never
 * allocated, and is not touched on success. `e` may be NULL where the caller
 * needs only the code.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* code, name in logs */
#define ERR_MAP(X)                                                                                 \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid")             /* the caller's value is wrong */                            \
    X(UNKNOWN_FIELD, "unknown_field") /* a name nobody knows, usually a typo */                    \
    X(EMPTY, "empty")                 /* an input without content */                               \
    X(NOT_FOUND, "not_found")                                                                      \
    X(CONFLICT, "conflict")               /* contradicts what is stored */                         \
    X(RUN_IN_PROGRESS, "run_in_progress") /* the collection is learning already */                 \
    X(VERSION, "version")                 /* vector or query of another model version */           \
    X(LIMIT, "limit")                     /* larger than allowed */                                \
    X(TOO_MANY, "too_many")               /* more of them than allowed */                          \
    X(UNPROCESSABLE, "unprocessable")     /* well-formed, but it cannot be done */                 \
    X(BUSY, "busy")                       /* a bounded queue is full: try again later */           \
    X(TIMEOUT, "timeout")                 /* the deadline passed */                                \
    X(CANCELLED, "cancelled")                                                                      \
    X(NOT_READY, "not_ready") /* still starting */                                                 \
    X(DRAINING, "draining")   /* shutting down */                                                  \
    X(FULL, "full")           /* no space left on the device */                                    \
    X(CORRUPT, "corrupt")     /* stored bytes are not what was written */                          \
    X(IO, "io")                                                                                    \
    X(NOMEM, "nomem")                                                                              \
    X(INTERNAL, "internal") /* our mistake */

enum err_code {
#define X(name, text) ERR_##name,
    ERR_MAP(X)
#undef X
};

enum { ERR_MSG_BYTES = 240, ERR_FIELD_BYTES = 128 };

struct err {
    enum err_code code;
    char msg[ERR_MSG_BYTES];     /* a sentence without trailing full stop */
    char field[ERR_FIELD_BYTES]; /* JSON pointer (RFC 6901) to the offending value, or "" */
};

#define ERR_INIT ((struct err){ .code = ERR_OK })

/** Lower-case name of a code; a static string. */
const char *err_name(enum err_code code);

/** Fill `e` (if not NULL) and return `code`. Text that does not fit is cut at a UTF-8 boundary. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** As err_set, for an offending value at JSON pointer `field` (borrowed for the call). */
enum err_code err_set_field(
    struct err *e, enum err_code code, const char *field, const char *fmt, ...) PRINTF_LIKE(4, 5);

/** As err_set, with ": " and the text of errno value `errnum` appended. ENOSPC and EDQUOT become
 * ERR_FULL and ENOMEM becomes ERR_NOMEM; everything else is `code`. */
enum err_code err_errno(struct err *e, enum err_code code, int errnum, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/** Put "context: " before the message that `e` already carries; returns e->code (INTERNAL without an
 * `e`: whoever wraps has one). */
enum err_code err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** Return from the enclosing function if `expr` is an error. The only macro that hides a return. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err_code try_code_ = (expr);                                                          \
        if (try_code_ != ERR_OK) return try_code_;                                                 \
    } while (0)

/** For our own mistakes only, never for input: prints the place and aborts, in all builds. */
#define ASSERT_BUG(cond) ((cond) ? (void)0 : err__bug(#cond, __FILE__, __LINE__))
_Noreturn void err__bug(const char *cond, const char *file, int line);
