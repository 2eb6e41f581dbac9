/* engine_feedback: straight to the writer, into the next group commit. */
#include "engine/engine_internal.h"
#include "engine/learn.h"

struct feedback_state {
    struct op_state base;
    struct feedback_op *op;
    struct write_task task;
};

static enum err_code no_item(const struct feedback_state *s, const char *field, struct err *e)
{
    return err_set_field(e, ERR_NOT_FOUND, field, "there is no such item in collection \"%.*s\"",
        STR_ARG(s->base.col->row.name));
}

/* An item that is written in the same commit is not there yet for this: nobody was told that it is. */
static enum err_code feedback_apply(struct write_task *t, struct arena *a, struct err *e)
{
    struct feedback_state *s = container_of(t, struct feedback_state, task);
    struct feedback_op *op = s->op;
    struct catalog *c = op->op.engine->catalog;
    const struct catalog_collection *row = &s->base.col->row;
    const bool by_id = !op->query_text.p;
    const struct str keys[2] = { op->item, op->query_id };
    uint32_t slots[2] = { UINT32_MAX, UINT32_MAX };
    (void)a;
    TRY(catalog_slots_by_key(c, row, keys, by_id ? 2 : 1, slots, e));
    if (slots[0] == UINT32_MAX) return no_item(s, "/item", e);
    if (by_id && slots[1] == UINT32_MAX) return no_item(s, "/query/id", e);
    const struct catalog_feedback f = {
        .query_text = op->query_text, .query_slot = slots[1], .slot = slots[0], .signal = op->signal
    };
    enum err_code code = catalog_feedback_put(c, row, &f, e);
    return code == ERR_NOT_FOUND ? no_item(s, "/item", e) : code; /* deleted in this commit */
}

static void feedback_publish(struct write_task *t)
{
    (void)t; /* nothing in memory follows it */
}

static void feedback_finish(struct write_task *t, const struct err *why)
{
    struct feedback_state *s = container_of(t, struct feedback_state, task);
    engine__finish(&s->op->op, why);
}

static enum err_code check_key(struct str key, const char *field, struct err *e)
{
    if (key.n == 0) return err_set_field(e, ERR_EMPTY, field, "the item's id is empty");
    if (key.n > CATALOG_KEY_MAX)
        return err_set_field(
            e, ERR_LIMIT, field, "an item's id has at most %d bytes", CATALOG_KEY_MAX);
    return ERR_OK;
}

static enum err_code check(const struct engine *g, const struct feedback_op *op, struct err *e)
{
    TRY(check_key(op->item, "/item", e));
    if (!op->query_text.p) return check_key(op->query_id, "/query/id", e);
    return engine__check_text(g, op->query_text, "/query/text", e);
}

static enum err_code submit(struct engine *g, struct feedback_op *op, struct err *e)
{
    struct feedback_state *s = op->op.state;
    s->op = op;
    TRY(registry_get(&g->registry, op->collection, &s->base.col, e));
    if (s->base.col->row.modality == MODALITY_VECTOR)
        return err_set(e, ERR_UNPROCESSABLE,
            "collection \"%.*s\" holds vectors of the user's own; there is no model that could "
            "learn",
            STR_ARG(s->base.col->row.name));
    TRY(engine__take_write(g, &s->base, 1, e));
    s->task = (struct write_task){
        .op = &op->op,
        .col = s->base.col,
        .items = 1,
        .apply = feedback_apply,
        .publish = feedback_publish,
        .finish = feedback_finish,
    };
    writer_push(&g->writer, LANE_INTERACTIVE, &s->task);
    return ERR_OK;
}

enum err_code engine_feedback(struct engine *g, struct feedback_op *op, struct err *e)
{
    TRY(check(g, op, e));
    TRY(engine__accept(g, &op->op, sizeof(struct feedback_state), e));
    enum err_code code = submit(g, op, e);
    return code == ERR_OK ? ERR_OK : engine__reject(&op->op, code);
}
