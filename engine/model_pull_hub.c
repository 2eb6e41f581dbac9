/* From a model hub (the interface of Hugging Face's, which mirrors have, too):
 *
 *   GET /api/models/OWNER/NAME/revision/REVISION          {"sha": COMMIT, "tags": ["license:…", …]}
 *   GET /api/models/OWNER/NAME/tree/COMMIT?recursive=true [{"type": "file", "path", "size", "lfs": {"oid"}}, …]
 *   GET /OWNER/NAME/resolve/COMMIT/PATH                   the file; redirects to where large ones are kept
 *
 * "oid" of a large file is its SHA-256. Small ones have none: TLS and their size speak for them. What the
 * first answer says goes for all: a branch that moves meanwhile changes nothing.
 */
#include "engine/model_pull.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"
#include "engine/model_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 8 << 20, FILES_MAX = 512, COMMIT_CHARS = 40, LOCK_TRIES = 8 };
static const uint64_t FILE_BYTES_MAX = (uint64_t)32 << 30;
static const char PUBLIC_HUB[] = "https://huggingface.co";

struct hub {
    const struct model_pull *o;
    struct hub_place place; /* revision: the commit, once it is known */
    char *endpoint;         /* without a slash at its end */
    char licence[64];
    struct model_files files; /* to be fetched, in this order */
    uint64_t before, total;   /* bytes of files that are there; of all */
    const char *fetching;
};

static void hub_done(struct hub *h)
{
    mem_free(h->endpoint);
    model_files_done(&h->files);
}

/* ---- names ---- */

static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

static bool is_plain(const char *s, size_t n, size_t max)
{
    return n > 0 && n <= max && s[0] != '.' && strspn(s, PLAIN) >= n;
}

enum err_code hub_place_read(const char *text, struct hub_place *ret, struct err *e)
{
    size_t n = strcspn(text, "@"), owner = strcspn(text, "/");
    const char *name = text + owner + 1, *revision = text[n] ? text + n + 1 : "main";
    size_t revision_n = strlen(revision);
    if (owner >= n || !is_plain(text, owner, HUB_OWNER_MAX) ||
        !is_plain(name, n - owner - 1, MODEL_NAME_MAX) ||
        !is_plain(revision, revision_n, HUB_REVISION_MAX) || strspn(revision, PLAIN) != revision_n)
        return err_set(e, ERR_INVALID,
            "\"%.100s\" is neither a known model nor OWNER/NAME or OWNER/NAME@REVISION of a hub",
            text);
    struct hub_place p = { .name = "" };
    (void)snprintf(p.repository, sizeof p.repository, "%.*s", (int)n, text);
    (void)snprintf(p.name, sizeof p.name, "%.*s", (int)(n - owner - 1), name);
    (void)snprintf(p.revision, sizeof p.revision, "%s", revision);
    *ret = p;
    return ERR_OK;
}

static enum err_code hub_init(
    struct hub *h, const struct hub_place *place, const struct model_pull *o, struct err *e)
{
    *h = (struct hub){ .o = o, .place = *place, .fetching = "" };
    const char *endpoint = o->endpoint && o->endpoint[0] ? o->endpoint : PUBLIC_HUB;
    size_t n = strlen(endpoint);
    while (n && endpoint[n - 1] == '/')
        n--;
    if (strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0)
        return err_set(e, ERR_INVALID, "the hub's address \"%.100s\" is no http URL", endpoint);
    if (strncmp(endpoint, "http://", 7) == 0 && !fetch_is_this_machine(endpoint))
        return err_set(e, ERR_INVALID,
            "the hub's address \"%.100s\" is plain http, which is for this machine only: files "
            "could be "
            "changed on their way. Use https",
            endpoint);
    h->endpoint = mem_strndup(endpoint, n);
    return h->endpoint ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for an address");
}

/* ---- progress ---- */

static void on_progress(void *arg, uint64_t done)
{
    const struct hub *h = arg;
    const struct pull_progress p = { "downloading", h->fetching, h->before + done, h->total };
    if (h->o->progress) h->o->progress(h->o->arg, &p);
}

static bool on_stopped(void *arg)
{
    const struct hub *h = arg;
    return h->o->stopped && h->o->stopped(h->o->arg);
}

static struct fetch_options options(struct hub *h)
{
    return (struct fetch_options){ .token = h->o->token,
        .retry_ms = h->o->retry_ms,
        .progress = on_progress,
        .stopped = on_stopped,
        .arg = h };
}

/* ---- what there is ---- */

static enum err_code ask(
    struct hub *h, const char *what, const char *tail, json_t **ret, struct err *e)
{
    AUTO(buf_done) struct buf url = BUF_INIT(0);
    AUTO(buf_done) struct buf answer = BUF_INIT(0);
    struct fetch_options o = options(h);
    json_error_t why;
    o.progress = NULL;
    buf_printf(&url, "%s/api/models/%s/%s/%s%s", h->endpoint, h->place.repository, what,
        h->place.revision, tail);
    TRY(buf_check(&url, e));
    TRY(fetch_text(url.p, ANSWER_BYTES_MAX, &o, &answer, e));
    *ret = json_loadb(answer.p ? answer.p : "", answer.n, 0, &why);
    if (*ret) return ERR_OK;
    return err_set(e, ERR_CORRUPT, "%.130s: the answer is no JSON: %.60s", url.p, why.text);
}

static enum err_code find_commit(struct hub *h, struct err *e)
{
    AUTO_JSON json_t *about = NULL;
    TRY(ask(h, "revision", "", &about, e));
    const char *commit = json_string_value(json_object_get(about, "sha"));
    if (!commit || strlen(commit) != COMMIT_CHARS ||
        strspn(commit, "0123456789abcdef") != COMMIT_CHARS)
        return err_set(e, ERR_CORRUPT, "the hub names no commit of %.100s", h->place.repository);
    memcpy(h->place.revision, commit, COMMIT_CHARS + 1);
    const json_t *tags = json_object_get(about, "tags");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        if (tag && strncmp(tag, "license:", 8) == 0)
            (void)snprintf(h->licence, sizeof h->licence, "%s", tag + 8);
    }
    return ERR_OK;
}

static enum err_code add_file(
    struct hub *h, const char *path, uint64_t bytes, const char *sha256, struct err *e)
{
    struct model_files *f = &h->files;
    if (f->n == FILES_MAX) return err_set(e, ERR_TOO_MANY, "more than %d files", FILES_MAX);
    if (bytes > FILE_BYTES_MAX)
        return err_set(
            e, ERR_LIMIT, "%s: %llu bytes are too many", path, (unsigned long long)bytes);
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 16;
        struct model_file *grown = mem_realloc(f->rows, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory for a list of files");
        f->rows = grown;
        f->cap = cap;
    }
    struct model_file *row = &f->rows[f->n++];
    *row = (struct model_file){ .bytes = bytes };
    memcpy(
        row->path, path, strlen(path) + 1); /* shorter than MODEL_PATH_MAX: model_file_is_wanted */
    if (sha256) memcpy(row->sha256, sha256, HASH_SHA256_CHARS + 1);
    h->total += bytes;
    return ERR_OK;
}

/* A row of the listing. Paths that are not wanted, and with them those that lead elsewhere, are passed over. */
static enum err_code read_row(struct hub *h, const json_t *row, struct err *e)
{
    const char *type = json_string_value(json_object_get(row, "type"));
    const char *path = json_string_value(json_object_get(row, "path"));
    const json_t *size = json_object_get(row, "size"), *lfs = json_object_get(row, "lfs");
    const char *sha256 = json_string_value(json_object_get(lfs, "oid"));
    if (!type || strcmp(type, "file") != 0 || !path || !model_file_is_wanted(path)) return ERR_OK;
    for (size_t i = 0; i < h->files.n; i++)
        if (strcmp(h->files.rows[i].path, path) == 0)
            return err_set(e, ERR_CORRUPT, "the hub's list has %s twice", path);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return err_set(e, ERR_CORRUPT, "the hub's list has no size of %s", path);
    if (sha256 &&
        (strlen(sha256) != HASH_SHA256_CHARS ||
            strspn(sha256, "0123456789abcdef") != HASH_SHA256_CHARS))
        return err_set(e, ERR_CORRUPT, "the hub's list has no SHA-256 of %s", path);
    return add_file(h, path, (uint64_t)json_integer_value(size), sha256, e);
}

static bool is_weights(const struct model_file *f)
{
    static const char end[] = ".safetensors";
    size_t n = strlen(f->path);
    return n >= sizeof end && strcmp(f->path + n - (sizeof end - 1), end) == 0;
}

/* Small files first, so that what cannot be loaded is known before its weights come. */
static int in_order(const void *a, const void *b)
{
    const struct model_file *x = a, *y = b;
    if (is_weights(x) != is_weights(y)) return is_weights(x) ? 1 : -1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->path, y->path);
}

static enum err_code find_files(struct hub *h, struct err *e)
{
    AUTO_JSON json_t *list = NULL;
    bool weights = false, config = false;
    TRY(ask(h, "tree", "?recursive=true", &list, e));
    if (!json_is_array(list)) return err_set(e, ERR_CORRUPT, "the hub's list of files is no list");
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_row(h, json_array_get(list, i), e));
    for (size_t i = 0; i < h->files.n; i++) {
        weights = weights || is_weights(&h->files.rows[i]);
        config = config || strcmp(h->files.rows[i].path, "config.json") == 0;
    }
    if (!config || !weights)
        return err_set(e, ERR_UNPROCESSABLE, "%s has no %s", h->place.repository,
            config ? "weights as safetensors, and others are not taken" : "config.json");
    qsort(h->files.rows, h->files.n, sizeof *h->files.rows, in_order);
    return ERR_OK;
}

/* ---- fetching ---- */

static bool is_listed(const struct hub *h, const char *path)
{
    static const char part[] = ".part";
    size_t n = strlen(path);
    if (n > sizeof part && strcmp(path + n - (sizeof part - 1), part) == 0) n -= sizeof part - 1;
    for (size_t i = 0; i < h->files.n; i++) {
        const char *listed = h->files.rows[i].path;
        if (strlen(listed) == n && memcmp(listed, path, n) == 0) return true;
    }
    return false;
}

/* What an earlier try for something else left. */
static enum err_code remove_strangers(const struct hub *h, const char *dir, struct err *e)
{
    AUTO(model_files_done) struct model_files there = { .n = 0 };
    TRY(model_files_read(dir, false, &there, e));
    for (size_t i = 0; i < there.n; i++) {
        if (is_listed(h, there.rows[i].path)) continue;
        AUTO_FREE char *path = path_join(dir, there.rows[i].path);
        if (!path) return err_set(e, ERR_NOMEM, "out of memory for a path");
        (void)unlink(path);
    }
    return ERR_OK;
}

static bool is_there(const struct model_file *f, const char *path)
{
    char sha256[HASH_SHA256_CHARS + 1];
    return f->sha256[0] && file_exists(path) && hash_sha256_file(path, sha256, NULL) == ERR_OK &&
        strcmp(sha256, f->sha256) == 0;
}

static enum err_code make_folder_of(const char *path, struct err *e)
{
    AUTO_FREE char *folder = mem_strdup(path);
    if (!folder) return err_set(e, ERR_NOMEM, "out of memory for a path");
    *strrchr(folder, '/') = '\0';
    return dir_make(folder, e);
}

static enum err_code fetch_one(
    struct hub *h, const struct model_file *f, const char *dir, struct err *e)
{
    AUTO(buf_done) struct buf url = BUF_INIT(0);
    AUTO_FREE char *path = path_join(dir, f->path);
    const struct fetch_options o = options(h);
    if (!path) return err_set(e, ERR_NOMEM, "out of memory for a path");
    buf_printf(
        &url, "%s/%s/resolve/%s/%s", h->endpoint, h->place.repository, h->place.revision, f->path);
    TRY(buf_check(&url, e));
    h->fetching = f->path;
    if (!is_there(f, path)) {
        const struct fetch_file file = {
            .url = url.p, .path = path, .bytes = f->bytes, .sha256 = f->sha256[0] ? f->sha256 : NULL
        };
        TRY(make_folder_of(path, e));
        TRY(fetch_file(&file, &o, e));
    }
    h->before += f->bytes;
    return ERR_OK;
}

/* What the configuration alone rules out. Anything else is found out when all is there. */
static enum err_code look_ahead(const struct hub *h, const char *dir, struct err *e)
{
    struct encoder *enc = NULL;
    struct err why = ERR_INIT;
    enum err_code code = encoder_load(dir, h->o->kernels, &enc, &why);
    encoder_free(enc);
    if (code != ERR_UNPROCESSABLE) return ERR_OK;
    return err_set(e, code, "%s cannot be used: %.180s", h->place.repository, why.msg);
}

static enum err_code fetch_all(struct hub *h, const char *dir, struct err *e)
{
    TRY(remove_strangers(h, dir, e));
    for (size_t i = 0; i < h->files.n; i++) {
        const struct model_file *f = &h->files.rows[i];
        if (is_weights(f) && i > 0 && !is_weights(f - 1)) TRY(look_ahead(h, dir, e));
        TRY(fetch_one(h, f, dir, e));
    }
    return ERR_OK;
}

/* Without the name and password that an address may hold. */
static const char *without_user(const char *endpoint)
{
    const char *host = strstr(endpoint, "://") + 3;
    size_t n = strcspn(host, "/@");
    return host[n] == '@' ? host + n + 1 : host;
}

static enum err_code install(struct hub *h, struct model_stage *stage, struct err *e)
{
    struct model_note note = { .source = "" };
    const struct pull_progress p = { "checking", h->place.name, 0, 0 };
    if (h->o->progress) h->o->progress(h->o->arg, &p);
    (void)snprintf(note.source, sizeof note.source, "%.80s/%s", without_user(h->endpoint),
        h->place.repository);
    (void)snprintf(note.version, sizeof note.version, "%s", h->place.revision);
    (void)snprintf(note.licence, sizeof note.licence, "%s", h->licence);
    return model_stage_finish(stage, &note, h->o->replace, h->o->kernels, e);
}

static enum err_code fetch_and_install(struct hub *h, struct model_stage *stage, struct err *e)
{
    enum err_code code = fetch_all(h, stage->dir, e);
    bool fetched = code == ERR_OK;
    if (code == ERR_OK) code = install(h, stage, e);
    /* What came whole and right, or in part, is worth keeping; what cannot be used is not. */
    if (!fetched && code != ERR_UNPROCESSABLE && h->before > 0) model_stage_keep(stage);
    model_stage_drop(stage);
    return code;
}

/* ---- one process at a time ---- */

static bool is_same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino;
}

/* models/.NAME.lock: beside the stage, as it is held until the stage is in its place. */
static enum err_code take_lock(const struct hub *h, char **ret_path, int *ret_fd, struct err *e)
{
    char name[MODEL_NAME_MAX + 8];
    int fd = -1;
    TRY(model_name_check(h->o->name, e));
    TRY(dir_make(h->o->models, e));
    (void)snprintf(name, sizeof name, ".%s.lock", h->o->name);
    AUTO_FREE char *path = path_join(h->o->models, name);
    if (!path) return err_set(e, ERR_NOMEM, "out of memory for a path");
    enum err_code code = ERR_CONFLICT;
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        code = file_lock(path, &fd, e);
        if (code != ERR_OK) break;
        if (is_same_file(fd, path)) {
            *ret_path = steal_ptr(&path);
            *ret_fd = fd;
            return ERR_OK;
        }
        (void)close(fd); /* of one that has just ended, and removed it */
        code = ERR_CONFLICT;
    }
    if (code != ERR_CONFLICT) return code;
    return err_set(e, code, "another process fetches %s: %s is locked", h->o->name, path);
}

static enum err_code pull(struct hub *h, struct err *e)
{
    struct model_stage stage = { .dir = NULL };
    AUTO_FREE char *lock = NULL;
    int fd = -1;
    TRY(take_lock(h, &lock, &fd, e));
    enum err_code code =
        model_stage_open(&stage, h->o->models, h->o->name, "part", h->o->replace, e);
    if (code == ERR_OK) code = fetch_and_install(h, &stage, e);
    (void)unlink(lock); /* while it is held: nobody takes a lock that is to be removed */
    (void)close(fd);
    return code;
}

enum err_code model_pull_known(
    const struct known_model *m, const struct model_pull *o, struct err *e)
{
    AUTO(hub_done) struct hub h = { .o = o };
    struct hub_place place = { .name = "" };
    const struct known_file *f;
    TRY(hub_place_read(m->repository, &place, e));
    (void)snprintf(place.revision, sizeof place.revision, "%s", m->commit);
    TRY(hub_init(&h, &place, o, e));
    (void)snprintf(h.licence, sizeof h.licence, "%s", m->licence);
    for (size_t i = 0; (f = known_model_file(m, i)) != NULL; i++)
        TRY(add_file(&h, f->path, f->bytes, f->sha256, e));
    qsort(h.files.rows, h.files.n, sizeof *h.files.rows, in_order);
    return pull(&h, e);
}

enum err_code model_pull_hub(
    const struct hub_place *place, const struct model_pull *o, struct err *e)
{
    AUTO(hub_done) struct hub h = { .o = o };
    TRY(hub_init(&h, place, o, e));
    TRY(find_commit(&h, e));
    TRY(find_files(&h, e));
    return pull(&h, e);
}
