/* Items, reading: by key, by slot, page by page.
 *
 * Many rows are fetched by one prepared statement that is bound and stepped once a row, inside one
 * read transaction. SQLite runs in our process, so there is no round trip to save. Joining a list
 * given as JSON (json_each) measured 0.4 of 2.6 us a row faster, but needs that text built, says
 * nothing about order, and leaves rows that are gone to be found by the caller.
 *
 * Text and metadata that were not asked for are not read (an untaken CASE branch); they are the last
 * columns of the row, so their overflow pages are not touched either.
 */
#include "catalog/sqlite_internal.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors are stored little-endian");

enum { COL_SLOT, COL_KEY, COL_SEQ, COL_CREATED, COL_UPDATED, COL_TEXT, COL_METADATA };

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "catalog: no memory for the items");
}

static enum err_code vector_read(struct conn *cn, const struct catalog_generation *gen,
    struct arena *a, struct catalog_item *item, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_VECTOR_GET);
    size_t bytes = gen->dimensions * sizeof(float);
    bool row;
    catalog__bind_int(s, 1, catalog__row_id(gen->id, item->slot));
    TRY(catalog__step(cn, s, &row, e, "reading a vector"));
    item->model_version = gen->model_version;
    if (!row) return ERR_OK;
    const void *data = sqlite3_column_blob(s, 0);
    if ((size_t)sqlite3_column_bytes(s, 0) != bytes)
        return err_set(e, ERR_CORRUPT, "catalog: a stored vector has the wrong length");
    float *v = arena_alloc(a, gen->dimensions, sizeof *v);
    if (!v || !data) return no_memory(e);
    memcpy(v, data, bytes);
    item->vector = v;
    item->n_vector = gen->dimensions;
    return ERR_OK;
}

static enum err_code row_read(
    sqlite3_stmt *s, struct arena *a, struct catalog_item *item, struct err *e)
{
    item->slot = (uint32_t)sqlite3_column_int64(s, COL_SLOT);
    item->seq = sqlite3_column_int64(s, COL_SEQ);
    item->created_ms = sqlite3_column_int64(s, COL_CREATED);
    item->updated_ms = sqlite3_column_int64(s, COL_UPDATED);
    TRY(catalog__column_str(s, COL_KEY, a, &item->key, e));
    TRY(catalog__column_str(s, COL_TEXT, a, &item->text, e));
    return catalog__column_str(s, COL_METADATA, a, &item->metadata, e);
}

/* The item in a slot, or key.p == NULL. */
static enum err_code item_read(struct conn *cn, const struct catalog_collection *col,
    const struct catalog_generation *gen, uint32_t slot, unsigned with, struct arena *a,
    struct catalog_item *item, struct err *e)
{
    *item = (struct catalog_item){ .slot = slot };
    {
        AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_ITEM_GET);
        bool row;
        catalog__bind_int(s, 1, catalog__row_id(col->id, slot));
        catalog__bind_int(s, 2, (with & ITEM_WITH_TEXT) != 0);
        catalog__bind_int(s, 3, (with & ITEM_WITH_METADATA) != 0);
        TRY(catalog__step(cn, s, &row, e, "reading an item"));
        if (!row) return ERR_OK;
        TRY(row_read(s, a, item, e));
    }
    return with & ITEM_WITH_VECTOR ? vector_read(cn, gen, a, item, e) : ERR_OK;
}

static enum err_code slot_read(struct conn *cn, const struct catalog_collection *col,
    struct str key, uint32_t *ret_slot, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_ITEM_SLOT);
    bool row;
    catalog__bind_int(s, 1, col->id);
    catalog__bind_str(s, 2, key);
    TRY(catalog__step(cn, s, &row, e, "looking for an item"));
    *ret_slot = row ? (uint32_t)sqlite3_column_int64(s, 0) : SLOT_NONE;
    return ERR_OK;
}

enum err_code catalog_item_get(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, struct str key, unsigned with, struct arena *a,
    struct catalog_item *ret, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_item item;
    uint32_t slot;
    TRY(catalog__read_begin(c, &r, e));
    TRY(slot_read(r.conn, col, key, &slot, e));
    if (slot == SLOT_NONE) return err_set(e, ERR_NOT_FOUND, "the item does not exist");
    TRY(item_read(r.conn, col, gen, slot, with, a, &item, e));
    if (!item.key.p) return err_set(e, ERR_CORRUPT, "catalog: an index names a missing item");
    *ret = item;
    return ERR_OK;
}

enum err_code catalog_items_by_slot(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, const uint32_t *slots, size_t n, unsigned with,
    struct arena *a, struct catalog_item *ret_rows, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    struct catalog_item *rows = arena_alloc(a, n, sizeof *rows);
    if (!rows) return no_memory(e);
    TRY(catalog__read_begin(c, &r, e));
    for (size_t i = 0; i < n; i++)
        TRY(item_read(r.conn, col, gen, slots[i], with, a, &rows[i], e));
    if (n) memcpy(ret_rows, rows, n * sizeof *rows);
    return ERR_OK;
}

enum err_code catalog_slots_by_key(struct catalog *c, const struct catalog_collection *col,
    const struct str *keys, size_t n, uint32_t *ret_slots, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    AUTO_FREE uint32_t *slots = mem_alloc(n, sizeof *slots);
    if (!slots) return no_memory(e);
    TRY(catalog__read_begin(c, &r, e));
    for (size_t i = 0; i < n; i++)
        TRY(slot_read(r.conn, col, keys[i], &slots[i], e));
    if (n) memcpy(ret_slots, slots, n * sizeof *slots);
    return ERR_OK;
}

/* Rows come one by one, their number is not known before: chunks of them, joined at the end. */
enum err_code catalog_items_page(struct catalog *c, const struct catalog_collection *col,
    const struct catalog_generation *gen, int64_t after, size_t limit, unsigned with,
    struct arena *a, struct catalog_item **ret_rows, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    AUTO_FREE struct catalog_item *rows = NULL;
    size_t n = 0, cap = 0;
    if (after < -1) after = -1;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_ITEM_PAGE);
    /* After the last slot the range is empty: its first id lies behind its last. */
    uint64_t first = after >= SLOT_NONE ? (uint64_t)SLOT_NONE + 1 : (uint64_t)(after + 1);
    catalog__bind_int(s, 1, catalog__row_id(col->id, 0) + (int64_t)first);
    catalog__bind_int(s, 2, (with & ITEM_WITH_TEXT) != 0);
    catalog__bind_int(s, 3, (with & ITEM_WITH_METADATA) != 0);
    catalog__bind_int(s, 4, catalog__row_id(col->id, SLOT_NONE));
    catalog__bind_int(s, 5, limit > SLOT_NONE ? SLOT_NONE : (int64_t)limit);
    for (bool row;; n++) {
        TRY(catalog__step(r.conn, s, &row, e, "reading items"));
        if (!row) break;
        if (n == cap) {
            size_t more = cap ? 2 * cap : 64;
            struct catalog_item *p = mem_realloc(rows, more, sizeof *rows);
            if (!p) return no_memory(e);
            rows = p;
            cap = more;
        }
        rows[n] = (struct catalog_item){ 0 };
        TRY(row_read(s, a, &rows[n], e));
        if (with & ITEM_WITH_VECTOR) TRY(vector_read(r.conn, gen, a, &rows[n], e));
    }
    struct catalog_item *out = arena_alloc(a, n, sizeof *out);
    if (!out) return no_memory(e);
    if (n) memcpy(out, rows, n * sizeof *out);
    *ret_rows = out;
    *ret_n = n;
    return ERR_OK;
}

enum err_code catalog_items_count(
    struct catalog *c, const struct catalog_collection *col, size_t *ret_n, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    bool row;
    TRY(catalog__read_begin(c, &r, e));
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(r.conn, STMT_COLLECTION_ITEMS);
    catalog__bind_int(s, 1, col->id);
    TRY(catalog__step(r.conn, s, &row, e, "counting items"));
    *ret_n = row ? (size_t)sqlite3_column_int64(s, 0) : 0;
    return ERR_OK;
}

static enum err_code probe_read(struct conn *cn, const struct catalog_collection *col,
    struct str key, struct catalog_probe *probe, struct err *e)
{
    AUTO_STMT sqlite3_stmt *s = catalog__stmt(cn, STMT_ITEM_PROBE);
    bool row;
    catalog__bind_int(s, 1, col->id);
    catalog__bind_str(s, 2, key);
    TRY(catalog__step(cn, s, &row, e, "looking for an item"));
    *probe = (struct catalog_probe){ .found = row, .slot = SLOT_NONE };
    if (!row) return ERR_OK;
    const void *content = sqlite3_column_blob(s, 1), *metadata = sqlite3_column_blob(s, 2);
    if (sqlite3_column_bytes(s, 1) != CATALOG_HASH_BYTES ||
        sqlite3_column_bytes(s, 2) != CATALOG_HASH_BYTES)
        return err_set(e, ERR_CORRUPT, "catalog: a stored hash has the wrong length");
    probe->slot = (uint32_t)sqlite3_column_int64(s, 0);
    memcpy(probe->content_hash, content, CATALOG_HASH_BYTES);
    memcpy(probe->metadata_hash, metadata, CATALOG_HASH_BYTES);
    return ERR_OK;
}

enum err_code catalog_probe(struct catalog *c, const struct catalog_collection *col,
    const struct str *keys, size_t n, struct catalog_probe *ret, struct err *e)
{
    AUTO_READ struct reading r = { 0 };
    AUTO_FREE struct catalog_probe *probes = mem_alloc(n, sizeof *probes);
    if (!probes) return no_memory(e);
    TRY(catalog__read_begin(c, &r, e));
    for (size_t i = 0; i < n; i++)
        TRY(probe_read(r.conn, col, keys[i], &probes[i], e));
    if (n) memcpy(ret, probes, n * sizeof *probes);
    return ERR_OK;
}
