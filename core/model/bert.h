/* Layer: core. May include: base. Internal to core/model and core/learn.
 *
 * What a BERT folder says, and its parameters as plain f32: shared by the encoder,
 * which packs them, and by training, which changes them. Architecture: Devlin et al.
 * 2018, as Hugging Face stores it ("BertModel"); after it the modules of
 * sentence-transformers: pooling, up to BERT_DENSE_MAX dense layers, normalisation.
 */
#pragma once

#include "core/model/encoder_ops.h"
#include "core/nn/activation.h"

enum { BERT_LAYERS_MAX = 64, BERT_DENSE_MAX = 4 };

enum bert_pooling { BERT_POOL_MEAN, BERT_POOL_CLS };

struct bert_dense_config {
    char path[64]; /* its folder inside the model's, "2_Dense" */
    size_t in, out;
    bool bias;
    enum activation f;
};

struct bert_config {
    size_t layers, hidden, heads, intermediate; /* hidden is a multiple of heads */
    size_t vocab, positions, types;
    float eps; /* of LayerNorm */
    enum activation f;
    enum bert_pooling pooling;
    struct bert_dense_config dense[BERT_DENSE_MAX];
    size_t n_dense;
    bool normalize;
    size_t max_tokens; /* ≤ positions */
    size_t dimensions; /* of the result */
};

/* One layer. w [out, in], as PyTorch stores it; query, key and value are one matrix. */
struct bert_layer {
    float *qkv_w, *qkv_b;     /* [3C,C], [3C] */
    float *out_w, *out_b;     /* [C,C], [C] */
    float *norm1_g, *norm1_b; /* [C] */
    float *up_w, *up_b;       /* [F,C], [F] */
    float *down_w, *down_b;   /* [C,F], [C] */
    float *norm2_g, *norm2_b; /* [C] */
};
struct bert_params {
    float *word, *position, *type; /* [V,C], [P,C], [types,C] */
    float *norm_g, *norm_b;        /* [C] */
    struct bert_layer layer[BERT_LAYERS_MAX];
    struct {
        float *w, *b; /* [out,in], [out] or NULL */
    } dense[BERT_DENSE_MAX];
    float *all; /* where all of them lie, one after the other; of mem_alloc_aligned */
    size_t n;   /* values in it */
};

/** Read config.json, modules.json, 1_Pooling/config.json, sentence_bert_config.json, tokenizer_config.json, as far as
 * they are there. Errors name file, field, expected and found: UNPROCESSABLE, CORRUPT, IO, NOMEM. */
MUST_USE enum err_code bert_config_read(
    const struct model_source *src, struct bert_config *ret_c, struct err *e);

/** Read all parameters as f32. Errors name tensor, file, expected and found: UNPROCESSABLE (missing, shape,
 * dtype; a layer more than the configuration has), CORRUPT (not finite), NOMEM. */
MUST_USE enum err_code bert_params_read(const struct model_source *src, const struct bert_config *c,
    struct bert_params *ret_p, struct err *e);
/** Accepts a zeroed struct. */
void bert_params_done(struct bert_params *p);
/** Pointers into p->all, which the caller has allocated with bert_params_count(c) values; for gradients and
 * moments of the same layout. */
void bert_params_place(const struct bert_config *c, struct bert_params *p);
size_t bert_params_count(const struct bert_config *c);

/* A parameter by its place in `all` and its names in files. */
struct bert_tensor {
    char name[96]; /* "encoder.layer.3.attention.self.query.weight"; dense: "linear.weight" */
    int dense;     /* which dense layer's file; -1: the model's own */
    int layer;     /* which layer; -1: the embeddings; `layers`: dense */
    bool decay;    /* a matrix or table, not a bias or LayerNorm */
    size_t n_dims, dims[2];
    size_t at,
        n; /* values all[at] … all[at + n - 1]; query, key and value are three tensors here */
};
/** The i-th tensor in the order of `all`; false: there are only i. */
bool bert_tensor_at(const struct bert_config *c, size_t i, struct bert_tensor *ret);

/* ---- inference ---- */

struct bert_model; /* what encoder_ops.load makes; immutable, any number of threads */

/** Run the embeddings and the first n_layers layers: out [T,C], T = b->starts[b->count]. work: floats of
 * bert_workspace_floats. No text has more than max_tokens tokens. A text's rows do not depend, bit for bit, on the
 * others in the batch; with BLAS, to rounding. */
void bert_hidden(const struct bert_model *m, const struct packed_batch *b, size_t n_layers,
    float *work, float *out);
/** Both: out [count, dimensions]. The hidden rows stay in the work space, block by block. */
void bert_forward(
    const struct bert_model *m, const struct packed_batch *b, float *work, float *out);
/** From hidden rows to results: pooling, dense layers, normalisation; out [count, dimensions]. */
void bert_head(const struct bert_model *m, const struct packed_batch *b, const float *hidden,
    float *work, float *out);
size_t bert_workspace_floats(const struct bert_model *m);
/** Pack the parameters. products: as in encoder.h. NOMEM. */
MUST_USE enum err_code bert_model_new(const struct bert_config *c, const struct bert_params *p,
    enum encoder_products products, struct bert_model **ret_m, struct err *e);
/** Accepts NULL. */
void bert_model_free(struct bert_model *m);
size_t bert_model_bytes(const struct bert_model *m);

extern const struct encoder_ops bert_encoder_ops;
