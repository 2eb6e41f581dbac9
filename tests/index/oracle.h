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
    double
        longest; /* of all vectors that were ever put: what the error of a stored one is measured by */
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

/** How far a score may be from the true one: this times |v|^2 + |q|^2, or times 1 for cosine. */
double oracle_tolerance(const struct index_options *o);
/** The score of a slot's vector in double precision. */
double oracle_score(const struct oracle *x, size_t slot, const float *q);
/** What an answer must look like whatever was found: live and allowed ids with their true scores, none twice,
 * descending, ties by id, as many as there are up to k. With `exact` also: the best ones. Returns recall by score;
 * a range search is measured by the hits that are above its bound by more than rounding. */
double oracle_judge(const struct oracle *x, const struct index_query *q,
    const struct index_hit *hits, size_t n, bool exact);
/** index_search, which must succeed, judged. */
double oracle_check(const struct oracle *x, const struct index *ix, const struct index_query *q,
    struct index_scratch *s, bool exact);
/** As oracle_check, and how the answer was found. */
double oracle_ask(const struct oracle *x, const struct index *ix, const struct index_query *q,
    struct index_scratch *s, bool exact, struct index_report *ret_report);
/** Is a slot there exactly if it should be, with the vector that was put? */
void oracle_get(const struct oracle *x, const struct index *ix, size_t slot);
/** Every slot: is it there exactly if it should be, with the vector that was put? Counts too. */
void oracle_compare(const struct oracle *x, const struct index *ix);

/** Nearly normal (a sum of four): rng_normal takes more time than all that is tested with it. */
double random_normal(struct rng *r);
/** Sums in double precision over n values: a·b, a·a, b·b, |a-b|^2. */
struct oracle_sums {
    double ab, aa, bb, l2;
};
struct oracle_sums oracle_sums(const float *a, const float *b, size_t n);
/** Normal around one of a few centres: enough structure for a graph to matter. dim up to INDEX_DIM_MAX */
void random_vector(struct rng *r, float *v, size_t dim);
struct index_options small_options(size_t dim, enum metric_kind metric);
struct index *open_index(const struct index_options *o);
/** With blocks of 2^shift nodes, so that a small index has many. It cannot be loaded from a snapshot. */
struct index *open_small_blocks(const struct index_options *o, unsigned shift);
/** Until none waits. */
void link_all(struct index *ix, struct index_scratch *s);
/** Upkeep and linking in turn until there is nothing to do for either. force: down to the last tombstone. */
void maintain_all(struct index *ix, struct index_scratch *s, bool force);
/** In the set of ids [n_bits]; counts it. */
void allow_id(uint64_t *bits, struct index_allow *a, uint64_t id);
void must_verify(const struct index *ix);
