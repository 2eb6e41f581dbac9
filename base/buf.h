/* Layer: base. May include: libc, pthread.
 *
 * Growable byte buffer with an upper bound. A failed append leaves the buffer
 * as it was and sets `failed`, so that a renderer can append freely and check
 * once at the end with buf_check().
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct buf {
    char *p; /* n bytes, then a NUL once anything was appended; NULL when empty */
    size_t n, cap;
    size_t limit_bytes;   /* 0: none */
    enum err_code failed; /* ERR_OK, ERR_LIMIT or ERR_NOMEM, sticky until buf_clear */
};

#define BUF_INIT(limit) ((struct buf){ .limit_bytes = (limit) })

/** Release the storage; the buffer can be used again. */
void buf_done(struct buf *b);
/** Empty, storage kept. */
void buf_clear(struct buf *b);
/** Make room for `more` bytes beyond n. */
MUST_USE enum err_code buf_reserve(struct buf *b, size_t more);

/** Add at the end: ERR_OK, or ERR_LIMIT or ERR_NOMEM and the buffer as it was. n bytes at p. */
enum err_code buf_append(struct buf *b, const void *p, size_t n);
enum err_code buf_puts(struct buf *b, const char *z);
enum err_code buf_putc(struct buf *b, char c);
enum err_code buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** In decimal. */
enum err_code buf_put_u64(struct buf *b, uint64_t v);

/** ERR_OK, or the first failure with a message. */
MUST_USE enum err_code buf_check(const struct buf *b, struct err *e);
/** Ownership of the bytes moves to the caller (mem_free); the buffer is empty afterwards. */
char *buf_take(struct buf *b, size_t *ret_n);
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){ b->p, b->n };
}
