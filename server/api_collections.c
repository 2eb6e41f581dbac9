/* Collections. */
#include "server/api.h"

#include "server/item_json.h"

#include <stdlib.h>
#include <string.h>

static const char *const modality_names[] = { [MODALITY_TEXT] = "text",
    [MODALITY_IMAGE] = "image",
    [MODALITY_MULTIMODAL] = "multimodal",
    NULL };
static const char *const
    metric_names[] = { [METRIC_COSINE] = "cosine", [METRIC_DOT] = "dot", [METRIC_L2] = "l2", NULL };
static const char *const field_type_names[] = { [FIELD_INTEGER] = "integer",
    [FIELD_NUMBER] = "number",
    [FIELD_STRING] = "string",
    [FIELD_BOOLEAN] = "boolean",
    [FIELD_DATETIME] = "datetime",
    NULL };

/* ---- reading ---- */

struct index_body {
    uint32_t m, ef_construction, ef_search, bits; /* 0: not given */
};
struct fields_body {
    struct catalog_field *p;
    size_t n;
};
struct collection_body {
    int modality, metric;
    const json_t *model;
    size_t dimensions;
    struct fields_body filterable;
    struct index_body index;
    bool has_modality, has_metric, has_filterable, has_index, has_dimensions;
};

static const struct json_field index_fields[] = {
    { "m", JSON_U32, JSON_AT(struct index_body, m), .min = 4, .max = 64 },
    { "ef_construction", JSON_U32, JSON_AT(struct index_body, ef_construction), .min = 8,
        .max = 2000 },
    { "ef_search", JSON_U32, JSON_AT(struct index_body, ef_search), .min = 8, .max = 20000 },
    { "bits", JSON_U32, JSON_AT(struct index_body, bits), .min = 12, .max = 24 },
};
static const struct json_spec index_spec = JSON_SPEC(index_fields);

static enum err_code read_index(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    if (json_is_null(v)) return ERR_OK;
    return json_spec_object(r, at, &index_spec, v, field, e);
}

/* {"year": "integer", "a.b": "string"} */
static enum err_code read_filterable(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    static const struct json_field type = { .type = JSON_ENUM, .names = field_type_names };
    struct fields_body *ret = field;
    const char *path;
    json_t *name;

    if (json_is_null(v)) return ERR_OK;
    if (!json_is_object(v)) return json_fail_type(at, "an object of field names and types", v, e);
    size_t n = json_object_size(v);
    if (n > CATALOG_FIELDS_MAX)
        return json_fail(at, e, ERR_INVALID, "has %zu fields; at most %d are allowed", n,
            (int)CATALOG_FIELDS_MAX);
    struct catalog_field *p = arena_alloc(r->arena, n, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu fields", n);
    n = 0;
    json_object_foreach((json_t *)(uintptr_t)v, path, name)
    {
        const struct json_at here = JSON_MEMBER(at, path);
        int which;
        if (path[0] == '\0' || strlen(path) > 256)
            return json_fail(&here, e, ERR_INVALID, "must have a name of 1 to 256 bytes");
        TRY(json_spec_value(r, &here, &type, name, &which, e));
        p[n++] = (struct catalog_field){ str_from(path), (enum field_type)which };
    }
    *ret = (struct fields_body){ p, n };
    return ERR_OK;
}

#define AT(member) JSON_AT(struct collection_body, member)
#define HAS(member) JSON_HAS(struct collection_body, member)
static const struct json_field collection_fields[] = {
    { "modality", JSON_ENUM, AT(modality), .names = modality_names, HAS(has_modality) },
    { "model", JSON_VALUE, AT(model) },
    { "dimensions", JSON_SIZE, AT(dimensions), .min = 1, .max = ITEM_VECTOR_MAX,
        HAS(has_dimensions) },
    { "metric", JSON_ENUM, AT(metric), .names = metric_names, HAS(has_metric) },
    { "filterable", JSON_CUSTOM, AT(filterable), .read = read_filterable, HAS(has_filterable) },
    { "index", JSON_CUSTOM, AT(index), .read = read_index, HAS(has_index) },
};
static const struct json_spec collection_spec = JSON_SPEC(collection_fields);

/* ---- validation ---- */

/* "model": null is a collection of the user's own vectors. */
static enum err_code spec_of_vectors(
    const struct collection_body *b, struct collection_spec *ret, struct err *e)
{
    if (b->has_modality)
        return err_set_field(e, ERR_INVALID, "/modality",
            "a collection of your own vectors (\"model\": null) has no modality");
    if (!b->has_dimensions)
        return err_set_field(
            e, ERR_INVALID, "/dimensions", "a collection of your own vectors needs \"dimensions\"");
    ret->modality = MODALITY_VECTOR;
    ret->has_modality = true;
    ret->dimensions = b->dimensions;
    ret->has_dimensions = true;
    ret->metric = (enum catalog_metric)b->metric;
    ret->has_metric = b->has_metric;
    return ERR_OK;
}

static enum err_code spec_of_model(
    const struct collection_body *b, struct collection_spec *ret, struct err *e)
{
    if (!b->has_modality)
        return err_set_field(e, ERR_INVALID, "/modality",
            "\"modality\" is missing; for a collection of your own vectors give \"model\": null");
    if (b->has_dimensions)
        return err_set_field(e, ERR_INVALID, "/dimensions",
            "the model decides \"dimensions\"; for your own vectors give \"model\": null");
    if (b->has_metric && b->metric != METRIC_COSINE)
        return err_set_field(e, ERR_INVALID, "/metric",
            "vectors of a model are compared by cosine; for your own vectors give \"model\": null");
    ret->modality = (enum catalog_modality)b->modality;
    ret->has_modality = true;
    if (b->model) {
        if (!json_is_string(b->model))
            return err_set_field(e, ERR_INVALID, "/model",
                "/model must be a string or null, not %s", json_kind(b->model));
        ret->model = json_str_of(b->model);
        ret->has_model = true;
    }
    return ERR_OK;
}

static enum err_code spec_of_body(
    struct str name, const struct collection_body *b, struct collection_spec *ret, struct err *e)
{
    struct collection_spec s = { .name = name, .metric = METRIC_COSINE };
    if (b->model && json_is_null(b->model)) {
        TRY(spec_of_vectors(b, &s, e));
    } else {
        TRY(spec_of_model(b, &s, e));
    }
    s.fields = b->filterable.p;
    s.n_fields = b->filterable.n;
    s.has_fields = b->has_filterable;
    s.m = b->index.m;
    s.ef_construction = b->index.ef_construction;
    s.ef_search = b->index.ef_search;
    s.bits = b->index.bits;
    s.has_index = b->has_index;
    *ret = s;
    return ERR_OK;
}

/* ---- answers ---- */

static const char *modality_name(enum catalog_modality m)
{
    return m == MODALITY_VECTOR ? "vector" : modality_names[m];
}

static void write_summary(struct json_write *w, const struct collection_info *c)
{
    json_write_key(w, "name");
    json_write_str(w, c->name);
    json_write_key(w, "modality");
    json_write_z(w, modality_name(c->modality));
    api_write_model(w, &c->model);
    json_write_key(w, "items");
    json_write_u64(w, c->items);
}

/* How much of the best is found with which ef. */
static void write_curve(struct json_write *w, const struct index_curve *curve)
{
    json_write_key(w, "curve");
    if (curve->n == 0) {
        json_write_null(w);
        return;
    }
    json_write_object(w);
    json_write_key(w, "items");
    json_write_u64(w, curve->at_live);
    json_write_key(w, "queries");
    json_write_u64(w, curve->n_queries);
    json_write_key(w, "points");
    json_write_array(w);
    for (size_t i = 0; i < curve->n; i++) {
        json_write_object(w);
        json_write_key(w, "ef");
        json_write_u64(w, curve->ef[i]);
        json_write_key(w, "recall");
        json_write_f32(w, curve->recall[i]);
        json_write_object_end(w);
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

static void write_index(struct json_write *w, const struct collection_info *c)
{
    const struct collection_index *ix = &c->index;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = { { "m", c->m }, { "ef_construction", c->ef_construction },
        { "ef_search", c->ef_search }, { "bits", c->bits }, { "pending", ix->pending },
        { "deleted", ix->deleted }, { "vacant", ix->vacant }, { "bytes", ix->size_bytes },
        { "repairs", ix->repairs } };

    json_write_key(w, "index");
    json_write_object(w);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_write_key(w, numbers[i].key);
        json_write_u64(w, numbers[i].value);
    }
    json_write_key(w, "recall");
    json_write_f64(w, ix->recall); /* null where it was not measured yet */
    write_curve(w, &ix->curve);
    json_write_object_end(w);
}

static enum err_code answer_collection(
    struct exchange *x, const struct collection_info *c, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    json_write_object(&w);
    write_summary(&w, c);
    json_write_key(&w, "dimensions");
    json_write_u64(&w, c->dimensions);
    json_write_key(&w, "metric");
    json_write_z(&w, metric_names[c->metric]);
    json_write_key(&w, "filterable");
    json_write_object(&w);
    for (size_t i = 0; i < c->n_fields; i++) {
        json_write_key_str(&w, c->fields[i].path);
        json_write_z(&w, field_type_names[c->fields[i].type]);
    }
    json_write_object_end(&w);
    write_index(&w, c);
    json_write_key(&w, "bytes");
    json_write_u64(&w, c->size_bytes);
    api_write_time(&w, "created_at", c->created_ms);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_collections_list(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct collection_info *rows;
    size_t n;

    TRY(engine_collections(x->engine, x->arena, &rows, &n, e));
    json_write_object(&w);
    json_write_key(&w, "collections");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++) {
        json_write_object(&w);
        write_summary(&w, &rows[i]);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_collection_get(struct exchange *x, struct err *e)
{
    struct collection_info info;
    TRY(engine_collection_get(x->engine, exchange_capture(x, "collection"), x->arena, &info, e));
    return answer_collection(x, &info, e);
}

static enum err_code put_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct collection_op *c = (const struct collection_op *)(const void *)op;
    if (c->created) {
        char *path = arena_printf(x->arena, "/collections/%.*s", STR_ARG(c->info.name));
        if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
        x->rs.status = 201;
        response_header_add(&x->rs, "Location", path);
    }
    return answer_collection(x, &c->info, e);
}

static enum err_code delete_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    (void)op;
    (void)e;
    x->rs.status = 204;
    return ERR_OK;
}

enum err_code api_collection_put(struct exchange *x, struct err *e)
{
    struct collection_body body = { .metric = METRIC_COSINE };
    struct collection_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");

    TRY(exchange_read_json(x, &collection_spec, &body, e));
    TRY(spec_of_body(exchange_capture(x, "collection"), &body, &op->spec, e));
    op->action = COLLECTION_PUT;
    exchange_await(x, &op->op, put_render);
    return engine_collection_submit(x->engine, op, e);
}

enum err_code api_collection_delete(struct exchange *x, struct err *e)
{
    struct collection_op *op = arena_zalloc(x->arena, 1, sizeof *op);
    if (!op) return err_set(e, ERR_NOMEM, "no memory for a request");

    op->action = COLLECTION_DELETE;
    op->spec.name = exchange_capture(x, "collection");
    exchange_await(x, &op->op, delete_render);
    return engine_collection_submit(x->engine, op, e);
}
