/* Making, comparing, listing and removing collections. All changes run on the writer thread, one at a time and
 * outside of any transaction of others, so "is the name free" and "insert it" cannot be separated by another. */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/runs.h"
#include "engine/learned.h"

#include <string.h>

enum { FIELD_PATH_MAX = 256 };

/* ---- a new collection ---- */

static enum err_code check_name(struct str name, struct err *e)
{
    if (name.n < 1 || name.n > CATALOG_NAME_MAX || name.p[0] == '.')
        return err_set(e, ERR_INVALID,
            "a collection's name has 1 to %d characters and does not start with a dot",
            CATALOG_NAME_MAX);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '_' || c == '.' || c == '-';
        if (!ok)
            return err_set(e, ERR_INVALID,
                "a collection's name consists of letters, digits, '_', '.' and '-'");
    }
    return ERR_OK;
}

static enum err_code check_path(struct str path, struct err *e)
{
    if (path.n < 1 || path.n > FIELD_PATH_MAX)
        return err_set_field(e, ERR_INVALID, "/filterable",
            "a field's path has 1 to %d bytes, this one has %zu", FIELD_PATH_MAX, path.n);
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] == '.' && (i == 0 || i + 1 == path.n || path.p[i + 1] == '.'))
            return err_set_field(e, ERR_INVALID, "/filterable",
                "field \"%.*s\" has an empty key between its dots", STR_ARG(path));
    return ERR_OK;
}

static enum err_code check_fields(const struct collection_spec *spec, struct err *e)
{
    if (spec->n_fields > CATALOG_FIELDS_MAX)
        return err_set_field(e, ERR_TOO_MANY, "/filterable",
            "%zu filterable fields, at most %d are allowed", spec->n_fields, CATALOG_FIELDS_MAX);
    for (size_t i = 0; i < spec->n_fields; i++) {
        TRY(check_path(spec->fields[i].path, e));
        for (size_t j = 0; j < i; j++)
            if (str_eq(spec->fields[i].path, spec->fields[j].path))
                return err_set_field(e, ERR_INVALID, "/filterable", "field \"%.*s\" is named twice",
                    STR_ARG(spec->fields[i].path));
    }
    return ERR_OK;
}

static enum err_code check_range(
    const char *field, uint32_t value, unsigned min, unsigned max, struct err *e)
{
    if (value >= min && value <= max) return ERR_OK;
    return err_set_field(e, ERR_INVALID, field, "%s is %u, it must be %u to %u",
        strrchr(field, '/') + 1, value, min, max);
}

static enum err_code choose_model(struct engine *g, const struct collection_spec *spec,
    struct catalog_collection *row, struct err *e)
{
    if (spec->modality == MODALITY_VECTOR) {
        if (spec->dimensions < 1 || spec->dimensions > INDEX_DIM_MAX)
            return err_set_field(e, ERR_INVALID, "/dimensions",
                "dimensions is %zu, it must be 1 to %d", spec->dimensions, INDEX_DIM_MAX);
        row->serving.model_name = STR("");
        row->serving.dimensions = spec->dimensions;
        return ERR_OK;
    }
    if (spec->modality == MODALITY_IMAGE)
        return err_set_field(e, ERR_UNPROCESSABLE, "/modality", "there is no image model");
    const struct model *m = spec->model.n ? models_find(&g->models, spec->model) : g->default_model;
    if (!m) /* a learned model is no answer: it belongs to the collection that learned it */
        return models_missing(&g->models, "base model", spec->model, "/model", e);
    if (spec->metric != METRIC_COSINE)
        return err_set_field(
            e, ERR_INVALID, "/metric", "texts are compared by cosine, whatever their model");
    row->base_hash = str_from(m->weights_hash);
    row->serving.model_name = m->name;
    row->serving.model_version = m->version;
    row->serving.dimensions = m->info->dimensions;
    return ERR_OK;
}

static enum err_code fill_row(struct engine *g, const struct collection_spec *spec,
    struct catalog_collection *row, struct err *e)
{
    *row = (struct catalog_collection){
        .name = spec->name,
        .modality = spec->modality,
        .metric = spec->metric,
        .fields = spec->fields,
        .n_fields = spec->n_fields,
        .m = spec->m ? spec->m : (uint32_t)g->cfg->index_m,
        .ef_construction =
            spec->ef_construction ? spec->ef_construction : (uint32_t)g->cfg->index_ef_construction,
        .ef_search = spec->ef_search ? spec->ef_search : (uint32_t)g->cfg->index_ef_search,
        .bits = spec->bits ? spec->bits : CATALOG_BITS_DEFAULT,
    };
    TRY(check_name(spec->name, e));
    TRY(check_fields(spec, e));
    TRY(check_range("/index/m", row->m, INDEX_M_MIN, INDEX_M_MAX, e));
    TRY(check_range("/index/ef_construction", row->ef_construction, 8, 2000, e));
    TRY(check_range("/index/ef_search", row->ef_search, 1, INDEX_EF_MAX, e));
    if (row->bits != 24 && row->bits != 12)
        return err_set_field(
            e, ERR_INVALID, "/index/bits", "bits is %u, it must be 24 or 12", row->bits);
    TRY(choose_model(g, spec, row, e));
    if (registry_count(&g->registry) >= g->cfg->collections_max)
        return err_set(e, ERR_LIMIT, "there are %llu collections, the most that are allowed",
            (unsigned long long)g->cfg->collections_max);
    return ERR_OK;
}

/* The row comes first, since the collection in memory needs its ids; without memory for the rest the row is
 * taken back. */
enum err_code writer__create_collection(struct engine *g, const struct collection_spec *spec,
    struct collection **ret_col, struct err *e)
{
    struct catalog_collection row;
    AUTO_COLLECTION struct collection *col = NULL;
    TRY(fill_row(g, spec, &row, e));
    TRY(catalog_collection_create(g->catalog, &row, e));
    enum err_code code = collection_load(g, &row, false, &col, e);
    if (code == ERR_OK) code = registry_add(&g->registry, col, e);
    if (code != ERR_OK) {
        if (catalog_collection_delete(g->catalog, row.id, NULL) != ERR_OK)
            LOG(ERROR, "collection_left_over", F_INT("collection_id", row.id));
        return code;
    }
    LOG(INFO, "collection_created", F_STR("collection", col->row.name.p),
        F_UINT("dimensions", row.serving.dimensions), F_STR("model", col->base_model.p));
    *ret_col = steal_ptr(&col); /* the registry's */
    return ERR_OK;
}

/* ---- comparing ---- */

static bool same_fields(const struct catalog_collection *row, const struct collection_spec *spec)
{
    if (row->n_fields != spec->n_fields) return false;
    for (size_t i = 0; i < spec->n_fields; i++) {
        bool found = false;
        for (size_t j = 0; j < row->n_fields; j++)
            found |= str_eq(row->fields[j].path, spec->fields[i].path) &&
                row->fields[j].type == spec->fields[i].type;
        if (!found) return false;
    }
    return true;
}

static bool same_index(const struct catalog_collection *row, const struct collection_spec *spec)
{
    return (!spec->m || spec->m == row->m) &&
        (!spec->ef_construction || spec->ef_construction == row->ef_construction) &&
        (!spec->ef_search || spec->ef_search == row->ef_search) &&
        (!spec->bits || spec->bits == row->bits);
}

/* What it began with: a collection that has learned since is still one of its base model. */
static bool same_model(
    struct engine *g, const struct collection *col, const struct collection_spec *spec)
{
    if (spec->modality == MODALITY_VECTOR || col->row.modality == MODALITY_VECTOR)
        return spec->modality == col->row.modality;
    if (str_eq(spec->model, col->base_model)) return true;
    const struct model *m = models_find(&g->models, spec->model);
    return m && str_eq(m->name, col->base_model);
}

/* What was given must agree with what is there. */
static enum err_code compare(
    struct engine *g, struct collection *col, const struct collection_spec *spec, struct err *e)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    const struct catalog_collection *row = &col->row;
    const char *differs = NULL;
    if (spec->has_modality && spec->modality != row->modality)
        differs = "/modality";
    else if (spec->has_model && !same_model(g, col, spec))
        differs = "/model";
    else if (spec->has_dimensions && spec->dimensions != gen->row.dimensions)
        differs = "/dimensions";
    else if (spec->has_metric && spec->metric != row->metric)
        differs = "/metric";
    else if (spec->has_fields && !same_fields(row, spec))
        differs = "/filterable";
    else if (spec->has_index && !same_index(row, spec))
        differs = "/index";
    if (!differs) return ERR_OK;
    return err_set_field(e, ERR_CONFLICT, differs, "collection \"%.*s\" is there with another %s",
        STR_ARG(row->name), differs + 1);
}

/* ---- the operation ---- */

struct collection_state {
    struct op_state base;
    struct collection_op *op;
    struct write_task task;
};

static enum err_code put_collection(struct engine *g, struct collection_op *op, struct err *e)
{
    AUTO_COLLECTION struct collection *col = registry_find(&g->registry, op->spec.name);
    op->created = !col;
    if (col) {
        TRY(compare(g, col, &op->spec, e));
    } else {
        TRY(writer__create_collection(g, &op->spec, &col, e));
        collection_ref(col); /* ours, beside the registry's */
    }
    return collection_describe(col, op->op.arena, &op->info, e);
}

/* Nobody will come for these any more but those who hold them already. */
static void abandon(struct collection *col)
{
    AUTO_GENERATION struct generation *previous = NULL;
    AUTO_LOCK(&col->lock);
    atomic_store(&col->generation->abandoned, true);
    if (col->previous) atomic_store(&col->previous->abandoned, true);
    if (col->building) atomic_store(&col->building->abandoned, true);
    previous = col->previous;
    col->previous = NULL;
}

/* Out of sight first, then off the disk. Operations under way keep their references; those that come to the
 * writer afterwards find `deleted`. */
static enum err_code delete_collection(struct engine *g, struct collection_op *op, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    struct err why = ERR_INIT;
    TRY(registry_get(&g->registry, op->spec.name, &col, e));
    TRY(collection_describe(col, op->op.arena, &op->info, e));
    registry_remove(&g->registry, col);
    enum err_code code = catalog_collection_delete(g->catalog, col->row.id, &why);
    if (code != ERR_OK) {
        registry_put_back(&g->registry, col);
        if (e) *e = why;
        return code;
    }
    col->deleted = true;
    abandon(col);
    learned_drop(g, col->row.id, 0);
    runs_collection_deleted(g, col->row.id);
    g->writer.purge_due = true; /* its rows follow, slice by slice */
    maintenance_sweep(&g->maintenance);
    LOG(INFO, "collection_deleted", F_STR("collection", col->row.name.p));
    return ERR_OK;
}

static void run_alone(struct write_task *t)
{
    struct collection_state *s = container_of(t, struct collection_state, task);
    struct engine *g = s->op->op.engine;
    struct err e = ERR_INIT;
    enum err_code code = engine__check_deadline(&s->op->op, &e);
    if (code == ERR_OK)
        code = s->op->action == COLLECTION_PUT ? put_collection(g, s->op, &e)
                                               : delete_collection(g, s->op, &e);
    engine__finish(&s->op->op, code == ERR_OK ? NULL : &e);
}

/* On a search thread: its model may have come in since the start, and the writer should not wait for it. */
static void submit_late(struct engine_op *op)
{
    struct collection_state *s = op->state;
    models_refresh(&op->engine->models, true);
    engine__wait_begins(op);
    writer_push(&op->engine->writer, LANE_INTERACTIVE, &s->task);
}

static bool names_unknown_model(struct engine *g, const struct collection_op *op)
{
    return op->action == COLLECTION_PUT && op->spec.model.n &&
        op->spec.modality != MODALITY_VECTOR && !models_find(&g->models, op->spec.model);
}

enum err_code engine_collection_submit(struct engine *g, struct collection_op *op, struct err *e)
{
    TRY(engine__accept(g, &op->op, sizeof(struct collection_state), e));
    struct collection_state *s = op->op.state;
    s->op = op;
    s->task = (struct write_task){ .op = &op->op, .items = 1, .alone = run_alone };
    enum err_code code = engine__take_write(g, &s->base, 1, e);
    bool late = code == ERR_OK && names_unknown_model(g, op);
    if (late) code = engine__take_search(g, &s->base, 1, e);
    if (code != ERR_OK) return engine__reject(&op->op, code);
    if (late)
        pool_push(&g->pool, LANE_INTERACTIVE, &op->op, submit_late);
    else
        writer_push(&g->writer, LANE_INTERACTIVE, &s->task);
    return ERR_OK;
}

/* ---- reading ---- */

enum err_code engine_collections(struct engine *g, struct arena *a,
    struct collection_info **ret_rows, size_t *ret_n, struct err *e)
{
    enum err_code code = ERR_OK;
    rwlock_rdlock(&g->registry.lock);
    size_t n = g->registry.n;
    struct collection_info *rows = arena_alloc(a, n, sizeof *rows);
    if (!rows) code = err_set(e, ERR_NOMEM, "out of memory for the list of collections");
    for (size_t i = 0; i < n && code == ERR_OK; i++)
        code = collection_describe(g->registry.rows[i], a, &rows[i], e);
    rwlock_unlock(&g->registry.lock);
    if (code != ERR_OK) return code;
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err_code engine_collection_get(
    struct engine *g, struct str name, struct arena *a, struct collection_info *ret, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    TRY(registry_get(&g->registry, name, &col, e));
    return collection_describe(col, a, ret, e);
}
