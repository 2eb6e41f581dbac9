/* Histories: whose changes a number counts.
 *
 * Change numbers alone do not tell a catalog from an older copy of itself that was put back and has gone on: both
 * may have come to number 1,000 by other ways. So each run of the program that changes something begins a history, a
 * row with a random id and the last number before, in the transaction of its first change (sqlite_tx.c). A copy ends in
 * the middle of the history it was made in; whoever goes on from it begins another. A thing derived at number n of
 * history h has seen what this catalog holds if h is one of its histories and n is not beyond its end.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>

enum err_code catalog_history(struct catalog *c, char ret_id[CATALOG_HISTORY_BYTES], struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    bool row;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_HISTORY_LAST);
    TRY(catalog__step(r.conn, s, &row, e, "reading the history"));
    const void *id = row ? sqlite3_column_text(s, 0) : NULL;
    if (!id || sqlite3_column_bytes(s, 0) != CATALOG_HISTORY_BYTES - 1)
        return err_set(e, ERR_CORRUPT, "catalog: it has no history");
    memcpy(ret_id, id, CATALOG_HISTORY_BYTES);
    return ERR_OK;
}

enum err_code catalog_history_check(struct catalog *c, const char *id, int64_t seq, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    bool row;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_HISTORY_END);
    catalog__bind_str(s, 1, str_from(id));
    TRY(catalog__step(r.conn, s, &row, e, "reading the history"));
    if (!row)
        return err_set(e, ERR_CONFLICT,
            "it is of another catalog, or an older copy of this one was restored since");
    int64_t end = sqlite3_column_int64(s, 0);
    if (seq <= end) return ERR_OK;
    return err_set(e, ERR_CONFLICT,
        "it has seen change %" PRId64 ", where this catalog had come to %" PRId64
        ": an older copy was restored since",
        seq, end);
}
