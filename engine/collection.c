/* Collections in memory: loading, counting references, describing.
 *
 * A collection enters the registry whole: it is loaded first and added last, so no reader sees half of it.
 * Loading puts the vectors into the index without linking them; they are found by exact scan until the link
 * threads have come by. That is what lets a server with a large catalog answer seconds after its start.
 */
#include "engine/collection.h"

#include "base/log.h"
#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- references ---- */

void generation_ref(struct generation *gen)
{
    atomic_fetch_add_explicit(&gen->refs, 1, memory_order_relaxed);
}

void generation_unref(struct generation *gen)
{
    if (!gen || atomic_fetch_sub_explicit(&gen->refs, 1, memory_order_acq_rel) != 1) return;
    index_free(gen->index);
    mem_free(gen);
}

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
    if (!fields || !copy_str(a, &to->name) || !copy_str(a, &to->serving.model_name))
        return ERR_NOMEM;
    for (size_t i = 0; i < from->n_fields; i++) {
        fields[i] = from->fields[i];
        if (!copy_str(a, &fields[i].path)) return ERR_NOMEM;
    }
    to->fields = fields;
    return ERR_OK;
}

static const enum metric_kind index_metric[] = {
    [METRIC_COSINE] = INDEX_COSINE,
    [METRIC_DOT] = INDEX_DOT,
    [METRIC_L2] = INDEX_L2,
};

static enum err_code generation_new(const struct catalog_collection *row,
    const struct models *models, const struct vec_kernels *k, struct generation **ret_gen,
    struct err *e)
{
    struct generation *gen = mem_zalloc(1, sizeof *gen);
    if (!gen) return err_set(e, ERR_NOMEM, "out of memory for a collection");
    atomic_init(&gen->refs, 1);
    gen->version = row->serving.model_version;
    if (row->modality != MODALITY_VECTOR) {
        gen->model = models_find(models, row->serving.model_name);
        if (gen->model && gen->model->info->dimensions != row->serving.dimensions)
            gen->model = NULL;
        if (!gen->model)
            LOG(WARN, "collection_without_model", F_STR("model", row->serving.model_name.p),
                F_UINT("dimensions", row->serving.dimensions));
    }
    const struct index_options o = {
        .dim = row->serving.dimensions,
        .metric = index_metric[row->metric],
        .m = row->m,
        .ef_construction = row->ef_construction,
        .ef_search = row->ef_search,
        .seed = (uint64_t)row->id,
        .kernels = k,
    };
    enum err_code code = index_new(&o, &gen->index, e);
    if (code == ERR_OK)
        *ret_gen = gen;
    else
        generation_unref(gen);
    return code;
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

static enum err_code load_vector(void *arg, uint32_t slot, const float *vector, struct err *e)
{
    return index_put(arg, slot, vector, e);
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
    return row->n_fields ? catalog_fields_scan(c, row, load_value, f, e) : ERR_OK;
}

enum err_code collection_load(const struct catalog_collection *row, const struct models *models,
    const struct vec_kernels *k, struct catalog *c, struct collection **ret_col, struct err *e)
{
    AUTO_COLLECTION struct collection *col = mem_zalloc(1, sizeof *col);
    if (!col) return err_set(e, ERR_NOMEM, "out of memory for a collection");
    atomic_init(&col->refs, 1);
    mutex_init(&col->lock, RANK_COLLECTION);
    col->arena = arena_new(1024, 0);
    if (!col->arena || copy_row(col->arena, row, &col->row) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a collection");
    TRY(generation_new(&col->row, models, k, &col->generation, e));
    TRY(columns_new(&col->row, &col->columns, e));
    if (c) {
        TRY(catalog_vectors_scan(c, &col->row.serving, load_vector, col->generation->index, e));
        TRY(load_columns(c, &col->row, col->columns->fields, e));
        struct index_stats stats;
        index_stats(col->generation->index, &stats);
        col->generation->backlog = stats.pending;
    }
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

enum err_code collection_describe(
    struct collection *col, struct arena *a, struct collection_info *ret, struct err *e)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    AUTO_COLUMNS struct columns *columns = collection_columns(col);
    struct catalog_collection row;
    struct index_stats stats;
    if (copy_row(a, &col->row, &row) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for a collection's description");
    index_stats(gen->index, &stats);
    *ret = (struct collection_info){
        .name = row.name,
        .id = row.id,
        .modality = row.modality,
        .metric = row.metric,
        .model = { row.serving.model_name, gen->version },
        .dimensions = row.serving.dimensions,
        .items = stats.live,
        .fields = row.fields,
        .n_fields = row.n_fields,
        .m = row.m,
        .ef_construction = row.ef_construction,
        .ef_search = row.ef_search,
        .pending = stats.pending,
        .size_bytes = stats.size_bytes + fields_size_bytes(columns->fields),
        .created_ms = row.created_ms,
    };
    return ERR_OK;
}

enum err_code collection_vector_check(
    const struct collection *col, const float *vector, size_t n, struct err *e)
{
    if (n != col->row.serving.dimensions)
        return err_set_field(e, ERR_INVALID, "/vector",
            "the vector has %zu values, collection \"%.*s\" needs %zu", n, STR_ARG(col->row.name),
            col->row.serving.dimensions);
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
