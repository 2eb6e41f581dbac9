/* promote_retire: what is kept to go back to is bounded, and what is beyond that goes in an order in which a crash
 * leaves nothing half: first the generation (its vectors follow, slice by slice), then the version's row, then
 * the model in memory, then its folder. A folder that is left is swept up at the next start. */
#include "engine/promote.h"

#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/learned.h"
#include "engine/run_folder.h"
#include "engine/runs_internal.h"
#include "engine/writer_call.h"

#include <stdlib.h>

enum { ARENA_BYTES = 1 << 14 };

static int last_served_first(const void *a, const void *b)
{
    const struct catalog_version *x = a, *y = b;
    if (x->served_ms != y->served_ms) return x->served_ms < y->served_ms ? 1 : -1;
    return (x->version < y->version) - (x->version > y->version);
}

struct removal {
    struct collection *col;
    const struct catalog_version *version;
    int64_t generation_id; /* 0: it has none */
};

/* Somebody asked for one of the versions meanwhile, maybe for this one; that promotion will retire in its turn. */
static bool is_promoting(struct engine *g, const struct collection *col)
{
    AUTO_LOCK(&g->runs->lock);
    const struct run_entry *run = runs__of_collection(g->runs, col->row.id);
    return run && (run->kind != RUN_TRAIN || run->status == RUN_PROMOTING);
}

static enum err_code remove_rows(struct engine *g, void *arg, struct err *e)
{
    const struct removal *r = arg;
    struct catalog *c = g->catalog;
    if (r->col->deleted) return err_set(e, ERR_NOT_FOUND, "the collection was deleted");
    if (is_promoting(g, r->col)) return err_set(e, ERR_CONFLICT, "a promotion is under way");
    if (r->generation_id) TRY(catalog_generation_drop(c, &r->col->row, r->generation_id, e));
    g->writer.purge_due = true;
    maintenance_sweep(&g->maintenance);
    if (!r->version->run_id)
        return ERR_OK; /* the base model: its row stays, and it has no folder */
    return catalog_version_removed(c, &r->col->row, r->version->version, e);
}

static void drop_previous(struct collection *col, int64_t version)
{
    AUTO_GENERATION struct generation *drop = NULL;
    AUTO_LOCK(&col->lock);
    if (!col->previous || col->previous->row.model_version != version) return;
    drop = col->previous;
    atomic_store(&drop->abandoned, true);
    col->previous = NULL;
}

static enum err_code retire(struct engine *g, struct removal *r, struct err *e)
{
    if (!r->generation_id && !r->version->run_id) return ERR_OK;
    TRY(writer_call(g, remove_rows, r, e));
    drop_previous(r->col, r->version->version);
    LOG(INFO, "version_retired", F_STR("collection", r->col->row.name.p),
        F_INT("version", r->version->version));
    if (!r->version->run_id) return ERR_OK;
    learned_drop(g, r->col->row.id, r->version->version);
    return run_folder_tidy(g->cfg->data, r->version->run_id, false, e);
}

static enum err_code retire_all(
    struct engine *g, struct collection *col, size_t keep, struct arena *a, struct err *e)
{
    struct catalog_version *versions;
    struct catalog_generation *gens;
    size_t n, n_gens, retired = 0, candidates = 0;
    TRY(catalog_versions(g->catalog, &col->row, a, &versions, &n, e));
    TRY(catalog_generations(g->catalog, &col->row, a, &gens, &n_gens, e));
    qsort(versions, n, sizeof *versions, last_served_first);
    for (size_t i = 0; i < n; i++) {
        struct removal r = { .col = col, .version = &versions[i] };
        enum version_state state = versions[i].state;
        bool goes = (state == VERSION_RETIRED && retired++ >= keep) ||
            (state == VERSION_CANDIDATE && candidates++ >= keep);
        if (!goes) continue;
        for (size_t j = 0; j < n_gens; j++)
            if (gens[j].model_version == versions[i].version) r.generation_id = gens[j].id;
        TRY(retire(g, &r, e));
    }
    return ERR_OK;
}

void promote_retire(struct engine *g, struct collection *col, size_t keep)
{
    struct err e = ERR_INIT;
    struct arena *a = arena_new(ARENA_BYTES, 0);
    enum err_code code = a ? retire_all(g, col, keep, a, &e)
                           : err_set(&e, ERR_NOMEM, "out of memory while retiring versions");
    if (code != ERR_OK)
        LOG(WARN, "retire_failed", F_STR("collection", col->row.name.p), F_STR("error", e.msg));
    arena_free(a);
}
