/* Layer: engine. May include: core, index, catalog, base.
 *
 * Encoders in memory: base models, and the versions that collections have learned.
 *
 * Base models are found at start, or later when their folders have appeared (models_refresh). They live as long
 * as the table and never change, so whoever has a pointer to one may use it. A learned model belongs to one
 * collection; it is added when the collection is loaded or the version made, and
 * dropped with the version or the collection. It is counted: a generation, an
 * operation and the table hold a reference each, and the last one frees it.
 * Every version that is kept stays loaded, so that an embedding of exactly that
 * version can be had at any moment; memory is the price.
 *
 * Threads: any, unless said otherwise.
 */
#pragma once

#include "base/arena.h"
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

/* A broken or arriving one hides those of its name further on. */
enum model_seen_state {
    MODEL_LOOKED_AT, /* loaded, or hidden */
    MODEL_BROKEN,    /* it did not load */
    MODEL_ARRIVING,  /* its files may not all be there yet */
    MODEL_AGAIN      /* to be looked at at the next occasion */
};

/* A folder that was looked at. */
struct model_seen {
    char *dir, *name;
    enum model_seen_state state;
    uint64_t stamp;     /* of its files: another one is worth another look */
    int64_t noted_ns;   /* when this stamp was first seen; time_mono_ns */
    int64_t changed_ns; /* when its newest file or folder changed, by the system's clock */
};

enum { MODELS_FOLDERS_MAX = 8 };
struct models {
    bool has_lock;             /* set once, as are the next four */
    const char *default_model; /* of the configuration */
    const struct vec_kernels *kernels;
    char *folders[MODELS_FOLDERS_MAX];
    size_t n_folders;
    int64_t
        settle_ns; /* how long a folder must have been left alone to be taken for whole; for tests */

    struct mutex scan_lock; /* one looks for models at a time; before `lock` */
    struct model_seen
        *seen; /* guarded by scan_lock, as are the next three; names and states by `lock`, too */
    size_t n_seen;
    uint64_t folders_stamp;
    int64_t scanned_ns;

    struct mutex lock;
    struct model **
        rows; /* base models, sorted by name, none ever taken out; guarded by lock, as are the next four */
    size_t n, cap;
    struct model **learned; /* any order, a reference each */
    size_t n_learned;
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
/** A base model by "name" or "name@1", which lives as long as `m`; NULL: there is none in the table. */
struct model *models_find(struct models *m, struct str ref);
/**
 * Look for models whose folders have appeared since, try each (models_canary) and add those that are good. One that
 * does not load is logged, and tried again when its files have changed. A folder may still be copied: it is loaded when it
 * is whole by its SHA256SUMS, or when nothing in it has changed for two seconds, and not kept if it changes meanwhile. A
 * model that is in the table stays what it is, whatever becomes of its folder. Takes as long as loading takes, and looks at
 * the folders at most once a second unless something was put into them: for threads that may block. wait: for another
 * thread that is looking; else nothing is done then.
 */
void models_refresh(struct models *m, bool wait);
/** The folder that models_load would load `name` from, if it and those before it load. Reads config.json files and no
 * weights; the caller frees it. Errors: NOT_FOUND (none of this name), CORRUPT (its config.json), NOMEM. */
MUST_USE enum err_code models_find_folder(
    const struct config *cfg, struct str name, char **ret_dir, struct err *e);
/** Base models, sorted by name, in the arena. NOMEM. */
MUST_USE enum err_code models_all(
    struct models *m, struct arena *a, struct model ***ret_rows, size_t *ret_n, struct err *e);
/** NOT_FOUND: there is no model `ref`, which there are, and what brings more. what: "model", "base model". */
enum err_code models_missing(
    struct models *m, const char *what, struct str ref, const char *field, struct err *e);
/** Is this the model that made vectors once: the same weights and, where they count, settings (model_hash)? hash: what was
 * noted then; "", or what is none: not known, so yes. */
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
