#include "engine/snapshots.h"

#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "catalog/learning.h"
#include "engine/engine_internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 64 };
#define FOLDER "index"
#define SUFFIX ".idx"

static struct metric save_seconds =
    METRIC_HISTOGRAM("kindred_snapshot_seconds", "Time to write one snapshot of an index.");
static struct metric save_failures = METRIC_COUNTER("kindred_snapshot_failures_total",
    "Snapshots of indexes that could not be written; the older ones stay.");

/* ---- names ---- */

static char *folder_path(const struct engine *g, struct err *e)
{
    char *path = path_join(g->cfg->data, FOLDER);
    if (!path) (void)err_set(e, ERR_NOMEM, "out of memory for a path");
    return path;
}

static char *file_path(const struct engine *g, const char *name, struct err *e)
{
    AUTO_FREE char *folder = folder_path(g, e);
    char *path = folder ? path_join(folder, name) : NULL;
    if (!path) (void)err_set(e, ERR_NOMEM, "out of memory for a path");
    return path;
}

static void make_name(int64_t collection, int64_t generation, char ret[NAME_BYTES])
{
    (void)snprintf(ret, NAME_BYTES, "%" PRId64 "-%" PRId64 SUFFIX, collection, generation);
}

/* "COLLECTION/GENERATION@MADE/", what a label begins with; the history follows. */
static void make_label(int64_t collection, const struct catalog_generation *row,
    const char *history, char ret[SNAPSHOT_LABEL_MAX])
{
    (void)snprintf(ret, SNAPSHOT_LABEL_MAX, "%" PRId64 "/%" PRId64 "@%" PRId64 "/%s", collection,
        row->id, row->created_ms, history);
}

/* ---- reading ---- */

static enum err_code check_mark(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, const struct snapshot_mark *mark, struct err *e)
{
    char want[SNAPSHOT_LABEL_MAX];
    make_label(col->id, row, "", want);
    if (strncmp(mark->label, want, strlen(want)) != 0)
        return err_set(
            e, ERR_CONFLICT, "it is of other vectors: \"%s\" instead of \"%s\"", mark->label, want);
    return catalog_history_check(g->catalog, mark->label + strlen(want), mark->seq, e);
}

static enum err_code load(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, const char *path, const struct index_options *o,
    struct index **ret_ix, int64_t *ret_seq, struct err *e)
{
    struct snapshot_mark mark;
    struct index *ix;
    TRY(index_load(path, o, g->cfg->snapshot_map, &ix, &mark, e));
    mark.label[SNAPSHOT_LABEL_MAX - 1] = '\0';
    enum err_code code = check_mark(g, col, row, &mark, e);
    if (code != ERR_OK) {
        index_free(ix);
        return code;
    }
    *ret_ix = ix;
    *ret_seq = mark.seq;
    return ERR_OK;
}

bool snapshot_load(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, const struct index_options *o, struct index **ret_ix,
    int64_t *ret_seq)
{
    char name[NAME_BYTES];
    struct err e = ERR_INIT;
    if (!g->cfg->snapshots) return false;
    make_name(col->id, row->id, name);
    AUTO_FREE char *path = file_path(g, name, &e);
    enum err_code code = path ? load(g, col, row, path, o, ret_ix, ret_seq, &e) : e.code;
    if (code == ERR_OK || code == ERR_NOT_FOUND) return code == ERR_OK;
    LOG(WARN, "snapshot_unusable", F_STR("collection", col->name.p), F_INT("generation", row->id),
        F_STR("file", name), F_STR("code", err_name(code)), F_STR("error", e.msg),
        F_STR("instead", "the index is made from the catalog"));
    if (path && (code == ERR_CORRUPT || code == ERR_CONFLICT)) (void)unlink(path);
    return false;
}

/* ---- writing ---- */

enum err_code snapshot_mark_make(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, int64_t seq, struct snapshot_mark *ret, struct err *e)
{
    char history[CATALOG_HISTORY_BYTES];
    TRY(catalog_history(g->catalog, history, e));
    *ret = (struct snapshot_mark){ .seq = seq };
    make_label(col->id, row, history, ret->label);
    return ERR_OK;
}

static enum err_code save(struct engine *g, const char *name, struct generation *gen,
    const struct snapshot_mark *mark, size_t *ret_bytes, struct err *e)
{
    AUTO_FREE char *folder = folder_path(g, e);
    AUTO_FREE char *path = folder ? file_path(g, name, e) : NULL;
    if (!path) return ERR_NOMEM;
    TRY(dir_make(folder, e));
    return index_save(gen->index, path, mark, ret_bytes, e);
}

enum err_code snapshot_save(struct engine *g, const struct catalog_collection *col,
    struct generation *gen, const struct snapshot_mark *mark, struct err *e)
{
    char name[NAME_BYTES];
    size_t bytes;
    int64_t began = time_mono_ns();
    make_name(col->id, gen->row.id, name);
    enum err_code code = save(g, name, gen, mark, &bytes, e);
    double seconds = (double)(time_mono_ns() - began) / (double)NS_PER_S;
    if (code != ERR_OK) {
        metric_add(&save_failures, NULL, 1);
        return code;
    }
    metric_observe(&save_seconds, NULL, seconds);
    LOG(INFO, "snapshot_written", F_STR("collection", col->name.p),
        F_INT("generation", gen->row.id), F_INT("change", mark->seq), F_UINT("bytes", bytes),
        F_NUM("seconds", seconds));
    return ERR_OK;
}

/* ---- removing ---- */

static enum err_code note_known(
    struct snapshots_known *k, int64_t collection, int64_t generation, struct err *e)
{
    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 64;
        struct snapshot_of *p = arena_alloc(k->arena, cap, sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "out of memory while looking for old snapshots");
        if (k->n) memcpy(p, k->p, k->n * sizeof *p);
        k->p = p;
        k->cap = cap;
    }
    k->p[k->n++] = (struct snapshot_of){ collection, generation };
    return ERR_OK;
}

enum err_code snapshots_known(struct engine *g, struct snapshots_known *k, struct err *e)
{
    struct catalog_collection *cols;
    struct catalog_generation *gens;
    size_t n_cols, n_gens;
    TRY(catalog_collections(g->catalog, k->arena, &cols, &n_cols, e));
    for (size_t i = 0; i < n_cols; i++) {
        TRY(catalog_generations(g->catalog, &cols[i], k->arena, &gens, &n_gens, e));
        for (size_t j = 0; j < n_gens; j++)
            TRY(note_known(k, cols[i].id, gens[j].id, e));
    }
    return ERR_OK;
}

static bool take_number(const char **p, int64_t *ret)
{
    enum { DIGITS_MAX = 18 };
    int64_t v = 0;
    const char *at = *p;
    for (; *at >= '0' && *at <= '9' && at - *p < DIGITS_MAX; at++)
        v = v * 10 + (*at - '0');
    if (at == *p) return false;
    *p = at;
    *ret = v;
    return true;
}

/* A file that this program would have written: "1-2.idx", or what became of writing it; *ret_whole: the former. */
static bool is_ours(const char *name, struct snapshot_of *ret, bool *ret_whole)
{
    if (!take_number(&name, &ret->collection) || *name++ != '-') return false;
    if (!take_number(&name, &ret->generation) || strncmp(name, SUFFIX, strlen(SUFFIX)) != 0)
        return false;
    name += strlen(SUFFIX);
    *ret_whole = *name == '\0';
    return *ret_whole || strncmp(name, ".tmp", 4) == 0;
}

static bool is_known(const struct snapshots_known *k, const struct snapshot_of *id)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->p[i].collection == id->collection && k->p[i].generation == id->generation)
            return true;
    return false;
}

static void dir_close(DIR **d)
{
    if (*d) (void)closedir(*d);
}

void snapshots_sweep(const struct engine *g, const struct snapshots_known *k)
{
    const struct dirent *entry;
    AUTO_FREE char *folder = folder_path(g, NULL);
    AUTO(dir_close) DIR *dir = folder ? opendir(folder) : NULL;
    while (dir && (entry = readdir(dir)) != NULL) {
        struct snapshot_of id;
        bool whole;
        if (!is_ours(entry->d_name, &id, &whole) || (whole && is_known(k, &id))) continue;
        AUTO_FREE char *path = path_join(folder, entry->d_name);
        if (path && unlink(path) == 0) LOG(INFO, "snapshot_removed", F_STR("file", entry->d_name));
    }
}

void snapshots_tidy(struct engine *g)
{
    struct snapshots_known known = { .arena = arena_new(1 << 14, 0) };
    struct err e = ERR_INIT;
    enum err_code code = known.arena
        ? snapshots_known(g, &known, &e)
        : err_set(&e, ERR_NOMEM, "out of memory while looking for old snapshots");
    if (code == ERR_OK)
        snapshots_sweep(g, &known);
    else
        LOG(WARN, "snapshots_not_swept", F_STR("error", e.msg));
    arena_free(known.arena);
}
