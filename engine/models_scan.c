/* Models that come in while a server runs.
 *
 * A folder is loaded once. What was seen of it is noted with a stamp of its files, so that neither a model that
 * is hidden by another of its name nor one that does not load is read again at each look; one that changes is
 * tried again. A folder that is still being copied may well load: without the pooling that is yet to come, say. So one
 * that does not prove by its sums that it is whole has to be left alone for a while first. A broken one that is gone
 * hides nothing. */
#include "engine/models_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/model_store_internal.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SCAN_EVERY_MS = 1000 };

/* ---- what was seen ---- */

static uint64_t mix(uint64_t sum, uint64_t more)
{
    return (sum ^ more) * UINT64_C(0x9E3779B97F4A7C15);
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Of a path's last change. */
static uint64_t changed(const struct stat *st)
{
    /* The two are often the same: they must not cancel each other. */
    uint64_t sum = mix(mix(1, (uint64_t)ns_of(st->st_mtim)), (uint64_t)ns_of(st->st_ctim));
    return mix(mix(sum, st->st_ino), (uint64_t)st->st_size);
}

struct folder_look {
    uint64_t stamp;
    int64_t changed_ns; /* INT64_MAX: not known, as not all could be looked at */
};

/* What is in it, and in its subfolders: a module's files are one folder down. */
static void look_into(const char *dir, bool deeper, struct folder_look *l)
{
    char **names = NULL;
    size_t n = 0;
    if (model__list_folder(dir, &names, &n, NULL) != ERR_OK) l->changed_ns = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        AUTO_FREE char *path = path_join(dir, names[i]);
        for (const char *p = names[i]; *p; p++)
            l->stamp = mix(l->stamp, (unsigned char)*p);
        mem_free(names[i]);
        if (!path || stat(path, &st) != 0) {
            l->changed_ns = INT64_MAX;
            continue;
        }
        l->stamp = mix(l->stamp, changed(&st));
        if (ns_of(st.st_ctim) > l->changed_ns) l->changed_ns = ns_of(st.st_ctim);
        if (deeper && S_ISDIR(st.st_mode)) look_into(path, false, l);
    }
    mem_free(names);
}

static struct folder_look look_at(const char *dir)
{
    struct stat st;
    struct folder_look l = { .stamp = 0 };
    if (stat(dir, &st) != 0) return l;
    l = (struct folder_look){ .stamp = changed(&st), .changed_ns = ns_of(st.st_ctim) };
    look_into(dir, true, &l);
    return l;
}

static struct model_seen *find_seen(const struct models *m, const char *dir)
{
    for (size_t i = 0; i < m->n_seen; i++)
        if (strcmp(m->seen[i].dir, dir) == 0) return &m->seen[i];
    return NULL;
}

static struct model_seen *add_seen(struct models *m, const char *dir, const char *name)
{
    struct model_seen row = { .dir = mem_strdup(dir), .name = mem_strdup(name) };
    AUTO_LOCK(&m->lock);
    struct model_seen *grown =
        row.dir && row.name ? mem_realloc(m->seen, m->n_seen + 1, sizeof *grown) : NULL;
    if (!grown) {
        mem_free(row.dir);
        mem_free(row.name);
        return NULL;
    }
    m->seen = grown;
    m->seen[m->n_seen] = row;
    return &m->seen[m->n_seen++];
}

void model__set_state(struct models *m, struct model_seen *seen, enum model_seen_state state)
{
    AUTO_LOCK(&m->lock);
    seen->state = state;
}

enum err_code model__look(
    struct models *m, const char *dir, const char *name, struct model_seen **ret, struct err *e)
{
    const struct folder_look now = look_at(dir);
    struct model_seen *seen = find_seen(m, dir);
    *ret = NULL;
    if (seen && seen->stamp == now.stamp && seen->state != MODEL_AGAIN) return ERR_OK;
    if (!seen) seen = add_seen(m, dir, name);
    if (!seen) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    if (!seen->noted_ns || seen->stamp != now.stamp) seen->noted_ns = time_mono_ns();
    seen->stamp = now.stamp;
    seen->changed_ns = now.changed_ns;
    model__set_state(m, seen, MODEL_LOOKED_AT);
    *ret = seen;
    return ERR_OK;
}

bool model__has_changed(const struct model_seen *seen)
{
    return look_at(seen->dir).stamp != seen->stamp;
}

/* The second clock is for folders of another machine, whose clock may be ahead. */
bool model__is_settled(const struct models *m, const struct model_seen *seen)
{
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (seen->changed_ns <= ns_of(now) - m->settle_ns) return true;
    if (time_mono_ns() - seen->noted_ns >= m->settle_ns) return true;
    return model__check_sums(seen->dir, NULL) == ERR_OK;
}

bool model__is_broken(const struct models *m, const char *name, const struct model_seen *but)
{
    for (size_t i = 0; i < m->n_seen; i++)
        if (&m->seen[i] != but &&
            (m->seen[i].state == MODEL_BROKEN || m->seen[i].state == MODEL_ARRIVING) &&
            strcmp(m->seen[i].name, name) == 0)
            return true;
    return false;
}

void model__seen_done(struct models *m)
{
    for (size_t i = 0; i < m->n_seen; i++) {
        mem_free(m->seen[i].dir);
        mem_free(m->seen[i].name);
    }
    mem_free(m->seen);
}

/* ---- looking again ---- */

/* What may load now: it has changed, or is gone, or may have been left alone for long enough. */
static void pardon(struct models *m)
{
    for (size_t i = 0; i < m->n_seen; i++) {
        struct model_seen *seen = &m->seen[i];
        if (seen->state == MODEL_ARRIVING ||
            (seen->state == MODEL_BROKEN && model__has_changed(seen)))
            model__set_state(m, seen, MODEL_AGAIN);
    }
}

/* Under scan_lock. */
static void scan_now_and_then(struct models *m)
{
    struct err e = ERR_INIT;
    uint64_t stamp = 0;
    for (size_t i = 0; i < m->n_folders; i++) {
        struct stat st;
        stamp = mix(stamp, stat(m->folders[i], &st) == 0 ? changed(&st) : 0);
    }
    if (stamp == m->folders_stamp && m->scanned_ns &&
        time_mono_ns() - m->scanned_ns < SCAN_EVERY_MS * NS_PER_MS)
        return;
    m->folders_stamp = stamp;
    pardon(m);
    if (model__scan(m, true, &e) != ERR_OK) LOG(ERROR, "models_unread", F_STR("error", e.msg));
    m->scanned_ns = time_mono_ns();
}

void models_refresh(struct models *m, bool wait)
{
    if (!wait) {
        if (!mutex_trylock(&m->scan_lock)) return;
    } else {
        mutex_lock(&m->scan_lock);
    }
    scan_now_and_then(m);
    mutex_unlock(&m->scan_lock);
}

/* ---- where is it ---- */

/* Names that are taken are noted as those of broken folders, which nothing goes past. */
static enum err_code claim(struct models *taken, const char *dir, const char *name,
    struct str wanted, char **ret_dir, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, "config.json");
    AUTO_JSON json_t *config = NULL;
    struct err why = ERR_INIT;
    if (!path) return err_set(e, ERR_NOMEM, "out of memory while looking for a model");
    if (!file_exists(path) || model__is_broken(taken, name, NULL)) return ERR_OK;
    enum err_code code = model__read_json(dir, "config.json", &config, &why);
    const char *own = json_string_value(json_object_get(config, "name"));
    const char *known = own && *own ? own : name;
    if (model__is_broken(taken, known, NULL)) return ERR_OK;
    struct model_seen *seen = add_seen(taken, dir, known);
    if (!seen) return err_set(e, ERR_NOMEM, "out of memory while looking for a model");
    seen->state = MODEL_BROKEN;
    if (!str_is(wanted, known)) return ERR_OK;
    if (code != ERR_OK) return err_set(e, code, "%s: %s", dir, why.msg);
    *ret_dir = mem_strdup(dir);
    return *ret_dir ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory while looking for a model");
}

static enum err_code claim_folder(
    struct models *taken, const char *folder, struct str wanted, char **ret_dir, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    enum err_code code = model__list_folder(folder, &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *dir = path_join(folder, names[i]);
        if (!dir) code = err_set(e, ERR_NOMEM, "out of memory while looking for a model");
        if (code == ERR_OK && !*ret_dir) code = claim(taken, dir, names[i], wanted, ret_dir, e);
        mem_free(names[i]);
    }
    mem_free(names);
    return code;
}

enum err_code models_find_folder(
    const struct config *cfg, struct str name, char **ret_dir, struct err *e)
{
    AUTO(model_folders_done) struct model_folders folders = { .n = 0 };
    AUTO(models_done) struct models taken = { .n = 0 };
    char *found = NULL;
    mutex_init(&taken.lock, RANK_QUEUE);
    mutex_init(&taken.scan_lock, RANK_ENGINE);
    taken.has_lock = true;
    TRY(model_folders_find(cfg, &folders, e));
    for (size_t i = 0; !found && i < folders.n; i++)
        TRY(claim_folder(&taken, folders.paths[i], name, &found, e));
    if (!found)
        return err_set(
            e, ERR_NOT_FOUND, "model \"%.*s\" is in none of the model folders", STR_ARG(name));
    *ret_dir = found;
    return ERR_OK;
}

/* ---- what is not there ---- */

enum err_code models_missing(
    struct models *m, const char *what, struct str ref, const char *field, struct err *e)
{
    enum { NAMES_MAX = 56, REF_MAX = 40 };
    char names[NAMES_MAX + 8];
    size_t at = 0;
    bool arriving = false;
    mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_seen; i++)
        arriving = arriving || (m->seen[i].state == MODEL_ARRIVING && str_is(ref, m->seen[i].name));
    for (size_t i = 0; i < m->n; i++) {
        struct str name = m->rows[i]->name;
        bool fits = at + 2 + name.n <= NAMES_MAX;
        struct str more = fits ? name : STR("…");
        if (i) memcpy(names + at, ", ", 2);
        at += i ? 2 : 0;
        memcpy(names + at, more.p, more.n);
        at += more.n;
        if (!fits) break;
    }
    mutex_unlock(&m->lock);
    if (arriving)
        return err_set_field(e, ERR_NOT_FOUND, field,
            "%s \"%.*s\" is just coming in: it is loaded when nothing in its folder has changed "
            "for "
            "two seconds",
            what, (int)(ref.n < REF_MAX ? ref.n : REF_MAX), ref.p);
    return err_set_field(e, ERR_NOT_FOUND, field,
        "there is no %s \"%.*s\", but %.*s; `kindred model pull NAME` or `kindred model add DIR` "
        "bring more",
        what, ref.n < REF_MAX ? (int)ref.n : REF_MAX, ref.p ? ref.p : "", (int)at, names);
}
