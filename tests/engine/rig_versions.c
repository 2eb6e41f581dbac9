/* Versions without training: what a run leaves in the catalog and in its folder. */
#include "tests/engine/rig.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/learned.h"
#include "engine/promote.h"
#include "engine/run_folder.h"
#include "engine/writer_call.h"
#include "tests/support/tiny_model.h"

struct making {
    const struct catalog_collection *col;
    struct catalog_version version;
};

static enum err_code make_rows(struct engine *g, void *arg, struct err *e)
{
    struct making *m = arg;
    struct catalog_run run = { .collection_id = m->col->id, .kind = RUN_TRAIN };
    TRY(catalog_run_create(g->catalog, &run, e));
    m->version.run_id = run.id;
    TRY(catalog_version_create(g->catalog, m->col, &m->version, e));
    run.status = RUN_REJECTED; /* and out of the way */
    run.to_version = m->version.version;
    return catalog_run_update(g->catalog, &run, e);
}

int64_t rig_make_version(struct rig *r, const char *collection, uint64_t seed)
{
    struct err e = ERR_INIT;
    AUTO_COLLECTION struct collection *col = registry_find(&r->g->registry, str_from(collection));
    ck_assert_ptr_nonnull(col);
    struct making m = { .col = &col->row,
        .version = { .parent_version = 1,
            .base_model = col->base_model,
            .data_hash = STR("d"),
            .weights_hash = STR("w") } };
    ck_assert_ok(writer_call(r->g, make_rows, &m, &e), &e);
    AUTO_FREE char *folder = run_path(r->cfg.data, m.version.run_id, "");
    ck_assert_ptr_nonnull(folder);
    tiny_model_write(folder, "model", RIG_DIM, seed);
    AUTO_MODEL struct model *model = NULL;
    ck_assert_ok(learned_load(r->g, &col->row, &m.version, &model, &e), &e);
    return m.version.version;
}

int64_t rig_version(struct rig *r, const char *collection)
{
    struct err e = ERR_INIT;
    CALL c;
    call_init(&c);
    struct collection_info info;
    ck_assert_ok(engine_collection_get(r->g, str_from(collection), c.arena, &info, &e), &e);
    return info.model.version;
}

enum err_code rig_promote(
    struct rig *r, const char *collection, int64_t version, struct promote_report *ret)
{
    struct err e = ERR_INIT;
    struct promote_watch watch = { 0 };
    struct promote_report report = { 0 };
    AUTO_COLLECTION struct collection *col = registry_find(&r->g->registry, str_from(collection));
    ck_assert_ptr_nonnull(col);
    enum err_code code = promote_version(r->g, col, version, 0, 0, &watch, &report, &e);
    if (ret) *ret = report;
    return code;
}
