/* Errors.
 *
 * Everything is formatted into a local buffer first: an argument may point into `e` itself, as in
 * err_set(e, code, "%s", e->msg). Cutting never splits a UTF-8 sequence, because messages end up in JSON.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *err_name(enum err_code code)
{
    switch (code) {
#define X(name, text)                                                                              \
    case ERR_##name: return text;
        ERR_MAP(X)
#undef X
    }
    return "unknown";
}

/* Copy src to dst, at most cap bytes with the NUL, whole UTF-8 sequences only. */
static void copy_cut(char *dst, size_t cap, const char *src)
{
    size_t n = strlen(src);
    if (n >= cap) {
        n = cap - 1;
        while (n > 0 && ((unsigned char)src[n] & 0xC0) == 0x80)
            n--;
    }
    memcpy(dst, src, n);
    dst[n] = '\0';
}

/* A byte more than a message holds, so that copy_cut sees where the cut falls. */
enum { TEXT_BYTES = ERR_MSG_BYTES + 4 };

static void fill(struct err *e, enum err_code code, const char *field, const char *fmt,
    va_list args) __attribute__((format(printf, 4, 0)));
static void fill(
    struct err *e, enum err_code code, const char *field, const char *fmt, va_list args)
{
    char text[TEXT_BYTES], where[ERR_FIELD_BYTES];
    vsnprintf(text, sizeof text, fmt, args);
    copy_cut(where, sizeof where, field);
    e->code = code;
    copy_cut(e->msg, sizeof e->msg, text);
    memcpy(e->field, where, sizeof where);
}

enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    if (!e) return code;
    va_list args;
    va_start(args, fmt);
    fill(e, code, "", fmt, args);
    va_end(args);
    return code;
}

enum err_code err_set_field(
    struct err *e, enum err_code code, const char *field, const char *fmt, ...)
{
    if (!e) return code;
    va_list args;
    va_start(args, fmt);
    fill(e, code, field, fmt, args);
    va_end(args);
    return code;
}

static enum err_code code_of_errno(enum err_code code, int errnum)
{
    if (errnum == ENOSPC || errnum == EDQUOT) return ERR_FULL;
    if (errnum == ENOMEM) return ERR_NOMEM;
    return code;
}

enum err_code err_errno(struct err *e, enum err_code code, int errnum, const char *fmt, ...)
{
    code = code_of_errno(code, errnum);
    if (!e) return code;
    char text[TEXT_BYTES], room[128];
    const char *reason = strerror_r(errnum, room, sizeof room);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    /* The reason matters more than the end of a long path. */
    size_t tail = strlen(reason) + 2;
    char head[ERR_MSG_BYTES];
    copy_cut(head, tail < sizeof head ? sizeof head - tail : 1, text);
    return err_set(e, code, "%s: %s", head, reason);
}

enum err_code err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e) return ERR_INTERNAL;
    char context[TEXT_BYTES], text[2 * TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    snprintf(text, sizeof text, "%s: %s", context, e->msg);
    copy_cut(e->msg, sizeof e->msg, text);
    return e->code;
}

_Noreturn void err__bug(const char *cond, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof text, "bug: %s:%d: %s\n", file, line, cond);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    /* Nothing can be done about a failed write here. */
    if (write(STDERR_FILENO, text, len) < 0) abort();
    abort();
}
