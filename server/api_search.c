/* Searches: one body in two forms, with the collection in it or in the path; and a list of the first form. */
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
    bool has_model_version, has_min_score, has_target_recall, exact;
    int64_t model_version;
    size_t k, offset, ef;
    const struct filter *filter;
    float min_score, target_recall;
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
        { "target_recall", JSON_F32, AT(target_recall),                                            \
            JSON_HAS(struct search_body, has_target_recall) },                                     \
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

/* ---- validation ---- */

static enum err_code search_check_query(
    const struct config *cfg, const struct json_at *at, const struct search_body *b, struct err *e)
{
    bool has_image = b->image && !json_is_null(b->image);
    int queries = !!b->text.p + !!b->id.p + !!b->vector.p + has_image;

    if (queries != 1)
        return json_fail(at, e, ERR_INVALID,
            "needs exactly one of \"text\", \"vector\" and \"id\"%s",
            queries == 0 ? "" : ", this one has several");
    if (has_image)
        return json_fail(&JSON_MEMBER(at, "image"), e, ERR_UNPROCESSABLE,
            "cannot be searched by: there is no image model");
    if (b->text.p && b->text.n == 0)
        return json_fail(&JSON_MEMBER(at, "text"), e, ERR_EMPTY, "must not be empty");
    if (b->text.n > cfg->text_max_bytes)
        return json_fail(&JSON_MEMBER(at, "text"), e, ERR_LIMIT,
            "has %zu bytes; at most %zu are allowed", b->text.n, (size_t)cfg->text_max_bytes);
    if (b->id.p) TRY(item_id_check(&JSON_MEMBER(at, "id"), b->id, e));
    if (b->has_model_version && !b->vector.p)
        return json_fail(&JSON_MEMBER(at, "model_version"), e, ERR_INVALID, "goes with \"vector\"");
    return ERR_OK;
}

/* at: where the search stands in the request. */
static enum err_code search_check(
    const struct config *cfg, const struct json_at *at, const struct search_body *b, struct err *e)
{
    const struct json_at recall = JSON_MEMBER(at, "target_recall");

    TRY(search_check_query(cfg, at, b, e));
    if (b->mode != SEARCH_VECTOR)
        return json_fail(&JSON_MEMBER(at, "mode"), e, ERR_UNPROCESSABLE,
            "\"%s\" is not available: this server searches by vector", mode_names[b->mode]);
    if (b->has_target_recall && !(b->target_recall > 0 && b->target_recall < 1))
        return json_fail(&recall, e, ERR_INVALID,
            "must be above 0 and below 1; \"exact\" compares with every item");
    if (b->has_target_recall && b->ef)
        return json_fail(
            &recall, e, ERR_INVALID, "chooses \"ef\" by itself: give only one of the two");
    if (b->k + b->offset > SEARCH_WINDOW_MAX)
        return json_fail(&JSON_MEMBER(at, "offset"), e, ERR_INVALID,
            "and \"k\" together may be %d at most", SEARCH_WINDOW_MAX);
    return ERR_OK;
}

static void search_of_body(
    const struct search_body *b, struct str collection, struct search_op *ret)
{
    *ret = (struct search_op){
        .collection = collection,
        .text = b->text,
        .vector = b->vector.p,
        .n_vector = b->vector.n,
        .has_model_version = b->has_model_version,
        .model_version = b->model_version,
        .id = b->id,
        .k = b->k,
        .offset = b->offset,
        .filter = b->filter,
        .has_min_score = b->has_min_score,
        .min_score = b->min_score,
        .exact = b->exact,
        .ef = b->ef,
        .target_recall = b->target_recall,
        .with = b->include.with,
    };
}

/* ---- answers ---- */

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

/* until_ns: when it was answered */
static void render_result(
    struct json_write *w, const struct search_op *op, int64_t since_ns, int64_t until_ns)
{
    json_write_object(w);
    json_write_key(w, "hits");
    json_write_array(w);
    for (size_t i = 0; i < op->n_hits; i++)
        render_hit(w, &op->hits[i], op->with);
    json_write_array_end(w);
    api_write_model(w, &op->model);
    json_write_key(w, "took_ms");
    /* in whole microseconds */
    json_write_f64(w, (double)((until_ns - since_ns) / 1000) / 1000.0);
    json_write_object_end(w);
}

/* ---- one search ---- */

struct search_call {
    struct search_op op; /* first: the render function gets a pointer to its head */
    int64_t since_ns;
};

static enum err_code search_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct search_call *call = (const struct search_call *)(const void *)op;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    render_result(&w, &call->op, call->since_ns, time_mono_ns());
    return buf_check(&x->rs.body, e);
}

static enum err_code search_submit(
    struct exchange *x, struct str collection, const struct search_body *b, struct err *e)
{
    struct search_call *call = arena_zalloc(x->arena, 1, sizeof *call);
    if (!call) return err_set(e, ERR_NOMEM, "no memory for a search");

    call->since_ns = time_mono_ns();
    search_of_body(b, collection, &call->op);
    exchange_await(x, &call->op.op, search_render);
    return engine_search(x->engine, &call->op, e);
}

enum err_code api_search(struct exchange *x, struct err *e)
{
    struct search_body body = SEARCH_BODY_DEFAULTS;
    TRY(exchange_read_json(x, &search_spec, &body, e));
    TRY(search_check(x->cfg, &JSON_ROOT, &body, e));
    return search_submit(x, body.collection, &body, e);
}

enum err_code api_collection_search(struct exchange *x, struct err *e)
{
    struct search_body body = SEARCH_BODY_DEFAULTS;
    TRY(exchange_read_json(x, &collection_search_spec, &body, e));
    TRY(search_check(x->cfg, &JSON_ROOT, &body, e));
    return search_submit(x, exchange_capture(x, "collection"), &body, e);
}

/* ---- several ---- */

struct batch_call {
    struct search_batch_op op; /* first, as above */
    int64_t since_ns;
};

/* json_read_fn for a struct batch_call. */
static enum err_code read_searches(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    const struct config *cfg = ((const struct exchange *)r->user)->cfg;
    struct batch_call *call = field;

    if (!json_is_array(v)) return json_fail_type(at, "a list of searches", v, e);
    size_t n = json_array_size(v);
    if (n == 0) return json_fail(at, e, ERR_EMPTY, "must not be an empty list");
    if (n > cfg->searches_max)
        return json_fail(at, e, ERR_TOO_MANY, "has %zu searches; at most %zu are allowed", n,
            (size_t)cfg->searches_max);
    struct search_op *ops = arena_zalloc(r->arena, n, sizeof *ops);
    if (!ops) return err_set(e, ERR_NOMEM, "no memory for %zu searches", n);
    for (size_t i = 0; i < n; i++) {
        const struct json_at here = JSON_ELEMENT(at, i);
        struct search_body body = SEARCH_BODY_DEFAULTS;
        TRY(json_spec_object(r, &here, &search_spec, json_array_get(v, i), &body, e));
        TRY(search_check(cfg, &here, &body, e));
        search_of_body(&body, body.collection, &ops[i]);
    }
    call->op.searches = ops;
    call->op.n = n;
    return ERR_OK;
}

static enum err_code batch_render(struct exchange *x, struct engine_op *op, struct err *e)
{
    const struct batch_call *call = (const struct batch_call *)(const void *)op;
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    json_write_object(&w);
    json_write_key(&w, "results");
    json_write_array(&w);
    for (size_t i = 0; i < call->op.n; i++) {
        const struct search_op *one = &call->op.searches[i];
        render_result(&w, one, call->since_ns, one->done_ns);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_search_batch(struct exchange *x, struct err *e)
{
    static const char *const vectors[] = { "/searches/[]/vector", NULL };
    static const struct json_field fields[] = { { "searches", JSON_CUSTOM, .offset = 0,
        .required = true, .read = read_searches } };
    static const struct json_spec spec = JSON_SPEC(fields, .vectors = vectors);
    struct batch_call *call = arena_zalloc(x->arena, 1, sizeof *call);
    if (!call) return err_set(e, ERR_NOMEM, "no memory for searches");

    call->since_ns = time_mono_ns();
    TRY(exchange_read_json(x, &spec, call, e));
    exchange_await(x, &call->op.op, batch_render);
    return engine_search_batch(x->engine, &call->op, e);
}
