/* Collections in memory: loading, counting references, describing.
 *
 * A collection enters the registry whole: it is loaded first and added last, so no reader sees half of it.
 * Vectors that no snapshot of the index has (generation.c) are put into it without being linked; they are found by exact
 * scan until the link threads have come by. That is what lets a server with a large catalog answer seconds after its start.
 */
#include "engine/collection.h"

#include "base/log.h"
#include "base/mem.h"
#include "catalog/learning.h"
#include "engine/engine_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- references ---- */

void columns_unref(struct columns *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    fields_free(c->fields);
    mem_free(c);
}

void collection_ref(struct collection *col)
{
    atomic_fetch_add_explicit(&col->refs, 1, memory_order_relaxed);
}

void collection_unref(struct collection *col)
{
    if (!col || atomic_fetch_sub_explicit(&col->refs, 1, memory_order_acq_rel) != 1) return;
    generation_unref(col->generation);
    generation_unref(col->previous);
    generation_unref(col->building);
    columns_unref(col->columns);
    mutex_done(&col->lock);
    arena_free(col->arena);
    mem_free(col);
}

struct generation *collection_generation(struct collection *col)
{
    AUTO_LOCK(&col->lock);
    generation_ref(col->generation);
    return col->generation;
}

struct columns *collection_columns(struct collection *col)
{
    AUTO_LOCK(&col->lock);
    atomic_fetch_add_explicit(&col->columns->refs, 1, memory_order_relaxed);
    return col->columns;
}

/* ---- loading ---- */

static bool copy_str(struct arena *a, struct str *s)
{
    char *p = arena_strndup(a, s->p ? s->p : "", s->n);
    if (!p) return false;
    s->p = p;
    return true;
}

static enum err_code copy_row(
    struct arena *a, const struct catalog_collection *from, struct catalog_collection *to)
{
    *to = *from;
    struct catalog_field *fields = arena_alloc(a, from->n_fields, sizeof *fields);
    if (!fields || !copy_str(a, &to->name) || !copy_str(a, &to->base_hash)) return ERR_NOMEM;
    for (size_t i = 0; i < from->n_fields; i++) {
        fields[i] = from->fields[i];
        if (!copy_str(a, &fields[i].path)) return ERR_NOMEM;
    }
    to->fields = fields;
    to->serving = (struct catalog_generation){ 0 };
    return ERR_OK;
}

/* The model of a stored generation; NULL: own vectors, or it is not there. */
static struct model *model_of(
    const struct catalog_collection *col, const struct catalog_generation *row, struct models *m)
{
    if (col->modality == MODALITY_VECTOR) return NULL;
    struct model *found = models_take_learned(m, col->id, row->model_version);
    if (!found && row->model_version == 1 && (found = models_find(m, row->model_name)) != NULL)
        model_ref(found);
    if (found && row->model_version == 1 && !model_is_same(found, col->base_hash)) {
        LOG(ERROR, "base_model_changed", F_STR("collection", col->name.p),
            F_STR("model", row->model_name.p), F_STR("weights", found->weights_hash));
        model_unref(found);
        found = NULL;
    }
    if (found && found->info->dimensions != row->dimensions) {
        model_unref(found);
        found = NULL;
    }
    if (!found)
        LOG(WARN, "collection_without_model", F_STR("collection", col->name.p),
            F_STR("model", row->model_name.p), F_INT("version", row->model_version),
            F_UINT("dimensions", row->dimensions));
    return found;
}

/* "words/text-small" of collection "words" without what stands before the slash. */
static struct str base_of(const struct catalog_collection *col)
{
    struct str name = col->serving.model_name;
    size_t n = col->name.n;
    if (col->serving.model_version > 1 && name.n > n + 1 && name.p[n] == '/' &&
        memcmp(name.p, col->name.p, n) == 0)
        return (struct str){ name.p + n + 1, name.n - n - 1 };
    return name;
}

static enum err_code columns_new(
    const struct catalog_collection *row, struct columns **ret_c, struct err *e)
{
    struct columns *c = mem_zalloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "out of memory for filter columns");
    atomic_init(&c->refs, 1);
    enum err_code code = fields_new(row->fields, row->n_fields, &c->fields, e);
    if (code == ERR_OK)
        *ret_c = c;
    else
        columns_unref(c);
    return code;
}

static enum err_code load_value(
    void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    return fields_load(arg, slot, v, e);
}
static enum err_code load_slot(void *arg, uint32_t slot, struct err *e)
{
    (void)e;
    fields_load_slot(arg, slot);
    return ERR_OK;
}

static enum err_code load_columns(
    struct catalog *c, const struct catalog_collection *row, struct fields *f, struct err *e)
{
    TRY(catalog_slots_scan(c, row, load_slot, f, e));
    if (row->n_fields) TRY(catalog_fields_scan(c, row, load_value, f, e));
    return fields_load_end(f, e);
}

/* The filter columns, on a thread of their own while the index is loaded: both take their time where there are millions
 * of items. */
struct columns_load {
    struct thread thread;
    struct catalog *catalog;
    const struct collection *col;
    struct err err;
};

static void load_columns_main(void *arg)
{
    struct columns_load *l = arg;
    if (load_columns(l->catalog, &l->col->row, l->col->columns->fields, &l->err) == ERR_OK)
        l->err = ERR_INIT;
}

static enum err_code load_stored(struct engine *g, const struct catalog_collection *row,
    struct model *model, struct collection *col, struct err *e)
{
    struct columns_load l = { .catalog = g->catalog, .col = col, .err = ERR_INIT };
    int64_t last;
    TRY(catalog_last_change(g->catalog, &col->row, &last, e));
    atomic_store(&col->published, last);
    bool apart = thread_start(&l.thread, "columns", load_columns_main, &l, NULL) == ERR_OK;
    enum err_code code = generation_open(g, &col->row, &row->serving, model, &col->generation, e);
    if (apart)
        thread_join(&l.thread);
    else if (code == ERR_OK)
        load_columns_main(&l);
    if (code == ERR_OK && l.err.code != ERR_OK) {
        if (e) *e = l.err;
        return l.err.code;
    }
    return code;
}

enum err_code collection_load(struct engine *g, const struct catalog_collection *row, bool stored,
    struct collection **ret_col, struct err *e)
{
    AUTO_COLLECTION struct collection *col = mem_zalloc(1, sizeof *col);
    if (!col) return err_set(e, ERR_NOMEM, "out of memory for a collection");
    atomic_init(&col->refs, 1);
    mutex_init(&col->lock, RANK_COLLECTION);
    col->arena = arena_new(1024, 0);
    col->base_model = base_of(row);
    if (!col->arena || copy_row(col->arena, row, &col->row) != ERR_OK ||
        !copy_str(col->arena, &col->base_model))
        return err_set(e, ERR_NOMEM, "out of memory for a collection");
    AUTO_MODEL struct model *model = model_of(&col->row, &row->serving, &g->models);
    TRY(columns_new(&col->row, &col->columns, e));
    if (stored)
        TRY(load_stored(g, row, model, col, e));
    else
        TRY(generation_new(g, &col->row, &row->serving, model, &col->generation, e));
    *ret_col = steal_ptr(&col);
    return ERR_OK;
}

enum err_code collection_rebuild_columns(struct collection *col, struct catalog *c, struct err *e)
{
    AUTO_COLUMNS struct columns *fresh = NULL;
    TRY(columns_new(&col->row, &fresh, e));
    TRY(load_columns(c, &col->row, fresh->fields, e));
    AUTO_LOCK(&col->lock);
    struct columns *old = col->columns;
    col->columns = fresh;
    fresh = old; /* dropped at the end of the scope */
    return ERR_OK;
}

/* ---- what it is ---- */

/* Memory of the indexes that do not serve. */
static size_t other_bytes(struct collection *col)
{
    AUTO_GENERATION struct generation *previous = NULL, *building = NULL;
    size_t bytes = 0;
    mutex_lock(&col->lock);
    if ((previous = col->previous) != NULL) generation_ref(previous);
    if ((building = col->building) != NULL) generation_ref(building);
    mutex_unlock(&col->lock);
    struct index_stats stats;
    if (previous) {
        index_stats(previous->index, &stats);
        bytes += stats.size_bytes;
    }
    if (building && building != previous) {
        index_stats(building->index, &stats);
        bytes += stats.size_bytes;
    }
    return bytes;
}

void collection_index_stats(struct collection *col, struct index_stats *ret)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    index_stats(gen->index, ret);
    ret->size_bytes += other_bytes(col);
}

enum err_code collection_describe(
    struct collection *col, struct arena *a, struct collection_info *ret, struct err *e)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    AUTO_COLUMNS struct columns *columns = collection_columns(col);
    struct catalog_collection row;
    struct str model = gen->row.model_name;
    struct index_stats stats;
    if (copy_row(a, &col->row, &row) != ERR_OK || !copy_str(a, &model))
        return err_set(e, ERR_NOMEM, "out of memory for a collection's description");
    index_stats(gen->index, &stats);
    *ret = (struct collection_info){
        .name = row.name,
        .id = row.id,
        .modality = row.modality,
        .metric = row.metric,
        .model = { model, gen->row.model_version },
        .dimensions = gen->row.dimensions,
        .items = stats.live,
        .fields = row.fields,
        .n_fields = row.n_fields,
        .m = row.m,
        .ef_construction = row.ef_construction,
        .ef_search = row.ef_search,
        .token_cost = gen->model ? encode_token_cost(gen->model) : 1,
        .bits = row.bits,
        .index = { .pending = stats.pending,
            .deleted = stats.deleted,
            .vacant = stats.vacant,
            .size_bytes = stats.size_bytes,
            .repairs = stats.repairs,
            .recall = atomic_load(&gen->recall.n) ? atomic_load(&gen->recall.mean) : NAN },
        .size_bytes = stats.size_bytes + other_bytes(col) + fields_size_bytes(columns->fields),
        .created_ms = row.created_ms,
    };
    index_curve(gen->index, &ret->index.curve);
    return ERR_OK;
}

enum err_code collection_vector_check(const struct collection *col, const struct generation *gen,
    const float *vector, size_t n, struct err *e)
{
    if (n != gen->row.dimensions)
        return err_set_field(e, ERR_INVALID, "/vector",
            "the vector has %zu values, collection \"%.*s\" needs %zu", n, STR_ARG(col->row.name),
            gen->row.dimensions);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)vector[i] * (double)vector[i];
    if (!isfinite(sum))
        return err_set_field(
            e, ERR_INVALID, "/vector", "the vector holds a value that is not a finite number");
    if (col->row.metric == METRIC_COSINE) {
        if (sum <= 0)
            return err_set_field(
                e, ERR_INVALID, "/vector", "a vector of zeros has no direction to compare");
    } else if (sum > (double)FLT_MAX / 16) { /* squared sums of two such stay within a float */
        return err_set_field(
            e, ERR_INVALID, "/vector", "the vector is too long for single precision");
    }
    return ERR_OK;
}
