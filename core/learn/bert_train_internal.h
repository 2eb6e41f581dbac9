/* Layer: core. May include: base. Internal to core/learn's bert_train*.c.
 *
 * Training a BERT encoder.
 *
 *   bert_train.c        the table of operations: opening by method, optimiser step, state
 *   bert_train_batch.c  a batch: chunks, threads, memory
 *   bert_train_chunk.c  forward and backward of a chunk through embeddings and layers
 *   bert_train_head.c   and through pooling, dense layers, normalisation; what is frozen
 *   bert_train_lora.c   low-rank changes of matrices
 *   bert_train_export.c the folder that comes out
 *
 * Layers from `bottom` on are computed here and can learn; those below are computed by the inference encoder, row
 * by row the same to the bit whatever the batch, and kept for each text.
 */
#pragma once

#include "core/learn/text_cache.h"
#include "core/learn/trainable_ops.h"
#include "core/model/bert.h"

enum { BERT_SPECIALS_MAX = 16, LORA_MATRICES = 4, BERT_THREADS_MAX = 64 };

/* Which of a layer's matrices. */
enum lora_matrix { LORA_QKV, LORA_OUT, LORA_UP, LORA_DOWN };

/* The change of a matrix [O,I]: alpha / rank * b a. */
struct lora {
    float *w; /* [O,I], the sum that forward uses */
    size_t O, I;
    size_t base; /* place of what the parent has, in bert_train.base */
    size_t a, b; /* places of a [rank,I] and b [O,rank] in `learn` */
};

struct bert_train {
    struct bert_config c; /* with the adapter, if one was added */
    enum train_method method;
    struct trainable_options o;
    char *dir;
    uint32_t special[BERT_SPECIALS_MAX]; /* tokens that are not the text's own */
    size_t n_special;

    struct bert_params p; /* ADAPTER: dense layers only; NONE: empty */
    float *dense; /* ADAPTER: where its dense layers lie, the last one, which learns, at the end */
    struct bert_model *frozen; /* LAST_LAYERS, ADAPTER, NONE; else NULL */
    size_t bottom;             /* first layer computed here; c.layers: none */
    bool added_dense;
    uint64_t frozen_hash; /* of the parent's parameters */

    float *learn;     /* [n_learn] what learns: a part of p.all or of dense, or LoRA's own */
    float *m, *v, *g; /* [n_learn] moments, gradients */
    size_t n_learn;
    float *start; /* ADAPTER: [n_learn] what it began as */
    float *own;   /* LORA: `learn` */
    float *base;  /* LORA: the layers' parameters as they were, from that of layer 0 on */
    struct lora lora[BERT_LAYERS_MAX][LORA_MATRICES];

    struct text_cache cache; /* LAST_LAYERS: [tokens,C]; ADAPTER: [C], pooled */
};

/* ---- lora ---- */

/** Set t->base, t->own and t->lora, n_learn and learn: a random, b zero. NOMEM. */
MUST_USE enum err_code bert_lora_new(struct bert_train *t, struct err *e);
/** Add the changes up into p, for the next forward. */
void bert_lora_merge(struct bert_train *t);
/** Values of `work` for T tokens. */
size_t bert_lora_work(const struct bert_train *t, size_t T);
/** Adds to the gradients g of l's a and b, given dy [T,O] and x [T,I] of the product with l's sum. */
struct bert_worker;
void bert_lora_backward(const struct bert_train *t, const struct lora *l,
    const struct bert_worker *w, const float *dy, const float *x, size_t T, float *work);

/* ---- a chunk: whole texts of a batch ---- */

struct chunk_layer {
    float *qkv, *probs, *att;    /* [T,3C], attention_saved, [T,C] */
    float *sum1, *mean1, *rstd1; /* [T,C] what norm1 normalises, [T] */
    float *mid;                  /* [T,C] norm1's output */
    float *up;                   /* [T,F] before the activation */
    float *sum2, *mean2, *rstd2; /* as of norm1 */
};
/* What forward leaves for backward. */
struct chunk_acts {
    float *sum0, *mean0, *rstd0; /* of the embeddings' norm; bottom 0 without frozen only */
    float *x[BERT_LAYERS_MAX +
        1]; /* [T,C] input of layer i, from bottom on; of layer c.layers: what is pooled */
    struct chunk_layer layer[BERT_LAYERS_MAX];    /* from bottom on */
    float *pooled;                                /* [N,C]; room for [N,D] */
    float *z[BERT_DENSE_MAX], *y[BERT_DENSE_MAX]; /* [N,out] before and after the activation */
    float *norms;                                 /* [N] */
};

struct bert_chunk {
    size_t text, count;   /* its texts: text … text + count - 1 of the batch */
    size_t token, tokens; /* its tokens */
    const uint32_t *ids;
    const size_t *starts;     /* [count + 1], from 0 */
    struct text_entry **kept; /* [count] frozen: the text's entry, or NULL */
    const bool *fill; /* [count] frozen: compute it, and write it there if there is an entry */
    size_t n_floats;  /* of its activations */
    float *acts;      /* NULL: computed again for backward */
    uint64_t seed;    /* of dropout; 0: none */
    float *out;       /* [count,D] */
    float *
        parent; /* [count,D], or NULL: what the model made of them before it learned (bert_knows_parent) */
};

/** Are the parent's results at hand in every forward? With an adapter that was added they are what it works on. */
static inline bool bert_knows_parent(const struct bert_train *t)
{
    return t->method == TRAIN_ADAPTER && t->added_dense;
}

/* What a thread works in. */
struct bert_worker {
    float *g;    /* gradients of what learns, as t->g, without the first `skip` */
    size_t skip; /* FULL: the word table's, where only rows in use have gradients */
    float *word; /* FULL: the word table's gradients, or those of its rows in use */
    const uint32_t
        *row; /* FULL: which row of `word` each of the batch's tokens has, or NULL: the token's */
    float *scratch; /* activations that are not kept */
    float *work;    /* bert_chunk_work of the largest chunk */
    uint32_t *ids;  /* frozen: room for a chunk's tokens */
    size_t *starts; /* and texts */
};

/** The gradient of a parameter; NULL: it does not learn. */
static inline float *bert_gradient(
    const struct bert_train *t, const struct bert_worker *w, const float *param)
{
    uintptr_t at = (uintptr_t)param, first = (uintptr_t)(t->learn + w->skip),
              end = (uintptr_t)(t->learn + t->n_learn);
    return at >= first && at < end ? w->g + (at - first) / sizeof *param : NULL;
}

/** Where the activations lie in `base` (NULL: only count); returns the number of floats. */
size_t bert_chunk_place(
    const struct bert_train *t, const struct bert_chunk *c, float *base, struct chunk_acts *ret);
size_t bert_chunk_work(const struct bert_train *t, const struct bert_chunk *c);
/** acts: n_floats of room. Writes c->out. */
void bert_chunk_forward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, float *acts);
/** Given what forward left in acts, and dout [count,D]. */
void bert_chunk_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, float *acts, const float *dout);

/* ---- ends of a chunk ---- */

/** The frozen part: layer `bottom`'s input into a->x[bottom], or where no layer is left the pooled rows; NONE: all of
 * it, into c->out. work: bert_frozen_work. */
void bert_frozen_forward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, const struct chunk_acts *a, float *work);
size_t bert_frozen_work(const struct bert_train *t, const struct bert_chunk *c);
/** Pooling (unless frozen), dense layers, unit length; writes c->out. */
void bert_head_forward(
    const struct bert_train *t, const struct bert_chunk *c, const struct chunk_acts *a);
/** Given dout [count,D]; writes the gradient of the last hidden rows to dx [tokens,C], where a layer is left to take
 * it. work: bert_head_work. */
void bert_head_backward(const struct bert_train *t, const struct bert_chunk *c,
    const struct bert_worker *w, const struct chunk_acts *a, const float *dout, float *dx,
    float *work);
size_t bert_head_work(const struct bert_train *t, const struct bert_chunk *c);

/* ---- a batch ---- */

void *bert_activations_new(const void *model);
void bert_activations_free(void *act);
MUST_USE enum err_code bert_batch_forward(
    void *model, void *act, const struct packed_batch *b, uint64_t seed, float *out, struct err *e);
/** As activations_parent. */
const float *bert_batch_parent(const void *act);
MUST_USE enum err_code bert_batch_backward(
    void *model, void *act, const float *dout, struct err *e);
/** Call fn(arg, i) for i < n, each in a thread of its own where one can be had. */
void bert_in_threads(size_t n, void (*fn)(void *arg, size_t i), void *arg);

/* ---- the folder ---- */

MUST_USE enum err_code bert_write_weights(void *model, const char *dir, struct err *e);
