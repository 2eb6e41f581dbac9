/* Catalogs and model cards hold these hashes: they must come out the same for ever. The hash of one file is that
 * of its bytes, as it was before there were models of several.
 *
 * A static encoder makes a text's vector from its pieces' rows; what else its folder holds counted for nothing from
 * the start, and still does. A model with prompts, or of another architecture, is also what its settings say. */
#include "engine/model_hash.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/model/modules.h"
#include "core/model/prompts.h"
#include "core/model/weights.h"
#include "engine/hash.h"
#include "engine/model_store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char single[] = "model.safetensors";

struct names {
    char **paths;
    size_t n;
};

static void names_done(struct names *l)
{
    weights_list_free(l->paths, l->n);
}

/* Do its settings count, beside its weights? */
static enum err_code settings_count(const char *dir, bool *ret, struct err *e)
{
    AUTO_JSON json_t *config = NULL;
    struct model_prompts prompts;
    TRY(model__read_json(dir, "config.json", &config, e));
    TRY(prompts_read(dir, &prompts, e));
    const char *type = json_string_value(json_object_get(config, "model_type"));
    *ret = (type && strcmp(type, "static") != 0) || prompts.text[ENCODE_QUERY][0] ||
        prompts.text[ENCODE_DOCUMENT][0];
    return ERR_OK;
}

static enum err_code list_single(struct names *ret, struct err *e)
{
    ret->paths = mem_zalloc(1, sizeof *ret->paths);
    if (!ret->paths || !(ret->paths[0] = mem_strdup(single)))
        return err_set(e, ERR_NOMEM, "no memory for a path");
    ret->n = 1;
    return ERR_OK;
}

/* The weights' files, sorted. */
static enum err_code list_weights(
    const char *dir, bool with_settings, struct names *ret, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, single);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    if (!with_settings && file_exists(path)) return list_single(ret, e);
    return weights_list(dir, &ret->paths, &ret->n, e);
}

/* Where there is such a file. */
static enum err_code add_name(
    const char *dir, const char *folder, const char *name, struct names *l, struct err *e)
{
    AUTO_FREE char *relative = folder[0] ? path_join(folder, name) : mem_strdup(name);
    AUTO_FREE char *path = relative ? path_join(dir, relative) : NULL;
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    if (!file_exists(path)) return ERR_OK;
    char **grown = mem_realloc(l->paths, l->n + 1, sizeof *grown);
    if (!grown) return err_set(e, ERR_NOMEM, "no memory for a path");
    l->paths = grown;
    l->paths[l->n++] = steal_ptr(&relative);
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum err_code add_settings(const char *dir, struct names *l, struct err *e)
{
    static const char *const names[] = { "config.json", "modules.json", "sentence_bert_config.json",
        "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt" };
    struct model_modules modules;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        TRY(add_name(dir, "", names[i], l, e));
    TRY(modules_read(dir, &modules, e));
    for (size_t i = 0; i < modules.n; i++)
        if (modules.list[i].path[0]) TRY(add_name(dir, modules.list[i].path, "config.json", l, e));
    qsort(l->paths, l->n, sizeof *l->paths, by_name);
    return ERR_OK;
}

static enum err_code hash_file(
    const char *dir, const char *name, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name);
    AUTO(file_map_close) struct file_map map = { .n = 0 };
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    TRY(file_map_open(path, &map, e));
    hash_content(map.p, map.n, ret);
    return ERR_OK;
}

static enum err_code hash_all(
    const char *dir, const struct names *l, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    struct buf all = BUF_INIT(0);
    enum err_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < l->n; i++) {
        unsigned char one[CATALOG_HASH_BYTES];
        code = hash_file(dir, l->paths[i], one, e);
        if (code != ERR_OK) break;
        (void)buf_append(&all, l->paths[i], strlen(l->paths[i]) + 1);
        (void)buf_append(&all, one, sizeof one);
    }
    if (code == ERR_OK) code = buf_check(&all, e);
    if (code == ERR_OK) hash_content(all.p, all.n, ret);
    buf_done(&all);
    return code;
}

enum err_code model_hash(const char *dir, char ret[MODEL_HASH_CHARS + 1], struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[CATALOG_HASH_BYTES];
    AUTO(names_done) struct names l = { .n = 0 };
    bool with_settings;
    TRY(settings_count(dir, &with_settings, e));
    TRY(list_weights(dir, with_settings, &l, e));
    if (with_settings) TRY(add_settings(dir, &l, e));
    if (l.n == 1 && strcmp(l.paths[0], single) == 0)
        TRY(hash_file(dir, single, hash, e));
    else
        TRY(hash_all(dir, &l, hash, e));
    for (size_t i = 0; i < sizeof hash; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[MODEL_HASH_CHARS] = '\0';
    return ERR_OK;
}

int64_t model_written_ms(const char *dir)
{
    AUTO(names_done) struct names l = { .n = 0 };
    int64_t newest = 0;
    bool with_settings;
    if (settings_count(dir, &with_settings, NULL) != ERR_OK) return 0;
    if (list_weights(dir, with_settings, &l, NULL) != ERR_OK) return 0;
    for (size_t i = 0; i < l.n; i++) {
        AUTO_FREE char *path = path_join(dir, l.paths[i]);
        struct stat st;
        if (!path || stat(path, &st) != 0) continue;
        int64_t ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / NS_PER_MS;
        if (ms > newest) newest = ms;
    }
    return newest;
}
