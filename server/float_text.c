/* Writing is Schubfach. A float c·2^q rounds from every decimal in an interval around it; with
 * k = floor(log10 of the interval's width) the interval holds at least one multiple of 10^k and at most one of
 * 10^(k+1). So one product with 10^-k, kept to 64 bits and rounded to odd (which keeps the comparisons
 * right, since 4c and its neighbours have 26 bits), gives the two candidates of each length, and the shorter
 * inside the interval, or the nearer, wins.
 *
 * Reading goes through double: the first 19 digits and one or two exact powers of ten are within 2 ulp
 * of the value, and a float has 29 bits fewer than a double. So unless these 29 bits lie within 8 of the
 * middle between two floats, rounding the double is rounding the decimal. The rest (about one in 2^25
 * inputs, ties, subnormals, very large exponents) goes to strtof, which is exact; the program never
 * calls setlocale, so the decimal point is a point.
 */
#include "server/float_text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { POW10_MIN = -31, POW10_MAX = 45 };

/* ceil(10^k · 2^(63 - floor(log2 10^k))) for k = POW10_MIN … POW10_MAX; exact from k = 0 to 27. */
static const uint64_t pow10_bits[POW10_MAX - POW10_MIN + 1] = {
    0x81ceb32c4b43fcf5,
    0xa2425ff75e14fc32,
    0xcad2f7f5359a3b3f,
    0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49,
    0xc612062576589ddb,
    0xf79687aed3eec552,
    0x9abe14cd44753b53,
    0xc16d9a0095928a28,
    0xf1c90080baf72cb2,
    0x971da05074da7bef,
    0xbce5086492111aeb,
    0xec1e4a7db69561a6,
    0x9392ee8e921d5d08,
    0xb877aa3236a4b44a,
    0xe69594bec44de15c,
    0x901d7cf73ab0acda,
    0xb424dc35095cd810,
    0xe12e13424bb40e14,
    0x8cbccc096f5088cc,
    0xafebff0bcb24aaff,
    0xdbe6fecebdedd5bf,
    0x89705f4136b4a598,
    0xabcc77118461cefd,
    0xd6bf94d5e57a42bd,
    0x8637bd05af6c69b6,
    0xa7c5ac471b478424,
    0xd1b71758e219652c,
    0x83126e978d4fdf3c,
    0xa3d70a3d70a3d70b,
    0xcccccccccccccccd,
    0x8000000000000000,
    0xa000000000000000,
    0xc800000000000000,
    0xfa00000000000000,
    0x9c40000000000000,
    0xc350000000000000,
    0xf424000000000000,
    0x9896800000000000,
    0xbebc200000000000,
    0xee6b280000000000,
    0x9502f90000000000,
    0xba43b74000000000,
    0xe8d4a51000000000,
    0x9184e72a00000000,
    0xb5e620f480000000,
    0xe35fa931a0000000,
    0x8e1bc9bf04000000,
    0xb1a2bc2ec5000000,
    0xde0b6b3a76400000,
    0x8ac7230489e80000,
    0xad78ebc5ac620000,
    0xd8d726b7177a8000,
    0x878678326eac9000,
    0xa968163f0a57b400,
    0xd3c21bcecceda100,
    0x84595161401484a0,
    0xa56fa5b99019a5c8,
    0xcecb8f27f4200f3a,
    0x813f3978f8940985,
    0xa18f07d736b90be6,
    0xc9f2c9cd04674edf,
    0xfc6f7c4045812297,
    0x9dc5ada82b70b59e,
    0xc5371912364ce306,
    0xf684df56c3e01bc7,
    0x9a130b963a6c115d,
    0xc097ce7bc90715b4,
    0xf0bdc21abb48db21,
    0x96769950b50d88f5,
    0xbc143fa4e250eb32,
    0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf,
    0xb7abc627050305ae,
    0xe596b7b0c643c71a,
    0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
};

/* ---- writing ---- */

/* floor(log10 2^q), floor(log10(3/4 · 2^q)) and floor(log2 10^e): exact over the exponents of floats.
 * Shifts of negative numbers are arithmetic with gcc and clang. */
static int32_t floor_log10_pow2(int32_t q, bool three_quarters)
{
    return (q * 1262611 - (three_quarters ? 524031 : 0)) >> 22;
}
static int32_t floor_log2_pow10(int32_t e)
{
    return (e * 1741647) >> 19;
}

/* floor(g·c / 2^64), its lowest bit set if anything above a rounding error was cut off. */
static uint32_t mul_round_to_odd(uint64_t g, uint32_t c)
{
    unsigned __int128 p = (unsigned __int128)g * c;
    uint32_t high = (uint32_t)(p >> 64), low = (uint32_t)(p >> 32);
    return high | (low > 1);
}

struct decimal {
    uint32_t digits;
    int32_t exponent; /* of ten */
};

/* The shortest decimal, nearest to the float among those, of a positive float; may end in zeros. */
static struct decimal decimal_of(uint32_t fraction, uint32_t biased)
{
    uint32_t c = biased ? fraction | UINT32_C(1) << 23 : fraction;
    int32_t q = biased ? (int32_t)biased - 150 : -149;
    bool closer_below =
        fraction == 0 && biased > 1; /* the gap below a power of two is half as wide */
    uint32_t odd = c & 1;            /* bounds belong to even floats only */

    int32_t k = floor_log10_pow2(q, closer_below);
    int32_t h = q + floor_log2_pow10(-k) + 1;
    uint64_t g = pow10_bits[-k - POW10_MIN];
    uint32_t lower = mul_round_to_odd(g, (4 * c - 2 + closer_below) << h) + odd;
    uint32_t middle = mul_round_to_odd(g, (4 * c) << h);
    uint32_t upper = mul_round_to_odd(g, (4 * c + 2) << h) - odd;

    uint32_t s = middle / 4;
    if (s >= 10) {
        uint32_t t = s / 10;
        bool down_inside = lower <= 40 * t, up_inside = 40 * t + 40 <= upper;
        if (down_inside != up_inside) return (struct decimal){ t + up_inside, k + 1 };
    }
    bool down_inside = lower <= 4 * s, up_inside = 4 * s + 4 <= upper;
    if (down_inside != up_inside) return (struct decimal){ s + up_inside, k };
    uint32_t half = 4 * s + 2;
    bool up = middle > half || (middle == half && (s & 1));
    return (struct decimal){ s + up, k };
}

static size_t put_exponent(char *p, int32_t e)
{
    size_t n = 0;
    p[n++] = 'e';
    if (e < 0) {
        p[n++] = '-';
        e = -e;
    }
    if (e >= 10) p[n++] = (char)('0' + e / 10);
    p[n++] = (char)('0' + e % 10);
    return n;
}

/* digits d[0..n) with the decimal point after the first `point` of them */
static size_t put_number(char *p, const char *d, size_t n, int32_t point)
{
    size_t at = 0;
    if (point > 10 || point < -4) {
        p[at++] = d[0];
        if (n > 1) {
            p[at++] = '.';
            memcpy(p + at, d + 1, n - 1);
            at += n - 1;
        }
        return at + put_exponent(p + at, point - 1);
    }
    if (point <= 0) {
        memcpy(p, "0.0000", 6);
        at = 2 + (size_t)-point;
        memcpy(p + at, d, n);
        return at + n;
    }
    size_t whole = (size_t)point < n ? (size_t)point : n;
    memcpy(p, d, whole);
    at = whole;
    while (at < (size_t)point)
        p[at++] = '0';
    if (whole < n) {
        p[at++] = '.';
        memcpy(p + at, d + whole, n - whole);
        at += n - whole;
    }
    return at;
}

size_t float_text_write(char ret[FLOAT_TEXT_BYTES], float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    size_t at = 0;
    if (bits >> 31) ret[at++] = '-';
    bits &= 0x7fffffff;
    if (bits == 0) {
        ret[at++] = '0';
        return at;
    }
    struct decimal d = decimal_of(bits & 0x7fffff, bits >> 23);
    while (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    char text[10];
    size_t n = sizeof text;
    for (uint32_t v = d.digits; v; v /= 10)
        text[--n] = (char)('0' + v % 10);
    size_t n_digits = sizeof text - n;
    return at + put_number(ret + at, text + n, n_digits, d.exponent + (int32_t)n_digits);
}

/* ---- reading ---- */

static const double exact_pow10[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The first 19 significant digits of a number, and the power of ten they are to be multiplied with. */
struct scan {
    uint64_t mantissa;
    unsigned n_digits;
    long exponent;
};

static const char *scan_digits(const char *p, struct scan *s, bool fraction)
{
    for (; is_digit(*p); p++) {
        if (s->n_digits < 19) {
            s->mantissa = s->mantissa * 10 + (uint64_t)(*p - '0');
            s->n_digits += s->mantissa != 0;
            s->exponent -= fraction;
        } else {
            s->exponent += !fraction;
        }
    }
    return p;
}

/* The grammar of RFC 8259; NULL if p is no number. */
static const char *scan_number(const char *p, struct scan *s)
{
    if (*p == '-') p++;
    if (!is_digit(*p)) return NULL;
    if (*p == '0') {
        p++;
    } else {
        p = scan_digits(p, s, false);
    }
    if (*p == '.') {
        p++;
        if (!is_digit(*p)) return NULL;
        p = scan_digits(p, s, true);
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        bool negative = *p == '-';
        if (*p == '-' || *p == '+') p++;
        if (!is_digit(*p)) return NULL;
        long e = 0;
        for (; is_digit(*p); p++) {
            if (e < 100000) e = e * 10 + (*p - '0');
        }
        s->exponent += negative ? -e : e;
    }
    return p;
}

/* false: too close to a tie, or out of the range where the error bound holds. */
static bool scan_round(const struct scan *s, float *ret)
{
    long e = s->exponent < 0 ? -s->exponent : s->exponent;
    if (e > 44) return false;
    double first = exact_pow10[e < 22 ? e : 22], second = exact_pow10[e < 22 ? 0 : e - 22];
    double d = (double)s->mantissa;
    d = s->exponent < 0 ? d / first / second : d * first * second;
    if (d < 1.2e-38 || d > 3.4e38) return false;
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    uint64_t cut = bits & 0x1fffffff;
    if (cut + 8 >= 0x10000000 && cut <= 0x10000000 + 8) return false;
    *ret = (float)d;
    return true;
}

const char *float_text_read(const char *p, float *ret)
{
    struct scan s = { 0 };
    const char *end = scan_number(p, &s);
    if (!end) return NULL;
    bool negative = *p == '-';
    float f = 0;
    if (s.mantissa != 0 && !scan_round(&s, &f)) {
        f = strtof(p, NULL);
        *ret = f;
        return end;
    }
    *ret = negative ? -f : f;
    return end;
}
