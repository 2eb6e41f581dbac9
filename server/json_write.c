/* Commas: `comma` says whether a value precedes on this level. Opening a level clears it, closing one or
 * writing a value sets it, a key clears it after having written its own comma. So one bit is enough and
 * there is no stack of levels; that brackets match is the caller's business, and tests parse the answers.
 */
#include "server/json_write.h"

#include "server/float_text.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void before_value(struct json_write *w)
{
    if (w->comma) (void)buf_putc(w->b, ',');
    w->comma = true;
}

static void open_level(struct json_write *w, char bracket)
{
    before_value(w);
    (void)buf_putc(w->b, bracket);
    w->comma = false;
}

static void close_level(struct json_write *w, char bracket)
{
    (void)buf_putc(w->b, bracket);
    w->comma = true;
}

void json_write_object(struct json_write *w)
{
    open_level(w, '{');
}
void json_write_object_end(struct json_write *w)
{
    close_level(w, '}');
}
void json_write_array(struct json_write *w)
{
    open_level(w, '[');
}
void json_write_array_end(struct json_write *w)
{
    close_level(w, ']');
}

/* 0: as it is; else the letter of the short escape, or 'u' */
static char escape_of(unsigned char c)
{
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) return 0;
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 'u';
    }
}

static void put_quoted(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    (void)buf_putc(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char letter = escape_of(c);
        if (!letter) continue;
        (void)buf_append(b, s.p + from, i - from);
        from = i + 1;
        char text[6] = { '\\', letter, '0', '0', hex[c >> 4], hex[c & 15] };
        (void)buf_append(b, text, letter == 'u' ? 6 : 2);
    }
    if (s.n > from) (void)buf_append(b, s.p + from, s.n - from);
    (void)buf_putc(b, '"');
}

void json_write_key_str(struct json_write *w, struct str key)
{
    before_value(w);
    put_quoted(w->b, key);
    (void)buf_putc(w->b, ':');
    w->comma = false;
}

void json_write_key(struct json_write *w, const char *key)
{
    before_value(w);
    (void)buf_putc(w->b, '"');
    (void)buf_puts(w->b, key);
    (void)buf_append(w->b, "\":", 2);
    w->comma = false;
}

void json_write_str(struct json_write *w, struct str s)
{
    before_value(w);
    put_quoted(w->b, s);
}

void json_write_z(struct json_write *w, const char *z)
{
    json_write_str(w, str_from(z));
}

void json_write_u64(struct json_write *w, uint64_t v)
{
    before_value(w);
    (void)buf_put_u64(w->b, v);
}

void json_write_i64(struct json_write *w, int64_t v)
{
    before_value(w);
    if (v < 0) (void)buf_putc(w->b, '-');
    (void)buf_put_u64(w->b, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

void json_write_f64(struct json_write *w, double v)
{
    if (!isfinite(v)) {
        json_write_null(w);
        return;
    }
    before_value(w);
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    (void)buf_puts(w->b, text);
}

void json_write_f32(struct json_write *w, float v)
{
    if (!isfinite(v)) {
        json_write_null(w);
        return;
    }
    before_value(w);
    char text[FLOAT_TEXT_BYTES];
    (void)buf_append(w->b, text, float_text_write(text, v));
}

void json_write_bool(struct json_write *w, bool v)
{
    before_value(w);
    (void)buf_puts(w->b, v ? "true" : "false");
}

void json_write_null(struct json_write *w)
{
    before_value(w);
    (void)buf_append(w->b, "null", 4);
}

void json_write_raw(struct json_write *w, struct str json)
{
    before_value(w);
    (void)buf_append(w->b, json.p, json.n);
}

void json_write_floats(struct json_write *w, const float *v, size_t n)
{
    enum { CHUNK = 64 };
    before_value(w);
    (void)buf_putc(w->b, '[');
    for (size_t i = 0; i < n; i += CHUNK) {
        char text[CHUNK * (FLOAT_TEXT_BYTES + 1)];
        size_t at = 0, end = n - i < CHUNK ? n : i + CHUNK;
        for (size_t j = i; j < end; j++) {
            if (j > 0) text[at++] = ',';
            if (isfinite(v[j])) {
                at += float_text_write(text + at, v[j]);
            } else {
                memcpy(text + at, "null", 4);
                at += 4;
            }
        }
        (void)buf_append(w->b, text, at);
    }
    (void)buf_putc(w->b, ']');
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are sent as they are in memory");

void json_write_floats_base64(struct json_write *w, const float *v, size_t n)
{
    /* Multiples of 12 bytes need no padding, so pieces can be joined. */
    enum { CHUNK = 3 * 64, TEXT = CHUNK * 4 / 3 * 4 + 1 };
    before_value(w);
    (void)buf_putc(w->b, '"');
    for (size_t i = 0; i < n; i += CHUNK) {
        char text[TEXT];
        size_t m = n - i < CHUNK ? n - i : CHUNK;
        (void)sodium_bin2base64(text, sizeof text, (const unsigned char *)(v + i), m * sizeof *v,
            sodium_base64_VARIANT_ORIGINAL);
        (void)buf_puts(w->b, text);
    }
    (void)buf_putc(w->b, '"');
}
