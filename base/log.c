/* Log lines.
 *
 * A line is built on the stack and leaves by one write(2), so lines of several threads never mix; no lock is
 * held, nothing is allocated. LINE_BYTES is what a pipe takes in one piece. A value is written bare when it
 * is made of harmless ASCII, else in quotes with JSON's escapes; bytes that are not valid UTF-8, and the
 * C1 control characters that some terminals obey, come out as \xHH. A field that does not fit is left out
 * and the line ends with cut=true.
 */
#include "base/log.h"

#include "base/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, TAIL_BYTES = 16 };

static atomic_int current_level = LOG_INFO;
static atomic_int current_fd = STDERR_FILENO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_set_fd(int fd)
{
    atomic_store_explicit(&current_fd, fd, memory_order_relaxed);
}

struct line {
    char p[LINE_BYTES];
    size_t n;
    bool full; /* something did not fit since the last check */
};

static void put(struct line *l, const char *p, size_t n)
{
    if (n > LINE_BYTES - TAIL_BYTES - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void puts_line(struct line *l, const char *z)
{
    put(l, z, strlen(z));
}

/* Length of the UTF-8 sequence of a printable non-ASCII character at p, 0 if there is none. */
static size_t printable_utf8(const unsigned char *p)
{
    size_t n = p[0] >= 0xC2 && p[0] < 0xE0 ? 2
        : (p[0] & 0xF0) == 0xE0            ? 3
        : p[0] >= 0xF0 && p[0] < 0xF5      ? 4
                                           : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;             /* the NUL at the end stops here, too */
    if (n == 2 && p[0] == 0xC2 && p[1] < 0xA0) return 0; /* C1 */
    if (n == 3 && ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F))) return 0;
    if (n == 4 && ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))) return 0;
    return n;
}

static bool is_bare(const char *z)
{
    if (!*z) return false;
    for (; *z; z++) {
        unsigned char c = (unsigned char)*z;
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '=') return false;
    }
    return true;
}

static void put_escaped(struct line *l, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    const char as_hex[] = { '\\', 'x', hex[c >> 4], hex[c & 15] };
    switch (c) {
    case '\n': put(l, "\\n", 2); break;
    case '\r': put(l, "\\r", 2); break;
    case '\t': put(l, "\\t", 2); break;
    default: put(l, as_hex, sizeof as_hex); break;
    }
}

static void put_text(struct line *l, const char *z)
{
    if (!z) z = "";
    if (is_bare(z)) {
        puts_line(l, z);
        return;
    }
    put(l, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)z; *p && !l->full;) {
        size_t n = *p >= 0x80 ? printable_utf8(p) : 1;
        if (*p == '"' || *p == '\\') put(l, "\\", 1);
        if (n == 0 || *p < ' ' || *p == 0x7F) {
            put_escaped(l, *p++);
        } else {
            put(l, (const char *)p, n);
            p += n;
        }
    }
    put(l, "\"", 1);
}

static void put_field(struct line *l, const struct log_field *f)
{
    char number[64];
    put(l, " ", 1);
    puts_line(l, f->key);
    put(l, "=", 1);
    number[0] = '\0';
    switch (f->type) {
    case LOG_F_STR: put_text(l, f->v.s); return;
    case LOG_F_INT: snprintf(number, sizeof number, "%lld", (long long)f->v.i); break;
    case LOG_F_UINT: snprintf(number, sizeof number, "%llu", (unsigned long long)f->v.u); break;
    case LOG_F_NUM:
        snprintf(number, sizeof number, f->v.d < 1e15 && f->v.d > -1e15 ? "%.3f" : "%g", f->v.d);
        break;
    }
    puts_line(l, number);
}

static void send_line(const struct line *l)
{
    int fd = atomic_load_explicit(&current_fd, memory_order_relaxed);
    while (write(fd, l->p, l->n) < 0 && errno == EINTR) {}
}

void log_write(enum log_level level, const char *event, const struct log_field *f, unsigned n)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    if (level < log_get_level() || level >= LOG_OFF) return;
    int saved = errno;
    struct line l;
    l.n = 0;
    l.full = false;
    bool cut = false;
    char ts[25];
    time_rfc3339(time_unix_ms(), ts);
    puts_line(&l, "ts=");
    puts_line(&l, ts);
    puts_line(&l, " level=");
    puts_line(&l, names[level]);
    puts_line(&l, " event=");
    put_text(&l, event);
    for (unsigned i = 0; i < n; i++) {
        size_t before = l.n;
        put_field(&l, &f[i]);
        if (!l.full) continue;
        l.n = before;
        l.full = false;
        cut = true;
    }
    /* TAIL_BYTES are kept free for these. */
    const char *tail = cut ? " cut=true\n" : "\n";
    memcpy(l.p + l.n, tail, strlen(tail));
    l.n += strlen(tail);
    send_line(&l);
    errno = saved;
}
