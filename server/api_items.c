/* Writing items: one, many, and deletion. NDJSON streams are in api_import.c. */
#include "server/api.h"

#include "engine/config.h"
#include "server/filter_json.h"
#include "server/item_json.h"

#include <stdio.h>

/* Path of an item, percent-encoded. */
static char *item_path(struct arena *a, struct str collection, struct str id)
{
    char *path = arena_printf(a, "/collections/%.*s/items/", STR_ARG(collection));
    size_t n = path ? strlen(path) : 0;
    char *p = path ? arena_alloc(a, n + 3 * id.n + 1, 1) : NULL;
    if (!p) return NULL;
    memcpy(p, path, n);
    for (size_t i = 0; i < id.n; i++) {
        unsigned char c = (unsigned char)id.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            p[n++] = (char)c;
        } else {
            p[n++] = '%';
            p[n++] = "0123456789ABCDEF"[c >> 4];
            p[n++] = "0123456789ABCDEF"[c & 15];
        }
    }
    p[n] = '\0';
    return p;
}

/* ---- one item ---- */

static enum err_code put_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct upsert_op *u = (const struct upsert_op *)(const void *)op;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    if (u->items[0].outcome == UPSERT_NEW) {
        const char *path = item_path(x->arena, u->collection, u->items[0].key);
        if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
        x->rs.status = 201;
        response_header_add(&x->rs, "Location", path);
    }
    json_write_object(&w);
    json_write_key(&w, "id");
    json_write_str(&w, u->items[0].key);
    json_write_key(&w, "version");
    json_write_i64(&w, u->model.version);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_item_put(struct exchange *x, struct err *e)
{
    struct item_body body = { .id = exchange_capture(x, "id") };
    struct upsert_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    struct upsert_item *item = arena_zalloc(x->arena, 1, sizeof *item);
    if (!op || !item) return err_set(e, ERR_NOMEM, "no memory for an item");

    TRY(exchange_read_json(x, &item_spec_without_id, &body, e));
    TRY(item_of_body(&JSON_ROOT, x->cfg, x->arena, &body, item, e));
    op->collection = exchange_capture(x, "collection");
    op->items = item;
    op->n = 1;
    op->interactive = true;
    op->all_or_nothing = true;
    exchange_await(x, &op->op, put_render);
    return engine_upsert(x->engine, op, e);
}

/* ---- a list of items ---- */

/* The items of a request. Those that are wrong by themselves never reach the engine. */
struct batch {
    size_t n;                  /* in the request */
    struct str *ids;           /* [n] p == NULL: none could be read */
    const struct err **failed; /* [n] NULL: it went to the engine */
    struct upsert_item *items; /* [op.n] those that go to the engine, in order */
    struct upsert_op op;
};

static enum err_code fail_item(
    struct batch *b, struct arena *a, size_t i, const struct err *why, struct err *e)
{
    struct err *copy = arena_alloc(a, 1, sizeof *copy);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for a failure");
    *copy = *why;
    b->failed[i] = copy;
    return ERR_OK;
}

/* json_read_fn for a struct batch *: a bad item is noted and fails alone. */
static enum err_code read_items(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    const struct config *cfg = ((const struct exchange *)r->user)->cfg;
    struct batch *b = field;

    if (!json_is_array(v)) return json_fail_type(at, "a list of items", v, e);
    b->n = json_array_size(v);
    if (b->n == 0) return json_fail(at, e, ERR_EMPTY, "must not be an empty list");
    if (b->n > cfg->inputs_max)
        return json_fail(at, e, ERR_TOO_MANY, "has %zu items; at most %zu are allowed", b->n,
            (size_t)cfg->inputs_max);
    b->ids = arena_zalloc(r->arena, b->n, sizeof *b->ids);
    b->failed = arena_zalloc(r->arena, b->n, sizeof *b->failed);
    b->items = arena_zalloc(r->arena, b->n, sizeof *b->items);
    if (!b->ids || !b->failed || !b->items)
        return err_set(e, ERR_NOMEM, "no memory for %zu items", b->n);

    for (size_t i = 0; i < b->n; i++) {
        const struct json_at here = JSON_ELEMENT(at, i);
        const json_t *item = json_array_get(v, i), *id = json_object_get(item, "id");
        struct upsert_item *to = &b->items[b->op.n];
        struct item_body body = { 0 };
        struct err why = ERR_INIT;

        enum err_code code = json_spec_object(r, &here, &item_spec, item, &body, &why);
        if (code == ERR_OK) code = item_of_body(&here, cfg, r->arena, &body, to, &why);
        if (code == ERR_NOMEM) return err_set(e, code, "%s", why.msg);
        if (code != ERR_OK) {
            if (json_is_string(id) && item_id_check(&here, json_str_of(id), NULL) == ERR_OK)
                b->ids[i] = json_str_of(id);
            TRY(fail_item(b, r->arena, i, &why, e));
            continue;
        }
        b->ids[i] = to->key;
        b->op.n++;
    }
    return ERR_OK;
}

static void write_failure(struct json_write *w, size_t i, struct str id, const struct err *why)
{
    json_write_object(w);
    json_write_key(w, "index");
    json_write_u64(w, i);
    if (id.p) {
        json_write_key(w, "id");
        json_write_str(w, id);
    }
    json_write_key(w, "code");
    json_write_z(w, problem_code_of(why->code));
    json_write_key(w, "detail");
    json_write_z(w, why->msg);
    json_write_object_end(w);
}

static enum err_code batch_answer(struct exchange *x, struct batch *b, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    /* What the engine refused joins what never went there. */
    for (size_t i = 0, j = 0; i < b->n; i++) {
        if (b->failed[i]) continue;
        if (b->items[j].outcome == UPSERT_FAILED) b->failed[i] = b->items[j].failure;
        j++;
    }
    json_write_object(&w);
    json_write_key(&w, "upserted");
    json_write_u64(&w, b->op.n_new + b->op.n_replaced);
    json_write_key(&w, "unchanged");
    json_write_u64(&w, b->op.n_unchanged);
    json_write_key(&w, "failed");
    json_write_array(&w);
    for (size_t i = 0; i < b->n; i++)
        if (b->failed[i]) write_failure(&w, i, b->ids[i], b->failed[i]);
    json_write_array_end(&w);
    json_write_key(&w, "ids");
    json_write_array(&w);
    for (size_t i = 0; i < b->n; i++) {
        if (b->failed[i])
            json_write_null(&w);
        else
            json_write_str(&w, b->ids[i]);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

static enum err_code batch_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)op;
    return batch_answer(x, x->user, e);
}

enum err_code api_items_upsert(struct exchange *x, struct err *e)
{
    static const char *const vectors[] = { "/items/[]/vector", NULL };
    static const struct json_field fields[] = { { "items", JSON_CUSTOM, .offset = 0,
        .required = true, .read = read_items } };
    static const struct json_spec spec = JSON_SPEC(fields, .vectors = vectors);
    struct batch *b = arena_zalloc(x->arena, 1, sizeof *b);
    struct collection_info info;
    if (!b) return err_set(e, ERR_NOMEM, "no memory for a request");

    TRY(exchange_read_json(x, &spec, b, e));
    b->op.collection = exchange_capture(x, "collection");
    if (b->op.n == 0) {
        /* Nothing is left to write; but where to must exist. */
        TRY(engine_collection_get(x->engine, b->op.collection, x->arena, &info, e));
        return batch_answer(x, b, e);
    }
    b->op.items = b->items;
    x->user = b;
    exchange_await(x, &b->op.op, batch_render);
    return engine_upsert(x->engine, &b->op, e);
}

/* ---- deletion ---- */

static enum err_code delete_one_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)op;
    (void)e;
    x->rs.status = 204;
    return ERR_OK;
}

enum err_code api_item_delete(struct exchange *x, struct err *e)
{
    struct delete_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    struct str *id = arena_alloc(x->arena, 1, sizeof *id);
    if (!op || !id) return err_set(e, ERR_NOMEM, "no memory for a request");

    *id = exchange_capture(x, "id");
    TRY(item_id_check(&JSON_MEMBER(&JSON_ROOT, "id"), *id, e));
    op->collection = exchange_capture(x, "collection");
    op->keys = id;
    op->n = 1;
    op->must_exist = true;
    exchange_await(x, &op->op, delete_one_render);
    return engine_delete(x->engine, op, e);
}

struct delete_body {
    struct json_strs ids;
    const struct filter *filter;
    bool has_ids;
};

static enum err_code delete_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    return api_answer_count(x, "deleted", ((const struct delete_op *)(const void *)op)->deleted, e);
}

enum err_code api_items_delete(struct exchange *x, struct err *e)
{
    static const struct json_field fields[] = {
        { "ids", JSON_STRS, JSON_AT(struct delete_body, ids),
            JSON_HAS(struct delete_body, has_ids) },
        { "filter", JSON_CUSTOM, JSON_AT(struct delete_body, filter), .read = filter_json_read },
    };
    static const struct json_spec spec = JSON_SPEC(fields);
    struct delete_body body = { 0 };
    struct delete_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    struct collection_info info;
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");

    TRY(exchange_read_json(x, &spec, &body, e));
    if (body.has_ids == !!body.filter)
        return err_set(e, ERR_INVALID, "give either \"ids\" or \"filter\"");
    if (body.ids.n > x->cfg->inputs_max)
        return err_set_field(e, ERR_TOO_MANY, "/ids", "/ids has %zu ids; at most %zu are allowed",
            body.ids.n, (size_t)x->cfg->inputs_max);
    op->collection = exchange_capture(x, "collection");
    if (body.has_ids && body.ids.n == 0) {
        TRY(engine_collection_get(x->engine, op->collection, x->arena, &info, e));
        return api_answer_count(x, "deleted", 0, e);
    }
    op->keys = body.ids.p;
    op->n = body.ids.n;
    op->filter = body.filter;
    exchange_await(x, &op->op, delete_render);
    return engine_delete(x->engine, op, e);
}
