/* Items, writing.
 *
 * A put looks its key up on the writer's own connection, so that it sees what the same transaction
 * wrote before: two puts of one key in one request are a new item and a replacement. What is
 * unchanged writes nothing; what needs a vector and has none writes nothing either (PUT_STALE).
 */
#include "catalog/sqlite_internal.h"

enum { VALUE_BYTES_MAX = 256 << 20 }; /* far above any request, far below SQLite's own limit */

struct stored {
    bool found, has_vector, same_content, same_metadata;
    uint32_t slot;
};

static enum err_code put_check(
    const struct catalog_collection *col, const struct catalog_put *put, struct err *e)
{
    if (put->key.n == 0 || put->key.n > CATALOG_KEY_MAX)
        return err_set(e, ERR_INVALID, "an item's id has 1 to %d bytes", CATALOG_KEY_MAX);
    if (!put->metadata.p) return err_set(e, ERR_INVALID, "an item has no metadata, not even {}");
    if (put->text.n > VALUE_BYTES_MAX || put->metadata.n > VALUE_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "an item has more than %d bytes", VALUE_BYTES_MAX);
    for (size_t i = 0; i < put->n_values; i++)
        if (put->values[i].field >= col->n_fields)
            return err_set(e, ERR_INVALID, "catalog: a value of a field that was not declared");
    return ERR_OK;
}

static bool same_hash(sqlite3_stmt *s, int at, const unsigned char want[CATALOG_HASH_BYTES])
{
    const void *got = sqlite3_column_blob(s, at);
    return sqlite3_column_bytes(s, at) == CATALOG_HASH_BYTES &&
        memcmp(got, want, CATALOG_HASH_BYTES) == 0;
}

/* put: whose hashes to compare, or NULL */
static enum err_code stored_read(struct conn *cn, const struct catalog_collection *col,
    int64_t generation_id, struct str key, const struct catalog_put *put, struct stored *ret,
    struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_ITEM_STORED);
    bool row;
    catalog__bind_int(s, 1, col->id);
    catalog__bind_str(s, 2, key);
    catalog__bind_int(s, 3, generation_id);
    TRY(catalog__step(cn, s, &row, e, "looking for an item"));
    *ret = (struct stored){ .found = row };
    if (!row) return ERR_OK;
    ret->slot = (uint32_t)sqlite3_column_int64(s, 0);
    ret->has_vector = sqlite3_column_int(s, 3) != 0;
    if (!put) return ERR_OK;
    ret->same_content = same_hash(s, 1, put->content_hash);
    ret->same_metadata = same_hash(s, 2, put->metadata_hash);
    return ERR_OK;
}

/* Insert or update the item's row; the parameters of both statements agree. */
static enum err_code row_write(struct catalog *c, enum stmt_id id, int64_t item_id,
    const struct catalog_put *put, int64_t seq, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, id);
    catalog__bind_int(s, 1, item_id);
    if (id == STMT_ITEM_INSERT) catalog__bind_str(s, 2, put->key);
    catalog__bind_int(s, 3, seq);
    catalog__bind_int(s, 4, time_unix_ms());
    catalog__bind_blob(s, 5, put->content_hash, sizeof put->content_hash);
    catalog__bind_blob(s, 6, put->metadata_hash, sizeof put->metadata_hash);
    catalog__bind_str(s, 7, put->metadata);
    if (put->text.p) catalog__bind_str(s, 8, put->text);
    return catalog__run(&c->writer, s, e, "writing an item");
}

static enum err_code vector_write(struct catalog *c, enum stmt_id id,
    const struct catalog_generation *gen, uint32_t slot, const float *vector, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, id);
    catalog__bind_int(s, 1, catalog__row_id(gen->id, slot));
    catalog__bind_blob(s, 2, vector, gen->dimensions * sizeof *vector);
    return catalog__run(&c->writer, s, e, "writing a vector");
}

static enum err_code item_insert(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const struct catalog_put *put,
    struct catalog_put_result *r, struct err *e)
{
    int64_t item_id = catalog__row_id(col->id, r->slot);
    TRY(row_write(c, STMT_ITEM_INSERT, item_id, put, r->seq, e));
    TRY(vector_write(c, STMT_VECTOR_INSERT, gen, r->slot, put->vector, e));
    r->vector_written = true;
    return catalog__fields_insert(c, item_id, put->values, put->n_values, e);
}

static enum err_code item_replace(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const struct catalog_put *put, const struct stored *old,
    struct catalog_put_result *r, struct err *e)
{
    int64_t item_id = catalog__row_id(col->id, r->slot);
    TRY(row_write(c, STMT_ITEM_UPDATE, item_id, put, r->seq, e));
    if (put->vector && !(old->same_content && old->has_vector)) {
        enum stmt_id id = old->has_vector ? STMT_VECTOR_UPDATE : STMT_VECTOR_INSERT;
        TRY(vector_write(c, id, gen, r->slot, put->vector, e));
        r->vector_written = true;
    }
    if (old->same_metadata || col->n_fields == 0) return ERR_OK;
    TRY(catalog__fields_delete(c, item_id, e));
    return catalog__fields_insert(c, item_id, put->values, put->n_values, e);
}

enum err_code catalog_item_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const struct catalog_put *put, struct arena *a,
    struct catalog_put_result *ret, struct err *e)
{
    struct catalog_put_result r = { .slot = SLOT_NONE };
    struct counter *counter;
    struct stored old;
    TRY(put_check(col, put, e));
    TRY(catalog__counter(c, col->id, &counter, e));
    if (counter->serving_id != gen->id)
        return err_set(e, ERR_CONFLICT, "the vectors that were written to no longer serve");
    TRY(stored_read(&c->writer, col, gen->id, put->key, put, &old, e));
    if (old.found) r.slot = old.slot;
    if (old.same_content && old.same_metadata && old.has_vector)
        r.kind = PUT_UNCHANGED;
    else if (!put->vector && !(old.same_content && old.has_vector))
        r.kind = PUT_STALE;
    else
        r.kind = old.found ? PUT_REPLACED : PUT_NEW;
    if (r.kind == PUT_UNCHANGED || r.kind == PUT_STALE) {
        *ret = r;
        return ERR_OK;
    }
    if (!old.found && counter->next_slot >= SLOT_NONE)
        return err_set(e, ERR_LIMIT, "the collection has given all its item numbers");
    if (old.found && col->n_fields > 0)
        TRY(catalog__fields_read(
            c, catalog__row_id(col->id, r.slot), a, &r.old_values, &r.n_old_values, e));
    if (!old.found) r.slot = (uint32_t)counter->next_slot;
    r.seq = ++c->seq;
    enum err_code code = old.found ? item_replace(c, col, gen, put, &old, &r, e)
                                   : item_insert(c, col, gen, put, &r, e);
    if (code != ERR_OK) return catalog__write_failed(c, code);
    if (!old.found) {
        counter->next_slot++;
        counter->n_items++;
    }
    *ret = r;
    return ERR_OK;
}

static enum err_code item_remove(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_put_result *r, struct err *e)
{
    struct conn *cn = &c->writer;
    int64_t item_id = catalog__row_id(col->id, r->slot);
    AUTO_STMT sqlite3_stmt *item = catalog__stmt(cn, STMT_ITEM_DELETE);
    AUTO_STMT sqlite3_stmt *vectors = catalog__stmt(cn, STMT_VECTORS_DELETE);
    AUTO_STMT sqlite3_stmt *tombstone = catalog__stmt(cn, STMT_TOMBSTONE_INSERT);
    if (col->n_fields > 0) TRY(catalog__fields_delete(c, item_id, e));
    TRY(catalog__feedback_delete(c, col->id, r->slot, e));
    catalog__bind_int(vectors, 1, col->id);
    catalog__bind_int(vectors, 2, r->slot);
    TRY(catalog__run(cn, vectors, e, "deleting vectors"));
    catalog__bind_int(item, 1, item_id);
    TRY(catalog__run(cn, item, e, "deleting an item"));
    catalog__bind_int(tombstone, 1, col->id);
    catalog__bind_int(tombstone, 2, r->seq);
    catalog__bind_int(tombstone, 3, r->slot);
    return catalog__run(cn, tombstone, e, "noting a deletion");
}

enum err_code catalog_item_delete(struct catalog *c, const struct catalog_collection *col,
    struct str key, struct arena *a, struct catalog_put_result *ret, struct err *e)
{
    struct catalog_put_result r = { .kind = PUT_REPLACED };
    struct counter *counter;
    struct stored old;
    TRY(catalog__counter(c, col->id, &counter, e));
    TRY(stored_read(&c->writer, col, 0, key, NULL, &old, e));
    if (!old.found) return err_set(e, ERR_NOT_FOUND, "the item does not exist");
    r.slot = old.slot;
    if (col->n_fields > 0)
        TRY(catalog__fields_read(
            c, catalog__row_id(col->id, r.slot), a, &r.old_values, &r.n_old_values, e));
    r.seq = ++c->seq;
    enum err_code code = item_remove(c, col, &r, e);
    if (code != ERR_OK) return catalog__write_failed(c, code);
    counter->n_items--;
    *ret = r;
    return ERR_OK;
}
