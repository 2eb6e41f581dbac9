/* Folders of runs: what a run leaves behind is needed only for its version's model, and for looking at what
 * went on, which is done with the latest. Runs on the trainer's thread; best effort, done again after the next run
 * and at the next start. */
#include "base/log.h"
#include "engine/run_folder.h"
#include "engine/runs_internal.h"

enum { SWEEP_FOLDERS = 4096, KEEP_WITHOUT_MODEL = 8 };

static void note(enum err_code code, int64_t run, const struct err *e)
{
    if (code != ERR_OK)
        LOG(WARN, "run_folder_not_tidied", F_INT("run", run), F_STR("error", e->msg));
}

/* Has the run made a version whose model is still needed? An error counts as yes. */
static bool has_version(struct engine *g, struct collection *col, int64_t run, struct arena *a)
{
    struct catalog_version *rows;
    size_t n;
    if (catalog_versions(g->catalog, &col->row, a, &rows, &n, NULL) != ERR_OK) return true;
    for (size_t i = 0; i < n; i++)
        if (rows[i].run_id == run) return rows[i].state != VERSION_REMOVED;
    return false;
}

static void tidy(struct engine *g, int64_t run, bool keep_model)
{
    struct err e = ERR_INIT;
    enum err_code code = run_folder_tidy(g->cfg->data, run, keep_model, &e);
    note(code, run, &e);
}

static void remove_all(struct engine *g, int64_t run)
{
    struct err e = ERR_INIT;
    enum err_code code = run_folder_remove(g->cfg->data, run, &e);
    note(code, run, &e);
}

void runs__tidy(struct runs *r, const struct catalog_run *row)
{
    AUTO_COLLECTION struct collection *col = runs__collection(r->engine, row->collection_id);
    struct arena *a = arena_new(1 << 12, 0);
    if (col && a) tidy(r->engine, row->id, has_version(r->engine, col, row->id, a));
    arena_free(a);
}

static bool is_open(struct runs *r, int64_t run)
{
    AUTO_LOCK(&r->lock);
    return runs__find(r, run) != NULL;
}

/* *without: how many newer ones without a model were left. */
static void sweep_one(struct runs *r, int64_t run, size_t *without, struct arena *a)
{
    struct engine *g = r->engine;
    struct catalog_run row;
    if (is_open(r, run)) return;
    enum err_code code = catalog_run_get(g->catalog, run, a, &row, NULL);
    if (code == ERR_NOT_FOUND) remove_all(g, run);
    if (code != ERR_OK || !run_is_final(row.status)) return;
    AUTO_COLLECTION struct collection *col = runs__collection(g, row.collection_id);
    bool model = col && has_version(g, col, run, a);
    if (!col || (!model && ++*without > KEEP_WITHOUT_MODEL))
        remove_all(g, run);
    else
        tidy(g, run, model);
}

void runs__sweep(struct runs *r)
{
    mutex_lock(&r->lock);
    bool due = r->sweep_due && !r->stopping;
    if (due) r->sweep_due = false;
    mutex_unlock(&r->lock);
    if (!due) return;
    struct arena *a = arena_new(1 << 14, 0);
    int64_t *ids = a ? arena_alloc(a, SWEEP_FOLDERS, sizeof *ids) : NULL;
    size_t n = ids ? run_folders(r->engine->cfg->data, ids, SWEEP_FOLDERS) : 0, without = 0;
    for (size_t i = n; i-- > 0;) {
        struct arena_mark mark = arena_mark(a);
        sweep_one(r, ids[i], &without, a);
        arena_rewind(a, mark);
    }
    arena_free(a);
}
