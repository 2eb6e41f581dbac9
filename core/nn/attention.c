/* A sequence and a head at a time, by products of small matrices. The left factor of a product is read where it lies;
 * the right one is copied, in whole tiles and as the product needs it, as rows that are thousands of bytes apart share
 * few places in the cache:
 *
 *   work = [ keys or values transposed, D rows | values, keys, queries or dout, n rows | n*n, backward only ]
 */
#include "core/nn/attention.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/nn/kernels.h"

#include <math.h>
#include <string.h>

/* One head of one sequence. */
struct head {
    size_t n, D, C;
    const real_t *q, *k, *v; /* rows are 3C apart */
};

/* n values in whole tiles. */
static size_t tiles(size_t n)
{
    return (n + NN_TILE - 1) / NN_TILE * NN_TILE;
}

/* Between rows of n values that are read down a column: an odd number of tiles, so that they lie all over the cache. */
static size_t stride(size_t n)
{
    return tiles(n) + (tiles(n) / NN_TILE % 2 ? 0 : NN_TILE);
}

static size_t longest(const struct attention_shape *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->starts[i + 1] - s->starts[i] > n) n = s->starts[i + 1] - s->starts[i];
    return n;
}

/* a*b + c, SIZE_MAX if too large: no memory has so many. */
static size_t mul_add(size_t a, size_t b, size_t c)
{
    size_t r;
    return mem_mul(a, b, &r) && mem_add(r, c, &r) ? r : SIZE_MAX;
}

size_t attention_saved(const struct attention_shape *s)
{
    size_t squares = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t n = s->starts[i + 1] - s->starts[i];
        squares = mul_add(n, n, squares);
    }
    return mul_add(squares, s->H, 0);
}

size_t attention_workspace(const struct attention_shape *s)
{
    size_t n = longest(s);
    if (n > SIZE_MAX / 4 || s->D > SIZE_MAX / 4) return SIZE_MAX;
    return mul_add(s->D, stride(n), mul_add(n, tiles(s->D), mul_add(n, n, 0)));
}

static struct head head_at(const real_t *qkv, const struct attention_shape *s, size_t i, size_t h)
{
    size_t C = s->H * s->D;
    const real_t *q = qkv + s->starts[i] * 3 * C + h * s->D;
    ASSERT_BUG(s->starts[i] < s->starts[i + 1]);
    return (struct head){ s->starts[i + 1] - s->starts[i], s->D, C, q, q + C, q + 2 * C };
}

/* t [D,stride(n)] from x [n,D], rows of which are x_row apart. What fills up the tiles is 0. */
static void transpose(
    real_t *restrict t, const real_t *restrict x, size_t x_row, const struct head *h)
{
    const size_t step = stride(h->n), end = tiles(h->n);
    for (size_t i = 0; i < h->n; i++)
        for (size_t d = 0; d < h->D; d++)
            t[d * step + i] = x[i * x_row + d];
    for (size_t d = 0; d < h->D && h->n < end; d++)
        memset(t + d * step + h->n, 0, (end - h->n) * sizeof *t);
}

/* t [n,tiles(D)] likewise, as it lies. */
static void copy(real_t *restrict t, const real_t *restrict x, size_t x_row, const struct head *h)
{
    const size_t step = tiles(h->D);
    for (size_t i = 0; i < h->n; i++)
        for (size_t d = 0; d < step; d++)
            t[i * step + d] = d < h->D ? x[i * x_row + d] : 0;
}

/* p [n,n], out [n,D] with rows C apart */
static void forward(real_t *restrict out, real_t *restrict p, real_t *restrict work,
    const struct head *h, real_t scale)
{
    const struct nn_kernels *k = nn_kernels();
    const size_t n = h->n, D = h->D, row = 3 * h->C;
    real_t *rows = work + D * stride(n);
    transpose(work, h->k, row, h);
    k->matmul(p, n, &(struct nn_matmul){ h->q, row, 1, work, stride(n), n, n, D, .alpha = 1 });
    for (size_t r = 0; r < n; r++)
        k->softmax(p + r * n, p + r * n, scale, n);
    copy(rows, h->v, row, h);
    k->matmul(out, h->C, &(struct nn_matmul){ p, n, 1, rows, tiles(D), n, D, n, .alpha = 1 });
}

void attention_forward(real_t *restrict out, real_t *restrict saved, real_t *restrict work,
    const real_t *restrict qkv, const struct attention_shape *s)
{
    const real_t scale = (real_t)(1 / sqrt((double)s->D));
    real_t *p = saved;
    for (size_t i = 0; i < s->count; i++)
        for (size_t at = 0; at < s->H; at++) {
            const struct head h = head_at(qkv, s, i, at);
            forward(out + s->starts[i] * h.C + at * h.D, p, work, &h, scale);
            p += h.n * h.n;
        }
}

/* dq: where the head's queries have their gradients; rows 3C apart. dout [n,D]: rows C apart. */
static void backward(real_t *restrict dq, real_t *restrict work, const real_t *restrict dout,
    const real_t *restrict p, const struct head *h, real_t scale)
{
    const struct nn_kernels *k = nn_kernels();
    const size_t n = h->n, D = h->D, row = 3 * h->C;
    real_t *rows = work + D * stride(n), *ds = rows + n * tiles(D);
    struct nn_matmul m = { dout, h->C, 1, work, stride(n), n, n, D, .alpha = 1 };
    transpose(work, h->v, row, h);
    k->matmul(ds, n, &m);
    for (size_t r = 0; r < n; r++)
        k->softmax_slope(ds + r * n, p + r * n, n);
    m = (struct nn_matmul){ ds, n, 1, rows, tiles(D), n, D, n, .alpha = scale, .add = true };
    copy(rows, h->k, row, h);
    k->matmul(dq, row, &m);
    m.a_row = 1; /* the scores' gradients transposed */
    m.a_col = n;
    copy(rows, h->q, row, h);
    k->matmul(dq + h->C, row, &m);
    m.a = p;
    m.alpha = 1;
    copy(rows, dout, h->C, h);
    k->matmul(dq + 2 * h->C, row, &m);
}

void attention_backward(real_t *restrict dqkv, real_t *restrict work, const real_t *restrict dout,
    const real_t *restrict saved, const real_t *restrict qkv, const struct attention_shape *s)
{
    const real_t scale = (real_t)(1 / sqrt((double)s->D)), *p = saved;
    for (size_t i = 0; i < s->count; i++)
        for (size_t at = 0; at < s->H; at++) {
            const struct head h = head_at(qkv, s, i, at);
            backward(dqkv + (h.q - qkv), work, dout + s->starts[i] * h.C + at * h.D, p, &h, scale);
            p += h.n * h.n;
        }
}
