/* A text's vector is the mean of its tokens' rows in one table, normalised.
 *
 * Source: sentence-transformers' StaticEmbedding (tensor "embedding.weight") and
 * Model2Vec (tensor "embeddings", with an optional factor a token in "weights").
 *
 * A table stored as binary16 stays so: the loop is bound by memory, and half the
 * bytes is nearly twice the speed. Others become binary32. Rows are summed in
 * the order of the tokens, in binary32, by one kernel; so a vector depends on
 * its text and the instruction set only, never on the batch.
 *
 * A text all of whose rows are zero (padding tokens, say) has no direction: it
 * counts as empty.
 */
#include "core/model/encoder_ops.h"

#include "base/mem.h"

#include <string.h>

enum { ROW_ALIGN_BYTES = 64, CACHE_LINE_BYTES = 64, ROWS_AHEAD = 4 };

struct static_model {
    const struct vec_kernels *k;
    size_t n_rows, dim;
    uint16_t *half; /* [n_rows, dim] binary16, or NULL */
    float *full;    /* [n_rows, dim], where half is NULL */
    float *factors; /* [n_rows], or NULL; only with half: else they are in the rows */
    bool *zero;     /* [n_rows]: nothing but zeros? NULL: no such row */
    bool normalize;
};

static void static_free(void *model)
{
    struct static_model *m = model;
    if (!m) return;
    mem_free(m->half);
    mem_free(m->full);
    mem_free(m->factors);
    mem_free(m->zero);
    mem_free(m);
}

/* ---- loading ---- */

static enum err_code not_finite(size_t row, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "model.safetensors: row %zu of the table is not finite", row);
}

static enum err_code load_factors(struct static_model *m, const struct safetensor *t, struct err *e)
{
    if (t->n_dims != 1 || t->dims[0] != m->n_rows)
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors: weights must have the shape [%zu], one a row of the table",
            m->n_rows);
    m->factors = mem_alloc(m->n_rows, sizeof *m->factors);
    if (!m->factors) return err_set(e, ERR_NOMEM, "no memory for the model");
    TRY(safetensor_to_f32(t, 0, m->n_rows, m->factors, e));
    for (size_t i = 0; i < m->n_rows; i++)
        if (!vec_is_finite(&m->factors[i], 1)) return not_finite(i, e);
    return ERR_OK;
}

static enum err_code load_half(struct static_model *m, const struct safetensor *t, struct err *e)
{
    m->half = mem_alloc_aligned(ROW_ALIGN_BYTES, t->n_elements, sizeof *m->half);
    if (!m->half)
        return err_set(e, ERR_NOMEM, "no memory for the model's %zu bytes", t->size_bytes);
    memcpy(m->half, t->data, t->size_bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (size_t i = 0; i < t->n_elements; i++)
        m->half[i] = __builtin_bswap16(m->half[i]);
#endif
    for (size_t i = 0; i < t->n_elements; i++)
        if ((m->half[i] & 0x7C00) == 0x7C00) return not_finite(i / m->dim, e);
    return ERR_OK;
}

static enum err_code load_full(struct static_model *m, const struct safetensor *t, struct err *e)
{
    m->full = mem_alloc_aligned(ROW_ALIGN_BYTES, t->n_elements, sizeof *m->full);
    if (!m->full)
        return err_set(e, ERR_NOMEM, "no memory for the model's %zu elements", t->n_elements);
    TRY(safetensor_to_f32(t, 0, t->n_elements, m->full, e));
    for (size_t r = 0; r < m->n_rows; r++) {
        float *row = m->full + r * m->dim;
        if (m->factors) m->k->scale(row, row, m->factors[r], m->dim);
        if (!vec_is_finite(row, m->dim)) return not_finite(r, e);
    }
    mem_free(m->factors);
    m->factors = NULL;
    return ERR_OK;
}

static bool row_is_zero(const struct static_model *m, size_t r)
{
    if (m->factors && m->factors[r] == 0) return true;
    for (size_t i = r * m->dim; i < (r + 1) * m->dim; i++)
        if (m->half ? (m->half[i] & 0x7FFF) != 0 : m->full[i] != 0) return false;
    return true;
}

static enum err_code note_zero_rows(struct static_model *m, struct err *e)
{
    for (size_t r = 0; r < m->n_rows; r++) {
        if (!row_is_zero(m, r)) continue;
        if (!m->zero) m->zero = mem_zalloc(m->n_rows, sizeof *m->zero);
        if (!m->zero) return err_set(e, ERR_NOMEM, "no memory for the model");
        m->zero[r] = true;
    }
    return ERR_OK;
}

/* The table and, where there are, its factors; any other tensor is refused. */
static enum err_code find_tensors(const struct weights *w, const struct safetensor **ret_table,
    const struct safetensor **ret_factors, struct err *e)
{
    *ret_table = weights_find(w, "embedding.weight", NULL);
    *ret_factors = NULL;
    if (!*ret_table) {
        *ret_table = weights_find(w, "embeddings", NULL);
        *ret_factors = weights_find(w, "weights", NULL);
    }
    if (!*ret_table)
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors holds neither embedding.weight nor embeddings");
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct safetensor *t = weights_at(w, i, NULL);
        if (t != *ret_table && t != *ret_factors)
            return err_set(e, ERR_UNPROCESSABLE,
                "model.safetensors: tensor \"%.*s\" is not part of a static encoder",
                (int)(t->name.n < 60 ? t->name.n : 60), t->name.p);
    }
    return ERR_OK;
}

static enum err_code check_shape(
    const struct model_source *src, const struct safetensor *t, struct err *e)
{
    const struct model_config *c = src->config;
    size_t n_tokens = tokenizer_vocab_size(src->tokenizer);
    const char *name = t->name.p;
    int len = (int)t->name.n;
    if (t->n_dims != 2 || t->dims[0] == 0 || t->dims[1] == 0)
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors: %.*s has %zu dimensions, expected [tokens, dimensions]", len, name,
            t->n_dims);
    if (c->hidden_size && t->dims[1] != c->hidden_size)
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors: %.*s has rows of %zu, config.json's hidden_size is %zu", len, name,
            t->dims[1], c->hidden_size);
    if (c->vocab_size && t->dims[0] != c->vocab_size)
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors: %.*s has %zu rows, config.json's vocab_size is %zu", len, name,
            t->dims[0], c->vocab_size);
    if (n_tokens > t->dims[0])
        return err_set(e, ERR_UNPROCESSABLE,
            "model.safetensors: %.*s has %zu rows for the tokenizer's %zu tokens", len, name,
            t->dims[0], n_tokens);
    if (c->pooling[0] && strcmp(c->pooling, "mean") != 0)
        return err_set(e, ERR_UNPROCESSABLE,
            "config.json: pooling \"%s\" is not known, known: mean", c->pooling);
    return ERR_OK;
}

static enum err_code fill(struct static_model *m, const struct safetensor *table,
    const struct safetensor *factors, struct err *e)
{
    if (factors) TRY(load_factors(m, factors, e));
    TRY(table->dtype == DTYPE_F16 ? load_half(m, table, e) : load_full(m, table, e));
    return note_zero_rows(m, e);
}

static enum err_code static_load(
    const struct model_source *src, void **ret_model, struct encoder_info *ret_info, struct err *e)
{
    const struct safetensor *table, *factors;
    TRY(find_tensors(src->weights, &table, &factors, e));
    TRY(check_shape(src, table, e));
    struct static_model *m = mem_zalloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for the model");
    m->k = src->kernels;
    m->n_rows = table->dims[0];
    m->dim = table->dims[1];
    m->normalize = src->config->normalize;
    enum err_code code = fill(m, table, factors, e);
    if (code != ERR_OK) {
        static_free(m);
        return code;
    }
    ret_info->dimensions = m->dim;
    ret_info->vocab_size = tokenizer_vocab_size(src->tokenizer);
    ret_info->size_bytes = table->n_elements * (m->half ? sizeof *m->half : sizeof *m->full) +
        (m->factors ? m->n_rows * sizeof *m->factors : 0);
    ret_info->flops_per_token = m->factors ? 2 * m->dim : m->dim;
    *ret_model = m;
    return ERR_OK;
}

enum err_code static_encoder_table(
    const struct model_source *src, struct static_table *ret_table, struct err *e)
{
    const struct safetensor *table, *factors;
    TRY(find_tensors(src->weights, &table, &factors, e));
    TRY(check_shape(src, table, e));
    struct static_model m = { .k = src->kernels, .n_rows = table->dims[0], .dim = table->dims[1] };
    bool renamed = factors != NULL || str_is(table->name, "embedding.weight");
    enum err_code code = factors ? load_factors(&m, factors, e) : ERR_OK;
    if (code == ERR_OK) code = load_full(&m, table, e);
    if (code != ERR_OK) {
        mem_free(m.full);
        mem_free(m.factors);
        return code;
    }
    *ret_table = (struct static_table){ m.full, m.n_rows, m.dim,
        renamed ? "embedding.weight" : "embeddings" };
    return ERR_OK;
}

/* ---- encoding ---- */

static enum err_code static_check(const void *model, const uint32_t *ids, size_t n, struct err *e)
{
    const struct static_model *m = model;
    size_t i = 0;
    while (m->zero && i < n && m->zero[ids[i]])
        i++;
    return i < n ? ERR_OK : err_set(e, ERR_EMPTY, "no token of the text has a vector");
}

/* The rows of a text that is about to be summed come from all over the table: ask
 * for them early. */
static void prefetch_row(const struct static_model *m, uint32_t id)
{
    size_t row_bytes = m->dim * (m->half ? sizeof *m->half : sizeof *m->full);
    const char *row = (m->half ? (const char *)m->half : (const char *)m->full) + id * row_bytes;
    for (size_t at = 0; at < row_bytes; at += CACHE_LINE_BYTES)
        __builtin_prefetch(row + at);
}

static void add_row(const struct static_model *m, uint32_t id, float *work, float *acc)
{
    if (!m->half) {
        m->k->axpy(acc, 1, m->full + id * m->dim, m->dim);
    } else if (!m->factors) {
        m->k->add_f16(acc, m->half + id * m->dim, m->dim);
    } else {
        m->k->f16_to_f32(work, m->half + id * m->dim, m->dim);
        m->k->axpy(acc, m->factors[id], work, m->dim);
    }
}

static size_t static_workspace_floats(const void *model)
{
    return ((const struct static_model *)model)->dim;
}

static void static_forward(const void *model, const struct packed_batch *b, float *work, float *out)
{
    const struct static_model *m = model;
    size_t total = b->starts[b->count];
    for (size_t i = 0; i < total && i < ROWS_AHEAD; i++)
        prefetch_row(m, b->ids[i]);
    for (size_t t = 0; t < b->count; t++) {
        float *acc = out + t * m->dim;
        memset(acc, 0, m->dim * sizeof *acc);
        for (size_t i = b->starts[t]; i < b->starts[t + 1]; i++) {
            if (i + ROWS_AHEAD < total) prefetch_row(m, b->ids[i + ROWS_AHEAD]);
            add_row(m, b->ids[i], work, acc);
        }
        m->k->scale(acc, acc, 1.0F / (float)(b->starts[t + 1] - b->starts[t]), m->dim);
        if (m->normalize) vec_normalize(m->k, acc, acc, m->dim);
    }
}

static const char *const ARCHITECTURES[] = { "StaticEmbedding", NULL };
static const char *const MODULES[] = { "StaticEmbedding", "Normalize", NULL };

const struct encoder_ops static_encoder_ops = {
    .model_type = "static",
    .architectures = ARCHITECTURES,
    .name = "static",
    .modules = MODULES,
    .special_tokens = false,
    .load = static_load,
    .free = static_free,
    .workspace_floats = static_workspace_floats,
    .check = static_check,
    .forward = static_forward,
};
