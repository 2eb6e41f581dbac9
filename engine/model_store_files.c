/* The files of a model's folder: which, how large, with which hashes; what is noted of them. */
#include "engine/model_store_internal.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/models_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FOLDERS_DEEP = 3, JSON_BYTES_MAX = 1 << 20 };

/* ---- which ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), len = strlen(end);
    return n > len && strcmp(s + n - len, end) == 0;
}

static bool is_plain(const char *s, size_t n)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return n > 0 && n < MODEL_PATH_MAX && s[0] != '.' && strspn(s, allowed) >= n;
}

/* A number, '_', a class's name: "1_Pooling". */
static bool is_module_folder(const char *s, size_t n)
{
    size_t digits = strspn(s, "0123456789");
    return is_plain(s, n) && digits > 0 && digits + 1 < n && s[digits] == '_' &&
        memchr(s, '.', n) == NULL;
}

bool model_file_is_wanted(const char *path)
{
    static const char *const names[] = { "config.json", "modules.json", "sentence_bert_config.json",
        "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "vocab.txt", "model.safetensors.index.json",
        "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt" };
    const char *slash = strchr(path, '/'), *name = slash ? slash + 1 : path;
    if (strlen(path) >= MODEL_PATH_MAX) return false;
    if (slash && !is_module_folder(path, (size_t)(slash - path))) return false;
    if (!is_plain(name, strlen(name))) return false; /* no second folder either */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return ends_with(name, ".safetensors");
}

/* ---- list ---- */

static enum err_code add_file(struct model_files *f, const char *path, uint64_t bytes,
    const char *full, bool hash, struct err *e)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 16;
        struct model_file *grown = mem_realloc(f->rows, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory for a list of files");
        f->rows = grown;
        f->cap = cap;
    }
    struct model_file *row = &f->rows[f->n];
    *row = (struct model_file){ .bytes = bytes };
    memcpy(row->path, path, strlen(path) + 1);
    if (hash) TRY(hash_sha256_file(full, row->sha256, e));
    f->n++;
    return ERR_OK;
}

static enum err_code read_folder(
    struct model_files *f, const char *dir, const char *within, bool hash, int deep, struct err *e);

static enum err_code read_entry(struct model_files *f, const char *dir, const char *within,
    const char *name, bool hash, int deep, struct err *e)
{
    char path[MODEL_PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s%s%s", within, *within ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_LIMIT, "%s: a path in it is too long: %.100s…", dir, path);
    AUTO_FREE char *full = path_join(dir, path);
    if (!full) return err_set(e, ERR_NOMEM, "out of memory for a list of files");
    if (stat(full, &st) != 0) return err_errno(e, ERR_IO, errno, "cannot read %s", full);
    if (S_ISDIR(st.st_mode)) return read_folder(f, dir, path, hash, deep + 1, e);
    if (!S_ISREG(st.st_mode)) return ERR_OK;
    return add_file(f, path, (uint64_t)st.st_size, full, hash, e);
}

static enum err_code read_folder(
    struct model_files *f, const char *dir, const char *within, bool hash, int deep, struct err *e)
{
    AUTO_FREE char *folder = *within ? path_join(dir, within) : mem_strdup(dir);
    char **names = NULL;
    size_t n = 0;
    if (deep > FOLDERS_DEEP) return ERR_OK;
    if (!folder) return err_set(e, ERR_NOMEM, "out of memory for a list of files");
    enum err_code code = model__list_folder(folder, &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        if (code == ERR_OK) code = read_entry(f, dir, within, names[i], hash, deep, e);
        mem_free(names[i]);
    }
    mem_free(names);
    return code;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->path, ((const struct model_file *)b)->path);
}

enum err_code model_files_read(const char *dir, bool hash, struct model_files *ret, struct err *e)
{
    struct model_files f = { .n = 0 };
    if (!dir_exists(dir)) return err_set(e, ERR_NOT_FOUND, "there is no folder %s", dir);
    enum err_code code = read_folder(&f, dir, "", hash, 0, e);
    if (code != ERR_OK) {
        model_files_done(&f);
        return code;
    }
    if (f.n) qsort(f.rows, f.n, sizeof *f.rows, by_path);
    *ret = f;
    return ERR_OK;
}

void model_files_done(struct model_files *f)
{
    mem_free(f->rows);
    *f = (struct model_files){ .n = 0 };
}

/* ---- what is noted ---- */

enum err_code model__read_json(const char *dir, const char *name, json_t **ret, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name);
    if (!path) return err_set(e, ERR_NOMEM, "out of memory while reading %s", name);
    *ret = NULL;
    return file_exists(path) ? json_file_read(path, JSON_BYTES_MAX, ret, e) : ERR_OK;
}

static void take_text(const json_t *object, const char *field, char *ret, size_t cap)
{
    const char *text = json_string_value(json_object_get(object, field));
    if (text && ret[0] == '\0') (void)snprintf(ret, cap, "%s", text);
}

enum err_code model_note_read(const char *dir, struct model_note *ret, struct err *e)
{
    AUTO_JSON json_t *note = NULL;
    AUTO_JSON json_t *config = NULL;
    struct model_note n = { .source = "" };
    TRY(model__read_json(dir, "source.json", &note, e));
    TRY(model__read_json(dir, "config.json", &config, e));
    take_text(note, "source", n.source, sizeof n.source);
    take_text(note, "version", n.version, sizeof n.version);
    take_text(note, "license", n.licence, sizeof n.licence);
    take_text(config, "license", n.licence, sizeof n.licence);
    *ret = n;
    return ERR_OK;
}
