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

static const int64_t SETTLE_NS = 2 * NS_PER_S;

/* Under the lock. */
static struct model *find_name(const struct models *m, struct str name)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->rows[i]->name, name)) return m->rows[i];
    return NULL;
}

/* A model never changes: other weights or settings (model_hash) under its name are another model. */
bool model_is_same(const struct model *m, struct str hash)
{
    return hash.n != MODEL_HASH_CHARS || str_is(hash, m->weights_hash);
}

/* Into its place by name. */
static enum err_code list_model(struct models *m, struct model *row, struct err *e)
{
    AUTO_LOCK(&m->lock);
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 4;
        struct model **grown = mem_realloc(m->rows, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory while loading models");
        m->rows = grown;
        m->cap = cap;
    }
    size_t at = m->n++;
    for (; at > 0 && strcmp(m->rows[at - 1]->name.p, row->name.p) > 0; at--)
        m->rows[at] = m->rows[at - 1];
    m->rows[at] = row;
    return ERR_OK;
}

/* Takes the encoder. late: what was seen of its folder; NULL: at the start. */
static enum err_code add_model(struct models *m, const char *dir, struct encoder *enc,
    const struct model_seen *late, struct err *e)
{
    struct model *row = model__new(dir);
    if (!row) {
        encoder_free(enc);
        return err_set(e, ERR_NOMEM, "out of memory while loading models");
    }
    const struct encoder_info *info = encoder_info(enc);
    row->encoder = enc;
    row->info = info;
    row->name = row->base = str_from(info->name);
    row->version = 1;
    enum err_code code = model_hash(dir, row->weights_hash, e);
    if (code == ERR_OK && late) code = models_canary(row, e);
    if (code == ERR_OK && late && model__has_changed(late))
        code = err_set(e, ERR_CONFLICT, "%s has changed while it was loaded", dir);
    if (code == ERR_OK) code = list_model(m, row, e);
    if (code != ERR_OK) {
        model__free(row);
        return code;
    }
    LOG(INFO, "model_loaded", F_STR("model", info->name), F_STR("architecture", info->architecture),
        F_UINT("dimensions", info->dimensions), F_STR("folder", dir));
    return ERR_OK;
}

/* One model folder. Only a table that does not grow and, at the start, a broken default model stop the rest. */
static enum err_code load_one(
    struct models *m, const char *dir, const char *name, bool late, struct err *e)
{
    struct model_seen *seen = NULL;
    AUTO_FREE char *config = path_join(dir, "config.json");
    if (!config) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    if (!file_exists(config) || models_find(m, str_from(name)) || model__is_broken(m, name, NULL))
        return ERR_OK;
    TRY(model__look(m, dir, name, &seen, e));
    if (!seen) return ERR_OK;
    if (late && !model__is_settled(m, seen)) {
        model__set_state(m, seen, MODEL_ARRIVING);
        return ERR_OK;
    }

    struct encoder *enc = NULL;
    struct err why = ERR_INIT;
    enum err_code code = encoder_load(dir, m->kernels, &enc, &why);
    if (code == ERR_OK) {
        const char *found = encoder_info(enc)->name;
        if (models_find(m, str_from(found)) || model__is_broken(m, found, seen)) {
            encoder_free(enc);
            return ERR_OK;
        }
        code = add_model(m, dir, enc, late ? seen : NULL, &why);
        if (code == ERR_OK) return ERR_OK;
    }
    if (!late && strcmp(name, m->default_model) == 0) {
        if (e) *e = why;
        return code;
    }
    if (late && model__has_changed(seen)) {
        model__set_state(m, seen, MODEL_ARRIVING);
        return ERR_OK;
    }
    LOG(ERROR, "model_broken", F_STR("folder", dir), F_STR("error", why.msg));
    model__set_state(m, seen, MODEL_BROKEN);
    return ERR_OK;
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

static enum err_code load_folder(struct models *m, const char *folder, bool late, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    enum err_code code = model__list_folder(folder, &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        if (code == ERR_OK) {
            AUTO_FREE char *dir = path_join(folder, names[i]);
            code = dir ? load_one(m, dir, names[i], late, e)
                       : err_set(e, ERR_NOMEM, "out of memory while loading models");
        }
        mem_free(names[i]);
    }
    mem_free(names);
    return code;
}

enum err_code model__scan(struct models *m, bool late, struct err *e)
{
    for (size_t i = 0; i < m->n_folders; i++)
        TRY(load_folder(m, m->folders[i], late, e));
    return ERR_OK;
}

static enum err_code find_folders(struct models *m, const struct config *cfg, struct err *e)
{
    AUTO(model_folders_done) struct model_folders found = { 0 };
    TRY(model_folders_find(cfg, &found, e));
    _Static_assert((int)MODEL_FOLDERS_MAX <= (int)MODELS_FOLDERS_MAX, "room for all folders");
    for (; m->n_folders < found.n; m->n_folders++)
        m->folders[m->n_folders] = steal_ptr(&found.paths[m->n_folders]);
    return ERR_OK;
}

enum err_code models_load(
    struct models *m, const struct config *cfg, const struct vec_kernels *k, struct err *e)
{
    mutex_init(&m->lock, RANK_QUEUE);
    mutex_init(&m->scan_lock, RANK_ENGINE);
    m->has_lock = true;
    m->settle_ns = SETTLE_NS;
    m->kernels = k;
    m->default_model = cfg->default_model;
    TRY(find_folders(m, cfg, e));
    mutex_lock(&m->scan_lock);
    enum err_code code = model__scan(m, false, e);
    mutex_unlock(&m->scan_lock);
    if (code != ERR_OK) return code;
    if (!models_find(m, str_from(cfg->default_model)))
        return err_set(e, ERR_NOT_FOUND,
            "default model \"%s\" is in none of the model folders (%s, …, %s)", cfg->default_model,
            m->folders[0], m->folders[m->n_folders - 1]);
    return ERR_OK;
}

void models_done(struct models *m)
{
    for (size_t i = 0; i < m->n_learned; i++)
        model_unref(m->learned[i]);
    for (size_t i = 0; i < m->n; i++)
        model__free(m->rows[i]);
    for (size_t i = 0; i < m->n_folders; i++)
        mem_free(m->folders[i]);
    mem_free(m->learned);
    mem_free(m->rows);
    model__seen_done(m);
    if (m->has_lock) {
        mutex_done(&m->lock);
        mutex_done(&m->scan_lock);
    }
    *m = (struct models){ 0 };
}

struct model *models_find(struct models *m, struct str ref)
{
    AUTO_LOCK(&m->lock);
    if (ref.n > 2 && memcmp(ref.p + ref.n - 2, "@1", 2) == 0) ref.n -= 2;
    return find_name(m, ref);
}

enum err_code models_all(
    struct models *m, struct arena *a, struct model ***ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_LOCK(&m->lock);
    struct model **rows = arena_alloc(a, m->n, sizeof *rows);
    if (!rows) return err_set(e, ERR_NOMEM, "out of memory for the list of models");
    memcpy(rows, m->rows, m->n * sizeof *rows);
    *ret_rows = rows;
    *ret_n = m->n;
    return ERR_OK;
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
