/* Lists above layer 0. One node in m has any, so they stand apart: a node of level l has l units of m links in a row, in
 * a slab; units that were given back are used again by nodes of the same level, chained through their first link.
 * Readers find a list by its unit's number, without a lock; the array of slabs is replaced by a larger copy when it is
 * full, and older ones stay until the index is freed.
 */
#include "index/index_internal.h"

#include "base/mem.h"

enum { SLABS_FIRST = 16 };

/** Room for one more slab in the array. */
static enum err_code reserve(struct upper *u, struct err *e)
{
    if (u->n_slabs < u->cap) return ERR_OK;
    size_t cap = u->cap ? u->cap * 2 : SLABS_FIRST;
    if (cap > UPPER_SLABS_MAX) return err_set(e, ERR_LIMIT, "the index has too many upper lists");
    _Atomic uint32_t **grown = mem_zalloc(cap, sizeof *grown);
    void **older = grown ? mem_realloc(u->older, u->n_older + 1, sizeof *older) : NULL;
    if (!older) {
        mem_free(grown);
        return err_set(e, ERR_NOMEM, "out of memory for the index");
    }
    _Atomic uint32_t **old = atomic_load_explicit(&u->slabs, memory_order_relaxed);
    for (size_t i = 0; i < u->n_slabs; i++)
        grown[i] = old[i];
    u->older = older;
    if (old) u->older[u->n_older++] = old;
    u->cap = cap;
    atomic_store_explicit(&u->slabs, grown, memory_order_release);
    return ERR_OK;
}

enum err_code upper__take(struct index *ix, unsigned level, uint32_t *ret_unit, struct err *e)
{
    struct upper *u = &ix->upper;
    AUTO_LOCK(&u->lock);
    uint32_t unit = u->vacant[level];
    if (unit != NODE_NONE) {
        u->vacant[level] = atomic_load_explicit(upper__list(ix, unit), memory_order_relaxed);
    } else {
        if (u->n_slabs == 0 || u->used + level > UPPER_SLAB_UNITS) {
            TRY(reserve(u, e));
            _Atomic uint32_t *slab = mem_alloc(UPPER_SLAB_UNITS * ix->o.m, sizeof *slab);
            if (!slab) return err_set(e, ERR_NOMEM, "out of memory for the index");
            atomic_load_explicit(&u->slabs, memory_order_relaxed)[u->n_slabs++] = slab;
            u->used = 0;
        }
        unit = (uint32_t)((u->n_slabs - 1) * UPPER_SLAB_UNITS + u->used);
        u->used += level;
    }
    _Atomic uint32_t *list = upper__list(ix, unit);
    for (size_t i = 0; i < level * ix->o.m; i++)
        atomic_store_explicit(&list[i], NODE_NONE, memory_order_relaxed);
    *ret_unit = unit;
    return ERR_OK;
}

void upper__give(struct index *ix, uint32_t unit, unsigned level)
{
    struct upper *u = &ix->upper;
    AUTO_LOCK(&u->lock);
    atomic_store_explicit(upper__list(ix, unit), u->vacant[level], memory_order_relaxed);
    u->vacant[level] = unit;
}

void upper__free(struct index *ix)
{
    struct upper *u = &ix->upper;
    _Atomic uint32_t **slabs = atomic_load(&u->slabs);
    for (size_t i = 0; i < u->n_slabs; i++)
        mem_free((void *)slabs[i]);
    mem_free((void *)slabs);
    for (size_t i = 0; i < u->n_older; i++)
        mem_free(u->older[i]);
    mem_free(u->older);
    mutex_done(&u->lock);
}

size_t upper__bytes(const struct index *ix)
{
    struct mutex *lock = (struct mutex *)&ix->upper.lock; /* a lock is not part of the value */
    AUTO_LOCK(lock);
    return ix->upper.n_slabs * UPPER_SLAB_UNITS * ix->o.m * sizeof(uint32_t) +
        ix->upper.cap * sizeof(void *);
}
