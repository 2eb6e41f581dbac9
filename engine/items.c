/* Reading items: blocking catalog reads, called from engine_run on a search thread. */
#include "base/mem.h"
#include "engine/engine_internal.h"

static struct item_view view_of(const struct catalog_item *row, const struct model_ref *model)
{
    return (struct item_view){
        .key = row->key,
        .text = row->text,
        .metadata = row->metadata,
        .vector = row->vector,
        .n_vector = row->n_vector,
        .model = *model,
        .created_ms = row->created_ms,
        .updated_ms = row->updated_ms,
    };
}

enum err_code engine_item_get(struct engine *g, struct str collection, struct str key,
    unsigned with, struct arena *a, struct item_view *ret, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    struct catalog_item row;
    struct model_ref model;
    TRY(registry_get(&g->registry, collection, &col, e));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    TRY(catalog_item_get(g->catalog, &col->row, &gen->row, key, with, a, &row, e));
    TRY(engine__model_ref(a, gen, &model, e));
    *ret = view_of(&row, &model);
    return ERR_OK;
}

static enum err_code evaluate(struct engine *g, struct collection *col, const struct filter *f,
    int64_t deadline_ns, struct slot_set **ret_set, struct err *e)
{
    AUTO_COLUMNS struct columns *columns = collection_columns(col);
    struct filter_target target = {
        .catalog = g->catalog, .col = &col->row, .fields = columns->fields
    };
    return filter_evaluate(&target, f, deadline_ns, ret_set, e);
}

struct page_rows {
    struct generation *gen; /* whose vectors */
    struct catalog_item *rows;
    size_t n;
    int64_t next; /* slot of the last one if there may be more, else -1 */
};

static enum err_code page_all(struct engine *g, struct collection *col, int64_t after, size_t limit,
    unsigned with, struct arena *a, struct page_rows *p, struct err *e)
{
    TRY(catalog_items_page(
        g->catalog, &col->row, &p->gen->row, after, limit + 1, with, a, &p->rows, &p->n, e));
    if (p->n > limit) {
        p->n = limit;
        p->next = p->rows[limit - 1].slot;
    }
    return ERR_OK;
}

/* The filter's slots in ascending order, from the one after `after`, until the page is full. */
static enum err_code page_filtered(struct engine *g, struct collection *col,
    const struct slot_set *set, int64_t after, size_t limit, unsigned with, struct arena *a,
    struct page_rows *p, struct err *e)
{
    uint32_t *slots = arena_alloc(a, limit + 1, sizeof *slots);
    p->rows = arena_alloc(a, limit, sizeof *p->rows);
    if (!slots || !p->rows) return err_set(e, ERR_NOMEM, "out of memory for a page of items");
    while (p->n < limit && after < UINT32_MAX) {
        size_t room = limit - p->n;
        size_t n = slot_set_read(set, (uint32_t)(after + 1), slots, room + 1);
        bool more = n > room;
        if (more) n = room;
        if (n == 0) break;
        struct catalog_item *to = p->rows + p->n;
        TRY(catalog_items_by_slot(g->catalog, &col->row, &p->gen->row, slots, n, with, a, to, e));
        after = slots[n - 1];
        for (size_t i = 0; i < n; i++)
            if (to[i].key.p) p->rows[p->n++] = to[i]; /* gone ones are closed up */
        p->next = more ? after : -1;
        if (!more) break;
    }
    return ERR_OK;
}

enum err_code engine_items_page(struct engine *g, struct str collection,
    const struct filter *filter, int64_t after, size_t limit, unsigned with, int64_t deadline_ns,
    struct arena *a, struct item_view **ret_rows, size_t *ret_n, int64_t *ret_next, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    AUTO_SLOT_SET struct slot_set *set = NULL;
    struct model_ref model;
    if (limit < 1 || limit > INDEX_K_MAX)
        return err_set_field(
            e, ERR_INVALID, "/limit", "limit is %zu, it must be 1 to %d", limit, INDEX_K_MAX);
    if (after < -1 || after > UINT32_MAX)
        return err_set_field(e, ERR_INVALID, "/cursor", "the cursor is not one that was given");
    TRY(registry_get(&g->registry, collection, &col, e));
    AUTO_GENERATION struct generation *gen = collection_generation(col);
    struct page_rows p = { .gen = gen, .next = -1 };
    if (filter) {
        TRY(evaluate(g, col, filter, deadline_ns, &set, e));
        TRY(page_filtered(g, col, set, after, limit, with, a, &p, e));
    } else {
        TRY(page_all(g, col, after, limit, with, a, &p, e));
    }
    TRY(engine__model_ref(a, gen, &model, e));
    struct item_view *rows = arena_alloc(a, p.n, sizeof *rows);
    if (!rows) return err_set(e, ERR_NOMEM, "out of memory for a page of items");
    for (size_t i = 0; i < p.n; i++)
        rows[i] = view_of(&p.rows[i], &model);
    *ret_rows = rows;
    *ret_n = p.n;
    *ret_next = p.next;
    return ERR_OK;
}

enum err_code engine_items_count(struct engine *g, struct str collection,
    const struct filter *filter, int64_t deadline_ns, size_t *ret_n, struct err *e)
{
    AUTO_COLLECTION struct collection *col = NULL;
    AUTO_SLOT_SET struct slot_set *set = NULL;
    TRY(registry_get(&g->registry, collection, &col, e));
    if (!filter) return catalog_items_count(g->catalog, &col->row, ret_n, e);
    TRY(evaluate(g, col, filter, deadline_ns, &set, e));
    *ret_n = slot_set_count(set);
    return ERR_OK;
}
