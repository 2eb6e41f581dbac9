/* Life of an index, puts and deletes: all that goes through the id map.
 *
 * A put takes a place under ids_lock, writes the row without it, which is most of the work, and publishes under
 * ids_lock in one piece: state, map, place in the tail, tombstone of the old node. The old node is turned down only after
 * the new one was published, which searches rely on.
 */
#include "index/index_internal.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"

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
    if (o->bits != 0 && o->bits != 24 && o->bits != 12)
        return err_set_field(e, ERR_INVALID, "/bits", "bits must be 24 or 12");
    return ERR_OK;
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

struct block_shape index__shape(const struct index *ix, size_t nodes)
{
    struct block_shape b;
    b.low = round_up(nodes * ix->row_bytes, 64);
    b.links = round_up(b.low + nodes * ix->low_bytes, 64);
    b.meta = round_up(b.links + nodes * ix->m0 * sizeof(uint32_t), 64);
    b.state = round_up(b.meta + nodes * sizeof(struct node_meta), 64);
    b.bytes = round_up(b.state + nodes * sizeof(uint16_t), 64);
    return b;
}

/** Sizes of a node's parts, and how many nodes make a block. */
static void lay_out(struct index *ix)
{
    enum { BLOCK_BYTES_MAX = 16 << 20, SHIFT_MAX = 13 };
    size_t dim = ix->o.dim;
    ix->value_unit = ix->o.bits == 24 ? 65536.0f : 16.0f;
    ix->row_bytes = round_up(sizeof(struct row_head) + dim, 16);
    ix->by_value = dim < DIM_BY_VALUE;
    ix->low_bytes = round_up(ix->by_value ? 4 * dim
            : ix->o.bits == 24            ? 2 * dim
                                          : (dim + 1) / 2,
        16);
    ix->m0 = 2 * ix->o.m;
    size_t node_bytes = ix->row_bytes + ix->low_bytes + ix->m0 * 4 + sizeof(struct node_meta) + 2;
    ix->block_shift = SHIFT_MAX;
    while (node_bytes << ix->block_shift > BLOCK_BYTES_MAX)
        ix->block_shift--;

    size_t nodes = (size_t)1 << ix->block_shift;
    ix->block_mask = (uint32_t)nodes - 1;
    ix->shape = index__shape(ix, nodes);
    ix->shape.bytes = round_up(ix->shape.bytes, 4096);
}

size_t index_bytes_for(const struct index_options *o, size_t n)
{
    struct index ix = { .o = *o };
    if (!ix.o.bits) ix.o.bits = 24;
    lay_out(&ix);
    size_t map = 16;
    while (map * 7 / 10 < n)
        map *= 2;
    double node = (double)(ix.row_bytes + ix.low_bytes + ix.m0 * 4 + sizeof(struct node_meta) + 2) +
        4.0 * (double)o->m / (double)(o->m - 1);
    return (size_t)((double)n * node) + map * 13;
}

static void make_signs(struct index *ix)
{
    struct rng r;
    rng_init(&r, ix->o.seed ^ UINT64_C(0x726f746174696f6e));
    for (size_t i = 0; i < ROTATION_ROUNDS * ix->o.dim; i++)
        ix->signs[i] = rng_below(&r, 2) ? 1.0f : -1.0f;
}

static void init_locks(struct index *ix)
{
    rwlock_init(&ix->ids_lock, RANK_INDEX);
    mutex_init(&ix->entry_lock, RANK_INDEX_ENTRY);
    mutex_init(&ix->epoch.gate, RANK_INDEX_GATE);
    mutex_init(&ix->repair.lock, RANK_INDEX_REPAIR);
    mutex_init(&ix->upper.lock, RANK_INDEX_TAIL);
    mutex_init(&ix->curve_lock, RANK_INDEX_TAIL);
    for (size_t i = 0; i < NODE_LOCKS; i++)
        mutex_init(&ix->node_locks[i], RANK_INDEX_NODE);
}

enum err_code index_new(const struct index_options *o, struct index **ret_ix, struct err *e)
{
    TRY(check_options(o, e));
    struct index *ix = mem_alloc_aligned(64, 1, sizeof *ix);
    if (!ix) return err_set(e, ERR_NOMEM, "out of memory for the index");
    memset(ix, 0, sizeof *ix);
    ix->o = *o;
    if (!ix->o.bits) ix->o.bits = 24;
    if (!ix->o.kernels) ix->o.kernels = vec_select(VEC_BEST);
    ix->codes = code_select(ix->o.kernels->level);
    ix->link_metrics[ix->n_link_metrics++] = INDEX_L2;
    if (o->metric == INDEX_DOT) ix->link_metrics[ix->n_link_metrics++] = INDEX_DOT;
    lay_out(ix);
    ix->level_scale = 1.0 / log((double)o->m);
    atomic_init(&ix->entry, ENTRY_NONE);
    for (size_t i = 0; i <= LEVEL_MAX; i++)
        ix->upper.vacant[i] = NODE_NONE;
    init_locks(ix);
    u64_map_init(&ix->ids);
    ix->signs = mem_alloc(ROTATION_ROUNDS * o->dim, sizeof *ix->signs);
    ix->centre.rotated = mem_zalloc(o->dim, sizeof *ix->centre.rotated);
    enum err_code code = tail__init(&ix->tail, e);
    if (code == ERR_OK && (!ix->signs || !ix->centre.rotated))
        code = err_set(e, ERR_NOMEM, "out of memory for the index");
    if (code != ERR_OK) {
        index_free(ix);
        return code;
    }
    make_signs(ix);
    *ret_ix = ix;
    return ERR_OK;
}

void index_free(struct index *ix)
{
    if (!ix) return;
    repair__free(ix);
    store__free(ix);
    upper__free(ix);
    tail__done(&ix->tail);
    u64_map_done(&ix->ids);
    for (size_t i = 0; i < NODE_LOCKS; i++)
        mutex_done(&ix->node_locks[i]);
    mutex_done(&ix->curve_lock);
    mutex_done(&ix->repair.lock);
    mutex_done(&ix->epoch.gate);
    mutex_done(&ix->entry_lock);
    rwlock_done(&ix->ids_lock);
    mem_free(ix->signs);
    mem_free(ix->centre.rotated);
    mem_free(ix);
}

const struct index_options *index_options(const struct index *ix)
{
    return &ix->o;
}

/** A place whose row may be written. */
static enum err_code take_place(struct index *ix, uint32_t *ret_node, struct err *e)
{
    rwlock_wrlock(&ix->ids_lock);
    enum err_code code = store__allot(ix, ret_node, e);
    rwlock_unlock(&ix->ids_lock);
    return code;
}

bool index__same_row(const struct index *ix, uint32_t a, uint32_t b)
{
    return memcmp(index__row(ix, a), index__row(ix, b), ix->row_bytes) == 0 &&
        memcmp(index__low(ix, a), index__low(ix, b), ix->low_bytes) == 0;
}

bool index__replace(struct index *ix, uint64_t id, uint32_t node, uint32_t old)
{
    if (u64_map_set(&ix->ids, id, node) != ERR_OK) return false;
    index__meta(ix, node)->id = id;
    atomic_store_explicit(index__state_at(ix, node), NODE_USED, memory_order_release);
    atomic_fetch_add(&ix->live, 1);
    atomic_fetch_add(&ix->pending, 1);
    tail__append(&ix->tail, node);
    if (old != NODE_NONE) store__tombstone(ix, old);
    return true;
}

/** Under ids_lock. ret_same: the id has this very vector already. */
static enum err_code publish(
    struct index *ix, uint64_t id, uint32_t node, bool *ret_same, struct err *e)
{
    uint32_t old = NODE_NONE;
    *ret_same = u64_map_get(&ix->ids, id, &old) && index__same_row(ix, node, old);
    if (*ret_same) return ERR_OK;
    TRY(tail__reserve(&ix->tail, e));
    if (!index__replace(ix, id, node, old))
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    return ERR_OK;
}

enum err_code index__publish(struct index *ix, uint64_t id, uint32_t node, struct err *e)
{
    rwlock_wrlock(&ix->ids_lock);
    bool same;
    enum err_code code = publish(ix, id, node, &same, e);
    if (code != ERR_OK || same) store__vacate(ix, node);
    rwlock_unlock(&ix->ids_lock);
    return code;
}

void index__mind_centre(struct index *ix)
{
    if (!codes__wants_centre(ix) || !mutex_trylock(&ix->repair.lock)) return;
    if (codes__wants_centre(ix)) {
        epoch__close(ix);
        codes__recentre(ix);
        epoch__open(ix);
    }
    mutex_unlock(&ix->repair.lock);
}

enum err_code index_put(struct index *ix, uint64_t id, const float *vector, struct err *e)
{
    float work[INDEX_DIM_MAX];
    double scale;
    uint32_t node;
    TRY(codes__check(ix, vector, &scale, e));
    /* Else an import that nobody links meanwhile would be moved as a whole, while all searches wait. */
    if (atomic_load_explicit(&ix->live, memory_order_relaxed) >= CENTRE_LAST)
        index__mind_centre(ix);
    unsigned token = epoch__enter(ix, work);
    enum err_code code = take_place(ix, &node, e);
    if (code == ERR_OK) {
        codes__write(ix, vector, scale, index__row(ix, node), index__low(ix, node), work);
        code = index__publish(ix, id, node, e);
    }
    epoch__leave(ix, work, token);
    return code;
}

bool index_delete(struct index *ix, uint64_t id)
{
    uint32_t node = NODE_NONE;
    unsigned token = epoch__enter(ix, &node);
    rwlock_wrlock(&ix->ids_lock);
    bool found = u64_map_get(&ix->ids, id, &node);
    if (found) {
        u64_map_remove(&ix->ids, id);
        store__tombstone(ix, node);
    }
    rwlock_unlock(&ix->ids_lock);
    if (found && !(index__state(ix, node) & NODE_LINKED)) tail__advance(ix);
    epoch__leave(ix, &node, token);
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
    uint32_t node = NODE_NONE;
    unsigned token = epoch__enter(ix, &node);
    bool found = find_node(ix, id, &node);
    if (found) codes__read(ix, node, ret_vector);
    epoch__leave(ix, &node, token);
    if (found) return ERR_OK;
    return err_set(
        e, ERR_NOT_FOUND, "the index has no vector with id %llu", (unsigned long long)id);
}

void index_stats(const struct index *ix, struct index_stats *ret)
{
    struct rwlock *lock = (struct rwlock *)&ix->ids_lock;
    struct index_curve curve;
    index_curve(ix, &curve);
    rwlock_rdlock(lock);
    const struct store_dir *d = atomic_load(&ix->dir);
    uint64_t entry = atomic_load(&ix->entry);
    size_t bytes = sizeof *ix + ix->n_blocks * ix->shape.bytes + upper__bytes(ix) +
        tail__bytes(&ix->tail) + (ROTATION_ROUNDS + 1) * ix->o.dim * sizeof(float) +
        ix->vacancy_cap * sizeof *ix->vacancy;
    for (; d; d = d->older)
        bytes += sizeof *d + d->cap * sizeof d->blocks[0];
    bytes += ix->ids.cap * (sizeof *ix->ids.keys + sizeof *ix->ids.values + sizeof *ix->ids.used);
    *ret = (struct index_stats){
        .live = ix->ids.n,
        .deleted = atomic_load(&ix->tombstones),
        .vacant = atomic_load(&ix->vacant),
        .pending = atomic_load(&ix->pending),
        .size_bytes = bytes,
        .dim = ix->o.dim,
        .max_level = entry == ENTRY_NONE ? 0 : (size_t)(entry >> 32),
        .repairs = atomic_load(&ix->repair.rounds),
        .has_curve = curve.n > 0,
        .curve_at_live = curve.at_live,
    };
    rwlock_unlock(lock);
}
