/* A model folder is put together beside its place and renamed, so that a reader finds it whole or not at all. */
#include "core/learn/model_folder.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS_DEEP_MAX = 8 };

static void dir_close(DIR **d)
{
    if (*d) closedir(*d);
}
#define AUTO_DIR AUTO(dir_close)

static enum err_code open_dir(const char *path, DIR **ret_d, struct err *e)
{
    *ret_d = opendir(path);
    if (*ret_d) return ERR_OK;
    return err_errno(
        e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot read folder %s", path);
}

static enum err_code join(char ret[PATH_MAX], const char *a, const char *b, struct err *e)
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", a, b);
    if (n < 0 || n >= PATH_MAX) return err_set(e, ERR_LIMIT, "path too long: %s/%s", a, b);
    return ERR_OK;
}

/* Weights in whatever format: they would be those of the model that was copied. */
static bool is_weights(const char *name)
{
    static const char *const endings[] = { ".safetensors", ".safetensors.index.json", ".bin", ".pt",
        ".pth", ".ckpt", ".onnx", ".h5", ".msgpack", ".npz", ".npy", ".pb", ".ot", ".gguf" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t len = strlen(endings[i]);
        if (n >= len && strcasecmp(name + n - len, endings[i]) == 0) return true;
    }
    return false;
}

static enum err_code copy_file(const char *from, const char *to, struct err *e)
{
    struct file_map map = { NULL, 0 };
    TRY(file_map_open(from, &map, e));
    enum err_code code = file_write_atomic(to, map.p, map.n, e);
    file_map_close(&map);
    return code;
}

static enum err_code copy_folder(const char *from, const char *to, int deep, struct err *e);

static enum err_code copy_entry(
    const char *from, const char *to, const char *name, int deep, struct err *e)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct stat st;
    if (name[0] == '.' || is_weights(name) || strcasecmp(name, "README.md") == 0 ||
        strcmp(name, "SHA256SUMS") == 0)
        return ERR_OK;
    TRY(join(source, from, name, e));
    TRY(join(target, to, name, e));
    if (stat(source, &st) != 0) return err_errno(e, ERR_IO, errno, "cannot read %s", source);
    if (S_ISDIR(st.st_mode)) return copy_folder(source, target, deep + 1, e);
    return S_ISREG(st.st_mode) ? copy_file(source, target, e) : ERR_OK;
}

static enum err_code copy_folder(const char *from, const char *to, int deep, struct err *e)
{
    if (deep > FOLDERS_DEEP_MAX) return err_set(e, ERR_LIMIT, "%s: too many folders deep", from);
    AUTO_DIR DIR *d = NULL;
    TRY(open_dir(from, &d, e));
    TRY(dir_make(to, e));
    struct dirent *entry;
    while (errno = 0, (entry = readdir(d)) != NULL)
        TRY(copy_entry(from, to, entry->d_name, deep, e));
    if (errno) return err_errno(e, ERR_IO, errno, "cannot read folder %s", from);
    return ERR_OK;
}

/* As far as it goes; links are removed, not followed. */
static void remove_folder(const char *path, int deep)
{
    DIR *d = deep <= FOLDERS_DEEP_MAX + 1 ? opendir(path) : NULL;
    struct dirent *entry;
    while (d && (entry = readdir(d)) != NULL) {
        char inner[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (join(inner, path, entry->d_name, NULL) != ERR_OK) continue;
        if (unlink(inner) != 0) remove_folder(inner, deep + 1);
    }
    if (d) closedir(d);
    rmdir(path);
}

/* The folder that holds path, and path's last part. */
static enum err_code split(
    const char *path, char ret_parent[PATH_MAX], const char **ret_name, struct err *e)
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    *ret_name = slash ? slash + 1 : path;
    if (n >= PATH_MAX || **ret_name == '\0')
        return err_set(e, ERR_INVALID, "not a folder's name: \"%s\"", path);
    memcpy(ret_parent, n ? path : ".", n ? n : 1);
    ret_parent[n ? n : 1] = '\0';
    return ERR_OK;
}

static void remove_leftovers(const char *parent, const char *name)
{
    AUTO_DIR DIR *d = opendir(parent);
    size_t n = strlen(name);
    struct dirent *entry;
    while (d && (entry = readdir(d)) != NULL) {
        const char *rest = entry->d_name;
        char path[PATH_MAX], *end;
        if (strncmp(rest, name, n) != 0 || strncmp(rest + n, ".tmp-", 5) != 0) continue;
        long pid = strtol(rest + n + 5, &end, 10);
        if (*end || pid <= 0 || pid > INT_MAX) continue;
        if (pid != getpid() && !(kill((pid_t)pid, 0) != 0 && errno == ESRCH)) continue;
        if (join(path, parent, rest, NULL) == ERR_OK) remove_folder(path, 0);
    }
}

static enum err_code sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, ERR_IO, errno, "cannot open folder %s", path);
    /* Some file systems cannot sync a folder and need not: EINVAL says so. */
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    return failed ? err_errno(e, ERR_IO, failed, "cannot sync folder %s", path) : ERR_OK;
}

enum err_code model_folder_free_name(const char *to_dir, struct err *e)
{
    struct stat st;
    if (lstat(to_dir, &st) == 0) return err_set(e, ERR_CONFLICT, "%s is there already", to_dir);
    if (errno == ENOENT) return ERR_OK;
    return err_errno(e, ERR_IO, errno, "cannot look at %s", to_dir);
}

enum err_code model_folder_make(const char *from_dir, const char *to_dir,
    enum err_code (*write_weights)(const void *arg, const char *dir, struct err *e),
    const void *arg, struct err *e)
{
    char parent[PATH_MAX], work[PATH_MAX];
    const char *name;
    TRY(split(to_dir, parent, &name, e));
    TRY(model_folder_free_name(to_dir, e));
    TRY(dir_make(parent, e));
    remove_leftovers(parent, name);
    int n = snprintf(work, sizeof work, "%s.tmp-%ld", to_dir, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof work)
        return err_set(e, ERR_LIMIT, "path too long: %s", to_dir);

    enum err_code code = copy_folder(from_dir, work, 0, e);
    if (code == ERR_OK) code = write_weights(arg, work, e);
    if (code == ERR_OK) code = model_folder_free_name(to_dir, e);
    if (code == ERR_OK && rename(work, to_dir) != 0)
        code = err_errno(e, ERR_IO, errno, "cannot rename %s to %s", work, to_dir);
    if (code != ERR_OK) {
        remove_folder(work, 0);
        return code;
    }
    return sync_folder(parent, e);
}
