/* Where models are looked for, and which of two with one name is used.
 *
 * Folders, in their order: model_folders_find. Each subfolder with a config.json is a model. The first
 * folder with a name wins, also when its model does not load: falling through to another model of the
 * same name would change embeddings in silence.
 */
#include "engine/models_internal.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/model_store.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_broken(const struct models *m, const char *name)
{
    for (size_t i = 0; i < m->n_broken; i++)
        if (strcmp(m->broken[i], name) == 0) return true;
    return false;
}

static struct model *find_name(const struct models *m, struct str name)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->rows[i]->name, name)) return m->rows[i];
    return NULL;
}

static enum err_code note_broken(struct models *m, const char *name, struct err *e)
{
    char **grown = mem_realloc(m->broken, m->n_broken + 1, sizeof *grown);
    if (!grown) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    m->broken = grown;
    char *copy = mem_strdup(name);
    if (!copy) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    m->broken[m->n_broken++] = copy;
    return ERR_OK;
}

/* A model never changes: another file under its name is another model. */
bool model_is_same(const struct model *m, struct str hash)
{
    return hash.n != MODEL_HASH_CHARS || str_is(hash, m->weights_hash);
}

static enum err_code add_model(
    struct models *m, const char *dir, struct encoder *enc, struct err *e)
{
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 4;
        struct model **grown = mem_realloc(m->rows, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory while loading models");
        m->rows = grown;
        m->cap = cap;
    }
    char hash[MODEL_HASH_CHARS + 1];
    TRY(model_hash(dir, hash, e));
    struct model *row = model__new(dir);
    if (!row) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    memcpy(row->weights_hash, hash, sizeof hash);
    const struct encoder_info *info = encoder_info(enc);
    row->encoder = enc;
    row->info = info;
    row->name = row->base = str_from(info->name);
    row->version = 1;
    m->rows[m->n++] = row;
    LOG(INFO, "model_loaded", F_STR("model", info->name), F_STR("architecture", info->architecture),
        F_UINT("dimensions", info->dimensions), F_STR("folder", dir));
    return ERR_OK;
}

/* One model folder. Only NOMEM and a broken default model stop the start. */
static enum err_code load_one(struct models *m, const struct config *cfg,
    const struct vec_kernels *k, const char *dir, const char *name, struct err *e)
{
    AUTO_FREE char *config = path_join(dir, "config.json");
    if (!config) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    if (!file_exists(config) || find_name(m, str_from(name)) || is_broken(m, name)) return ERR_OK;

    struct encoder *enc = NULL;
    struct err why = ERR_INIT;
    enum err_code code = encoder_load(dir, k, &enc, &why);
    if (code == ERR_OK) {
        struct str found = str_from(encoder_info(enc)->name);
        if (find_name(m, found) || is_broken(m, found.p)) {
            encoder_free(enc);
            return ERR_OK;
        }
        code = add_model(m, dir, enc, e);
        if (code != ERR_OK) encoder_free(enc);
        return code;
    }
    if (code == ERR_NOMEM || strcmp(name, cfg->default_model) == 0) {
        if (e) *e = why;
        return code;
    }
    LOG(ERROR, "model_broken", F_STR("folder", dir), F_STR("error", why.msg));
    return note_broken(m, name, e);
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err_code model__list_folder(
    const char *folder, char ***ret_names, size_t *ret_n, struct err *e)
{
    DIR *d = opendir(folder);
    char **names = NULL;
    size_t n = 0, cap = 0;
    enum err_code code = ERR_OK;
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        if (n == cap) {
            size_t more = cap ? cap * 2 : 8;
            char **grown = mem_realloc(names, more, sizeof *grown);
            if (!grown)
                code = ERR_NOMEM;
            else
                names = grown, cap = more;
        }
        char *copy = code == ERR_OK ? mem_strdup(entry->d_name) : NULL;
        if (!copy) {
            code = err_set(e, ERR_NOMEM, "out of memory while listing %s", folder);
            break;
        }
        names[n++] = copy;
    }
    if (d) closedir(d);
    if (n) qsort(names, n, sizeof *names, by_string);
    *ret_names = names;
    *ret_n = n;
    return code;
}

static enum err_code load_folder(struct models *m, const struct config *cfg,
    const struct vec_kernels *k, const char *folder, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    enum err_code code = model__list_folder(folder, &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        if (code == ERR_OK) {
            AUTO_FREE char *dir = path_join(folder, names[i]);
            code = dir ? load_one(m, cfg, k, dir, names[i], e)
                       : err_set(e, ERR_NOMEM, "out of memory while loading models");
        }
        mem_free(names[i]);
    }
    mem_free(names);
    return code;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct model *const *)a)->name.p, (*(struct model *const *)b)->name.p);
}

enum err_code models_load(
    struct models *m, const struct config *cfg, const struct vec_kernels *k, struct err *e)
{
    mutex_init(&m->lock, RANK_QUEUE);
    m->has_lock = true;
    AUTO(model_folders_done) struct model_folders folders = { 0 };
    TRY(model_folders_find(cfg, &folders, e));
    for (size_t i = 0; i < folders.n; i++)
        TRY(load_folder(m, cfg, k, folders.paths[i], e));

    if (m->n) qsort(m->rows, m->n, sizeof *m->rows, by_name);
    if (!models_find(m, str_from(cfg->default_model)))
        return err_set(e, ERR_NOT_FOUND,
            "default model \"%s\" is in none of the model folders (%s, …, %s)", cfg->default_model,
            folders.paths[0], folders.paths[folders.n - 1]);
    return ERR_OK;
}

void models_done(struct models *m)
{
    for (size_t i = 0; i < m->n_learned; i++)
        model_unref(m->learned[i]);
    for (size_t i = 0; i < m->n; i++)
        model__free(m->rows[i]);
    for (size_t i = 0; i < m->n_broken; i++)
        mem_free(m->broken[i]);
    mem_free(m->learned);
    mem_free(m->rows);
    mem_free(m->broken);
    if (m->has_lock) mutex_done(&m->lock);
    *m = (struct models){ 0 };
}

struct model *models_find(const struct models *m, struct str ref)
{
    if (ref.n > 2 && memcmp(ref.p + ref.n - 2, "@1", 2) == 0) ref.n -= 2;
    return find_name(m, ref);
}

enum err_code models_canary(const struct model *m, struct err *e)
{
    static const char text[] = "The canary sings at the first light of day";
    size_t dim = m->info->dimensions;
    struct encoder_workspace *w = NULL;
    AUTO_FREE float *rows = mem_alloc(2 * dim, sizeof *rows);
    if (!rows) return err_set(e, ERR_NOMEM, "out of memory for a test embedding");
    TRY(encoder_workspace_new(m->encoder, &w, e));
    enum err_code code = encoder_encode_text(w, STR(text), ENCODE_DOCUMENT, rows, e);
    if (code == ERR_OK) code = encoder_encode_text(w, STR(text), ENCODE_DOCUMENT, rows + dim, e);
    encoder_workspace_free(w);
    if (code != ERR_OK) {
        if (e) return err_wrap(e, "model \"%s\"", m->info->name);
        return code;
    }
    double norm = 0;
    for (size_t i = 0; i < dim; i++)
        norm += (double)rows[i] * (double)rows[i];
    if (!vec_is_finite(rows, dim) || norm <= 0)
        return err_set(
            e, ERR_CORRUPT, "model \"%s\" gives a vector of length %g", m->info->name, sqrt(norm));
    if (memcmp(rows, rows + dim, dim * sizeof *rows) != 0)
        return err_set(
            e, ERR_CORRUPT, "model \"%s\" gives two vectors for one text", m->info->name);
    return ERR_OK;
}
