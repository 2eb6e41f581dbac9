/* After the layers: pooling, dense layers, unit length. And what stands in for layers that are frozen: the encoder
 * that serves, whose rows are the same to the bit in whatever batch they are made, so that what is kept of a text
 * and what is made again are the same. The products of the dense layers are not, so pooled rows are kept. */
#include "core/learn/bert_train_internal.h"

#include "core/nn/bag.h"
#include "core/nn/linear.h"
#include "core/nn/pool.h"

#include <string.h>

static void pool(
    const struct bert_train *t, float *out, const float *x, const size_t *starts, size_t count)
{
    if (t->c.pooling == BERT_POOL_CLS)
        pool_first_forward(out, x, starts, count, t->c.hidden);
    else
        pool_mean_forward(out, x, starts, count, t->c.hidden);
}

/* ---- frozen ---- */

size_t bert_frozen_work(const struct bert_train *t, const struct bert_chunk *c)
{
    if (!t->frozen) return 0;
    size_t C = t->c.hidden;
    return bert_workspace_floats(t->frozen) + (c->tokens + c->count) * C;
}

/* The texts to be filled in, packed into w's ids and starts. */
static struct packed_batch missing_of(const struct bert_chunk *c, const struct bert_worker *w)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t len = c->starts[i + 1] - c->starts[i];
        if (!c->fill[i]) continue;
        w->starts[n++] = at;
        memcpy(w->ids + at, c->ids + c->starts[i], len * sizeof *w->ids);
        at += len;
    }
    w->starts[n] = at;
    return (struct packed_batch){ w->ids, w->starts, n };
}

void bert_frozen_forward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, const struct chunk_acts *a, float *work)
{
    size_t C = t->c.hidden, rows_of_work = (c->tokens + c->count) * C;
    bool pooled = t->bottom == t->c.layers;
    float *made = work, *inner = work + rows_of_work, *pooled_made = work + c->tokens * C;
    const struct packed_batch missing = missing_of(c, w);
    if (missing.count) bert_hidden(t->frozen, &missing, t->bottom, inner, made);
    if (t->method == TRAIN_NONE) {
        bert_head(t->frozen, &missing, made, inner, c->out);
        return;
    }
    if (pooled && missing.count) pool(t, pooled_made, made, missing.starts, missing.count);
    for (size_t i = 0, m = 0; i < c->count; i++) {
        size_t n = pooled ? C : (c->starts[i + 1] - c->starts[i]) * C;
        float *to = pooled ? a->pooled + i * C : a->x[t->bottom] + c->starts[i] * C;
        const float *from = pooled ? pooled_made + m * C : made + missing.starts[m] * C;
        if (!c->fill[i]) from = c->kept[i]->values;
        memcpy(to, from, n * sizeof *to);
        if (!c->fill[i]) continue;
        if (c->kept[i]) memcpy(c->kept[i]->values, from, n * sizeof *from);
        m++;
    }
}

/* ---- forward ---- */

void bert_head_forward(
    const struct bert_train *t, const struct bert_chunk *c, const struct chunk_acts *a)
{
    size_t N = c->count, D = t->c.dimensions, I = t->c.hidden;
    if (t->method == TRAIN_NONE) {
        if (t->c.normalize) return;
        unit_forward(a->pooled, a->norms, c->out, N, D);
        memcpy(c->out, a->pooled, N * D * sizeof *c->out);
        return;
    }
    if (t->bottom < t->c.layers) pool(t, a->pooled, a->x[t->c.layers], c->starts, N);
    const float *x = a->pooled;
    for (size_t i = 0; i < t->c.n_dense; i++) {
        const struct bert_dense_config *d = &t->c.dense[i];
        if (c->parent && i + 1 == t->c.n_dense) unit_forward(c->parent, a->norms, x, N, D);
        linear_forward(a->z[i], x, t->p.dense[i].w, t->p.dense[i].b, N, I, d->out);
        activation_forward(d->f, a->y[i], a->z[i], N * d->out);
        x = a->y[i];
        I = d->out;
    }
    unit_forward(c->out, a->norms, x, N, D);
}

/* ---- backward ---- */

/* The widest row between pooling and the result. */
static size_t widest(const struct bert_train *t)
{
    size_t n = t->c.hidden;
    for (size_t i = 0; i < t->c.n_dense; i++)
        if (t->c.dense[i].out > n) n = t->c.dense[i].out;
    return n;
}

size_t bert_head_work(const struct bert_train *t, const struct bert_chunk *c)
{
    return 2 * c->count * widest(t);
}

/* Takes the gradient of dense layer i's result, in dy, to that of its input, in dx; both [N, widest]. */
static void dense_backward(const struct bert_train *t, const struct bert_worker *w,
    const struct chunk_acts *a, size_t i, size_t N, float *dx, float *dy)
{
    const struct bert_dense_config *d = &t->c.dense[i];
    size_t I = i ? t->c.dense[i - 1].out : t->c.hidden;
    const float *x = i ? a->y[i - 1] : a->pooled;
    /* Is there something left that learns? */
    bool below = t->bottom < t->c.layers;
    memset(dx, 0, N * widest(t) * sizeof *dx);
    activation_backward(d->f, dx, dy, a->z[i], N * d->out);
    memset(dy, 0, N * widest(t) * sizeof *dy);
    const struct linear_grads g = { below ? dy : NULL, bert_gradient(t, w, t->p.dense[i].w),
        bert_gradient(t, w, t->p.dense[i].b) };
    linear_backward(&g, dx, x, t->p.dense[i].w, N, I, d->out);
}

void bert_head_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, const struct chunk_acts *a, const float *dout, float *dx,
    float *work)
{
    size_t N = c->count, C = t->c.hidden, n = t->c.n_dense;
    float *dy = work, *spare = work + N * widest(t);
    memset(dy, 0, N * widest(t) * sizeof *dy);
    unit_backward(dy, dout, c->out, a->norms, N, t->c.dimensions);
    bool below = t->bottom < t->c.layers;
    for (size_t i = n; i-- > 0 && (below || i + 1 == n);)
        dense_backward(t, w, a, i, N, spare, dy);
    if (!below) return;
    memset(dx, 0, c->tokens * C * sizeof *dx);
    if (t->c.pooling == BERT_POOL_CLS)
        pool_first_backward(dx, dy, c->starts, N, C);
    else
        pool_mean_backward(dx, dy, c->starts, N, C);
}
