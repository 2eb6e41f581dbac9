/* Byte buffer. Capacity doubles; there is always room for the NUL behind the content, which is why the
 * capacity is one more than what may be stored. The limit counts content; the capacity never exceeds it by more
 * than the NUL, so what fits the storage is within the limit. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CAP = 128 };

void buf_done(struct buf *b)
{
    mem_free(b->p);
    *b = BUF_INIT(b->limit_bytes);
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = ERR_OK;
    if (b->p) b->p[0] = '\0';
}

static enum err_code fail(struct buf *b, enum err_code code)
{
    b->failed = code;
    return code;
}

enum err_code buf_reserve(struct buf *b, size_t more)
{
    size_t n, need;
    if (b->failed != ERR_OK) return b->failed;
    if (!mem_add(b->n, more, &n) || (b->limit_bytes && n > b->limit_bytes))
        return fail(b, ERR_LIMIT);
    if (!mem_add(n, 1, &need)) return fail(b, ERR_LIMIT);
    if (need <= b->cap) return ERR_OK;

    size_t cap = b->cap ? b->cap : FIRST_CAP;
    while (cap < need && mem_mul(cap, 2, &cap)) {}
    if (cap < need) cap = need;
    if (b->limit_bytes && cap > b->limit_bytes) cap = b->limit_bytes + 1;
    char *p = mem_realloc(b->p, cap, 1);
    if (!p) return fail(b, ERR_NOMEM);
    b->p = p;
    b->cap = cap;
    return ERR_OK;
}

enum err_code buf_append(struct buf *b, const void *p, size_t n)
{
    TRY(buf_reserve(b, n));
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
    return ERR_OK;
}

enum err_code buf_puts(struct buf *b, const char *z)
{
    return buf_append(b, z, strlen(z));
}

enum err_code buf_putc(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

enum err_code buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    TRY(buf_reserve(b, 0));
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, args);
    va_end(args);
    enum err_code code = n < 0 ? fail(b, ERR_INTERNAL) : ERR_OK;
    if (n >= 0 && (size_t)n >= b->cap - b->n) {
        code = buf_reserve(b, (size_t)n);
        if (code == ERR_OK) vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
    }
    va_end(again);
    if (code == ERR_OK) b->n += (size_t)n;
    b->p[b->n] = '\0';
    return code;
}

enum err_code buf_put_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return buf_append(b, digits + at, sizeof digits - at);
}

enum err_code buf_check(const struct buf *b, struct err *e)
{
    if (b->failed == ERR_OK) return ERR_OK;
    if (b->failed == ERR_LIMIT)
        return err_set(e, ERR_LIMIT, "the text is longer than %zu bytes", b->limit_bytes);
    if (b->failed == ERR_NOMEM) return err_set(e, ERR_NOMEM, "out of memory after %zu bytes", b->n);
    return err_set(e, b->failed, "a value could not be formatted");
}

char *buf_take(struct buf *b, size_t *ret_n)
{
    char *p = b->p;
    if (ret_n) *ret_n = b->n;
    *b = BUF_INIT(b->limit_bytes);
    return p;
}
