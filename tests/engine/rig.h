/* Layer: tests. May include: libcheck, engine and below.
 *
 * An engine in a temporary folder with a tiny model, and its operations as
 * calls that wait.
 */
#pragma once

#include "base/arena.h"
#include "base/thread.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/engine_internal.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

enum { RIG_DIM = 32 };

struct rig {
    struct tmpdir dir;
    struct config cfg;
    struct engine *g;
};

/** Folder, model and settings, not opened yet: a test may change rig->cfg first. */
void rig_init(struct rig *r);
void rig_set(struct rig *r, const char *key, const char *value);
/** Opens; fails the test if it cannot. */
void rig_open(struct rig *r);
void rig_close(struct rig *r);
void rig_reopen(struct rig *r);
/** Closes and removes the folder. */
void rig_done(struct rig *r);

/* One operation that is waited for. */
struct call {
    struct mutex lock;
    struct cond changed;
    bool done; /* guarded by lock */
    struct arena *arena;
};
void call_init(struct call *c);
void call_done(struct call *c);
/** Fill op's arena, done and user. */
void call_begin(struct call *c, struct engine_op *op);
/** Wait for an operation that was submitted with `submitted` as the result; returns its code. */
enum err_code call_wait(
    struct call *c, struct engine_op *op, enum err_code submitted, const struct err *e);
#define CALL __attribute__((cleanup(call_done))) struct call

/* Calls that wait. Errors of submit and of the operation come out alike, message in op->err. */
enum err_code rig_upsert(struct rig *r, struct call *c, struct upsert_op *op);
enum err_code rig_delete(struct rig *r, struct call *c, struct delete_op *op);
enum err_code rig_search(struct rig *r, struct call *c, struct search_op *op);
enum err_code rig_embed(struct rig *r, struct call *c, struct embed_op *op);
enum err_code rig_collection(struct rig *r, struct call *c, struct collection_op *op);

/** Upsert one text; fails the test if that fails. Returns the outcome. */
enum upsert_outcome rig_put(
    struct rig *r, const char *collection, const char *key, const char *text, const char *metadata);
/** n items "k<first>"… with texts of three words that depend on the number; in one operation. */
void rig_put_many(struct rig *r, const char *collection, size_t first, size_t n);
/** The text that rig_put_many gives item i. */
void rig_text(size_t i, char ret[64]);
/** Delete one key; NOT_FOUND or OK. */
enum err_code rig_remove(struct rig *r, const char *collection, const char *key);
/** Number of hits and the first key into ret_key. exact. */
size_t rig_find(
    struct rig *r, const char *collection, const char *text, size_t k, char ret_key[64]);
/** Items by count, list and index must be `want`, and every "k<i>" of [first, first+want) is found by
 * its own vector when `each`. */
void rig_check_items(struct rig *r, const char *collection, size_t want);
void rig_make_vectors(
    struct rig *r, const char *name, size_t dimensions, enum catalog_metric metric);
/** Value of a series, by name and labels as /metrics writes them. */
double rig_metric(const char *name);
double rig_tokens_encoded(void);

/** A version of the collection as a run would have made it: a tiny model of other words' vectors. Returns its
 * number. */
int64_t rig_make_version(struct rig *r, const char *collection, uint64_t seed);
/** The serving version. */
int64_t rig_version(struct rig *r, const char *collection);
/** Make a version serve, and wait; the code of promote_version. ret may be NULL. */
struct promote_report;
enum err_code rig_promote(
    struct rig *r, const char *collection, int64_t version, struct promote_report *ret);

/* Failing disk: every write of this process answers ENOSPC while on. */
void fault_disk_full(bool on);
