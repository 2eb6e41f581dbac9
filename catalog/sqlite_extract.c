/* Texts and metadata values, page by page: what learning draws its pairs from.
 *
 * Unlike the scans, which want one state of the database, a page is a short transaction: a reader that
 * takes a minute over a collection does not keep the WAL from starting anew.
 */
#include "catalog/learning.h"
#include "catalog/sqlite_internal.h"

enum { COL_SLOT, COL_TEXT, COL_TYPE, COL_VALUE, COLS_A_PATH = 2 };

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "catalog: no memory for texts and values");
}

/* Copy of at most `max` bytes, whole characters only. */
static enum err_code copy_cut(
    struct str text, size_t max, struct arena *a, struct str *ret, struct err *e)
{
    size_t n = text.n;
    if (n > max)
        for (n = max; n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80;)
            n--;
    char *copy = arena_strndup(a, n ? text.p : "", n);
    if (!copy) return no_memory(e);
    *ret = (struct str){ copy, n };
    return ERR_OK;
}

/* Bytes of a column that is not NULL. p == NULL: no memory. */
static struct str column_bytes(sqlite3_stmt *s, int at)
{
    /* A number has to be made a text; a text is there as it is stored. */
    const char *p = sqlite3_column_type(s, at) == SQLITE_TEXT
        ? sqlite3_column_blob(s, at)
        : (const char *)sqlite3_column_text(s, at);
    size_t n = (size_t)sqlite3_column_bytes(s, at);
    return (struct str){ p || n ? p : "", n };
}

struct found {
    struct str *p; /* [CATALOG_PATH_VALUES_MAX] once there is one */
    size_t n;
};

/* The scalar with its type's name in column `at` and its value in the next, if it is one. */
static enum err_code add_scalar(
    sqlite3_stmt *s, int at, size_t max, struct arena *a, struct found *found, struct err *e)
{
    struct str type, value;
    if (sqlite3_column_type(s, at) == SQLITE_NULL || sqlite3_column_type(s, at + 1) == SQLITE_NULL)
        return ERR_OK;
    type = column_bytes(s, at);
    if (!type.p) return no_memory(e);
    value = column_bytes(s, at + 1);
    if (str_is(type, "true") || str_is(type, "false")) value = type;
    if (!value.p) return no_memory(e);
    if (!found->p) found->p = arena_alloc(a, CATALOG_PATH_VALUES_MAX, sizeof *found->p);
    if (!found->p) return no_memory(e);
    TRY(copy_cut(value, max, a, &found->p[found->n], e));
    found->n++;
    return ERR_OK;
}

static enum err_code add_elements(struct conn *cn, struct str list, size_t max, struct arena *a,
    struct found *found, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_LIST_ELEMENTS);
    catalog__bind_str(s, 1, list);
    for (bool row; found->n < CATALOG_PATH_VALUES_MAX;) {
        TRY(catalog__step(cn, s, &row, e, "reading a list"));
        if (!row) break;
        TRY(add_scalar(s, 0, max, a, found, e));
    }
    return ERR_OK;
}

static enum err_code row_read(struct conn *cn, sqlite3_stmt *s,
    const struct catalog_values_query *q, struct arena *a, struct catalog_values *row,
    struct err *e)
{
    *row = (struct catalog_values){ .slot = (uint32_t)sqlite3_column_int64(s, COL_SLOT) };
    if (sqlite3_column_type(s, COL_TEXT) != SQLITE_NULL) {
        struct str text = column_bytes(s, COL_TEXT);
        if (!text.p) return no_memory(e);
        TRY(copy_cut(text, q->bytes_max, a, &row->text, e));
    }
    for (size_t i = 0; i < q->n_paths; i++) {
        int at = COL_TYPE + COLS_A_PATH * (int)i;
        struct found found = { 0 };
        if (sqlite3_column_type(s, at) == SQLITE_NULL) continue;
        if (str_is(column_bytes(s, at), "array")) {
            struct str list = column_bytes(s, at + 1);
            if (!list.p) return no_memory(e);
            TRY(add_elements(cn, list, q->bytes_max, a, &found, e));
        } else {
            TRY(add_scalar(s, at, q->bytes_max, a, &found, e));
        }
        row->values[i] = found.p;
        row->n_values[i] = found.n;
    }
    return ERR_OK;
}

enum err_code catalog_values_page(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_values_query *q, struct arena *a, struct catalog_values **ret_rows,
    size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct str paths[CATALOG_PATHS_MAX];
    struct catalog_values *rows = NULL;
    size_t cap = 0;
    ASSERT_BUG(q->n_paths <= CATALOG_PATHS_MAX);
    for (size_t i = 0; i < q->n_paths; i++)
        TRY(catalog__json_path(q->paths[i], a, &paths[i], e));
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_VALUES_PAGE);
    /* Slots have 32 bits, so the one after the last is no slot of another collection. */
    catalog__bind_int(s, 1, catalog__row_id(col->id, 0) + q->after + 1);
    catalog__bind_int(s, 2, catalog__row_id(col->id, SLOT_NONE));
    catalog__bind_int(s, 3, catalog__limit(q->limit));
    catalog__bind_int(s, 4, q->with_text);
    for (size_t i = 0; i < q->n_paths; i++)
        catalog__bind_str(s, 5 + (int)i, paths[i]);
    for (size_t n = 0;; n++) {
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return no_memory(e);
        int rc = sqlite3_step(s);
        if (rc == SQLITE_DONE) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        if (rc == SQLITE_ERROR)
            return err_set(e, ERR_CORRUPT, "catalog: stored metadata is not valid JSON");
        if (rc != SQLITE_ROW) return catalog__fail(r.conn, rc, e, "reading texts and values");
        TRY(row_read(r.conn, s, q, a, &rows[n], e));
    }
}
