/* Scans of a whole collection: vectors, slots, changes.
 *
 * Each is one statement in one read transaction, so that a rebuild sees one state of the database.
 * Rows lie in the order wanted in a B-tree, so nothing is sorted. The callback runs inside the
 * transaction: while it lasts, the WAL cannot start anew, so it should only copy.
 */
#include "catalog/sqlite_internal.h"

enum err_code catalog_vectors_scan(struct catalog *c, const struct catalog_generation *gen,
    enum err_code (*each)(void *arg, uint32_t slot, const float *vector, struct err *e), void *arg,
    struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    size_t bytes = gen->dimensions * sizeof(float);
    /* Blobs lie in their page at any address; callers want floats. */
    AUTO_FREE float *vector = mem_alloc(gen->dimensions, sizeof *vector);
    if (!vector) return err_set(e, ERR_NOMEM, "catalog: no memory for a vector");
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_VECTOR_SCAN);
    catalog__bind_int(s, 1, catalog__row_id(gen->id, 0));
    catalog__bind_int(s, 2, catalog__row_id(gen->id, SLOT_NONE));
    for (bool row;;) {
        TRY(catalog__step(r.conn, s, &row, e, "reading vectors"));
        if (!row) return ERR_OK;
        const void *data = sqlite3_column_blob(s, 1);
        if ((size_t)sqlite3_column_bytes(s, 1) != bytes)
            return err_set(e, ERR_CORRUPT, "catalog: a stored vector has the wrong length");
        if (!data) return err_set(e, ERR_NOMEM, "catalog: no memory for a vector");
        memcpy(vector, data, bytes);
        TRY(each(arg, (uint32_t)sqlite3_column_int64(s, 0), vector, e));
    }
}

enum err_code catalog_vectors_count(
    struct catalog *c, const struct catalog_generation *gen, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_VECTOR_COUNT);
    catalog__bind_int(s, 1, catalog__row_id(gen->id, 0));
    catalog__bind_int(s, 2, catalog__row_id(gen->id, SLOT_NONE));
    return catalog__count(r.conn, s, UINT32_MAX, ret_n, e);
}

enum err_code catalog_slots_scan(struct catalog *c, const struct catalog_collection *col,
    enum err_code (*each)(void *arg, uint32_t slot, struct err *e), void *arg, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_SLOT_SCAN);
    catalog__bind_int(s, 1, col->id);
    for (bool row;;) {
        TRY(catalog__step(r.conn, s, &row, e, "reading slots"));
        if (!row) return ERR_OK;
        TRY(each(arg, (uint32_t)sqlite3_column_int64(s, 0), e));
    }
}

enum err_code catalog_changes_scan(struct catalog *c, const struct catalog_collection *col,
    int64_t since,
    enum err_code (*each)(void *arg, int64_t seq, uint32_t slot, bool deleted, struct err *e),
    void *arg, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_CHANGE_SCAN);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, since);
    for (bool row;;) {
        TRY(catalog__step(r.conn, s, &row, e, "reading changes"));
        if (!row) return ERR_OK;
        TRY(each(arg, sqlite3_column_int64(s, 0), (uint32_t)sqlite3_column_int64(s, 1),
            sqlite3_column_int(s, 2) != 0, e));
    }
}
