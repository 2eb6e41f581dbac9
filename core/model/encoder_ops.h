/* Layer: core. May include: base. Internal to core/model.
 *
 * What an architecture brings: one const table each, picked by the model
 * folder's config.json.
 *
 * Threads: a model is immutable once loaded; forward may run in any number of
 * threads, each with its own work space and output.
 */
#pragma once

#include "core/model/encoder.h"
#include "core/model/prompts.h"
#include "core/model/weights.h"
#include "core/text/tokenizer.h"

/* What config.json, modules.json and config_sentence_transformers.json say, checked for type and range only. An
 * architecture whose `modules` is NULL reads the first two again by itself: max_tokens and normalize are not set. */
struct model_config {
    char name[65];
    char model_type[32], architecture[64]; /* "" where not given */
    char pooling[16];                      /* likewise */
    size_t hidden_size, vocab_size;        /* 0: not given */
    size_t max_tokens;                     /* 0: no limit */
    bool normalize;
    struct model_prompts prompts;
};

/* What a model is loaded from; borrowed for the call. */
struct model_source {
    const char *dir;
    const struct model_config *config;
    const struct weights *weights; /* released after load */
    const struct tokenizer *tokenizer;
    const struct vec_kernels *kernels;
    enum encoder_products products;
};

/* Texts of a batch, one after the other: text i has ids[starts[i]] … ids[starts[i + 1] - 1], at
 * least one. */
struct packed_batch {
    const uint32_t *ids;
    const size_t *starts; /* [count + 1] */
    size_t count;
};

struct encoder_ops {
    const char *model_type;           /* config's */
    const char *const *architectures; /* one of them must be config's, where it names one */
    const char *name;                 /* encoder_info.architecture */
    const char *const
        *modules; /* sentence-transformers modules that may be listed; NULL: load looks at them */
    bool special_tokens; /* tokenise with what the post-processor adds */

    /** Fills dimensions, vocab_size, size_bytes, flops_per_token of ret_info; max_tokens where config.json's is not
     * all there is to know. */
    MUST_USE enum err_code (*load)(const struct model_source *src, void **ret_model,
        struct encoder_info *ret_info, struct err *e);
    /** Accepts NULL. */
    void (*free)(void *model);
    /** floats of work space that a forward needs */
    size_t (*workspace_floats)(const void *model);
    /** May this text be encoded? ERR_EMPTY: nothing in it has a vector. */
    MUST_USE enum err_code (*check)(
        const void *model, const uint32_t *ids, size_t n, struct err *e);
    /** out [count, dimensions]; work [workspace_floats] */
    void (*forward)(const void *model, const struct packed_batch *b, float *work, float *out);
};

extern const struct encoder_ops static_encoder_ops;

/* A static encoder's table, for training. */
struct static_table {
    float *rows; /* [n_rows, dim], the factors of the tokens multiplied in; of mem_alloc_aligned */
    size_t n_rows, dim;
    const char *tensor; /* the name under which such a table without factors is stored; static */
};
/** Checked as a load does. */
MUST_USE enum err_code static_encoder_table(
    const struct model_source *src, struct static_table *ret_table, struct err *e);

/** Read DIR/config.json and, where there is one, DIR/modules.json; modules that are not in ops'
 * list are UNPROCESSABLE. */
MUST_USE enum err_code model_config_read(const char *dir, struct model_config *ret_config,
    const struct encoder_ops **ret_ops, struct err *e);
