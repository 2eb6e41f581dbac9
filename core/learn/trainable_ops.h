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

    MUST_USE enum err_code (*open)(const struct model_source *src, void **ret_model, struct err *e);
    /** Accepts NULL. */
    void (*free)(void *model);
    size_t (*dimensions)(const void *model);
    /** Has the token a vector? */
    bool (*has_vector)(const void *model, uint32_t id);

    /** NULL: no memory. */
    void *(*activations_new)(const void *model);
    /** Accepts NULL. */
    void (*activations_free)(void *act);
    /* As the functions of trainable.h. */
    MUST_USE enum err_code (*forward)(
        const void *model, void *act, const struct packed_batch *b, float *out, struct err *e);
    MUST_USE enum err_code (*backward)(void *model, void *act, const float *dout, struct err *e);
    void (*step)(void *model, int64_t step, double rate, const struct adam_options *o);

    /** Tensor i of the state, parameters and moments; false: there are only i. */
    bool (*state)(const void *model, size_t i, struct safetensor_out *ret);
    /** Write model.safetensors at path. UNPROCESSABLE: a parameter is not finite. */
    MUST_USE enum err_code (*write_weights)(const void *model, const char *path, struct err *e);
};

extern const struct trainable_ops static_train_ops;
