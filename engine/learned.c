#include "engine/learned.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/run_folder.h"
#include "engine/writer_call.h"

enum err_code learned_load(struct engine *g, const struct catalog_collection *col,
    const struct catalog_version *v, struct model **ret_m, struct err *e)
{
    if (v->run_id == 0) {
        struct model *base = models_find(&g->models, v->base_model);
        if (!base)
            return err_set(e, ERR_UNPROCESSABLE, "base model \"%.*s\" is not installed",
                STR_ARG(v->base_model));
        if (!model_is_same(base, v->weights_hash))
            return err_set(e, ERR_UNPROCESSABLE,
                "model \"%.*s\" has other weights than the one that made the vectors of version 1",
                STR_ARG(v->base_model));
        model_ref(base);
        *ret_m = base;
        return ERR_OK;
    }
    AUTO_FREE char *dir = run_path(g->cfg->data, v->run_id, "model");
    if (!dir) return err_set(e, ERR_NOMEM, "out of memory while loading a model");
    const struct model_spec spec = {
        .collection = col->name,
        .collection_id = col->id,
        .base = v->base_model,
        .version = v->version,
        .dir = dir,
        .weights_hash = v->weights_hash,
    };
    return models_add(&g->models, &spec, g->kernels, ret_m, e);
}

static enum err_code load_one(struct engine *g, const struct catalog_collection *col,
    const struct catalog_version *v, struct err *e)
{
    AUTO_MODEL struct model *m = NULL;
    struct err why = ERR_INIT;
    enum err_code code = learned_load(g, col, v, &m, &why);
    if (code == ERR_NOMEM) {
        if (e) *e = why;
        return code;
    }
    if (code != ERR_OK)
        LOG(ERROR, "version_broken", F_INT("collection_id", col->id), F_INT("version", v->version),
            F_STR("error", why.msg));
    return ERR_OK;
}

enum err_code learned_load_all(
    struct engine *g, const struct catalog_collection *col, struct err *e)
{
    struct catalog_version *rows;
    size_t n;
    struct arena *a = arena_new(4096, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory while loading models");
    enum err_code code = catalog_versions(g->catalog, col, a, &rows, &n, e);
    for (size_t i = 0; code == ERR_OK && i < n; i++)
        if (rows[i].run_id && rows[i].state != VERSION_REMOVED)
            code = load_one(g, col, &rows[i], e);
    arena_free(a);
    return code;
}

void learned_drop(struct engine *g, int64_t collection_id, int64_t version)
{
    struct model *m;
    while ((m = models_drop(&g->models, collection_id, version)) != NULL) {
        encode_forget(&g->encoders, m);
        model_unref(m);
    }
}

/* Writer thread, where collections are deleted. */
static enum err_code drop_if_deleted(struct engine *g, void *arg, struct err *e)
{
    const struct collection *col = arg;
    (void)e;
    if (col->deleted) learned_drop(g, col->row.id, 0);
    return ERR_OK;
}

void learned_settle(struct engine *g, struct collection *col)
{
    if (writer_call(g, drop_if_deleted, col, NULL) != ERR_OK) return; /* it has no errors */
}
