/* Layer: engine. May include: core, index, catalog, base.
 *
 * Collections in memory.
 *
 * A `struct collection` is one row of the catalog with what serves it. What
 * searches, a `struct generation`, is (model, version, index): it changes only
 * as a whole, by one pointer swap, so nobody ever meets a query of one version
 * with vectors of another. An operation takes a reference to the generation
 * once and uses it to its end.
 *
 * Both are counted: whoever holds a reference may use the object after the
 * collection was deleted; the last one frees it.
 *
 * Threads: any, unless said otherwise.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/thread.h"
#include "catalog/catalog.h"
#include "engine/engine.h"
#include "engine/fields.h"
#include "engine/models.h"
#include "index/index.h"

#include <stdatomic.h>

struct generation {
    atomic_size_t refs;
    const struct model *model; /* set once; NULL: own vectors, or the model is not there */
    int64_t version;           /* set once; 0: a vector collection */
    struct index *index;       /* set once; locks for itself */
    atomic_bool abandoned;     /* its collection was deleted: not worth linking */
    size_t
        backlog; /* vectors that waited when it was loaded; 0 once caught up. Owner: writer thread */
    /* guarded by linker.lock */
    struct generation *link_next;
    bool link_waiting;
    uint64_t link_epoch;
};

/* The filter columns, counted, since a rebuild replaces them while searches read. */
struct columns {
    atomic_size_t refs;
    struct fields *fields; /* set once; locks for itself, changed by the writer only */
};

struct collection {
    atomic_size_t refs;
    struct arena *arena;           /* holds what `row` points to; set once */
    struct catalog_collection row; /* set once */
    struct mutex lock;
    struct generation *generation; /* guarded by lock */
    struct columns *columns;       /* guarded by lock */
    /* owner: writer thread */
    bool deleted;
    size_t n_parked;    /* writes that wait for the graph */
    bool index_dirty;   /* vectors are missing since change number dirty_since */
    bool columns_dirty; /* filter columns are incomplete */
    int64_t dirty_since;
    struct collection *dirty_next;
};

struct registry {
    struct rwlock lock;
    struct collection **rows; /* sorted by name; guarded by lock */
    size_t n, cap;            /* guarded by lock */
};

void registry_init(struct registry *r);
/** Drops all collections. No other thread may be inside. */
void registry_done(struct registry *r);
/** A reference to the collection, or NULL. */
struct collection *registry_find(struct registry *r, struct str name);
/** As registry_find with the usual error. NOT_FOUND. */
MUST_USE enum err_code registry_get(
    struct registry *r, struct str name, struct collection **ret_col, struct err *e);
/** The registry takes over the caller's reference. NOMEM: it does not. The name must be free. */
MUST_USE enum err_code registry_add(struct registry *r, struct collection *col, struct err *e);
/** Undo a registry_remove by the same thread, nothing added since: there is room. */
void registry_put_back(struct registry *r, struct collection *col);
/** Takes it out and drops the registry's reference; the caller has one of its own. */
void registry_remove(struct registry *r, struct collection *col);
size_t registry_count(struct registry *r);

/**
 * Build a collection in memory from its row (copied) and, with `c`, from all that the catalog holds of
 * it: vectors (waiting to be linked) and field values. c == NULL: it is new and empty.
 * Errors: the catalog's, INVALID (a row out of range), NOMEM.
 */
MUST_USE enum err_code collection_load(const struct catalog_collection *row,
    const struct models *models, const struct vec_kernels *k, struct catalog *c,
    struct collection **ret_col, struct err *e);
void collection_ref(struct collection *col);
/** Accepts NULL. */
void collection_unref(struct collection *col);
/** The generation that serves now; the caller's reference. */
struct generation *collection_generation(struct collection *col);
void generation_ref(struct generation *gen);
/** Accepts NULL. */
void generation_unref(struct generation *gen);
/** The filter columns; the caller's reference. */
struct columns *collection_columns(struct collection *col);
/** Accepts NULL. */
void columns_unref(struct columns *c);
/** Read the filter columns from the catalog again and put them in place. Writer thread only. */
MUST_USE enum err_code collection_rebuild_columns(
    struct collection *col, struct catalog *c, struct err *e);
/** What the API says of it, copied into the arena. */
MUST_USE enum err_code collection_describe(
    struct collection *col, struct arena *a, struct collection_info *ret, struct err *e);
/** A vector that index_put will take? INVALID: dimension, non-finite, zero with cosine, too long. */
MUST_USE enum err_code collection_vector_check(
    const struct collection *col, const float *vector, size_t n, struct err *e);

/* References of a scope. */
static inline void collection__auto_unref(struct collection **c)
{
    collection_unref(*c);
}
static inline void generation__auto_unref(struct generation **g)
{
    generation_unref(*g);
}
static inline void columns__auto_unref(struct columns **c)
{
    columns_unref(*c);
}
#define AUTO_COLLECTION __attribute__((cleanup(collection__auto_unref)))
#define AUTO_GENERATION __attribute__((cleanup(generation__auto_unref)))
#define AUTO_COLUMNS __attribute__((cleanup(columns__auto_unref)))
