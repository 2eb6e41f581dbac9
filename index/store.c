/* The store: nodes in blocks that never move, allotted in append order.
 *
 * A node goes USED -> CLAIMED -> LINKED, each bit set once (CLAIMED may be
 * given back), and DELETED may come at any time. The counters follow the bits:
 * whoever sets DELETED or LINKED *first* takes the node out of `pending`, which
 * the value returned by the read-modify-write decides. A node deleted before it
 * was claimed is never linked: the claim is a compare and swap from plain USED.
 *
 * Blocks are of about the same size in bytes whatever the dimension (4,096
 * nodes up to 512 dimensions or so, fewer above), taken without being touched:
 * a collection of ten items costs a few pages.
 */
#include "index/index_internal.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"

enum { DIR_FIRST = 16 };

enum err_code store__check(
    const struct index *ix, const float *vector, double *ret_scale, struct err *e)
{
    /* Four sums, since one would wait for itself; double never overflows on floats. */
    double sums[4] = { 0 };
    size_t d = 0;
    for (; d + 4 <= ix->o.dim; d += 4)
        for (size_t j = 0; j < 4; j++)
            sums[j] += (double)vector[d + j] * (double)vector[d + j];
    for (; d < ix->o.dim; d++)
        sums[0] += (double)vector[d] * (double)vector[d];
    double sum = sums[0] + sums[1] + sums[2] + sums[3];

    if (!isfinite(sum)) {
        for (d = 0; d + 1 < ix->o.dim && isfinite(vector[d]); d++) {}
        return err_set(e, ERR_INVALID, "value %zu of the vector is not a finite number", d);
    }
    if (ix->o.metric == INDEX_COSINE) {
        if (sum <= 0.0) return err_set(e, ERR_INVALID, "a vector of zeros has no direction");
        *ret_scale = 1.0 / sqrt(sum);
        return ERR_OK;
    }
    /* (|a| + |b|)^2 and |a||b| then stay within a float, and so does every partial sum. */
    if (sum > (double)FLT_MAX / 8)
        return err_set(e, ERR_INVALID, "the vector is too long for single precision");
    *ret_scale = 1.0;
    return ERR_OK;
}

void store__write_row(const struct index *ix, float *row, const float *vector, double scale)
{
    if (scale == 1.0)
        memcpy(row, vector, ix->o.dim * sizeof *row);
    else
        for (size_t d = 0; d < ix->o.dim; d++)
            row[d] = (float)(vector[d] * scale);
    for (size_t d = ix->o.dim; d < ix->row_floats; d++)
        row[d] = 0;
}

/** A directory with room for one more block than there are. */
static enum err_code reserve_dir(struct index *ix, struct err *e)
{
    struct store_dir *old = atomic_load_explicit(&ix->dir, memory_order_relaxed);
    if (old && ix->n_blocks < old->cap) return ERR_OK;

    size_t cap = old ? old->cap * 2 : DIR_FIRST, bytes;
    if (!mem_mul(cap, sizeof old->blocks[0], &bytes) || !mem_add(bytes, sizeof *old, &bytes))
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    struct store_dir *d = mem_alloc(1, bytes);
    if (!d) return err_set(e, ERR_NOMEM, "out of memory for the index");
    d->older = old;
    d->cap = cap;
    for (size_t i = 0; i < ix->n_blocks; i++)
        d->blocks[i] = old->blocks[i];
    atomic_store_explicit(&ix->dir, d, memory_order_release);
    return ERR_OK;
}

enum err_code store__allot(struct index *ix, uint32_t *ret_node, struct err *e)
{
    uint32_t node = atomic_load_explicit(&ix->n_nodes, memory_order_relaxed);
    if (node == NODE_NONE) return err_set(e, ERR_LIMIT, "the index holds 2^32-1 vectors");
    if (node >> ix->block_shift == ix->n_blocks) {
        TRY(reserve_dir(ix, e));
        char *block = mem_alloc_aligned(64, 1, ix->block_bytes);
        if (!block) return err_set(e, ERR_NOMEM, "out of memory for the index");
        atomic_load_explicit(&ix->dir, memory_order_relaxed)->blocks[ix->n_blocks++] = block;
    }
    struct node_meta *m = index__meta(ix, node);
    m->id = 0;
    m->level = 0;
    m->is_twin = false;
    atomic_init(&m->twin, NODE_NONE);
    atomic_init(&m->state, 0);
    *index__upper(ix, node) = NULL;
    _Atomic uint32_t *links = index__links(ix, node, 0);
    for (size_t i = 0; i < ix->m0; i++)
        atomic_init(&links[i], NODE_NONE);
    *ret_node = node;
    return ERR_OK;
}

void store__tombstone(struct index *ix, uint32_t node)
{
    unsigned old = atomic_fetch_or(&index__meta(ix, node)->state, NODE_DELETED);
    if (old & NODE_DELETED) return;
    atomic_fetch_sub(&ix->live, 1);
    if (!(old & NODE_LINKED)) atomic_fetch_sub(&ix->pending, 1);
}

void store__linked(struct index *ix, uint32_t node)
{
    unsigned old = atomic_fetch_or(&index__meta(ix, node)->state, NODE_LINKED);
    if (!(old & NODE_DELETED)) atomic_fetch_sub(&ix->pending, 1);
    store__advance_watermark(ix);
}

void store__advance_watermark(struct index *ix)
{
    uint32_t w = atomic_load(&ix->watermark);
    while (w < atomic_load(&ix->n_nodes) &&
        (index__state(index__meta(ix, w)) & (NODE_LINKED | NODE_DELETED)) != 0) {
        /* On failure w is what another thread has made of it. */
        if (atomic_compare_exchange_strong(&ix->watermark, &w, w + 1)) w++;
    }
}

bool store__claim(struct index *ix, uint32_t *ret_node)
{
    uint32_t node = atomic_load(&ix->link_cursor);
    while (node < atomic_load(&ix->n_nodes)) {
        if (!atomic_compare_exchange_strong(&ix->link_cursor, &node, node + 1)) continue;
        uint8_t waiting = NODE_USED;
        if (atomic_compare_exchange_strong(
                &index__meta(ix, node)->state, &waiting, NODE_USED | NODE_CLAIMED)) {
            *ret_node = node;
            return true;
        }
        node++;
    }
    return false;
}

void store__unclaim(struct index *ix, uint32_t node)
{
    atomic_fetch_and(&index__meta(ix, node)->state, (uint8_t)~NODE_CLAIMED);
    uint32_t cursor = atomic_load(&ix->link_cursor);
    while (cursor > node && !atomic_compare_exchange_weak(&ix->link_cursor, &cursor, node)) {}
}

void store__free(struct index *ix)
{
    struct store_dir *d = atomic_load(&ix->dir);
    uint32_t n = atomic_load(&ix->n_nodes);
    for (uint32_t node = 0; node < n; node++)
        mem_free((void *)*index__upper(ix, node));
    for (size_t b = 0; b < ix->n_blocks; b++)
        mem_free(d->blocks[b]);
    while (d) {
        struct store_dir *older = d->older;
        mem_free(d);
        d = older;
    }
}
