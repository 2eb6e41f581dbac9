/* Layer: engine. May include: core, index, catalog, base.
 *
 * One search, on its own (search.c) or in a batch (search_batch.c): what both check before it begins (search.c), and
 * what a search thread does for it (search_run.c).
 */
#pragma once

#include "engine/engine_internal.h"

struct search_state {
    struct op_state base;
    struct search_op *op;
    struct encode_request encode; /* on its own only */
    struct encode_text text;
    const float *vector; /* [dim] what is searched for */
    bool leave_out;      /* the slot `self` is no hit: the query is that item */
    uint32_t self;
    struct index_allow allow;
};

/* ---- search.c ---- */

/** References, checks, the vector or a row for it, the model of the answer: all but permits. op->op has its engine, arena
 * and deadline. Errors as engine_search. */
MUST_USE enum err_code search__prepare(struct engine *g, struct search_state *s, struct err *e);
/** Model and kind of an encode request for searches of s's generation. UNPROCESSABLE: it has no model. */
MUST_USE enum err_code search__request(
    const struct search_state *s, struct encode_request *r, struct err *e);

/* ---- search_run.c: search threads ---- */

/* What the index answered. */
struct search_found {
    struct index_hit *hits; /* in the operation's arena */
    size_t n;
    int64_t known; /* collection.published before it was asked */
    enum index_plan plan;
};
/** What the index is asked; of a search by an item not before its vector is known. Borrows from s. */
void search__query(const struct search_state *s, struct index_query *ret);
/** Ask it. INVALID, TIMEOUT, NOMEM. */
MUST_USE enum err_code search__ask(const struct search_state *s, const struct index_query *q,
    struct search_found *ret, struct err *e);
/** All of the search, from its vector (or item) to its hits; `first`: what was found for search__query already, or NULL. */
MUST_USE enum err_code search__run(
    struct search_state *s, const struct search_found *first, struct err *e);
