/* Format (NumPy Enhancement Proposal 1)
 *
 *   offset  size    meaning
 *   0       6       0x93 "NUMPY"
 *   6       2       version, major and minor: 1.0, 2.0 or 3.0
 *   8       2 or 4  n, length of the header: 2 bytes in version 1, else 4
 *   10, 12  n       a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 *   …       …       the elements
 *
 * The dict is read by hand: three keys in any order, strings in either quote, integers, True and False,
 * and one tuple. Anything else is refused.
 */
#include "core/learn/npy.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"

#include <stdint.h>
#include <string.h>

enum { HEADER_BYTES_MAX = 65536, DESCR_BYTES = 16 };

struct npy {
    struct file_map map;
    const unsigned char *data;
    size_t rows, columns, element_bytes;
    char *path;
};

struct scanner {
    const char *p, *end;
    bool failed;
};

static void skip_space(struct scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

/* Is the next thing this character? Then it is taken. */
static bool take(struct scanner *s, char c)
{
    skip_space(s);
    if (s->p >= s->end || *s->p != c) return false;
    s->p++;
    return true;
}

static void need(struct scanner *s, char c)
{
    if (!take(s, c)) s->failed = true;
}

static bool take_word(struct scanner *s, const char *word)
{
    size_t n = strlen(word);
    skip_space(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

static struct str quoted(struct scanner *s)
{
    char quote = take(s, '\'') ? '\'' : take(s, '"') ? '"' : '\0';
    const char *begin = s->p;
    const char *end = quote ? memchr(begin, quote, (size_t)(s->end - begin)) : NULL;
    if (!end) {
        s->failed = true;
        return (struct str){ "", 0 };
    }
    s->p = end + 1;
    return (struct str){ begin, (size_t)(end - begin) };
}

static size_t number(struct scanner *s)
{
    size_t v = 0;
    skip_space(s);
    if (s->p >= s->end || *s->p < '0' || *s->p > '9') s->failed = true;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if (!mem_mul(v, 10, &v) || !mem_add(v, (size_t)(*s->p - '0'), &v)) s->failed = true;
    return v;
}

struct header {
    char descr[DESCR_BYTES];
    bool fortran_order;
    size_t dims[2], n_dims; /* n_dims counts beyond two, too */
    unsigned seen;          /* a bit a key */
};

static void scan_shape(struct scanner *s, struct header *h)
{
    need(s, '(');
    while (!s->failed && !take(s, ')')) {
        size_t n = number(s);
        if (h->n_dims < 2) h->dims[h->n_dims] = n;
        h->n_dims++;
        if (take(s, ',')) continue;
        need(s, ')');
        return;
    }
}

static void scan_entry(struct scanner *s, struct header *h)
{
    struct str key = quoted(s);
    unsigned bit = 0;
    need(s, ':');
    if (s->failed) return;
    if (str_is(key, "descr")) {
        struct str d = quoted(s);
        bit = 1;
        if (d.n < sizeof h->descr) memcpy(h->descr, d.p, d.n);
    } else if (str_is(key, "fortran_order")) {
        bit = 2;
        h->fortran_order = take_word(s, "True");
        if (!h->fortran_order && !take_word(s, "False")) s->failed = true;
    } else if (str_is(key, "shape")) {
        bit = 4;
        scan_shape(s, h);
    }
    if (bit == 0 || (h->seen & bit)) s->failed = true;
    h->seen |= bit;
}

static bool scan_header(struct str text, struct header *h)
{
    struct scanner s = { text.p, text.p + text.n, false };
    need(&s, '{');
    while (!s.failed && !take(&s, '}')) {
        scan_entry(&s, h);
        if (take(&s, ',')) continue;
        need(&s, '}');
        break;
    }
    skip_space(&s);
    return !s.failed && s.p == s.end && h->seen == 7;
}

static enum err_code read_header(struct npy *npy, struct err *e)
{
    struct le_reader r = { .p = npy->map.p, .n = npy->map.n };
    struct header h = { .n_dims = 0 };
    const unsigned char *magic = le_bytes(&r, 6);
    unsigned major = le_u8(&r), minor = le_u8(&r);
    if (!magic || memcmp(magic, "\x93NUMPY", 6) != 0 || major < 1 || major > 3 || minor != 0)
        return err_set(e, ERR_CORRUPT, "not a .npy file of version 1 to 3");
    size_t n = major == 1 ? le_u16(&r) : le_u32(&r), bytes;
    const unsigned char *text = n <= HEADER_BYTES_MAX ? le_bytes(&r, n) : NULL;
    if (r.failed || !text || !scan_header((struct str){ (const char *)text, n }, &h))
        return err_set(e, ERR_CORRUPT, "the header of the .npy file is damaged");
    npy->element_bytes = strcmp(h.descr, "<f4") == 0 ? 4 : strcmp(h.descr, "<f2") == 0 ? 2 : 0;
    if (npy->element_bytes == 0 || h.fortran_order || h.n_dims != 2)
        return err_set(e, ERR_UNPROCESSABLE,
            "holds elements of type \"%s\", %s order, %zu dimensions; expected <f4 or <f2, C "
            "order, 2 dimensions",
            h.descr, h.fortran_order ? "Fortran" : "C", h.n_dims);
    npy->rows = h.dims[0];
    npy->columns = h.dims[1];
    if (!mem_mul(npy->rows, npy->columns, &bytes) || !mem_mul(bytes, npy->element_bytes, &bytes) ||
        bytes != r.n - r.at)
        return err_set(e, ERR_CORRUPT,
            "the file has %zu bytes of elements, its header says [%zu, %zu] of %zu bytes",
            r.n - r.at, npy->rows, npy->columns, npy->element_bytes);
    npy->data = r.p + r.at;
    return ERR_OK;
}

enum err_code npy_open(const char *path, struct npy **ret_npy, struct err *e)
{
    struct npy *npy = mem_zalloc(1, sizeof *npy);
    if (npy) npy->path = mem_strdup(path);
    if (!npy || !npy->path) {
        npy_close(npy);
        return err_set(e, ERR_NOMEM, "no memory to open %s", path);
    }
    enum err_code code = file_map_open(path, &npy->map, e);
    if (code == ERR_OK) {
        code = read_header(npy, e);
        if (code != ERR_OK && e) err_wrap(e, "%s", path);
    }
    if (code != ERR_OK) {
        npy_close(npy);
        return code;
    }
    *ret_npy = npy;
    return ERR_OK;
}

void npy_close(struct npy *npy)
{
    if (!npy) return;
    file_map_close(&npy->map);
    mem_free(npy->path);
    mem_free(npy);
}

size_t npy_rows(const struct npy *npy)
{
    return npy->rows;
}

size_t npy_columns(const struct npy *npy)
{
    return npy->columns;
}

/* The data may be unaligned, so bytes are put together. */
static uint16_t u16_at(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const unsigned char *p)
{
    return u16_at(p) | (uint32_t)u16_at(p + 2) << 16;
}

void npy_row(const struct npy *npy, size_t i, float *out)
{
    const unsigned char *p = npy->data + i * npy->columns * npy->element_bytes;
    for (size_t j = 0; j < npy->columns; j++) {
        if (npy->element_bytes == 2) {
            out[j] = f16_to_f32(u16_at(p + 2 * j));
        } else {
            uint32_t bits = u32_at(p + 4 * j);
            memcpy(&out[j], &bits, sizeof bits);
        }
    }
}

enum err_code npy_check_finite(const struct npy *npy, struct err *e)
{
    size_t n = npy->rows * npy->columns;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = npy->data + i * npy->element_bytes;
        bool finite = npy->element_bytes == 2 ? (u16_at(p) & 0x7C00) != 0x7C00
                                              : (u32_at(p) & 0x7F800000) != 0x7F800000;
        if (!finite)
            return err_set(e, ERR_CORRUPT, "%s: row %zu, counted from 0, is not finite", npy->path,
                i / npy->columns);
    }
    return ERR_OK;
}
