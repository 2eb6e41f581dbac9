/* The files of the new folder that are not copies.
 *
 * A full model is written as one model.safetensors, whatever number of files the parent had, with the parent's
 * tensors under the parent's names and in its types; those that are not the encoder's (a pooler, a head) are taken
 * over. A dense layer's file likewise. With an adapter nothing of the parent changes: its files are copied byte for
 * byte, and the adapter is a module of its own between pooling and normalisation.
 */
#include "core/learn/bert_train_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "core/model/modules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char WEIGHTS[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";
static const char MODULES[] = "modules.json";

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory to write the model");
}

/* ---- tensors ---- */

static uint16_t half_of(float x, enum dtype dtype)
{
    const float largest = 65504.0F; /* of binary16 */
    uint16_t h;
    if (dtype == DTYPE_F16) {
        h = f32_to_f16(fminf(fmaxf(x, -largest), largest));
    } else {
        uint32_t bits; /* BF16: the upper half, rounded to the nearest, ties to even */
        memcpy(&bits, &x, sizeof bits);
        bits += 0x7FFF + (bits >> 16 & 1);
        h = (uint16_t)(bits >> 16);
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    h = __builtin_bswap16(h);
#endif
    return h;
}

/* Files of the same tensors as those of `w`. */
struct list {
    const struct bert_train *t;
    const struct weights *w;
    int dense; /* as of bert_tensor */
    struct safetensor_out *out;
    size_t n;
    char *names;      /* NUL-terminated, one after the other */
    uint16_t *halves; /* room for all that are no F32 */
};

/* The parameter that is stored under this name. */
static bool find_param(const struct list *l, const char *name, struct bert_tensor *ret)
{
    char usual[sizeof ret->name];
    if (l->dense < 0 && strncmp(name, "bert.", 5) == 0) name += 5;
    if (strlen(name) >= sizeof usual) return false;
    memcpy(usual, name, strlen(name) + 1);
    char *last = strrchr(usual, '.');
    if (last && strcmp(last, ".gamma") == 0)
        memcpy(last, ".weight", 8); /* not longer than the name may be */
    else if (last && strcmp(last, ".beta") == 0)
        memcpy(last, ".bias", 6);
    for (size_t i = 0; bert_tensor_at(&l->t->c, i, ret); i++)
        if (ret->dense == l->dense && strcmp(ret->name, usual) == 0) return true;
    return false;
}

static const float *values_of(const struct bert_train *t, const struct bert_tensor *x)
{
    return t->method == TRAIN_ADAPTER
        ? (x->n_dims == 2 ? t->p.dense[x->dense].w : t->p.dense[x->dense].b)
        : t->p.all + x->at;
}

static enum err_code convert(
    const float *values, size_t n, const char *name, enum dtype dtype, uint16_t *to, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            return err_set(e, ERR_UNPROCESSABLE,
                "%s is not finite after training: a lower learning rate may help", name);
        if (dtype != DTYPE_F32) to[i] = half_of(values[i], dtype);
    }
    return ERR_OK;
}

static enum err_code add_tensor(
    struct list *l, const struct safetensor *s, const char *name, uint16_t **at, struct err *e)
{
    struct safetensor_out out = { name, s->dtype, s->n_dims, { 0 }, s->data };
    struct bert_tensor x;
    memcpy(out.dims, s->dims, sizeof out.dims);
    if (s->dtype == DTYPE_OTHER) return ERR_OK;
    if (find_param(l, name, &x)) {
        const float *values = values_of(l->t, &x);
        TRY(convert(values, x.n, name, s->dtype, *at, e));
        out.data = values;
        if (s->dtype != DTYPE_F32) {
            out.data = *at;
            *at += x.n;
        }
    }
    l->out[l->n++] = out;
    return ERR_OK;
}

static enum err_code fill_list(struct list *l, struct err *e)
{
    size_t count = weights_count(l->w), name_bytes = 0, halves = 0;
    for (size_t i = 0; i < count; i++) {
        const struct safetensor *s = weights_at(l->w, i, NULL);
        name_bytes += s->name.n + 1;
        if (s->dtype != DTYPE_F32) halves += s->n_elements;
    }
    l->out = mem_alloc(count, sizeof *l->out);
    l->names = mem_alloc(name_bytes, 1);
    l->halves = mem_alloc(halves, sizeof *l->halves);
    if (!l->out || !l->names || !l->halves) return no_memory(e);
    char *name = l->names;
    uint16_t *at = l->halves;
    for (size_t i = 0; i < count; i++) {
        const struct safetensor *s = weights_at(l->w, i, NULL);
        memcpy(name, s->name.p, s->name.n);
        name[s->name.n] = '\0';
        TRY(add_tensor(l, s, name, &at, e));
        name += s->name.n + 1;
    }
    return ERR_OK;
}

/* The parent's file of the network (dense -1) or of a dense layer, with the values that were learned. */
static enum err_code write_file(
    const struct bert_train *t, int dense, const char *dir, struct err *e)
{
    const char *sub = dense < 0 ? NULL : t->c.dense[dense].path;
    AUTO_FREE char *folder = path_join(dir, sub ? sub : ".");
    AUTO_FREE char *path = folder ? path_join(folder, WEIGHTS) : NULL;
    struct weights *w = NULL;
    if (!path) return no_memory(e);
    TRY(dir_make(folder, e));
    TRY(weights_open(t->dir, sub, &w, e));
    struct list l = { .t = t, .w = w, .dense = dense };
    enum err_code code = fill_list(&l, e);
    if (code == ERR_OK) code = safetensors_write(path, l.out, l.n, e);
    mem_free(l.out);
    mem_free(l.names);
    mem_free(l.halves);
    weights_close(w);
    return code;
}

/* ---- what an adapter leaves as it is ---- */

static enum err_code copy_one(const char *from, const char *to, const char *name, struct err *e)
{
    AUTO_FREE char *source = path_join(from, name);
    AUTO_FREE char *target = path_join(to, name);
    if (!source || !target) return no_memory(e);
    char *slash = strrchr(target, '/');
    *slash = '\0';
    TRY(dir_make(target, e));
    *slash = '/';
    struct file_map map = { NULL, 0 };
    TRY(file_map_open(source, &map, e));
    enum err_code code = file_write_atomic(target, map.p, map.n, e);
    file_map_close(&map);
    return code;
}

/* Is the file in the folder of the dense layer that learns? */
static bool is_learned(const struct bert_train *t, const char *name)
{
    const char *folder = t->c.dense[t->c.n_dense - 1].path;
    size_t n = strlen(folder);
    return !t->added_dense && strncmp(name, folder, n) == 0 && name[n] == '/';
}

static enum err_code copy_weights(const struct bert_train *t, const char *dir, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    AUTO_FREE char *single = path_join(t->dir, WEIGHTS);
    AUTO_FREE char *index = path_join(t->dir, INDEX);
    if (!single || !index) return no_memory(e);
    TRY(weights_list(t->dir, &names, &n, e));
    enum err_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < n; i++)
        if (!is_learned(t, names[i])) code = copy_one(t->dir, dir, names[i], e);
    weights_list_free(names, n);
    if (code != ERR_OK || file_exists(single) || !file_exists(index)) return code;
    return copy_one(t->dir, dir, INDEX, e);
}

/* ---- the adapter as a module ---- */

static enum err_code write_text(const char *dir, const char *name, struct buf *text, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name);
    enum err_code code = path ? buf_check(text, e) : no_memory(e);
    if (code == ERR_OK) code = file_write_atomic(path, text->p, text->n, e);
    buf_done(text);
    return code;
}

static void put_string(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') buf_putc(b, '\\');
        if ((unsigned char)*s < 0x20)
            buf_printf(b, "\\u%04x", (unsigned)*s);
        else
            buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static enum err_code write_modules(const char *dir, const struct model_modules *m, struct err *e)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "[\n");
    for (size_t i = 0; i < m->n; i++) {
        buf_printf(&b, "  {\"idx\": %zu, \"name\": \"%zu\", \"path\": ", i, i);
        put_string(&b, m->list[i].path);
        buf_puts(&b, ", \"type\": ");
        put_string(&b, m->list[i].type);
        buf_puts(&b, i + 1 < m->n ? "},\n" : "}\n");
    }
    buf_puts(&b, "]\n");
    return write_text(dir, MODULES, &b, e);
}

static void set_module(struct model_module *m, const char *class, const char *path)
{
    snprintf(m->type, sizeof m->type, "sentence_transformers.models.%s", class);
    snprintf(m->path, sizeof m->path, "%s", path);
}

/* Without modules.json a BERT model is pooled by the mean: what is understood is written down. */
static enum err_code write_pooling(
    const struct bert_train *t, const char *dir, struct model_modules *m, struct err *e)
{
    struct buf b = BUF_INIT(0);
    AUTO_FREE char *folder = path_join(dir, "1_Pooling");
    if (!folder) return no_memory(e);
    set_module(&m->list[0], "Transformer", "");
    set_module(&m->list[1], "Pooling", "1_Pooling");
    m->n = 2;
    buf_printf(&b,
        "{\n  \"word_embedding_dimension\": %zu,\n  \"pooling_mode_cls_token\": false,\n"
        "  \"pooling_mode_mean_tokens\": true,\n  \"pooling_mode_max_tokens\": false,\n"
        "  \"pooling_mode_mean_sqrt_len_tokens\": false\n}\n",
        t->c.hidden);
    TRY(dir_make(folder, e));
    return write_text(folder, "config.json", &b, e);
}

/* The first "N_Dense" that is no folder yet. */
static enum err_code new_folder(const char *dir, char ret_name[32], char **ret_path, struct err *e)
{
    for (size_t i = 2;; i++) {
        snprintf(ret_name, 32, "%zu_Dense", i);
        char *path = path_join(dir, ret_name);
        if (!path) return no_memory(e);
        if (!dir_exists(path)) {
            *ret_path = path;
            return dir_make(path, e);
        }
        mem_free(path);
    }
}

static enum err_code write_dense(const struct bert_train *t, const char *folder, struct err *e)
{
    const size_t d = t->c.n_dense - 1, D = t->c.dimensions;
    struct buf b = BUF_INIT(0);
    buf_printf(&b,
        "{\n  \"in_features\": %zu,\n  \"out_features\": %zu,\n  \"bias\": true,\n"
        "  \"activation_function\": \"torch.nn.modules.linear.Identity\"\n}\n",
        D, D);
    TRY(write_text(folder, "config.json", &b, e));
    const struct safetensor_out out[] = {
        { "linear.weight", DTYPE_F32, 2, { D, D }, t->p.dense[d].w },
        { "linear.bias", DTYPE_F32, 1, { D }, t->p.dense[d].b },
    };
    TRY(convert(t->learn, t->n_learn, "the adapter", DTYPE_F32, NULL, e));
    AUTO_FREE char *path = path_join(folder, WEIGHTS);
    return path ? safetensors_write(path, out, 2, e) : no_memory(e);
}

static enum err_code write_adapter(const struct bert_train *t, const char *dir, struct err *e)
{
    struct model_modules m;
    char name[32];
    char *path = NULL;
    TRY(modules_read(t->dir, &m, e));
    if (!m.given) TRY(write_pooling(t, dir, &m, e));
    if (m.n == MODULES_MAX)
        return err_set(e, ERR_UNPROCESSABLE, "modules.json: there is no room for an adapter");
    enum err_code code = new_folder(dir, name, &path, e);
    if (code == ERR_OK) code = write_dense(t, path, e);
    mem_free(path);
    if (code != ERR_OK) return code;
    size_t at = t->c.normalize ? m.n - 1 : m.n;
    memmove(&m.list[at + 1], &m.list[at], (m.n - at) * sizeof *m.list);
    set_module(&m.list[at], "Dense", name);
    m.n++;
    return write_modules(dir, &m, e);
}

enum err_code bert_write_weights(void *model, const char *dir, struct err *e)
{
    struct bert_train *t = model;
    if (t->method == TRAIN_NONE)
        return err_set(e, ERR_UNPROCESSABLE, "a model that does not learn is not written");
    if (t->method == TRAIN_ADAPTER) {
        TRY(copy_weights(t, dir, e));
        return t->added_dense ? write_adapter(t, dir, e)
                              : write_file(t, (int)t->c.n_dense - 1, dir, e);
    }
    if (t->method == TRAIN_LORA) bert_lora_merge(t);
    TRY(write_file(t, -1, dir, e));
    for (size_t i = 0; i < t->c.n_dense; i++)
        TRY(write_file(t, (int)i, dir, e));
    return ERR_OK;
}
