/* One table of names and shapes says what a model consists of; everything else walks over it.
 *
 *   all = [ word | position | type | norm_g | norm_b | layer 0 | layer 1 | … | dense 0: w, b | … ]
 *   a layer = [ query_w key_w value_w | query_b key_b value_b | out_w out_b norm1_g norm1_b
 *               up_w up_b down_w down_b norm2_g norm2_b ]
 *
 * so that the three matrices of a layer's attention are one [3C,C]. All shapes are checked before memory is taken
 * for the values: a configuration cannot ask for more of it than the file has.
 *
 * In files the network's names may have "bert." before them (models saved with a head), and old ones call LayerNorm's
 * weight and bias gamma and beta. Heads, the pooler and stored position numbers are left alone; a tensor in the
 * network that the configuration does not know of is an error, as the model would not be what was trained.
 */
#include "core/model/bert_internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 64 };
enum size { NONE, HIDDEN, INTER, VOCAB, POSITIONS, TYPES };

struct part {
    const char *name;
    enum size rows, columns; /* columns NONE: a vector */
    bool decay;
};

static const struct part EMBEDDINGS[] = {
    { "embeddings.word_embeddings.weight", VOCAB, HIDDEN, true },
    { "embeddings.position_embeddings.weight", POSITIONS, HIDDEN, true },
    { "embeddings.token_type_embeddings.weight", TYPES, HIDDEN, true },
    { "embeddings.LayerNorm.weight", HIDDEN, NONE, false },
    { "embeddings.LayerNorm.bias", HIDDEN, NONE, false },
};
static const struct part LAYER[] = {
    { "attention.self.query.weight", HIDDEN, HIDDEN, true },
    { "attention.self.key.weight", HIDDEN, HIDDEN, true },
    { "attention.self.value.weight", HIDDEN, HIDDEN, true },
    { "attention.self.query.bias", HIDDEN, NONE, false },
    { "attention.self.key.bias", HIDDEN, NONE, false },
    { "attention.self.value.bias", HIDDEN, NONE, false },
    { "attention.output.dense.weight", HIDDEN, HIDDEN, true },
    { "attention.output.dense.bias", HIDDEN, NONE, false },
    { "attention.output.LayerNorm.weight", HIDDEN, NONE, false },
    { "attention.output.LayerNorm.bias", HIDDEN, NONE, false },
    { "intermediate.dense.weight", INTER, HIDDEN, true },
    { "intermediate.dense.bias", INTER, NONE, false },
    { "output.dense.weight", HIDDEN, INTER, true },
    { "output.dense.bias", HIDDEN, NONE, false },
    { "output.LayerNorm.weight", HIDDEN, NONE, false },
    { "output.LayerNorm.bias", HIDDEN, NONE, false },
};
enum {
    N_EMBEDDINGS = sizeof EMBEDDINGS / sizeof *EMBEDDINGS,
    N_LAYER = sizeof LAYER / sizeof *LAYER
};

static size_t size_of(const struct bert_config *c, enum size s)
{
    const size_t sizes[] = { [NONE] = 1,
        [HIDDEN] = c->hidden,
        [INTER] = c->intermediate,
        [VOCAB] = c->vocab,
        [POSITIONS] = c->positions,
        [TYPES] = c->types };
    return sizes[s];
}

/* The sizes' limits are such that no product and no sum here overflows 64 bits. */
static size_t count(const struct bert_config *c, const struct part *p)
{
    return size_of(c, p->rows) * size_of(c, p->columns);
}

static size_t sum(const struct bert_config *c, const struct part *p, size_t n)
{
    size_t values = 0;
    for (size_t i = 0; i < n; i++)
        values += count(c, &p[i]);
    return values;
}

/* The embeddings' and layers', without the dense ones'. */
static size_t network_count(const struct bert_config *c)
{
    return sum(c, EMBEDDINGS, N_EMBEDDINGS) + c->layers * sum(c, LAYER, N_LAYER);
}

size_t bert_params_count(const struct bert_config *c)
{
    size_t n = network_count(c);
    for (size_t i = 0; i < c->n_dense; i++)
        n += c->dense[i].out * (c->dense[i].in + c->dense[i].bias);
    return n;
}

static void describe(const struct bert_config *c, const struct part *p, struct bert_tensor *ret)
{
    ret->decay = p->decay;
    ret->n_dims = p->columns == NONE ? 1 : 2;
    ret->dims[0] = size_of(c, p->rows);
    ret->dims[1] = size_of(c, p->columns);
    ret->n = count(c, p);
}

static bool dense_at(const struct bert_config *c, size_t i, struct bert_tensor *ret)
{
    size_t at = network_count(c);
    for (size_t d = 0; d < c->n_dense; d++) {
        const struct bert_dense_config *o = &c->dense[d];
        if (i > o->bias) {
            i -= 1 + (size_t)o->bias;
            at += o->out * (o->in + o->bias);
            continue;
        }
        *ret = (struct bert_tensor){ .dense = (int)d, .layer = (int)c->layers, .decay = i == 0 };
        snprintf(ret->name, sizeof ret->name, "linear.%s", i == 0 ? "weight" : "bias");
        ret->n_dims = i == 0 ? 2 : 1;
        ret->dims[0] = o->out;
        ret->dims[1] = i == 0 ? o->in : 1;
        ret->at = at + (i == 0 ? 0 : o->out * o->in);
        ret->n = ret->dims[0] * ret->dims[1];
        return true;
    }
    return false;
}

bool bert_tensor_at(const struct bert_config *c, size_t i, struct bert_tensor *ret)
{
    if (i >= N_EMBEDDINGS + c->layers * N_LAYER)
        return dense_at(c, i - N_EMBEDDINGS - c->layers * N_LAYER, ret);
    *ret = (struct bert_tensor){ .dense = -1, .layer = -1 };
    if (i < N_EMBEDDINGS) {
        snprintf(ret->name, sizeof ret->name, "%s", EMBEDDINGS[i].name);
        ret->at = sum(c, EMBEDDINGS, i);
        describe(c, &EMBEDDINGS[i], ret);
        return true;
    }
    size_t layer = (i - N_EMBEDDINGS) / N_LAYER, k = (i - N_EMBEDDINGS) % N_LAYER;
    snprintf(ret->name, sizeof ret->name, "encoder.layer.%zu.%s", layer, LAYER[k].name);
    ret->layer = (int)layer;
    ret->at = sum(c, EMBEDDINGS, N_EMBEDDINGS) + layer * sum(c, LAYER, N_LAYER) + sum(c, LAYER, k);
    describe(c, &LAYER[k], ret);
    return true;
}

static float *take(float **at, size_t n)
{
    float *p = *at;
    *at += n;
    return p;
}

void bert_params_place(const struct bert_config *c, struct bert_params *p)
{
    size_t C = c->hidden, F = c->intermediate;
    float *at = p->all;
    p->n = bert_params_count(c);
    p->word = take(&at, c->vocab * C);
    p->position = take(&at, c->positions * C);
    p->type = take(&at, c->types * C);
    p->norm_g = take(&at, C);
    p->norm_b = take(&at, C);
    for (size_t i = 0; i < c->layers; i++) {
        struct bert_layer *l = &p->layer[i];
        l->qkv_w = take(&at, 3 * C * C);
        l->qkv_b = take(&at, 3 * C);
        l->out_w = take(&at, C * C);
        l->out_b = take(&at, C);
        l->norm1_g = take(&at, C);
        l->norm1_b = take(&at, C);
        l->up_w = take(&at, F * C);
        l->up_b = take(&at, F);
        l->down_w = take(&at, C * F);
        l->down_b = take(&at, C);
        l->norm2_g = take(&at, C);
        l->norm2_b = take(&at, C);
    }
    for (size_t i = 0; i < c->n_dense; i++) {
        p->dense[i].w = take(&at, c->dense[i].out * c->dense[i].in);
        p->dense[i].b = c->dense[i].bias ? take(&at, c->dense[i].out) : NULL;
    }
    ASSERT_BUG(at == p->all + p->n);
}

void bert_params_done(struct bert_params *p)
{
    mem_free(p->all);
    *p = (struct bert_params){ .all = NULL };
}

/* ---- files ---- */

static const char PREFIX[] = "bert.";

struct tensor_name {
    char text[sizeof PREFIX + sizeof((struct bert_tensor *)0)->name];
};

/* A tensor's name in this file: the one that is there, else the usual one. */
static struct tensor_name name_in(const struct weights *w, const struct bert_tensor *t)
{
    struct tensor_name name;
    const char *prefix = "";
    if (t->dense < 0 && weights_find(w, "bert.embeddings.word_embeddings.weight", NULL))
        prefix = PREFIX;
    snprintf(name.text, sizeof name.text, "%s%s", prefix, t->name);
    char *last = strrchr(name.text, '.');
    if (t->dense < 0 && !weights_find(w, name.text, NULL) && strstr(name.text, ".LayerNorm.")) {
        struct tensor_name old = name;
        bool is_bias = strcmp(last, ".bias") == 0;
        memcpy(old.text + (last - name.text), is_bias ? ".beta" : ".gamma", is_bias ? 6 : 7);
        if (weights_find(w, old.text, NULL)) return old;
    }
    return name;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct tensor_name *)a)->text, ((const struct tensor_name *)b)->text);
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* Is a tensor part of the network, so that it has to be known? */
static bool is_of_network(const char *name)
{
    if (begins(name, PREFIX)) name += sizeof PREFIX - 1;
    if (strcmp(name, "embeddings.position_ids") == 0) return false;
    if (strcmp(name, "embeddings.token_type_ids") == 0) return false;
    return begins(name, "embeddings.") || begins(name, "encoder.");
}

/* Every tensor of the network must be among the n known names, sorted. */
static enum err_code check_strangers(const struct weights *w, const struct bert_config *c,
    const struct tensor_name *known, size_t n, struct err *e)
{
    const char *file = "";
    const struct safetensor *t;
    for (size_t i = 0; (t = weights_at(w, i, &file)) != NULL; i++) {
        struct tensor_name name;
        snprintf(name.text, sizeof name.text, "%.*s", (int)(t->name.n < 200 ? t->name.n : 200),
            t->name.p);
        if (!is_of_network(name.text)) continue;
        if (t->name.n < sizeof name.text && bsearch(&name, known, n, sizeof name, compare_names))
            continue;
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: tensor \"%s\" is not part of a BERT encoder of %zu layers", file, name.text,
            c->layers);
    }
    return ERR_OK;
}

/* Are all tensors of the model there, and no others? */
static enum err_code check_network(
    const struct weights *w, const struct bert_config *c, struct err *e)
{
    size_t n = N_EMBEDDINGS + c->layers * N_LAYER;
    struct bert_tensor t;
    AUTO_FREE struct tensor_name *known = mem_alloc(n, sizeof *known);
    if (!known) return err_set(e, ERR_NOMEM, "no memory to load the model");
    for (size_t i = 0; i < n && bert_tensor_at(c, i, &t); i++) {
        known[i] = name_in(w, &t);
        TRY(weights_check_float(w, known[i].text, t.dims, t.n_dims, e));
    }
    qsort(known, n, sizeof *known, compare_names);
    return check_strangers(w, c, known, n, e);
}

/* The tensors of one file set: the network's (dense -1) or a dense layer's. */
static enum err_code read_tensors(
    const struct weights *w, const struct bert_config *c, int dense, float *all, struct err *e)
{
    struct bert_tensor t;
    for (size_t i = 0; bert_tensor_at(c, i, &t); i++) {
        if (t.dense != dense) continue;
        struct tensor_name name = name_in(w, &t);
        if (all)
            TRY(weights_read_f32(w, name.text, t.dims, t.n_dims, all + t.at, e));
        else
            TRY(weights_check_float(w, name.text, t.dims, t.n_dims, e));
    }
    return ERR_OK;
}

/* Into `all`, or (NULL) only to see whether the shapes fit. */
static enum err_code read_dense(
    const struct model_source *src, const struct bert_config *c, float *all, struct err *e)
{
    for (size_t i = 0; i < c->n_dense; i++) {
        struct weights *w = NULL;
        TRY(weights_open(src->dir, c->dense[i].path, &w, e));
        enum err_code code = read_tensors(w, c, (int)i, all, e);
        weights_close(w);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

enum err_code bert_params_read(const struct model_source *src, const struct bert_config *c,
    struct bert_params *ret_p, struct err *e)
{
    struct bert_params p = { .all = NULL };
    TRY(check_network(src->weights, c, e));
    TRY(read_dense(src, c, NULL, e));
    size_t n = bert_params_count(c);
    p.all = mem_alloc_aligned(ALIGN_BYTES, n, sizeof *p.all);
    if (!p.all) return err_set(e, ERR_NOMEM, "no memory for the model's %zu parameters", n);
    bert_params_place(c, &p);
    enum err_code code = read_tensors(src->weights, c, -1, p.all, e);
    if (code == ERR_OK) code = read_dense(src, c, p.all, e);
    if (code != ERR_OK) {
        bert_params_done(&p);
        return code;
    }
    *ret_p = p;
    return ERR_OK;
}
