/* Layer: core. May include: base.
 *
 * A model that can be trained: an architecture's parameters as f32 with their
 * gradients and optimiser state, behind one const table an architecture
 * (trainable_ops), as encoders stand behind encoder_ops. The static encoder is
 * the first.
 *
 * Arguments are borrowed for the call; what `ret_` returns belongs to the caller.
 * Threads: one at a time.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "core/learn/adam.h"
#include "core/model/encoder_ops.h"
#include "core/model/safetensors.h"

struct trainable;

/* Which parameters learn. What does not is computed once a text where memory allows, and kept. */
enum train_method {
    TRAIN_AUTO,        /* what suits the architecture: static: full; BERT: adapter */
    TRAIN_FULL,        /* all */
    TRAIN_LAST_LAYERS, /* the last `layers` transformer layers, and dense layers after them */
    TRAIN_LORA, /* low-rank changes of all layers' matrices, merged on export. Hu et al. 2021, section 4.1 */
    TRAIN_ADAPTER, /* one dense layer after pooling, the identity at first; added if the model has none */
    TRAIN_NONE, /* none: a parent to compare with */
};
/** "auto", "full", "last_layers", "lora", "adapter"; NULL: none of these. */
const char *train_method_name(enum train_method m);
/** The method of that name; false: none of these. */
bool train_method_read(const char *name, enum train_method *ret);

struct trainable_options {
    enum train_method method;
    size_t layers;       /* LAST_LAYERS: how many */
    size_t rank;         /* LORA */
    double alpha;        /* LORA: the change is alpha / rank * B A */
    double dropout;      /* of hidden values, in what learns */
    double weight_decay; /* AdamW's; matrices and tables only */
    double clip;         /* largest norm of all gradients together; 0: none. Pascanu et al. 2013 */
    unsigned threads;    /* that share a batch, for architectures that cut it; static: not used */
    size_t
        memory_bytes; /* for activations, and as much again for what is kept of frozen parts; beyond it both are
                            computed again (Gao et al. 2021, GradCache) */
};
#define TRAINABLE_OPTIONS_DEFAULTS                                                                 \
    ((struct trainable_options){ .layers = 1,                                                      \
        .rank = 8,                                                                                 \
        .alpha = 16,                                                                               \
        .weight_decay = 0.01,                                                                      \
        .clip = 1,                                                                                 \
        .threads = 1,                                                                              \
        .memory_bytes = (size_t)1 << 30 })

/** What one forward leaves for its backward: the batch and the activations. */
struct activations;

/**
 * The parameters of a model folder (any dtype, as f32).
 * o: NULL: TRAINABLE_OPTIONS_DEFAULTS.
 * Errors: as encoder_load; UNPROCESSABLE: the architecture cannot be trained yet, or not by this method.
 */
MUST_USE enum err_code trainable_open(const char *model_dir, const struct trainable_options *o,
    struct trainable **ret_t, struct err *e);
/** The method in use, never AUTO. */
enum train_method trainable_method(const struct trainable *t);
/** Do equal tokens give equal vectors until the next step, so that leaving out tokens costs what is kept of frozen
 * parts? Then a trainer should not drop tokens. */
bool trainable_keeps_texts(const struct trainable *t);
/** Has what is kept of frozen parts reached its limit? */
bool trainable_is_full(const struct trainable *t);
/** A peak learning rate that suits architecture and method; 0: the caller has to know one (static). */
double trainable_default_rate(const struct trainable *t);
void trainable_free(struct trainable *t);
size_t trainable_dimensions(const struct trainable *t);
const struct tokenizer *trainable_tokenizer(const struct trainable *t);
/** Longest text in tokens; 0: no limit. */
size_t trainable_max_tokens(const struct trainable *t);
/** What the model is served with before a text of that kind, tokenised with it as one; "": nothing. Borrowed from t. */
const char *trainable_prompt(const struct trainable *t, enum encode_kind kind);
/** Texts are tokenised with what the tokenizer's post-processor adds. */
bool trainable_special_tokens(const struct trainable *t);
/** Is there anything to learn from in these tokens: one with a vector, other than the unknown one? */
bool trainable_knows(const struct trainable *t, const uint32_t *ids, size_t n);

MUST_USE enum err_code activations_new(
    const struct trainable *t, struct activations **ret_a, struct err *e);
void activations_free(struct activations *a);

/** out [b->count, D] unit rows; a row of zeros where the vector has no direction. The batch is copied into `a`.
 * seed: of dropout, another for each step; 0: no dropout. NOMEM. */
MUST_USE enum err_code trainable_forward(struct trainable *t, struct activations *a,
    const struct packed_batch *b, uint64_t seed, float *out, struct err *e);
/** Does every forward bring what the model made of the batch before it learned? */
bool trainable_knows_parent(const struct trainable *t);
/** That, [b->count, D] unit rows of the latest forward into a, borrowed until the next one; NULL: it does not. */
const float *activations_parent(const struct activations *a);
/** Add the gradients of the parameters, given dout [count, D] of the latest forward into `a`. NOMEM. */
MUST_USE enum err_code trainable_backward(
    struct trainable *t, struct activations *a, const float *dout, struct err *e);
/** One optimiser step with the gathered gradients, which are then zero. step counts from 1. */
void trainable_step(struct trainable *t, int64_t step, double rate, const struct adam_options *o);

/** Parameters that learn, and optimiser state, as tensors for a checkpoint, borrowed from t; at most
 * TRAINABLE_STATE_MAX. Gradients are not among them. */
enum { TRAINABLE_STATE_MAX = 64 };
size_t trainable_state_count(const struct trainable *t);
/** The i-th of them. */
void trainable_state_get(const struct trainable *t, size_t i, struct safetensor_out *ret);
/** 64-bit hash of their bytes, to tell damage and another model; not cryptographic. */
uint64_t trainable_hash(const struct trainable *t);
/** As trainable_hash, and of what is frozen as well. */
uint64_t trainable_hash_all(const struct trainable *t);
/** Put them back, to the bit; other tensors in s are left alone. CORRUPT: a tensor is missing or of
 * another shape; t is then as before. */
MUST_USE enum err_code trainable_state_put(
    struct trainable *t, const struct safetensors *s, struct err *e);

/** Write a model folder that encoder_load, and sentence-transformers, open: weights in half precision,
 * everything else copied from the folder this was opened from but its README.md and weights in other
 * formats. A BERT model keeps the type its weights were stored in. The folder appears whole or not at all.
 * Errors: FULL, IO, NOMEM, CONFLICT (there already), UNPROCESSABLE (a parameter is not finite). */
MUST_USE enum err_code trainable_export(
    const struct trainable *t, const char *out_dir, struct err *e);
