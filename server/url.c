#include "server/url.h"

#include <stdint.h>
#include <string.h>

/* Length of the sequence at p, 0 if it is none. Table 3-7 of the Unicode standard. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    unsigned char c = p[0];
    if (c < 0x80) return 1;
    size_t need = c >= 0xc2 && c <= 0xdf ? 2
        : (c & 0xf0) == 0xe0             ? 3
        : c >= 0xf0 && c <= 0xf4         ? 4
                                         : 0;
    if (need == 0 || n < need) return 0;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return need;
}

bool url_is_utf8(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_length((const unsigned char *)s.p + i, s.n - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

void url_split(struct str target, struct str *ret_path, struct str *ret_query)
{
    if (target.n && target.p[0] != '/') {
        const char *host = target.n > 3 ? memmem(target.p, target.n, "://", 3) : NULL;
        const char *end = target.p + target.n;
        const char *slash = host ? memchr(host + 3, '/', (size_t)(end - host - 3)) : NULL;
        target = slash ? (struct str){ slash, (size_t)(end - slash) } : (struct str){ "", 0 };
    }
    const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
    size_t n = mark ? (size_t)(mark - target.p) : target.n;
    *ret_path = (struct str){ target.p, n };
    *ret_query = mark ? (struct str){ mark + 1, target.n - n - 1 } : (struct str){ "", 0 };
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* NULL: bad escape, control character. */
static const char *decode_into(char *out, struct str raw, bool plus_is_space, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        unsigned char c = (unsigned char)raw.p[i];
        if (c == '%') {
            if (raw.n - i < 3) return NULL;
            int high = hex_digit(raw.p[i + 1]), low = hex_digit(raw.p[i + 2]);
            if (high < 0 || low < 0) return NULL;
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f) return NULL;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    *ret_n = n;
    return out;
}

static enum err_code decode(
    struct str raw, bool plus_is_space, struct arena *a, struct str *ret, struct err *e)
{
    char *out = arena_alloc(a, raw.n + 1, 1);
    if (!out) return err_set(e, ERR_NOMEM, "no memory for the request target");
    struct str s = { .p = out };
    if (!decode_into(out, raw, plus_is_space, &s.n))
        return err_set(
            e, ERR_INVALID, "the request target has a bad percent escape or a control character");
    if (!url_is_utf8(s)) return err_set(e, ERR_INVALID, "the request target is not UTF-8");
    *ret = s;
    return ERR_OK;
}

/* What precedes the next `mark`; *rest loses it and the mark. */
static struct str cut(struct str *rest, char mark)
{
    const char *at = rest->n ? memchr(rest->p, mark, rest->n) : NULL;
    struct str s = { rest->p, at ? (size_t)(at - rest->p) : rest->n };
    size_t used = at ? s.n + 1 : s.n;
    *rest = (struct str){ rest->p + used, rest->n - used };
    return s;
}

enum err_code url_segments(struct str path, struct arena *a, struct str *ret_segments, size_t max,
    size_t *ret_n, struct err *e)
{
    size_t n = 0;
    if (path.n > 1 && path.p[0] == '/') {
        struct str rest = { path.p + 1, path.n - 1 };
        bool more = true;
        while (more) {
            more = memchr(rest.p, '/', rest.n) != NULL;
            struct str raw = cut(&rest, '/'), s = { 0 };
            TRY(decode(raw, false, a, &s, e));
            if (n == max) {
                n++;
                break;
            }
            ret_segments[n++] = s;
        }
    }
    *ret_n = n;
    return ERR_OK;
}

enum err_code url_query(struct str query, struct arena *a, struct url_param *ret_params, size_t max,
    size_t *ret_n, struct err *e)
{
    size_t n = 0;
    while (query.n) {
        struct str pair = cut(&query, '&');
        if (pair.n == 0) continue;
        if (n == max) return err_set(e, ERR_INVALID, "the query has more than %zu parameters", max);
        struct str name = cut(&pair, '=');
        TRY(decode(name, true, a, &ret_params[n].name, e));
        TRY(decode(pair, true, a, &ret_params[n].value, e));
        n++;
    }
    *ret_n = n;
    return ERR_OK;
}
