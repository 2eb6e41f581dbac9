/* Inference. A batch is worked off in blocks of whole texts of at most BLOCK_TOKENS tokens, so that what one step
 * writes is still in the cache when the next one reads it, and the work space is of one size whatever the batch. A
 * longer text is a block by itself.
 *
 * Weights are packed once (core/nn/packed.h), with the attention's 1/√D multiplied into the query's. Where no
 * vectors are there that packing is written for, or where it is asked for, they stay as stored, and BLAS does the
 * products. The embedding of token type 0, which all tokens of a text have, is added to the positions' at load.
 *
 *   work = [ x [B,C] | y [B,C] | z [B,max(3C,F)] | attention | two rounds of HEAD_TEXTS rows of the head ]
 */
#include "core/model/bert_internal.h"

#include "base/mem.h"
#include "core/nn/embedding.h"
#include "core/nn/layernorm.h"
#include "core/nn/linear.h"
#include "core/nn/packed.h"
#include "core/nn/pool.h"

#include <math.h>
#include <string.h>

enum { BLOCK_TOKENS = 256, HEAD_TEXTS = 16, ALIGN_FLOATS = 16 };

/* y = x w' + b; w is packed, or [O,I] where the model has no packed_ops. */
struct product {
    struct packed_linear w;
};
struct layer {
    struct product qkv, out, up, down;
    float *norm1_g, *norm1_b, *norm2_g, *norm2_b;
};
struct bert_model {
    struct bert_config c;
    const struct packed_ops *ops; /* NULL: BLAS */
    const struct vec_kernels *vec;
    float *word, *position; /* [V,C], [P,C] */
    float *norm_g, *norm_b;
    struct layer layer[BERT_LAYERS_MAX];
    struct product dense[BERT_DENSE_MAX];
    float *all; /* where all of them lie */
    size_t n;
    size_t block, widest,
        head;         /* tokens of the largest block; values of z's and of the head's rows */
    size_t attention; /* floats of work space */
};

/* Whole texts; starts[0] is 0. */
struct block {
    const uint32_t *ids;
    size_t first, count; /* texts of the batch */
    size_t starts[BLOCK_TOKENS + 1];
};

/* ---- building ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The next n values; NULL while they are only counted. */
static float *take(struct bert_model *m, size_t n)
{
    size_t at = m->n;
    m->n += (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return m->all ? m->all + at : NULL;
}

static void place_product(struct bert_model *m, struct product *p, size_t I, size_t O, bool bias)
{
    p->w.I = I;
    p->w.O = O;
    p->w.panels = take(m, m->ops ? packed_floats(m->ops, I, O) : I * O);
    p->w.bias = bias ? take(m, O) : NULL;
}

static void place(struct bert_model *m)
{
    const struct bert_config *c = &m->c;
    size_t C = c->hidden, F = c->intermediate;
    m->n = 0;
    m->word = take(m, c->vocab * C);
    m->position = take(m, c->positions * C);
    m->norm_g = take(m, C);
    m->norm_b = take(m, C);
    for (size_t i = 0; i < c->layers; i++) {
        struct layer *l = &m->layer[i];
        place_product(m, &l->qkv, C, 3 * C, true);
        place_product(m, &l->out, C, C, true);
        place_product(m, &l->up, C, F, true);
        place_product(m, &l->down, F, C, true);
        l->norm1_g = take(m, C);
        l->norm1_b = take(m, C);
        l->norm2_g = take(m, C);
        l->norm2_b = take(m, C);
    }
    for (size_t i = 0; i < c->n_dense; i++)
        place_product(m, &m->dense[i], c->dense[i].in, c->dense[i].out, c->dense[i].bias);
}

static void fill_product(
    const struct bert_model *m, struct product *p, const float *w, const float *b)
{
    if (m->ops)
        packed_fill(m->ops, &p->w, w);
    else
        memcpy(p->w.panels, w, p->w.I * p->w.O * sizeof *w);
    /* It is const for those who multiply only: the memory is m's. */
    if (p->w.bias) memcpy(m->all + (p->w.bias - m->all), b, p->w.O * sizeof *b);
}

/* Queries, keys and values; scaled [3C+1,C] is room for a copy whose queries are times 1/√D. */
static void fill_qkv(
    const struct bert_model *m, struct product *p, const struct bert_layer *l, float *scaled)
{
    size_t C = m->c.hidden;
    if (!m->ops) {
        fill_product(m, p, l->qkv_w, l->qkv_b);
        return;
    }
    float scale = 1.0F / sqrtf((float)(C / m->c.heads)), *b = scaled + 3 * C * C;
    memcpy(scaled, l->qkv_w, 3 * C * C * sizeof *scaled);
    memcpy(b, l->qkv_b, 3 * C * sizeof *b);
    m->vec->scale(scaled, scaled, scale, C * C);
    m->vec->scale(b, b, scale, C);
    fill_product(m, p, scaled, b);
}

static void fill(const struct bert_model *m, const struct bert_params *p, float *scaled)
{
    const struct bert_config *c = &m->c;
    size_t C = c->hidden;
    memcpy(m->all + (m->word - m->all), p->word, c->vocab * C * sizeof *p->word);
    for (size_t i = 0; i < c->positions; i++)
        residual_forward(m->position + i * C, p->position + i * C, p->type, C);
    memcpy(m->norm_g, p->norm_g, C * sizeof *p->norm_g);
    memcpy(m->norm_b, p->norm_b, C * sizeof *p->norm_b);
    for (size_t i = 0; i < c->layers; i++) {
        const struct bert_layer *from = &p->layer[i];
        struct layer to = m->layer[i];
        fill_qkv(m, &to.qkv, from, scaled);
        fill_product(m, &to.out, from->out_w, from->out_b);
        fill_product(m, &to.up, from->up_w, from->up_b);
        fill_product(m, &to.down, from->down_w, from->down_b);
        memcpy(to.norm1_g, from->norm1_g, C * sizeof *to.norm1_g);
        memcpy(to.norm1_b, from->norm1_b, C * sizeof *to.norm1_b);
        memcpy(to.norm2_g, from->norm2_g, C * sizeof *to.norm2_g);
        memcpy(to.norm2_b, from->norm2_b, C * sizeof *to.norm2_b);
    }
    for (size_t i = 0; i < c->n_dense; i++) {
        struct product to = m->dense[i];
        fill_product(m, &to, p->dense[i].w, p->dense[i].b);
    }
}

static const struct packed_ops *choose(enum encoder_products products)
{
    const struct packed_ops *k = packed_ops();
    if (products == PRODUCTS_BLAS) return NULL;
    if (products == PRODUCTS_BEST && strcmp(k->name, "baseline") == 0) return NULL;
    return k;
}

/* Work space of the attention over a block, SIZE_MAX if no memory has so much. */
static size_t attention_floats(const struct bert_model *m)
{
    size_t n = m->c.max_tokens, D = m->c.hidden / m->c.heads, total;
    if (m->ops) {
        total = packed_attention_floats(m->ops, n, D);
        return total ? total : SIZE_MAX;
    }
    const struct attention_shape s = { (const size_t[]){ 0, n }, 1, m->c.heads, D };
    return mem_add(attention_saved(&s), attention_workspace(&s), &total) ? total : SIZE_MAX;
}

static void measure(struct bert_model *m)
{
    const struct bert_config *c = &m->c;
    m->block = larger(BLOCK_TOKENS, c->max_tokens);
    m->widest = larger(3 * c->hidden, c->intermediate);
    m->head = c->hidden;
    for (size_t i = 0; i < c->n_dense; i++)
        m->head = larger(m->head, c->dense[i].out);
    m->attention = attention_floats(m);
}

enum err_code bert_model_new(const struct bert_config *c, const struct bert_params *p,
    enum encoder_products products, struct bert_model **ret_m, struct err *e)
{
    struct bert_model *m = mem_zalloc(1, sizeof *m);
    float *scaled = mem_alloc(3 * c->hidden, (c->hidden + 1) * sizeof *scaled);
    if (m) {
        m->c = *c;
        m->ops = choose(products);
        m->vec = vec_select(VEC_BEST);
        measure(m);
        place(m);
        m->all = mem_alloc_aligned(ALIGN_FLOATS * sizeof *m->all, m->n, sizeof *m->all);
    }
    if (!m || !scaled || !m->all) {
        mem_free(scaled);
        bert_model_free(m);
        return err_set(e, ERR_NOMEM, "no memory for the model");
    }
    place(m);
    fill(m, p, scaled);
    mem_free(scaled);
    *ret_m = m;
    return ERR_OK;
}

void bert_model_free(struct bert_model *m)
{
    if (!m) return;
    mem_free(m->all);
    mem_free(m);
}

size_t bert_model_bytes(const struct bert_model *m)
{
    return m->n * sizeof *m->all;
}

/* ---- running ---- */

/* y [N,O] = f(x w' + b) + residual. tmp [N,O]: only without packed_ops, and with a residual, which may be y. */
static void multiply(const struct bert_model *m, const struct product *p, float *y, const float *x,
    size_t N, struct packed_after after, float *tmp)
{
    if (m->ops) {
        m->ops->linear(y, x, N, &p->w, &after);
        return;
    }
    float *to = after.residual ? tmp : y;
    linear_forward(to, x, p->w.panels, p->w.bias, N, p->w.I, p->w.O);
    if (after.f != ACTIVATION_IDENTITY) activation_forward(after.f, to, to, N * p->w.O);
    if (after.residual) residual_forward(y, to, after.residual, N * p->w.O);
}

static void attend(
    const struct bert_model *m, float *out, float *work, const float *qkv, const struct block *b)
{
    size_t H = m->c.heads, C = m->c.hidden;
    if (m->ops) {
        const struct attention_shape s = { b->starts, b->count, H, C / H };
        m->ops->attention(out, work, qkv, &s, true);
        return;
    }
    for (size_t i = 0; i < b->count; i++) { /* one by one: the work space is for one */
        size_t at = b->starts[i], n = b->starts[i + 1] - at;
        const struct attention_shape s = { (const size_t[]){ 0, n }, 1, H, C / H };
        attention_forward(out + at * C, work, work + attention_saved(&s), qkv + at * 3 * C, &s);
    }
}

static void norm(const struct bert_model *m, float *x, const float *g, const float *b, size_t N)
{
    layernorm_forward(x, NULL, NULL, x, g, b, N, m->c.hidden, m->c.eps);
}

static void embed(const struct bert_model *m, const struct block *b, float *x)
{
    size_t C = m->c.hidden;
    for (size_t i = 0; i < b->count; i++)
        for (size_t t = b->starts[i]; t < b->starts[i + 1]; t++)
            residual_forward(
                x + t * C, m->word + b->ids[t] * C, m->position + (t - b->starts[i]) * C, C);
    norm(m, x, m->norm_g, m->norm_b, b->starts[b->count]);
}

/* x [T,C]: the block's hidden rows after n_layers. */
static void run_block(
    const struct bert_model *m, const struct block *b, size_t n_layers, float *work, float *x)
{
    const struct packed_after plain = { ACTIVATION_IDENTITY, NULL },
                              add = { ACTIVATION_IDENTITY, x };
    const struct packed_after inner = { m->c.f, NULL };
    size_t T = b->starts[b->count];
    float *y = work + m->block * m->c.hidden, *z = y + m->block * m->c.hidden;
    float *scratch = z + m->block * m->widest;
    embed(m, b, x);
    for (size_t i = 0; i < n_layers; i++) {
        const struct layer *l = &m->layer[i];
        multiply(m, &l->qkv, z, x, T, plain, NULL);
        attend(m, y, scratch, z, b);
        multiply(m, &l->out, x, y, T, add, z);
        norm(m, x, l->norm1_g, l->norm1_b, T);
        multiply(m, &l->up, z, x, T, inner, NULL);
        multiply(m, &l->down, x, z, T, add, y);
        norm(m, x, l->norm2_g, l->norm2_b, T);
    }
}

/* The texts from `first` on that fit into a block; false: there are none left. */
static bool next_block(const struct bert_model *m, const struct packed_batch *b, struct block *ret)
{
    size_t first = ret->first + ret->count, begin = b->starts[first], n = 1;
    if (first == b->count) return false;
    ASSERT_BUG(b->starts[first + 1] - begin <= m->c.max_tokens);
    while (first + n < b->count && b->starts[first + n + 1] - begin <= BLOCK_TOKENS)
        n++;
    ret->first = first;
    ret->count = n;
    ret->ids = b->ids + begin;
    for (size_t i = 0; i <= n; i++)
        ret->starts[i] = b->starts[first + i] - begin;
    return true;
}

size_t bert_workspace_floats(const struct bert_model *m)
{
    size_t rows, total;
    bool ok = mem_mul(m->block, 2 * m->c.hidden + m->widest, &rows) &&
        mem_add(rows, 2 * HEAD_TEXTS * m->head, &total) && mem_add(total, m->attention, &total);
    return ok ? total : SIZE_MAX;
}

void bert_hidden(const struct bert_model *m, const struct packed_batch *b, size_t n_layers,
    float *work, float *out)
{
    struct block block = { .count = 0 };
    while (next_block(m, b, &block))
        run_block(m, &block, n_layers, work, out + b->starts[block.first] * m->c.hidden);
}

/* At most HEAD_TEXTS texts; rows [2,HEAD_TEXTS,head]. */
static void run_head(const struct bert_model *m, const size_t *starts, size_t count,
    const float *hidden, float *rows, float *out)
{
    const struct bert_config *c = &m->c;
    float *x = c->n_dense ? rows : out;
    (c->pooling == BERT_POOL_CLS ? pool_first_forward : pool_mean_forward)(
        x, hidden, starts, count, c->hidden);
    for (size_t i = 0; i < c->n_dense; i++) {
        float *other = x == rows ? rows + HEAD_TEXTS * m->head : rows;
        float *y = i + 1 == c->n_dense ? out : other;
        const struct packed_after after = { c->dense[i].f, NULL };
        multiply(m, &m->dense[i], y, x, count, after, NULL);
        x = y;
    }
    for (size_t i = 0; c->normalize && i < count; i++)
        vec_normalize(m->vec, out + i * c->dimensions, out + i * c->dimensions, c->dimensions);
}

void bert_head(const struct bert_model *m, const struct packed_batch *b, const float *hidden,
    float *work, float *out)
{
    float *rows = work + m->block * (2 * m->c.hidden + m->widest) + m->attention;
    for (size_t i = 0; i < b->count; i += HEAD_TEXTS) {
        size_t n = b->count - i < HEAD_TEXTS ? b->count - i : HEAD_TEXTS;
        run_head(m, b->starts + i, n, hidden, rows, out + i * m->c.dimensions);
    }
}

void bert_forward(const struct bert_model *m, const struct packed_batch *b, float *work, float *out)
{
    struct block block = { .count = 0 };
    while (next_block(m, b, &block)) {
        const struct packed_batch texts = { block.ids, block.starts, block.count };
        run_block(m, &block, m->c.layers, work, work);
        bert_head(m, &texts, work, work, out + block.first * m->c.dimensions);
    }
}
