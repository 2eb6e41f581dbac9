/* A folder that the user has becomes a model: its wanted files are copied, nothing else. */
#include "engine/model_store_internal.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { README_BYTES_MAX = 256 << 10 };

void model__cut_snapshot(char *real)
{
    static const char snapshots[] = "/snapshots";
    const char *last = strrchr(real, '/');
    size_t n = last ? (size_t)(last - real) : 0;
    if (n <= sizeof snapshots - 1) return;
    if (memcmp(real + n - (sizeof snapshots - 1), snapshots, sizeof snapshots - 1) == 0)
        real[n - (sizeof snapshots - 1)] = '\0';
}

static enum err_code find_root(const char *from, char ret[PATH_MAX], struct err *e)
{
    if (!realpath(from, ret))
        return err_errno(
            e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot read folder %s", from);
    model__cut_snapshot(ret);
    return ERR_OK;
}

static enum err_code check_inside(const char *path, const char *root, struct err *e)
{
    char real[PATH_MAX];
    size_t n = strlen(root);
    if (!realpath(path, real)) return err_errno(e, ERR_IO, errno, "cannot read %s", path);
    if (strncmp(real, root, n) != 0 || (real[n] != '/' && n > 1))
        return err_set(e, ERR_CORRUPT, "%s is a link that leads out of the folder", path);
    return ERR_OK;
}

static enum err_code copy_file(
    const char *from, const char *to_dir, const char *path, struct err *e)
{
    char folder[MODEL_PATH_MAX];
    AUTO_FREE char *to = path_join(to_dir, path);
    if (!to) return err_set(e, ERR_NOMEM, "out of memory while copying a model");
    const char *slash = strrchr(path, '/');
    if (slash) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        AUTO_FREE char *made = path_join(to_dir, folder);
        if (!made) return err_set(e, ERR_NOMEM, "out of memory while copying a model");
        TRY(dir_make(made, e));
    }
    struct file_map map = { .n = 0 };
    TRY(file_map_open(from, &map, e));
    enum err_code code = file_write_atomic(to, map.p, map.n, e);
    file_map_close(&map);
    return code;
}

static bool is_copied(const struct model_file *f)
{
    if (strcmp(f->path, "README.md") == 0) return f->bytes <= README_BYTES_MAX;
    return model_file_is_wanted(f->path);
}

static enum err_code copy_files(const char *from, const char *to, struct err *e)
{
    char root[PATH_MAX];
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    TRY(find_root(from, root, e));
    TRY(model_files_read(from, false, &files, e));
    for (size_t i = 0; i < files.n; i++) {
        if (!is_copied(&files.rows[i])) continue;
        AUTO_FREE char *path = path_join(from, files.rows[i].path);
        if (!path) return err_set(e, ERR_NOMEM, "out of memory while copying a model");
        TRY(check_inside(path, root, e));
        TRY(copy_file(path, to, files.rows[i].path, e));
    }
    return ERR_OK;
}

static enum err_code set_prompt(json_t *prompts, const char *name, const char *text, struct err *e)
{
    if (!text) return ERR_OK;
    json_t *value = json_string(text);
    if (!value) return err_set(e, ERR_INVALID, "the %s prompt is not UTF-8", name);
    if (json_object_set_new(prompts, name, value) != 0)
        return err_set(e, ERR_NOMEM, "out of memory for a prompt");
    return ERR_OK;
}

/* As sentence-transformers keeps them. */
static enum err_code write_prompts(const struct model_add *o, const char *dir, struct err *e)
{
    static const char file[] = "config_sentence_transformers.json";
    AUTO_JSON json_t *config = NULL;
    if (!o->query_prompt && !o->document_prompt) return ERR_OK;
    TRY(model__read_json(dir, file, &config, e));
    if (!config && !(config = json_object()))
        return err_set(e, ERR_NOMEM, "out of memory for a prompt");
    if (!json_is_object(json_object_get(config, "prompts")) &&
        json_object_set_new(config, "prompts", json_object()) != 0)
        return err_set(e, ERR_NOMEM, "out of memory for a prompt");
    json_t *prompts = json_object_get(config, "prompts");
    TRY(set_prompt(prompts, "query", o->query_prompt, e));
    TRY(set_prompt(prompts, "document", o->document_prompt, e));
    if (o->document_prompt)
        (void)json_object_del(prompts, "passage"); /* the same by another name */
    return model__write_json(dir, file, config, e);
}

/* The source is said as an absolute path; what the folder itself says of its origin goes over that. */
static enum err_code find_note(const char *from, struct model_note *ret, struct err *e)
{
    char real[PATH_MAX];
    TRY(model_note_read(from, ret, e));
    if (ret->source[0] == '\0' && realpath(from, real))
        (void)snprintf(ret->source, sizeof ret->source, "folder %.200s", real);
    return ERR_OK;
}

enum err_code model_add(const struct model_add *o, char ret_name[MODEL_NAME_MAX + 1], struct err *e)
{
    struct encoder_info info;
    struct model_note note;
    struct model_stage stage = { .dir = NULL };
    TRY(model_try(o->from, o->kernels, &info, e));
    TRY(find_note(o->from, &note, e));
    const char *name = o->name ? o->name : info.name;
    TRY(model_stage_open(&stage, o->models, name, NULL, o->replace, e));
    enum err_code code = copy_files(o->from, stage.dir, e);
    if (code == ERR_OK) code = write_prompts(o, stage.dir, e);
    if (code == ERR_OK) code = model_stage_finish(&stage, &note, o->replace, o->kernels, e);
    model_stage_drop(&stage);
    if (code == ERR_OK) (void)snprintf(ret_name, MODEL_NAME_MAX + 1, "%s", name);
    return code;
}
