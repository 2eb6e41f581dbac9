/* Training a static encoder: the mean of a text's rows in one table, at unit length.
 *
 * A batch touches a small part of the table. So gradients are kept for the rows in use only: `slot` names the
 * gradient row of a token, `rows` lists the tokens that have one, and a step moves just these. Parameters and
 * moments of all other rows stay as they are.
 *
 * A model that only stands by as a parent (TRAIN_NONE) has its table alone.
 */
#include "core/learn/trainable_ops.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/nn/bag.h"

#include <math.h>
#include <string.h>

enum { ROW_ALIGN_BYTES = 64 };

struct static_train {
    struct static_table table;
    float *m, *v;   /* moments, of the table's shape */
    uint32_t *slot; /* [n_rows]: gradient row of a token, or UINT32_MAX */
    uint32_t *rows; /* [n_used] tokens in use, room for n_rows */
    float *drows;   /* [n_used, dim], room for drows_cap rows */
    size_t n_used, drows_cap;
};

struct static_activations {
    uint32_t *ids, *at; /* the batch's tokens and their gradient rows */
    size_t *starts;     /* [count + 1] */
    size_t count, ids_cap, count_cap;
    float *out, *dmean; /* [count, dim] */
    float *norms;       /* [count] */
};

static void train_free(void *model)
{
    struct static_train *t = model;
    if (!t) return;
    mem_free(t->table.rows);
    mem_free(t->m);
    mem_free(t->v);
    mem_free(t->slot);
    mem_free(t->rows);
    mem_free(t->drows);
    mem_free(t);
}

static enum err_code room_to_learn(struct static_train *t, struct err *e)
{
    size_t n = t->table.n_rows, n_values = n * t->table.dim;
    t->m = mem_zalloc(n_values, sizeof *t->m);
    t->v = mem_zalloc(n_values, sizeof *t->v);
    t->slot = mem_alloc(n, sizeof *t->slot);
    t->rows = mem_alloc(n, sizeof *t->rows);
    if (!t->m || !t->v || !t->slot || !t->rows)
        return err_set(e, ERR_NOMEM, "no memory to train a table of %zu values", n_values);
    memset(t->slot, 0xFF, n * sizeof *t->slot);
    return ERR_OK;
}

static enum err_code train_open(const struct model_source *src, const struct trainable_options *o,
    void **ret_model, enum train_method *ret_method, struct err *e)
{
    if (o->method != TRAIN_AUTO && o->method != TRAIN_FULL && o->method != TRAIN_NONE)
        return err_set(e, ERR_UNPROCESSABLE,
            "a static encoder is trained whole, method %s is not for it",
            train_method_name(o->method));
    struct static_train *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for the model");
    enum err_code code = static_encoder_table(src, &t->table, e);
    if (code == ERR_OK && o->method != TRAIN_NONE) code = room_to_learn(t, e);
    if (code != ERR_OK) {
        train_free(t);
        return code;
    }
    *ret_model = t;
    *ret_method = o->method == TRAIN_NONE ? TRAIN_NONE : TRAIN_FULL;
    return ERR_OK;
}

static size_t train_dimensions(const void *model)
{
    return ((const struct static_train *)model)->table.dim;
}

static bool train_has_vector(const void *model, uint32_t id)
{
    const struct static_table *t = &((const struct static_train *)model)->table;
    const float *row = t->rows + id * t->dim;
    for (size_t i = 0; i < t->dim; i++)
        if (row[i] != 0) return true;
    return false;
}

/* ---- forward and backward ---- */

static void *act_new(const void *model)
{
    (void)model;
    return mem_zalloc(1, sizeof(struct static_activations));
}

static void act_release(struct static_activations *a)
{
    mem_free(a->ids);
    mem_free(a->at);
    mem_free(a->starts);
    mem_free(a->out);
    mem_free(a->dmean);
    mem_free(a->norms);
    *a = (struct static_activations){ 0 };
}

static void act_free(void *act)
{
    if (act) act_release(act);
    mem_free(act);
}

/* What was in there is not kept. */
static enum err_code act_room(
    struct static_activations *a, size_t n_ids, size_t count, size_t dim, struct err *e)
{
    if (a->ids_cap >= n_ids && a->count_cap >= count) return ERR_OK;
    size_t ids_cap = n_ids + n_ids / 4 + 1, count_cap = count > a->count_cap ? count : a->count_cap;
    if (ids_cap < a->ids_cap) ids_cap = a->ids_cap;
    act_release(a);
    a->ids = mem_alloc(ids_cap, sizeof *a->ids);
    a->at = mem_alloc(ids_cap, sizeof *a->at);
    a->starts = mem_alloc(count_cap + 1, sizeof *a->starts);
    a->out = mem_alloc_aligned(ROW_ALIGN_BYTES, count_cap * dim, sizeof *a->out);
    a->dmean = mem_alloc_aligned(ROW_ALIGN_BYTES, count_cap * dim, sizeof *a->dmean);
    a->norms = mem_alloc(count_cap, sizeof *a->norms);
    if (!a->ids || !a->at || !a->starts || !a->out || !a->dmean || !a->norms) {
        act_release(a);
        return err_set(e, ERR_NOMEM, "no memory for a batch of %zu texts", count);
    }
    a->ids_cap = ids_cap;
    a->count_cap = count_cap;
    return ERR_OK;
}

static enum err_code train_forward(
    void *model, void *act, const struct packed_batch *b, uint64_t seed, float *out, struct err *e)
{
    (void)seed;
    const struct static_train *t = model;
    struct static_activations *a = act;
    size_t n_ids = b->starts[b->count], dim = t->table.dim;
    TRY(act_room(a, n_ids, b->count, dim, e));
    memcpy(a->ids, b->ids, n_ids * sizeof *a->ids);
    memcpy(a->starts, b->starts, (b->count + 1) * sizeof *a->starts);
    a->count = b->count;
    /* The means are needed no more once they are scaled, so they lie where gradients will. */
    bag_mean_forward(a->dmean, t->table.rows, a->ids, a->starts, a->count, dim);
    unit_forward(a->out, a->norms, a->dmean, a->count, dim);
    memcpy(out, a->out, a->count * dim * sizeof *out);
    return ERR_OK;
}

/* Room for `n` gradient rows; those in use are kept. */
static enum err_code gradient_room(struct static_train *t, size_t n, struct err *e)
{
    if (n > t->table.n_rows) n = t->table.n_rows;
    if (t->drows_cap >= n) return ERR_OK;
    size_t cap = n + n / 2, dim = t->table.dim;
    if (cap > t->table.n_rows) cap = t->table.n_rows;
    float *grown = mem_alloc_aligned(ROW_ALIGN_BYTES, cap * dim, sizeof *grown);
    if (!grown) return err_set(e, ERR_NOMEM, "no memory for the gradients of %zu rows", cap);
    if (t->n_used) memcpy(grown, t->drows, t->n_used * dim * sizeof *grown);
    mem_free(t->drows);
    t->drows = grown;
    t->drows_cap = cap;
    return ERR_OK;
}

static enum err_code train_backward(void *model, void *act, const float *dout, struct err *e)
{
    struct static_train *t = model;
    struct static_activations *a = act;
    size_t n_ids = a->starts[a->count], dim = t->table.dim, n_before = t->n_used;
    for (size_t i = 0; i < n_ids; i++) {
        uint32_t *slot = &t->slot[a->ids[i]];
        if (*slot == UINT32_MAX) {
            *slot = (uint32_t)t->n_used;
            t->rows[t->n_used++] = a->ids[i];
        }
        a->at[i] = *slot;
    }
    size_t n_used = t->n_used;
    t->n_used = n_before;
    enum err_code code = gradient_room(t, n_used, e);
    if (code != ERR_OK) {
        for (size_t i = n_before; i < n_used; i++)
            t->slot[t->rows[i]] = UINT32_MAX;
        return code;
    }
    t->n_used = n_used;
    memset(t->drows + n_before * dim, 0, (n_used - n_before) * dim * sizeof *t->drows);
    memset(a->dmean, 0, a->count * dim * sizeof *a->dmean);
    unit_backward(a->dmean, dout, a->out, a->norms, a->count, dim);
    bag_mean_backward(t->drows, a->dmean, a->at, a->starts, a->count, dim);
    return ERR_OK;
}

static void train_step(void *model, int64_t step, double rate, const struct adam_options *o)
{
    struct static_train *t = model;
    if (t->n_used)
        adam_step_rows(
            t->table.rows, t->m, t->v, t->rows, t->drows, t->n_used, t->table.dim, step, rate, o);
    for (size_t i = 0; i < t->n_used; i++)
        t->slot[t->rows[i]] = UINT32_MAX;
    t->n_used = 0;
}

/* ---- state and export ---- */

static bool train_state(const void *model, size_t i, struct safetensor_out *ret)
{
    const struct static_train *t = model;
    const char *const names[] = { "table", "adam.m", "adam.v" };
    const float *const data[] = { t->table.rows, t->m, t->v };
    if (i >= sizeof names / sizeof *names || !data[i]) return false;
    *ret = (struct safetensor_out){ names[i], DTYPE_F32, 2, { t->table.n_rows, t->table.dim },
        data[i] };
    return true;
}

static enum err_code train_write_weights(void *model, const char *dir, struct err *e)
{
    const struct static_table *t = &((const struct static_train *)model)->table;
    const float largest = 65504.0F; /* of binary16 */
    AUTO_FREE char *path = path_join(dir, "model.safetensors");
    AUTO_FREE uint16_t *half = mem_alloc(t->n_rows * t->dim, sizeof *half);
    if (!path || !half) return err_set(e, ERR_NOMEM, "no memory to write the model");
    for (size_t i = 0; i < t->n_rows * t->dim; i++) {
        if (!isfinite(t->rows[i]))
            return err_set(e, ERR_UNPROCESSABLE,
                "row %zu of the trained table is not finite: a lower learning rate may help",
                i / t->dim);
        uint16_t h = f32_to_f16(fminf(fmaxf(t->rows[i], -largest), largest));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        h = __builtin_bswap16(h);
#endif
        half[i] = h;
    }
    struct safetensor_out out = { t->tensor, DTYPE_F16, 2, { t->n_rows, t->dim }, half };
    return safetensors_write(path, &out, 1, e);
}

const struct trainable_ops static_train_ops = {
    .encoder = &static_encoder_ops,
    .open = train_open,
    .free = train_free,
    .dimensions = train_dimensions,
    .has_vector = train_has_vector,
    .activations_new = act_new,
    .activations_free = act_free,
    .forward = train_forward,
    .backward = train_backward,
    .step = train_step,
    .state = train_state,
    .write_weights = train_write_weights,
};
