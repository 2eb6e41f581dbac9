/* Layer: base. May include: libc, pthread.
 *
 * One line an event, key=value on stderr:
 *   ts=2026-01-31T12:00:00.000Z level=info event=listening addr="127.0.0.1:8080"
 * Values with spaces, quotes or control characters are quoted and escaped, so
 * a value can never forge a line. Vectors, texts and keys are never logged.
 * Libraries return errors; the engine logs life-cycle events, the server one
 * line a request.
 *
 * Threads: any; a line is one write(2).
 */
#pragma once

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

/** Lines below this level are dropped; LOG_INFO at start. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/** Where lines go; STDERR_FILENO at start. */
void log_set_fd(int fd);

/* Fields: the type is in the macro. LOG(INFO, "listening", F_STR("addr", a), F_INT("port", 80)); */
struct log_field {
    const char *key;
    enum { LOG_F_STR, LOG_F_INT, LOG_F_UINT, LOG_F_NUM } type;
    union {
        const char *s; /* NULL prints as "" */
        int64_t i;
        uint64_t u;
        double d; /* three decimals */
    } v;
};
#define F_STR(k, val) ((struct log_field){ .key = (k), .type = LOG_F_STR, .v.s = (val) })
#define F_INT(k, val) ((struct log_field){ .key = (k), .type = LOG_F_INT, .v.i = (int64_t)(val) })
#define F_UINT(k, val)                                                                             \
    ((struct log_field){ .key = (k), .type = LOG_F_UINT, .v.u = (uint64_t)(val) })
#define F_NUM(k, val) ((struct log_field){ .key = (k), .type = LOG_F_NUM, .v.d = (val) })

/** What LOG() calls. event: lower-case words with underscores. A field that makes the line longer than 4,096
 * bytes is left out and the line says cut=true. */
void log_write(enum log_level level, const char *event, const struct log_field *f, unsigned n);

#define LOG(level, event, ...)                                                                     \
    do {                                                                                           \
        if (LOG_##level >= log_get_level()) {                                                      \
            const struct log_field log_f_[] = { __VA_ARGS__ };                                     \
            log_write(LOG_##level, (event), log_f_, (unsigned)(sizeof log_f_ / sizeof log_f_[0])); \
        }                                                                                          \
    } while (0)
