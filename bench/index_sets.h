/* Layer: bench. May include: base.
 *
 * The sets of bench-index: which there are, and where they lie.
 */
#pragma once

#include "bench/index_data.h"

#include <stdbool.h>

struct index_set {
    char name[40], metric[8];
    char base[4096], query[4096], truth[4096]; /* files */
};

/** A set in `folder`; `clusters`, of n_clusters vectors, is made if it is not there. false: it is not to be had,
 * which is said on standard error. */
bool index_set_find(struct index_set *ret, const char *name, const char *folder, size_t n_clusters);
/** base, query and metric are given: fill in the rest. */
void index_set_own(struct index_set *s);
/** Ends the program if the files are not what they should be. */
void index_set_open(const struct index_set *s, struct matrix *ret_base, struct matrix *ret_query);
