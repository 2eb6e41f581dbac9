/* From a model folder to a tokenizer: find the file, collect the vocabulary by
 * id, check that it has no holes, store it in one block, build the tables.
 */
#include "core/text/tokenizer_internal.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <string.h>

enum { JSON_FILE_BYTES_MAX = 64 << 20 };

enum err_code tokenizer__vocab_put(struct tokenizer_parts *parts, size_t id, struct str piece,
    bool added_only, const char *file, struct err *e)
{
    if (id >= WORDPIECE_ID_MAX || (parts->max_ids && id >= parts->max_ids))
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

bool tokenizer__vocab_find(const struct tokenizer_parts *parts, struct str piece, uint32_t *ret_id)
{
    for (size_t id = 0; id < parts->n_vocab; id++) {
        const struct vocab_entry *v = &parts->vocab[id];
        if (!v->present || v->added_only || !str_eq(v->piece, piece)) continue;
        *ret_id = (uint32_t)id;
        return true;
    }
    return false;
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
    if (!tokenizer__vocab_find(parts, parts->unk, &c.unk_id))
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

static enum err_code read_json(
    struct str text, const char *path, struct tokenizer *t, struct err *e)
{
    struct tokenizer_parts parts = { 0 };
    void *keep = NULL;
    enum err_code code = tokenizer__read_json(text, path, t, &parts, &keep, e);
    if (code == ERR_OK) code = tokenizer__assemble(t, &parts, "tokenizer.json", e);
    mem_free(parts.vocab);
    tokenizer__release_json(keep);
    return code;
}

enum err_code tokenizer_load_json(struct str json, struct tokenizer **ret_t, struct err *e)
{
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory to load the tokenizer");
    enum err_code code = read_json(json, "tokenizer.json", t, e);
    if (code != ERR_OK) {
        tokenizer_free(t);
        return code;
    }
    *ret_t = t;
    return ERR_OK;
}

static enum err_code read_json_file(const char *path, struct tokenizer *t, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    TRY(file_read(path, JSON_FILE_BYTES_MAX, &text, &n, e));
    return read_json((struct str){ text, n }, path, t, e);
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
        code = read_json_file(json, t, e);
    else if (file_exists(text))
        code = tokenizer__load_vocab(model_dir, t, e);
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
