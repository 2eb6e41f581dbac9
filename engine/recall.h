/* Layer: engine. May include: core, index, catalog, base.
 *
 * How good are the answers? Now and then a search is kept: its query, what its filter passed, what was answered. The
 * maintenance thread answers it once more by exact scan of the same index and notes the share that the search had found:
 * recall, for each generation and, as a metric, for each class of filter.
 *
 * It costs searches next to nothing (a copy of the query and of the filter's bits, every recall.sample_seconds), and the
 * machine a twentieth of a core at most: after a scan that took long, the next search is taken later.
 */
#pragma once

#include "base/thread.h"
#include "engine/collection.h"

struct engine;
struct recall_sample;

struct recall_sampler {
    int64_t period_ns;             /* set once; 0: none is taken */
    atomic_llong due_ns;           /* no search is taken before */
    struct mutex lock;             /* searches only try it, and do without where it is taken */
    struct recall_sample *waiting; /* the one to be checked; guarded by lock */
};

void recall_init(struct recall_sampler *r, uint64_t period_s);
void recall_done(struct recall_sampler *r);

/** A search that was answered. `known`: col->published before it began. Search threads; never waits. */
void recall_offer(struct recall_sampler *r, struct collection *col, struct generation *gen,
    const struct index_query *q, const struct index_hit *hits, size_t n, int64_t known);

/** Check the search that waits, if there is one. Maintenance thread. */
void recall_check(struct engine *g, struct index_scratch *scratch);
