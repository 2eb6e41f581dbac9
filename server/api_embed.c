/* POST /embed. */
#include "server/api.h"

#include "server/embed_input.h"
#include "server/item_json.h"

struct embed_body {
    struct embed_input input;
    struct str model, collection;
    int kind, encoding_format;
    size_t dimensions;
    bool normalize, truncate;
};
#define EMBED_BODY_DEFAULTS ((struct embed_body){ .normalize = true, .truncate = true })

static const char
    *const kind_names[] = { [EMBED_DOCUMENT] = "document", [EMBED_QUERY] = "query", NULL };
static const char *const format_names[] = { "float", "base64", NULL };

#define AT(member) JSON_AT(struct embed_body, member)
static const struct json_field embed_fields[] = {
    { "input", JSON_CUSTOM, AT(input), .required = true, .read = embed_input_read },
    { "model", JSON_STR, AT(model) },
    { "collection", JSON_STR, AT(collection) },
    { "kind", JSON_ENUM, AT(kind), .names = kind_names },
    { "dimensions", JSON_SIZE, AT(dimensions), .min = 1, .max = ITEM_VECTOR_MAX },
    { "encoding_format", JSON_ENUM, AT(encoding_format), .names = format_names },
    { "normalize", JSON_BOOL, AT(normalize) },
    { "truncate", JSON_BOOL, AT(truncate) },
};
static const struct json_spec embed_spec = JSON_SPEC(embed_fields);

static enum err_code embed_render(struct exchange *x, const struct embed_call *call, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    json_write_object(&w);
    api_write_model(&w, &call->op.ret_model);
    json_write_key(&w, "dimensions");
    json_write_u64(&w, call->op.ret_dimensions);
    json_write_key(&w, "embeddings");
    json_write_array(&w);
    for (size_t i = 0; i < call->op.n; i++)
        embed_call_write_row(&w, call, i);
    json_write_array_end(&w);
    json_write_key(&w, "usage");
    json_write_object(&w);
    json_write_key(&w, "inputs");
    json_write_u64(&w, call->op.n);
    json_write_key(&w, "tokens");
    json_write_u64(&w, call->op.ret_tokens);
    json_write_key(&w, "images");
    json_write_u64(&w, 0);
    json_write_object_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_embed(struct exchange *x, struct err *e)
{
    struct embed_body b = EMBED_BODY_DEFAULTS;

    TRY(exchange_read_json(x, &embed_spec, &b, e));
    if (b.model.p && b.model.n == 0)
        return err_set_field(e, ERR_NOT_FOUND, "/model", "the model's name is empty");

    struct embed_call *call = embed_call_new(x, e);
    if (!call) return ERR_NOMEM;
    call->input = b.input;
    call->base64 = b.encoding_format == 1;
    call->render = embed_render;
    call->op.model = b.model;
    call->op.collection = b.collection;
    call->op.kind = b.kind == EMBED_QUERY ? EMBED_QUERY : EMBED_DOCUMENT;
    call->op.dimensions = b.dimensions;
    call->op.normalize = b.normalize;
    call->op.keep_long = b.truncate;
    return embed_call_submit(call, e);
}
