#include "engine/replay.h"

#include "base/log.h"
#include "base/mem.h"

enum { REPLAY_ROWS = 256, ARENA_BYTES = 1 << 18 };

struct changes {
    struct index *index;
    uint32_t *slots; /* live ones */
    size_t n, cap, n_deleted;
};

static enum err_code note_change(void *arg, int64_t seq, uint32_t slot, bool deleted, struct err *e)
{
    struct changes *ch = arg;
    (void)seq;
    if (deleted) {
        (void)index_delete(ch->index, slot);
        ch->n_deleted++;
        return ERR_OK;
    }
    if (ch->n == ch->cap) {
        size_t cap = ch->cap ? ch->cap * 2 : 256;
        uint32_t *grown = mem_realloc(ch->slots, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "out of memory for changes of a collection");
        ch->slots = grown;
        ch->cap = cap;
    }
    ch->slots[ch->n++] = slot;
    return ERR_OK;
}

static enum err_code put_one(const struct catalog_collection *col, struct index *ix,
    const struct catalog_item *row, struct err *e)
{
    enum err_code code = index_put(ix, row->slot, row->vector, e);
    if (code == ERR_OK || code == ERR_NOMEM) return code;
    LOG(ERROR, "index_put_failed", F_STR("collection", col->name.p), F_STR("code", err_name(code)),
        F_STR("error", e ? e->msg : ""));
    return ERR_OK;
}

static enum err_code put_page(struct catalog *c, const struct catalog_collection *col,
    struct generation *gen, const uint32_t *slots, size_t n, struct arena *a, struct err *e)
{
    struct catalog_item rows[REPLAY_ROWS];
    TRY(catalog_items_by_slot(c, col, &gen->row, slots, n, ITEM_WITH_VECTOR, a, rows, e));
    for (size_t i = 0; i < n; i++) {
        if (rows[i].key.p && rows[i].vector)
            TRY(put_one(col, gen->index, &rows[i], e));
        else
            (void)index_delete(gen->index, slots[i]);
    }
    return ERR_OK;
}

enum err_code replay_changes(struct catalog *c, const struct catalog_collection *col,
    struct generation *gen, int64_t since, size_t *ret_n, struct err *e)
{
    struct changes ch = { .index = gen->index };
    struct arena *a = arena_new(ARENA_BYTES, 0);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory for changes of a collection");
    enum err_code code = catalog_changes_scan(c, col, since, note_change, &ch, e);
    for (size_t at = 0; code == ERR_OK && at < ch.n; at += REPLAY_ROWS) {
        size_t n = ch.n - at < REPLAY_ROWS ? ch.n - at : REPLAY_ROWS;
        code = put_page(c, col, gen, ch.slots + at, n, a, e);
        arena_clear(a);
    }
    arena_free(a);
    mem_free(ch.slots);
    if (code == ERR_OK) *ret_n = ch.n + ch.n_deleted;
    return code;
}
