/* Which models there are. The rules are those of models_load, which see; here every model is listed, also the
 * ones that it would leave out. Tests: tests/engine/test_model_store.c. */
#include "engine/model_store.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/models_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef KINDRED_SHARE
#define KINDRED_SHARE "/usr/local/share/kindred/models"
#endif

enum { EXE_PATH_BYTES = 4096 };

/* ---- where ---- */

/* "<folder of the program>/tail"; NULL: not known, or no memory. */
static char *beside_program(const char *tail)
{
    char exe[EXE_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return NULL;
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (!slash) return NULL;
    *slash = '\0';
    return path_join(exe, tail);
}

enum err_code model_folders_find(const struct config *cfg, struct model_folders *ret, struct err *e)
{
    struct model_folders f = { .n = 0 };
    if (cfg->models && cfg->models[0]) f.paths[f.n++] = mem_strdup(cfg->models);
    f.paths[f.n++] = path_join(cfg->data, "models");
    f.paths[f.n] = beside_program("../../models");
    if (f.paths[f.n]) f.n++;
    f.paths[f.n] = beside_program("../share/kindred/models");
    if (f.paths[f.n]) f.n++;
    f.paths[f.n++] = mem_strdup(KINDRED_SHARE);
    if (f.n < MODEL_FOLDERS_MAX) f.paths[f.n++] = mem_strdup("/usr/share/kindred/models");
    for (size_t i = 0; i < f.n; i++) {
        if (f.paths[i]) continue;
        model_folders_done(&f);
        return err_set(e, ERR_NOMEM, "out of memory while looking for models");
    }
    *ret = f;
    return ERR_OK;
}

void model_folders_done(struct model_folders *f)
{
    for (size_t i = 0; i < f->n; i++)
        mem_free(f->paths[i]);
    *f = (struct model_folders){ .n = 0 };
}

enum err_code model_name_check(const char *name, struct err *e)
{
    size_t n = strlen(name);
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (n == 0 || n > MODEL_NAME_MAX || name[0] == '.' || strspn(name, allowed) != n)
        return err_set(e, ERR_INVALID,
            "\"%.80s\" is no name for a model: it needs 1 to 64 of a-z A-Z 0-9 _ . -, no dot first",
            name);
    return ERR_OK;
}

/* ---- list ---- */

/* Is this folder one that an earlier path names, too? */
static bool is_seen(const struct model_folders *f, size_t at)
{
    struct stat a, b;
    if (stat(f->paths[at], &a) != 0) return false;
    for (size_t i = 0; i < at; i++)
        if (stat(f->paths[i], &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
    return false;
}

static bool is_taken(const struct model_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->rows[i].hidden && strcmp(l->rows[i].name, name) == 0) return true;
    return false;
}

static enum err_code add_row(
    struct model_list *l, const char *dir, const char *name, struct model_row **ret, struct err *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        struct model_row *grown = mem_realloc(l->rows, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory while listing models");
        l->rows = grown;
        l->cap = cap;
    }
    struct model_row *row = &l->rows[l->n];
    *row = (struct model_row){ .dir = mem_strdup(dir) };
    if (!row->dir) return err_set(e, ERR_NOMEM, "out of memory while listing models");
    (void)snprintf(row->name, sizeof row->name, "%.64s", name);
    l->n++;
    *ret = row;
    return ERR_OK;
}

static enum err_code list_model(struct model_list *l, size_t folder, const char *name,
    const struct vec_kernels *k, struct err *e)
{
    AUTO_FREE char *dir = path_join(l->folders.paths[folder], name);
    AUTO_FREE char *config = dir ? path_join(dir, "config.json") : NULL;
    if (!config) return err_set(e, ERR_NOMEM, "out of memory while listing models");
    if (!file_exists(config)) return ERR_OK;

    struct encoder *enc = NULL;
    struct encoder_info info = { .dimensions = 0 };
    struct err why = ERR_INIT;
    enum err_code code = encoder_load(dir, k, &enc, &why);
    if (code == ERR_NOMEM) {
        if (e) *e = why;
        return code;
    }
    if (code == ERR_OK) info = *encoder_info(enc);
    encoder_free(enc);

    /* A folder is passed over for its own name as well as for the one in its config.json. */
    const char *shown = code == ERR_OK ? info.name : name;
    bool hidden = is_taken(l, name) || is_taken(l, shown);
    struct model_row *row = NULL;
    TRY(add_row(l, dir, shown, &row, e));
    row->folder = folder;
    row->hidden = hidden;
    row->broken = code != ERR_OK;
    row->why = why;
    row->info = info;
    struct model_files files = { .n = 0 };
    if (model_files_read(dir, false, &files, NULL) == ERR_OK)
        for (size_t i = 0; i < files.n; i++)
            row->bytes += files.rows[i].bytes;
    model_files_done(&files);
    return ERR_OK;
}

static enum err_code list_in_folder(
    struct model_list *l, size_t folder, const struct vec_kernels *k, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    enum err_code code = model__list_folder(l->folders.paths[folder], &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        if (code == ERR_OK) code = list_model(l, folder, names[i], k, e);
        mem_free(names[i]);
    }
    mem_free(names);
    return code;
}

enum err_code model_list_read(
    const struct config *cfg, const struct vec_kernels *k, struct model_list *ret, struct err *e)
{
    struct model_list l = { .n = 0 };
    enum err_code code = model_folders_find(cfg, &l.folders, e);
    for (size_t i = 0; code == ERR_OK && i < l.folders.n; i++)
        if (!is_seen(&l.folders, i)) code = list_in_folder(&l, i, k, e);
    if (code != ERR_OK) {
        model_list_done(&l);
        return code;
    }
    *ret = l;
    return ERR_OK;
}

void model_list_done(struct model_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem_free(l->rows[i].dir);
    mem_free(l->rows);
    model_folders_done(&l->folders);
    *l = (struct model_list){ .n = 0 };
}

const struct model_row *model_list_find(const struct model_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->rows[i].hidden && strcmp(l->rows[i].name, name) == 0) return &l->rows[i];
    return NULL;
}
