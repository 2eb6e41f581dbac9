/* Layer: engine. May include: core, index, catalog, base. */
#pragma once

#include "catalog/learning.h"
#include "engine/engine_internal.h"
#include "engine/promote.h"

/* One promotion. Owner: the thread that called promote_version; the writer thread while it is in writer_call. */
struct promotion {
    struct engine *g;
    struct collection *col;
    struct generation *next; /* a reference */
    int64_t run_id;
    double rate;
    struct promote_watch *watch;
    struct promote_report report;
    struct arena *arena; /* one page */
    size_t page;         /* changes of the next page */
    bool held;           /* writes wait: hurry */
    int64_t looked_ns;   /* when the graph's progress was looked at; 0: not yet */
    size_t pending_then; /* what waited to be linked then */
    bool torn;           /* the index missed what the catalog has: not to be used again */
};

/** CANCELLED, DRAINING, or on it goes. */
MUST_USE enum err_code promote__go_on(struct promotion *p, struct err *e);
/** Wait, but for those two. */
MUST_USE enum err_code promote__pause(struct promotion *p, int64_t until_ns, struct err *e);
/** One page of changes into p->next; *ret_n 0: it knows all. */
MUST_USE enum err_code promote__page(struct promotion *p, size_t *ret_n, struct err *e);
