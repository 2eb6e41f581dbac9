/* A chunk is small enough that what a layer writes is still in cache when the next op reads it, and large enough
 * that matrix products run at full speed.
 *
 * Forward keeps what backward reads, except the output of the activation between the two feed-forward products,
 * the largest of all, which is made again from its input.
 *
 * Dropout is where BERT has it on hidden values (Devlin et al. 2018, appendix A.2): after the embeddings' norm,
 * and on what attention and feed-forward add. It is not applied to attention's probabilities.
 */
#include "core/learn/bert_train_internal.h"

#include "base/map.h"
#include "core/nn/attention.h"
#include "core/nn/dropout.h"
#include "core/nn/embedding.h"
#include "core/nn/layernorm.h"
#include "core/nn/linear.h"

#include <string.h>

enum { LINE_FLOATS = 16 };

/* Room for n floats at *at, on a cache line of its own. */
static float *take(float *base, size_t *at, size_t n)
{
    float *p = base ? base + *at : NULL;
    *at += (n + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
    return p;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static struct attention_shape shape_of(const struct bert_train *t, const struct bert_chunk *c)
{
    return (struct attention_shape){ c->starts, c->count, t->c.heads, t->c.hidden / t->c.heads };
}

static void place_layer(const struct bert_train *t, const struct bert_chunk *c, float *base,
    size_t *at, struct chunk_layer *l)
{
    const struct attention_shape shape = shape_of(t, c);
    size_t T = c->tokens, C = t->c.hidden;
    l->qkv = take(base, at, T * 3 * C);
    l->probs = take(base, at, attention_saved(&shape));
    l->att = take(base, at, T * C);
    l->sum1 = take(base, at, T * C);
    l->mean1 = take(base, at, T);
    l->rstd1 = take(base, at, T);
    l->mid = take(base, at, T * C);
    l->up = take(base, at, T * t->c.intermediate);
    l->sum2 = take(base, at, T * C);
    l->mean2 = take(base, at, T);
    l->rstd2 = take(base, at, T);
}

size_t bert_chunk_place(
    const struct bert_train *t, const struct bert_chunk *c, float *base, struct chunk_acts *ret)
{
    size_t at = 0, T = c->tokens, N = c->count, C = t->c.hidden;
    if (!t->frozen) {
        ret->sum0 = take(base, &at, T * C);
        ret->mean0 = take(base, &at, T);
        ret->rstd0 = take(base, &at, T);
    }
    if (t->bottom < t->c.layers) ret->x[t->bottom] = take(base, &at, T * C);
    for (size_t i = t->bottom; i < t->c.layers; i++) {
        place_layer(t, c, base, &at, &ret->layer[i]);
        ret->x[i + 1] = take(base, &at, T * C);
    }
    ret->pooled = take(base, &at, N * max_size(C, t->c.dimensions));
    for (size_t i = 0; i < t->c.n_dense; i++) {
        ret->z[i] = take(base, &at, N * t->c.dense[i].out);
        ret->y[i] = take(base, &at, N * t->c.dense[i].out);
    }
    ret->norms = take(base, &at, N);
    return at;
}

/* ---- dropout: its places are numbered, so that each has a seed of its own ---- */

static uint64_t place_seed(const struct bert_chunk *c, size_t layer, size_t place)
{
    const uint64_t parts[] = { c->seed, layer, place };
    return hash_bytes(parts, sizeof parts, 0);
}

static bool drops(const struct bert_train *t, const struct bert_chunk *c)
{
    return c->seed != 0 && t->o.dropout > 0;
}

static void drop(
    const struct bert_train *t, const struct bert_chunk *c, float *x, size_t layer, size_t place)
{
    if (drops(t, c))
        dropout_forward(
            x, x, c->tokens * t->c.hidden, (float)t->o.dropout, place_seed(c, layer, place));
}

/* The gradient before dropout; dy itself where there is none, else in `room`. */
static const float *undrop(const struct bert_train *t, const struct bert_chunk *c, float *room,
    const float *dy, size_t layer, size_t place)
{
    size_t n = c->tokens * t->c.hidden;
    if (!drops(t, c)) return dy;
    memset(room, 0, n * sizeof *room);
    dropout_backward(room, dy, n, (float)t->o.dropout, place_seed(c, layer, place));
    return room;
}

/* ---- work space ---- */

struct work {
    float *dx;      /* [T,C] gradient of the layer's output, then of its input */
    float *a, *b;   /* [T,C] */
    float *dropped; /* [T,C] */
    float *wide;    /* [T,3C] or [T,F] */
    float *act;     /* [T,F] */
    float *attention;
    float *rest; /* head, frozen part, low-rank changes: never at the same time */
};

static size_t place_work(
    const struct bert_train *t, const struct bert_chunk *c, float *base, struct work *ret)
{
    const struct attention_shape shape = shape_of(t, c);
    size_t at = 0, T = c->tokens, C = t->c.hidden, F = t->c.intermediate;
    if (t->bottom < t->c.layers) {
        ret->dx = take(base, &at, T * C);
        ret->a = take(base, &at, T * C);
        ret->b = take(base, &at, T * C);
        ret->dropped = take(base, &at, T * C);
        ret->wide = take(base, &at, T * max_size(3 * C, F));
        ret->act = take(base, &at, T * F);
        ret->attention = take(base, &at, attention_workspace(&shape));
    } else {
        ret->dx = NULL;
    }
    size_t rest = max_size(bert_head_work(t, c), bert_frozen_work(t, c));
    ret->rest = take(base, &at, max_size(rest, bert_lora_work(t, T)));
    return at;
}

size_t bert_chunk_work(const struct bert_train *t, const struct bert_chunk *c)
{
    struct work unused;
    return place_work(t, c, NULL, &unused);
}

/* ---- forward ---- */

static void embed(
    const struct bert_train *t, const struct bert_chunk *c, const struct chunk_acts *a)
{
    size_t C = t->c.hidden;
    embedding_forward(a->sum0, t->p.word, c->ids, c->tokens, C);
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = c->starts[i]; k < c->starts[i + 1]; k++) {
            float *row = a->sum0 + k * C;
            residual_forward(row, row, t->p.position + (k - c->starts[i]) * C, C);
            residual_forward(row, row, t->p.type, C);
        }
    layernorm_forward(
        a->x[0], a->mean0, a->rstd0, a->sum0, t->p.norm_g, t->p.norm_b, c->tokens, C, t->c.eps);
    drop(t, c, a->x[0], BERT_LAYERS_MAX, 0);
}

static void layer_forward(const struct bert_train *t, const struct bert_chunk *c,
    const struct chunk_acts *a, size_t i, const struct work *w)
{
    const struct attention_shape shape = shape_of(t, c);
    const struct bert_layer *p = &t->p.layer[i];
    const struct chunk_layer *l = &a->layer[i];
    size_t T = c->tokens, C = t->c.hidden, F = t->c.intermediate;
    linear_forward(l->qkv, a->x[i], p->qkv_w, p->qkv_b, T, C, 3 * C);
    attention_forward(l->att, l->probs, w->attention, l->qkv, &shape);
    linear_forward(l->sum1, l->att, p->out_w, p->out_b, T, C, C);
    drop(t, c, l->sum1, i, 0);
    residual_forward(l->sum1, l->sum1, a->x[i], T * C);
    layernorm_forward(l->mid, l->mean1, l->rstd1, l->sum1, p->norm1_g, p->norm1_b, T, C, t->c.eps);
    linear_forward(l->up, l->mid, p->up_w, p->up_b, T, C, F);
    activation_forward(t->c.f, w->act, l->up, T * F);
    linear_forward(l->sum2, w->act, p->down_w, p->down_b, T, F, C);
    drop(t, c, l->sum2, i, 1);
    residual_forward(l->sum2, l->sum2, l->mid, T * C);
    layernorm_forward(
        a->x[i + 1], l->mean2, l->rstd2, l->sum2, p->norm2_g, p->norm2_b, T, C, t->c.eps);
}

void bert_chunk_forward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, float *acts)
{
    struct chunk_acts a;
    struct work work;
    bert_chunk_place(t, c, acts, &a);
    place_work(t, c, w->work, &work);
    if (t->frozen)
        bert_frozen_forward(t, c, w, &a, work.rest);
    else
        embed(t, c, &a);
    for (size_t i = t->bottom; i < t->c.layers; i++)
        layer_forward(t, c, &a, i, &work);
    bert_head_forward(t, c, &a);
}

/* ---- backward ---- */

/* One product's, y [T,O] = x [T,I] of layer i's matrix `which`. */
struct product {
    size_t layer;
    enum lora_matrix which;
    const float *w, *b;
    size_t I, O;
};

static void product_backward(const struct bert_train *t, const struct bert_worker *worker,
    const struct product *p, float *dx, const float *dy, const float *x, size_t T, float *work)
{
    const struct linear_grads g = { dx, bert_gradient(t, worker, p->w),
        bert_gradient(t, worker, p->b) };
    linear_backward(&g, dy, x, p->w, T, p->I, p->O);
    if (t->method == TRAIN_LORA)
        bert_lora_backward(t, &t->lora[p->layer][p->which], worker, dy, x, T, work);
}

static void clear(float *x, size_t n)
{
    memset(x, 0, n * sizeof *x);
}

/* From the gradient of the layer's output in w->dx to that of norm1's output in w->b. */
static void feed_forward_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *worker, const struct chunk_layer *l, size_t i, const struct work *w)
{
    const struct bert_layer *p = &t->p.layer[i];
    size_t T = c->tokens, C = t->c.hidden, F = t->c.intermediate;
    const struct layernorm_grads norm = { w->a, bert_gradient(t, worker, p->norm2_g),
        bert_gradient(t, worker, p->norm2_b) };
    const struct product down = { i, LORA_DOWN, p->down_w, p->down_b, F, C },
                         up = { i, LORA_UP, p->up_w, p->up_b, C, F };
    clear(w->a, T * C);
    layernorm_backward(&norm, w->dx, l->sum2, p->norm2_g, l->mean2, l->rstd2, T, C);
    memcpy(w->b, w->a, T * C * sizeof *w->b);
    const float *added = undrop(t, c, w->dropped, w->a, i, 1);
    activation_forward(t->c.f, w->act, l->up, T * F);
    clear(w->wide, T * F);
    product_backward(t, worker, &down, w->wide, added, w->act, T, w->rest);
    clear(w->act, T * F);
    activation_backward(t->c.f, w->act, w->wide, l->up, T * F);
    product_backward(t, worker, &up, w->b, w->act, l->mid, T, w->rest);
}

static void layer_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *worker, const struct chunk_acts *a, size_t i, const struct work *w)
{
    const struct attention_shape shape = shape_of(t, c);
    const struct bert_layer *p = &t->p.layer[i];
    const struct chunk_layer *l = &a->layer[i];
    size_t T = c->tokens, C = t->c.hidden;
    const struct layernorm_grads norm = { w->a, bert_gradient(t, worker, p->norm1_g),
        bert_gradient(t, worker, p->norm1_b) };
    const struct product out = { i, LORA_OUT, p->out_w, p->out_b, C, C },
                         qkv = { i, LORA_QKV, p->qkv_w, p->qkv_b, C, 3 * C };
    bool below = i > t->bottom || t->method == TRAIN_FULL;
    feed_forward_backward(t, c, worker, l, i, w);
    clear(w->a, T * C);
    layernorm_backward(&norm, w->b, l->sum1, p->norm1_g, l->mean1, l->rstd1, T, C);
    memcpy(w->dx, w->a, T * C * sizeof *w->dx);
    const float *added = undrop(t, c, w->dropped, w->a, i, 0);
    clear(w->b, T * C);
    product_backward(t, worker, &out, w->b, added, l->att, T, w->rest);
    clear(w->wide, T * 3 * C);
    attention_backward(w->wide, w->attention, w->b, l->probs, l->qkv, &shape);
    product_backward(t, worker, &qkv, below ? w->dx : NULL, w->wide, a->x[i], T, w->rest);
}

static void embed_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *worker, const struct chunk_acts *a, const struct work *w)
{
    size_t T = c->tokens, C = t->c.hidden;
    const struct layernorm_grads norm = { w->a, bert_gradient(t, worker, t->p.norm_g),
        bert_gradient(t, worker, t->p.norm_b) };
    float *position = bert_gradient(t, worker, t->p.position),
          *type = bert_gradient(t, worker, t->p.type);
    const float *dx = undrop(t, c, w->dropped, w->dx, BERT_LAYERS_MAX, 0);
    clear(w->a, T * C);
    layernorm_backward(&norm, dx, a->sum0, t->p.norm_g, a->mean0, a->rstd0, T, C);
    embedding_backward(worker->word, w->a, worker->row ? worker->row + c->token : c->ids, T, C);
    for (size_t i = 0; i < c->count; i++) {
        size_t first = c->starts[i], n = c->starts[i + 1] - first;
        residual_backward(position, w->a + first * C, n * C);
    }
    for (size_t k = 0; k < T; k++)
        residual_backward(type, w->a + k * C, C);
}

void bert_chunk_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, float *acts, const float *dout)
{
    struct chunk_acts a;
    struct work work;
    bert_chunk_place(t, c, acts, &a);
    place_work(t, c, w->work, &work);
    bert_head_backward(t, c, w, &a, dout, work.dx, work.rest);
    for (size_t i = t->c.layers; i-- > t->bottom;)
        layer_backward(t, c, w, &a, i, &work);
    if (t->method == TRAIN_FULL) embed_backward(t, c, w, &a, &work);
}
