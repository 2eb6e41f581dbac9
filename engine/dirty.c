/* Publishing what was committed, and repairing what could not be published.
 *
 * After the commit a write is true, whatever happens next. If memory is out when it goes into the index or
 * the filter columns, the collection is marked dirty, the client is told that all is well, which it is, and the
 * writer tries again: changes since the first missing one are read from the catalog and put into the index,
 * columns are read anew. Both look at what is stored now, so repeating them does no harm.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 5000, REPAIR_ROWS = 256 };

void writer__mark_dirty(struct writer *w, struct collection *col, int64_t seq, bool columns)
{
    if (!col->index_dirty && !col->columns_dirty) {
        LOG(ERROR, "collection_dirty", F_STR("collection", col->row.name.p),
            F_STR("error", "out of memory: some items are not found until it is repaired"));
        collection_ref(col);
        col->dirty_next = w->dirty;
        w->dirty = col;
        w->retry_delay_ns = RETRY_FIRST_MS * NS_PER_MS;
        w->retry_ns = time_mono_ns() + w->retry_delay_ns;
    }
    if (columns) {
        col->columns_dirty = true;
        return;
    }
    if (!col->index_dirty || seq - 1 < col->dirty_since) col->dirty_since = seq - 1;
    col->index_dirty = true;
}

/* ERR_NOMEM is a matter of time; anything else would fail again and is only logged. */
static bool is_for_later(const struct collection *col, enum err_code code, const struct err *e)
{
    if (code == ERR_NOMEM) return true;
    LOG(ERROR, "index_put_failed", F_STR("collection", col->row.name.p),
        F_STR("code", err_name(code)), F_STR("error", e->msg));
    return false;
}

void writer_publish_put(struct writer *w, struct collection *col,
    const struct catalog_put_result *put, const float *vector, const struct field_value *values,
    size_t n_values)
{
    struct generation *gen = writer_generation(col);
    struct err e = ERR_INIT;
    enum err_code code = ERR_OK;
    if (put->vector_written) {
        code = w->fail_publish && w->fail_publish() ? ERR_NOMEM
                                                    : index_put(gen->index, put->slot, vector, &e);
        if (code != ERR_OK && is_for_later(col, code, &e))
            writer__mark_dirty(w, col, put->seq, false);
    }
    AUTO_COLUMNS struct columns *columns = collection_columns(col);
    code = fields_put(
        columns->fields, put->slot, put->old_values, put->n_old_values, values, n_values, &e);
    if (code != ERR_OK) writer__mark_dirty(w, col, put->seq, true);
}

void writer_publish_delete(
    struct writer *w, struct collection *col, const struct catalog_put_result *del)
{
    struct generation *gen = writer_generation(col);
    (void)w;
    AUTO_COLUMNS struct columns *columns = collection_columns(col);
    (void)index_delete(gen->index, del->slot); /* false where the collection is dirty */
    fields_delete(columns->fields, del->slot, del->old_values, del->n_old_values);
}

/* ---- repair ---- */

struct changes {
    uint32_t *slots; /* live ones */
    size_t n, cap;
    struct index *index;
};

static enum err_code note_change(void *arg, int64_t seq, uint32_t slot, bool deleted, struct err *e)
{
    struct changes *ch = arg;
    (void)seq;
    if (deleted) {
        (void)index_delete(ch->index, slot);
        return ERR_OK;
    }
    if (ch->n == ch->cap) {
        size_t cap = ch->cap ? ch->cap * 2 : 256;
        uint32_t *grown = mem_realloc(ch->slots, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory while repairing an index");
        ch->slots = grown;
        ch->cap = cap;
    }
    ch->slots[ch->n++] = slot;
    return ERR_OK;
}

static enum err_code put_again(struct writer *w, struct collection *col, struct generation *gen,
    const uint32_t *slots, size_t n, struct err *e)
{
    struct catalog_item rows[REPAIR_ROWS];
    if (w->fail_publish && w->fail_publish())
        return err_set(e, ERR_NOMEM, "out of memory while repairing an index");
    TRY(catalog_items_by_slot(
        w->engine->catalog, &col->row, &gen->row, slots, n, ITEM_WITH_VECTOR, w->arena, rows, e));
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].key.p || !rows[i].vector) continue;
        enum err_code code = index_put(gen->index, rows[i].slot, rows[i].vector, e);
        if (code != ERR_OK && is_for_later(col, code, e)) return code;
    }
    return ERR_OK;
}

enum err_code writer__repair_index(struct writer *w, struct collection *col, struct err *e)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    struct changes ch = { .index = gen->index };
    enum err_code code =
        catalog_changes_scan(w->engine->catalog, &col->row, col->dirty_since, note_change, &ch, e);
    for (size_t at = 0; code == ERR_OK && at < ch.n; at += REPAIR_ROWS) {
        size_t n = ch.n - at < REPAIR_ROWS ? ch.n - at : REPAIR_ROWS;
        code = put_again(w, col, gen, ch.slots + at, n, e);
        arena_clear(w->arena);
    }
    mem_free(ch.slots);
    linker_schedule(&w->engine->linker, gen);
    if (code == ERR_OK) col->index_dirty = false;
    return code;
}

static enum err_code repair(struct writer *w, struct collection *col, struct err *e)
{
    if (col->deleted) return ERR_OK;
    if (col->index_dirty) TRY(writer__repair_index(w, col, e));
    if (!col->columns_dirty) return ERR_OK;
    TRY(collection_rebuild_columns(col, w->engine->catalog, e));
    col->columns_dirty = false;
    return ERR_OK;
}

void writer__repair(struct writer *w)
{
    struct collection *left = NULL;
    for (struct collection *col = w->dirty, *next; col; col = next) {
        struct err e = ERR_INIT;
        next = col->dirty_next;
        if (repair(w, col, &e) == ERR_OK) {
            LOG(INFO, "collection_repaired", F_STR("collection", col->row.name.p));
            collection_unref(col);
        } else {
            LOG(DEBUG, "repair_failed", F_STR("collection", col->row.name.p),
                F_STR("error", e.msg));
            col->dirty_next = left;
            left = col;
        }
    }
    w->dirty = left;
    w->retry_delay_ns *= 2;
    if (w->retry_delay_ns > RETRY_MAX_MS * NS_PER_MS) w->retry_delay_ns = RETRY_MAX_MS * NS_PER_MS;
    w->retry_ns = time_mono_ns() + w->retry_delay_ns;
}
