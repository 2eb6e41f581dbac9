/* Opening, closing, and the pool of readers.
 *
 * The file lock beside the database keeps a second server out: the change sequence and the slot
 * counters are kept in memory by the one writer there may be.
 *
 * Readers are opened when one is needed and none is idle, up to readers_max; then callers wait. The
 * pool is a stack, so that few connections serve a quiet server and their page caches stay warm.
 * Opening happens outside the lock.
 *
 * A catalog that was opened for reading only, beside a server in another process, is that pool without a
 * writer. Its connections write nothing to database and log, but share the log's index (-shm) with the
 * server, and after its crash they may be the ones who rebuild it. None of them checkpoints, at close
 * neither: only the server's writer does.
 *
 * SQLite allocates through base/mem.h: the tests that fail each allocation reach into it as well.
 * Its own statistics are off, because they take a global mutex at every allocation.
 */
#include "catalog/sqlite_internal.h"

#include "base/fileio.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- memory ---- */

enum { HEADER_BYTES = 16 }; /* the block's size in front of it; keeps malloc's alignment */

static void *sql_malloc(int n)
{
    char *p = mem_alloc((size_t)n + HEADER_BYTES, 1);
    if (!p) return NULL;
    memcpy(p, &n, sizeof n);
    return p + HEADER_BYTES;
}

static void sql_free(void *p)
{
    if (p) mem_free((char *)p - HEADER_BYTES);
}

static int sql_size(void *p)
{
    int n;
    if (!p) return 0;
    memcpy(&n, (char *)p - HEADER_BYTES, sizeof n);
    return n;
}

static void *sql_realloc(void *old, int n)
{
    char *p = mem_realloc((char *)old - HEADER_BYTES, (size_t)n + HEADER_BYTES, 1);
    if (!p) return NULL;
    memcpy(p, &n, sizeof n);
    return p + HEADER_BYTES;
}

static int sql_roundup(int n)
{
    return (n + 7) & ~7;
}

static int sql_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static void sql_shutdown(void *arg)
{
    (void)arg;
}

/* Fails, harmlessly, when something in the process used SQLite before. */
static void configure_sqlite(void)
{
    static const sqlite3_mem_methods methods = { .xMalloc = sql_malloc,
        .xFree = sql_free,
        .xRealloc = sql_realloc,
        .xSize = sql_size,
        .xRoundup = sql_roundup,
        .xInit = sql_init,
        .xShutdown = sql_shutdown };
    (void)sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}
static pthread_once_t configured = PTHREAD_ONCE_INIT;

/* ---- connections ---- */

static void conn_close(struct conn *cn)
{
    catalog__stmts_finalize(cn);
    sqlite3_close_v2(cn->db);
    cn->db = NULL;
}

static enum err_code setup(struct conn *cn, enum stmt_on on, struct err *e)
{
    for (int id = 0; id < STMT_COUNT; id++) {
        AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
        bool row = false;
        if (catalog__stmt_on((enum stmt_id)id) != on) continue;
        TRY(catalog__stmt_once(cn, (enum stmt_id)id, &s, e));
        TRY(catalog__step(cn, s, &row, e, "setting up a connection"));
        if (id != STMT_JOURNAL_WAL) continue;
        if (!row || !str_is(str_from((const char *)sqlite3_column_text(s, 0)), "wal"))
            return err_set(e, ERR_IO, "catalog: the file system cannot hold a write-ahead log");
    }
    return ERR_OK;
}

/* On failure cn->db may be set; the caller closes. */
static enum err_code conn_open(struct conn *cn, const char *path, bool writer, struct err *e)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
        (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(path, &cn->db, flags, NULL);
    if (rc != SQLITE_OK) return catalog__fail(cn, rc, e, "opening the database");
    (void)sqlite3_busy_timeout(cn->db, CATALOG_BUSY_TIMEOUT_MS);
    (void)sqlite3_db_config(cn->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (!writer) (void)sqlite3_db_config(cn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return setup(cn, writer ? STMT_ON_SETUP_WRITER : STMT_ON_SETUP_READER, e);
}

/* schema: what must be stored, or NULL where that is known */
static enum err_code reader_open(
    struct catalog *c, const struct embedded_file *schema, struct conn **ret_conn, struct err *e)
{
    struct conn *cn = mem_zalloc(1, sizeof *cn);
    if (!cn) return err_set(e, ERR_NOMEM, "catalog: no memory for a connection");
    enum err_code code = conn_open(cn, c->path, false, e);
    if (code == ERR_OK && schema) code = catalog__schema_check(cn, schema, e);
    if (code == ERR_OK) code = catalog__stmts_prepare(cn, false, e);
    if (code != ERR_OK) {
        conn_close(cn);
        mem_free(cn);
        return code;
    }
    *ret_conn = cn;
    return ERR_OK;
}

/* ---- open and close ---- */

static enum err_code lock_database(struct catalog *c, const char *path, struct err *e)
{
    static const char suffix[] = ".lock";
    size_t n = strlen(path);
    AUTO_FREE char *lock = mem_alloc(n + sizeof suffix, 1);
    if (!lock) return err_set(e, ERR_NOMEM, "catalog: no memory to open it");
    memcpy(lock, path, n);
    memcpy(lock + n, suffix, sizeof suffix);
    return file_lock(lock, &c->lock_fd, e);
}

static enum err_code paths_set(struct catalog *c, const char *path, struct err *e)
{
    static const char suffix[] = "-wal";
    size_t n = strlen(path);
    c->path = mem_strndup(path, n);
    c->wal_path = mem_alloc(n + sizeof suffix, 1);
    if (!c->path || !c->wal_path) return err_set(e, ERR_NOMEM, "catalog: no memory to open it");
    memcpy(c->wal_path, path, n);
    memcpy(c->wal_path + n, suffix, sizeof suffix);
    return ERR_OK;
}

static enum err_code seq_load(struct catalog *c, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_SEQ_GET);
    bool row;
    TRY(catalog__step(&c->writer, s, &row, e, "reading the change sequence"));
    if (!row) return err_set(e, ERR_CORRUPT, "catalog: the change sequence is missing");
    c->seq = c->seq_stored = sqlite3_column_int64(s, 0);
    return ERR_OK;
}

static enum err_code open_all(
    struct catalog *c, const char *path, const struct embedded_file *migrations, struct err *e)
{
    TRY(paths_set(c, path, e));
    TRY(lock_database(c, path, e));
    TRY(conn_open(&c->writer, path, true, e));
    TRY(catalog__migrate(&c->writer, migrations, e));
    TRY(catalog__stmts_prepare(&c->writer, true, e));
    return seq_load(c, e);
}

static struct catalog *catalog_new(struct err *e)
{
    (void)pthread_once(&configured, configure_sqlite);
    struct catalog *c = mem_zalloc(1, sizeof *c);
    if (!c) {
        (void)err_set(e, ERR_NOMEM, "catalog: no memory to open it");
        return NULL;
    }
    c->lock_fd = -1;
    c->readers_max = CATALOG_READERS_MAX;
    c->wait_ms = CATALOG_BUSY_TIMEOUT_MS;
    mutex_init(&c->lock, RANK_CATALOG);
    cond_init(&c->freed);
    return c;
}

enum err_code catalog__open(
    const char *path, const struct embedded_file *migrations, struct catalog **ret_c, struct err *e)
{
    struct catalog *c = catalog_new(e);
    if (!c) return ERR_NOMEM;
    enum err_code code = open_all(c, path, migrations, e);
    if (code != ERR_OK) {
        catalog_close(c);
        return code;
    }
    *ret_c = c;
    return ERR_OK;
}

enum err_code catalog_open(const char *path, struct catalog **ret_c, struct err *e)
{
    return catalog__open(path, embedded_migrations_sqlite, ret_c, e);
}

/* The first of its readers looks at the schema. SQLite itself would say no more of a missing file than that
 * it cannot be opened. */
static enum err_code open_to_read(struct catalog *c, const char *path, struct err *e)
{
    struct stat st;
    TRY(paths_set(c, path, e));
    if (stat(path, &st) != 0)
        return err_errno(e, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, errno,
            "catalog: %s", path);
    TRY(reader_open(c, embedded_migrations_sqlite, &c->idle, e));
    c->n_readers = 1;
    return ERR_OK;
}

enum err_code catalog_open_reader(const char *path, struct catalog **ret_c, struct err *e)
{
    struct catalog *c = catalog_new(e);
    if (!c) return ERR_NOMEM;
    enum err_code code = open_to_read(c, path, e);
    if (code != ERR_OK) {
        catalog_close(c);
        return code;
    }
    *ret_c = c;
    return ERR_OK;
}

enum err_code catalog__writable(const struct catalog *c, struct err *e)
{
    if (c->writer.db) return ERR_OK;
    return err_set(e, ERR_INTERNAL, "catalog: it was opened for reading only");
}

/* Readers go first: the last connection to leave checkpoints, and that must be the writer. */
void catalog_close(struct catalog *c)
{
    if (!c) return;
    if (c->in_tx) catalog_rollback(c);
    while (c->idle) {
        struct conn *cn = c->idle;
        c->idle = cn->next;
        conn_close(cn);
        mem_free(cn);
    }
    conn_close(&c->writer);
    if (c->lock_fd >= 0) (void)close(c->lock_fd); /* ends the lock */
    mutex_done(&c->lock);
    cond_done(&c->freed);
    mem_free(c->counters);
    mem_free(c->path);
    mem_free(c->wal_path);
    mem_free(c);
}

size_t catalog_size_bytes(const struct catalog *c)
{
    struct stat st;
    size_t n = 0;
    if (stat(c->path, &st) == 0) n += (size_t)st.st_size;
    if (stat(c->wal_path, &st) == 0) n += (size_t)st.st_size;
    return n;
}

/* ---- pool ---- */

static enum err_code reader_take(struct catalog *c, struct conn **ret_conn, struct err *e)
{
    int64_t deadline = time_mono_ns() + c->wait_ms * NS_PER_MS;
    {
        AUTO_LOCK(&c->lock);
        while (!c->idle && c->n_readers >= c->readers_max)
            if (!cond_wait_until(&c->freed, &c->lock, deadline) && !c->idle &&
                c->n_readers >= c->readers_max)
                return err_set(
                    e, ERR_BUSY, "catalog: all %u read connections are in use", c->readers_max);
        if (c->idle) {
            *ret_conn = c->idle;
            c->idle = c->idle->next;
            return ERR_OK;
        }
        c->n_readers++;
    }
    enum err_code code = reader_open(c, NULL, ret_conn, e);
    if (code != ERR_OK) {
        AUTO_LOCK(&c->lock);
        c->n_readers--;
        cond_signal(&c->freed);
    }
    return code;
}

static void reader_give_back(struct catalog *c, struct conn *cn)
{
    AUTO_LOCK(&c->lock);
    cn->next = c->idle;
    c->idle = cn;
    cond_signal(&c->freed);
}

enum err_code catalog__read_begin(struct catalog *c, struct reading *ret, struct err *e)
{
    struct conn *cn = NULL;
    TRY(reader_take(c, &cn, e));
    enum err_code code = catalog__exec(cn, STMT_BEGIN_READ, e, "beginning to read");
    if (code != ERR_OK) {
        reader_give_back(c, cn);
        return code;
    }
    *ret = (struct reading){ c, cn };
    return ERR_OK;
}

/* A read transaction has nothing to lose: whatever fails here fails on the next use as well. */
void catalog__read_end(struct reading *r)
{
    if (!r->conn) return;
    if (!sqlite3_get_autocommit(r->conn->db)) (void)!catalog__exec(r->conn, STMT_COMMIT, NULL, "");
    if (!sqlite3_get_autocommit(r->conn->db))
        (void)!catalog__exec(r->conn, STMT_ROLLBACK, NULL, "");
    reader_give_back(r->c, r->conn);
    r->conn = NULL;
}
