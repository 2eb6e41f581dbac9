/* Migrations: what is stored is compared with what the program carries, then the rest is applied.
 *
 * Each file runs in one transaction together with its row in schema_migrations, so a crash leaves
 * it applied or not at all. The checksum of every applied file is compared at each open: a schema
 * made by other bytes than ours must not be trusted. 0001 creates schema_migrations itself.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>
#include <sodium/crypto_hash_sha256.h>

enum { APPLICATION_ID = 0x4b4e4452 }; /* "KNDR", as in 0001_init.sql */

/* An empty database is ours to fill; another program's is not. */
static enum err_code schema_check_origin(struct conn *cn, bool *ret_empty, struct err *e)
{
    AUTO_STMT_ONCE sqlite3_stmt *objects = NULL;
    AUTO_STMT_ONCE sqlite3_stmt *app = NULL;
    bool row;
    TRY(catalog__stmt_once(cn, STMT_SCHEMA_OBJECTS, &objects, e));
    TRY(catalog__step(cn, objects, &row, e, "reading the schema"));
    if (row && sqlite3_column_int64(objects, 0) == 0) {
        *ret_empty = true;
        return ERR_OK;
    }
    TRY(catalog__stmt_once(cn, STMT_APPLICATION_ID, &app, e));
    TRY(catalog__step(cn, app, &row, e, "reading the application id"));
    if (!row || sqlite3_column_int64(app, 0) != APPLICATION_ID ||
        sqlite3_column_int64(objects, 1) != 1)
        return err_set(e, ERR_CORRUPT, "catalog: the database was not made by Kindred");
    *ret_empty = false;
    return ERR_OK;
}

/* Compares the applied migrations with ours; ret_n: how many of ours are applied. */
static enum err_code applied_check(struct conn *cn, const struct embedded_file *files,
    size_t n_files, size_t *ret_n, struct err *e)
{
    AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
    size_t n = 0;
    TRY(catalog__stmt_once(cn, STMT_MIGRATIONS, &s, e));
    for (bool row;; n++) {
        unsigned char want[crypto_hash_sha256_BYTES];
        TRY(catalog__step(cn, s, &row, e, "reading the applied migrations"));
        if (!row) break;
        int64_t version = sqlite3_column_int64(s, 0);
        if (version > (int64_t)n_files)
            return err_set(e, ERR_UNPROCESSABLE,
                "catalog: schema version %" PRId64
                " was written by a newer version of the program, "
                "which knows %zu",
                version, n_files);
        if (version != (int64_t)n + 1)
            return err_set(e, ERR_CORRUPT, "catalog: migration %zu is not recorded", n + 1);
        crypto_hash_sha256(want, files[n].data, files[n].size);
        const void *got = sqlite3_column_blob(s, 2);
        if (sqlite3_column_bytes(s, 2) != (int)sizeof want || memcmp(got, want, sizeof want) != 0)
            return err_set(e, ERR_CORRUPT,
                "catalog: migration %s was applied with other content than this program carries",
                files[n].name);
    }
    *ret_n = n;
    return ERR_OK;
}

static enum err_code run_script(struct conn *cn, const struct embedded_file *f, struct err *e)
{
    const char *p = (const char *)f->data;
    const char *end = p + f->size;
    while (p < end) {
        AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
        const char *tail = end;
        int rc = sqlite3_prepare_v2(cn->db, p, (int)(end - p), &s, &tail);
        while (rc == SQLITE_OK && s && (rc = sqlite3_step(s)) == SQLITE_ROW)
            rc = SQLITE_OK;
        if (rc != SQLITE_OK && rc != SQLITE_DONE) {
            (void)catalog__fail(cn, rc, e, "applying a migration");
            return err_wrap(e, "%s", f->name);
        }
        p = tail;
    }
    return ERR_OK;
}

static enum err_code record(
    struct conn *cn, const struct embedded_file *f, size_t version, struct err *e)
{
    unsigned char sum[crypto_hash_sha256_BYTES];
    AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
    TRY(catalog__stmt_once(cn, STMT_MIGRATION_INSERT, &s, e));
    crypto_hash_sha256(sum, f->data, f->size);
    catalog__bind_int(s, 1, (int64_t)version);
    catalog__bind_str(s, 2, str_from(f->name));
    catalog__bind_blob(s, 3, sum, sizeof sum);
    catalog__bind_int(s, 4, time_unix_ms());
    return catalog__run(cn, s, e, "recording a migration");
}

static enum err_code run_once(struct conn *cn, enum stmt_id id, struct err *e, const char *doing)
{
    AUTO_STMT_ONCE sqlite3_stmt *s = NULL;
    TRY(catalog__stmt_once(cn, id, &s, e));
    return catalog__run(cn, s, e, doing);
}

static enum err_code apply(
    struct conn *cn, const struct embedded_file *f, size_t version, struct err *e)
{
    enum err_code code;
    TRY(run_once(cn, STMT_BEGIN_WRITE, e, "beginning a migration"));
    code = run_script(cn, f, e);
    if (code == ERR_OK) code = record(cn, f, version, e);
    if (code == ERR_OK) code = run_once(cn, STMT_COMMIT, e, "committing a migration");
    if (code == ERR_OK) return ERR_OK;
    /* Without memory for the statement, closing the connection rolls back as well. */
    if (!sqlite3_get_autocommit(cn->db)) (void)!run_once(cn, STMT_ROLLBACK, NULL, "");
    return code;
}

/* The number in front of a file's name. */
static size_t file_version(const char *name)
{
    size_t v = 0;
    for (; *name >= '0' && *name <= '9' && v < 1000000; name++)
        v = v * 10 + (size_t)(*name - '0');
    return *name == '_' ? v : 0;
}

static enum err_code files_count(const struct embedded_file *files, size_t *ret_n, struct err *e)
{
    size_t n_files = 0;
    for (; files[n_files].name; n_files++)
        if (file_version(files[n_files].name) != n_files + 1)
            return err_set(e, ERR_INTERNAL, "catalog: migration %s should have number %zu",
                files[n_files].name, n_files + 1);
    *ret_n = n_files;
    return ERR_OK;
}

enum err_code catalog__schema_check(
    struct conn *cn, const struct embedded_file *files, struct err *e)
{
    size_t n_files, n_applied;
    bool empty;
    TRY(files_count(files, &n_files, e));
    TRY(schema_check_origin(cn, &empty, e));
    if (empty) return err_set(e, ERR_CORRUPT, "catalog: the database is empty");
    TRY(applied_check(cn, files, n_files, &n_applied, e));
    if (n_applied < n_files)
        return err_set(e, ERR_UNPROCESSABLE,
            "catalog: schema version %zu was written by an older version of the program, which "
            "must "
            "be brought up to %zu by a start of the server",
            n_applied, n_files);
    return ERR_OK;
}

enum err_code catalog__migrate(struct conn *cn, const struct embedded_file *files, struct err *e)
{
    size_t n_files, n_applied = 0;
    bool empty;
    TRY(files_count(files, &n_files, e));
    TRY(schema_check_origin(cn, &empty, e));
    if (!empty) TRY(applied_check(cn, files, n_files, &n_applied, e));
    for (size_t i = n_applied; i < n_files; i++)
        TRY(apply(cn, &files[i], i + 1, e));
    return ERR_OK;
}
