/* Which files there are
 *
 *   model.safetensors              all tensors; where it is there, the index is not looked at
 *   model.safetensors.index.json   { "metadata": …, "weight_map": { tensor: file } }
 *
 * The index and the files must agree: every tensor of every file is in the map, under that file. As names are
 * unique within a file and within the map, equal numbers then say that nothing of the map is missing.
 *
 * pytorch_model.bin is a pickle, a program that is run to be read: it is never loaded.
 */
#include "core/model/weights.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"
#include "core/model/modules.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_BYTES_MAX = 16 << 20, FILE_NAME_BYTES = 128 };

static const char SINGLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";
static const char PICKLE[] = "pytorch_model.bin";

struct weight_file {
    char name[MODULE_PATH_BYTES + FILE_NAME_BYTES]; /* relative to the model's folder */
    struct safetensors *s;
};
struct weights {
    struct weight_file *files; /* room for WEIGHT_FILES_MAX */
    size_t n_files, n_tensors;
    char
        index[MODULE_PATH_BYTES + sizeof INDEX]; /* of the folder that is read, as in weight_file */
};

/* "sub/name" without the folder; sub may be NULL. */
static void relative(char *ret, size_t cap, const char *sub, const char *name)
{
    snprintf(ret, cap, "%s%s%s", sub ? sub : "", sub ? "/" : "", name);
}

/* ---- the files of a folder ---- */

/* A file's place in w, which is given one where it has none yet. */
static enum err_code place_file(struct weights *w, const char *sub, const char *name, struct err *e)
{
    char relative_name[sizeof w->files->name];
    if (strlen(name) >= FILE_NAME_BYTES || !module_path_is_inside(name) || strchr(name, '/'))
        return err_set(e, ERR_CORRUPT, "%s: \"%.60s\" is not the name of a file", w->index, name);
    relative(relative_name, sizeof relative_name, sub, name);
    for (size_t i = 0; i < w->n_files; i++)
        if (strcmp(w->files[i].name, relative_name) == 0) return ERR_OK;
    if (w->n_files == WEIGHT_FILES_MAX)
        return err_set(
            e, ERR_UNPROCESSABLE, "%s names more than %d files", w->index, WEIGHT_FILES_MAX);
    memcpy(w->files[w->n_files++].name, relative_name, sizeof relative_name);
    return ERR_OK;
}

static enum err_code read_index(
    const char *dir, const char *sub, struct weights *w, json_t **ret_index, struct err *e)
{
    const char *index = w->index;
    AUTO_FREE char *path = path_join(dir, index);
    AUTO_JSON json_t *j = NULL;
    if (!path) return err_set(e, ERR_NOMEM, "no memory to open the weights");
    TRY(json_file_read(path, INDEX_BYTES_MAX, &j, e));
    json_t *map = json_object_get(j, "weight_map"), *file;
    const char *tensor;
    if (!json_is_object(map))
        return err_set(e, ERR_CORRUPT, "%s: weight_map must be an object", index);
    json_object_foreach(map, tensor, file)
    {
        if (!json_is_string(file))
            return err_set(
                e, ERR_CORRUPT, "%s: the file of \"%.60s\" must be a string", index, tensor);
        TRY(place_file(w, sub, json_string_value(file), e));
    }
    if (w->n_files == 0) return err_set(e, ERR_CORRUPT, "%s names no file", index);
    *ret_index = steal_ptr(&j);
    return ERR_OK;
}

/* Names of the files of dir/sub into w; *ret_index stays NULL where there is one file only. */
static enum err_code find_files(
    const char *dir, const char *sub, struct weights *w, json_t **ret_index, struct err *e)
{
    char single[MODULE_PATH_BYTES + sizeof SINGLE], pickle[MODULE_PATH_BYTES + sizeof PICKLE];
    relative(single, sizeof single, sub, SINGLE);
    relative(w->index, sizeof w->index, sub, INDEX);
    relative(pickle, sizeof pickle, sub, PICKLE);
    AUTO_FREE char *single_path = path_join(dir, single);
    AUTO_FREE char *index_path = path_join(dir, w->index);
    AUTO_FREE char *pickle_path = path_join(dir, pickle);
    if (!single_path || !index_path || !pickle_path)
        return err_set(e, ERR_NOMEM, "no memory to open the weights");
    if (file_exists(single_path)) return place_file(w, sub, SINGLE, e);
    if (file_exists(index_path)) return read_index(dir, sub, w, ret_index, e);
    if (file_exists(pickle_path))
        return err_set(e, ERR_UNPROCESSABLE,
            "there is no %s; %s is a pickle, which is never loaded: convert it to safetensors",
            single, pickle);
    return err_set(e, ERR_NOT_FOUND, "there is no %s", single);
}

static enum err_code weights_new(struct weights **ret_w, struct err *e)
{
    struct weights *w = mem_zalloc(1, sizeof *w);
    if (w) w->files = mem_zalloc(WEIGHT_FILES_MAX, sizeof *w->files);
    if (!w || !w->files) {
        mem_free(w);
        return err_set(e, ERR_NOMEM, "no memory to open the weights");
    }
    *ret_w = w;
    return ERR_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum err_code check_index(const struct weights *w, const json_t *index, struct err *e)
{
    const json_t *map = json_object_get(index, "weight_map");
    const char *file = NULL;
    const struct safetensor *t;
    for (size_t i = 0; (t = weights_at(w, i, &file)) != NULL; i++) {
        const char *says = json_string_value(json_object_getn(map, t->name.p, t->name.n));
        if (!says || strcmp(says, base_name(file)) != 0)
            return err_set(e, ERR_CORRUPT, "%s: tensor \"%.*s\" is in %s, the index says %.60s",
                w->index, (int)(t->name.n < 60 ? t->name.n : 60), t->name.p, file,
                says ? says : "nothing");
    }
    if (w->n_tensors != json_object_size(map))
        return err_set(e, ERR_CORRUPT, "%s names %zu tensors, the files hold %zu of them", w->index,
            json_object_size(map), w->n_tensors);
    return ERR_OK;
}

static enum err_code open_files(struct weights *w, const char *dir, const char *sub, struct err *e)
{
    AUTO_JSON json_t *index = NULL;
    TRY(find_files(dir, sub, w, &index, e));
    for (size_t i = 0; i < w->n_files; i++) {
        AUTO_FREE char *path = path_join(dir, w->files[i].name);
        if (!path) return err_set(e, ERR_NOMEM, "no memory to open the weights");
        TRY(safetensors_open(path, &w->files[i].s, e));
        w->n_tensors += safetensors_count(w->files[i].s);
    }
    return index ? check_index(w, index, e) : ERR_OK;
}

enum err_code weights_open(const char *dir, const char *sub, struct weights **ret_w, struct err *e)
{
    struct weights *w = NULL;
    TRY(weights_new(&w, e));
    enum err_code code = open_files(w, dir, sub, e);
    if (code != ERR_OK) {
        weights_close(w);
        return code;
    }
    *ret_w = w;
    return ERR_OK;
}

void weights_close(struct weights *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->n_files; i++)
        safetensors_close(w->files[i].s);
    mem_free(w->files);
    mem_free(w);
}

/* ---- tensors ---- */

size_t weights_count(const struct weights *w)
{
    return w->n_tensors;
}

const struct safetensor *weights_find(
    const struct weights *w, const char *name, const char **ret_file)
{
    for (size_t i = 0; i < w->n_files; i++) {
        const struct safetensor *t = safetensors_find(w->files[i].s, name);
        if (!t) continue;
        if (ret_file) *ret_file = w->files[i].name;
        return t;
    }
    return NULL;
}

const struct safetensor *weights_at(const struct weights *w, size_t i, const char **ret_file)
{
    for (size_t f = 0; f < w->n_files; f++) {
        size_t n = safetensors_count(w->files[f].s);
        if (i < n) {
            if (ret_file) *ret_file = w->files[f].name;
            return safetensors_at(w->files[f].s, i);
        }
        i -= n;
    }
    return NULL;
}

/* "[384,1536]" */
static const char *shape_text(char *ret, size_t cap, const size_t *dims, size_t n)
{
    size_t at = (size_t)snprintf(ret, cap, "[");
    for (size_t i = 0; i < n && at < cap; i++)
        at += (size_t)snprintf(ret + at, cap - at, "%s%zu", i > 0 ? "," : "", dims[i]);
    if (at < cap) snprintf(ret + at, cap - at, "]");
    return ret;
}

/* The tensor, if it is of a float type and this shape. */
static enum err_code find_float(const struct weights *w, const char *name, const size_t *dims,
    size_t n_dims, const struct safetensor **ret_t, const char **ret_file, struct err *e)
{
    const char *file = w->n_files == 1 ? w->files[0].name : w->index;
    const struct safetensor *t = weights_find(w, name, &file);
    if (!t) return err_set(e, ERR_UNPROCESSABLE, "%s: tensor \"%s\" is missing", file, name);
    bool fits = t->n_dims == n_dims;
    for (size_t i = 0; fits && i < n_dims; i++)
        fits = t->dims[i] == dims[i];
    if (!fits) {
        char want[64], got[64];
        return err_set(e, ERR_UNPROCESSABLE, "%s: tensor \"%s\" has the shape %s, expected %s",
            file, name, shape_text(got, sizeof got, t->dims, t->n_dims),
            shape_text(want, sizeof want, dims, n_dims));
    }
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: tensor \"%s\" has the type %s, expected F32, F16 or BF16", file, name,
            dtype_name(t->dtype));
    *ret_t = t;
    *ret_file = file;
    return ERR_OK;
}

enum err_code weights_check_float(
    const struct weights *w, const char *name, const size_t *dims, size_t n_dims, struct err *e)
{
    const struct safetensor *t;
    const char *file;
    return find_float(w, name, dims, n_dims, &t, &file, e);
}

enum err_code weights_read_f32(const struct weights *w, const char *name, const size_t *dims,
    size_t n_dims, float *out, struct err *e)
{
    const struct safetensor *t;
    const char *file;
    TRY(find_float(w, name, dims, n_dims, &t, &file, e));
    TRY(safetensor_to_f32(t, 0, t->n_elements, out, e));
    if (!vec_is_finite(out, t->n_elements))
        return err_set(
            e, ERR_CORRUPT, "%s: tensor \"%s\" holds a value that is not finite", file, name);
    return ERR_OK;
}

/* ---- the files of a model ---- */

static int by_name(const void *a, const void *b)
{
    const struct weight_file *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The modules' files after the model's own. A module without weights has no file: normalisation, pooling. */
static enum err_code find_all(const char *dir, struct weights *w, struct err *e)
{
    struct model_modules modules;
    AUTO_JSON json_t *own = NULL;
    TRY(find_files(dir, NULL, w, &own, e));
    TRY(modules_read(dir, &modules, e));
    for (size_t i = 0; i < modules.n; i++) {
        AUTO_JSON json_t *index = NULL;
        struct err why = ERR_INIT;
        if (!modules.list[i].path[0]) continue;
        enum err_code code = find_files(dir, modules.list[i].path, w, &index, &why);
        if (code == ERR_NOT_FOUND) continue;
        if (code != ERR_OK) return err_set(e, code, "%s", why.msg);
    }
    qsort(w->files, w->n_files, sizeof *w->files, by_name);
    return ERR_OK;
}

static enum err_code copy_names(
    const struct weights *w, char ***ret_paths, size_t *ret_n, struct err *e)
{
    char **paths = mem_zalloc(w->n_files, sizeof *paths);
    bool ok = paths != NULL;
    for (size_t i = 0; ok && i < w->n_files; i++) {
        paths[i] = mem_strdup(w->files[i].name);
        ok = paths[i] != NULL;
    }
    if (!ok) {
        weights_list_free(paths, w->n_files);
        return err_set(e, ERR_NOMEM, "no memory for the names of the model's files");
    }
    *ret_paths = paths;
    *ret_n = w->n_files;
    return ERR_OK;
}

enum err_code weights_list(const char *dir, char ***ret_paths, size_t *ret_n, struct err *e)
{
    struct weights *w = NULL;
    TRY(weights_new(&w, e));
    enum err_code code = find_all(dir, w, e);
    if (code == ERR_OK) code = copy_names(w, ret_paths, ret_n, e);
    weights_close(w);
    return code;
}

void weights_list_free(char **paths, size_t n)
{
    for (size_t i = 0; paths && i < n; i++)
        mem_free(paths[i]);
    mem_free(paths);
}
