/* The engine names a text that it refuses by its place among the texts ("/3"); the request has it at "/input/3",
 * or at "/input" if it was no list. So these encodings have a done callback of their own. */
#include "server/embed_input.h"

#include "engine/config.h"

#include <stdio.h>
#include <string.h>

static const struct config *config_of(const struct json_reader *r)
{
    return ((const struct exchange *)r->user)->cfg;
}

static enum err_code read_text(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct str *ret, struct err *e)
{
    size_t max = (size_t)config_of(r)->text_max_bytes;
    struct str s = json_str_of(v);
    if (s.n == 0) return json_fail(at, e, ERR_EMPTY, "must not be empty");
    if (s.n > max)
        return json_fail(at, e, ERR_LIMIT, "has %zu bytes; at most %zu are allowed", s.n, max);
    *ret = s;
    return ERR_OK;
}

static enum err_code read_native(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct str *ret, struct err *e)
{
    const char *key;
    json_t *member;

    if (json_is_string(v)) return read_text(r, at, v, ret, e);
    if (!json_is_object(v))
        return json_fail_type(at, "a text, {\"text\": ...}, or a list of these", v, e);
    json_object_foreach((json_t *)(uintptr_t)v, key, member) if (strcmp(key, "text") != 0 &&
        strcmp(key, "image") != 0) return json_fail(&JSON_MEMBER(at, key), e, ERR_UNKNOWN_FIELD,
        "is not a known field here");
    const json_t *text = json_object_get(v, "text"), *image = json_object_get(v, "image");
    if (!text == !image)
        return json_fail(at, e, ERR_INVALID, "must have either \"text\" or \"image\"");
    const struct json_at here = JSON_MEMBER(at, text ? "text" : "image");
    member = (json_t *)(uintptr_t)(text ? text : image);
    if (!json_is_string(member)) return json_fail_type(&here, "a string", member, e);
    if (image)
        return json_fail(&here, e, ERR_UNPROCESSABLE, "cannot be encoded: there is no image model");
    return read_text(r, &here, text, ret, e);
}

static enum err_code read_openai(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct str *ret, struct err *e)
{
    if (json_is_integer(v) || json_is_array(v))
        return json_fail(at, e, ERR_INVALID,
            "must be text: token ids are those of another tokenizer; send the text itself");
    if (!json_is_string(v)) return json_fail_type(at, "a string or a list of strings", v, e);
    return read_text(r, at, v, ret, e);
}

typedef enum err_code (*read_one_fn)(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct str *ret, struct err *e);

static enum err_code read_input(const struct json_reader *r, const struct json_at *at,
    const json_t *v, read_one_fn read_one, struct embed_input *ret, struct err *e)
{
    bool single = !json_is_array(v);
    size_t n = single ? 1 : json_array_size(v), max = (size_t)config_of(r)->inputs_max;

    if (n == 0) return json_fail(at, e, ERR_EMPTY, "must not be an empty list");
    if (n > max)
        return json_fail(at, e, ERR_TOO_MANY, "has %zu inputs; at most %zu are allowed", n, max);
    struct str *texts = arena_alloc(r->arena, n, sizeof *texts);
    if (!texts) return err_set(e, ERR_NOMEM, "no memory for %zu texts", n);
    for (size_t i = 0; i < n; i++) {
        const struct json_at element = JSON_ELEMENT(at, i);
        TRY(read_one(r, single ? at : &element, single ? v : json_array_get(v, i), &texts[i], e));
    }
    *ret = (struct embed_input){ texts, n, single };
    return ERR_OK;
}

enum err_code embed_input_read(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    return read_input(r, at, v, read_native, field, e);
}

enum err_code embed_input_read_openai(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    return read_input(r, at, v, read_openai, field, e);
}

/* ---- encoding ---- */

/* "/3" becomes "/input/3" or "/input"; "/dimensions" and the like stay. */
static void name_input(const struct embed_call *call, struct err *e)
{
    char place[ERR_FIELD_BYTES];
    if (e->field[0] != '/' || e->field[1] < '0' || e->field[1] > '9') return;
    (void)snprintf(place, sizeof place, "/input%.*s", call->input.single ? 0 : 32, e->field);
    memcpy(e->field, place, sizeof place);
}

static void call_done(struct engine_op *op)
{
    struct embed_call *call = op->user;
    struct exchange *x = call->x;
    struct err e = op->err;

    exchange_op_count(x, op);
    if (e.code == ERR_OK) (void)call->render(x, call, &e);
    if (e.code == ERR_OK) {
        exchange_finish(x);
    } else {
        name_input(call, &e);
        exchange_fail(x, &e);
    }
}

struct embed_call *embed_call_new(struct exchange *x, struct err *e)
{
    struct embed_call *call = arena_zalloc(x->arena, 1, sizeof *call);
    if (!call)
        (void)err_set(e, ERR_NOMEM, "no memory for an encoding");
    else
        call->x = x;
    return call;
}

enum err_code embed_call_submit(struct embed_call *call, struct err *e)
{
    struct embed_op *op = &call->op;
    op->texts = call->input.texts;
    op->n = call->input.n;
    /* A short list is somebody waiting; a long one is a job. */
    op->lane = op->n <= 8 ? LANE_INTERACTIVE : LANE_BULK;
    exchange_op_init(call->x, &op->op);
    op->op.done = call_done;
    op->op.user = call;
    exchange_suspend(call->x);
    enum err_code code = engine_embed(call->x->engine, op, e);
    if (code != ERR_OK && e) name_input(call, e);
    return code;
}

void embed_call_write_row(struct json_write *w, const struct embed_call *call, size_t i)
{
    size_t dim = call->op.ret_dimensions;
    const float *row = call->op.vectors + i * dim;
    if (call->base64) {
        json_write_floats_base64(w, row, dim);
    } else {
        json_write_floats(w, row, dim);
    }
}
