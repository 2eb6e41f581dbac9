/* Layer: engine. May include: core, index, catalog, base.
 *
 * What the files of the engine share: the engine itself and the life of an
 * operation.
 *
 * An operation is accepted once (it then counts as under way, holds its state
 * in its arena, its references and its permits), walks from queue to queue, and
 * is finished once, which gives all of that back and calls `done`. Between the
 * two exactly one thread owns it; the queues hand it over.
 */
#pragma once

#include "base/queue.h"
#include "base/thread.h"
#include "catalog/catalog.h"
#include "engine/collection.h"
#include "engine/config.h"
#include "engine/encode.h"
#include "engine/engine.h"
#include "engine/gate.h"
#include "engine/link.h"
#include "engine/maintenance.h"
#include "engine/models.h"
#include "engine/pool.h"
#include "engine/recall.h"
#include "engine/writer.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct engine {
    /* set once before the threads start */
    const struct config *cfg;
    const struct vec_kernels *kernels;
    struct models models;
    struct model *default_model;
    struct catalog *catalog;
    struct err not_ready; /* ERR_OK: the canary sang */

    struct registry registry;
    struct encoders encoders;
    struct pool pool;
    struct writer writer;
    struct linker linker;
    struct maintenance maintenance;
    struct recall_sampler recall;
    struct runs *runs; /* runs.h; locks for itself */

    struct gate search_gate;             /* searches and reads under way */
    struct gate write_gate;              /* items of writes under way */
    struct gate encode_gate[LANE_COUNT]; /* units of texts to be encoded: encode_cost */

    struct mutex life_lock;
    struct cond idle; /* under_way became 0 */
    size_t under_way; /* operations accepted and not done; guarded by life_lock */
    bool draining;    /* guarded by life_lock */
    atomic_llong gauges_at_ns;
};

/* What every operation holds; the first member of each operation's own state. */
struct op_state {
    struct collection *col; /* reference, or NULL */
    struct generation *gen; /* reference, or NULL */
    struct model *model;    /* reference, or NULL */
    size_t search_permits, write_permits, encode_permits;
    enum queue_lane encode_lane;
    void (*release)(struct op_state *s); /* NULL, or gives back what else the operation holds */
};

/**
 * Count the operation in, with a zeroed state of `state_bytes` in its arena (op->state).
 * Errors: DRAINING, NOMEM. After ERR_OK comes engine__finish, or engine__reject within the submit call.
 */
MUST_USE enum err_code engine__accept(
    struct engine *g, struct engine_op *op, size_t state_bytes, struct err *e);
/** Give back what the operation holds, without calling done. Returns `code`. */
enum err_code engine__reject(struct engine_op *op, enum err_code code);
/** Give back, then op->done(op). why == NULL: op->err stays as it is. The operation may be gone after. */
void engine__finish(struct engine_op *op, const struct err *why);
/** TIMEOUT if the operation's deadline is over. */
MUST_USE enum err_code engine__check_deadline(const struct engine_op *op, struct err *e);

/** The operation's wait begins / its work begins: adds the time since to work_ns / queue_ns. */
void engine__wait_begins(struct engine_op *op);
void engine__work_begins(struct engine_op *op);

/** Take permits or ERR_BUSY. */
MUST_USE enum err_code engine__take_search(
    struct engine *g, struct op_state *s, size_t searches, struct err *e);
MUST_USE enum err_code engine__take_write(
    struct engine *g, struct op_state *s, size_t items, struct err *e);
MUST_USE enum err_code engine__take_encode(
    struct engine *g, struct op_state *s, enum queue_lane lane, size_t units, struct err *e);

/** The model of a generation, or UNPROCESSABLE: none is there for texts. */
MUST_USE enum err_code engine__text_model(const struct collection *col,
    const struct generation *gen, const struct model **ret_m, struct err *e);
/** Model and version for an answer, copied into the arena. NOMEM. */
MUST_USE enum err_code engine__model_ref(
    struct arena *a, const struct generation *gen, struct model_ref *ret, struct err *e);
/** A text's length and encoding. field: JSON pointer for the error. EMPTY, LIMIT, INVALID. */
MUST_USE enum err_code engine__check_text(
    const struct engine *g, struct str text, const char *field, struct err *e);
/** Refresh the gauges if that was not done for a quarter of a second. */
void engine__gauges(struct engine *g);
