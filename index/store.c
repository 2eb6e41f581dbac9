/* The store: nodes in blocks that never move.
 *
 * A place is allotted (nobody sees it), published by the store of its state (index.c), and in the end vacated by
 * the repair (repair.c); vacant places are chained by block, lowest blocks first, so that what is live
 * gathers in front and blocks at the end become free as a whole.
 *
 * The counters follow the state's bits: whoever sets DELETED or LINKED *first* takes the node out of `pending`,
 * which the value returned by the read-modify-write decides.
 *
 * Blocks are of about the same size in bytes whatever the dimension, and come from the system untouched: a collection
 * of ten items costs a few pages. All but the first ask for huge pages: a walk touches rows all over
 * the memory, and with small pages each would miss the translation cache too.
 */
#include "index/index_internal.h"

#include "base/mem.h"

enum { DIR_FIRST = 16 };

enum err_code store__reserve_dir(struct index *ix, size_t n_blocks, struct err *e)
{
    struct store_dir *old = atomic_load_explicit(&ix->dir, memory_order_relaxed);
    if (old && n_blocks <= old->cap && n_blocks <= ix->vacancy_cap) return ERR_OK;

    size_t cap = old ? old->cap * 2 : DIR_FIRST, bytes;
    while (cap < n_blocks)
        cap *= 2;
    if (!mem_mul(cap, sizeof old->blocks[0], &bytes) || !mem_add(bytes, sizeof *old, &bytes))
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    struct block_vacancy *vacancy = mem_realloc(ix->vacancy, cap, sizeof *vacancy);
    if (!vacancy) return err_set(e, ERR_NOMEM, "out of memory for the index");
    ix->vacancy = vacancy;
    ix->vacancy_cap = cap;
    struct store_dir *d = mem_zalloc(1, bytes);
    if (!d) return err_set(e, ERR_NOMEM, "out of memory for the index");
    d->older = old;
    d->cap = cap;
    for (size_t i = 0; i < ix->n_blocks; i++)
        atomic_init(&d->blocks[i], atomic_load_explicit(&old->blocks[i], memory_order_relaxed));
    atomic_store_explicit(&ix->dir, d, memory_order_release);
    return ERR_OK;
}

static enum err_code add_block(struct index *ix, struct err *e)
{
    TRY(store__reserve_dir(ix, ix->n_blocks + 1, e));
    char *block = mem_map(ix->shape.bytes, ix->n_blocks > 0 && ix->shape.bytes >= HUGE_PAGE);
    if (!block) return err_set(e, ERR_NOMEM, "out of memory for the index");
    struct store_dir *d = atomic_load_explicit(&ix->dir, memory_order_relaxed);
    ix->vacancy[ix->n_blocks] = (struct block_vacancy){ .head = NODE_NONE };
    atomic_store_explicit(&d->blocks[ix->n_blocks++], block, memory_order_release);
    return ERR_OK;
}

/** The first vacant place of the lowest block that has any. */
static uint32_t take_vacant(struct index *ix)
{
    while (ix->vacancy[ix->vacant_hint].n == 0)
        ix->vacant_hint++;
    struct block_vacancy *v = &ix->vacancy[ix->vacant_hint];
    uint32_t node = v->head;
    v->head = atomic_load_explicit(&index__meta(ix, node)->twin, memory_order_relaxed);
    v->n--;
    atomic_fetch_sub(&ix->vacant, 1);
    return node;
}

enum err_code store__allot(struct index *ix, uint32_t *ret_node, struct err *e)
{
    uint32_t node = atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    if (atomic_load(&ix->vacant) > 0) {
        node = take_vacant(ix);
    } else {
        if (node == NODE_NONE) return err_set(e, ERR_LIMIT, "the index holds 2^32-1 vectors");
        if (node >> ix->block_shift == ix->n_blocks) TRY(add_block(ix, e));
        atomic_store(&ix->n_nodes, node + 1);
    }
    struct node_meta *m = index__meta(ix, node);
    m->id = 0;
    m->upper = NODE_NONE;
    atomic_store_explicit(&m->twin, NODE_NONE, memory_order_relaxed);
    hnsw__store_list(index__links(ix, node, 0), ix->m0, NULL, 0);
    *ret_node = node;
    return ERR_OK;
}

void store__vacate(struct index *ix, uint32_t node)
{
    size_t block = node >> ix->block_shift;
    struct node_meta *m = index__meta(ix, node);
    struct block_vacancy *v = &ix->vacancy[block];
    atomic_store(index__state_at(ix, node), 0);
    atomic_store_explicit(&m->twin, v->head, memory_order_relaxed);
    v->head = node;
    v->n++;
    if (block < ix->vacant_hint || atomic_load(&ix->vacant) == 0) ix->vacant_hint = block;
    atomic_fetch_add(&ix->vacant, 1);
}

void store__tombstone(struct index *ix, uint32_t node)
{
    unsigned old = atomic_fetch_or(index__state_at(ix, node), NODE_DELETED);
    if (old & NODE_DELETED) return;
    atomic_fetch_sub(&ix->live, 1);
    atomic_fetch_add(&ix->tombstones, 1);
    if (!(old & NODE_LINKED)) atomic_fetch_sub(&ix->pending, 1);
}

size_t store__trim(struct index *ix, char **ret_blocks, size_t max)
{
    struct store_dir *d = atomic_load_explicit(&ix->dir, memory_order_relaxed);
    size_t n = 0;
    while (n < max && ix->n_blocks > 1) {
        size_t last = ix->n_blocks - 1;
        uint32_t first = (uint32_t)(last << ix->block_shift);
        size_t used = atomic_load(&ix->n_nodes) - first;
        if (ix->vacancy[last].n != used) break;
        ret_blocks[n++] = atomic_load_explicit(&d->blocks[last], memory_order_relaxed);
        atomic_fetch_sub(&ix->vacant, used);
        atomic_store(&ix->n_nodes, first);
        /* A node number at hand may still name a place of it: the directory then says NULL. Older directories
         * keep the pointer, which is valid for whoever could have them. */
        atomic_store_explicit(&d->blocks[last], NULL, memory_order_release);
        ix->n_blocks--;
    }
    return n;
}

void store__free(struct index *ix)
{
    struct store_dir *d = atomic_load(&ix->dir);
    for (size_t b = 0; b < ix->n_blocks; b++)
        mem_unmap(atomic_load(&d->blocks[b]), ix->shape.bytes);
    while (d) {
        struct store_dir *older = d->older;
        mem_free(d);
        d = older;
    }
    mem_free(ix->vacancy);
}
