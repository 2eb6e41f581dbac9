/* From a model folder to a tokenizer: find the file, collect the vocabulary by
 * id, check that it has no holes, store it in one block, build the tables.
 *
 * vocab.txt is BERT's older form: a piece a line, its number is its id. What
 * surrounds it is then BERT's, as in the `transformers` library: the special
 * tokens it has are found in the text, [CLS] and [SEP] are put around it.
 */
#include "core/text/tokenizer_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"
#include "core/text/utf8.h"

#include <string.h>

enum { VOCAB_FILE_BYTES_MAX = 64 << 20, CONFIG_FILE_BYTES_MAX = 1 << 20 };

enum err_code tokenizer__vocab_put(struct tokenizer_parts *parts, size_t id, struct str piece,
    bool added_only, const char *file, struct err *e)
{
    if (id >= WORDPIECE_ID_MAX)
        return err_set(e, ERR_CORRUPT, "%s: id %zu of \"%.*s\" is out of range", file, id,
            (int)(piece.n < 40 ? piece.n : 40), piece.p);
    if (id >= parts->cap) {
        size_t cap = parts->cap ? parts->cap : 1024;
        while (cap <= id)
            cap *= 2;
        struct vocab_entry *v = mem_realloc(parts->vocab, cap, sizeof *v);
        if (!v) return err_set(e, ERR_NOMEM, "no memory for the vocabulary");
        memset(v + parts->cap, 0, (cap - parts->cap) * sizeof *v);
        parts->vocab = v;
        parts->cap = cap;
    }
    if (parts->vocab[id].present)
        return err_set(e, ERR_CORRUPT, "%s: two pieces have the id %zu", file, id);
    parts->vocab[id] = (struct vocab_entry){ piece, true, added_only };
    if (id >= parts->n_vocab) parts->n_vocab = id + 1;
    return ERR_OK;
}

static enum err_code store_pieces(struct tokenizer *t, const struct tokenizer_parts *parts,
    bool *skip, const char *file, struct err *e)
{
    size_t bytes = 0;
    for (size_t id = 0; id < parts->n_vocab; id++) {
        if (!parts->vocab[id].present)
            return err_set(
                e, ERR_CORRUPT, "%s: of %zu ids, %zu has no piece", file, parts->n_vocab, id);
        bytes += parts->vocab[id].piece.n;
    }
    t->bytes = mem_alloc(bytes + 1, 1);
    t->offsets = mem_alloc(parts->n_vocab + 1, sizeof *t->offsets);
    if (!t->bytes || !t->offsets) return err_set(e, ERR_NOMEM, "no memory for the vocabulary");
    size_t at = 0;
    for (size_t id = 0; id < parts->n_vocab; id++) {
        struct str piece = parts->vocab[id].piece;
        t->offsets[id] = (uint32_t)at;
        if (piece.n) memcpy(t->bytes + at, piece.p, piece.n);
        at += piece.n;
        skip[id] = parts->vocab[id].added_only;
    }
    t->offsets[parts->n_vocab] = (uint32_t)at;
    t->n_pieces = parts->n_vocab;
    return ERR_OK;
}

static bool find_entry(const struct tokenizer_parts *parts, struct str piece, uint32_t *ret_id)
{
    for (size_t id = 0; id < parts->n_vocab; id++) {
        const struct vocab_entry *v = &parts->vocab[id];
        if (!v->present || v->added_only || !str_eq(v->piece, piece)) continue;
        *ret_id = (uint32_t)id;
        return true;
    }
    return false;
}

/* Each piece must lead back to its own id: in vocab.txt one may stand twice. */
static enum err_code check_found(
    const struct tokenizer *t, const bool *skip, const char *file, struct err *e)
{
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        struct str piece = tokenizer_piece(t, id);
        uint32_t found = id;
        if (skip[id] || piece.n == 0) continue;
        if (!wordpiece_find(&t->wp, piece, &found) || found != id)
            return err_set(
                e, ERR_CORRUPT, "%s: the pieces %u and %u are the same", file, found, id);
    }
    return ERR_OK;
}

static void fill_byte_classes(struct tokenizer *t)
{
    for (unsigned c = 0; c < 256; c++) {
        enum byte_class class = BYTE_LETTER;
        bool control = c < 0x20 || c == 0x7F;
        if (c >= 0x80)
            class = BYTE_HIGH;
        else if (c == '\t' || c == '\n' || c == '\r')
            class = BYTE_SPACE;
        else if (control && t->norm.clean_text)
            class = BYTE_DROPPED;
        else if (bert_is_space(c))
            class = BYTE_SPACE;
        else if (bert_is_punctuation(c))
            class = BYTE_PUNCTUATION;
        t->byte_class[c] = (uint8_t) class;
    }
}

enum err_code tokenizer__assemble(
    struct tokenizer *t, const struct tokenizer_parts *parts, const char *file, struct err *e)
{
    struct wordpiece_config c = { .prefix = parts->prefix, .max_chars = parts->max_chars };
    if (parts->n_vocab == 0) return err_set(e, ERR_CORRUPT, "%s: the vocabulary is empty", file);
    if (!find_entry(parts, parts->unk, &c.unk_id))
        return err_set(e, ERR_CORRUPT, "%s: the vocabulary lacks the unknown token \"%.*s\"", file,
            (int)(parts->unk.n < 40 ? parts->unk.n : 40), parts->unk.p);
    AUTO_FREE bool *skip = mem_alloc(parts->n_vocab, sizeof *skip);
    if (!skip) return err_set(e, ERR_NOMEM, "no memory for the vocabulary");
    TRY(store_pieces(t, parts, skip, file, e));
    c.bytes = t->bytes;
    c.offsets = t->offsets;
    c.n_pieces = t->n_pieces;
    c.skip = skip;
    TRY(wordpiece_init(&t->wp, &c, e));
    TRY(check_found(t, skip, file, e));
    fill_byte_classes(t);
    return ERR_OK;
}

/* ---- vocab.txt ---- */

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

static enum err_code read_bert_settings(const char *dir, struct tokenizer *t, struct err *e)
{
    t->norm = (struct bert_options){ true, true, true, true };
    AUTO_FREE char *path = path_join(dir, "tokenizer_config.json");
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the tokenizer");
    if (!file_exists(path)) return ERR_OK;
    AUTO_JSON json_t *j = NULL;
    const struct json_place at = { "tokenizer_config.json", "" };
    TRY(json_file_read(path, CONFIG_FILE_BYTES_MAX, &j, e));
    TRY(json_read_bool(j, "do_lower_case", &at, &t->norm.lowercase, e));
    t->norm.strip_accents = t->norm.lowercase;
    TRY(json_read_bool(j, "strip_accents", &at, &t->norm.strip_accents, e));
    return json_read_bool(j, "tokenize_chinese_chars", &at, &t->norm.handle_chinese_chars, e);
}

static enum err_code add_bert_specials(
    struct tokenizer *t, const struct tokenizer_parts *parts, struct err *e)
{
    static const char *const names[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    bool has_cls = false, has_sep = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char content[8];
        struct added_token a = { .content = content, .len = strlen(names[i]) };
        memcpy(content, names[i], a.len + 1);
        if (!find_entry(parts, str_from(names[i]), &a.id)) continue;
        TRY(added_tokens_add(&t->added, &a, e));
        if (i == 2) {
            t->lead[0] = a.id;
            has_cls = true;
        } else if (i == 3) {
            t->trail[0] = a.id;
            has_sep = true;
        }
    }
    t->n_lead = t->n_trail = has_cls && has_sep;
    return ERR_OK;
}

static enum err_code load_vocab_txt(
    const char *dir, const char *path, struct tokenizer *t, struct err *e)
{
    AUTO_FREE char *text = NULL;
    AUTO_FREE struct vocab_entry *vocab = NULL;
    struct tokenizer_parts parts = { .prefix = STR("##"), .unk = STR("[UNK]"), .max_chars = 100 };
    size_t n;
    TRY(file_read(path, VOCAB_FILE_BYTES_MAX, &text, &n, e));
    if (!utf8_valid((struct str){ text, n }, NULL))
        return err_set(e, ERR_CORRUPT, "vocab.txt is not valid UTF-8");
    enum err_code code = read_lines((struct str){ text, n }, &parts, e);
    vocab = parts.vocab;
    TRY(code);
    TRY(read_bert_settings(dir, t, e));
    TRY(add_bert_specials(t, &parts, e));
    return tokenizer__assemble(t, &parts, "vocab.txt", e);
}

static enum err_code load_json(const char *path, struct tokenizer *t, struct err *e)
{
    struct tokenizer_parts parts = { 0 };
    void *keep = NULL;
    enum err_code code = tokenizer__read_json(path, t, &parts, &keep, e);
    if (code == ERR_OK) code = tokenizer__assemble(t, &parts, "tokenizer.json", e);
    mem_free(parts.vocab);
    tokenizer__release_json(keep);
    return code;
}

enum err_code tokenizer_load(const char *model_dir, struct tokenizer **ret_t, struct err *e)
{
    AUTO_FREE char *json = path_join(model_dir, "tokenizer.json");
    AUTO_FREE char *text = path_join(model_dir, "vocab.txt");
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    enum err_code code = ERR_OK;
    if (!json || !text || !t)
        code = err_set(e, ERR_NOMEM, "no memory to load the tokenizer");
    else if (file_exists(json))
        code = load_json(json, t, e);
    else if (file_exists(text))
        code = load_vocab_txt(model_dir, text, t, e);
    else
        code =
            err_set(e, ERR_NOT_FOUND, "%s holds neither tokenizer.json nor vocab.txt", model_dir);
    if (code != ERR_OK) {
        tokenizer_free(t);
        return code;
    }
    *ret_t = t;
    return ERR_OK;
}
