/* Layer: core. May include: base. Internal to core/learn.
 *
 * What an architecture brings so that it can be trained: one const table each,
 * found by the table it encodes with.
 *
 * Threads: one at a time.
 */
#pragma once

#include "core/learn/trainable.h"

struct trainable_ops {
    const struct encoder_ops *encoder;

    /** o->method is one the caller asked for, or AUTO; *ret_method: the one in use. UNPROCESSABLE: not this one. */
    MUST_USE enum err_code (*open)(const struct model_source *src,
        const struct trainable_options *o, void **ret_model, enum train_method *ret_method,
        struct err *e);
    /** Accepts NULL. */
    void (*free)(void *model);
    size_t (*dimensions)(const void *model);
    /** Longest text in tokens. May be NULL: what the configuration says. */
    size_t (*max_tokens)(const void *model);
    /** Has the token a vector of its own, so that there is something to learn? */
    bool (*has_vector)(const void *model, uint32_t id);

    /** NULL: no memory. */
    void *(*activations_new)(const void *model);
    /** Accepts NULL. */
    void (*activations_free)(void *act);
    /* As the functions of trainable.h. */
    MUST_USE enum err_code (*forward)(void *model, void *act, const struct packed_batch *b,
        uint64_t seed, float *out, struct err *e);
    MUST_USE enum err_code (*backward)(void *model, void *act, const float *dout, struct err *e);
    /** Optional, both: as trainable_knows_parent and activations_parent. */
    bool (*knows_parent)(const void *model);
    bool (*is_full)(const void *model); /* optional: as trainable_is_full */
    const float *(*parent)(const void *act);
    void (*step)(void *model, int64_t step, double rate, const struct adam_options *o);

    /** May be NULL: the caller has to know one. */
    double (*default_rate)(const void *model);
    /** Hash of what is frozen. May be NULL: nothing is. */
    uint64_t (*frozen_hash)(const void *model);
    /** Tensor i of the state, parameters and moments; false: there are only i. */
    bool (*state)(const void *model, size_t i, struct safetensor_out *ret);
    /** Complete the folder `dir`, into which everything but weights was copied: write model.safetensors, and the files
     * of modules that are new. UNPROCESSABLE: a parameter is not finite. */
    MUST_USE enum err_code (*write_weights)(void *model, const char *dir, struct err *e);
};

extern const struct trainable_ops static_train_ops, bert_train_ops;
