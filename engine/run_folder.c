#include "engine/run_folder.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void dir_close(DIR **d)
{
    if (*d) closedir(*d);
}

/* "DATA/runs" and, with a run, what is below. */
static char *path_of(const char *data, const char *run, const char *tail)
{
    AUTO_FREE char *runs = path_join(data, "runs");
    AUTO_FREE char *folder = runs ? path_join(runs, run) : NULL;
    if (!folder || !*tail) return steal_ptr(&folder);
    return path_join(folder, tail);
}

char *run_path(const char *data, int64_t run, const char *tail)
{
    char name[24];
    (void)snprintf(name, sizeof name, "%lld", (long long)run);
    return path_of(data, name, tail);
}

/* ---- removing ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    int rc = type == FTW_DP || type == FTW_DNR ? rmdir(path) : unlink(path);
    return rc == 0 || errno == ENOENT ? 0 : -1;
}

/* A file, a link, or a folder with all that is in it. */
static enum err_code remove_tree(const char *path, struct err *e)
{
    enum { OPEN_FOLDERS = 16 };
    if (nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 ||
        errno == ENOENT)
        return ERR_OK;
    return err_errno(e, ERR_IO, errno, "cannot remove %s", path);
}

static bool listed(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

/* Remove what is not in `keep`; goes on after a failure, the first one is kept in *first. */
static void sweep(const char *folder, const char *const *keep, enum err_code *first, struct err *e)
{
    AUTO(dir_close) DIR *d = opendir(folder);
    if (!d) {
        if (errno != ENOENT && *first == ERR_OK)
            *first = err_errno(e, ERR_IO, errno, "cannot read folder %s", folder);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(d));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || listed(name, keep)) continue;
        AUTO_FREE char *path = path_join(folder, name);
        struct err *to = *first == ERR_OK ? e : NULL;
        enum err_code code =
            path ? remove_tree(path, to) : err_set(to, ERR_NOMEM, "no memory for a path");
        if (*first == ERR_OK) *first = code;
    }
}

enum err_code run_folder_tidy(const char *data, int64_t run, bool keep_model, struct err *e)
{
    static const char *const with_model[] = { "heldout.tsv", "work", "log.txt", "lock", "model",
        NULL };
    static const char *const without_model[] = { "heldout.tsv", "work", "log.txt", "lock", NULL };
    static const char *const of_work[] = { "log.csv", "loss.svg", NULL };
    AUTO_FREE char *folder = run_path(data, run, "");
    AUTO_FREE char *work = run_path(data, run, "work");
    enum err_code first = ERR_OK;
    if (!folder || !work) return err_set(e, ERR_NOMEM, "no memory for a path");
    sweep(folder, keep_model ? with_model : without_model, &first, e);
    sweep(work, of_work, &first, e);
    return first;
}

enum err_code run_folder_remove(const char *data, int64_t run, struct err *e)
{
    AUTO_FREE char *folder = run_path(data, run, "");
    if (!folder) return err_set(e, ERR_NOMEM, "no memory for a path");
    return remove_tree(folder, e);
}

/* ---- listing ---- */

/* A number as run_path writes it: no sign, no leading zero. */
static bool parse_id(const char *name, int64_t *ret)
{
    int64_t v = 0;
    if (*name < '1' || *name > '9') return false;
    for (; *name; name++) {
        if (*name < '0' || *name > '9' || v > (INT64_MAX - (*name - '0')) / 10) return false;
        v = 10 * v + (*name - '0');
    }
    *ret = v;
    return true;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

size_t run_folders(const char *data, int64_t *ret, size_t cap)
{
    size_t n = 0;
    AUTO_FREE char *runs = path_join(data, "runs");
    AUTO(dir_close) DIR *d = runs ? opendir(runs) : NULL;
    for (const struct dirent *entry; d && n < cap && (entry = readdir(d));) {
        int64_t id;
        if (!parse_id(entry->d_name, &id)) continue;
        AUTO_FREE char *path = run_path(data, id, "");
        if (path && dir_exists(path)) ret[n++] = id;
    }
    qsort(ret, n, sizeof *ret, by_id);
    return n;
}
