/* Statements: prepared once a connection, reset by scope; and SQLite's result codes as ours.
 *
 * Text columns are read with sqlite3_column_blob: it hands out the stored bytes, where
 * sqlite3_column_text may have to allocate a terminated copy first.
 */
#include "catalog/sqlite_internal.h"

#include <errno.h>
#include <math.h>

static const struct {
    const char *sql;
    enum stmt_on on;
} stmts[STMT_COUNT] = {
#define STMT(id, on, sql) [STMT_##id] = { (sql), STMT_ON_##on },
#include "catalog/sqlite_stmts.def"
#undef STMT
};

const char *catalog__stmt_sql(enum stmt_id id)
{
    return stmts[id].sql;
}

enum stmt_on catalog__stmt_on(enum stmt_id id)
{
    return stmts[id].on;
}

static enum err_code prepare(
    struct conn *cn, enum stmt_id id, unsigned flags, sqlite3_stmt **ret_stmt, struct err *e)
{
    int rc = sqlite3_prepare_v3(cn->db, stmts[id].sql, -1, flags, ret_stmt, NULL);
    if (rc != SQLITE_OK) return catalog__fail(cn, rc, e, "preparing a statement");
    return ERR_OK;
}

enum err_code catalog__stmt_once(
    struct conn *cn, enum stmt_id id, sqlite3_stmt **ret_stmt, struct err *e)
{
    return prepare(cn, id, 0, ret_stmt, e);
}

enum err_code catalog__stmts_prepare(struct conn *cn, bool writer, struct err *e)
{
    for (int id = 0; id < STMT_COUNT; id++) {
        enum stmt_on on = stmts[id].on;
        if (on != STMT_ON_ALL && !(on == STMT_ON_WRITER && writer)) continue;
        TRY(prepare(cn, (enum stmt_id)id, SQLITE_PREPARE_PERSISTENT, &cn->stmts[id], e));
    }
    return ERR_OK;
}

void catalog__stmts_finalize(struct conn *cn)
{
    for (int id = 0; id < STMT_COUNT; id++) {
        sqlite3_finalize(cn->stmts[id]);
        cn->stmts[id] = NULL;
    }
}

void catalog__stmt_reset(sqlite3_stmt **s)
{
    if (!*s) return;
    sqlite3_reset(*s); /* repeats the error of the last step, which was reported there */
    sqlite3_clear_bindings(*s);
}

static enum err_code meaning(sqlite3 *db, int rc)
{
    if (rc == SQLITE_IOERR_NOMEM) return ERR_NOMEM;
    switch (rc & 0xff) {
    case SQLITE_FULL: return ERR_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT: return ERR_CORRUPT;
    case SQLITE_NOMEM: return ERR_NOMEM;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
        int os = db ? sqlite3_system_errno(db) : 0;
        return os == ENOSPC || os == EDQUOT ? ERR_FULL : ERR_IO;
    }
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
    case SQLITE_NOLFS: return ERR_IO;
    case SQLITE_INTERRUPT: return ERR_CANCELLED;
    case SQLITE_TOOBIG: return ERR_LIMIT;
    case SQLITE_CONSTRAINT: return ERR_CONFLICT;
    default: return ERR_INTERNAL;
    }
}

enum err_code catalog__fail(struct conn *cn, int rc, struct err *e, const char *doing)
{
    return err_set(e, meaning(cn->db, rc), "catalog: %s: %s", doing,
        cn->db ? sqlite3_errmsg(cn->db) : sqlite3_errstr(rc));
}

enum err_code catalog__step(
    struct conn *cn, sqlite3_stmt *s, bool *ret_row, struct err *e, const char *doing)
{
    int rc = sqlite3_step(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return catalog__fail(cn, rc, e, doing);
    *ret_row = rc == SQLITE_ROW;
    return ERR_OK;
}

enum err_code catalog__run(struct conn *cn, sqlite3_stmt *s, struct err *e, const char *doing)
{
    int rc = sqlite3_step(s);
    if (rc != SQLITE_DONE) return catalog__fail(cn, rc, e, doing);
    return ERR_OK;
}

enum err_code catalog__exec(struct conn *cn, enum stmt_id id, struct err *e, const char *doing)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, id);
    return catalog__run(cn, s, e, doing);
}

void catalog__bind_int(sqlite3_stmt *s, int at, int64_t v)
{
    (void)sqlite3_bind_int64(s, at, v);
}

void catalog__bind_str(sqlite3_stmt *s, int at, struct str v)
{
    (void)sqlite3_bind_text64(s, at, v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
}

void catalog__bind_blob(sqlite3_stmt *s, int at, const void *p, size_t n)
{
    (void)sqlite3_bind_blob64(s, at, p, n, SQLITE_STATIC);
}

void catalog__bind_text(sqlite3_stmt *s, int at, struct str v)
{
    catalog__bind_str(s, at, v.p ? v : STR(""));
}

void catalog__bind_double(sqlite3_stmt *s, int at, double v)
{
    (void)sqlite3_bind_double(s, at, v);
}

double catalog__column_double(sqlite3_stmt *s, int at)
{
    return sqlite3_column_type(s, at) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, at);
}

void *catalog__rows_room(struct arena *a, void *rows, size_t n, size_t *cap, size_t row_bytes)
{
    if (n < *cap) return rows;
    size_t more = *cap ? 2 * *cap : 16;
    void *p = arena_alloc(a, more, row_bytes);
    if (!p) return NULL;
    if (n) memcpy(p, rows, n * row_bytes);
    *cap = more;
    return p;
}

enum err_code catalog__count(
    struct conn *cn, sqlite3_stmt *s, size_t max, size_t *ret_n, struct err *e)
{
    bool row = false;
    TRY(catalog__step(cn, s, &row, e, "counting rows"));
    int64_t n = row ? sqlite3_column_int64(s, 0) : -1;
    if (n < 0 || (uint64_t)n > max)
        return err_set(e, ERR_CORRUPT, "catalog: a count is out of range");
    *ret_n = (size_t)n;
    return ERR_OK;
}

enum err_code catalog__column_str(
    sqlite3_stmt *s, int at, struct arena *a, struct str *ret, struct err *e)
{
    if (sqlite3_column_type(s, at) == SQLITE_NULL) {
        *ret = (struct str){ NULL, 0 };
        return ERR_OK;
    }
    const char *p = sqlite3_column_blob(s, at);
    size_t n = (size_t)sqlite3_column_bytes(s, at);
    char *copy = n && !p ? NULL : arena_strndup(a, n ? p : "", n);
    if (!copy) return err_set(e, ERR_NOMEM, "catalog: no memory for a row");
    *ret = (struct str){ copy, n };
    return ERR_OK;
}
