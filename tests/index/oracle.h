/* Layer: tests. May include: libcheck, base, index.
 *
 * What an index must answer, computed the slow way: vectors in an array,
 * scores in double precision, a full sort. And data to ask about.
 *
 * Slots are small numbers; the id of slot i is oracle_id(i), so that id 0 and
 * UINT64_MAX are always among them.
 */
#pragma once

#include "base/rng.h"
#include "index/index.h"

struct oracle {
    struct index_options o;
    size_t n_slots;
    float *v;   /* [n_slots * dim], as given to index_put */
    bool *live; /* [n_slots] */
};

void oracle_init(struct oracle *x, const struct index_options *o, size_t n_slots);
void oracle_done(struct oracle *x);
size_t oracle_live(const struct oracle *x);
/** 0, UINT64_MAX, 2^40, then three times the slot. */
uint64_t oracle_id(size_t slot);
/** Put into both; vector [dim]. */
void oracle_put(struct oracle *x, struct index *ix, size_t slot, const float *vector);
/** Delete from both; the index must agree on whether it was there. */
void oracle_delete(struct oracle *x, struct index *ix, size_t slot);

/** index_search, which must succeed, and what it must look like whatever it found: live and allowed ids
 * with their true scores, none twice, descending, ties by id, as many as there are up to k. With `exact`
 * also: the best ones. Returns recall by score. */
double oracle_check(const struct oracle *x, const struct index *ix, const struct index_query *q,
    struct index_scratch *s, bool exact);

/** Normal around one of a few centres: enough structure for a graph to matter. */
void random_vector(struct rng *r, float *v, size_t dim);
struct index_options small_options(size_t dim, enum metric_kind metric);
void link_all(struct index *ix, struct index_scratch *s);
void must_verify(const struct index *ix);
