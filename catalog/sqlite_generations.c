/* Generations: the sets of vectors beside the one that serves, and how they follow.
 *
 * A generation knows the changes up to its `seq`. Whoever brings it up to date reads a page of what came
 * after, makes vectors, and puts them together with the number of the page's last change. A vector is
 * written only while its item still carries the change that it was made from, so a page may be
 * old by the time it is put: what changed meanwhile has a later number and comes with a later page.
 * Deletions need no care here: an item's vectors go with it in all generations.
 *
 * The swap is one transaction over the rows that say who serves. It is refused unless the next generation knows
 * the collection's last change, which nobody can add to meanwhile: there is one writer.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>

/* ---- reading ---- */

static enum err_code generation_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_generation *row, struct err *e)
{
    int64_t dimensions = sqlite3_column_int64(s, 3), state = sqlite3_column_int64(s, 4);
    *row = (struct catalog_generation){ .id = sqlite3_column_int64(s, 0),
        .model_version = sqlite3_column_int64(s, 2),
        .dimensions = (size_t)dimensions,
        .state = (enum generation_state)state,
        .seq = sqlite3_column_int64(s, 5),
        .created_ms = sqlite3_column_int64(s, 6) };
    if (dimensions < 1 || dimensions > UINT16_MAX || state < GENERATION_SERVING ||
        state > GENERATION_RETIRED)
        return err_set(
            e, ERR_CORRUPT, "catalog: the row of generation %" PRId64 " is out of range", row->id);
    return catalog__column_str(s, 1, a, &row->model_name, e);
}

enum err_code catalog_generations(struct catalog *c, const struct catalog_collection *col,
    struct arena *a, struct catalog_generation **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_generation *rows = NULL;
    size_t cap = 0;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_GENERATIONS);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, GENERATION_REMOVED);
    for (size_t n = 0;; n++) {
        bool more;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return err_set(e, ERR_NOMEM, "catalog: no memory for the generations");
        TRY(catalog__step(r.conn, s, &more, e, "reading generations"));
        if (!more) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        TRY(generation_read(s, a, &rows[n], e));
    }
}

static enum err_code last_change(
    struct conn *cn, int64_t collection_id, int64_t *ret_seq, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_LAST_CHANGE);
    bool row;
    catalog__bind_int(s, 1, collection_id);
    TRY(catalog__step(cn, s, &row, e, "looking for the last change"));
    *ret_seq = row ? sqlite3_column_int64(s, 0) : 0;
    return ERR_OK;
}

enum err_code catalog_last_change(
    struct catalog *c, const struct catalog_collection *col, int64_t *ret_seq, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    return last_change(r.conn, col->id, ret_seq, e);
}

enum err_code catalog_changes_page(struct catalog *c, const struct catalog_collection *col,
    int64_t since, size_t limit, struct arena *a, struct catalog_change **ret_rows, size_t *ret_n,
    struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_change *rows = NULL;
    size_t cap = 0, bytes = 0;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_CHANGE_PAGE);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, since);
    catalog__bind_int(s, 3, catalog__limit(limit));
    for (size_t n = 0;; n++) {
        bool more = bytes < CATALOG_CHANGES_BYTES;
        rows = catalog__rows_room(a, rows, n, &cap, sizeof *rows);
        if (!rows) return err_set(e, ERR_NOMEM, "catalog: no memory for the changes");
        if (more) TRY(catalog__step(r.conn, s, &more, e, "reading changes"));
        if (!more) {
            *ret_rows = rows;
            *ret_n = n;
            return ERR_OK;
        }
        rows[n] = (struct catalog_change){ .seq = sqlite3_column_int64(s, 0),
            .slot = (uint32_t)sqlite3_column_int64(s, 1),
            .deleted = sqlite3_column_int(s, 2) != 0 };
        TRY(catalog__column_str(s, 3, a, &rows[n].text, e));
        bytes += rows[n].text.n;
    }
}

/* ---- writing ---- */

struct stored {
    int64_t state, seq;
    size_t dimensions;
    int64_t version;
};

/* A generation of a living collection, also one that is being removed. */
static enum err_code stored_read(
    struct conn *cn, int64_t id, int64_t collection_id, struct stored *ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_GET);
    bool row;
    catalog__bind_int(s, 1, id);
    catalog__bind_int(s, 2, collection_id);
    TRY(catalog__step(cn, s, &row, e, "looking for a generation"));
    if (!row) return err_set(e, ERR_NOT_FOUND, "catalog: there is no generation %" PRId64, id);
    *ret = (struct stored){ .state = sqlite3_column_int64(s, 0),
        .seq = sqlite3_column_int64(s, 1),
        .dimensions = (size_t)sqlite3_column_int64(s, 2),
        .version = sqlite3_column_int64(s, 3) };
    return ERR_OK;
}

static enum err_code state_set(
    struct conn *cn, int64_t id, int64_t state, int64_t seq, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_SET);
    catalog__bind_int(s, 1, id);
    catalog__bind_int(s, 2, state);
    catalog__bind_int(s, 3, seq);
    return catalog__run(cn, s, e, "writing a generation's state");
}

enum err_code catalog__generation_insert(struct conn *cn, int64_t collection_id,
    const struct catalog_generation *gen, int64_t *ret_id, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_INSERT);
    catalog__bind_int(s, 1, collection_id);
    catalog__bind_text(s, 2, gen->model_name);
    catalog__bind_int(s, 3, gen->model_version);
    catalog__bind_int(s, 4, (int64_t)gen->dimensions);
    catalog__bind_int(s, 5, gen->state);
    catalog__bind_int(s, 6, gen->created_ms);
    TRY(catalog__run(cn, s, e, "inserting a generation"));
    *ret_id = sqlite3_last_insert_rowid(cn->db);
    if (*ret_id > INT32_MAX) return err_set(e, ERR_LIMIT, "no more generations can be created");
    return ERR_OK;
}

static enum err_code create(struct conn *cn, const struct catalog_collection *col,
    struct catalog_generation *made, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_OF_VERSION);
    enum version_state state;
    bool row;
    TRY(catalog__version_state(cn, col->id, made->model_version, &state, e));
    if (state == VERSION_REMOVED)
        return err_set(
            e, ERR_NOT_FOUND, "version %" PRId64 " of the model was removed", made->model_version);
    catalog__bind_int(s, 1, col->id);
    catalog__bind_int(s, 2, made->model_version);
    catalog__bind_int(s, 3, GENERATION_REMOVED);
    TRY(catalog__step(cn, s, &row, e, "looking for a generation"));
    if (row)
        return err_set(e, ERR_CONFLICT, "version %" PRId64 " of the model has vectors already",
            made->model_version);
    made->created_ms = time_unix_ms();
    return catalog__generation_insert(cn, col->id, made, &made->id, e);
}

enum err_code catalog_generation_create(struct catalog *c, const struct catalog_collection *col,
    struct catalog_generation *gen, struct err *e)
{
    struct catalog_generation made = *gen;
    made.state = GENERATION_BUILDING;
    made.seq = 0;
    if (made.dimensions == 0 || made.dimensions > UINT16_MAX)
        return err_set(e, ERR_INVALID, "dimensions must be 1 to %d", UINT16_MAX);
    TRY(catalog_begin(c, e));
    TRY(catalog__finish(c, create(&c->writer, col, &made, e), e));
    *gen = made;
    return ERR_OK;
}

static enum err_code vector_put(struct conn *cn, int64_t collection_id,
    const struct catalog_generation *gen, struct catalog_vector_put *put, struct err *e)
{
    bool row;
    {
        AUTO_STMT sqlite3_stmt *item = catalog__stmt(cn, STMT_ITEM_SEQ);
        catalog__bind_int(item, 1, catalog__row_id(collection_id, put->slot));
        TRY(catalog__step(cn, item, &row, e, "looking for an item"));
        put->written = row && sqlite3_column_int64(item, 0) == put->seq;
    }
    if (!put->written) return ERR_OK;
    AUTO_STMT sqlite3_stmt *s =
        catalog__stmt(cn, put->vector ? STMT_VECTOR_STORE : STMT_VECTOR_REMOVE);
    catalog__bind_int(s, 1, catalog__row_id(gen->id, put->slot));
    if (put->vector) catalog__bind_blob(s, 2, put->vector, gen->dimensions * sizeof *put->vector);
    return catalog__run(cn, s, e, "writing a vector");
}

struct batch {
    struct catalog_vector_put *puts;
    size_t n;
    int64_t seq;
};

static enum err_code batch_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const struct batch *b, struct err *e)
{
    struct stored old;
    TRY(stored_read(&c->writer, gen->id, col->id, &old, e));
    if (old.state != GENERATION_BUILDING && old.state != GENERATION_RETIRED)
        return err_set(e, ERR_CONFLICT, "catalog: generation %" PRId64 " %s", gen->id,
            old.state == GENERATION_SERVING ? "serves" : "is being removed");
    if (old.dimensions != gen->dimensions)
        return err_set(e, ERR_INVALID,
            "catalog: vectors have %zu dimensions, those of generation %" PRId64 " %zu",
            gen->dimensions, gen->id, old.dimensions);
    if (b->seq < old.seq || b->seq > c->seq)
        return err_set(e, ERR_INVALID,
            "catalog: generation %" PRId64 " knows change %" PRId64 ", %" PRId64
            " cannot be its next",
            gen->id, old.seq, b->seq);
    for (size_t i = 0; i < b->n; i++)
        TRY(vector_put(&c->writer, col->id, gen, &b->puts[i], e));
    return state_set(&c->writer, gen->id, old.state, b->seq, e);
}

enum err_code catalog_generation_put(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, struct catalog_vector_put *puts, size_t n, int64_t seq,
    struct err *e)
{
    const struct batch b = { puts, n, seq };
    TRY(catalog_begin(c, e));
    return catalog__finish(c, batch_put(c, col, gen, &b, e), e);
}

/* The run that asked for the swap ends with it; one that ended before, as when it was cancelled, asks for
 * nothing any more. */
static enum err_code run_succeeds(
    struct conn *cn, int64_t collection_id, int64_t run_id, int64_t now_ms, struct err *e)
{
    if (run_id == 0) return ERR_OK;
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_RUN_END);
    catalog__bind_int(s, 1, run_id);
    catalog__bind_int(s, 2, collection_id);
    catalog__bind_int(s, 3, RUN_SUCCEEDED);
    catalog__bind_int(s, 4, now_ms);
    return catalog__run_one(cn, s, ERR_CONFLICT, "the run has ended already", e);
}

struct swap {
    int64_t old_id, old_version; /* who serves */
    struct stored next;
    int64_t last; /* change of the collection */
};

static enum err_code swap_check(
    struct conn *cn, int64_t collection_id, int64_t next_id, struct swap *sw, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_GENERATION_SERVING);
    enum version_state state;
    bool row;
    catalog__bind_int(s, 1, collection_id);
    TRY(catalog__step(cn, s, &row, e, "looking for the serving generation"));
    if (!row) return err_set(e, ERR_NOT_FOUND, "the collection does not exist");
    sw->old_id = sqlite3_column_int64(s, 0);
    sw->old_version = sqlite3_column_int64(s, 1);
    TRY(stored_read(cn, next_id, collection_id, &sw->next, e));
    if (sw->next.state != GENERATION_BUILDING && sw->next.state != GENERATION_RETIRED)
        return err_set(e, ERR_CONFLICT, "catalog: generation %" PRId64 " %s", next_id,
            sw->next.state == GENERATION_SERVING ? "serves already" : "is being removed");
    TRY(last_change(cn, collection_id, &sw->last, e));
    if (sw->next.seq < sw->last)
        return err_set(e, ERR_CONFLICT,
            "catalog: generation %" PRId64 " knows the changes up to %" PRId64 " of %" PRId64,
            next_id, sw->next.seq, sw->last);
    return catalog__version_state(cn, collection_id, sw->next.version, &state, e);
}

static enum err_code swap(struct conn *cn, int64_t collection_id, int64_t next_id, int64_t run_id,
    int64_t *ret_last, struct err *e)
{
    struct swap sw = { 0 };
    int64_t now = time_unix_ms();
    TRY(swap_check(cn, collection_id, next_id, &sw, e));
    TRY(state_set(cn, sw.old_id, GENERATION_RETIRED, sw.last, e));
    TRY(state_set(cn, next_id, GENERATION_SERVING, sw.last, e));
    AUTO_STMT sqlite3_stmt *serve = catalog__stmt(cn, STMT_COLLECTION_SERVE);
    catalog__bind_int(serve, 1, collection_id);
    catalog__bind_int(serve, 2, next_id);
    TRY(catalog__run(cn, serve, e, "naming the serving generation"));
    TRY(catalog__version_set(cn, collection_id, sw.old_version, VERSION_RETIRED, 0, e));
    TRY(catalog__version_set(cn, collection_id, sw.next.version, VERSION_SERVING, now, e));
    TRY(run_succeeds(cn, collection_id, run_id, now, e));
    *ret_last = sw.last;
    return ERR_OK;
}

enum err_code catalog_generation_serve(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *next, int64_t run_id, int64_t *ret_seq, struct err *e)
{
    int64_t last = 0;
    TRY(catalog_begin(c, e));
    TRY(catalog__finish(c, swap(&c->writer, col->id, next->id, run_id, &last, e), e));
    *ret_seq = last;
    return ERR_OK;
}

static enum err_code drop(struct conn *cn, int64_t collection_id, int64_t id, struct err *e)
{
    struct stored old;
    TRY(stored_read(cn, id, collection_id, &old, e));
    if (old.state == GENERATION_SERVING)
        return err_set(e, ERR_CONFLICT, "catalog: generation %" PRId64 " serves", id);
    return state_set(cn, id, GENERATION_REMOVED, old.seq, e);
}

enum err_code catalog_generation_drop(
    struct catalog *c, const struct catalog_collection *col, int64_t generation_id, struct err *e)
{
    TRY(catalog_begin(c, e));
    return catalog__finish(c, drop(&c->writer, col->id, generation_id, e), e);
}
