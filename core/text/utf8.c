/* UTF-8 by the table of RFC 3629, section 4.
 *
 * Validation skips runs of ASCII sixteen bytes at a time; what is left goes
 * through one check per sequence. The ranges of the second byte after E0, ED,
 * F0 and F4 are what excludes overlong forms, surrogates and code points above
 * U+10FFFF, so nothing has to be decoded.
 */
#include "core/text/utf8.h"

#include <string.h>

static const uint64_t HIGH_BITS = UINT64_C(0x8080808080808080);

static size_t skip_ascii(const unsigned char *p, size_t n, size_t i)
{
    while (n - i >= 16) {
        uint64_t a, b;
        memcpy(&a, p + i, 8);
        memcpy(&b, p + i + 8, 8);
        if ((a | b) & HIGH_BITS) break;
        i += 16;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Length of the sequence at p[i], a byte of 0x80 or more; 0 when it is not well-formed. */
static size_t sequence_length(const unsigned char *p, size_t n, size_t i)
{
    unsigned char lead = p[i], low = 0x80, high = 0xBF;
    size_t len;
    if (lead >= 0xC2 && lead <= 0xDF) {
        len = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        len = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        len = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    if (n - i < len || p[i + 1] < low || p[i + 1] > high) return 0;
    for (size_t k = 2; k < len; k++)
        if ((p[i + k] & 0xC0) != 0x80) return 0;
    return len;
}

bool utf8_valid(struct str s, size_t *ret_bad_at)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        if (p[i] < 0x80) {
            i = skip_ascii(p, s.n, i);
            continue;
        }
        size_t len = sequence_length(p, s.n, i);
        if (len == 0) {
            if (ret_bad_at) *ret_bad_at = i;
            return false;
        }
        i += len;
    }
    return true;
}

unsigned utf8_decode(const char *p, const char *end, uint32_t *ret_cp)
{
    const unsigned char *u = (const unsigned char *)p;
    (void)end;
    if (u[0] < 0x80) {
        *ret_cp = u[0];
        return 1;
    }
    if (u[0] < 0xE0) {
        *ret_cp = (uint32_t)(u[0] & 0x1F) << 6 | (uint32_t)(u[1] & 0x3F);
        return 2;
    }
    if (u[0] < 0xF0) {
        *ret_cp =
            (uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (uint32_t)(u[2] & 0x3F);
        return 3;
    }
    *ret_cp = (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 |
        (uint32_t)(u[2] & 0x3F) << 6 | (uint32_t)(u[3] & 0x3F);
    return 4;
}

unsigned utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}
