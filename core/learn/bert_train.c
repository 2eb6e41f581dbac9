/* What learns lies in one array `learn`, with gradients and moments of the same layout:
 *
 *   full          all of p.all
 *   last_layers   the end of it: the last layers and the dense ones
 *   lora          an array of its own: a and b of every matrix
 *   adapter       the last dense layer's weight and bias
 *
 * Steps are AdamW's. The adapter decays towards what it began as, not towards 0: it is a change of a model that
 * works, and no change, not a vector of zeros, is what little data should leave (L2-SP, Li et al. 2018, eq. 5).
 */
#include "core/learn/bert_train_internal.h"

#include "base/map.h"
#include "base/mem.h"
#include "core/learn/adam.h"
#include "core/nn/kernels.h"

#include <math.h>
#include <string.h>

enum { ALIGN_BYTES = 64 };

static void train_free(void *model)
{
    struct bert_train *t = model;
    if (!t) return;
    mem_free(t->dir);
    bert_params_done(&t->p);
    mem_free(t->dense);
    bert_model_free(t->frozen);
    mem_free(t->m);
    mem_free(t->v);
    mem_free(t->g);
    mem_free(t->start);
    mem_free(t->own);
    mem_free(t->base);
    text_cache_done(&t->cache);
    mem_free(t);
}

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory to train the model");
}

/* ---- opening ---- */

static void add_special(struct bert_train *t, uint32_t id)
{
    for (size_t i = 0; i < t->n_special; i++)
        if (t->special[i] == id) return;
    if (t->n_special < BERT_SPECIALS_MAX) t->special[t->n_special++] = id;
}

/* BERT's, and those that the tokenizer puts around an empty text. */
static enum err_code find_specials(
    struct bert_train *t, const struct tokenizer *tokenizer, struct err *e)
{
    static const char *const names[] = { "[CLS]", "[SEP]", "[PAD]", "[MASK]" };
    uint32_t id;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tokenizer_id(tokenizer, str_from(names[i]), &id)) add_special(t, id);
    struct token_ids around = { .ids = NULL };
    struct tokenizer_scratch *scratch = tokenizer_scratch_new();
    if (!scratch) return no_memory(e);
    enum err_code code = tokenizer_encode(tokenizer, STR(""), 0, scratch, &around, e);
    for (size_t i = 0; code == ERR_OK && i < around.n; i++)
        add_special(t, around.ids[i]);
    token_ids_done(&around);
    tokenizer_scratch_free(scratch);
    return code;
}

static enum err_code open_last_layers(struct bert_train *t, struct err *e)
{
    size_t layers = t->o.layers;
    if (layers == 0 || layers > t->c.layers)
        return err_set(e, ERR_UNPROCESSABLE, "%zu layers are to be trained, the model has 1 to %zu",
            layers, t->c.layers);
    t->bottom = t->c.layers - layers;
    t->learn = t->p.layer[t->bottom].qkv_w;
    t->n_learn = t->p.n - (size_t)(t->learn - t->p.all);
    return ERR_OK;
}

/* What a dense layer more or less would make of the model. */
static void add_dense(struct bert_train *t)
{
    size_t D = t->c.dimensions;
    t->c.dense[t->c.n_dense++] =
        (struct bert_dense_config){ .in = D, .out = D, .bias = true, .f = ACTIVATION_IDENTITY };
    t->added_dense = true;
}

static void begin_as_identity(float *w, size_t D)
{
    memset(w, 0, (D * D + D) * sizeof *w);
    for (size_t i = 0; i < D; i++)
        w[i * D + i] = 1;
}

/* The dense layers move to memory of their own; the rest of p is packed in the frozen model. */
static enum err_code open_adapter(struct bert_train *t, struct err *e)
{
    const struct bert_params p = t->p;
    const size_t given = t->c.n_dense;
    size_t n = 0, at = 0;
    if (given == 0) add_dense(t);
    for (size_t i = 0; i < t->c.n_dense; i++)
        n += t->c.dense[i].out * (t->c.dense[i].in + t->c.dense[i].bias);
    t->dense = mem_alloc_aligned(ALIGN_BYTES, n, sizeof *t->dense);
    if (!t->dense) return no_memory(e);
    for (size_t i = 0; i < t->c.n_dense; i++) {
        const struct bert_dense_config *d = &t->c.dense[i];
        size_t values = d->out * (d->in + d->bias);
        t->learn = t->dense + at;
        t->n_learn = values;
        if (i < given)
            memcpy(t->learn, p.dense[i].w, values * sizeof *t->learn);
        else
            begin_as_identity(t->learn, d->out);
        t->p.dense[i].w = t->learn;
        t->p.dense[i].b = d->bias ? t->learn + d->out * d->in : NULL;
        at += values;
    }
    t->start = mem_alloc(t->n_learn, sizeof *t->start);
    if (!t->start) return no_memory(e);
    memcpy(t->start, t->learn, t->n_learn * sizeof *t->start);
    return ERR_OK;
}

static enum err_code open_method(struct bert_train *t, const struct bert_config *parent,
    enum encoder_products products, struct err *e)
{
    enum train_method m = t->method;
    t->bottom = m == TRAIN_ADAPTER || m == TRAIN_NONE ? t->c.layers : 0;
    t->learn = t->p.all;
    t->n_learn = m == TRAIN_NONE ? 0 : t->p.n;
    if (m == TRAIN_LAST_LAYERS) TRY(open_last_layers(t, e));
    if (m == TRAIN_LORA) TRY(bert_lora_new(t, e));
    if (m == TRAIN_LAST_LAYERS || m == TRAIN_ADAPTER || m == TRAIN_NONE)
        TRY(bert_model_new(parent, &t->p, products, &t->frozen, e));
    if (m == TRAIN_ADAPTER) TRY(open_adapter(t, e));
    if (t->bottom == t->c.layers) {
        mem_free(t->p.all);
        t->p.all = NULL;
    }
    if (m == TRAIN_NONE) return ERR_OK;
    t->m = mem_zalloc(t->n_learn, sizeof *t->m);
    t->v = mem_zalloc(t->n_learn, sizeof *t->v);
    t->g = mem_zalloc(t->n_learn, sizeof *t->g);
    return t->m && t->v && t->g ? ERR_OK : no_memory(e);
}

static enum err_code fill(struct bert_train *t, const struct model_source *src, struct err *e)
{
    struct bert_config parent;
    TRY(bert_config_read(src, &parent, e));
    t->c = parent;
    TRY(find_specials(t, src->tokenizer, e));
    TRY(bert_params_read(src, &parent, &t->p, e));
    t->frozen_hash = hash_bytes(t->p.all, t->p.n * sizeof *t->p.all, 0);
    text_cache_init(&t->cache, t->o.memory_bytes);
    return open_method(t, &parent, src->products, e);
}

static enum err_code train_open(const struct model_source *src, const struct trainable_options *o,
    void **ret_model, enum train_method *ret_method, struct err *e)
{
    struct bert_train *t = mem_zalloc(1, sizeof *t);
    if (!t) return no_memory(e);
    t->o = *o;
    t->method = o->method == TRAIN_AUTO ? TRAIN_ADAPTER : o->method;
    if (t->o.threads < 1) t->o.threads = 1;
    if (t->o.threads > BERT_THREADS_MAX) t->o.threads = BERT_THREADS_MAX;
    if (t->o.rank < 1) t->o.rank = 1;
    t->dir = mem_strdup(src->dir);
    enum err_code code = t->dir ? fill(t, src, e) : no_memory(e);
    if (code != ERR_OK) {
        train_free(t);
        return code;
    }
    *ret_model = t;
    *ret_method = t->method;
    return ERR_OK;
}

/* ---- what it says of itself ---- */

static size_t train_dimensions(const void *model)
{
    return ((const struct bert_train *)model)->c.dimensions;
}

static size_t train_max_tokens(const void *model)
{
    return ((const struct bert_train *)model)->c.max_tokens;
}

static bool train_has_vector(const void *model, uint32_t id)
{
    const struct bert_train *t = model;
    for (size_t i = 0; i < t->n_special; i++)
        if (t->special[i] == id) return false;
    return true;
}

static double train_default_rate(const void *model)
{
    static const double rates[] = {
        [TRAIN_FULL] = 2e-5, [TRAIN_LAST_LAYERS] = 1e-4, [TRAIN_LORA] = 2e-4, [TRAIN_ADAPTER] = 1e-3
    };
    enum train_method m = ((const struct bert_train *)model)->method;
    return (size_t)m < sizeof rates / sizeof *rates ? rates[m] : 0;
}

static bool train_is_full(const void *model)
{
    return ((const struct bert_train *)model)->cache.full;
}

static bool train_knows_parent(const void *model)
{
    return bert_knows_parent(model);
}

static uint64_t train_frozen_hash(const void *model)
{
    return ((const struct bert_train *)model)->frozen_hash;
}

static bool train_state(const void *model, size_t i, struct safetensor_out *ret)
{
    const struct bert_train *t = model;
    const char *const names[] = { "params", "adam.m", "adam.v" };
    const float *const data[] = { t->learn, t->m, t->v };
    if (i >= sizeof names / sizeof *names || t->n_learn == 0) return false;
    *ret = (struct safetensor_out){ names[i], DTYPE_F32, 1, { t->n_learn }, data[i] };
    return true;
}

/* ---- steps ---- */

struct step {
    struct bert_train *t;
    int64_t step;
    double rate;
    const struct adam_options *o;
    size_t n_parts;
};

/* Values [from, to) of `learn`, all of which decay or do not. */
static void step_range(const struct step *s, size_t from, size_t to, bool decays)
{
    struct bert_train *t = s->t;
    float *w = t->learn + from;
    double decay = decays && !t->start ? t->o.weight_decay : 0;
    if (t->start && decays) {
        float pull = (float)(s->rate * t->o.weight_decay);
        for (size_t i = 0; i < to - from; i++)
            w[i] -= pull * (w[i] - t->start[from + i]);
    }
    adamw_step(w, t->m + from, t->v + from, t->g + from, to - from, s->step, s->rate, decay, s->o);
    memset(t->g + from, 0, (to - from) * sizeof *t->g);
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The part-th of n_parts parts of `learn`. */
static void step_part(void *arg, size_t part)
{
    const struct step *s = arg;
    const struct bert_train *t = s->t;
    size_t at = t->n_learn * part / s->n_parts, end = t->n_learn * (part + 1) / s->n_parts;
    if (t->method == TRAIN_LORA || t->method == TRAIN_ADAPTER) {
        /* All are matrices, but for the adapter's bias at the end. */
        size_t bias = t->n_learn;
        if (t->method == TRAIN_ADAPTER) {
            const struct bert_dense_config *d = &t->c.dense[t->c.n_dense - 1];
            bias = d->out * d->in;
        }
        if (at < bias) step_range(s, at, min_size(end, bias), true);
        if (end > bias) step_range(s, at > bias ? at : bias, end, false);
        return;
    }
    size_t first = (size_t)(t->learn - t->p.all);
    struct bert_tensor x;
    for (size_t i = 0; bert_tensor_at(&t->c, i, &x); i++) {
        if (x.at + x.n <= first + at || x.at >= first + end) continue;
        size_t from = x.at > first + at ? x.at - first : at;
        step_range(s, from, min_size(x.at + x.n - first, end), x.decay);
    }
}

/* Source: Pascanu et al. 2013, section 3.2; the norm of all gradients together. */
static void clip(struct bert_train *t)
{
    enum { BLOCK = 4096 };
    const struct nn_kernels *k = nn_kernels();
    double sum = 0;
    if (t->o.clip <= 0) return;
    for (size_t i = 0; i < t->n_learn; i += BLOCK) {
        size_t n = min_size(BLOCK, t->n_learn - i);
        sum += (double)k->dot(t->g + i, t->g + i, n);
    }
    double norm = sqrt(sum);
    if (norm > t->o.clip) k->scale(t->g, (float)(t->o.clip / norm), t->g, t->n_learn);
}

static void train_step(void *model, int64_t step, double rate, const struct adam_options *o)
{
    struct bert_train *t = model;
    struct step s = { t, step, rate, o, t->o.threads };
    clip(t);
    bert_in_threads(s.n_parts, step_part, &s);
}

const struct trainable_ops bert_train_ops = {
    .encoder = &bert_encoder_ops,
    .open = train_open,
    .free = train_free,
    .dimensions = train_dimensions,
    .max_tokens = train_max_tokens,
    .has_vector = train_has_vector,
    .activations_new = bert_activations_new,
    .activations_free = bert_activations_free,
    .forward = bert_batch_forward,
    .parent = bert_batch_parent,
    .knows_parent = train_knows_parent,
    .is_full = train_is_full,
    .backward = bert_batch_backward,
    .step = train_step,
    .default_rate = train_default_rate,
    .frozen_hash = train_frozen_hash,
    .state = train_state,
    .write_weights = bert_write_weights,
};
