/* Layer: engine. May include: core, index, catalog, base.
 *
 * Encoders in memory: base models, and the versions that collections have learned.
 *
 * Base models are found at start and live as long as the table: they never change,
 * so whoever has a pointer to one may use it. A learned model belongs to one
 * collection; it is added when the collection is loaded or the version made, and
 * dropped with the version or the collection. It is counted: a generation, an
 * operation and the table hold a reference each, and the last one frees it.
 * Every version that is kept stays loaded, so that an embedding of exactly that
 * version can be had at any moment; memory is the price.
 *
 * Threads: any, unless said otherwise.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "base/thread.h"
#include "core/model/encoder.h"
#include "engine/config.h"
#include "engine/model_hash.h"

#include <stdatomic.h>
#include <stdint.h>

struct model {
    atomic_size_t refs; /* a base model's are counted too, and mean nothing */
    struct encoder *encoder;
    const struct encoder_info *info;
    struct str name;                         /* "text-small"; learned: "words/text-small" */
    struct str base;                         /* "text-small" */
    char *owned_name;                        /* NULL: a base model's names are its encoder's */
    char *dir;                               /* folder it was loaded from */
    int64_t collection_id;                   /* 0: a base model */
    int64_t version;                         /* 1: a base model */
    int64_t created_ms;                      /* of its weights: model_written_ms */
    char weights_hash[MODEL_HASH_CHARS + 1]; /* model_hash */
    atomic_bool dropped; /* no longer in the table: not worth keeping a workspace for */
};

struct models {
    struct model **rows; /* base models, sorted by name; set once */
    size_t n, cap;
    char **
        broken; /* names of folders that did not load: they hide those of the same name further on */
    size_t n_broken;
    bool has_lock; /* set once */
    struct mutex lock;
    struct model **learned; /* any order, a reference each; guarded by lock */
    size_t n_learned;       /* guarded by lock */
};

/**
 * Load every model in cfg->models, DATA/models, the folders beside the program and the installed ones, in
 * this order; the first folder with a name wins. One that does not load is logged and left out.
 * Before there are threads, into a zeroed struct.
 * Errors: NOT_FOUND (the default model is not there), whatever kept the default model from loading, NOMEM.
 */
MUST_USE enum err_code models_load(
    struct models *m, const struct config *cfg, const struct vec_kernels *k, struct err *e);
/** Accepts a zeroed struct. No other thread may be inside. */
void models_done(struct models *m);
/** A base model by "name" or "name@1", which lives as long as `m`; NULL: there is none. */
struct model *models_find(const struct models *m, struct str ref);
/** Are these the weights that made vectors once? hash: what was noted then; "", or what is none: not known, so yes. */
bool model_is_same(const struct model *m, struct str hash);
/** A model by "name", "name@1" or, learned, "words/text-small@3"; the caller's reference. NULL: there is none. */
struct model *models_take(struct models *m, struct str ref);
/** The version that a collection has learned, if it is loaded; the caller's reference. */
struct model *models_take_learned(struct models *m, int64_t collection_id, int64_t version);
void model_ref(struct model *m);
/** Accepts NULL. */
void model_unref(struct model *m);

struct model_spec {
    struct str collection; /* its name */
    int64_t collection_id;
    struct str base; /* name of the base model that it comes from */
    int64_t version;
    const char *dir;
    struct str weights_hash; /* as model_is_same takes it */
};
/**
 * Load a learned version and put it into the table; if it is there already, that one. *ret_m: the
 * caller's reference.
 * Errors: encoder_load's (NOT_FOUND, UNPROCESSABLE, CORRUPT, IO), CORRUPT (the canary; other weights), NOMEM.
 */
MUST_USE enum err_code models_add(struct models *m, const struct model_spec *spec,
    const struct vec_kernels *k, struct model **ret_m, struct err *e);
/** Take a learned version out of the table (version 0: all of the collection). Returns one of those taken out, the
 * caller's reference, or NULL when there is none left: call again. */
struct model *models_drop(struct models *m, int64_t collection_id, int64_t version);
/** One text twice: finite, not zero, the same both times; CORRUPT if not. (Length 1 is not asked for: a
 * model need not normalise.) */
MUST_USE enum err_code models_canary(const struct model *m, struct err *e);

static inline void model__auto_unref(struct model **m)
{
    model_unref(*m);
}
/** A reference of a scope. */
#define AUTO_MODEL __attribute__((cleanup(model__auto_unref)))
