#include "core/text/fold.h"

#include "core/text/utf8.h"

#include <utf8proc.h>

enum { DECOMPOSED_MAX = 32 }; /* the longest compatibility decomposition has 18 characters */

struct folding {
    struct buf *out;
    size_t start; /* of this text in out */
    bool gap;     /* a space goes before the next character */
};

static void put(struct folding *f, const char *p, size_t n)
{
    if (f->gap && f->out->n > f->start) buf_putc(f->out, ' ');
    f->gap = false;
    buf_append(f->out, p, n);
}

static bool is_accent(uint32_t cp)
{
    return cp >= 0x300 && cp <= 0x36F;
}

static bool is_kept(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NO; /* letters, marks, numbers */
}

static void put_wide(struct folding *f, uint32_t cp)
{
    utf8proc_int32_t parts[DECOMPOSED_MAX];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, DECOMPOSED_MAX,
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD, &boundary);
    if (n < 0 || n > DECOMPOSED_MAX) {
        parts[0] = (utf8proc_int32_t)cp;
        n = 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        uint32_t part = (uint32_t)parts[i];
        char bytes[4];
        if (is_accent(part)) continue;
        if (is_kept(part))
            put(f, bytes, utf8_encode(part, bytes));
        else
            f->gap = true;
    }
}

/* ASCII from p on, up to the first character that is none; returns where that is. */
static const char *put_ascii(struct folding *f, const char *p, const char *end)
{
    char low[512];
    size_t n = 0;
    for (; p < end && n + 2 <= sizeof low && (unsigned char)*p < 0x80; p++) {
        unsigned char c = (unsigned char)*p, small = c | 0x20;
        if (!(small >= 'a' && small <= 'z') && !(c >= '0' && c <= '9')) {
            f->gap = true;
            continue;
        }
        if (f->gap && (n > 0 || f->out->n > f->start)) low[n++] = ' ';
        f->gap = false;
        low[n++] = (char)(c <= '9' ? c : small);
    }
    buf_append(f->out, low, n);
    return p;
}

static void put_valid(struct folding *f, const char *p, const char *end)
{
    while (p < end) {
        uint32_t cp;
        p = put_ascii(f, p, end);
        if (p == end || (unsigned char)*p < 0x80) continue;
        p += utf8_decode(p, end, &cp);
        put_wide(f, cp);
    }
}

enum err_code text_fold(struct str text, struct buf *out, struct err *e)
{
    struct folding f = { out, out->n, false };
    while (text.n) {
        size_t valid = text.n, bad_at;
        if (!utf8_valid(text, &bad_at)) valid = bad_at;
        put_valid(&f, text.p, text.p + valid);
        if (valid == text.n) break;
        f.gap = true;
        text.p += valid + 1;
        text.n -= valid + 1;
    }
    return buf_check(out, e);
}
