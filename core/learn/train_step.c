/* Anchors and candidates go through the model as one batch, so a token on both sides has one gradient. */
#include "core/learn/train_step.h"

#include "base/map.h"
#include "base/mem.h"
#include "core/learn/loss.h"
#include "core/nn/gemm.h"

#include <math.h>
#include <string.h>

enum { ROW_ALIGN_BYTES = 64 };

struct floats {
    float *p;
    size_t cap;
};

struct train_step {
    const struct trainer_options *o;
    struct trainable *model,
        *parent; /* parent: NULL if not needed, or the model knows its vectors */
    struct activations *act, *parent_act;
    struct floats out, dout, parent_out; /* [texts, D] */
    const float *parent_rows;            /* parent_out, or the model's own; of the latest batch */
    struct floats saved;                 /* of a loss */
    struct floats sims;                  /* [N, M] parent's cosines */
    bool *masked;                        /* [N, M] */
    size_t masked_cap;
    struct parent_cache {
        float *rows; /* [texts of the data, D]; NULL: not kept */
        bool *has;   /* [texts of the data] */
        bool tried;
        struct floats fresh;      /* [texts that are new, D] */
        uint32_t *ids;            /* their tokens */
        size_t *starts, *numbers; /* where each begins, which of the batch's it is */
        size_t ids_cap, texts_cap;
    } cache;
};

void train_step_free(struct train_step *s)
{
    if (!s) return;
    activations_free(s->act);
    activations_free(s->parent_act);
    trainable_free(s->parent);
    mem_free(s->out.p);
    mem_free(s->dout.p);
    mem_free(s->parent_out.p);
    mem_free(s->saved.p);
    mem_free(s->sims.p);
    mem_free(s->masked);
    mem_free(s->cache.rows);
    mem_free(s->cache.has);
    mem_free(s->cache.fresh.p);
    mem_free(s->cache.ids);
    mem_free(s->cache.starts);
    mem_free(s->cache.numbers);
    mem_free(s);
}

bool train_step_wants_whole(const struct train_step *s)
{
    return s->parent != NULL;
}

static enum err_code open_parent(struct train_step *s, struct err *e)
{
    struct trainable_options o = s->o->model;
    o.method = TRAIN_NONE;
    o.threads = s->o->threads;
    return trainable_open(s->o->model_dir, &o, &s->parent, e);
}

static enum err_code set_up(struct train_step *s, struct err *e)
{
    const struct trainer_options *o = s->o;
    TRY(activations_new(s->model, &s->act, e));
    if (o->n_pairs == 0 || (o->anchor_weight <= 0 && o->mask_above >= 1)) return ERR_OK;
    if (trainable_knows_parent(s->model)) return ERR_OK;
    TRY(open_parent(s, e));
    return activations_new(s->parent, &s->parent_act, e);
}

enum err_code train_step_new(const struct trainer_options *o, struct trainable *model,
    struct train_step **ret_s, struct err *e)
{
    struct train_step *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "no memory to train");
    s->o = o;
    s->model = model;
    enum err_code code = set_up(s, e);
    if (code != ERR_OK) {
        train_step_free(s);
        return code;
    }
    *ret_s = s;
    return ERR_OK;
}

/* Room for n; what was there is not kept. */
static enum err_code room(struct floats *f, size_t n, struct err *e)
{
    if (f->cap >= n) return ERR_OK;
    mem_free(f->p);
    f->cap = 0;
    f->p = mem_alloc_aligned(ROW_ALIGN_BYTES, n + n / 4, sizeof *f->p);
    if (!f->p) return err_set(e, ERR_NOMEM, "no memory for a step: a smaller batch may help");
    f->cap = n + n / 4;
    return ERR_OK;
}

/* ---- the parent's vectors: they never change, so a text's is made once where memory allows ---- */

static void cache_begin(struct train_step *s, const struct train_batch *b)
{
    struct parent_cache *c = &s->cache;
    size_t n = b->data->texts.n, D = trainable_dimensions(s->parent), values, bytes;
    if (c->tried) return;
    c->tried = true;
    if (!mem_mul(n, D, &values) || !mem_mul(values, sizeof *c->rows, &bytes) ||
        bytes > s->o->model.memory_bytes / 4)
        return;
    c->rows = mem_alloc(values, sizeof *c->rows);
    c->has = mem_zalloc(n, sizeof *c->has);
    if (c->rows && c->has) return;
    mem_free(c->rows); /* it can be done without */
    c->rows = NULL;
}

static enum err_code cache_room(struct parent_cache *c, size_t texts, size_t ids, struct err *e)
{
    if (c->texts_cap < texts) {
        mem_free(c->starts);
        mem_free(c->numbers);
        c->texts_cap = 0;
        c->starts = mem_alloc(texts + 1, sizeof *c->starts);
        c->numbers = mem_alloc(texts, sizeof *c->numbers);
        if (!c->starts || !c->numbers) return err_set(e, ERR_NOMEM, "no memory for a step");
        c->texts_cap = texts;
    }
    if (c->ids_cap < ids) {
        mem_free(c->ids);
        c->ids_cap = 0;
        c->ids = mem_alloc(ids, sizeof *c->ids);
        if (!c->ids) return err_set(e, ERR_NOMEM, "no memory for a step");
        c->ids_cap = ids;
    }
    return ERR_OK;
}

static enum err_code cache_fill(struct train_step *s, const struct train_batch *b, struct err *e)
{
    struct parent_cache *c = &s->cache;
    const struct packed_batch *w = &b->whole;
    size_t D = trainable_dimensions(s->parent), n = 0, n_ids = 0;
    TRY(cache_room(c, w->count, w->starts[w->count], e));
    for (size_t i = 0; i < w->count; i++) {
        size_t len = w->starts[i + 1] - w->starts[i];
        if (c->has[b->texts[i]]) continue;
        c->starts[n] = n_ids;
        c->numbers[n++] = b->texts[i];
        memcpy(c->ids + n_ids, w->ids + w->starts[i], len * sizeof *c->ids);
        n_ids += len;
        c->has[b->texts[i]] = true;
    }
    if (n == 0) return ERR_OK;
    c->starts[n] = n_ids;
    const struct packed_batch fresh = { c->ids, c->starts, n };
    enum err_code code = room(&c->fresh, n * D, e);
    if (code == ERR_OK)
        code = trainable_forward(s->parent, s->parent_act, &fresh, 0, c->fresh.p, e);
    for (size_t i = 0; i < n; i++) {
        c->has[c->numbers[i]] = code == ERR_OK;
        if (code == ERR_OK)
            memcpy(c->rows + c->numbers[i] * D, c->fresh.p + i * D, D * sizeof *c->rows);
    }
    return code;
}

static enum err_code forward_parent(
    struct train_step *s, const struct train_batch *b, struct err *e)
{
    size_t D = trainable_dimensions(s->parent);
    TRY(room(&s->parent_out, b->n_texts * D, e));
    cache_begin(s, b);
    if (!s->cache.rows)
        return trainable_forward(s->parent, s->parent_act, &b->whole, 0, s->parent_out.p, e);
    TRY(cache_fill(s, b, e));
    for (size_t i = 0; i < b->n_texts; i++)
        memcpy(
            s->parent_out.p + i * D, s->cache.rows + b->texts[i] * D, D * sizeof *s->parent_out.p);
    return ERR_OK;
}

static enum err_code forward(
    struct train_step *s, const struct train_batch *b, int64_t step, struct err *e)
{
    const uint64_t parts[] = { s->o->seed, (uint64_t)step };
    uint64_t seed = s->o->model.dropout > 0 ? hash_bytes(parts, sizeof parts, 0) | 1 : 0;
    size_t n = b->n_texts * trainable_dimensions(s->model);
    TRY(room(&s->out, n, e));
    TRY(room(&s->dout, n, e));
    memset(s->dout.p, 0, n * sizeof *s->dout.p);
    TRY(trainable_forward(s->model, s->act, &b->packed, seed, s->out.p, e));
    s->parent_rows = activations_parent(s->act);
    if (!b->whole.count || !s->parent) return ERR_OK;
    TRY(forward_parent(s, b, e));
    s->parent_rows = s->parent_out.p;
    return ERR_OK;
}

enum err_code train_step_keep(
    struct train_step *s, const struct train_data *data, size_t first, size_t n, struct err *e)
{
    const struct train_texts *t = &data->texts;
    if (n == 0) return ERR_OK;
    AUTO_FREE size_t *starts = mem_alloc(n + 1, sizeof *starts);
    AUTO_FREE uint32_t *texts = mem_alloc(n, sizeof *texts);
    if (!starts || !texts) return err_set(e, ERR_NOMEM, "no memory for a step");
    for (size_t i = 0; i <= n; i++)
        starts[i] = t->starts[first + i] - t->starts[first];
    for (size_t i = 0; i < n; i++)
        texts[i] = (uint32_t)(first + i);
    const struct packed_batch packed = { t->ids + t->starts[first], starts, n };
    const struct train_batch b = {
        .n = n, .texts = texts, .n_texts = n, .packed = packed, .whole = packed, .data = data
    };
    TRY(room(&s->out, n * trainable_dimensions(s->model), e));
    TRY(trainable_forward(s->model, s->act, &packed, 0, s->out.p, e));
    return s->parent ? forward_parent(s, &b, e) : ERR_OK;
}

static enum err_code update(struct train_step *s, int64_t step, double rate, struct err *e)
{
    struct adam_options adam = ADAM_OPTIONS_DEFAULTS;
    TRY(trainable_backward(s->model, s->act, s->dout.p, e));
    trainable_step(s->model, step, rate, &adam);
    return ERR_OK;
}

static enum err_code check_loss(double loss, int64_t step, struct err *e)
{
    if (isfinite(loss)) return ERR_OK;
    return err_set(e, ERR_UNPROCESSABLE,
        "the loss of step %lld is not finite: a lower learning rate may help", (long long)step);
}

/* ---- which candidates are no negatives ---- */

static void mask_equal(bool *masked, const uint32_t *texts, size_t N, size_t M)
{
    const uint32_t *anchors = texts, *candidates = texts + N;
    for (size_t i = 0; i < N; i++) {
        uint32_t anchor = anchors[i], positive = candidates[i];
        bool *row = masked + i * M;
        for (size_t j = 0; j < M; j++)
            row[j] = row[j] | (candidates[j] == positive) | (candidates[j] == anchor);
        for (size_t j = 0; j < N; j++)
            row[j] = row[j] | (anchors[j] == anchor);
    }
}

static enum err_code mask_near(
    struct train_step *s, const float *candidates, size_t N, size_t M, struct err *e)
{
    size_t D = trainable_dimensions(s->model);
    float above = (float)s->o->mask_above;
    TRY(room(&s->sims, N * M, e));
    gemm(false, true, N, M, D, 1, candidates, candidates, 0, s->sims.p);
    for (size_t i = 0; i < N * M; i++)
        s->masked[i] = s->masked[i] | (s->sims.p[i] > above);
    return ERR_OK;
}

static enum err_code make_mask(struct train_step *s, const struct train_batch *b, size_t N,
    size_t M, const bool **ret_masked, struct err *e)
{
    *ret_masked = NULL;
    if (!s->o->mask_equal && s->o->mask_above >= 1) return ERR_OK;
    if (s->masked_cap < N * M) {
        mem_free(s->masked);
        s->masked_cap = 0;
        s->masked = mem_alloc(N * M, sizeof *s->masked);
        if (!s->masked) return err_set(e, ERR_NOMEM, "no memory for a step");
        s->masked_cap = N * M;
    }
    memset(s->masked, 0, N * M * sizeof *s->masked);
    if (s->o->mask_equal) mask_equal(s->masked, b->texts, N, M);
    if (s->o->mask_above < 1)
        TRY(mask_near(s, s->parent_rows + N * trainable_dimensions(s->model), N, M, e));
    for (size_t i = 0; i < N; i++)
        s->masked[i * M + i] = false;
    *ret_masked = s->masked;
    return ERR_OK;
}

/* ---- steps ---- */

enum err_code train_step_pairs(struct train_step *s, const struct train_batch *b, int64_t step,
    double rate, struct train_losses *ret, struct err *e)
{
    const struct trainer_options *o = s->o;
    size_t N = b->n, M = b->n_texts - N, D = trainable_dimensions(s->model);
    struct infonce_shape shape = { N, M, D, (float)o->temperature, o->symmetric };
    const bool *masked;
    TRY(forward(s, b, step, e));
    TRY(make_mask(s, b, N, M, &masked, e));
    TRY(room(&s->saved, infonce_saved(&shape), e));
    const float *a = s->out.p, *c = s->out.p + N * D;
    double pair = (double)infonce_forward(s->saved.p, a, c, masked, &shape), anchor = NAN;
    TRY(check_loss(pair, step, e));
    infonce_backward(s->dout.p, s->dout.p + N * D, s->saved.p, a, c, 1, &shape);
    if (o->anchor_weight > 0) {
        anchor = (double)anchor_forward(s->out.p, s->parent_rows, b->n_texts, D);
        TRY(check_loss(anchor, step, e));
        anchor_backward(s->dout.p, s->parent_rows, b->n_texts, D, (float)o->anchor_weight);
    }
    TRY(update(s, step, rate, e));
    *ret = (struct train_losses){ pair, NAN, anchor };
    return ERR_OK;
}

enum err_code train_step_taught(struct train_step *s, const struct train_batch *b, int64_t step,
    double rate, struct train_losses *ret, struct err *e)
{
    size_t N = b->n, D = trainable_dimensions(s->model), T = b->teacher_dim;
    float temperature = (float)s->o->temperature;
    TRY(forward(s, b, step, e));
    TRY(room(&s->saved, distill_saved(N, D, T), e));
    double loss = (double)distill_forward(s->saved.p, s->out.p, b->teacher, N, D, T, temperature);
    TRY(check_loss(loss, step, e));
    distill_backward(s->dout.p, s->saved.p, s->out.p, N, D, temperature, 1);
    TRY(update(s, step, rate, e));
    *ret = (struct train_losses){ NAN, loss, NAN };
    return ERR_OK;
}
