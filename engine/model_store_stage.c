/* A model comes in whole or not at all: it is put together in a hidden folder beside its place, tried there,
 * brought to the disk, and renamed. A folder that begins with a dot is no model to anybody (models.c). */
#include "engine/model_store_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_FOLDERS = 16, LEFTOVER_S = 24 * 3600 };
static const char TMP[] = ".tmp-";

/* ---- folders ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void model_folder_remove(const char *dir)
{
    (void)nftw(dir, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
}

/* A process of that number may live where this one cannot see it: in another container, on another machine. */
static bool is_old(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && time(NULL) - st.st_mtime > LEFTOVER_S;
}

/* ".NAME.tmp-PID-XXXXXX" of processes that are gone, and that nobody has touched for a day. */
static void remove_leftovers(const char *models, const char *name)
{
    DIR *d = opendir(models);
    size_t n = strlen(name);
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        const char *rest = entry->d_name;
        char *end;
        if (rest[0] != '.' || strncmp(rest + 1, name, n) != 0) continue;
        if (strncmp(rest + 1 + n, TMP, sizeof TMP - 1) != 0) continue;
        long pid = strtol(rest + n + sizeof TMP, &end, 10);
        if (*end != '-' || pid <= 0 || pid > INT_MAX) continue;
        if (pid != getpid() && !(kill((pid_t)pid, 0) != 0 && errno == ESRCH)) continue;
        AUTO_FREE char *path = path_join(models, entry->d_name);
        if (path && is_old(path)) model_folder_remove(path);
    }
    if (d) closedir(d);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static enum err_code check_free(const struct model_stage *s, bool replace, struct err *e)
{
    AUTO_FREE char *place = path_join(s->models, s->name);
    if (!place) return err_set(e, ERR_NOMEM, "out of memory for a model's path");
    if (!replace && is_there(place)) return err_set(e, ERR_CONFLICT, "%s is there already", place);
    return ERR_OK;
}

static enum err_code make_new(char *dir, struct err *e)
{
    if (mkdtemp(dir)) return ERR_OK;
    return err_errno(e, ERR_IO, errno, "cannot make folder %s", dir);
}

enum err_code model_stage_open(struct model_stage *s, const char *models, const char *name,
    const char *suffix, bool replace, struct err *e)
{
    char folder[MODEL_NAME_MAX + 32];
    TRY(model_name_check(name, e));
    if (suffix)
        (void)snprintf(folder, sizeof folder, ".%s.%s", name, suffix);
    else
        (void)snprintf(folder, sizeof folder, ".%s%s%ld-XXXXXX", name, TMP, (long)getpid());
    struct model_stage new = { .models = mem_strdup(models), .name = mem_strdup(name) };
    if (new.models) new.dir = path_join(models, folder);
    enum err_code code = new.name &&new.dir
        ? check_free(&new, replace, e)
        : err_set(e, ERR_NOMEM, "out of memory for a model's path");
    if (code == ERR_OK) code = dir_make(models, e);
    if (code == ERR_OK && !suffix) remove_leftovers(models, name);
    if (code == ERR_OK) code = suffix ? dir_make(new.dir, e) : make_new(new.dir, e);
    if (code != ERR_OK) {
        model_stage_keep(&new);
        return code;
    }
    *s = new;
    return ERR_OK;
}

void model_stage_keep(struct model_stage *s)
{
    mem_free(s->models);
    mem_free(s->name);
    mem_free(s->dir);
    *s = (struct model_stage){ .dir = NULL };
}

void model_stage_drop(struct model_stage *s)
{
    if (s->dir) model_folder_remove(s->dir);
    model_stage_keep(s);
}

/* ---- what goes with a model ---- */

static int append(const char *text, size_t n, void *arg)
{
    return buf_append(arg, text, n) == ERR_OK ? 0 : -1;
}

enum err_code model__write_json(
    const char *dir, const char *name, const json_t *object, struct err *e)
{
    AUTO(buf_done) struct buf b = BUF_INIT(0);
    AUTO_FREE char *path = path_join(dir, name);
    if (!path || !object ||
        json_dump_callback(object, append, &b, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0)
        return err_set(e, ERR_NOMEM, "out of memory while writing %s", name);
    buf_putc(&b, '\n');
    TRY(buf_check(&b, e));
    return file_write_atomic(path, b.p, b.n, e);
}

/* The name in config.json goes over the folder's (core/model/model_config.c), so it must not be another. */
static enum err_code set_config_name(const struct model_stage *s, struct err *e)
{
    AUTO_JSON json_t *config = NULL;
    TRY(model__read_json(s->dir, "config.json", &config, e)); /* none: model_try will say so */
    const char *name = json_string_value(json_object_get(config, "name"));
    if (!name || strcmp(name, s->name) == 0) return ERR_OK;
    if (json_object_set_new(config, "name", json_string(s->name)) != 0)
        return err_set(e, ERR_NOMEM, "out of memory while writing config.json");
    return model__write_json(s->dir, "config.json", config, e);
}

/* "" for what is no UTF-8: a path can be anything. */
static json_t *plain(const char *text)
{
    json_t *j = json_string(text);
    return j ? j : json_string("");
}

static enum err_code write_note(
    const struct model_stage *s, const struct model_note *note, struct err *e)
{
    AUTO_JSON json_t *j = json_pack("{s:o, s:o, s:o}", "source", plain(note->source), "version",
        plain(note->version), "license", plain(note->licence));
    return model__write_json(s->dir, "source.json", j, e);
}

static enum err_code write_sums(const struct model_stage *s, struct err *e)
{
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    AUTO(buf_done) struct buf b = BUF_INIT(0);
    AUTO_FREE char *path = path_join(s->dir, "SHA256SUMS");
    if (!path) return err_set(e, ERR_NOMEM, "out of memory while writing SHA256SUMS");
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, ERR_IO, errno, "cannot remove %s", path);
    TRY(model_files_read(s->dir, true, &files, e));
    for (size_t i = 0; i < files.n; i++)
        buf_printf(&b, "%s  %s\n", files.rows[i].sha256, files.rows[i].path);
    TRY(buf_check(&b, e));
    return file_write_atomic(path, b.p, b.n, e);
}

/* ---- to the disk, and into its place ---- */

static enum err_code sync_path(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, ERR_IO, errno, "cannot open %s", path);
    /* Some file systems cannot sync a folder and need not: EINVAL says so. */
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    (void)close(fd);
    return failed ? err_errno(e, ERR_IO, failed, "cannot sync %s", path) : ERR_OK;
}

static _Thread_local int sync_failed; /* nftw hands nothing on to sync_one */

static int sync_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)at;
    /* A model is read by whoever serves; what came from a package may have any mode. */
    if (chmod(path, kind == FTW_F ? 0644 : 0755) != 0 || sync_path(path, NULL) != ERR_OK)
        sync_failed = errno ? errno : EIO;
    return sync_failed;
}

static enum err_code sync_tree(const char *dir, struct err *e)
{
    errno = sync_failed = 0;
    if (nftw(dir, sync_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0) return ERR_OK;
    return err_errno(e, ERR_IO, sync_failed ? sync_failed : errno, "cannot sync %s", dir);
}

enum err_code model__swap_in_steps(const char *dir, const char *place, struct err *e)
{
    AUTO(buf_done) struct buf old = BUF_INIT(0);
    const char *name = strrchr(place, '/') + 1;
    buf_printf(&old, "%.*s.%s.old-%ld", (int)(name - place), place, name, (long)getpid());
    TRY(buf_check(&old, e));
    model_folder_remove(old.p); /* of an earlier time: `place` has what counts */
    if (rename(place, old.p) != 0)
        return err_errno(e, ERR_IO, errno, "cannot rename %s to %s", place, old.p);
    if (rename(dir, place) != 0) {
        int failed = errno;
        if (rename(old.p, place) != 0)
            return err_errno(e, ERR_IO, failed,
                "cannot rename %.80s to %.80s; what was there is %.80s", dir, place, old.p);
        return err_errno(e, ERR_IO, failed, "cannot rename %s to %s", dir, place);
    }
    model_folder_remove(old.p);
    return ERR_OK;
}

/* What was there is gone at the same moment. Where the file system cannot swap two names there is none for a moment. */
static enum err_code swap(const struct model_stage *s, const char *place, struct err *e)
{
    if (renameat2(AT_FDCWD, s->dir, AT_FDCWD, place, RENAME_EXCHANGE) == 0) {
        model_folder_remove(s->dir);
        return ERR_OK;
    }
    if (errno == EINVAL || errno == ENOSYS) return model__swap_in_steps(s->dir, place, e);
    return err_errno(e, ERR_IO, errno, "cannot rename %s to %s", s->dir, place);
}

static enum err_code move(const struct model_stage *s, bool replace, struct err *e)
{
    AUTO_FREE char *place = path_join(s->models, s->name);
    if (!place) return err_set(e, ERR_NOMEM, "out of memory for a model's path");
    if (is_there(place)) {
        TRY(check_free(s, replace, e));
        TRY(swap(s, place, e));
    } else if (rename(s->dir, place) != 0) {
        return err_errno(e, ERR_IO, errno, "cannot rename %s to %s", s->dir, place);
    }
    return sync_path(s->models, e);
}

enum err_code model_stage_finish(struct model_stage *s, const struct model_note *note, bool replace,
    const struct vec_kernels *k, struct err *e)
{
    struct encoder_info info;
    TRY(set_config_name(s, e));
    TRY(model_try(s->dir, k, &info, e));
    TRY(write_note(s, note, e));
    TRY(write_sums(s, e));
    TRY(sync_tree(s->dir, e));
    TRY(move(s, replace, e));
    model_stage_keep(s);
    return ERR_OK;
}
