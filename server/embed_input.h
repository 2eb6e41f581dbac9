/* Layer: server. May include: engine, base, jansson.
 *
 * What /embed and the compatible routes share: the texts of "input", and an
 * encoding whose errors name the text as the request has it.
 *
 * Threads: any.
 */
#pragma once

#include "engine/engine.h"
#include "server/exchange.h"
#include "server/json_write.h"

struct embed_input {
    const struct str *texts; /* p == NULL: the field was not there */
    size_t n;
    bool single; /* one text, not in a list */
};

/** json_read_fn's for a struct embed_input. The reader's user is the exchange (for its limits).
 * Native: a text, {"text"}, {"image"}, or a list of these. OpenAI: a text or a list of texts.
 * Errors: INVALID, EMPTY, LIMIT (text), TOO_MANY (texts), UNPROCESSABLE (an image), NOMEM. */
MUST_USE enum err_code embed_input_read(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e);
MUST_USE enum err_code embed_input_read_openai(const struct json_reader *r,
    const struct json_at *at, const json_t *v, void *field, struct err *e);

/** An encoding for an exchange: fill op (all but op.op, texts and n), then submit. */
struct embed_call {
    struct embed_op op;
    struct exchange *x;
    struct embed_input input;
    bool base64;
    enum err_code (*render)(struct exchange *x, const struct embed_call *call, struct err *e);
};
/** Zeroed, in the exchange's arena; NULL: no memory (e is set). */
struct embed_call *embed_call_new(struct exchange *x, struct err *e);
/** The handler's last act: its result is the handler's. */
MUST_USE enum err_code embed_call_submit(struct embed_call *call, struct err *e);

/** [v, v, …] or base64, as the call asks, of row i. */
void embed_call_write_row(struct json_write *w, const struct embed_call *call, size_t i);
