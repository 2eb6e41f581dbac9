/* vocab.txt, BERT's older form: a piece a line, its number is its id.
 *
 * What surrounds it is BERT's, as in the `transformers` library: the special
 * tokens that it has are found in the text, [CLS] and [SEP] are put around it.
 * tokenizer_config.json may change settings and names:
 *
 *   { "do_lower_case": true, "strip_accents": null, "tokenize_chinese_chars": true,
 *     "cls_token": "[CLS]" | { "content": "[CLS]", … }, … the same for sep, pad, mask, unk,
 *     "added_tokens_decoder": { "101": { "content": "[CLS]", flags… } }, … }
 *
 * Its other fields change no ids or are the caller's business: never_split,
 * model_max_length, padding_side.
 */
#include "core/text/tokenizer_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"
#include "core/text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB_FILE_BYTES_MAX = 64 << 20, CONFIG_FILE_BYTES_MAX = 1 << 20 };
static const char CONFIG_NAME[] = "tokenizer_config.json";

enum { SPECIAL_UNK, SPECIAL_CLS, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_MASK, N_SPECIALS };
static const struct {
    const char *field;
    struct str usual;
} SPECIALS[N_SPECIALS] = {
    [SPECIAL_UNK] = { "unk_token", { "[UNK]", 5 } },
    [SPECIAL_CLS] = { "cls_token", { "[CLS]", 5 } },
    [SPECIAL_SEP] = { "sep_token", { "[SEP]", 5 } },
    [SPECIAL_PAD] = { "pad_token", { "[PAD]", 5 } },
    [SPECIAL_MASK] = { "mask_token", { "[MASK]", 6 } },
};

static struct str trim_end(struct str line)
{
    while (line.n && strchr(" \t\r\v\f", line.p[line.n - 1]) && line.p[line.n - 1] != '\0')
        line.n--;
    return line;
}

static enum err_code read_lines(struct str text, struct tokenizer_parts *parts, struct err *e)
{
    for (size_t at = 0, id = 0; at < text.n; id++) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        size_t n = end ? (size_t)(end - text.p) - at : text.n - at;
        struct str line = trim_end((struct str){ text.p + at, n });
        if (line.n == 0) return err_set(e, ERR_CORRUPT, "vocab.txt: line %zu is empty", id + 1);
        TRY(tokenizer__vocab_put(parts, id, line, false, "vocab.txt", e));
        at += n + 1;
    }
    return ERR_OK;
}

/* ---- tokenizer_config.json; `config` is NULL where there is none ---- */

static enum err_code read_settings(const json_t *config, struct tokenizer *t, struct err *e)
{
    const struct json_place at = { CONFIG_NAME, "" };
    t->norm = (struct bert_options){ true, true, true, true };
    TRY(json_read_bool(config, "do_lower_case", &at, &t->norm.lowercase, e));
    t->norm.strip_accents = t->norm.lowercase;
    TRY(json_read_bool(config, "strip_accents", &at, &t->norm.strip_accents, e));
    return json_read_bool(config, "tokenize_chinese_chars", &at, &t->norm.handle_chinese_chars, e);
}

/* A special token's text: a string, or an object that holds it. */
static enum err_code read_special(const json_t *config, int which, struct str *ret, struct err *e)
{
    const struct json_place at = { CONFIG_NAME, "" };
    const json_t *v = json_object_get(config, SPECIALS[which].field);
    *ret = SPECIALS[which].usual;
    if (!json_is_object(v)) return json_read_str(config, SPECIALS[which].field, &at, ret, e);
    return json_read_str(v, "content", &at, ret, e);
}

static enum err_code beyond_vocab(const char *file, struct str content, struct err *e)
{
    return err_set(e, ERR_UNPROCESSABLE,
        "%s: token \"%.*s\" is not in vocab.txt with that id; a tokenizer.json could hold it", file,
        (int)(content.n < 40 ? content.n : 40), content.p);
}

static enum err_code add_token(struct tokenizer *t, const struct added_token *a, struct err *e)
{
    if (added_tokens_find(&t->added, (struct str){ a->content, a->len })) return ERR_OK;
    return added_tokens_add(&t->added, a, e);
}

/* "103": { "content": "[MASK]", "lstrip": false, … } */
static enum err_code read_listed(const char *key, const json_t *j, struct tokenizer *t,
    const struct tokenizer_parts *parts, struct err *e)
{
    const struct json_place at = { CONFIG_NAME, "added_tokens_decoder." };
    struct added_token a = { 0 };
    struct str content = STR("");
    bool single_word = false, normalized = false;
    if (!json_is_object(j))
        return err_set(e, ERR_CORRUPT, "%s: added_tokens_decoder must hold objects", CONFIG_NAME);
    TRY(json_read_str(j, "content", &at, &content, e));
    TRY(json_read_bool(j, "single_word", &at, &single_word, e));
    TRY(json_read_bool(j, "normalized", &at, &normalized, e));
    TRY(json_read_bool(j, "lstrip", &at, &a.lstrip, e));
    TRY(json_read_bool(j, "rstrip", &at, &a.rstrip, e));
    if (content.n == 0)
        return err_set(e, ERR_CORRUPT, "%s: an added token has no content", CONFIG_NAME);
    char *end;
    unsigned long long id = strtoull(key, &end, 10);
    if (*end || !tokenizer__vocab_find(parts, content, &a.id) || a.id != id)
        return beyond_vocab(CONFIG_NAME, content, e);
    if (single_word || normalized)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: added token \"%.*s\" asks for %s, which is not known", CONFIG_NAME,
            (int)(content.n < 40 ? content.n : 40), content.p,
            single_word ? "single_word" : "normalized");
    a.content = (char *)content.p;
    a.len = content.n;
    return add_token(t, &a, e);
}

static enum err_code add_listed(
    const json_t *config, struct tokenizer *t, const struct tokenizer_parts *parts, struct err *e)
{
    const json_t *list = json_object_get(config, "added_tokens_decoder");
    const char *key;
    json_t *j;
    if (!list || json_is_null(list)) return ERR_OK;
    if (!json_is_object(list))
        return err_set(e, ERR_CORRUPT, "%s: added_tokens_decoder must be an object", CONFIG_NAME);
    json_object_foreach((json_t *)list, key, j) TRY(read_listed(key, j, t, parts, e));
    return ERR_OK;
}

/* What the config lists comes first: its flags count. */
static enum err_code add_specials(
    const json_t *config, struct tokenizer *t, const struct tokenizer_parts *parts, struct err *e)
{
    bool there[N_SPECIALS];
    uint32_t ids[N_SPECIALS];
    TRY(add_listed(config, t, parts, e));
    for (int i = 0; i < N_SPECIALS; i++) {
        struct str content;
        TRY(read_special(config, i, &content, e));
        there[i] = content.n && tokenizer__vocab_find(parts, content, &ids[i]);
        if (!there[i]) continue;
        struct added_token a = { .content = (char *)content.p, .len = content.n, .id = ids[i] };
        TRY(add_token(t, &a, e));
    }
    if (!there[SPECIAL_CLS] || !there[SPECIAL_SEP]) return ERR_OK;
    t->lead[0] = ids[SPECIAL_CLS];
    t->trail[0] = ids[SPECIAL_SEP];
    t->n_lead = t->n_trail = 1;
    return ERR_OK;
}

/* added_tokens.json, older yet: { "content": id }. */
static enum err_code check_added_file(
    const json_t *added, const struct tokenizer_parts *parts, struct err *e)
{
    const char *content;
    size_t n;
    json_t *id;
    if (!added) return ERR_OK;
    json_object_keylen_foreach((json_t *)added, content, n, id)
    {
        uint32_t found;
        struct str s = { content, n };
        if (!json_is_integer(id) || !tokenizer__vocab_find(parts, s, &found) ||
            json_integer_value(id) != (json_int_t)found)
            return beyond_vocab("added_tokens.json", s, e);
    }
    return ERR_OK;
}

typedef enum err_code read_fn(const char *path, size_t max_bytes, json_t **ret, struct err *e);

/* The object in dir/name, or NULL where there is no such file. */
static enum err_code read_optional(
    read_fn *read, const char *dir, const char *name, json_t **ret_object, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name);
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the tokenizer");
    return file_exists(path) ? read(path, CONFIG_FILE_BYTES_MAX, ret_object, e) : ERR_OK;
}

enum err_code tokenizer__load_vocab(const char *dir, struct tokenizer *t, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, "vocab.txt");
    AUTO_FREE char *text = NULL;
    AUTO_FREE struct vocab_entry *vocab = NULL;
    AUTO_JSON json_t *config = NULL;
    AUTO_JSON json_t *added = NULL;
    struct tokenizer_parts parts = { .prefix = STR("##"), .max_chars = 100 };
    size_t n;
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the tokenizer");
    TRY(file_read(path, VOCAB_FILE_BYTES_MAX, &text, &n, e));
    if (!utf8_valid((struct str){ text, n }, NULL))
        return err_set(e, ERR_CORRUPT, "vocab.txt is not valid UTF-8");
    TRY(read_optional(json_file_read_reals, dir, CONFIG_NAME, &config, e));
    TRY(read_optional(json_file_read, dir, "added_tokens.json", &added, e));
    enum err_code code = read_lines((struct str){ text, n }, &parts, e);
    vocab = parts.vocab;
    TRY(code);
    TRY(read_settings(config, t, e));
    TRY(read_special(config, SPECIAL_UNK, &parts.unk, e));
    TRY(add_specials(config, t, &parts, e));
    TRY(check_added_file(added, &parts, e));
    return tokenizer__assemble(t, &parts, "vocab.txt", e);
}
