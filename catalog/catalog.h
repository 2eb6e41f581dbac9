/* Layer: catalog. May include: base.
 *
 * What is stored: collections, their generations (one a model version), items,
 * vectors, filterable field values, and the change sequence. The catalog is
 * the truth; indexes are caches of it.
 *
 * One SQLite database in WAL mode. Exactly one thread, the writer, calls the
 * functions under "Writing"; they use the only connection that commits and
 * checkpoints. Everything under "Reading" may be called from any thread and
 * runs on a pool of read-only connections, one short read transaction a call.
 * BUSY comes when all of them stay taken for five seconds; a scan's callback holds
 * one, so it should only copy, and must not call the catalog.
 *
 * An item is known by its key (the user's id) and by its slot: its number in
 * the collection, dense, given at the first write, kept when the item is
 * replaced, never given to another item. Indexes and filters speak in slots.
 *
 * Arguments are borrowed for the call. Rows come out in the caller's arena.
 * `ret_` outputs are not touched on failure. Errors everywhere: FULL, IO,
 * CORRUPT, NOMEM, BUSY (locked longer than the busy timeout).
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct catalog;

enum {
    CATALOG_NAME_MAX = 64,
    CATALOG_KEY_MAX = 256,
    CATALOG_FIELDS_MAX = 64,         /* filterable fields of a collection */
    CATALOG_HASH_BYTES = 32,         /* BLAKE2b-256 of an item's content */
    CATALOG_FIELD_VALUES_MAX = 1024, /* elements of one item's list field that are kept */
    CATALOG_HISTORY_BYTES = 17,      /* id of a history, with its NUL */
    CATALOG_BITS_DEFAULT = 24,
};

/**
 * Open or create; applies the embedded migrations, each in one transaction.
 * Errors: CORRUPT (not a catalog; an applied migration's checksum differs), UNPROCESSABLE (written by
 * a newer version of the program), CONFLICT (open already, here or in another process), NOT_FOUND (no
 * such folder), IO.
 */
MUST_USE enum err_code catalog_open(const char *path, struct catalog **ret_c, struct err *e);
/** Checkpoints and closes; no other thread may be inside. Accepts NULL. */
void catalog_close(struct catalog *c);

/* ---- rows ---- */

enum catalog_modality { MODALITY_TEXT, MODALITY_IMAGE, MODALITY_MULTIMODAL, MODALITY_VECTOR };
enum catalog_metric { METRIC_COSINE, METRIC_DOT, METRIC_L2 };
enum field_type { FIELD_INTEGER, FIELD_NUMBER, FIELD_STRING, FIELD_BOOLEAN, FIELD_DATETIME };

struct catalog_field {
    struct str path;      /* "year", "a.b": keys separated by dots */
    enum field_type type; /* as declared; a hint: values of other types are kept too */
};

enum generation_state {
    GENERATION_SERVING = 1,
    GENERATION_BUILDING, /* never served yet */
    GENERATION_RETIRED,  /* served once; kept to go back to */
};
/** The vectors that one model version made. */
struct catalog_generation {
    int64_t id;
    struct str model_name; /* "text-small", "words/text-small"; "" for a vector collection */
    int64_t model_version; /* 1 for a base model; 0 for a vector collection */
    size_t dimensions;
    enum generation_state state;
    int64_t seq; /* not SERVING: it knows the changes up to this one */
    int64_t created_ms;
};

struct catalog_collection {
    int64_t id;
    struct str name;
    enum catalog_modality modality; /* VECTOR: the user's own vectors, never re-embedded */
    enum catalog_metric metric;
    uint32_t m, ef_construction, ef_search; /* index settings */
    uint32_t bits;                          /* as above: of a value in the index */
    const struct catalog_field *fields;
    size_t n_fields;
    int64_t created_ms;
    struct str base_hash; /* of its base model's weights, hex; "": none, or not known */
    struct catalog_generation
        serving; /* when the row was read; who keeps the row follows by himself */
};

enum field_value_type {
    VALUE_NULL,
    VALUE_INTEGER,
    VALUE_NUMBER,
    VALUE_STRING,
    VALUE_BOOLEAN,
    VALUE_OTHER
};
/** One scalar found at a field's path; a list gives one row an element. VALUE_OTHER: an object (or a
 * nested list) is there, which no filter matches but which is not empty either. */
struct field_value {
    uint32_t field; /* position in catalog_collection.fields */
    enum field_value_type type;
    union {
        int64_t i; /* integer; boolean 0/1 */
        double d;
        struct str s;
    } v;
};

struct catalog_item {
    uint32_t slot;
    struct str key;
    struct str text;     /* p == NULL: none */
    struct str metadata; /* a JSON object as text; "{}" when none was given */
    int64_t created_ms, updated_ms;
    int64_t seq;         /* change sequence number of its last write */
    const float *vector; /* [n_vector] when asked for, else NULL */
    size_t n_vector;
    int64_t model_version; /* of the vector */
};

/* ---- Reading (any thread) ---- */

/** All collections, by id, with the generation that serves each. */
MUST_USE enum err_code catalog_collections(struct catalog *c, struct arena *a,
    struct catalog_collection **ret_rows, size_t *ret_n, struct err *e);

enum { ITEM_WITH_TEXT = 1, ITEM_WITH_METADATA = 2, ITEM_WITH_VECTOR = 4 };

/* gen: whose vectors ITEM_WITH_VECTOR means; may be NULL without it. An item that has none there comes
 * with vector == NULL. */

/** One item by key. NOT_FOUND. */
MUST_USE enum err_code catalog_item_get(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, struct str key, unsigned with, struct arena *a,
    struct catalog_item *ret, struct err *e);
/** Items of these slots, in the order given; a slot that is gone leaves its row with key.p == NULL.
 * rows [n]. All from one snapshot of the database. */
MUST_USE enum err_code catalog_items_by_slot(struct catalog *c,
    const struct catalog_collection *col, const struct catalog_generation *gen,
    const uint32_t *slots, size_t n, unsigned with, struct arena *a, struct catalog_item *ret_rows,
    struct err *e);
/** Slots of these keys; UINT32_MAX where there is none. */
MUST_USE enum err_code catalog_slots_by_key(struct catalog *c, const struct catalog_collection *col,
    const struct str *keys, size_t n, uint32_t *ret_slots, struct err *e);
/** Up to `limit` items with slot > after (first page: after = -1), ascending. */
MUST_USE enum err_code catalog_items_page(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, int64_t after, size_t limit, unsigned with,
    struct arena *a, struct catalog_item **ret_rows, size_t *ret_n, struct err *e);
MUST_USE enum err_code catalog_items_count(
    struct catalog *c, const struct catalog_collection *col, size_t *ret_n, struct err *e);

/** What is stored under these keys, so that unchanged content is not encoded again. ret [n]; where nothing is
 * found the slot is UINT32_MAX and the hashes are zero. */
struct catalog_probe {
    bool found;
    uint32_t slot;
    unsigned char content_hash[CATALOG_HASH_BYTES];
    unsigned char metadata_hash[CATALOG_HASH_BYTES];
};
MUST_USE enum err_code catalog_probe(struct catalog *c, const struct catalog_collection *col,
    const struct str *keys, size_t n, struct catalog_probe *ret, struct err *e);

/** Every vector of a generation, ascending slot; stops when `each` returns an
 * error, and returns it. vector [dimensions] is borrowed for the call of `each`. */
MUST_USE enum err_code catalog_vectors_scan(struct catalog *c, const struct catalog_generation *gen,
    enum err_code (*each)(void *arg, uint32_t slot, const float *vector, struct err *e), void *arg,
    struct err *e);
/** Every stored value of the declared fields, any order (rebuilds the filter columns at start). */
MUST_USE enum err_code catalog_fields_scan(struct catalog *c, const struct catalog_collection *col,
    enum err_code (*each)(void *arg, uint32_t slot, const struct field_value *v, struct err *e),
    void *arg, struct err *e);
/** As catalog_fields_scan for one path that is not declared: reads every item's metadata. deadline_ns
 * (time_mono_ns; 0: none) is checked as it goes: TIMEOUT. field_value.field is 0. */
MUST_USE enum err_code catalog_path_scan(struct catalog *c, const struct catalog_collection *col,
    struct str path, int64_t deadline_ns,
    enum err_code (*each)(void *arg, uint32_t slot, const struct field_value *v, struct err *e),
    void *arg, struct err *e);
/** How many there are; reads them all. */
MUST_USE enum err_code catalog_vectors_count(
    struct catalog *c, const struct catalog_generation *gen, size_t *ret_n, struct err *e);
/** All slots of the collection, any order (rebuilds the set of live ones at start). */
MUST_USE enum err_code catalog_slots_scan(struct catalog *c, const struct catalog_collection *col,
    enum err_code (*each)(void *arg, uint32_t slot, struct err *e), void *arg, struct err *e);

/** Changes after `since`, ascending: a live slot, or one that was deleted. */
MUST_USE enum err_code catalog_changes_scan(struct catalog *c, const struct catalog_collection *col,
    int64_t since,
    enum err_code (*each)(void *arg, int64_t seq, uint32_t slot, bool deleted, struct err *e),
    void *arg, struct err *e);

/** A random id for the changes that are written now; other runs of the program, and copies of the database that were
 * restored, have others. With a change number it says what something that was derived from the catalog has seen:
 * catalog_history_check. Before a run's first change: that of the changes before. */
MUST_USE enum err_code catalog_history(
    struct catalog *c, char ret_id[CATALOG_HISTORY_BYTES], struct err *e);
/** Does the catalog hold the changes up to `seq` as they were when history `id` had come to that number? CONFLICT: no, and
 * why: another catalog, or an older copy of this one was restored since. */
MUST_USE enum err_code catalog_history_check(
    struct catalog *c, const char *id, int64_t seq, struct err *e);

/** Size of the database and its WAL in bytes. */
size_t catalog_size_bytes(const struct catalog *c);

/* ---- Writing (the writer thread only) ----
 *
 * begin, then for each request: savepoint, its puts and deletes, release (or
 * undo, when it fails alone), then commit. A failed commit undoes all.
 * commit returns once the WAL is synced (synchronous=FULL).
 */

/** Begin a transaction; takes the write lock at once. Transactions do not nest (INTERNAL). */
MUST_USE enum err_code catalog_begin(struct catalog *c, struct err *e);
/** Begin a request inside it; savepoints do not nest (INTERNAL). */
MUST_USE enum err_code catalog_savepoint(struct catalog *c, struct err *e);
/** Keep the request. After a put or delete that failed with anything but a refusal of its input this
 * fails with the same code: undo or roll back. */
MUST_USE enum err_code catalog_release(struct catalog *c, struct err *e);
/** Undo back to the savepoint. A failure leaves nothing to do but catalog_rollback. */
MUST_USE enum err_code catalog_undo(struct catalog *c, struct err *e);
/** On error everything since begin is undone already. */
MUST_USE enum err_code catalog_commit(struct catalog *c, struct err *e);
void catalog_rollback(struct catalog *c);

/** Insert a collection and its first generation, which serves, and with a model (model_version not 0)
 * the first version of it (learning.h). Fields used: name, modality, metric, m, ef_construction,
 * ef_search, bits (0: the default), fields, base_hash, serving (model_name, model_version, dimensions); created_ms, id and serving.id
 * are set in *row. CONFLICT: the name exists. Outside begin/commit it is its own transaction. */
MUST_USE enum err_code catalog_collection_create(
    struct catalog *c, struct catalog_collection *row, struct err *e);
/** Take a collection out of sight: its name is free, and reads and writes no longer find it; its run, if one
 * has not ended, is CANCELLED. NOT_FOUND.
 * What it held stays on disk until catalog_purge has removed it. Not inside begin/commit. */
MUST_USE enum err_code catalog_collection_delete(struct catalog *c, int64_t id, struct err *e);
/** Remove one slice (at most 2,000 rows, one transaction) of what deleted collections and dropped
 * generations held, also of those that an earlier run left. *ret_more: call again. Not inside begin/commit. */
MUST_USE enum err_code catalog_purge(struct catalog *c, bool *ret_more, struct err *e);

/** Values of the declared fields found in one metadata text, in the arena. */
MUST_USE enum err_code catalog_fields_extract(struct catalog *c,
    const struct catalog_collection *col, struct str metadata, struct arena *a,
    struct field_value **ret_values, size_t *ret_n, struct err *e);

struct catalog_put {
    struct str key;
    struct str text;     /* p == NULL: none */
    struct str metadata; /* "{}" for none */
    unsigned char content_hash[CATALOG_HASH_BYTES];
    unsigned char metadata_hash[CATALOG_HASH_BYTES];
    const float
        *vector; /* [dimensions], or NULL: the stored one is kept, if its hash is content_hash */
    const struct field_value *values; /* from catalog_fields_extract; written to item_field */
    size_t n_values;
};
enum catalog_put_kind {
    PUT_NEW,
    PUT_REPLACED,  /* content (and vector) changed, or metadata only when put.vector == NULL */
    PUT_UNCHANGED, /* both hashes are what is stored: nothing was written */
    PUT_STALE, /* put.vector == NULL but the stored content differs: nothing was written, encode first */
};
struct catalog_put_result {
    enum catalog_put_kind kind;
    uint32_t slot;
    bool vector_written;
    const struct field_value *old_values; /* in the arena: what the item's fields were before */
    size_t n_old_values;
    int64_t seq;
};
/** gen: the generation that serves; the vector goes there. LIMIT: no slot left. CONFLICT: `gen` does not
 * serve (any more); nothing was written. */
MUST_USE enum err_code catalog_item_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const struct catalog_put *put, struct arena *a,
    struct catalog_put_result *ret, struct err *e);

/** Delete by key, with its vectors in all generations and its feedback; NOT_FOUND. old values as in put. */
MUST_USE enum err_code catalog_item_delete(struct catalog *c, const struct catalog_collection *col,
    struct str key, struct arena *a, struct catalog_put_result *ret, struct err *e);

/** Passive checkpoint; called by the writer when it is idle. */
MUST_USE enum err_code catalog_checkpoint(struct catalog *c, struct err *e);
