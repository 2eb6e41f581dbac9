/* Source: Hu et al. 2021, section 4.1: a random, b zero, so that the first forward is the parent's.
 *
 * All four matrices of a layer have a change, query, key and value one together. As in the paper's appendix, more
 * matrices of a lower rank do better than few of a higher one.
 *
 * The sum base + alpha / rank * b a is made once a step, for it costs rank products of vectors where a batch costs
 * as many as it has tokens. Then forward and the gradient of the input are those of a plain product, and the
 * gradients of a and b need neither the sum's gradient nor [O,I] memory:
 *
 *   da = s (dy b)' x        db = s dy' (x a')
 */
#include "core/learn/bert_train_internal.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/nn/gemm.h"

#include <math.h>
#include <string.h>

enum { ALIGN_BYTES = 64 };
static const uint64_t LORA_SEED = 0x10AA;

static float scale_of(const struct bert_train *t)
{
    return (float)(t->o.alpha / (double)t->o.rank);
}

/* Name the matrices; returns the size of `learn`. */
static size_t place(struct bert_train *t)
{
    size_t at = 0, C = t->c.hidden, F = t->c.intermediate, r = t->o.rank;
    for (size_t i = 0; i < t->c.layers; i++) {
        struct bert_layer *p = &t->p.layer[i];
        const struct lora all[LORA_MATRICES] = { [LORA_QKV] = { p->qkv_w, 3 * C, C, 0, 0, 0 },
            [LORA_OUT] = { p->out_w, C, C, 0, 0, 0 },
            [LORA_UP] = { p->up_w, F, C, 0, 0, 0 },
            [LORA_DOWN] = { p->down_w, C, F, 0, 0, 0 } };
        for (size_t k = 0; k < LORA_MATRICES; k++) {
            struct lora *l = &t->lora[i][k];
            *l = all[k];
            l->base = (size_t)(l->w - t->p.layer[0].qkv_w);
            l->a = at;
            l->b = at + r * l->I;
            at += r * (l->I + l->O);
        }
    }
    return at;
}

/* a as PyTorch's linear layers begin: evenly within ±1/√I. */
static void begin(struct bert_train *t)
{
    struct rng rng;
    rng_init(&rng, LORA_SEED);
    for (size_t i = 0; i < t->c.layers; i++)
        for (size_t k = 0; k < LORA_MATRICES; k++) {
            const struct lora *l = &t->lora[i][k];
            double bound = 1 / sqrt((double)l->I);
            for (size_t v = 0; v < t->o.rank * l->I; v++)
                t->own[l->a + v] = (float)((2 * rng_unit(&rng) - 1) * bound);
        }
}

enum err_code bert_lora_new(struct bert_train *t, struct err *e)
{
    const float *first = t->p.layer[0].qkv_w;
    size_t n_base = t->p.n - (size_t)(first - t->p.all);
    t->n_learn = place(t);
    t->own = mem_zalloc(t->n_learn, sizeof *t->own);
    t->base = mem_alloc_aligned(ALIGN_BYTES, n_base, sizeof *t->base);
    if (!t->own || !t->base) return err_set(e, ERR_NOMEM, "no memory to train the model");
    memcpy(t->base, first, n_base * sizeof *first);
    t->learn = t->own;
    begin(t);
    return ERR_OK;
}

void bert_lora_merge(struct bert_train *t)
{
    for (size_t i = 0; i < t->c.layers; i++)
        for (size_t k = 0; k < LORA_MATRICES; k++) {
            const struct lora *l = &t->lora[i][k];
            memcpy(l->w, t->base + l->base, l->O * l->I * sizeof *l->w);
            gemm(false, false, l->O, l->I, t->o.rank, scale_of(t), t->own + l->b, t->own + l->a, 1,
                l->w);
        }
}

size_t bert_lora_work(const struct bert_train *t, size_t T)
{
    return t->method == TRAIN_LORA ? T * t->o.rank : 0;
}

void bert_lora_backward(const struct bert_train *t, const struct lora *l,
    const struct bert_worker *w, const float *dy, const float *x, size_t T, float *work)
{
    size_t r = t->o.rank;
    float *da = bert_gradient(t, w, t->own + l->a), *db = bert_gradient(t, w, t->own + l->b);
    gemm(false, true, T, r, l->I, 1, x, t->own + l->a, 0, work);
    gemm(true, false, l->O, r, T, scale_of(t), dy, work, 1, db);
    gemm(false, false, T, r, l->O, 1, dy, t->own + l->b, 0, work);
    gemm(true, false, r, l->I, T, scale_of(t), work, x, 1, da);
}
