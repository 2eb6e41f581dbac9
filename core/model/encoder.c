/* What all architectures share: loading a folder, tokenising into a packed
 * batch, handing the batch to the architecture's table.
 *
 * A batch is the ids of its texts, one after the other, and where each begins.
 * Nothing is padded, so a text costs what it costs alone.
 */
#include "core/model/encoder.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/model/encoder_ops.h"

#include <stdio.h>
#include <string.h>

struct encoder {
    const struct encoder_ops *ops;
    struct encoder_info info;
    struct tokenizer *tokenizer;
    size_t specials; /* tokens that are put around every text */
    size_t prompt_bytes[2];
    void *model; /* the architecture's own */
};

struct encoder_workspace {
    const struct encoder *enc;
    struct tokenizer_scratch *scratch;
    struct token_ids text; /* the text being added */
    char *prompted;        /* prompt and text, room for prompted_cap */
    uint32_t *ids;         /* [n_ids], room for ids_cap */
    size_t *starts;        /* [count + 1], room for starts_cap */
    size_t prompted_cap, ids_cap, starts_cap, count;
    float *work; /* the architecture's */
};

static enum err_code load_weights(struct encoder *enc, const struct model_config *config,
    const char *dir, const struct encoder_options *o, struct err *e)
{
    struct weights *weights = NULL;
    TRY(weights_open(dir, NULL, &weights, e));
    struct model_source src = { dir, config, weights, enc->tokenizer, o->kernels, o->products };
    enum err_code code = enc->ops->load(&src, &enc->model, &enc->info, e);
    weights_close(weights);
    return code;
}

/* How many tokens there are around a text, and whether a prompt leaves room for one of the text's own. */
static enum err_code count_specials(
    struct encoder *enc, struct tokenizer_scratch *scratch, struct token_ids *ids, struct err *e)
{
    const struct encoder_info *i = &enc->info;
    TRY(tokenizer_encode(enc->tokenizer, STR(""), 0, scratch, ids, e));
    enc->specials = ids->n;
    for (size_t kind = 0; kind < 2; kind++) {
        TRY(tokenizer_encode(enc->tokenizer, str_from(i->prompts[kind]), 0, scratch, ids, e));
        if (i->max_tokens && ids->n >= i->max_tokens)
            return err_set(e, ERR_UNPROCESSABLE,
                "of the model's %zu tokens, its prompt and special tokens take %zu: none is left "
                "for a text",
                i->max_tokens, ids->n);
    }
    return ERR_OK;
}

static enum err_code load_prompts(
    struct encoder *enc, const struct model_prompts *prompts, struct err *e)
{
    struct token_ids ids = { .no_specials = !enc->ops->special_tokens };
    struct tokenizer_scratch *scratch = tokenizer_scratch_new();
    memcpy(enc->info.prompts, prompts->text, sizeof enc->info.prompts);
    for (size_t kind = 0; kind < 2; kind++)
        enc->prompt_bytes[kind] = strlen(enc->info.prompts[kind]);
    enum err_code code = scratch ? count_specials(enc, scratch, &ids, e)
                                 : err_set(e, ERR_NOMEM, "no memory to load the model");
    tokenizer_scratch_free(scratch);
    token_ids_done(&ids);
    return code;
}

static enum err_code load_all(
    struct encoder *enc, const char *dir, const struct encoder_options *o, struct err *e)
{
    struct model_config config;
    if (!dir_exists(dir)) return err_set(e, ERR_NOT_FOUND, "no such model folder");
    TRY(model_config_read(dir, &config, &enc->ops, e));
    TRY(tokenizer_load(dir, &enc->tokenizer, e));
    snprintf(enc->info.name, sizeof enc->info.name, "%s", config.name);
    snprintf(enc->info.architecture, sizeof enc->info.architecture, "%s", enc->ops->name);
    enc->info.max_tokens = config.max_tokens;
    TRY(load_weights(enc, &config, dir, o, e));
    return load_prompts(enc, &config.prompts, e);
}

enum err_code encoder_open(
    const char *model_dir, const struct encoder_options *o, struct encoder **ret_enc, struct err *e)
{
    struct encoder *enc = mem_zalloc(1, sizeof *enc);
    if (!enc) return err_set(e, ERR_NOMEM, "no memory to load the model");
    enum err_code code = load_all(enc, model_dir, o, e);
    if (code != ERR_OK) {
        encoder_free(enc);
        if (e) err_wrap(e, "model %s", model_dir);
        return code;
    }
    *ret_enc = enc;
    return ERR_OK;
}

enum err_code encoder_load(
    const char *model_dir, const struct vec_kernels *k, struct encoder **ret_enc, struct err *e)
{
    struct encoder_options o = { k, PRODUCTS_BEST };
    return encoder_open(model_dir, &o, ret_enc, e);
}

void encoder_free(struct encoder *enc)
{
    if (!enc) return;
    if (enc->ops) enc->ops->free(enc->model);
    tokenizer_free(enc->tokenizer);
    mem_free(enc);
}

const struct encoder_info *encoder_info(const struct encoder *enc)
{
    return &enc->info;
}

/* ---- work space ---- */

enum err_code encoder_workspace_new(
    const struct encoder *enc, struct encoder_workspace **ret_w, struct err *e)
{
    struct encoder_workspace *w = mem_zalloc(1, sizeof *w);
    if (w) {
        w->enc = enc;
        w->text.no_specials = !enc->ops->special_tokens;
        w->scratch = tokenizer_scratch_new();
        w->work = mem_alloc_aligned(64, enc->ops->workspace_floats(enc->model), sizeof *w->work);
        w->starts_cap = 64;
        w->starts = mem_zalloc(w->starts_cap, sizeof *w->starts);
    }
    if (!w || !w->scratch || !w->work || !w->starts) {
        encoder_workspace_free(w);
        return err_set(e, ERR_NOMEM, "no memory for the encoder's work space");
    }
    *ret_w = w;
    return ERR_OK;
}

void encoder_workspace_free(struct encoder_workspace *w)
{
    if (!w) return;
    tokenizer_scratch_free(w->scratch);
    token_ids_done(&w->text);
    mem_free(w->prompted);
    mem_free(w->ids);
    mem_free(w->starts);
    mem_free(w->work);
    mem_free(w);
}

void encoder_batch_begin(struct encoder_workspace *w)
{
    w->count = 0;
}

size_t encoder_batch_count(const struct encoder_workspace *w)
{
    return w->count;
}

size_t encoder_batch_tokens(const struct encoder_workspace *w)
{
    return w->starts[w->count];
}

static enum err_code make_room(struct encoder_workspace *w, size_t n_ids, struct err *e)
{
    size_t need = w->starts[w->count] + n_ids;
    if (need > w->ids_cap) {
        size_t cap = need > w->ids_cap * 2 ? need : w->ids_cap * 2;
        uint32_t *ids = mem_realloc(w->ids, cap, sizeof *ids);
        if (!ids) return err_set(e, ERR_NOMEM, "no memory for a batch of %zu tokens", need);
        w->ids = ids;
        w->ids_cap = cap;
    }
    if (w->count + 2 > w->starts_cap) {
        size_t *starts = mem_realloc(w->starts, w->starts_cap * 2, sizeof *starts);
        if (!starts)
            return err_set(e, ERR_NOMEM, "no memory for a batch of %zu texts", w->count + 1);
        w->starts = starts;
        w->starts_cap *= 2;
    }
    return ERR_OK;
}

/* The prompt and the text in one run of bytes, tokenised as one: a word may span both. */
static enum err_code encode_prompted(
    struct encoder_workspace *w, struct str text, enum encode_kind kind, struct err *e)
{
    const struct encoder_info *i = &w->enc->info;
    size_t n_prompt = w->enc->prompt_bytes[kind], n;
    if (!mem_add(text.n, n_prompt, &n)) return err_set(e, ERR_NOMEM, "the text is too long");
    if (n > w->prompted_cap) {
        char *p = mem_realloc(w->prompted, n, 1);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for a text of %zu bytes", text.n);
        w->prompted = p;
        w->prompted_cap = n;
    }
    memcpy(w->prompted, i->prompts[kind], n_prompt);
    if (text.n) memcpy(w->prompted + n_prompt, text.p, text.n);
    w->text.want_spans = true;
    const struct str both = { w->prompted, n };
    enum err_code code =
        tokenizer_encode(w->enc->tokenizer, both, i->max_tokens, w->scratch, &w->text, e);
    if (code != ERR_INVALID) return code;
    /* Once more, so that the message counts the text's own bytes. */
    TRY(tokenizer_encode(w->enc->tokenizer, text, i->max_tokens, w->scratch, &w->text, e));
    return code;
}

/* Is there a token of the text's own? */
static bool has_content(const struct encoder_workspace *w, enum encode_kind kind)
{
    size_t n_prompt = w->enc->prompt_bytes[kind], i = 0;
    if (n_prompt == 0) return w->text.n > w->enc->specials;
    while (i < w->text.n && w->text.spans[i].end <= n_prompt)
        i++;
    return i < w->text.n;
}

enum err_code encoder_batch_add_text(struct encoder_workspace *w, struct str text,
    enum encode_kind kind, bool truncate, size_t *ret_tokens, struct err *e)
{
    const struct encoder *enc = w->enc;
    w->text.want_spans = false;
    if (enc->prompt_bytes[kind])
        TRY(encode_prompted(w, text, kind, e));
    else
        TRY(tokenizer_encode(enc->tokenizer, text, enc->info.max_tokens, w->scratch, &w->text, e));
    if (!has_content(w, kind)) return err_set(e, ERR_EMPTY, "the text holds nothing to encode");
    if (w->text.truncated && !truncate)
        return err_set(
            e, ERR_LIMIT, "the text has more than the model's %zu tokens", enc->info.max_tokens);
    TRY(enc->ops->check(enc->model, w->text.ids, w->text.n, e));
    TRY(make_room(w, w->text.n, e));
    size_t begin = w->starts[w->count];
    memcpy(w->ids + begin, w->text.ids, w->text.n * sizeof *w->ids);
    w->starts[++w->count] = begin + w->text.n;
    if (ret_tokens) *ret_tokens = w->text.n;
    return ERR_OK;
}

enum err_code encoder_batch_forward(struct encoder_workspace *w, float *out, struct err *e)
{
    (void)e; /* nothing is allocated here */
    struct packed_batch b = { w->ids, w->starts, w->count };
    w->enc->ops->forward(w->enc->model, &b, w->work, out);
    return ERR_OK;
}

enum err_code encoder_encode_text(
    struct encoder_workspace *w, struct str text, enum encode_kind kind, float *out, struct err *e)
{
    encoder_batch_begin(w);
    TRY(encoder_batch_add_text(w, text, kind, true, NULL, e));
    return encoder_batch_forward(w, out, e);
}
