/* Nine bytes, which are twelve characters without padding: the position as 8 bytes little-endian, then a check
 * byte, so that a cursor that was cut or made up is refused rather than taken for a place. */
#include "server/cursor.h"

#include <sodium.h>
#include <stdbool.h>

enum { CURSOR_BYTES = 9 };

static unsigned char check_byte(const unsigned char *b)
{
    unsigned sum = 0x6b;
    for (unsigned i = 0; i < CURSOR_BYTES - 1; i++)
        sum = (sum * 31 + b[i]) % 251;
    return (unsigned char)sum;
}

void cursor_write(int64_t at, char ret[CURSOR_TEXT_BYTES])
{
    unsigned char b[CURSOR_BYTES];
    for (unsigned i = 0; i < 8; i++)
        b[i] = (unsigned char)((uint64_t)at >> (8 * i));
    b[8] = check_byte(b);
    (void)sodium_bin2base64(
        ret, CURSOR_TEXT_BYTES, b, sizeof b, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

enum err_code cursor_read(struct str s, int64_t *ret_at, struct err *e)
{
    unsigned char b[CURSOR_BYTES];
    size_t n = 0;
    uint64_t at = 0;
    bool ok = s.n == CURSOR_TEXT_BYTES - 1 &&
        sodium_base642bin(
            b, sizeof b, s.p, s.n, NULL, &n, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
        n == sizeof b && b[8] == check_byte(b) && b[7] < 0x80;

    if (!ok)
        return err_set_field(e, ERR_INVALID, "/cursor", "the cursor is not one of this server");
    for (unsigned i = 0; i < 8; i++)
        at |= (uint64_t)b[i] << (8 * i);
    *ret_at = (int64_t)at;
    return ERR_OK;
}
