/* Versions of a collection's model: their lineage, which is kept for as long as the collection is.
 *
 * Numbers count up from 1, the base model, and no row is removed singly, so none is given twice.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>

static enum err_code version_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_version *row, struct err *e)
{
    int64_t state = sqlite3_column_int64(s, 3);
    if (state < VERSION_CANDIDATE || state > VERSION_REMOVED)
        return err_set(e, ERR_CORRUPT, "catalog: a version's state is out of range");
    *row = (struct catalog_version){ .version = sqlite3_column_int64(s, 0),
        .parent_version = sqlite3_column_int64(s, 1),
        .run_id = sqlite3_column_int64(s, 2),
        .state = (enum version_state)state,
        .created_ms = sqlite3_column_int64(s, 7),
        .served_ms = sqlite3_column_int64(s, 8) };
    TRY(catalog__column_str(s, 4, a, &row->base_model, e));
    TRY(catalog__column_str(s, 5, a, &row->data_hash, e));
    return catalog__column_str(s, 6, a, &row->weights_hash, e);
}

enum err_code catalog_versions(struct catalog *c, const struct catalog_collection *col,
    struct arena *a, struct catalog_version **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_version *rows = NULL;
    size_t cap = 0;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_VERSIONS);
    catalog__bind_int(s, 1, col->id);
    for (size_t n = 0;; n++) {
        bool more;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return err_set(e, ERR_NOMEM, "catalog: no memory for the versions");
        TRY(catalog__step(r.conn, s, &more, e, "reading versions"));
        if (!more) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        TRY(version_read(s, a, &rows[n], e));
    }
}

enum err_code catalog__version_insert(
    struct conn *cn, int64_t collection_id, const struct catalog_version *v, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_VERSION_INSERT);
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_int(s, 2, v->version);
    catalog__bind_int(s, 3, v->parent_version);
    catalog__bind_int(s, 4, v->run_id);
    catalog__bind_int(s, 5, v->state);
    catalog__bind_text(s, 6, v->base_model);
    catalog__bind_text(s, 7, v->data_hash);
    catalog__bind_text(s, 8, v->weights_hash);
    catalog__bind_int(s, 9, v->created_ms);
    catalog__bind_int(s, 10, v->served_ms);
    return catalog__run(cn, s, e, "inserting a version");
}

enum err_code catalog__version_state(struct conn *cn, int64_t collection_id, int64_t version,
    enum version_state *ret_state, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_VERSION_GET);
    bool row;
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_int(s, 2, version);
    TRY(catalog__step(cn, s, &row, e, "looking for a version"));
    if (!row)
        return err_set(e, ERR_NOT_FOUND, "the collection's model has no version %" PRId64, version);
    *ret_state = (enum version_state)sqlite3_column_int64(s, 0);
    return ERR_OK;
}

enum err_code catalog__version_set(struct conn *cn, int64_t collection_id, int64_t version,
    enum version_state state, int64_t served_ms, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_VERSION_SET);
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_int(s, 2, version);
    catalog__bind_int(s, 3, state);
    if (served_ms) catalog__bind_int(s, 4, served_ms);
    return catalog__run(cn, s, e, "writing a version's state");
}

static enum err_code last_version(
    struct conn *cn, int64_t collection_id, int64_t *ret_version, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_VERSION_LAST);
    bool row;
    catalog__bind_int(s, 1, collection_id);
    TRY(catalog__step(cn, s, &row, e, "looking for the last version"));
    *ret_version = row ? sqlite3_column_int64(s, 0) : 0; /* max() of nothing is NULL */
    if (*ret_version < 1)
        return err_set(e, ERR_NOT_FOUND, "the collection does not exist or has no model");
    return ERR_OK;
}

static enum err_code create(
    struct conn *cn, int64_t collection_id, struct catalog_version *v, struct err *e)
{
    enum version_state parent;
    int64_t last;
    TRY(last_version(cn, collection_id, &last, e));
    TRY(catalog__version_state(cn, collection_id, v->parent_version, &parent, e));
    v->version = last + 1;
    TRY(catalog__version_insert(cn, collection_id, v, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_SET_VERSION);
    catalog__bind_int(s, 1, v->run_id);
    catalog__bind_int(s, 2, collection_id);
    catalog__bind_int(s, 3, v->version);
    return catalog__run_one(
        cn, s, ERR_CONFLICT, "the run has made a version already, or has ended", e);
}

enum err_code catalog_version_create(struct catalog *c, const struct catalog_collection *col,
    struct catalog_version *v, struct err *e)
{
    struct catalog_version made = *v;
    made.state = VERSION_CANDIDATE;
    made.created_ms = time_unix_ms();
    made.served_ms = 0;
    TRY(catalog_begin(c, e));
    TRY(catalog__finish(c, create(&c->writer, col->id, &made, e), e));
    *v = made;
    return ERR_OK;
}

static enum err_code removed(struct conn *cn, int64_t collection_id, int64_t version, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_OF_VERSION);
    enum version_state state;
    bool row;
    TRY(catalog__version_state(cn, collection_id, version, &state, e));
    if (state == VERSION_REMOVED)
        return err_set(e, ERR_NOT_FOUND, "version %" PRId64 " was removed already", version);
    if (version == 1) return err_set(e, ERR_CONFLICT, "version 1 is the base model, which stays");
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_int(s, 2, version);
    catalog__bind_int(s, 3, GENERATION_REMOVED);
    TRY(catalog__step(cn, s, &row, e, "looking for a generation"));
    if (row) return err_set(e, ERR_CONFLICT, "version %" PRId64 " still has vectors", version);
    return catalog__version_set(cn, collection_id, version, VERSION_REMOVED, 0, e);
}

enum err_code catalog_version_removed(
    struct catalog *c, const struct catalog_collection *col, int64_t version, struct err *e)
{
    TRY(catalog_begin(c, e));
    return catalog__finish(c, removed(&c->writer, col->id, version, e), e);
}
