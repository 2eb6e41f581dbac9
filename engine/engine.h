/* Layer: engine. May include: core, index, catalog, base.
 *
 * The product without HTTP: models, collections, encoding, search, writing.
 *
 * Work that waits for another thread is an operation (`struct x_op`): the
 * caller fills it, submits it, and `done` is called exactly once from an
 * engine thread, never from inside the submit call. If submit returns an
 * error, `done` is not called. No thread of the caller waits meanwhile.
 * Results are made in op.arena and live as long as it does; until `done` the
 * arena, and all that the op points to, belong to the engine.
 *
 * Arguments are borrowed until `done`. `ret_` outputs are not touched on failure.
 * Threads: everything here may be called from any thread, unless it says otherwise.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/queue.h"
#include "base/str.h"
#include "engine/filter.h"
#include "index/index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct config; /* engine/config.h */

/* ---- life cycle ---- */

/**
 * Open the data folder (created if missing, locked against a second server), load the models, read
 * the collections, start the threads. Searches are right at once; the graphs are linked behind them.
 * cfg is borrowed until engine_close.
 * Errors: CONFLICT (folder in use), NOT_FOUND (default model), CORRUPT, UNPROCESSABLE, IO, NOMEM.
 */
MUST_USE enum err_code engine_open(
    const struct config *cfg, struct engine **ret_engine, struct err *e);
/** New operations get ERR_DRAINING from now on; those accepted go on. */
void engine_drain(struct engine *g);
/** Finish what was accepted, stop the threads, close. Accepts NULL. */
void engine_close(struct engine *g);
/** OK, or NOT_READY / DRAINING with the reason. */
MUST_USE enum err_code engine_ready(struct engine *g, struct err *e);
/** Bring the gauges (items, pending, queue lengths) up to date: before metrics_render. */
void engine_metrics_refresh(struct engine *g);
/** When one that was refused with BUSY should come again, in seconds: when what waits now will have been encoded, as fast as
 * texts were encoded of late; 1 to 60. Does not block. */
unsigned engine_retry_after_s(struct engine *g);

/* ---- operations ---- */

struct engine_op {
    struct arena *arena;                /* in */
    int64_t deadline_ns;                /* in: time_mono_ns; 0: none */
    void (*done)(struct engine_op *op); /* in */
    void *user;                         /* in: the caller's own */
    struct err err;                     /* out: code ERR_OK on success */
    int64_t queue_ns, work_ns;          /* out: waited, worked; for the log */
    /* private to the engine */
    struct engine *engine;
    struct queue_node node;
    void (*step)(struct engine_op *op);
    void *state;
    int64_t since_ns; /* when the present wait or work began */
};

/** Which model answered. version 0: a collection of the user's own vectors. */
struct model_ref {
    struct str name;
    int64_t version;
};

/** Run `work` on a search thread, then `done`: for calls marked "blocking" below. */
MUST_USE enum err_code engine_run(
    struct engine *g, struct engine_op *op, void (*work)(struct engine_op *op), struct err *e);

/* ---- models ---- */

struct model_info {
    struct str name; /* "text-small" */
    int64_t version;
    struct str architecture;
    size_t dimensions, max_tokens, size_bytes;
    int64_t created_ms;
};
/** Load models whose folders have come into the model folders since. Blocking, call from engine_run; the operations that
 * name a model which is not there do it by themselves. wait: for another thread that is doing so; else nothing happens then,
 * and lists have what is there. */
void engine_models_refresh(struct engine *g, bool wait);
/** All base models, sorted by name. Does not block. */
MUST_USE enum err_code engine_models(
    struct engine *g, struct arena *a, struct model_info **ret_rows, size_t *ret_n, struct err *e);
/** "name" or "name@version", base ("text-small@1") or learned ("words/text-small@3"); NOT_FOUND. Does not block. */
MUST_USE enum err_code engine_model_find(
    struct engine *g, struct str ref, struct arena *a, struct model_info *ret, struct err *e);

/* ---- encoding ---- */

enum embed_kind { EMBED_DOCUMENT, EMBED_QUERY };

struct embed_op {
    struct engine_op op;
    /* in */
    struct str model;      /* "name@version"; "" : the collection's, else the default model */
    struct str collection; /* "" : none; else as that collection's searches encode now */
    const struct str *texts;
    size_t n; /* ≥ 1 */
    enum embed_kind kind;
    enum queue_lane lane;
    bool keep_long; /* false: a text over the model's token limit is an error */
    bool normalize;
    size_t dimensions; /* 0: the model's; else the first so many, renormalised if `normalize` */
    /* out */
    float *vectors; /* [n, ret_dimensions] */
    size_t ret_dimensions, ret_tokens;
    struct model_ref ret_model;
};
/** A bad text fails the operation; err.field is "/<index of the text>" (e.g. "/3").
 * Errors: NOT_FOUND (model, collection), INVALID, EMPTY, LIMIT, BUSY, TIMEOUT, DRAINING, NOMEM. */
MUST_USE enum err_code engine_embed(struct engine *g, struct embed_op *op, struct err *e);

/* ---- collections ---- */

struct collection_spec {
    struct str name;
    enum catalog_modality modality;
    struct str model;  /* "": the default model; ignored for MODALITY_VECTOR */
    size_t dimensions; /* MODALITY_VECTOR only */
    enum catalog_metric metric;
    const struct catalog_field *fields;
    size_t n_fields;
    uint32_t m, ef_construction, ef_search, bits; /* 0: default */
    /* what the request named, for the comparison with a collection that is there */
    bool has_modality, has_model, has_dimensions, has_metric, has_fields, has_index;
};
/* The index that serves. */
struct collection_index {
    size_t pending;    /* items searched by exact scan until the graph has linked them */
    size_t deleted;    /* places of deleted and replaced vectors that are not free yet */
    size_t vacant;     /* free ones */
    size_t size_bytes; /* memory */
    uint64_t repairs;  /* how often the graph was freed of deleted vectors */
    double recall; /* share of the best hits that searches found of late; NaN: not measured yet */
    struct index_curve curve; /* n 0: not measured yet */
};
struct collection_info {
    struct str name;
    int64_t id; /* of this collection; one made later under the same name has another */
    enum catalog_modality modality;
    enum catalog_metric metric;
    struct model_ref model; /* name "" for a vector collection */
    size_t dimensions, items;
    const struct catalog_field *fields;
    size_t n_fields;
    uint32_t m, ef_construction, ef_search, bits;
    size_t token_cost; /* encode_token_cost of its model; 1: it has none */
    struct collection_index index;
    size_t size_bytes; /* memory of all its indexes and filter columns */
    int64_t created_ms;
};

enum collection_action { COLLECTION_PUT, COLLECTION_DELETE };
struct collection_op {
    struct engine_op op;
    enum collection_action action;
    struct collection_spec spec; /* for DELETE only the name */
    /* out */
    bool created; /* PUT: false: it was there and agrees */
    struct collection_info info;
};
/** Errors: INVALID (name, dimensions, field path), NOT_FOUND (model; collection on delete), CONFLICT (differs from
 * what is there), UNPROCESSABLE (modality without a model), BUSY, DRAINING, FULL, IO, NOMEM. */
MUST_USE enum err_code engine_collection_submit(
    struct engine *g, struct collection_op *op, struct err *e);

/** Sorted by name. Does not block. */
MUST_USE enum err_code engine_collections(struct engine *g, struct arena *a,
    struct collection_info **ret_rows, size_t *ret_n, struct err *e);
MUST_USE enum err_code engine_collection_get(
    struct engine *g, struct str name, struct arena *a, struct collection_info *ret, struct err *e);

/* ---- writing items ---- */

enum upsert_outcome { UPSERT_FAILED, UPSERT_NEW, UPSERT_REPLACED, UPSERT_UNCHANGED };
struct upsert_item {
    /* in */
    struct str key;      /* never empty: the caller makes an id where none is given */
    struct str text;     /* p == NULL: none */
    struct str metadata; /* a JSON object as compact text with sorted keys; "{}" for none */
    const float *vector; /* vector collections; NULL else */
    size_t n_vector;
    /* out */
    enum upsert_outcome outcome;
    const struct err *failure; /* UPSERT_FAILED: why, in the arena */
};
struct upsert_op {
    struct engine_op op;
    struct str collection;
    int64_t collection_id; /* 0, or collection_info.id: NOT_FOUND if another has the name by now */
    struct upsert_item *items;
    size_t n;
    bool interactive;    /* a single item somebody waits for; else the bulk lane */
    bool all_or_nothing; /* the first bad item fails the operation (PUT of one item) */
    /* out */
    size_t n_new, n_replaced, n_unchanged, n_failed;
    struct model_ref model;
};
/**
 * When `done` runs without error, every item that is not UPSERT_FAILED is on disk and is found by the
 * next search. Unchanged content is not encoded again. The same key twice in one op: the later wins,
 * the earlier counts as replaced.
 * Errors: NOT_FOUND (collection), BUSY, TIMEOUT, DRAINING, FULL, IO, NOMEM; then nothing was written.
 */
MUST_USE enum err_code engine_upsert(struct engine *g, struct upsert_op *op, struct err *e);

struct delete_op {
    struct engine_op op;
    struct str collection;
    const struct str *keys; /* or filter */
    size_t n;
    const struct filter *filter;
    bool must_exist; /* a key that is not there is NOT_FOUND (DELETE of one item) */
    /* out */
    size_t deleted;
};
/** Items that are not there are passed over. With a filter: those that pass it when it is evaluated.
 * Errors: NOT_FOUND (collection; with must_exist the item: then nothing is deleted), the filter's, BUSY,
 * TIMEOUT, DRAINING, FULL, IO, NOMEM. */
MUST_USE enum err_code engine_delete(struct engine *g, struct delete_op *op, struct err *e);

/* ---- reading items: blocking (catalog reads), call from engine_run ---- */

struct item_view {
    struct str key, text, metadata;
    const float *vector; /* NULL unless asked for */
    size_t n_vector;
    struct model_ref model;
    int64_t created_ms, updated_ms;
};
enum {
    VIEW_TEXT = ITEM_WITH_TEXT,
    VIEW_METADATA = ITEM_WITH_METADATA,
    VIEW_VECTOR = ITEM_WITH_VECTOR
};

/** NOT_FOUND: collection or item. */
MUST_USE enum err_code engine_item_get(struct engine *g, struct str collection, struct str key,
    unsigned with, struct arena *a, struct item_view *ret, struct err *e);
/** A page in the order of first insertion. after: -1 for the first page, else the *ret_next of the
 * page before; *ret_next is -1 after the last. filter may be NULL. */
MUST_USE enum err_code engine_items_page(struct engine *g, struct str collection,
    const struct filter *filter, int64_t after, size_t limit, unsigned with, int64_t deadline_ns,
    struct arena *a, struct item_view **ret_rows, size_t *ret_n, int64_t *ret_next, struct err *e);
MUST_USE enum err_code engine_items_count(struct engine *g, struct str collection,
    const struct filter *filter, int64_t deadline_ns, size_t *ret_n, struct err *e);

/* ---- search ---- */

struct search_hit {
    struct str key, text, metadata;
    float score; /* higher is better: cosine, dot product, or minus the Euclidean distance */
    const float *vector;
    size_t n_vector;
    int64_t model_version; /* of the generation that gave it */
};
struct search_op {
    struct engine_op op;
    /* in: exactly one of text, vector, id */
    struct str collection;
    struct str text;     /* p == NULL: none */
    const float *vector; /* NULL: none */
    size_t n_vector;
    bool has_model_version;
    int64_t model_version;       /* of `vector`; another than the collection's is VERSION */
    struct str id;               /* p == NULL: none; like this item, itself left out */
    size_t k, offset;            /* k ≥ 1, k + offset ≤ 10,000 */
    const struct filter *filter; /* NULL: none */
    bool has_min_score;
    float min_score;
    bool exact;
    size_t ef;           /* 0: the collection's */
    float target_recall; /* 0: none; ]0, 1[: as much search as that takes, instead of ef */
    unsigned with;       /* VIEW_… */
    /* out */
    struct search_hit *hits;
    size_t n_hits;
    struct model_ref model;
    int64_t done_ns; /* time_mono_ns when they were complete */
};
/** Errors: NOT_FOUND (collection, id), INVALID (dimension, zero or non-finite vector, k), EMPTY (text),
 * VERSION, BUSY, TIMEOUT, DRAINING, NOMEM. err.field: "/text", "/vector", "/filter/…" as the wire names. */
MUST_USE enum err_code engine_search(struct engine *g, struct search_op *op, struct err *e);

struct search_batch_op {
    struct engine_op op;
    struct search_op *searches; /* in and out, but for their `op` */
    size_t n;                   /* ≥ 1 */
};
/** All are answered, or the operation fails by the first that cannot be: errors as engine_search, with "/searches/3/text" and
 * the like in err.field where it is one search's. */
MUST_USE enum err_code engine_search_batch(
    struct engine *g, struct search_batch_op *op, struct err *e);
