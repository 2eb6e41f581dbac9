/* The OpenAI API for embeddings, for clients that know only that. Texts longer than the model reads are cut,
 * as the hosted models' clients expect no tokenizer of ours to count with. Errors come out in
 * OpenAI's shape by the route's style (routes.c). */
#include "server/api.h"

#include "server/embed_input.h"
#include "server/item_json.h"

struct openai_body {
    struct embed_input input;
    struct str model, user;
    int encoding_format;
    size_t dimensions;
};

static const char *const format_names[] = { "float", "base64", NULL };

#define AT(member) JSON_AT(struct openai_body, member)
static const struct json_field openai_fields[] = {
    { "input", JSON_CUSTOM, AT(input), .required = true, .read = embed_input_read_openai },
    { "model", JSON_STR, AT(model), .required = true },
    { "encoding_format", JSON_ENUM, AT(encoding_format), .names = format_names },
    { "dimensions", JSON_SIZE, AT(dimensions), .min = 1, .max = ITEM_VECTOR_MAX },
    { "user", JSON_STR, AT(user) }, /* taken and ignored */
};
static const struct json_spec openai_spec = JSON_SPEC(openai_fields);

static enum err_code openai_render(struct exchange *x, const struct embed_call *call, struct err *e)
{
    const struct str *model = x->user; /* as it was asked for */
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);

    json_write_object(&w);
    json_write_key(&w, "object");
    json_write_z(&w, "list");
    json_write_key(&w, "data");
    json_write_array(&w);
    for (size_t i = 0; i < call->op.n; i++) {
        json_write_object(&w);
        json_write_key(&w, "object");
        json_write_z(&w, "embedding");
        json_write_key(&w, "index");
        json_write_u64(&w, i);
        json_write_key(&w, "embedding");
        embed_call_write_row(&w, call, i);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_key(&w, "model");
    json_write_str(&w, *model);
    json_write_key(&w, "usage");
    json_write_object(&w);
    json_write_key(&w, "prompt_tokens");
    json_write_u64(&w, call->op.ret_tokens);
    json_write_key(&w, "total_tokens");
    json_write_u64(&w, call->op.ret_tokens);
    json_write_object_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_openai_embeddings(struct exchange *x, struct err *e)
{
    struct openai_body b = { 0 };

    TRY(exchange_read_json(x, &openai_spec, &b, e));
    if (b.model.n == 0)
        return err_set_field(e, ERR_NOT_FOUND, "/model", "the model's name is empty");

    struct embed_call *call = embed_call_new(x, e);
    struct str *model = arena_alloc(x->arena, 1, sizeof *model);
    if (!call || !model) return err_set(e, ERR_NOMEM, "no memory for an encoding");
    *model = b.model;
    x->user = model;
    call->input = b.input;
    call->base64 = b.encoding_format == 1;
    call->render = openai_render;
    call->op.model = b.model;
    call->op.kind = EMBED_DOCUMENT;
    call->op.dimensions = b.dimensions;
    call->op.normalize = true;
    call->op.keep_long = true;
    return embed_call_submit(call, e);
}

static void write_model(struct json_write *w, struct str id, const struct model_info *m)
{
    json_write_object(w);
    json_write_key(w, "id");
    json_write_str(w, id);
    json_write_key(w, "object");
    json_write_z(w, "model");
    json_write_key(w, "created");
    json_write_i64(w, m->created_ms / 1000);
    json_write_key(w, "owned_by");
    json_write_z(w, "kindred");
    json_write_object_end(w);
}

enum err_code api_openai_models(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct model_info *rows;
    size_t n;

    engine_models_refresh(x->engine, false);
    TRY(engine_models(x->engine, x->arena, &rows, &n, e));
    json_write_object(&w);
    json_write_key(&w, "object");
    json_write_z(&w, "list");
    json_write_key(&w, "data");
    json_write_array(&w);
    for (size_t i = 0; i < n; i++)
        write_model(&w, rows[i].name, &rows[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_openai_model(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    struct model_info info;
    struct str id = exchange_capture(x, "id");

    engine_models_refresh(x->engine, true);
    TRY(engine_model_find(x->engine, id, x->arena, &info, e));
    write_model(&w, id, &info);
    return buf_check(&x->rs.body, e);
}
