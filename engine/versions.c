/* Versions of a collection: listing them, and which one can be promoted or gone back to.
 *
 * What "served before" means is told by the runs that swapped, in their order: they are a stack. A promotion puts
 * its version on top; a rollback takes versions off, down to the one it went to. So a second rollback goes
 * further back instead of forth again. Versions that were removed since are passed over. */
#include "base/fileio.h"
#include "base/mem.h"
#include "engine/run_folder.h"
#include "engine/runs_internal.h"

enum { RUNS_PAGE = 256 };

static struct catalog_version *find(struct catalog_version *rows, size_t n, int64_t version)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].version == version) return &rows[i];
    return NULL;
}

/* ---- can it be promoted ---- */

static bool has_folder(struct engine *g, const struct catalog_version *v)
{
    if (v->run_id == 0) return true; /* the base model */
    AUTO_FREE char *path = run_path(g->cfg->data, v->run_id, "model");
    return path && dir_exists(path);
}

static enum err_code check(
    struct engine *g, struct collection *col, const struct catalog_version *v, struct err *e)
{
    const long long number = v->version;
    if (v->state == VERSION_SERVING)
        return err_set_field(e, ERR_CONFLICT, "/version",
            "version %lld of collection \"%.*s\" serves already", number, STR_ARG(col->row.name));
    if (v->state == VERSION_REMOVED || !has_folder(g, v))
        return err_set_field(e, ERR_CONFLICT, "/version",
            "the model of version %lld of collection \"%.*s\" was removed", number,
            STR_ARG(col->row.name));
    return ERR_OK;
}

enum err_code runs__version_check(struct engine *g, struct collection *col, int64_t version,
    struct arena *a, struct catalog_version *ret, struct err *e)
{
    struct catalog_version *rows;
    size_t n;
    TRY(catalog_versions(g->catalog, &col->row, a, &rows, &n, e));
    const struct catalog_version *v = find(rows, n, version);
    if (!v)
        return err_set_field(e, ERR_NOT_FOUND, "/version",
            "collection \"%.*s\" has no version %lld", STR_ARG(col->row.name), (long long)version);
    TRY(check(g, col, v, e));
    *ret = *v;
    return ERR_OK;
}

/* ---- going back ---- */

struct stack {
    int64_t *versions;
    size_t n;
};

static void pop_to(struct stack *s, int64_t version)
{
    size_t n = s->n;
    while (n > 1 && s->versions[n - 1] != version)
        n--;
    if (s->versions[n - 1] == version) s->n = n;
}

static void push(struct stack *s, int64_t version)
{
    if (s->versions[s->n - 1] != version) s->versions[s->n++] = version;
}

/* Each run pushes two at most: what served before it, if that is not on top, and its own. */
static void replay(struct stack *s, const struct catalog_run *run)
{
    bool swapped = run->status == RUN_SUCCEEDED && run->to_version &&
        !(run->kind == RUN_TRAIN && run->promote == PROMOTE_NEVER);
    if (!swapped) return;
    push(s, run->from_version);
    if (run->kind == RUN_ROLLBACK)
        pop_to(s, run->to_version);
    else
        push(s, run->to_version);
}

/* All runs of a collection, the newest first: pages linked by the order of `next`. */
struct page {
    struct catalog_run *rows;
    size_t n;
    struct page *newer;
};

static enum err_code read_runs(struct engine *g, struct collection *col, struct arena *a,
    struct page **ret_oldest, size_t *ret_n, struct err *e)
{
    struct page *newer = NULL;
    size_t total = 0;
    for (int64_t before = 0;;) {
        struct page *p = arena_zalloc(a, 1, sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "out of memory for the runs of a collection");
        TRY(catalog_runs(g->catalog, col->row.id, before, RUNS_PAGE, a, &p->rows, &p->n, e));
        if (p->n == 0) break;
        p->newer = newer;
        newer = p;
        total += p->n;
        before = p->rows[p->n - 1].id;
    }
    *ret_oldest = newer;
    *ret_n = total;
    return ERR_OK;
}

enum err_code runs__version_before(struct engine *g, struct collection *col, struct arena *a,
    struct catalog_version *ret, struct err *e)
{
    struct catalog_version *rows;
    struct page *pages = NULL;
    struct stack s = { .n = 1 };
    size_t n, n_runs = 0;
    TRY(catalog_versions(g->catalog, &col->row, a, &rows, &n, e));
    TRY(read_runs(g, col, a, &pages, &n_runs, e));
    s.versions = arena_alloc(a, 2 * n_runs + 2, sizeof *s.versions);
    if (!s.versions) return err_set(e, ERR_NOMEM, "out of memory for the versions of a collection");
    s.versions[0] = 1;
    for (const struct page *p = pages; p; p = p->newer)
        for (size_t i = p->n; i-- > 0;)
            replay(&s, &p->rows[i]);
    while (s.n-- > 0) {
        const struct catalog_version *v = find(rows, n, s.versions[s.n]);
        if (!v || check(g, col, v, NULL) != ERR_OK) continue;
        *ret = *v;
        return ERR_OK;
    }
    return err_set(e, ERR_CONFLICT,
        "collection \"%.*s\" has no version to go back to: none served before this one, or it was "
        "removed",
        STR_ARG(col->row.name));
}

/* ---- listing ---- */

static enum err_code describe(struct engine *g, struct collection *col,
    const struct catalog_version *row, struct arena *a, struct version_info *ret, struct err *e)
{
    const char *model = row->version == 1
        ? arena_printf(a, "%.*s@1", STR_ARG(row->base_model))
        : arena_printf(a, "%.*s/%.*s@%lld", STR_ARG(col->row.name), STR_ARG(row->base_model),
              (long long)row->version);
    if (!model) return err_set(e, ERR_NOMEM, "out of memory for the versions of a collection");
    *ret = (struct version_info){ .row = *row, .model = str_from(model) };
    if (row->run_id) {
        struct catalog_run run;
        TRY(catalog_run_get(g->catalog, row->run_id, a, &run, e));
        ret->metrics = run.metrics;
        ret->n_metrics = run.n_metrics;
    }
    return ERR_OK;
}

enum err_code engine_versions(struct engine *g, struct str collection, struct arena *a,
    struct version_info **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    struct catalog_version *rows;
    struct catalog_generation *gens;
    size_t n, n_gens;
    TRY(registry_get(&g->registry, collection, &col, e));
    TRY(catalog_versions(g->catalog, &col->row, a, &rows, &n, e));
    TRY(catalog_generations(g->catalog, &col->row, a, &gens, &n_gens, e));
    struct version_info *ret = arena_alloc(a, n, sizeof *ret);
    if (!ret) return err_set(e, ERR_NOMEM, "out of memory for the versions of a collection");
    for (size_t i = 0; i < n; i++) {
        TRY(describe(g, col, &rows[i], a, &ret[i], e));
        for (size_t k = 0; k < n_gens; k++)
            if (gens[k].model_version == rows[i].version && gens[k].state != GENERATION_BUILDING)
                ret[i].has_vectors = true;
    }
    *ret_rows = ret;
    *ret_n = n;
    return ERR_OK;
}
