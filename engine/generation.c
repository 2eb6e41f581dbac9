/* Generations: counting references, and from the disk into memory.
 *
 * A generation's index comes from its snapshot where there is one that this catalog can be relied on to continue, and
 * then the changes behind it are read from the catalog; else from the catalog's vectors alone, which then wait to be
 * linked. Either way it holds exactly what the catalog holds when it is done: the number of vectors is compared, and
 * an index that has another number is thrown away and made from the catalog.
 */
#include "engine/collection.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/replay.h"
#include "engine/snapshots.h"

/* ---- references ---- */

void generation_ref(struct generation *gen)
{
    atomic_fetch_add_explicit(&gen->refs, 1, memory_order_relaxed);
}

void generation_unref(struct generation *gen)
{
    if (!gen || atomic_fetch_sub_explicit(&gen->refs, 1, memory_order_acq_rel) != 1) return;
    index_free(gen->index);
    model_unref(gen->model);
    mem_free(gen->upkeep.queries);
    mem_free(gen->model_name);
    mem_free(gen);
}

/* ---- a new one ---- */

static const enum metric_kind index_metric[] = {
    [METRIC_COSINE] = INDEX_COSINE,
    [METRIC_DOT] = INDEX_DOT,
    [METRIC_L2] = INDEX_L2,
};

static struct index_options options_of(const struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row)
{
    return (struct index_options){
        .dim = row->dimensions,
        .metric = index_metric[col->metric],
        .m = col->m,
        .ef_construction = col->ef_construction,
        .ef_search = col->ef_search,
        .bits = col->bits,
        .seed = (uint64_t)col->id,
        .kernels = g->kernels,
    };
}

/* All but the index. */
static enum err_code without_index(const struct catalog_generation *row, struct model *model,
    struct generation **ret_gen, struct err *e)
{
    AUTO_GENERATION struct generation *gen = mem_zalloc(1, sizeof *gen);
    if (!gen) return err_set(e, ERR_NOMEM, "out of memory for a collection");
    atomic_init(&gen->refs, 1);
    atomic_init(&gen->link_share, 1);
    gen->row = *row;
    gen->seq = row->seq;
    gen->upkeep.saved_ns = time_mono_ns();
    gen->model_name = mem_strndup(row->model_name.p ? row->model_name.p : "", row->model_name.n);
    if (!gen->model_name) return err_set(e, ERR_NOMEM, "out of memory for a collection");
    gen->row.model_name.p = gen->model_name;
    if (model) model_ref(model);
    gen->model = model;
    *ret_gen = steal_ptr(&gen);
    return ERR_OK;
}

enum err_code generation_new(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, struct model *model, struct generation **ret_gen,
    struct err *e)
{
    AUTO_GENERATION struct generation *gen = NULL;
    const struct index_options o = options_of(g, col, row);
    TRY(without_index(row, model, &gen, e));
    TRY(index_new(&o, &gen->index, e));
    *ret_gen = steal_ptr(&gen);
    return ERR_OK;
}

/* ---- one that is stored ---- */

static enum err_code load_vector(void *arg, uint32_t slot, const float *vector, struct err *e)
{
    return index_put(arg, slot, vector, e);
}

static enum err_code from_catalog(
    struct engine *g, const struct index_options *o, struct generation *gen, struct err *e)
{
    struct index_stats stats;
    index_free(gen->index);
    gen->index = NULL;
    TRY(index_new(o, &gen->index, e));
    TRY(catalog_vectors_scan(g->catalog, &gen->row, load_vector, gen->index, e));
    index_stats(gen->index, &stats);
    atomic_store(&gen->unsaved, stats.live);
    return ERR_OK;
}

/* As many as there are? The items' number is known; vectors have to be counted, which takes reading them, where
 * some items have none, or this is not what serves. */
static enum err_code count_matches(struct engine *g, const struct catalog_collection *col,
    struct generation *gen, bool *ret, struct err *e)
{
    struct index_stats stats;
    size_t want;
    index_stats(gen->index, &stats);
    TRY(catalog_items_count(g->catalog, col, &want, e));
    if (gen->row.state != GENERATION_SERVING || want != stats.live)
        TRY(catalog_vectors_count(g->catalog, &gen->row, &want, e));
    *ret = want == stats.live;
    if (!*ret)
        LOG(WARN, "snapshot_unusable", F_STR("collection", col->name.p),
            F_INT("generation", gen->row.id), F_STR("error", "it has another number of vectors"),
            F_UINT("vectors", stats.live), F_UINT("expected", want));
    return ERR_OK;
}

/* *ret: it is there, with all changes. */
static enum err_code from_snapshot(struct engine *g, const struct catalog_collection *col,
    const struct index_options *o, struct generation *gen, bool *ret, struct err *e)
{
    int64_t seq, began = time_mono_ns();
    size_t changes;
    *ret = false;
    if (!snapshot_load(g, col, &gen->row, o, &gen->index, &seq)) return ERR_OK;
    int64_t loaded = time_mono_ns();
    TRY(replay_changes(g->catalog, col, gen, seq, &changes, e));
    TRY(count_matches(g, col, gen, ret, e));
    if (!*ret) return ERR_OK;
    struct index_stats stats;
    index_stats(gen->index, &stats);
    atomic_store(&gen->unsaved, changes);
    LOG(INFO, "snapshot_loaded", F_STR("collection", col->name.p), F_INT("generation", gen->row.id),
        F_UINT("vectors", stats.live), F_UINT("pending", stats.pending),
        F_UINT("changes_replayed", changes),
        F_NUM("load_ms", (double)(loaded - began) / (double)NS_PER_MS),
        F_NUM("replay_ms", (double)(time_mono_ns() - loaded) / (double)NS_PER_MS));
    return ERR_OK;
}

enum err_code generation_open(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, struct model *model, struct generation **ret_gen,
    struct err *e)
{
    AUTO_GENERATION struct generation *gen = NULL;
    const struct index_options o = options_of(g, col, row);
    struct index_stats stats;
    bool whole;
    TRY(without_index(row, model, &gen, e));
    TRY(from_snapshot(g, col, &o, gen, &whole, e));
    if (!whole) TRY(from_catalog(g, &o, gen, e));
    index_stats(gen->index, &stats);
    gen->backlog = stats.pending;
    gen->upkeep.live = stats.live;
    *ret_gen = steal_ptr(&gen);
    return ERR_OK;
}
