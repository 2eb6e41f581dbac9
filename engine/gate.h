/* Layer: engine. May include: core, index, catalog, base.
 *
 * A bounded number of permits, but for the one request that goes over the bound. An operation takes what it
 * will need when it is submitted and keeps it until it is done, so a full server says so at once, and an operation
 * that was accepted is never refused half-way: the queues between its stages need no bound of their own.
 *
 * Threads: any.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate {
    atomic_size_t used;
    size_t max; /* set once */
};

static inline void gate_init(struct gate *g, size_t max)
{
    atomic_init(&g->used, 0);
    g->max = max;
}
/** Take `cost` permits unless all are taken. The last one to pass may take more than there are: else what is larger
 * than the gate would wait until it is empty, which among small ones may never be. */
static inline bool gate_try(struct gate *g, size_t cost)
{
    size_t used = atomic_load_explicit(&g->used, memory_order_relaxed);
    do {
        if (used >= g->max || cost > SIZE_MAX - used) return false;
    } while (!atomic_compare_exchange_weak(&g->used, &used, used + cost));
    return true;
}
static inline void gate_release(struct gate *g, size_t cost)
{
    if (cost) atomic_fetch_sub(&g->used, cost);
}
static inline size_t gate_used(const struct gate *g)
{
    return atomic_load_explicit(&g->used, memory_order_relaxed);
}
