/* The writer's transaction.
 *
 * The change sequence and each touched collection's counters are kept in memory while a transaction
 * lasts and written once, at commit: a batch of 500 items costs one update of its collection row
 * instead of 500. The savepoint keeps the counters' values, so slots stay dense when a request is
 * undone. Change numbers of undone work are skipped, never given again.
 *
 * Two things may go wrong in the middle. A write that fails leaves what it did before it: `failed`
 * then refuses everything but undo and rollback. And SQLite itself rolls the whole transaction back
 * on some errors (a full disk, no memory): the connection is in autocommit mode then, and a COMMIT
 * would "succeed" on nothing. Every step asks for that first.
 */
#include "catalog/sqlite_internal.h"

static enum err_code tx_check(struct catalog *c, struct err *e)
{
    if (!c->in_tx) return err_set(e, ERR_INTERNAL, "catalog: there is no transaction");
    if (sqlite3_get_autocommit(c->writer.db))
        return err_set(e, c->failed ? c->failed : ERR_IO,
            "catalog: the transaction was rolled back after an error");
    return ERR_OK;
}

static enum err_code tx_check_whole(struct catalog *c, struct err *e)
{
    TRY(tx_check(c, e));
    if (c->failed) return err_set(e, c->failed, "catalog: a failed write was not undone");
    return ERR_OK;
}

enum err_code catalog__write_failed(struct catalog *c, enum err_code code)
{
    if (!c->failed) c->failed = code;
    return code;
}

static void tx_end(struct catalog *c)
{
    c->in_tx = c->in_savepoint = false;
    c->failed = ERR_OK;
    c->n_counters = c->n_counters_saved = 0;
}

enum err_code catalog_begin(struct catalog *c, struct err *e)
{
    TRY(catalog__writable(c, e));
    if (c->in_tx) return err_set(e, ERR_INTERNAL, "catalog: a transaction is open already");
    TRY(catalog__exec(&c->writer, STMT_BEGIN_WRITE, e, "beginning a transaction"));
    tx_end(c);
    c->in_tx = true;
    return ERR_OK;
}

enum err_code catalog_savepoint(struct catalog *c, struct err *e)
{
    TRY(tx_check_whole(c, e));
    if (c->in_savepoint) return err_set(e, ERR_INTERNAL, "catalog: savepoints do not nest");
    enum err_code code = catalog__exec(&c->writer, STMT_SAVEPOINT, e, "setting a savepoint");
    if (code != ERR_OK) return catalog__write_failed(c, code);
    for (size_t i = 0; i < c->n_counters; i++) {
        c->counters[i].saved_next_slot = c->counters[i].next_slot;
        c->counters[i].saved_n_items = c->counters[i].n_items;
    }
    c->n_counters_saved = c->n_counters;
    c->in_savepoint = true;
    return ERR_OK;
}

enum err_code catalog_release(struct catalog *c, struct err *e)
{
    TRY(tx_check_whole(c, e));
    if (!c->in_savepoint) return err_set(e, ERR_INTERNAL, "catalog: there is no savepoint");
    enum err_code code = catalog__exec(&c->writer, STMT_SAVEPOINT_RELEASE, e, "ending a savepoint");
    if (code != ERR_OK) return catalog__write_failed(c, code);
    c->in_savepoint = false;
    return ERR_OK;
}

enum err_code catalog_undo(struct catalog *c, struct err *e)
{
    TRY(tx_check(c, e));
    if (!c->in_savepoint) return err_set(e, ERR_INTERNAL, "catalog: there is no savepoint");
    enum err_code code = catalog__exec(&c->writer, STMT_SAVEPOINT_UNDO, e, "undoing a request");
    if (code == ERR_OK)
        code = catalog__exec(&c->writer, STMT_SAVEPOINT_RELEASE, e, "undoing a request");
    if (code != ERR_OK) return catalog__write_failed(c, code);
    c->n_counters = c->n_counters_saved;
    for (size_t i = 0; i < c->n_counters; i++) {
        c->counters[i].next_slot = c->counters[i].saved_next_slot;
        c->counters[i].n_items = c->counters[i].saved_n_items;
    }
    c->in_savepoint = false;
    c->failed = ERR_OK;
    return ERR_OK;
}

static enum err_code counters_store(struct catalog *c, struct err *e)
{
    for (size_t i = 0; i < c->n_counters; i++) {
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_COUNTER_SET);
        catalog__bind_int(s, 1, c->counters[i].collection_id);
        catalog__bind_int(s, 2, c->counters[i].next_slot);
        catalog__bind_int(s, 3, c->counters[i].n_items);
        TRY(catalog__run(&c->writer, s, e, "storing a collection's counters"));
    }
    if (c->seq == c->seq_stored) return ERR_OK;
    if (!c->history_begun) {
        AUTO_STMT sqlite3_stmt *h = catalog__stmt(&c->writer, STMT_HISTORY_BEGIN);
        catalog__bind_int(h, 1, c->seq_stored);
        TRY(catalog__run(&c->writer, h, e, "beginning a history"));
    }
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_SEQ_SET);
    catalog__bind_int(s, 1, c->seq);
    return catalog__run(&c->writer, s, e, "storing the change sequence");
}

enum err_code catalog_commit(struct catalog *c, struct err *e)
{
    if (!c->in_tx) return err_set(e, ERR_INTERNAL, "catalog: there is no transaction");
    enum err_code code = tx_check_whole(c, e);
    if (code == ERR_OK && c->in_savepoint)
        code = err_set(e, ERR_INTERNAL, "catalog: a savepoint is open at commit");
    if (code == ERR_OK) code = counters_store(c, e);
    if (code == ERR_OK) code = catalog__exec(&c->writer, STMT_COMMIT, e, "committing");
    if (code != ERR_OK) {
        catalog_rollback(c);
        return code;
    }
    c->history_begun |= c->seq != c->seq_stored;
    c->seq_stored = c->seq;
    tx_end(c);
    return ERR_OK;
}

/* ROLLBACK itself allocates nothing and cannot be refused; should it fail, SQLite rolled back. */
void catalog_rollback(struct catalog *c)
{
    if (!c->in_tx) return;
    if (!sqlite3_get_autocommit(c->writer.db))
        (void)!catalog__exec(&c->writer, STMT_ROLLBACK, NULL, "");
    tx_end(c);
}

enum err_code catalog__finish(struct catalog *c, enum err_code code, struct err *e)
{
    if (code == ERR_OK) return catalog_commit(c, e);
    catalog_rollback(c);
    return code;
}

enum err_code catalog__run_one(
    struct conn *cn, sqlite3_stmt *s, enum err_code none, const char *message, struct err *e)
{
    TRY(catalog__run(cn, s, e, "writing a row"));
    if (sqlite3_changes(cn->db) > 0) return ERR_OK;
    return err_set(e, none, "%s", message);
}

static enum err_code counters_reserve(struct catalog *c, struct err *e)
{
    if (c->n_counters < c->cap_counters) return ERR_OK;
    size_t cap = c->cap_counters ? 2 * c->cap_counters : 8;
    struct counter *p = mem_realloc(c->counters, cap, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "catalog: no memory for a transaction");
    c->counters = p;
    c->cap_counters = cap;
    return ERR_OK;
}

enum err_code catalog__counter(
    struct catalog *c, int64_t collection_id, struct counter **ret_counter, struct err *e)
{
    TRY(tx_check_whole(c, e));
    for (size_t i = c->n_counters; i-- > 0;)
        if (c->counters[i].collection_id == collection_id) {
            *ret_counter = &c->counters[i];
            return ERR_OK;
        }
    TRY(counters_reserve(c, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_COUNTER_GET);
    bool row;
    catalog__bind_int(s, 1, collection_id);
    TRY(catalog__step(&c->writer, s, &row, e, "reading a collection's counters"));
    if (!row) return err_set(e, ERR_NOT_FOUND, "the collection does not exist");
    int64_t next_slot = sqlite3_column_int64(s, 0);
    int64_t n_items = sqlite3_column_int64(s, 1);
    if (next_slot < 0 || next_slot > SLOT_NONE || n_items < 0)
        return err_set(e, ERR_CORRUPT, "catalog: a collection's counters are out of range");
    c->counters[c->n_counters] = (struct counter){ .collection_id = collection_id,
        .serving_id = sqlite3_column_int64(s, 2),
        .next_slot = next_slot,
        .n_items = n_items };
    *ret_counter = &c->counters[c->n_counters++];
    return ERR_OK;
}

enum err_code catalog_checkpoint(struct catalog *c, struct err *e)
{
    TRY(catalog__writable(c, e));
    if (c->in_tx) return ERR_OK; /* its commit checkpoints when there is enough to do */
    int rc = sqlite3_wal_checkpoint_v2(c->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return catalog__fail(&c->writer, rc, e, "checkpointing");
    return ERR_OK;
}
