/* Layer: engine. May include: core, index, catalog, base.
 *
 * Collections in memory.
 *
 * A `struct collection` is one row of the catalog with what serves it. What
 * searches, a `struct generation`, is (model, version, index): it changes only
 * as a whole, by one pointer swap, so nobody ever meets a query of one version
 * with vectors of another. An operation takes a reference to the generation
 * once and uses it to its end; calls of the catalog that read or write vectors take
 * its row. Only one generation serves and is written to; beside it may stand
 * the one that served before and one that is being built, both of which follow
 * the catalog's changes when somebody needs them (promote.h).
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

/* Who links a generation (link.h): those for what serves, or those of the lowest priority. */
enum link_ring_id { RING_SERVING, RING_PATIENT, RING_COUNT };

enum { UPKEEP_QUERIES = 64 };
/* A mean of what was measured; written by the maintenance thread, read by any. */
struct recall_mean {
    _Atomic double mean;
    atomic_size_t n; /* 0: nothing was measured yet */
};
/* What the maintenance thread remembers of a generation; its own (and until the threads run, their starter's). */
struct generation_upkeep {
    size_t live;      /* when it was looked at last */
    int64_t saved_ns; /* when it was saved, or tried to be; at first when it came into memory */
    uint64_t repairs_saved;
    float *queries; /* [UPKEEP_QUERIES][dimensions] of late, or NULL */
    size_t n_queries, next_query;
    bool curve_of_queries; /* its curve was measured with them */
    int64_t measure_ns;    /* not before */
};

struct generation {
    atomic_size_t refs;
    struct catalog_generation row; /* set once; `state` and `seq` are what they were then */
    char *model_name;              /* what row.model_name points to */
    struct model *model;   /* set once, a reference; NULL: own vectors, or the model is not there */
    struct index *index;   /* set once; locks for itself */
    atomic_bool abandoned; /* nobody will search it any more: not worth linking */
    atomic_bool patient;   /* does not serve: nothing is to wait for its linking */
    atomic_uint link_share; /* slices that it gets each time its turn comes */
    int64_t seq; /* one that does not serve: the change up to which the index knows all. Owner: the
                    promotion that works on it, or else the writer thread */
    size_t
        backlog; /* vectors that waited when it was loaded; 0 once caught up. Owner: writer thread */
    atomic_size_t unsaved; /* changes and links since its snapshot */
    struct recall_mean recall;
    struct generation_upkeep upkeep;
    struct link_place {
        struct generation *next;
        bool waiting;
        uint64_t epoch;
    } link[RING_COUNT]; /* guarded by the ring's lock */
};

/* The filter columns, counted, since a rebuild replaces them while searches read. */
struct columns {
    atomic_size_t refs;
    struct fields *fields; /* set once; locks for itself, changed by the writer only */
};

struct collection {
    atomic_size_t refs;
    struct arena *arena;           /* holds what `row` points to; set once */
    struct catalog_collection row; /* set once; row.serving is empty: see `generation` */
    struct str base_model;         /* "text-small", also when it has learned since; set once */
    struct mutex lock;
    struct generation *generation; /* guarded by lock; changed by the writer thread */
    struct generation *previous;   /* served before; NULL: not in memory; guarded by lock */
    struct generation *building;   /* of the promotion under way, or NULL; guarded by lock */
    struct columns *columns;       /* guarded by lock */
    atomic_llong
        published; /* the change up to which the generation that serves has all; set by the writer thread */
    /* owner: writer thread */
    bool deleted;
    size_t n_parked;       /* writes that wait for the graph or for a swap */
    int64_t hold_until_ns; /* writes wait for a swap until then; 0: none is near */
    bool index_dirty;      /* vectors are missing since change number dirty_since */
    bool columns_dirty;    /* filter columns are incomplete */
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
 * Build a collection in memory from its row (copied) and, if `stored`, from all that the catalog holds of
 * it: vectors of the generation that serves (generation_open) and field values. Else it is new and
 * empty. A model that is not in the engine's table is logged; the collection then has none.
 * Errors: the catalog's, INVALID (a row out of range), NOMEM.
 */
MUST_USE enum err_code collection_load(struct engine *g, const struct catalog_collection *row,
    bool stored, struct collection **ret_col, struct err *e);
void collection_ref(struct collection *col);
/** Accepts NULL. */
void collection_unref(struct collection *col);
/** The generation that serves now; the caller's reference. */
struct generation *collection_generation(struct collection *col);
/* generation.c. model: NULL, or one of its dimension, referenced. */
/** An empty generation. INVALID, NOMEM. */
MUST_USE enum err_code generation_new(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, struct model *model, struct generation **ret_gen,
    struct err *e);
/** One with all its vectors that the catalog holds: from its snapshot and what changed since, or from the catalog, waiting
 * to be linked. The log says which. Blocking. The catalog's errors, INVALID, NOMEM. */
MUST_USE enum err_code generation_open(struct engine *g, const struct catalog_collection *col,
    const struct catalog_generation *row, struct model *model, struct generation **ret_gen,
    struct err *e);
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
/** Of the generation that serves; size_bytes: of all generations in memory. */
void collection_index_stats(struct collection *col, struct index_stats *ret);
/** What the API says of it, copied into the arena. */
MUST_USE enum err_code collection_describe(
    struct collection *col, struct arena *a, struct collection_info *ret, struct err *e);
/** A vector that index_put will take? INVALID: dimension, non-finite, zero with cosine, too long. */
MUST_USE enum err_code collection_vector_check(const struct collection *col,
    const struct generation *gen, const float *vector, size_t n, struct err *e);

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
