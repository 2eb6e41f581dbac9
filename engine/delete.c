/* engine_delete: by keys straight to the writer; by filter first to the search pool, which turns the filter
 * into keys. An item that comes to pass the filter after that moment stays. */
#include "base/mem.h"
#include "engine/engine_internal.h"

enum { DELETE_ROWS = 1024 };

struct delete_state {
    struct op_state base;
    struct delete_op *op;
    const struct str *keys;
    size_t n;
    struct write_task task;
    struct catalog_put_result *results; /* [n_results], in the writer's arena */
    size_t n_results;
};

static enum err_code delete_apply(struct write_task *t, struct arena *a, struct err *e)
{
    struct delete_state *s = container_of(t, struct delete_state, task);
    struct catalog *c = s->op->op.engine->catalog;
    s->n_results = 0;
    s->results = arena_alloc(a, s->n, sizeof *s->results);
    if (!s->results) return err_set(e, ERR_NOMEM, "out of memory for a deletion");
    for (size_t i = 0; i < s->n; i++) {
        struct err why = ERR_INIT;
        enum err_code code = catalog_item_delete(
            c, &s->base.col->row, s->keys[i], a, &s->results[s->n_results], &why);
        if (code == ERR_OK) {
            s->n_results++;
        } else if (code != ERR_NOT_FOUND || s->op->must_exist) {
            if (e) *e = why;
            return code;
        }
    }
    return ERR_OK;
}

static void delete_publish(struct write_task *t)
{
    struct delete_state *s = container_of(t, struct delete_state, task);
    for (size_t i = 0; i < s->n_results; i++)
        writer_publish_delete(&s->op->op.engine->writer, s->base.col, &s->results[i]);
    s->op->deleted = s->n_results;
}

static void delete_finish(struct write_task *t, const struct err *why)
{
    struct delete_state *s = container_of(t, struct delete_state, task);
    engine__finish(&s->op->op, why);
}

static void push_to_writer(struct delete_state *s)
{
    enum queue_lane lane = s->n <= 1 ? LANE_INTERACTIVE : LANE_BULK;
    s->task = (struct write_task){
        .op = &s->op->op,
        .col = s->base.col,
        .items = s->n,
        .apply = delete_apply,
        .publish = delete_publish,
        .finish = delete_finish,
    };
    writer_push(&s->op->op.engine->writer, lane, &s->task);
}

/* Keys of the items in the set, in the operation's arena. */
static enum err_code read_keys(struct delete_state *s, const struct slot_set *set, struct err *e)
{
    struct engine *g = s->op->op.engine;
    struct arena *a = s->op->op.arena;
    size_t count = slot_set_count(set), n;
    uint32_t slots[DELETE_ROWS], first = 0;
    struct str *keys = arena_alloc(a, count, sizeof *keys);
    struct catalog_item *rows = arena_alloc(a, DELETE_ROWS, sizeof *rows);
    if (!keys || !rows) return err_set(e, ERR_NOMEM, "out of memory for a deletion");
    while (s->n < count && (n = slot_set_read(set, first, slots, DELETE_ROWS)) > 0) {
        TRY(engine__check_deadline(&s->op->op, e));
        TRY(catalog_items_by_slot(g->catalog, &s->base.col->row, NULL, slots, n, 0, a, rows, e));
        for (size_t i = 0; i < n && s->n < count; i++)
            if (rows[i].key.p) keys[s->n++] = rows[i].key;
        if (slots[n - 1] == UINT32_MAX) break;
        first = slots[n - 1] + 1;
    }
    s->keys = keys;
    return ERR_OK;
}

static enum err_code find_keys(struct delete_state *s, struct err *e)
{
    AUTO_COLUMNS struct columns *columns = collection_columns(s->base.col);
    AUTO_SLOT_SET struct slot_set *set = NULL;
    struct filter_target target = {
        .catalog = s->op->op.engine->catalog,
        .col = &s->base.col->row,
        .fields = columns->fields,
    };
    TRY(filter_evaluate(&target, s->op->filter, s->op->op.deadline_ns, &set, e));
    return read_keys(s, set, e);
}

static void filter_step(struct engine_op *op)
{
    struct delete_state *s = op->state;
    struct err e = ERR_INIT;
    if (find_keys(s, &e) != ERR_OK)
        engine__finish(op, &e);
    else if (s->n == 0)
        engine__finish(op, NULL);
    else
        push_to_writer(s);
}

static enum err_code submit(struct engine *g, struct delete_op *op, struct err *e)
{
    struct delete_state *s = op->op.state;
    s->op = op;
    op->deleted = 0;
    TRY(registry_get(&g->registry, op->collection, &s->base.col, e));
    TRY(engine__take_write(g, &s->base, op->filter ? 1 : op->n, e));
    if (op->filter) {
        pool_push(&g->pool, LANE_BULK, &op->op, filter_step);
        return ERR_OK;
    }
    s->keys = op->keys;
    s->n = op->n;
    push_to_writer(s);
    return ERR_OK;
}

enum err_code engine_delete(struct engine *g, struct delete_op *op, struct err *e)
{
    if (op->n == 0 && !op->filter) return err_set(e, ERR_EMPTY, "there is nothing to delete");
    TRY(engine__accept(g, &op->op, sizeof(struct delete_state), e));
    enum err_code code = submit(g, op, e);
    return code == ERR_OK ? ERR_OK : engine__reject(&op->op, code);
}
