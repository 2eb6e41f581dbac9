/* Feedback: which item was right, or wrong, for a query. The query is a text or another item; texts of items
 * are read when a page is, so feedback follows their changes, and it goes when one of its items does.
 */
#include "catalog/sqlite_internal.h"

static enum err_code item_check(
    struct conn *cn, int64_t collection_id, uint32_t slot, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_ITEM_SEQ);
    bool row;
    catalog__bind_int(s, 1, catalog__row_id(collection_id, slot));
    TRY(catalog__step(cn, s, &row, e, "looking for an item"));
    return row ? ERR_OK : err_set(e, ERR_NOT_FOUND, "the item does not exist");
}

enum err_code catalog_feedback_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_feedback *f, struct err *e)
{
    struct conn *cn = &c->writer;
    struct counter *counter;
    bool text = f->query_text.p != NULL;
    if (text && f->query_text.n == 0) return err_set(e, ERR_INVALID, "the query is empty");
    TRY(catalog__counter(c, col->id, &counter, e)); /* a transaction, a living collection */
    TRY(item_check(cn, col->id, f->slot, e));
    if (!text) TRY(item_check(cn, col->id, f->query_slot, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_FEEDBACK_PUT);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, text ? -1 : (int64_t)f->query_slot);
    catalog__bind_int(s, 3, f->slot);
    catalog__bind_int(s, 4, f->signal);
    catalog__bind_int(s, 5, time_unix_ms());
    catalog__bind_text(s, 6, f->query_text);
    enum err_code code = catalog__run(cn, s, e, "writing feedback");
    return code == ERR_OK ? ERR_OK : catalog__write_failed(c, code);
}

enum err_code catalog__feedback_delete(
    struct catalog *c, int64_t collection_id, uint32_t slot, struct err *e)
{
    static const enum stmt_id both[] = { STMT_FEEDBACK_DELETE_ITEM, STMT_FEEDBACK_DELETE_QUERY };
    for (size_t i = 0; i < 2; i++) {
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, both[i]);
        catalog__bind_int(s, 1, collection_id);
        catalog__bind_int(s, 2, slot);
        TRY(catalog__run(&c->writer, s, e, "deleting feedback"));
    }
    return ERR_OK;
}

enum err_code catalog_feedback_page(struct catalog *c, const struct catalog_collection *col,
    int64_t after, size_t limit, struct arena *a, struct feedback_row **ret_rows, size_t *ret_n,
    struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct feedback_row *rows = NULL;
    size_t cap = 0;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_FEEDBACK_PAGE);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, after);
    catalog__bind_int(s, 3, catalog__limit(limit));
    for (size_t n = 0;; n++) {
        bool more;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return err_set(e, ERR_NOMEM, "catalog: no memory for feedback");
        TRY(catalog__step(r.conn, s, &more, e, "reading feedback"));
        if (!more) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        int64_t signal = sqlite3_column_int64(s, 3);
        if (signal < FEEDBACK_CLICK || signal > FEEDBACK_IRRELEVANT)
            return err_set(e, ERR_CORRUPT, "catalog: a feedback's signal is out of range");
        rows[n].id = sqlite3_column_int64(s, 0);
        rows[n].signal = (enum feedback_signal)signal;
        TRY(catalog__column_str(s, 1, a, &rows[n].query, e));
        TRY(catalog__column_str(s, 2, a, &rows[n].item, e));
    }
}

enum err_code catalog_feedback_count(
    struct catalog *c, const struct catalog_collection *col, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_FEEDBACK_COUNT);
    catalog__bind_int(s, 1, col->id);
    return catalog__count(r.conn, s, SIZE_MAX, ret_n, e);
}
