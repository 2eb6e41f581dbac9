/* tokenizer.json, the `tokenizers` library's format.
 *
 *   { "added_tokens": [ { "id", "content", flags… } ],
 *     "normalizer": { "type": "BertNormalizer", … },
 *     "pre_tokenizer": { "type": "BertPreTokenizer" },
 *     "post_processor": null | { "type": "TemplateProcessing" | "BertProcessing", … },
 *     "model": { "type": "WordPiece", "vocab": { piece: id }, … } }
 *
 * Whatever would change the ids and is not understood is an error; "truncation"
 * and "padding" are the caller's business, "decoder" is not needed.
 */
#include "core/text/tokenizer_internal.h"

#include "core/text/json_file.h"

#include <string.h>

static const char FILE_NAME[] = "tokenizer.json";

static enum err_code corrupt(const char *field, const char *what, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "%s: %s %s", FILE_NAME, field, what);
}

static enum err_code unknown_kind(
    const char *field, struct str type, const char *known, struct err *e)
{
    return err_set(e, ERR_UNPROCESSABLE, "%s: %s is of type \"%.*s\", known: %s", FILE_NAME, field,
        (int)(type.n < 40 ? type.n : 40), type.p, known);
}

/* The object behind `name`, or NULL where it is null or missing. A Sequence with one member
 * stands for that member. */
static enum err_code read_part(const json_t *root, const char *name, const char *members,
    const json_t **ret_part, struct str *ret_type, struct err *e)
{
    const struct json_place at = { FILE_NAME, "" };
    const json_t *part = json_object_get(root, name);
    *ret_part = NULL;
    if (!part || json_is_null(part)) return ERR_OK;
    if (!json_is_object(part)) return corrupt(name, "must be an object or null", e);
    *ret_type = STR("");
    TRY(json_read_str(part, "type", &at, ret_type, e));
    if (members && str_is(*ret_type, "Sequence")) {
        const json_t *list = json_object_get(part, members);
        if (json_array_size(list) != 1 || !json_is_object(json_array_get(list, 0)))
            return err_set(e, ERR_UNPROCESSABLE,
                "%s: %s is a Sequence, only one with a single member is known", FILE_NAME, name);
        part = json_array_get(list, 0);
        *ret_type = STR("");
        TRY(json_read_str(part, "type", &at, ret_type, e));
    }
    *ret_part = part;
    return ERR_OK;
}

static enum err_code read_normalizer(const json_t *root, struct tokenizer *t, struct err *e)
{
    static const char *const names[] = { "type", "clean_text", "handle_chinese_chars",
        "strip_accents", "lowercase", NULL };
    const struct json_place at = { FILE_NAME, "normalizer." };
    const json_t *n;
    struct str type = STR("");
    TRY(read_part(root, "normalizer", "normalizers", &n, &type, e));
    if (!n) return ERR_OK;
    if (!str_is(type, "BertNormalizer"))
        return unknown_kind("normalizer", type, "BertNormalizer", e);
    TRY(json_check_names(n, &at, names, e));
    t->norm = (struct bert_options){
        .clean_text = true, .handle_chinese_chars = true, .lowercase = true
    };
    TRY(json_read_bool(n, "clean_text", &at, &t->norm.clean_text, e));
    TRY(json_read_bool(n, "handle_chinese_chars", &at, &t->norm.handle_chinese_chars, e));
    TRY(json_read_bool(n, "lowercase", &at, &t->norm.lowercase, e));
    t->norm.strip_accents = t->norm.lowercase;
    return json_read_bool(n, "strip_accents", &at, &t->norm.strip_accents, e);
}

static enum err_code check_pre_tokenizer(const json_t *root, struct err *e)
{
    const json_t *p;
    struct str type = STR("");
    TRY(read_part(root, "pre_tokenizer", "pretokenizers", &p, &type, e));
    if (!p)
        return err_set(
            e, ERR_UNPROCESSABLE, "%s: pre_tokenizer is null, known: BertPreTokenizer", FILE_NAME);
    if (!str_is(type, "BertPreTokenizer"))
        return unknown_kind("pre_tokenizer", type, "BertPreTokenizer", e);
    return ERR_OK;
}

static enum err_code read_model(const json_t *root, struct tokenizer_parts *parts, struct err *e)
{
    static const char *const names[] = { "type", "vocab", "unk_token", "continuing_subword_prefix",
        "max_input_chars_per_word", NULL };
    const struct json_place at = { FILE_NAME, "model." };
    const json_t *m;
    struct str type = STR("");
    TRY(read_part(root, "model", NULL, &m, &type, e));
    if (!m) return corrupt("model", "is missing", e);
    if (type.n && !str_is(type, "WordPiece")) return unknown_kind("model", type, "WordPiece", e);
    TRY(json_check_names(m, &at, names, e));
    parts->prefix = STR("##");
    parts->unk = STR("[UNK]");
    parts->max_chars = 100;
    TRY(json_read_str(m, "continuing_subword_prefix", &at, &parts->prefix, e));
    TRY(json_read_str(m, "unk_token", &at, &parts->unk, e));
    TRY(json_read_size(
        m, "max_input_chars_per_word", &at, 1, TOKENIZER_WORD_CHARS_MAX, &parts->max_chars, e));

    json_t *vocab = json_object_get(m, "vocab");
    if (!json_is_object(vocab)) return corrupt("model.vocab", "must be an object", e);
    /* Without holes no id can be above; a small file must not ask for a large table. */
    parts->max_ids =
        json_object_size(vocab) + json_array_size(json_object_get(root, "added_tokens")) + 1;
    const char *piece;
    size_t len;
    json_t *id;
    json_object_keylen_foreach(vocab, piece, len, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return corrupt("model.vocab", "holds an id that is not a number from 0 up", e);
        TRY(tokenizer__vocab_put(parts, (size_t)json_integer_value(id), (struct str){ piece, len },
            false, FILE_NAME, e));
    }
    return ERR_OK;
}

static enum err_code read_added_token(const json_t *j, const json_t *vocab, struct tokenizer *t,
    struct tokenizer_parts *parts, struct err *e)
{
    static const char *const names[] = { "id", "content", "single_word", "lstrip", "rstrip",
        "normalized", "special", NULL };
    const struct json_place at = { FILE_NAME, "added_tokens." };
    if (!json_is_object(j)) return corrupt("added_tokens", "must hold objects", e);
    TRY(json_check_names(j, &at, names, e));
    struct str content = STR("");
    size_t id = SIZE_MAX;
    bool single_word = false, normalized = false, lstrip = false, rstrip = false;
    TRY(json_read_str(j, "content", &at, &content, e));
    TRY(json_read_size(j, "id", &at, 0, WORDPIECE_ID_MAX - 1, &id, e));
    TRY(json_read_bool(j, "single_word", &at, &single_word, e));
    TRY(json_read_bool(j, "normalized", &at, &normalized, e));
    TRY(json_read_bool(j, "lstrip", &at, &lstrip, e));
    TRY(json_read_bool(j, "rstrip", &at, &rstrip, e));
    if (content.n == 0 || id == SIZE_MAX)
        return corrupt("added_tokens", "holds one without content or id", e);
    if (single_word || normalized)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: added token \"%.*s\" asks for %s, which is not known", FILE_NAME,
            (int)(content.n < 40 ? content.n : 40), content.p,
            single_word ? "single_word" : "normalized");

    const json_t *in_model = json_object_get(vocab, content.p);
    if (in_model && json_integer_value(in_model) != (json_int_t)id)
        return err_set(e, ERR_CORRUPT,
            "%s: added token \"%.*s\" has the id %zu, but %lld in the vocabulary", FILE_NAME,
            (int)(content.n < 40 ? content.n : 40), content.p, id,
            (long long)json_integer_value(in_model));
    if (!in_model) TRY(tokenizer__vocab_put(parts, id, content, true, FILE_NAME, e));
    struct added_token a = { .content = (char *)content.p,
        .len = content.n,
        .id = (uint32_t)id,
        .lstrip = lstrip,
        .rstrip = rstrip };
    return added_tokens_add(&t->added, &a, e);
}

static enum err_code read_added_tokens(
    const json_t *root, struct tokenizer *t, struct tokenizer_parts *parts, struct err *e)
{
    const json_t *list = json_object_get(root, "added_tokens");
    if (!list || json_is_null(list)) return ERR_OK;
    if (!json_is_array(list)) return corrupt("added_tokens", "must be an array", e);
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    size_t i;
    json_t *j;
    json_array_foreach(list, i, j) TRY(read_added_token(j, vocab, t, parts, e));
    return ERR_OK;
}

/* ---- post-processor ---- */

static enum err_code put_special(
    json_int_t id, uint32_t *ids, size_t *n, const struct tokenizer_parts *parts, struct err *e)
{
    if (id < 0 || (size_t)id >= parts->n_vocab)
        return corrupt("post_processor", "names an id outside the vocabulary", e);
    if (*n == TOKENIZER_SPECIALS_MAX)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: post_processor puts more than %d tokens on a side", FILE_NAME,
            TOKENIZER_SPECIALS_MAX);
    ids[(*n)++] = (uint32_t)id;
    return ERR_OK;
}

/* "sep": ["[SEP]", 102] */
static enum err_code read_bert_pair(const json_t *p, const char *name, uint32_t *ids, size_t *n,
    const struct tokenizer_parts *parts, struct err *e)
{
    const json_t *id = json_array_get(json_object_get(p, name), 1);
    if (!json_is_integer(id)) return corrupt("post_processor", "lacks cls or sep", e);
    return put_special(json_integer_value(id), ids, n, parts, e);
}

static enum err_code read_template_special(const json_t *special, const json_t *table,
    uint32_t *ids, size_t *n, const struct tokenizer_parts *parts, struct err *e)
{
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *list = name ? json_object_get(json_object_get(table, name), "ids") : NULL;
    if (!json_is_array(list))
        return corrupt("post_processor", "uses a special token that it does not define", e);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id))
            return corrupt("post_processor.special_tokens", "has a bad id", e);
        TRY(put_special(json_integer_value(id), ids, n, parts, e));
    }
    return ERR_OK;
}

static enum err_code read_template(
    const json_t *p, struct tokenizer *t, const struct tokenizer_parts *parts, struct err *e)
{
    const json_t *single = json_object_get(p, "single");
    const json_t *table = json_object_get(p, "special_tokens");
    bool seen_text = false;
    if (!json_is_array(single)) return corrupt("post_processor.single", "must be an array", e);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *special = json_object_get(item, "SpecialToken");
        if (special) {
            TRY(read_template_special(special, table, seen_text ? t->trail : t->lead,
                seen_text ? &t->n_trail : &t->n_lead, parts, e));
        } else if (json_object_get(item, "Sequence") && !seen_text) {
            seen_text = true;
        } else {
            return corrupt(
                "post_processor.single", "must hold the text once, else special tokens", e);
        }
    }
    return seen_text ? ERR_OK : corrupt("post_processor.single", "leaves the text out", e);
}

static enum err_code read_post_processor(
    const json_t *root, struct tokenizer *t, const struct tokenizer_parts *parts, struct err *e)
{
    const json_t *p;
    struct str type = STR("");
    TRY(read_part(root, "post_processor", "processors", &p, &type, e));
    if (!p) return ERR_OK;
    if (str_is(type, "TemplateProcessing")) return read_template(p, t, parts, e);
    if (!str_is(type, "BertProcessing"))
        return unknown_kind("post_processor", type, "TemplateProcessing, BertProcessing", e);
    TRY(read_bert_pair(p, "cls", t->lead, &t->n_lead, parts, e));
    return read_bert_pair(p, "sep", t->trail, &t->n_trail, parts, e);
}

enum err_code tokenizer__read_json(struct str text, const char *path, struct tokenizer *t,
    struct tokenizer_parts *parts, void **ret_keep, struct err *e)
{
    static const char *const names[] = { "version", "truncation", "padding", "added_tokens",
        "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", NULL };
    const struct json_place at = { FILE_NAME, "" };
    json_t *root = NULL;
    TRY(json_text_read(text, path, &root, e));
    *ret_keep = root;
    TRY(json_check_names(root, &at, names, e));
    TRY(read_normalizer(root, t, e));
    TRY(check_pre_tokenizer(root, e));
    TRY(read_model(root, parts, e));
    TRY(read_added_tokens(root, t, parts, e));
    return read_post_processor(root, t, parts, e);
}

void tokenizer__release_json(void *keep)
{
    json_decref(keep);
}
