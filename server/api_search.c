/* Searches: one body in two forms, with the collection in it or in the path. */
#include "server/api.h"

#include "base/thread.h"
#include "engine/config.h"
#include "server/filter_json.h"
#include "server/item_json.h"

enum { SEARCH_WINDOW_MAX = 10000, SEARCH_EF_MAX = 20000 };
enum search_mode { SEARCH_VECTOR, SEARCH_KEYWORD, SEARCH_HYBRID };

struct search_body {
    struct str collection, text, id;
    const json_t *image;
    struct json_vector vector;
    bool has_model_version, has_min_score, exact;
    int64_t model_version;
    size_t k, offset, ef;
    const struct filter *filter;
    float min_score;
    int mode;
    struct api_include include;
};
#define SEARCH_BODY_DEFAULTS                                                                       \
    ((struct search_body){ .collection = STR("default"), .k = 10, .include = API_INCLUDE_DEFAULT })

static const char *const mode_names[] = { "vector", "keyword", "hybrid", NULL };
static const char *const vector_path[] = { "/vector", NULL };

#define AT(member) JSON_AT(struct search_body, member)
#define SEARCH_FIELDS                                                                              \
    { "text", JSON_STR, AT(text) }, { "image", JSON_VALUE, AT(image) },                            \
        { "vector", JSON_VECTOR, AT(vector), .min = 1, .max = ITEM_VECTOR_MAX },                   \
        { "id", JSON_STR, AT(id) },                                                                \
        { "model_version", JSON_I64, AT(model_version), .min = 0, .max = 1e15,                     \
            JSON_HAS(struct search_body, has_model_version) },                                     \
        { "k", JSON_SIZE, AT(k), .min = 1, .max = SEARCH_WINDOW_MAX },                             \
        { "offset", JSON_SIZE, AT(offset), .min = 0, .max = SEARCH_WINDOW_MAX - 1 },               \
        { "filter", JSON_CUSTOM, AT(filter), .read = filter_json_read },                           \
        { "min_score", JSON_F32, AT(min_score), JSON_HAS(struct search_body, has_min_score) },     \
        { "mode", JSON_ENUM, AT(mode), .names = mode_names }, { "exact", JSON_BOOL, AT(exact) },   \
        { "ef", JSON_SIZE, AT(ef), .min = 1, .max = SEARCH_EF_MAX },                               \
    {                                                                                              \
        "include", JSON_CUSTOM, AT(include), .read = api_read_include                              \
    }

static const struct json_field search_fields[] = {
    { "collection", JSON_STR, AT(collection) },
    SEARCH_FIELDS,
};
static const struct json_field collection_search_fields[] = { SEARCH_FIELDS };
static const struct json_spec search_spec = JSON_SPEC(search_fields, .vectors = vector_path);
static const struct json_spec collection_search_spec =
    JSON_SPEC(collection_search_fields, .vectors = vector_path);

struct search_call {
    struct search_op op; /* first: the render function gets a pointer to its head */
    int64_t since_ns;
};

static enum err_code search_check(
    const struct exchange *x, const struct search_body *b, struct err *e)
{
    int queries = !!b->text.p + !!b->id.p + !!b->vector.p + (b->image && !json_is_null(b->image));

    if (queries != 1)
        return err_set(e, ERR_INVALID,
            "a search needs exactly one of \"text\", \"vector\" and \"id\"%s",
            queries == 0 ? "" : ", this one has several");
    if (b->image && !json_is_null(b->image))
        return err_set_field(
            e, ERR_UNPROCESSABLE, "/image", "cannot search by image: there is no image model");
    if (b->mode != SEARCH_VECTOR)
        return err_set_field(e, ERR_UNPROCESSABLE, "/mode",
            "mode \"%s\" is not available: this server searches by vector", mode_names[b->mode]);
    if (b->text.p && b->text.n == 0)
        return err_set_field(e, ERR_EMPTY, "/text", "the text to search for is empty");
    if (b->text.n > x->cfg->text_max_bytes)
        return err_set_field(e, ERR_LIMIT, "/text",
            "the text has %zu bytes; at most %zu are allowed", b->text.n,
            (size_t)x->cfg->text_max_bytes);
    const struct json_at root = JSON_ROOT;
    if (b->id.p) TRY(item_id_check(&JSON_MEMBER(&root, "id"), b->id, e));
    if (b->has_model_version && !b->vector.p)
        return err_set_field(
            e, ERR_INVALID, "/model_version", "\"model_version\" goes with \"vector\"");
    if (b->k + b->offset > SEARCH_WINDOW_MAX)
        return err_set_field(e, ERR_INVALID, "/offset", "k and offset together may be %d at most",
            SEARCH_WINDOW_MAX);
    return ERR_OK;
}

static void render_hit(struct json_write *w, const struct search_hit *h, unsigned with)
{
    json_write_object(w);
    json_write_key(w, "id");
    json_write_str(w, h->key);
    json_write_key(w, "score");
    json_write_f32(w, h->score);
    json_write_key(w, "model_version");
    json_write_i64(w, h->model_version);
    if ((with & VIEW_TEXT) && h->text.p) {
        json_write_key(w, "text");
        json_write_str(w, h->text);
    }
    if (with & VIEW_METADATA) {
        json_write_key(w, "metadata");
        json_write_raw(w, h->metadata.n ? h->metadata : STR("{}"));
    }
    if ((with & VIEW_VECTOR) && h->vector) {
        json_write_key(w, "vector");
        json_write_floats(w, h->vector, h->n_vector);
    }
    json_write_object_end(w);
}

static enum err_code search_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct search_call *call = (const struct search_call *)(const void *)op;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    json_write_object(&w);
    json_write_key(&w, "hits");
    json_write_array(&w);
    for (size_t i = 0; i < call->op.n_hits; i++)
        render_hit(&w, &call->op.hits[i], call->op.with);
    json_write_array_end(&w);
    api_write_model(&w, &call->op.model);
    json_write_key(&w, "took_ms");
    /* in whole microseconds */
    json_write_f64(&w, (double)((time_mono_ns() - call->since_ns) / 1000) / 1000.0);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

static enum err_code search_submit(
    struct exchange *x, struct str collection, const struct search_body *b, struct err *e)
{
    struct search_call *call = arena_zalloc(x->arena, 1, sizeof *call);
    if (!call) return err_set(e, ERR_NOMEM, "no memory for a search");
    struct search_op *op = &call->op;

    call->since_ns = time_mono_ns();
    op->collection = collection;
    op->text = b->text;
    op->vector = b->vector.p;
    op->n_vector = b->vector.n;
    op->has_model_version = b->has_model_version;
    op->model_version = b->model_version;
    op->id = b->id;
    op->k = b->k;
    op->offset = b->offset;
    op->filter = b->filter;
    op->has_min_score = b->has_min_score;
    op->min_score = b->min_score;
    op->exact = b->exact;
    op->ef = b->ef;
    op->with = b->include.with;
    exchange_await(x, &op->op, search_render);
    return engine_search(x->engine, op, e);
}

enum err_code api_search(struct exchange *x, struct err *e)
{
    struct search_body body = SEARCH_BODY_DEFAULTS;
    TRY(exchange_read_json(x, &search_spec, &body, e));
    TRY(search_check(x, &body, e));
    return search_submit(x, body.collection, &body, e);
}

enum err_code api_collection_search(struct exchange *x, struct err *e)
{
    struct search_body body = SEARCH_BODY_DEFAULTS;
    TRY(exchange_read_json(x, &collection_search_spec, &body, e));
    TRY(search_check(x, &body, e));
    return search_submit(x, exchange_capture(x, "collection"), &body, e);
}
