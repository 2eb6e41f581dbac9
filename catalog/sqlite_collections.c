/* Collections and their generations.
 *
 * A removal may be long, so it has two parts. catalog_collection_delete marks the collection as deleted,
 * which frees its name and hides it. catalog_purge then removes fields, items, tombstones, feedback and
 * vectors, at most CATALOG_PURGE_ROWS rows a call and transaction, and the collection's row last; what a crash
 * leaves over is still marked, so the next run goes on. Generations that were dropped go the same way.
 */
#include "catalog/sqlite_internal.h"

#include <inttypes.h>

/* ---- reading ---- */

static enum err_code row_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_collection *row, struct err *e)
{
    int64_t modality = sqlite3_column_int64(s, 2), metric = sqlite3_column_int64(s, 3);
    int64_t dimensions = sqlite3_column_int64(s, 4), state = sqlite3_column_int64(s, 12);
    *row = (struct catalog_collection){ .id = sqlite3_column_int64(s, 0) };
    if (modality < MODALITY_TEXT || modality > MODALITY_VECTOR || metric < METRIC_COSINE ||
        metric > METRIC_L2 || dimensions < 1 || dimensions > UINT16_MAX ||
        state != GENERATION_SERVING)
        return err_set(
            e, ERR_CORRUPT, "catalog: the row of collection %" PRId64 " is out of range", row->id);
    row->modality = (enum catalog_modality)modality;
    row->metric = (enum catalog_metric)metric;
    row->m = (uint32_t)sqlite3_column_int64(s, 5);
    row->ef_construction = (uint32_t)sqlite3_column_int64(s, 6);
    row->ef_search = (uint32_t)sqlite3_column_int64(s, 7);
    row->bits = (uint32_t)sqlite3_column_int64(s, 15);
    row->created_ms = sqlite3_column_int64(s, 8);
    row->serving = (struct catalog_generation){ .id = sqlite3_column_int64(s, 9),
        .model_version = sqlite3_column_int64(s, 11),
        .dimensions = (size_t)dimensions,
        .state = GENERATION_SERVING,
        .seq = sqlite3_column_int64(s, 13),
        .created_ms = sqlite3_column_int64(s, 16) };
    TRY(catalog__column_str(s, 1, a, &row->name, e));
    TRY(catalog__column_str(s, 14, a, &row->base_hash, e));
    return catalog__column_str(s, 10, a, &row->serving.model_name, e);
}

static enum err_code fields_read(
    struct conn *cn, struct arena *a, struct catalog_collection *row, struct err *e)
{
    AUTO_STMT sqlite3_stmt *count = catalog__stmt(cn, STMT_COLLECTION_FIELDS_COUNT);
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_COLLECTION_FIELDS);
    size_t n;
    catalog__bind_int(count, 1, row->id);
    TRY(catalog__count(cn, count, CATALOG_FIELDS_MAX, &n, e));
    struct catalog_field *f = arena_alloc(a, n, sizeof *f);
    if (!f) return err_set(e, ERR_NOMEM, "catalog: no memory for the collections");
    catalog__bind_int(s, 1, row->id);
    for (size_t i = 0; i < n; i++) {
        bool more;
        TRY(catalog__step(cn, s, &more, e, "reading a collection's fields"));
        int64_t type = more ? sqlite3_column_int64(s, 1) : -1;
        if (type < FIELD_INTEGER || type > FIELD_DATETIME)
            return err_set(e, ERR_CORRUPT, "catalog: a field's type is out of range");
        f[i].type = (enum field_type)type;
        TRY(catalog__column_str(s, 0, a, &f[i].path, e));
    }
    row->fields = f;
    row->n_fields = n;
    return ERR_OK;
}

enum err_code catalog_collections(struct catalog *c, struct arena *a,
    struct catalog_collection **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    size_t n;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *count = catalog__stmt(r.conn, STMT_COLLECTIONS_COUNT);
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_COLLECTIONS);
    TRY(catalog__count(r.conn, count, UINT32_MAX, &n, e));
    struct catalog_collection *rows = arena_alloc(a, n, sizeof *rows);
    if (!rows) return err_set(e, ERR_NOMEM, "catalog: no memory for the collections");
    for (size_t i = 0; i < n; i++) {
        bool more;
        TRY(catalog__step(r.conn, s, &more, e, "reading the collections"));
        if (!more) return err_set(e, ERR_CORRUPT, "catalog: a collection has no generation");
        TRY(row_read(s, a, &rows[i], e));
        TRY(fields_read(r.conn, a, &rows[i], e));
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err_code catalog_collection_find(struct catalog *c, int64_t id, struct str name,
    struct arena *a, struct catalog_collection *ret, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_collection found;
    bool row;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_COLLECTIONS);
    if (id)
        catalog__bind_int(s, 1, id);
    else
        catalog__bind_text(s, 2, name);
    TRY(catalog__step(r.conn, s, &row, e, "looking for a collection"));
    if (!row) return err_set(e, ERR_NOT_FOUND, "the collection does not exist");
    TRY(row_read(s, a, &found, e));
    TRY(fields_read(r.conn, a, &found, e));
    *ret = found;
    return ERR_OK;
}

/* ---- creating ---- */

static enum err_code row_check(const struct catalog_collection *row, struct err *e)
{
    if (row->name.n == 0 || row->name.n > CATALOG_NAME_MAX)
        return err_set(e, ERR_INVALID, "a collection's name has 1 to %d bytes", CATALOG_NAME_MAX);
    if (row->serving.dimensions == 0 || row->serving.dimensions > UINT16_MAX)
        return err_set(e, ERR_INVALID, "dimensions must be 1 to %d", UINT16_MAX);
    if (row->n_fields > CATALOG_FIELDS_MAX)
        return err_set(
            e, ERR_TOO_MANY, "at most %d filterable fields are allowed", CATALOG_FIELDS_MAX);
    return ERR_OK;
}

static enum err_code fields_check(const struct catalog_collection *row, struct err *e)
{
    struct arena *a = arena_new(1024, 0);
    enum err_code code = a ? ERR_OK : err_set(e, ERR_NOMEM, "catalog: no memory for a collection");
    for (size_t i = 0; i < row->n_fields && code == ERR_OK; i++) {
        struct str path;
        code = catalog__json_path(row->fields[i].path, a, &path, e);
    }
    arena_free(a);
    return code;
}

static enum err_code name_check_free(struct conn *cn, struct str name, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_COLLECTION_BY_NAME);
    bool row;
    catalog__bind_str(s, 1, name);
    TRY(catalog__step(cn, s, &row, e, "looking for a collection"));
    if (row) return err_set(e, ERR_CONFLICT, "collection \"%.*s\" exists already", STR_ARG(name));
    return ERR_OK;
}

static enum err_code collection_insert(
    struct conn *cn, const struct catalog_collection *row, int64_t *ret_id, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_COLLECTION_INSERT);
    catalog__bind_str(s, 1, row->name);
    catalog__bind_int(s, 2, row->modality);
    catalog__bind_int(s, 3, row->metric);
    catalog__bind_int(s, 4, (int64_t)row->serving.dimensions);
    catalog__bind_int(s, 5, row->m);
    catalog__bind_int(s, 6, row->ef_construction);
    catalog__bind_int(s, 7, row->ef_search);
    catalog__bind_int(s, 8, row->created_ms);
    catalog__bind_int(s, 9, row->bits);
    TRY(catalog__run(cn, s, e, "inserting a collection"));
    *ret_id = sqlite3_last_insert_rowid(cn->db);
    if (*ret_id > INT32_MAX) return err_set(e, ERR_LIMIT, "no more collections can be created");
    for (size_t i = 0; i < row->n_fields; i++) {
        AUTO_STMT sqlite3_stmt *f = catalog__stmt(cn, STMT_COLLECTION_FIELD_INSERT);
        catalog__bind_int(f, 1, *ret_id);
        catalog__bind_int(f, 2, (int64_t)i);
        catalog__bind_str(f, 3, row->fields[i].path);
        catalog__bind_int(f, 4, row->fields[i].type);
        TRY(catalog__run(cn, f, e, "inserting a collection's fields"));
    }
    return ERR_OK;
}

/* The first generation serves at once, and with a model there is the first version. */
static enum err_code generation_insert(
    struct conn *cn, struct catalog_collection *made, struct err *e)
{
    struct catalog_generation *gen = &made->serving;
    AUTO_STMT sqlite3_stmt *serve = catalog__stmt(cn, STMT_COLLECTION_SERVE);
    gen->state = GENERATION_SERVING;
    gen->seq = 0;
    gen->created_ms = made->created_ms;
    TRY(catalog__generation_insert(cn, made->id, gen, &gen->id, e));
    catalog__bind_int(serve, 1, made->id);
    catalog__bind_int(serve, 2, gen->id);
    TRY(catalog__run(cn, serve, e, "naming the serving generation"));
    if (gen->model_version == 0) return ERR_OK;
    const struct catalog_version first = { .version = gen->model_version,
        .state = VERSION_SERVING,
        .base_model = gen->model_name,
        .weights_hash = made->base_hash,
        .created_ms = made->created_ms,
        .served_ms = made->created_ms };
    return catalog__version_insert(cn, made->id, &first, e);
}

enum err_code catalog_collection_create(
    struct catalog *c, struct catalog_collection *row, struct err *e)
{
    struct catalog_collection made = *row;
    bool own = !c->in_tx;
    TRY(row_check(row, e));
    TRY(fields_check(row, e));
    if (own) TRY(catalog_begin(c, e));
    made.created_ms = time_unix_ms();
    if (!made.bits) made.bits = CATALOG_BITS_DEFAULT;
    enum err_code code = name_check_free(&c->writer, row->name, e);
    if (code == ERR_OK) {
        code = collection_insert(&c->writer, &made, &made.id, e);
        if (code == ERR_OK) code = generation_insert(&c->writer, &made, e);
        if (code != ERR_OK) (void)catalog__write_failed(c, code);
    }
    if (own && code == ERR_OK)
        code = catalog_commit(c, e);
    else if (own)
        catalog_rollback(c);
    if (code == ERR_OK) *row = made;
    return code;
}

/* ---- removing ---- */

/* One slice: at most CATALOG_PURGE_ROWS rows of `id` between the bounds. */
static enum err_code purge_slice(
    struct catalog *c, enum stmt_id id, const int64_t args[3], int *ret_rows, struct err *e)
{
    struct conn *cn = &c->writer;
    TRY(catalog_begin(c, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, id);
    for (int i = 0; i < sqlite3_bind_parameter_count(s); i++)
        catalog__bind_int(s, i + 1, args[i]);
    enum err_code code = catalog__run(cn, s, e, "removing a collection");
    int rows = sqlite3_changes(cn->db);
    if (code == ERR_OK) code = catalog_commit(c, e);
    if (code != ERR_OK) {
        catalog_rollback(c);
        return code;
    }
    *ret_rows = rows;
    return ERR_OK;
}

/* The number that `id` finds for `arg`, -1: none. */
static enum err_code find(
    struct conn *cn, enum stmt_id id, int64_t arg, int64_t *ret_id, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, id);
    bool row;
    if (sqlite3_bind_parameter_count(s) > 0) catalog__bind_int(s, 1, arg);
    TRY(catalog__step(cn, s, &row, e, "looking for what is to be removed"));
    *ret_id = row ? sqlite3_column_int64(s, 0) : -1;
    return ERR_OK;
}

/* One slice of a generation's vectors, or at last its row. */
static enum err_code purge_generation(struct catalog *c, int64_t id, int *ret_rows, struct err *e)
{
    const int64_t range[3] = { catalog__row_id(id, 0), catalog__row_id(id, SLOT_NONE),
        CATALOG_PURGE_ROWS };
    int rows;
    TRY(purge_slice(c, STMT_PURGE_VECTORS, range, &rows, e));
    if (rows == 0)
        TRY(purge_slice(c, STMT_GENERATION_DELETE, (const int64_t[3]){ id, 0, 0 }, &rows, e));
    *ret_rows = rows;
    return ERR_OK;
}

/* The same for any generation of a collection; *ret_rows 0: it has none. */
static enum err_code purge_generations(
    struct catalog *c, int64_t collection_id, int *ret_rows, struct err *e)
{
    int64_t id;
    TRY(find(&c->writer, STMT_GENERATION_ANY, collection_id, &id, e));
    if (id >= 0) return purge_generation(c, id, ret_rows, e);
    *ret_rows = 0;
    return ERR_OK;
}

/* The next slice of a removed collection: its rows, table by table, its own row last. */
static enum err_code purge_collection(struct catalog *c, int64_t id, struct err *e)
{
    const int64_t range[3] = { catalog__row_id(id, 0), catalog__row_id(id, SLOT_NONE),
        CATALOG_PURGE_ROWS };
    const int64_t by_id[3] = { id, CATALOG_PURGE_ROWS, 0 };
    static const enum stmt_id by_range[] = { STMT_PURGE_FIELDS, STMT_PURGE_ITEMS };
    int rows = 0;
    for (size_t i = 0; i < 2 && rows == 0; i++)
        TRY(purge_slice(c, by_range[i], range, &rows, e));
    if (rows == 0) TRY(purge_slice(c, STMT_PURGE_TOMBSTONES, by_id, &rows, e));
    if (rows == 0) TRY(purge_slice(c, STMT_PURGE_FEEDBACK, by_id, &rows, e));
    if (rows == 0) TRY(purge_generations(c, id, &rows, e));
    if (rows == 0) TRY(purge_slice(c, STMT_VERSIONS_DELETE, by_id, &rows, e));
    if (rows == 0) TRY(purge_slice(c, STMT_COLLECTION_FIELDS_DELETE, by_id, &rows, e));
    return rows ? ERR_OK : purge_slice(c, STMT_COLLECTION_DELETE, by_id, &rows, e);
}

enum err_code catalog_purge(struct catalog *c, bool *ret_more, struct err *e)
{
    int64_t collection, generation = -1;
    int rows;
    TRY(catalog__writable(c, e));
    TRY(find(&c->writer, STMT_COLLECTION_LEFTOVER, 0, &collection, e));
    if (collection >= 0)
        TRY(purge_collection(c, collection, e));
    else
        TRY(find(&c->writer, STMT_GENERATION_IN_STATE, GENERATION_REMOVED, &generation, e));
    if (generation >= 0) TRY(purge_generation(c, generation, &rows, e));
    *ret_more = collection >= 0 || generation >= 0;
    return ERR_OK;
}

static enum err_code delete_marked(struct conn *cn, int64_t id, struct err *e)
{
    AUTO_STMT sqlite3_stmt *mark = catalog__stmt(cn, STMT_COLLECTION_MARK_DELETED);
    AUTO_STMT sqlite3_stmt *runs = catalog__stmt(cn, STMT_RUNS_END);
    catalog__bind_int(mark, 1, id);
    TRY(catalog__run_one(cn, mark, ERR_NOT_FOUND, "the collection does not exist", e));
    catalog__bind_int(runs, 1, id);
    catalog__bind_int(runs, 2, RUN_CANCELLED);
    catalog__bind_str(runs, 3, str_from(err_name(ERR_CANCELLED)));
    catalog__bind_str(runs, 4, STR("the collection was deleted"));
    catalog__bind_int(runs, 5, time_unix_ms());
    return catalog__run(cn, runs, e, "cancelling a deleted collection's run");
}

enum err_code catalog_collection_delete(struct catalog *c, int64_t id, struct err *e)
{
    if (c->in_tx)
        return err_set(e, ERR_INTERNAL, "catalog: a collection is removed outside transactions");
    TRY(catalog_begin(c, e));
    return catalog__finish(c, delete_marked(&c->writer, id, e), e);
}
