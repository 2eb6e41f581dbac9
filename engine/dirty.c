/* Publishing what was committed, and repairing what could not be published.
 *
 * After the commit a write is true, whatever happens next. If memory is out when it goes into the index or
 * the filter columns, the collection is marked dirty, the client is told that all is well, which it is, and the
 * writer tries again: changes since the first missing one are read from the catalog and put into the index,
 * columns are read anew. Both look at what is stored now, so repeating them does no harm.
 */
#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/replay.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 5000 };

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
        atomic_fetch_add(&gen->unsaved, 1);
    }
    atomic_store(&col->published, put->seq);
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
    atomic_fetch_add(&gen->unsaved, 1);
    atomic_store(&col->published, del->seq);
    fields_delete(columns->fields, del->slot, del->old_values, del->n_old_values);
}

/* ---- repair ---- */

enum err_code writer__repair_index(struct writer *w, struct collection *col, struct err *e)
{
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    size_t n = 0;
    enum err_code code = w->fail_publish && w->fail_publish()
        ? err_set(e, ERR_NOMEM, "out of memory while repairing an index")
        : replay_changes(w->engine->catalog, &col->row, gen, col->dirty_since, &n, e);
    atomic_fetch_add(&gen->unsaved, n);
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
