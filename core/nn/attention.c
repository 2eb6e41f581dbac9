/* A sequence and a head at a time, by products of small matrices that read queries, keys and values where they lie.
 * The right factor of a product is read along its rows; where the product needs it the other way round, as the keys
 * for the scores and the values for the gradient of the probabilities, a transposed copy is made in `work`:
 *
 *   work = [ D rows of `stride(n)` values | n*n gradients of scores, backward only ]
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

/* Room for n values and for reading whole tiles. */
static size_t stride(size_t n)
{
    return (n + NN_TILE - 1) / NN_TILE * NN_TILE;
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
    return mul_add(s->D, stride(n), mul_add(n, n, 0));
}

static struct head head_at(const real_t *qkv, const struct attention_shape *s, size_t i, size_t h)
{
    size_t C = s->H * s->D;
    const real_t *q = qkv + s->starts[i] * 3 * C + h * s->D;
    ASSERT_BUG(s->starts[i] < s->starts[i + 1]);
    return (struct head){ s->starts[i + 1] - s->starts[i], s->D, C, q, q + C, q + 2 * C };
}

/* t [D,stride(n)] from x, rows of D that are 3C apart; what is beyond n is 0. */
static void transpose(real_t *restrict t, const real_t *restrict x, const struct head *h)
{
    size_t step = stride(h->n);
    for (size_t d = 0; d < h->D; d++) {
        for (size_t i = 0; i < h->n; i++)
            t[d * step + i] = x[i * 3 * h->C + d];
        for (size_t i = h->n; i < step; i++)
            t[d * step + i] = 0;
    }
}

void attention_forward(real_t *restrict out, real_t *restrict saved, real_t *restrict work,
    const real_t *restrict qkv, const struct attention_shape *s)
{
    const struct nn_kernels *k = nn_kernels();
    const real_t scale = (real_t)(1 / sqrt((double)s->D));
    real_t *p = saved;
    for (size_t i = 0; i < s->count; i++)
        for (size_t at = 0; at < s->H; at++) {
            const struct head h = head_at(qkv, s, i, at);
            const size_t n = h.n, D = h.D, C = h.C;
            transpose(work, h.k, &h);
            k->matmul(p, n,
                &(struct nn_matmul){
                    h.q, 3 * C, 1, work, stride(n), n, n, D, .alpha = 1, .b_whole = true });
            for (size_t r = 0; r < n; r++)
                k->softmax(p + r * n, p + r * n, scale, n);
            k->matmul(out + s->starts[i] * C + at * D, C,
                &(struct nn_matmul){ p, n, 1, h.v, 3 * C, n, D, n, .alpha = 1 });
            p += n * n;
        }
}

void attention_backward(real_t *restrict dqkv, real_t *restrict work, const real_t *restrict dout,
    const real_t *restrict saved, const real_t *restrict qkv, const struct attention_shape *s)
{
    const struct nn_kernels *k = nn_kernels();
    const real_t scale = (real_t)(1 / sqrt((double)s->D)), *p = saved;
    for (size_t i = 0; i < s->count; i++)
        for (size_t at = 0; at < s->H; at++) {
            const struct head h = head_at(qkv, s, i, at);
            const size_t n = h.n, D = h.D, C = h.C;
            const real_t *go = dout + s->starts[i] * C + at * D;
            real_t *dq = dqkv + (h.q - qkv), *dk = dq + C, *dv = dk + C;
            real_t *ds = work + D * stride(n);
            transpose(work, h.v, &h);
            k->matmul(ds, n,
                &(struct nn_matmul){
                    go, C, 1, work, stride(n), n, n, D, .alpha = 1, .b_whole = true });
            for (size_t r = 0; r < n; r++)
                k->softmax_slope(ds + r * n, p + r * n, n);
            k->matmul(dq, 3 * C,
                &(struct nn_matmul){ ds, n, 1, h.k, 3 * C, n, D, n, .alpha = scale, .add = true });
            k->matmul(dk, 3 * C,
                &(struct nn_matmul){ ds, 1, n, h.q, 3 * C, n, D, n, .alpha = scale, .add = true });
            k->matmul(
                dv, 3 * C, &(struct nn_matmul){ p, 1, n, go, C, n, D, n, .alpha = 1, .add = true });
            p += n * n;
        }
}
