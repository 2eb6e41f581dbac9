/* Layer: catalog. May include: base, sqlite3.
 *
 * Shared by catalog/sqlite_*.c and the catalog's tests, by nobody else.
 *
 * Connections. The writer's is the only one that commits and checkpoints; it belongs to the writer
 * thread. Readers are opened read-only and lie in a pool; one that was taken belongs to the thread
 * that took it. Each connection has every statement it may run prepared (sqlite_stmts.def).
 *
 * Statements are used through AUTO_STMT, transactions of readers through AUTO_READ, both released
 * at the end of the scope:
 *
 *     AUTO_READ struct reading r = { 0 };
 *     TRY(catalog__read_begin(c, &r, e));
 *     AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_ITEM_GET);
 */
#pragma once

#include "base/embed.h"
#include "base/mem.h"
#include "base/thread.h"
#include "catalog/catalog.h"
#include "catalog/learning.h"

#include <sqlite3.h>

enum {
    CATALOG_READERS_MAX = 16,
    CATALOG_BUSY_TIMEOUT_MS = 5000,
    GENERATION_REMOVED = 4,    /* a state that the header does not show: vectors go in slices */
    CATALOG_PURGE_ROWS = 2000, /* rows that one transaction of a removal deletes at most */
};

enum stmt_id {
#define STMT(id, on, sql) STMT_##id,
#include "catalog/sqlite_stmts.def"
#undef STMT
    STMT_COUNT
};
enum stmt_on {
    STMT_ON_ALL,
    STMT_ON_WRITER,
    STMT_ON_MIGRATE,
    STMT_ON_SETUP_WRITER,
    STMT_ON_SETUP_READER,
};

struct conn {
    sqlite3 *db;
    sqlite3_stmt *stmts[STMT_COUNT]; /* NULL where the connection may not run it */
    struct conn *next;               /* in the pool's list of idle ones; guarded by catalog.lock */
};

/* A collection's row counters while a transaction touches it; written back at commit. */
struct counter {
    int64_t collection_id, serving_id; /* serving_id: its generation */
    int64_t next_slot, n_items;
    int64_t saved_next_slot, saved_n_items; /* at the savepoint */
};

struct catalog {
    char *path, *wal_path; /* set once at open */
    int lock_fd;           /* set once at open */

    /* owner: writer thread */
    struct conn writer; /* db == NULL: opened for reading only */
    bool in_tx, in_savepoint;
    enum err_code failed; /* of the first write that failed: only undo or rollback may follow */
    int64_t seq;          /* last change number given */
    int64_t seq_stored;   /* as in catalog_state */
    bool history_begun;   /* changes since the catalog was opened have their row in history */
    struct counter *counters;
    size_t n_counters, cap_counters, n_counters_saved;

    struct mutex lock;    /* RANK_CATALOG */
    struct cond freed;    /* a reader came back, or one may be opened */
    struct conn *idle;    /* guarded by lock */
    unsigned n_readers;   /* guarded by lock: idle and taken */
    unsigned readers_max; /* set once at open; tests lower it before they start threads */
    int64_t wait_ms;      /* as readers_max */
};

/* ---- sqlite_stmts.c ---- */

/** Text and place of a statement, for tests. */
const char *catalog__stmt_sql(enum stmt_id id);
enum stmt_on catalog__stmt_on(enum stmt_id id);
/** Prepare what this connection may run. */
MUST_USE enum err_code catalog__stmts_prepare(struct conn *cn, bool writer, struct err *e);
/** Prepare one MIGRATE or SETUP statement; AUTO_STMT_ONCE finalizes it. */
MUST_USE enum err_code catalog__stmt_once(
    struct conn *cn, enum stmt_id id, sqlite3_stmt **ret_stmt, struct err *e);
static inline void catalog__stmt_finalize(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}
#define AUTO_STMT_ONCE AUTO(catalog__stmt_finalize)
void catalog__stmts_finalize(struct conn *cn);

static inline sqlite3_stmt *catalog__stmt(struct conn *cn, enum stmt_id id)
{
    return cn->stmts[id];
}
/** Reset and forget the bindings; accepts NULL. */
void catalog__stmt_reset(sqlite3_stmt **s);
#define AUTO_STMT AUTO(catalog__stmt_reset)

/** A failed SQLite call as an error: what `rc` means to our callers, with SQLite's own words. */
enum err_code catalog__fail(struct conn *cn, int rc, struct err *e, const char *doing);
/** One row or the end. `doing` names the work in messages: "reading an item". */
MUST_USE enum err_code catalog__step(
    struct conn *cn, sqlite3_stmt *s, bool *ret_row, struct err *e, const char *doing);
/** Run a statement that has its bindings and gives no rows. */
MUST_USE enum err_code catalog__run(
    struct conn *cn, sqlite3_stmt *s, struct err *e, const char *doing);
/** Run one without parameters and rows. */
MUST_USE enum err_code catalog__exec(
    struct conn *cn, enum stmt_id id, struct err *e, const char *doing);

/* Bindings cannot fail here: indexes are ours, and data is borrowed (SQLITE_STATIC) until the reset;
 * only a value above SQLITE_LIMIT_LENGTH can, and then the step reports a NULL where none may be. */
void catalog__bind_int(sqlite3_stmt *s, int at, int64_t v);
void catalog__bind_str(sqlite3_stmt *s, int at, struct str v);
void catalog__bind_blob(sqlite3_stmt *s, int at, const void *p, size_t n);
/** As bind_str; "" where there is none. */
void catalog__bind_text(sqlite3_stmt *s, int at, struct str v);
/** NaN is NULL, which is all that SQLite knows of it. */
void catalog__bind_double(sqlite3_stmt *s, int at, double v);
double catalog__column_double(sqlite3_stmt *s, int at);
/** Room for one more of `n` rows that lie in the arena, whose number is not known before: the rows, moved
 * when there was none; NULL: no memory. Begin with NULL and *cap = 0. */
void *catalog__rows_room(struct arena *a, void *rows, size_t n, size_t *cap, size_t row_bytes);
/** The number that a statement with its bindings gives; CORRUPT above `max`. */
MUST_USE enum err_code catalog__count(
    struct conn *cn, sqlite3_stmt *s, size_t max, size_t *ret_n, struct err *e);
/** `limit` as SQLite takes it. */
static inline int64_t catalog__limit(size_t limit)
{
    return limit > UINT32_MAX ? (int64_t)UINT32_MAX : (int64_t)limit;
}
/** Copy of a text column; p == NULL where the column is NULL. */
MUST_USE enum err_code catalog__column_str(
    sqlite3_stmt *s, int at, struct arena *a, struct str *ret, struct err *e);

/* ---- sqlite_migrate.c ---- */

/** Check the stored schema and apply what is missing of `files` (name == NULL ends it). */
MUST_USE enum err_code catalog__migrate(
    struct conn *cn, const struct embedded_file *files, struct err *e);

/** Is the stored schema exactly that of `files`? UNPROCESSABLE: older or newer. */
MUST_USE enum err_code catalog__schema_check(
    struct conn *cn, const struct embedded_file *files, struct err *e);

/* ---- sqlite_db.c ---- */

/** catalog_open with other migrations, for tests. */
MUST_USE enum err_code catalog__open(const char *path, const struct embedded_file *migrations,
    struct catalog **ret_c, struct err *e);
/** INTERNAL when it was opened for reading only. */
MUST_USE enum err_code catalog__writable(const struct catalog *c, struct err *e);

struct reading {
    struct catalog *c;
    struct conn *conn;
};
/** Take a reader (BUSY when all stay taken for wait_ms) and begin a transaction. */
MUST_USE enum err_code catalog__read_begin(struct catalog *c, struct reading *ret, struct err *e);
/** End it and give the reader back; does nothing for a zeroed struct. */
void catalog__read_end(struct reading *r);
#define AUTO_READ AUTO(catalog__read_end)

/* ---- sqlite_tx.c ---- */

/** Counters of a live collection for this transaction; NOT_FOUND. Valid until the next call. */
MUST_USE enum err_code catalog__counter(
    struct catalog *c, int64_t collection_id, struct counter **ret_counter, struct err *e);
/** Note a write that failed, so that no commit can keep half of it; returns `code`. */
enum err_code catalog__write_failed(struct catalog *c, enum err_code code);

/** End a transaction that one call began: commit, or undo all of it if `code` is an error. */
MUST_USE enum err_code catalog__finish(struct catalog *c, enum err_code code, struct err *e);
/** Run a write that has its bindings; `none` with `message` when it changes no row. */
MUST_USE enum err_code catalog__run_one(
    struct conn *cn, sqlite3_stmt *s, enum err_code none, const char *message, struct err *e);

/* ---- sqlite_generations.c, sqlite_versions.c: inside a transaction ---- */

MUST_USE enum err_code catalog__generation_insert(struct conn *cn, int64_t collection_id,
    const struct catalog_generation *gen, int64_t *ret_id, struct err *e);
MUST_USE enum err_code catalog__version_insert(
    struct conn *cn, int64_t collection_id, const struct catalog_version *v, struct err *e);
/** State of a version of a live collection; NOT_FOUND. */
MUST_USE enum err_code catalog__version_state(struct conn *cn, int64_t collection_id,
    int64_t version, enum version_state *ret_state, struct err *e);
/** served_ms 0: as it is. */
MUST_USE enum err_code catalog__version_set(struct conn *cn, int64_t collection_id, int64_t version,
    enum version_state state, int64_t served_ms, struct err *e);

/* ---- sqlite_feedback.c ---- */

/** What names this slot, as item or as query; inside a transaction. */
MUST_USE enum err_code catalog__feedback_delete(
    struct catalog *c, int64_t collection_id, uint32_t slot, struct err *e);

/* ---- sqlite_fields.c ---- */

/** "a.b" as a JSON path, $."a"."b". INVALID: empty, too long, an empty key, or a key with a quote,
 * a backslash or a control character, which SQLite's paths cannot say. */
MUST_USE enum err_code catalog__json_path(
    struct str path, struct arena *a, struct str *ret_path, struct err *e);
/** Stored field values of an item, copied into the arena; writer's connection. */
MUST_USE enum err_code catalog__fields_read(struct catalog *c, int64_t item_id, struct arena *a,
    const struct field_value **ret_values, size_t *ret_n, struct err *e);
MUST_USE enum err_code catalog__fields_insert(
    struct catalog *c, int64_t item_id, const struct field_value *values, size_t n, struct err *e);
MUST_USE enum err_code catalog__fields_delete(struct catalog *c, int64_t item_id, struct err *e);

/* ---- ids ---- */

enum { SLOT_BITS = 32 };
#define SLOT_NONE UINT32_MAX
/** Row id of a slot in an owner: a collection, or a generation for vectors. */
static inline int64_t catalog__row_id(int64_t owner_id, uint32_t slot)
{
    return (int64_t)((uint64_t)owner_id << SLOT_BITS | slot);
}
