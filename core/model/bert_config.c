/* Numbers are checked one by one for type and range; whether the tensors are as large as they say is
 * bert_params.c's. What asks for another kind of network (relative positions, a decoder) is refused, as ignoring it
 * would give other vectors than the model's. Dropout and the like are training's and left alone.
 *
 * max_tokens, as sentence-transformers has it: sentence_bert_config.json's max_seq_length, else
 * tokenizer_config.json's model_max_length, and never more than there are positions.
 */
#include "core/model/bert_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <string.h>

enum { LAYER_VALUES_MAX = 1 << 20, VOCAB_MAX = 1 << 24, TYPES_MAX = 1024 };

static const struct json_place CONFIG = { "config.json", "" };

/* ---- config.json ---- */

static enum err_code read_size(
    const json_t *j, const char *name, size_t max, size_t *ret, struct err *e)
{
    *ret = 0;
    TRY(json_read_size(j, name, &CONFIG, 1, max, ret, e));
    return *ret ? ERR_OK : err_set(e, ERR_UNPROCESSABLE, "config.json: %s is missing", name);
}

static enum err_code read_sizes(const json_t *j, struct bert_config *c, struct err *e)
{
    TRY(read_size(j, "num_hidden_layers", BERT_LAYERS_MAX, &c->layers, e));
    TRY(read_size(j, "hidden_size", BERT_DIMENSIONS_MAX, &c->hidden, e));
    TRY(read_size(j, "num_attention_heads", BERT_DIMENSIONS_MAX, &c->heads, e));
    TRY(read_size(j, "intermediate_size", LAYER_VALUES_MAX, &c->intermediate, e));
    TRY(read_size(j, "vocab_size", VOCAB_MAX, &c->vocab, e));
    TRY(read_size(j, "max_position_embeddings", LAYER_VALUES_MAX, &c->positions, e));
    c->types = 2;
    TRY(json_read_size(j, "type_vocab_size", &CONFIG, 1, TYPES_MAX, &c->types, e));
    if (c->hidden % c->heads != 0)
        return err_set(e, ERR_UNPROCESSABLE,
            "config.json: hidden_size %zu is not a multiple of num_attention_heads %zu", c->hidden,
            c->heads);
    return ERR_OK;
}

static enum err_code read_activation(const json_t *j, enum activation *ret, struct err *e)
{
    static const struct {
        const char *name;
        enum activation f;
    } KNOWN[] = {
        { "gelu", ACTIVATION_GELU },
        { "gelu_python", ACTIVATION_GELU },
        { "gelu_new", ACTIVATION_GELU_TANH },
        { "gelu_pytorch_tanh", ACTIVATION_GELU_TANH },
        { "gelu_fast", ACTIVATION_GELU_TANH },
        { "relu", ACTIVATION_RELU },
        { "tanh", ACTIVATION_TANH },
    };
    struct str name = STR("gelu");
    TRY(json_read_str(j, "hidden_act", &CONFIG, &name, e));
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (!str_is(name, KNOWN[i].name)) continue;
        *ret = KNOWN[i].f;
        return ERR_OK;
    }
    return err_set(e, ERR_UNPROCESSABLE,
        "config.json: hidden_act \"%.60s\" is not known; known: gelu, gelu_new, gelu_pytorch_tanh, "
        "gelu_fast, relu, tanh",
        name.p);
}

static enum err_code read_eps(const json_t *j, float *ret, struct err *e)
{
    const json_t *v = json_object_get(j, "layer_norm_eps");
    *ret = 1e-12F;
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_number(v))
        return err_set(e, ERR_CORRUPT, "config.json: layer_norm_eps must be a number");
    double eps = json_number_value(v);
    if (!(eps > 0 && eps <= 0.1))
        return err_set(e, ERR_UNPROCESSABLE,
            "config.json: layer_norm_eps is %g, it must be above 0 and at most 0.1", eps);
    *ret = (float)eps;
    return ERR_OK;
}

/* What would make another network of it. */
static enum err_code read_kind(const json_t *j, struct err *e)
{
    struct str positions = STR("absolute");
    bool decoder = false, cross = false;
    TRY(json_read_str(j, "position_embedding_type", &CONFIG, &positions, e));
    TRY(json_read_bool(j, "is_decoder", &CONFIG, &decoder, e));
    TRY(json_read_bool(j, "add_cross_attention", &CONFIG, &cross, e));
    if (!str_is(positions, "absolute"))
        return err_set(e, ERR_UNPROCESSABLE,
            "config.json: position_embedding_type \"%.60s\" is not known; known: absolute",
            positions.p);
    if (decoder || cross)
        return err_set(e, ERR_UNPROCESSABLE, "config.json: %s is true; only encoders are known",
            decoder ? "is_decoder" : "add_cross_attention");
    return ERR_OK;
}

static enum err_code read_config(const char *dir, struct bert_config *c, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, "config.json");
    AUTO_JSON json_t *j = NULL;
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    TRY(json_file_read(path, BERT_CONFIG_BYTES_MAX, &j, e));
    TRY(read_kind(j, e));
    TRY(read_sizes(j, c, e));
    TRY(read_activation(j, &c->f, e));
    return read_eps(j, &c->eps, e);
}

/* ---- max_tokens ---- */

/* A number of 1 or more, SIZE_MAX for all that are larger; *ret stays where the field is missing or null. "No limit"
 * is written as an integer of thirty digits, so integers are read as reals. */
static enum err_code read_length(
    const char *dir, const char *file, const char *field, size_t *ret, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, file);
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *j = NULL;
    json_error_t je;
    size_t n = 0;
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    if (!file_exists(path)) return ERR_OK;
    TRY(file_read(path, BERT_CONFIG_BYTES_MAX, &text, &n, e));
    j = json_loadb(text, n, JSON_DECODE_INT_AS_REAL, &je);
    if (!j && json_error_code(&je) == json_error_out_of_memory)
        return err_set(e, ERR_NOMEM, "no memory to read %s", file);
    if (!j) return err_set(e, ERR_CORRUPT, "%s, line %d: %s", file, je.line, je.text);
    const json_t *v = json_object_get(j, field);
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_real(v)) return err_set(e, ERR_CORRUPT, "%s: %s must be a number", file, field);
    double length = json_real_value(v);
    if (!(length >= 1))
        return err_set(
            e, ERR_UNPROCESSABLE, "%s: %s is %g, it must be 1 or more", file, field, length);
    *ret = length < LAYER_VALUES_MAX ? (size_t)length : SIZE_MAX;
    return ERR_OK;
}

static enum err_code read_max_tokens(const char *dir, struct bert_config *c, struct err *e)
{
    size_t n = SIZE_MAX;
    TRY(read_length(dir, "tokenizer_config.json", "model_max_length", &n, e));
    TRY(read_length(dir, "sentence_bert_config.json", "max_seq_length", &n, e));
    c->max_tokens = n < c->positions ? n : c->positions;
    return ERR_OK;
}

/* ---- do_lower_case ---- */

static enum err_code encode(
    const struct tokenizer *t, struct str text, struct token_ids *out, struct err *e)
{
    struct tokenizer_scratch *scratch = tokenizer_scratch_new();
    if (!scratch) return err_set(e, ERR_NOMEM, "no memory to load the model");
    enum err_code code = tokenizer_encode(t, text, 0, scratch, out, e);
    tokenizer_scratch_free(scratch);
    return code;
}

/* sentence-transformers lower-cases texts by itself when sentence_bert_config.json says so. Here only the tokenizer
 * does, so it must. */
static enum err_code check_lower_case(const struct model_source *src, struct err *e)
{
    static const struct json_place at = { "sentence_bert_config.json", "" };
    AUTO_FREE char *path = path_join(src->dir, at.file);
    AUTO_JSON json_t *j = NULL;
    AUTO(token_ids_done) struct token_ids upper = { .n = 0 }, lower = { .n = 0 };
    bool wanted = false;
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    if (!file_exists(path)) return ERR_OK;
    TRY(json_file_read(path, BERT_CONFIG_BYTES_MAX, &j, e));
    TRY(json_read_bool(j, "do_lower_case", &at, &wanted, e));
    if (!wanted) return ERR_OK;
    TRY(encode(src->tokenizer, STR("A"), &upper, e));
    TRY(encode(src->tokenizer, STR("a"), &lower, e));
    if (upper.n == lower.n && memcmp(upper.ids, lower.ids, upper.n * sizeof *upper.ids) == 0)
        return ERR_OK;
    return err_set(e, ERR_UNPROCESSABLE,
        "%s: do_lower_case is true, but the tokenizer tells upper case from lower", at.file);
}

enum err_code bert_config_read(
    const struct model_source *src, struct bert_config *ret_c, struct err *e)
{
    struct bert_config c = { .layers = 0 };
    size_t n_tokens = tokenizer_vocab_size(src->tokenizer);
    TRY(read_config(src->dir, &c, e));
    if (n_tokens > c.vocab)
        return err_set(e, ERR_UNPROCESSABLE,
            "config.json: vocab_size is %zu, but the tokenizer has %zu tokens", c.vocab, n_tokens);
    TRY(read_max_tokens(src->dir, &c, e));
    TRY(check_lower_case(src, e));
    TRY(bert__modules_read(src, &c, e));
    *ret_c = c;
    return ERR_OK;
}
