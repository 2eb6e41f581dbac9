/* The order of an epoch is not kept in a checkpoint: the random state it began with makes it again. */
#include "core/learn/train_batch.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_ALIGN_BYTES = 64 };

enum err_code train_batch_init(struct train_batch *b, const struct train_data *data, struct err *e)
{
    *b = (struct train_batch){ .data = data };
    if (data->n_pairs != 1) return ERR_OK;
    b->order = mem_alloc(data->pairs[0].n, sizeof *b->order);
    return b->order ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for the order of the pairs");
}

void train_batch_done(struct train_batch *b)
{
    mem_free(b->texts);
    mem_free(b->teacher);
    mem_free(b->order);
    mem_free(b->drawn);
    mem_free(b->ids);
    mem_free(b->whole_ids);
    mem_free(b->starts);
    *b = (struct train_batch){ 0 };
}

size_t train_batch_per_epoch(size_t rows, size_t batch)
{
    return rows / batch + (rows % batch != 0);
}

/* ---- room; what was there is not kept ---- */

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a batch");
}

static enum err_code texts_room(struct train_batch *b, size_t n, struct err *e)
{
    if (b->texts_cap >= n) return ERR_OK;
    mem_free(b->texts);
    b->texts_cap = 0;
    b->texts = mem_alloc(n + n / 4, sizeof *b->texts);
    if (!b->texts) return no_memory(e);
    b->texts_cap = n + n / 4;
    return ERR_OK;
}

static enum err_code ids_room(struct train_batch *b, size_t n_ids, struct err *e)
{
    if (b->starts_cap < b->n_texts + 1) {
        size_t cap = b->n_texts + b->n_texts / 4 + 1;
        mem_free(b->starts);
        b->starts_cap = 0;
        b->starts = mem_alloc(2 * cap, sizeof *b->starts); /* packed's, then whole's */
        if (!b->starts) return no_memory(e);
        b->starts_cap = cap;
    }
    if (b->ids_cap < n_ids) {
        mem_free(b->ids);
        mem_free(b->whole_ids);
        b->ids_cap = 0;
        b->ids = mem_alloc(n_ids + n_ids / 4, sizeof *b->ids);
        b->whole_ids = mem_alloc(n_ids + n_ids / 4, sizeof *b->whole_ids);
        if (!b->ids || !b->whole_ids) return no_memory(e);
        b->ids_cap = n_ids + n_ids / 4;
    }
    return ERR_OK;
}

/* ---- drawing rows ---- */

static const struct train_rows *draw_file(const struct train_rows *files, size_t n, struct rng *rng)
{
    if (n == 1) return files;
    double at = rng_unit(rng);
    size_t i = 0;
    for (; i + 1 < n && at >= files[i].share; i++)
        at -= files[i].share;
    return &files[i];
}

static int by_number(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    return (a > b) - (a < b);
}

static size_t draw_rows(uint32_t *out, size_t n_rows, size_t batch, struct rng *rng)
{
    size_t n = 0;
    for (size_t i = 0; i < batch; i++)
        out[i] = (uint32_t)rng_below(rng, n_rows);
    qsort(out, batch, sizeof *out, by_number);
    for (size_t i = 0; i < batch; i++)
        if (n == 0 || out[i] != out[n - 1]) out[n++] = out[i];
    return n;
}

static void make_order(struct train_batch *b, struct rng *rng)
{
    size_t n = b->data->pairs[0].n;
    for (size_t i = 0; i < n; i++)
        b->order[i] = (uint32_t)i;
    rng_shuffle_u32(rng, b->order, n);
    b->has_order = true;
}

/* The rows of the epoch's next batch. */
static const uint32_t *next_of_epoch(
    struct train_batch *b, size_t batch, struct train_cursor *c, size_t *ret_n)
{
    size_t n = b->data->pairs[0].n, n_batches = train_batch_per_epoch(n, batch);
    if (c->epoch_at >= n_batches) c->epoch_at = 0;
    if (c->epoch_at == 0) {
        c->epoch = c->rng;
        make_order(b, &c->rng);
    } else if (!b->has_order) {
        struct rng again = c->epoch;
        make_order(b, &again);
    }
    /* The first n % n_batches batches have one more. */
    size_t at = (size_t)c->epoch_at++, each = n / n_batches, longer = n % n_batches;
    *ret_n = each + (at < longer);
    return b->order + at * each + (at < longer ? at : longer);
}

/* ---- texts and tokens ---- */

static enum err_code gather_pairs(struct train_batch *b, const struct train_rows *file,
    const uint32_t *rows, size_t n, struct err *e)
{
    size_t n_texts = 0;
    for (size_t i = 0; i < n; i++)
        n_texts += file->starts[rows[i] + 1] - file->starts[rows[i]];
    TRY(texts_room(b, n_texts, e));
    size_t at = 2 * n;
    for (size_t i = 0; i < n; i++) {
        const uint32_t *row = file->texts + file->starts[rows[i]];
        size_t len = file->starts[rows[i] + 1] - file->starts[rows[i]];
        b->texts[i] = row[0];
        b->texts[n + i] = row[1];
        memcpy(b->texts + at, row + 2, (len - 2) * sizeof *row);
        at += len - 2;
    }
    b->n = n;
    b->n_texts = n_texts;
    return ERR_OK;
}

/* A text's tokens without some; one that would lose all keeps one of them. */
static size_t drop_some(
    uint32_t *restrict out, const uint32_t *restrict ids, size_t n, double share, struct rng *rng)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        out[kept] = ids[i];
        kept += rng_unit(rng) >= share;
    }
    if (kept == 0) out[kept++] = ids[rng_below(rng, n)];
    return kept;
}

static size_t drop_tokens(uint32_t *restrict out, const uint32_t *restrict ids, size_t n,
    const struct train_draw *draw, struct rng *rng)
{
    if (!draw->keep_ends) return drop_some(out, ids, n, draw->token_dropout, rng);
    if (n < 3) {
        memcpy(out, ids, n * sizeof *ids);
        return n;
    }
    size_t kept = drop_some(out + 1, ids + 1, n - 2, draw->token_dropout, rng);
    out[0] = ids[0];
    out[kept + 1] = ids[n - 1];
    return kept + 2;
}

static enum err_code pack(
    struct train_batch *b, const struct train_draw *draw, struct rng *rng, struct err *e)
{
    const struct train_texts *x = &b->data->texts;
    size_t n_ids = 0, n_whole = 0, n_packed = 0;
    for (size_t i = 0; i < b->n_texts; i++)
        n_ids += x->starts[b->texts[i] + 1] - x->starts[b->texts[i]];
    TRY(ids_room(b, n_ids, e));
    size_t *starts = b->starts, *whole = b->starts + b->starts_cap;
    for (size_t i = 0; i < b->n_texts; i++) {
        const uint32_t *ids = x->ids + x->starts[b->texts[i]];
        size_t len = x->starts[b->texts[i] + 1] - x->starts[b->texts[i]];
        starts[i] = n_packed;
        whole[i] = n_whole;
        if (draw->token_dropout > 0) {
            n_packed += drop_tokens(b->ids + n_packed, ids, len, draw, rng);
        } else {
            memcpy(b->ids + n_packed, ids, len * sizeof *ids);
            n_packed += len;
        }
        if (draw->whole) memcpy(b->whole_ids + n_whole, ids, len * sizeof *ids);
        n_whole += len;
    }
    starts[b->n_texts] = n_packed;
    whole[b->n_texts] = n_whole;
    b->packed = (struct packed_batch){ b->ids, starts, b->n_texts };
    b->whole = (struct packed_batch){ b->whole_ids, whole, draw->whole ? b->n_texts : 0 };
    return ERR_OK;
}

static enum err_code drawn_room(struct train_batch *b, size_t batch, struct err *e)
{
    if (!b->drawn) b->drawn = mem_alloc(batch, sizeof *b->drawn);
    return b->drawn ? ERR_OK : no_memory(e);
}

enum err_code train_batch_pairs(
    struct train_batch *b, const struct train_draw *draw, struct train_cursor *c, struct err *e)
{
    const struct train_data *d = b->data;
    const uint32_t *rows;
    size_t n;
    const struct train_rows *file = draw_file(d->pairs, d->n_pairs, &c->rng);
    if (d->n_pairs == 1) {
        rows = next_of_epoch(b, draw->batch, c, &n);
    } else {
        TRY(drawn_room(b, draw->batch, e));
        n = draw_rows(b->drawn, file->n, draw->batch, &c->rng);
        rows = b->drawn;
    }
    TRY(gather_pairs(b, file, rows, n, e));
    return pack(b, draw, &c->rng, e);
}

static enum err_code gather_teacher(
    struct train_batch *b, const struct npy *vectors, const uint32_t *lines, struct err *e)
{
    const struct vec_kernels *k = vec_select(VEC_BEST);
    b->teacher_dim = npy_columns(vectors);
    size_t need = b->n * b->teacher_dim;
    if (b->teacher_cap < need) {
        mem_free(b->teacher);
        b->teacher_cap = 0;
        b->teacher = mem_alloc_aligned(ROW_ALIGN_BYTES, need, sizeof *b->teacher);
        if (!b->teacher) return no_memory(e);
        b->teacher_cap = need;
    }
    for (size_t i = 0; i < b->n; i++) {
        float *row = b->teacher + i * b->teacher_dim;
        npy_row(vectors, lines[b->drawn[i]], row);
        vec_normalize(k, row, row, b->teacher_dim);
    }
    return ERR_OK;
}

enum err_code train_batch_taught(
    struct train_batch *b, const struct train_draw *draw, struct train_cursor *c, struct err *e)
{
    const struct train_rows *file = draw_file(b->data->taught, b->data->n_taught, &c->rng);
    TRY(drawn_room(b, draw->batch, e));
    size_t n = draw_rows(b->drawn, file->n, draw->batch, &c->rng);
    TRY(texts_room(b, n, e));
    b->n = b->n_texts = n;
    for (size_t i = 0; i < n; i++)
        b->texts[i] = file->texts[b->drawn[i]];
    TRY(gather_teacher(b, file->vectors, file->lines, e));
    return pack(b, draw, &c->rng, e);
}
