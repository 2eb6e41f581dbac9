/* After the network, in this order: one pooling, dense layers, a normalisation. A module that is not in its place is
 * refused. Without modules.json a text's vector is the mean of its tokens, not normalised, as in
 * sentence-transformers.
 */
#include "core/model/bert_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/model/modules.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <string.h>

struct bert_file_name bert__file(const char *folder, const char *file)
{
    struct bert_file_name f;
    snprintf(f.text, sizeof f.text, "%s/%s", folder, file);
    return f;
}

static enum err_code read_json(
    const char *dir, const struct bert_file_name *name, json_t **ret_j, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name->text);
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    return json_file_read(path, BERT_CONFIG_BYTES_MAX, ret_j, e);
}

/* ---- pooling ---- */

static enum err_code not_a_pooling(const struct json_place *at, const char *mode, struct err *e)
{
    return err_set(e, ERR_UNPROCESSABLE, "%s: pooling by %.60s is not known; known: mean, cls",
        at->file, mode);
}

/* One flag a mode, as all versions write it. */
static enum err_code read_flags(
    const json_t *j, const struct json_place *at, enum bert_pooling *ret, struct err *e)
{
    static const char *const others[] = { "pooling_mode_max_tokens",
        "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens",
        "pooling_mode_lasttoken" };
    bool mean = true, cls = false;
    TRY(json_read_bool(j, "pooling_mode_mean_tokens", at, &mean, e));
    TRY(json_read_bool(j, "pooling_mode_cls_token", at, &cls, e));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bool other = false;
        TRY(json_read_bool(j, others[i], at, &other, e));
        if (other) return not_a_pooling(at, others[i], e);
    }
    if (mean == cls)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: one of pooling_mode_mean_tokens and pooling_mode_cls_token must be true, %s",
            at->file, mean ? "both are" : "none is");
    *ret = mean ? BERT_POOL_MEAN : BERT_POOL_CLS;
    return ERR_OK;
}

static enum err_code read_mode(
    const json_t *j, const struct json_place *at, enum bert_pooling *ret, struct err *e)
{
    struct str mode = { NULL, 0 };
    TRY(json_read_str(j, "pooling_mode", at, &mode, e));
    if (!mode.p) return read_flags(j, at, ret, e);
    bool mean = str_is(mode, "mean");
    if (!mean && !str_is(mode, "cls")) return not_a_pooling(at, mode.p, e);
    *ret = mean ? BERT_POOL_MEAN : BERT_POOL_CLS;
    return ERR_OK;
}

static enum err_code read_pooling(
    const struct model_source *src, const char *folder, struct bert_config *c, struct err *e)
{
    struct bert_file_name name = bert__file(folder, "config.json");
    const struct json_place at = { name.text, "" };
    AUTO_JSON json_t *j = NULL;
    size_t dimensions = c->hidden;
    bool include_prompt = true;
    TRY(read_json(src->dir, &name, &j, e));
    TRY(read_mode(j, &at, &c->pooling, e));
    TRY(json_read_size(j, "word_embedding_dimension", &at, 1, BERT_DIMENSIONS_MAX, &dimensions, e));
    if (dimensions != c->hidden)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: word_embedding_dimension is %zu, config.json's hidden_size is %zu", name.text,
            dimensions, c->hidden);
    TRY(json_read_bool(j, "include_prompt", &at, &include_prompt, e));
    const struct model_prompts *p = &src->config->prompts;
    if (!include_prompt && (p->text[ENCODE_QUERY][0] || p->text[ENCODE_DOCUMENT][0]))
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: include_prompt is false, but a prompt's tokens cannot be left out", name.text);
    return ERR_OK;
}

/* ---- dense layers ---- */

static enum err_code read_dense_activation(
    const json_t *j, const struct json_place *at, enum activation *ret, struct err *e)
{
    static const struct {
        const char *name;
        enum activation f;
    } KNOWN[] = {
        { "torch.nn.modules.linear.Identity", ACTIVATION_IDENTITY },
        { "torch.nn.modules.activation.Tanh", ACTIVATION_TANH },
        { "torch.nn.modules.activation.GELU", ACTIVATION_GELU },
        { "torch.nn.modules.activation.ReLU", ACTIVATION_RELU },
    };
    struct str name = STR("torch.nn.modules.activation.Tanh"); /* sentence-transformers' default */
    TRY(json_read_str(j, "activation_function", at, &name, e));
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (!str_is(name, KNOWN[i].name)) continue;
        *ret = KNOWN[i].f;
        return ERR_OK;
    }
    return err_set(e, ERR_UNPROCESSABLE,
        "%s: activation_function \"%.60s\" is not known; known: Identity, Tanh, GELU, ReLU of "
        "torch.nn.modules",
        at->file, name.p);
}

/* Newer versions say what a dense layer reads and writes. */
static enum err_code check_names(const json_t *j, const struct json_place *at, struct err *e)
{
    static const char *const fields[] = { "module_input_name", "module_output_name" };
    for (size_t i = 0; i < 2; i++) {
        struct str name = STR("sentence_embedding");
        TRY(json_read_str(j, fields[i], at, &name, e));
        if (!str_is(name, "sentence_embedding"))
            return err_set(e, ERR_UNPROCESSABLE, "%s: %s is \"%.60s\", expected sentence_embedding",
                at->file, fields[i], name.p);
    }
    return ERR_OK;
}

static enum err_code read_dense(
    const struct model_source *src, const char *folder, struct bert_config *c, struct err *e)
{
    if (c->n_dense == BERT_DENSE_MAX)
        return err_set(
            e, ERR_UNPROCESSABLE, "modules.json: more than %d dense layers", BERT_DENSE_MAX);
    struct bert_file_name name = bert__file(folder, "config.json");
    const struct json_place at = { name.text, "" };
    struct bert_dense_config *d = &c->dense[c->n_dense];
    AUTO_JSON json_t *j = NULL;
    d->bias = true;
    TRY(read_json(src->dir, &name, &j, e));
    TRY(check_names(j, &at, e));
    TRY(json_read_size(j, "in_features", &at, 1, BERT_DIMENSIONS_MAX, &d->in, e));
    TRY(json_read_size(j, "out_features", &at, 1, BERT_DIMENSIONS_MAX, &d->out, e));
    TRY(json_read_bool(j, "bias", &at, &d->bias, e));
    TRY(read_dense_activation(j, &at, &d->f, e));
    if (d->in != c->dimensions)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: in_features is %zu, what comes before has %zu values", name.text, d->in,
            c->dimensions);
    if (d->out == 0) return err_set(e, ERR_UNPROCESSABLE, "%s: out_features is missing", name.text);
    memcpy(d->path, folder, strlen(folder) + 1);
    c->dimensions = d->out;
    c->n_dense++;
    return ERR_OK;
}

/* ---- the list ---- */

static enum err_code misplaced(const struct model_module *m, const char *why, struct err *e)
{
    return err_set(e, ERR_UNPROCESSABLE, "modules.json: %s %s", module_class(m), why);
}

static enum err_code read_module(const struct model_source *src, const struct model_module *m,
    bool *pooled, struct bert_config *c, struct err *e)
{
    const char *class = module_class(m);
    if (c->normalize) return misplaced(m, "stands after Normalize, which must be the last", e);
    if (strcmp(class, "Pooling") == 0) {
        if (*pooled) return misplaced(m, "stands there twice", e);
        if (!m->path[0]) return misplaced(m, "has no path", e);
        *pooled = true;
        return read_pooling(src, m->path, c, e);
    }
    if (!*pooled) return misplaced(m, "stands before Pooling", e);
    if (strcmp(class, "Dense") == 0) {
        if (!m->path[0]) return misplaced(m, "has no path", e);
        return read_dense(src, m->path, c, e);
    }
    c->normalize = true;
    return ERR_OK;
}

enum err_code bert__modules_read(
    const struct model_source *src, struct bert_config *c, struct err *e)
{
    struct model_modules modules;
    bool pooled = false;
    c->dimensions = c->hidden;
    TRY(modules_read(src->dir, &modules, e));
    if (!modules.given) return ERR_OK; /* BERT_POOL_MEAN is 0 */
    for (size_t i = 0; i < modules.n; i++) {
        static const char *const known[] = { "Transformer", "Pooling", "Dense", "Normalize" };
        const struct model_module *m = &modules.list[i];
        size_t k = 0;
        while (k < 4 && strcmp(known[k], module_class(m)) != 0)
            k++;
        if (k == 4)
            return err_set(e, ERR_UNPROCESSABLE,
                "modules.json: module %zu, \"%.80s\", is not known; known: Transformer, Pooling, "
                "Dense, "
                "Normalize",
                i, m->type);
        if ((i == 0) != (k == 0) || (i == 0 && m->path[0]))
            return err_set(e, ERR_UNPROCESSABLE,
                "modules.json: Transformer must be the first module and no other, with its files "
                "in "
                "the folder itself");
        if (i > 0) TRY(read_module(src, m, &pooled, c, e));
    }
    return pooled ? ERR_OK : err_set(e, ERR_UNPROCESSABLE, "modules.json: there is no Pooling");
}
