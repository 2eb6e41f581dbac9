/* What all architectures share: opening a folder, putting a state back, writing a folder. */
#include "core/learn/trainable.h"

#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/learn/model_folder.h"
#include "core/learn/trainable_ops.h"

#include <string.h>

static const struct trainable_ops *const ARCHITECTURES[] = { &static_train_ops, &bert_train_ops };

struct trainable {
    const struct trainable_ops *ops;
    struct tokenizer *tokenizer;
    char *dir;
    size_t max_tokens;
    struct model_prompts prompts;
    uint32_t unknown; /* id of the unknown token, or UINT32_MAX */
    enum train_method method;
    void *model; /* the architecture's own */
};

struct activations {
    const struct trainable_ops *ops;
    void *own; /* the architecture's */
};

static enum err_code pick(
    const struct encoder_ops *encoder, const struct trainable_ops **ret_ops, struct err *e)
{
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof *ARCHITECTURES; i++) {
        if (ARCHITECTURES[i]->encoder != encoder) continue;
        *ret_ops = ARCHITECTURES[i];
        return ERR_OK;
    }
    return err_set(
        e, ERR_UNPROCESSABLE, "models of architecture %s cannot be trained yet", encoder->name);
}

const char *train_method_name(enum train_method m)
{
    static const char *const names[] = { "auto", "full", "last_layers", "lora", "adapter" };
    return (size_t)m < sizeof names / sizeof *names ? names[m] : NULL;
}

static enum err_code load_weights(struct trainable *t, const struct model_config *config,
    const struct trainable_options *o, struct err *e)
{
    struct weights *weights = NULL;
    TRY(weights_open(t->dir, NULL, &weights, e));
    struct model_source src = { t->dir, config, weights, t->tokenizer, vec_select(VEC_BEST),
        PRODUCTS_PACKED }; /* the same to the bit in whatever batch */
    enum err_code code = t->ops->open(&src, o, &t->model, &t->method, e);
    weights_close(weights);
    return code;
}

static enum err_code load_all(
    struct trainable *t, const char *dir, const struct trainable_options *o, struct err *e)
{
    struct model_config config;
    const struct encoder_ops *encoder = NULL;
    if (!dir_exists(dir)) return err_set(e, ERR_NOT_FOUND, "no such model folder");
    TRY(model_config_read(dir, &config, &encoder, e));
    TRY(pick(encoder, &t->ops, e));
    TRY(tokenizer_load(dir, &t->tokenizer, e));
    t->dir = mem_strdup(dir);
    if (!t->dir) return err_set(e, ERR_NOMEM, "no memory to load the model");
    t->max_tokens = config.max_tokens;
    t->prompts = config.prompts;
    if (!tokenizer_id(t->tokenizer, STR("[UNK]"), &t->unknown)) t->unknown = UINT32_MAX;
    return load_weights(t, &config, o, e);
}

bool train_method_read(const char *name, enum train_method *ret)
{
    for (int m = TRAIN_AUTO; m < TRAIN_NONE; m++) {
        if (strcmp(name, train_method_name((enum train_method)m)) != 0) continue;
        *ret = (enum train_method)m;
        return true;
    }
    return false;
}

enum err_code trainable_open(const char *model_dir, const struct trainable_options *o,
    struct trainable **ret_t, struct err *e)
{
    const struct trainable_options defaults = TRAINABLE_OPTIONS_DEFAULTS;
    struct trainable *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory to load the model");
    enum err_code code = load_all(t, model_dir, o ? o : &defaults, e);
    if (code != ERR_OK) {
        trainable_free(t);
        if (e) err_wrap(e, "model %s", model_dir);
        return code;
    }
    *ret_t = t;
    return ERR_OK;
}

void trainable_free(struct trainable *t)
{
    if (!t) return;
    if (t->ops) t->ops->free(t->model);
    tokenizer_free(t->tokenizer);
    mem_free(t->dir);
    mem_free(t);
}

enum train_method trainable_method(const struct trainable *t)
{
    return t->method;
}

bool trainable_keeps_texts(const struct trainable *t)
{
    return t->method == TRAIN_LAST_LAYERS || t->method == TRAIN_ADAPTER || t->method == TRAIN_NONE;
}

double trainable_default_rate(const struct trainable *t)
{
    return t->ops->default_rate ? t->ops->default_rate(t->model) : 0;
}

size_t trainable_dimensions(const struct trainable *t)
{
    return t->ops->dimensions(t->model);
}

const struct tokenizer *trainable_tokenizer(const struct trainable *t)
{
    return t->tokenizer;
}

size_t trainable_max_tokens(const struct trainable *t)
{
    return t->ops->max_tokens ? t->ops->max_tokens(t->model) : t->max_tokens;
}

const char *trainable_prompt(const struct trainable *t, enum encode_kind kind)
{
    return t->prompts.text[kind];
}

bool trainable_special_tokens(const struct trainable *t)
{
    return t->ops->encoder->special_tokens;
}

bool trainable_knows(const struct trainable *t, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] != t->unknown && t->ops->has_vector(t->model, ids[i])) return true;
    return false;
}

enum err_code activations_new(const struct trainable *t, struct activations **ret_a, struct err *e)
{
    struct activations *a = mem_zalloc(1, sizeof *a);
    if (a) {
        a->ops = t->ops;
        a->own = t->ops->activations_new(t->model);
    }
    if (!a || !a->own) {
        activations_free(a);
        return err_set(e, ERR_NOMEM, "no memory to train");
    }
    *ret_a = a;
    return ERR_OK;
}

void activations_free(struct activations *a)
{
    if (!a) return;
    a->ops->activations_free(a->own);
    mem_free(a);
}

enum err_code trainable_forward(struct trainable *t, struct activations *a,
    const struct packed_batch *b, uint64_t seed, float *out, struct err *e)
{
    return t->ops->forward(t->model, a->own, b, seed, out, e);
}

bool trainable_is_full(const struct trainable *t)
{
    return t->ops->is_full && t->ops->is_full(t->model);
}

bool trainable_knows_parent(const struct trainable *t)
{
    return t->ops->knows_parent && t->ops->knows_parent(t->model);
}

const float *activations_parent(const struct activations *a)
{
    return a->ops->parent ? a->ops->parent(a->own) : NULL;
}

enum err_code trainable_backward(
    struct trainable *t, struct activations *a, const float *dout, struct err *e)
{
    ASSERT_BUG(t->method != TRAIN_NONE);
    return t->ops->backward(t->model, a->own, dout, e);
}

void trainable_step(struct trainable *t, int64_t step, double rate, const struct adam_options *o)
{
    ASSERT_BUG(t->method != TRAIN_NONE);
    t->ops->step(t->model, step, rate, o);
}

/* ---- state ---- */

size_t trainable_state_count(const struct trainable *t)
{
    struct safetensor_out unused;
    size_t n = 0;
    while (t->ops->state(t->model, n, &unused))
        n++;
    return n;
}

void trainable_state_get(const struct trainable *t, size_t i, struct safetensor_out *ret)
{
    ASSERT_BUG(t->ops->state(t->model, i, ret));
}

uint64_t trainable_hash(const struct trainable *t)
{
    struct safetensor_out out;
    uint64_t hash = 0;
    for (size_t i = 0; t->ops->state(t->model, i, &out); i++) {
        size_t n = dtype_size_bytes(out.dtype);
        for (size_t j = 0; j < out.n_dims; j++)
            n *= out.dims[j]; /* it is in memory: no overflow */
        hash = hash_bytes(out.data, n, hash);
    }
    return hash;
}

uint64_t trainable_hash_all(const struct trainable *t)
{
    uint64_t frozen = t->ops->frozen_hash ? t->ops->frozen_hash(t->model) : 0;
    const uint64_t parts[] = { trainable_hash(t), frozen };
    return hash_bytes(parts, sizeof parts, 0);
}

static enum err_code find_state(const struct safetensors *s, const struct safetensor_out *want,
    const struct safetensor **ret_found, struct err *e)
{
    const struct safetensor *got = safetensors_find(s, want->name);
    bool fits = got && got->dtype == want->dtype && got->n_dims == want->n_dims;
    for (size_t i = 0; fits && i < want->n_dims; i++)
        fits = got->dims[i] == want->dims[i];
    if (!fits)
        return err_set(
            e, ERR_CORRUPT, "tensor \"%s\" is missing or does not fit the model", want->name);
    *ret_found = got;
    return ERR_OK;
}

enum err_code trainable_state_put(struct trainable *t, const struct safetensors *s, struct err *e)
{
    struct safetensor_out want;
    const struct safetensor *got = NULL;
    for (size_t i = 0; t->ops->state(t->model, i, &want); i++)
        TRY(find_state(s, &want, &got, e));
    for (size_t i = 0; t->ops->state(t->model, i, &want); i++) {
        TRY(find_state(s, &want, &got, e));
        /* It is const for others only: the memory is t's. */
        memcpy((void *)(uintptr_t)want.data, got->data, got->size_bytes);
    }
    return ERR_OK;
}

static enum err_code write_weights(const void *arg, const char *dir, struct err *e)
{
    const struct trainable *t = arg;
    return t->ops->write_weights(t->model, dir, e);
}

enum err_code trainable_export(const struct trainable *t, const char *out_dir, struct err *e)
{
    return model_folder_make(t->dir, out_dir, write_weights, t, e);
}
