/* Models that come in while a server runs.
 *
 * A folder is loaded once. What was seen of it is noted with a stamp of its files, so that neither a model that
 * is hidden by another of its name nor one that does not load is read again at each look; a folder that
 * is still being copied is broken at first, changes, and is tried again. A broken one that is gone hides nothing. */
#include "engine/models_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>
#include <sys/stat.h>

enum { SCAN_EVERY_MS = 1000 };

/* ---- what was seen ---- */

/* Of a path's last change; 0: it is not there. */
static uint64_t changed(const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) != 0) return 0;
    return ((uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec) ^
        ((uint64_t)st.st_ino << 32) ^ (uint64_t)st.st_size;
}

static uint64_t mix(uint64_t sum, uint64_t more)
{
    return (sum ^ more) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint64_t stamp_of(const char *dir)
{
    AUTO_FREE char *config = path_join(dir, "config.json");
    return mix(mix(changed(dir), changed(config)), (uint64_t)model_written_ms(dir));
}

static struct model_seen *find_seen(const struct models *m, const char *dir)
{
    for (size_t i = 0; i < m->n_seen; i++)
        if (strcmp(m->seen[i].dir, dir) == 0) return &m->seen[i];
    return NULL;
}

static struct model_seen *add_seen(struct models *m, const char *dir, const char *name)
{
    struct model_seen *grown = mem_realloc(m->seen, m->n_seen + 1, sizeof *grown);
    if (!grown) return NULL;
    m->seen = grown;
    struct model_seen row = { .dir = mem_strdup(dir), .name = mem_strdup(name) };
    if (!row.dir || !row.name) {
        mem_free(row.dir);
        mem_free(row.name);
        return NULL;
    }
    m->seen[m->n_seen] = row;
    return &m->seen[m->n_seen++];
}

enum err_code model__look(
    struct models *m, const char *dir, const char *name, struct model_seen **ret, struct err *e)
{
    uint64_t stamp = stamp_of(dir);
    struct model_seen *seen = find_seen(m, dir);
    if (seen && seen->stamp == stamp) {
        *ret = NULL;
        return ERR_OK;
    }
    if (!seen) seen = add_seen(m, dir, name);
    if (!seen) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    seen->stamp = stamp;
    seen->broken = false;
    *ret = seen;
    return ERR_OK;
}

bool model__is_broken(const struct models *m, const char *name, const struct model_seen *but)
{
    for (size_t i = 0; i < m->n_seen; i++)
        if (&m->seen[i] != but && m->seen[i].broken && strcmp(m->seen[i].name, name) == 0)
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

/* What may load now: it has changed, or is gone. */
static void pardon_changed(struct models *m)
{
    for (size_t i = 0; i < m->n_seen; i++)
        if (m->seen[i].broken && stamp_of(m->seen[i].dir) != m->seen[i].stamp)
            m->seen[i].broken = false;
}

void models_refresh(struct models *m)
{
    struct err e = ERR_INIT;
    AUTO_LOCK(&m->scan_lock);
    uint64_t stamp = 0;
    for (size_t i = 0; i < m->n_folders; i++)
        stamp = mix(stamp, changed(m->folders[i]));
    if (stamp == m->folders_stamp && m->scanned_ns &&
        time_mono_ns() - m->scanned_ns < SCAN_EVERY_MS * NS_PER_MS)
        return;
    m->folders_stamp = stamp;
    pardon_changed(m);
    if (model__scan(m, true, &e) != ERR_OK) LOG(ERROR, "models_unread", F_STR("error", e.msg));
    m->scanned_ns = time_mono_ns();
}

/* ---- what is not there ---- */

enum err_code models_missing(
    struct models *m, const char *what, struct str ref, const char *field, struct err *e)
{
    enum { NAMES_MAX = 90, REF_MAX = 40 };
    char names[NAMES_MAX + 8];
    size_t at = 0;
    mutex_lock(&m->lock);
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
    return err_set_field(e, ERR_NOT_FOUND, field,
        "there is no %s \"%.*s\", but %.*s; `kindred model pull NAME` or `kindred model add DIR` "
        "bring more",
        what, ref.n < REF_MAX ? (int)ref.n : REF_MAX, ref.p ? ref.p : "", (int)at, names);
}
