/* Filterable fields: values out of metadata, in and out of item_field.
 *
 * Values are found by SQLite's JSON functions. A path's keys are quoted ($."a"."b"), so that only
 * the dots of the declared path mean anything. SQLite 3.40 compares a quoted key with the bytes
 * between the quotes in the JSON text and knows no escapes in paths; newer versions unescape. Keys
 * that would need an escape are therefore refused, and mean the same everywhere.
 *
 * item_field keeps what was extracted: at start the filter columns are rebuilt from it without
 * parsing a single document, and a replaced item's old values are known without its old metadata.
 * Its rows are keyed by item first. No index by value: filters are answered in memory.
 */
#include "catalog/sqlite_internal.h"

enum { PATH_MAX_BYTES = 1024 };

/* ---- paths ---- */

static enum err_code path_check(struct str path, size_t *ret_keys, struct err *e)
{
    size_t keys = 1;
    if (path.n == 0 || path.n > PATH_MAX_BYTES)
        return err_set(e, ERR_INVALID, "a field's path has 1 to %d bytes", PATH_MAX_BYTES);
    for (size_t i = 0; i < path.n; i++) {
        unsigned char ch = (unsigned char)path.p[i];
        if (ch == '"' || ch == '\\' || ch < 0x20)
            return err_set(e, ERR_INVALID,
                "a field's path cannot hold quotes, backslashes or control characters");
        if (ch != '.') continue;
        keys++;
        if (i == 0 || i + 1 == path.n || path.p[i + 1] == '.')
            return err_set(e, ERR_INVALID, "a field's path has an empty key");
    }
    *ret_keys = keys;
    return ERR_OK;
}

enum err_code catalog__json_path(
    struct str path, struct arena *a, struct str *ret_path, struct err *e)
{
    size_t keys = 0;
    TRY(path_check(path, &keys, e));
    /* `$`, two quotes and a dot a key, and the keys without the path's own dots */
    size_t n = 1 + 3 * keys + path.n - (keys - 1);
    char *out = arena_alloc(a, n, 1), *p = out;
    if (!out) return err_set(e, ERR_NOMEM, "catalog: no memory for a field's path");
    *p++ = '$';
    *p++ = '.';
    *p++ = '"';
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '.') {
            memcpy(p, "\".\"", 3);
            p += 3;
        } else {
            *p++ = path.p[i];
        }
    }
    *p++ = '"';
    *ret_path = (struct str){ out, n };
    return ERR_OK;
}

/* ---- values ---- */

/* From JSON functions: the type's name in column at, the scalar in the next. The string of `ret` is borrowed from the
 * statement. Integers beyond 64 bits come as numbers. */
static void json_value(sqlite3_stmt *s, int at, uint32_t field, struct field_value *ret)
{
    const char *type = sqlite3_column_blob(s, at);
    int n = sqlite3_column_bytes(s, at);
    *ret = (struct field_value){ .field = field, .type = VALUE_OTHER };
    switch (sqlite3_column_type(s, at + 1)) {
    case SQLITE_TEXT:
        ret->type = VALUE_STRING;
        ret->v.s.p = sqlite3_column_blob(s, at + 1);
        ret->v.s.n = (size_t)sqlite3_column_bytes(s, at + 1);
        if (!ret->v.s.p) ret->v.s.p = "";
        break;
    case SQLITE_FLOAT:
        ret->type = VALUE_NUMBER;
        ret->v.d = sqlite3_column_double(s, at + 1);
        break;
    case SQLITE_INTEGER:
        ret->type =
            n > 0 && type && (type[0] == 't' || type[0] == 'f') ? VALUE_BOOLEAN : VALUE_INTEGER;
        ret->v.i = sqlite3_column_int64(s, at + 1);
        break;
    default: /* no atom: null, or an object or array */
        if (n > 0 && type && type[0] == 'n') ret->type = VALUE_NULL;
        break;
    }
}

/* From item_field: `type` in column at, `value` in the next; the string is borrowed. */
static enum err_code stored_value(
    sqlite3_stmt *s, int at, int64_t field, struct field_value *ret, struct err *e)
{
    static const int wants[] = { [VALUE_NULL] = SQLITE_NULL,
        [VALUE_INTEGER] = SQLITE_INTEGER,
        [VALUE_NUMBER] = SQLITE_FLOAT,
        [VALUE_STRING] = SQLITE_TEXT,
        [VALUE_BOOLEAN] = SQLITE_INTEGER,
        [VALUE_OTHER] = SQLITE_NULL };
    int64_t type = sqlite3_column_int64(s, at);
    if (field < 0 || field >= CATALOG_FIELDS_MAX || type < VALUE_NULL || type > VALUE_OTHER ||
        sqlite3_column_type(s, at + 1) != wants[type])
        return err_set(e, ERR_CORRUPT, "catalog: a stored field value has the wrong type");
    *ret = (struct field_value){ .field = (uint32_t)field, .type = (enum field_value_type)type };
    if (type == VALUE_NUMBER) {
        ret->v.d = sqlite3_column_double(s, at + 1);
    } else if (type == VALUE_STRING) {
        const char *p = sqlite3_column_blob(s, at + 1);
        ret->v.s = (struct str){ p ? p : "", (size_t)sqlite3_column_bytes(s, at + 1) };
    } else {
        ret->v.i = sqlite3_column_int64(s, at + 1);
    }
    return ERR_OK;
}

/* Growing array of values; strings are copied into the arena. */
struct values {
    struct field_value *p;
    size_t n, cap;
};

static enum err_code values_add(
    struct values *vs, const struct field_value *v, struct arena *a, struct err *e)
{
    if (vs->n == vs->cap) {
        size_t cap = vs->cap ? 2 * vs->cap : 8;
        struct field_value *p = arena_alloc(a, cap, sizeof *p);
        if (!p) goto no_memory;
        if (vs->n) memcpy(p, vs->p, vs->n * sizeof *p);
        vs->p = p;
        vs->cap = cap;
    }
    vs->p[vs->n] = *v;
    if (v->type == VALUE_STRING) {
        char *copy = arena_strndup(a, v->v.s.p, v->v.s.n);
        if (!copy) goto no_memory;
        vs->p[vs->n].v.s.p = copy;
    }
    vs->n++;
    return ERR_OK;
no_memory:
    return err_set(e, ERR_NOMEM, "catalog: no memory for field values");
}

/* ---- extraction ---- */

/* Rows of `s`: type and value; INVALID where the metadata cannot be parsed. */
static enum err_code extract_step(struct conn *cn, sqlite3_stmt *s, bool *ret_row, struct err *e)
{
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ERROR) return err_set(e, ERR_INVALID, "metadata is not valid JSON");
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return catalog__fail(cn, rc, e, "reading metadata");
    *ret_row = rc == SQLITE_ROW;
    return ERR_OK;
}

/* A scalar, an object or null at the path gives one value; a list is left to extract_elements. */
static enum err_code extract_one(struct conn *cn, struct str metadata, struct str json_path,
    uint32_t field, struct arena *a, struct values *vs, bool *ret_list, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_FIELD_EXTRACT);
    struct field_value v;
    bool row = false;
    catalog__bind_str(s, 1, metadata);
    catalog__bind_str(s, 2, json_path);
    TRY(extract_step(cn, s, &row, e));
    *ret_list = false;
    if (!row || sqlite3_column_type(s, 0) == SQLITE_NULL) return ERR_OK;
    const char *type = sqlite3_column_blob(s, 0);
    *ret_list = type && type[0] == 'a';
    if (*ret_list) return ERR_OK;
    json_value(s, 0, field, &v);
    return values_add(vs, &v, a, e);
}

static enum err_code extract_elements(struct conn *cn, struct str metadata, struct str json_path,
    uint32_t field, struct arena *a, struct values *vs, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_FIELD_ELEMENTS);
    catalog__bind_str(s, 1, metadata);
    catalog__bind_str(s, 2, json_path);
    catalog__bind_int(s, 3, CATALOG_FIELD_VALUES_MAX);
    for (bool row = false;;) {
        struct field_value v;
        TRY(extract_step(cn, s, &row, e));
        if (!row) return ERR_OK;
        json_value(s, 0, field, &v);
        TRY(values_add(vs, &v, a, e));
    }
}

enum err_code catalog_fields_extract(struct catalog *c, const struct catalog_collection *col,
    struct str metadata, struct arena *a, struct field_value **ret_values, size_t *ret_n,
    struct err *e)
{
    struct values vs = { 0 };
    TRY(catalog__writable(c, e));
    for (size_t i = 0; i < col->n_fields; i++) {
        struct conn *cn = &c->writer;
        uint32_t field = (uint32_t)i;
        struct str path;
        bool list = false;
        TRY(catalog__json_path(col->fields[i].path, a, &path, e));
        TRY(extract_one(cn, metadata, path, field, a, &vs, &list, e));
        if (list) TRY(extract_elements(cn, metadata, path, field, a, &vs, e));
    }
    *ret_values = vs.p;
    *ret_n = vs.n;
    return ERR_OK;
}

/* ---- rows of item_field, for puts and deletes ---- */

enum err_code catalog__fields_read(struct catalog *c, int64_t item_id, struct arena *a,
    const struct field_value **ret_values, size_t *ret_n, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_ITEM_FIELDS);
    struct values vs = { 0 };
    catalog__bind_int(s, 1, item_id);
    for (bool row;;) {
        struct field_value v;
        TRY(catalog__step(&c->writer, s, &row, e, "reading an item's fields"));
        if (!row) break;
        TRY(stored_value(s, 1, sqlite3_column_int64(s, 0), &v, e));
        TRY(values_add(&vs, &v, a, e));
    }
    *ret_values = vs.p;
    *ret_n = vs.n;
    return ERR_OK;
}

enum err_code catalog__fields_insert(
    struct catalog *c, int64_t item_id, const struct field_value *values, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct field_value *v = &values[i];
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_ITEM_FIELD_INSERT);
        catalog__bind_int(s, 1, item_id);
        catalog__bind_int(s, 2, (int64_t)i);
        catalog__bind_int(s, 3, v->field);
        catalog__bind_int(s, 4, v->type);
        switch (v->type) {
        case VALUE_NULL:
        case VALUE_OTHER: break;
        case VALUE_INTEGER:
        case VALUE_BOOLEAN: catalog__bind_int(s, 5, v->v.i); break;
        case VALUE_NUMBER: (void)sqlite3_bind_double(s, 5, v->v.d); break;
        case VALUE_STRING: catalog__bind_str(s, 5, v->v.s); break;
        }
        TRY(catalog__run(&c->writer, s, e, "writing an item's fields"));
    }
    return ERR_OK;
}

enum err_code catalog__fields_delete(struct catalog *c, int64_t item_id, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(&c->writer, STMT_ITEM_FIELDS_DELETE);
    catalog__bind_int(s, 1, item_id);
    return catalog__run(&c->writer, s, e, "deleting an item's fields");
}

/* ---- scans ---- */

enum err_code catalog_fields_scan(struct catalog *c, const struct catalog_collection *col,
    enum err_code (*each)(void *arg, uint32_t slot, const struct field_value *v, struct err *e),
    void *arg, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_FIELD_SCAN);
    catalog__bind_int(s, 1, catalog__row_id(col->id, 0));
    catalog__bind_int(s, 2, catalog__row_id(col->id, SLOT_NONE));
    for (bool row;;) {
        struct field_value v;
        TRY(catalog__step(r.conn, s, &row, e, "reading field values"));
        if (!row) return ERR_OK;
        TRY(stored_value(s, 2, sqlite3_column_int64(s, 1), &v, e));
        TRY(each(arg, (uint32_t)sqlite3_column_int64(s, 0), &v, e));
    }
}

static void arena_auto_free(struct arena **a)
{
    arena_free(*a);
}

static int past_deadline(void *deadline_ns)
{
    return time_mono_ns() >= *(const int64_t *)deadline_ns;
}

static void progress_off(struct conn **cn)
{
    sqlite3_progress_handler((*cn)->db, 0, NULL, NULL);
}

enum { PROGRESS_OPS = 4000 }; /* virtual machine steps between looks at the clock: some 100 us */

enum err_code catalog_path_scan(struct catalog *c, const struct catalog_collection *col,
    struct str path, int64_t deadline_ns,
    enum err_code (*each)(void *arg, uint32_t slot, const struct field_value *v, struct err *e),
    void *arg, struct err *e)
{
    AUTO(arena_auto_free) struct arena *a = arena_new(2 * PATH_MAX_BYTES, 0);
    struct str json_path;
    if (!a) return err_set(e, ERR_NOMEM, "catalog: no memory for a field's path");
    TRY(catalog__json_path(path, a, &json_path, e));
    AUTO_READ struct reading r = { 0 };
    TRY(catalog__read_begin(c, &r, e));
    AUTO(progress_off) struct conn *cn = r.conn;
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_PATH_SCAN);
    if (deadline_ns) sqlite3_progress_handler(cn->db, PROGRESS_OPS, past_deadline, &deadline_ns);
    catalog__bind_int(s, 1, catalog__row_id(col->id, 0));
    catalog__bind_int(s, 2, catalog__row_id(col->id, SLOT_NONE));
    catalog__bind_str(s, 3, json_path);
    catalog__bind_int(s, 4, CATALOG_FIELD_VALUES_MAX);
    for (;;) {
        struct field_value v;
        int rc = sqlite3_step(s);
        if (rc == SQLITE_DONE) return ERR_OK;
        if (rc == SQLITE_INTERRUPT)
            return err_set(
                e, ERR_TIMEOUT, "reading \"%.*s\" of all items took too long", STR_ARG(path));
        if (rc == SQLITE_ERROR)
            return err_set(e, ERR_CORRUPT, "catalog: stored metadata is not valid JSON");
        if (rc != SQLITE_ROW) return catalog__fail(cn, rc, e, "reading metadata");
        json_value(s, 1, 0, &v);
        TRY(each(arg, (uint32_t)sqlite3_column_int64(s, 0), &v, e));
    }
}
