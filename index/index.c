/* Life of an index, puts and deletes: all that goes through the id map.
 *
 * A put does its work under ids_lock in one piece: node, vector, publication,
 * map, tombstone of the old node. So nodes are published in the order of their
 * numbers, and the newest node of an id is the one with the highest number,
 * which searches rely on. What is held that long is a copy of one row.
 */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"

static enum err_code check_options(const struct index_options *o, struct err *e)
{
    if (o->dim < 1 || o->dim > INDEX_DIM_MAX)
        return err_set_field(e, ERR_INVALID, "/dim", "dim must be between 1 and %d", INDEX_DIM_MAX);
    if (o->metric != INDEX_COSINE && o->metric != INDEX_DOT && o->metric != INDEX_L2)
        return err_set_field(e, ERR_INVALID, "/metric", "unknown metric");
    if (o->m < INDEX_M_MIN || o->m > INDEX_M_MAX)
        return err_set_field(
            e, ERR_INVALID, "/m", "m must be between %d and %d", INDEX_M_MIN, INDEX_M_MAX);
    if (o->ef_construction < 8 || o->ef_construction > 2000)
        return err_set_field(
            e, ERR_INVALID, "/ef_construction", "ef_construction must be between 8 and 2000");
    if (o->ef_search < 1 || o->ef_search > INDEX_EF_MAX)
        return err_set_field(
            e, ERR_INVALID, "/ef_search", "ef_search must be between 1 and %d", INDEX_EF_MAX);
    return ERR_OK;
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/** Offsets within a block; see index_internal.h. */
static void lay_out(struct index *ix)
{
    enum { BLOCK_BYTES_MAX = 16 << 20, SHIFT_MAX = 12 };
    ix->row_floats = round_up(ix->o.dim, 16);
    ix->m0 = 2 * ix->o.m;
    size_t node_bytes = (ix->row_floats + ix->m0) * 4 + sizeof(struct node_meta) + sizeof(void *);
    ix->block_shift = SHIFT_MAX;
    while (node_bytes << ix->block_shift > BLOCK_BYTES_MAX)
        ix->block_shift--;

    size_t nodes = (size_t)1 << ix->block_shift;
    ix->block_mask = (uint32_t)nodes - 1;
    ix->links_offset = nodes * ix->row_floats * sizeof(float);
    ix->meta_offset = round_up(ix->links_offset + nodes * ix->m0 * sizeof(uint32_t), 64);
    ix->upper_offset = ix->meta_offset + nodes * sizeof(struct node_meta);
    ix->block_bytes = ix->upper_offset + nodes * sizeof(void *);
}

enum err_code index_new(const struct index_options *o, struct index **ret_ix, struct err *e)
{
    TRY(check_options(o, e));
    struct index *ix = mem_alloc_aligned(64, 1, sizeof *ix);
    if (!ix) return err_set(e, ERR_NOMEM, "out of memory for the index");
    memset(ix, 0, sizeof *ix);
    ix->o = *o;
    if (!ix->o.kernels) ix->o.kernels = vec_select(VEC_BEST);
    ix->link_metrics[ix->n_link_metrics++] = INDEX_L2;
    if (o->metric == INDEX_DOT) ix->link_metrics[ix->n_link_metrics++] = INDEX_DOT;
    lay_out(ix);
    ix->level_scale = 1.0 / log((double)o->m);
    atomic_init(&ix->entry, ENTRY_NONE);
    rwlock_init(&ix->ids_lock, RANK_INDEX);
    mutex_init(&ix->entry_lock, RANK_INDEX_ENTRY);
    for (size_t i = 0; i < NODE_LOCKS; i++)
        mutex_init(&ix->node_locks[i], RANK_INDEX_NODE);
    u64_map_init(&ix->ids);
    *ret_ix = ix;
    return ERR_OK;
}

void index_free(struct index *ix)
{
    if (!ix) return;
    store__free(ix);
    u64_map_done(&ix->ids);
    for (size_t i = 0; i < NODE_LOCKS; i++)
        mutex_done(&ix->node_locks[i]);
    mutex_done(&ix->entry_lock);
    rwlock_done(&ix->ids_lock);
    mem_free(ix);
}

const struct index_options *index_options(const struct index *ix)
{
    return &ix->o;
}

/** The rest of a put, under ids_lock. */
static enum err_code put_locked(
    struct index *ix, uint64_t id, const float *vector, double scale, struct err *e)
{
    uint32_t node, old = NODE_NONE;
    if (u64_map_reserve(&ix->ids, ix->ids.n + 1) != ERR_OK)
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    TRY(store__allot(ix, &node, e));
    store__write_row(ix, index__row(ix, node), vector, scale);
    if (u64_map_get(&ix->ids, id, &old)) {
        size_t bytes = ix->o.dim * sizeof *vector;
        if (memcmp(index__row(ix, node), index__row(ix, old), bytes) == 0) return ERR_OK;
    }
    TRY(u64_map_set(&ix->ids, id, node)); /* cannot fail: room was reserved */

    struct node_meta *m = index__meta(ix, node);
    m->id = id;
    atomic_store_explicit(&m->state, NODE_USED, memory_order_release);
    atomic_fetch_add(&ix->live, 1);
    atomic_fetch_add(&ix->pending, 1);
    atomic_store(&ix->n_nodes, node + 1);
    if (old != NODE_NONE) store__tombstone(ix, old);
    return ERR_OK;
}

enum err_code index_put(struct index *ix, uint64_t id, const float *vector, struct err *e)
{
    double scale;
    TRY(store__check(ix, vector, &scale, e));
    rwlock_wrlock(&ix->ids_lock);
    enum err_code code = put_locked(ix, id, vector, scale, e);
    rwlock_unlock(&ix->ids_lock);
    if (code == ERR_OK) store__advance_watermark(ix);
    return code;
}

bool index_delete(struct index *ix, uint64_t id)
{
    uint32_t node;
    rwlock_wrlock(&ix->ids_lock);
    bool found = u64_map_get(&ix->ids, id, &node);
    if (found) {
        u64_map_remove(&ix->ids, id);
        store__tombstone(ix, node);
    }
    rwlock_unlock(&ix->ids_lock);
    if (found) store__advance_watermark(ix);
    return found;
}

/** The live node of an id. */
static bool find_node(const struct index *ix, uint64_t id, uint32_t *ret_node)
{
    struct rwlock *lock = (struct rwlock *)&ix->ids_lock; /* a lock is not part of the value */
    rwlock_rdlock(lock);
    bool found = u64_map_get(&ix->ids, id, ret_node);
    rwlock_unlock(lock);
    return found;
}

bool index_contains(const struct index *ix, uint64_t id)
{
    uint32_t node;
    return find_node(ix, id, &node);
}

enum err_code index_get(const struct index *ix, uint64_t id, float *ret_vector, struct err *e)
{
    uint32_t node;
    if (!find_node(ix, id, &node))
        return err_set(
            e, ERR_NOT_FOUND, "the index has no vector with id %llu", (unsigned long long)id);
    memcpy(ret_vector, index__row(ix, node), ix->o.dim * sizeof *ret_vector);
    return ERR_OK;
}

void index_stats(const struct index *ix, struct index_stats *ret)
{
    struct rwlock *lock = (struct rwlock *)&ix->ids_lock;
    rwlock_rdlock(lock);
    const struct store_dir *d = atomic_load(&ix->dir);
    uint64_t entry = atomic_load(&ix->entry);
    size_t bytes = sizeof *ix + ix->n_blocks * ix->block_bytes + atomic_load(&ix->upper_bytes);
    for (; d; d = d->older)
        bytes += sizeof *d + d->cap * sizeof d->blocks[0];
    bytes += ix->ids.cap * (sizeof *ix->ids.keys + sizeof *ix->ids.values + sizeof *ix->ids.used);
    ret->live = ix->ids.n;
    ret->deleted = atomic_load(&ix->n_nodes) - ix->ids.n;
    ret->pending = atomic_load(&ix->pending);
    ret->size_bytes = bytes;
    ret->dim = ix->o.dim;
    ret->max_level = entry == ENTRY_NONE ? 0 : (size_t)(entry >> 32);
    rwlock_unlock(lock);
}
