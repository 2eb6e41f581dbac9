/* The lock is held for one condition or one item at a time, never across a catalog read, so a filter
 * may see a write that lands between two of its conditions. The engine drops hits that are gone. */
#include "engine/fields.h"

#include "base/mem.h"
#include "base/thread.h"
#include "engine/column.h"
#include "engine/fields_internal.h"

#include <string.h>

struct fields {
    struct rwlock lock;     /* guards columns and live */
    struct column *columns; /* [n], as declared */
    struct str *paths;      /* set once */
    size_t n;               /* set once */
    struct slot_set *live;
};

enum err_code fields_new(
    const struct catalog_field *fields, size_t n, struct fields **ret_f, struct err *e)
{
    struct fields *f = mem_zalloc(1, sizeof *f);

    if (!f) return err_set(e, ERR_NOMEM, "no memory for filter columns");
    rwlock_init(&f->lock, RANK_FIELDS);
    f->live = slot_set_new();
    f->columns = mem_zalloc(n ? n : 1, sizeof *f->columns);
    f->paths = mem_zalloc(n ? n : 1, sizeof *f->paths);
    if (!f->live || !f->columns || !f->paths) goto undo;
    for (; f->n < n; f->n++) {
        struct str path = fields[f->n].path;
        char *copy = mem_strndup(path.p, path.n);
        if (!copy) goto undo;
        f->paths[f->n] = (struct str){ copy, path.n };
        if (column_init(&f->columns[f->n], NULL) != ERR_OK) {
            mem_free(copy);
            goto undo;
        }
    }
    *ret_f = f;
    return ERR_OK;
undo:
    fields_free(f);
    return err_set(e, ERR_NOMEM, "no memory for filter columns");
}

void fields_free(struct fields *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n; i++) {
        column_done(&f->columns[i]);
        mem_free((char *)f->paths[i].p);
    }
    mem_free(f->columns);
    mem_free(f->paths);
    slot_set_free(f->live);
    rwlock_done(&f->lock);
    mem_free(f);
}

enum err_code fields_load(
    struct fields *f, uint32_t slot, const struct field_value *v, struct err *e)
{
    enum err_code code = ERR_OK;

    rwlock_wrlock(&f->lock);
    if (v->field < f->n) code = column_add(&f->columns[v->field], slot, v, e);
    rwlock_unlock(&f->lock);
    return code;
}

enum err_code fields_load_end(struct fields *f, struct err *e)
{
    enum err_code code = ERR_OK;

    rwlock_wrlock(&f->lock);
    for (size_t i = 0; i < f->n && code == ERR_OK; i++)
        code = column_tidy(&f->columns[i], e);
    rwlock_unlock(&f->lock);
    return code;
}

void fields_load_slot(struct fields *f, uint32_t slot)
{
    rwlock_wrlock(&f->lock);
    slot_set_add(f->live, slot);
    rwlock_unlock(&f->lock);
}

enum err_code fields_put(struct fields *f, uint32_t slot, const struct field_value *old,
    size_t n_old, const struct field_value *now, size_t n_now, struct err *e)
{
    enum err_code code = ERR_OK;

    rwlock_wrlock(&f->lock);
    slot_set_add(f->live, slot);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].field < f->n) column_remove(&f->columns[old[i].field], slot, &old[i]);
    for (size_t i = 0; i < n_now && code == ERR_OK; i++)
        if (now[i].field < f->n) code = column_add(&f->columns[now[i].field], slot, &now[i], e);
    for (size_t i = 0; i < f->n && code == ERR_OK; i++)
        code = column_tidy(&f->columns[i], e);
    rwlock_unlock(&f->lock);
    return code;
}

void fields_delete(struct fields *f, uint32_t slot, const struct field_value *old, size_t n_old)
{
    rwlock_wrlock(&f->lock);
    slot_set_remove(f->live, slot);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].field < f->n) column_remove(&f->columns[old[i].field], slot, &old[i]);
    rwlock_unlock(&f->lock);
}

struct slot_set *fields_live(struct fields *f)
{
    struct slot_set *copy;

    rwlock_rdlock(&f->lock);
    copy = slot_set_copy(f->live);
    rwlock_unlock(&f->lock);
    return copy;
}

size_t fields_size_bytes(struct fields *f)
{
    size_t bytes;

    rwlock_rdlock(&f->lock);
    bytes = sizeof *f + slot_set_size_bytes(f->live);
    for (size_t i = 0; i < f->n; i++)
        bytes += column_size_bytes(&f->columns[i]);
    rwlock_unlock(&f->lock);
    return bytes;
}

/* ---- evaluation of one condition on a field ---- */

static enum err_code add_scanned(
    void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    return column_add(arg, slot, v, e);
}

/* For a field that is not declared: a column made from the metadata, for this one condition. */
static enum err_code select_undeclared(const struct filter_target *t,
    const struct filter_condition *k, int64_t deadline_ns, struct slot_set *out, struct err *e)
{
    struct column c;
    enum err_code code;

    TRY(column_init(&c, e));
    code = catalog_path_scan(t->catalog, t->col, k->key, deadline_ns, add_scanned, &c, e);
    if (code == ERR_OK) code = column_select(&c, k, out, e);
    column_done(&c);
    return code;
}

enum err_code fields__select(const struct filter_target *t, const struct filter_condition *k,
    int64_t deadline_ns, struct slot_set *out, struct err *e)
{
    struct fields *f = t->fields;

    for (size_t i = 0; i < f->n; i++) {
        enum err_code code;
        if (!str_eq(f->paths[i], k->key)) continue;
        rwlock_rdlock(&f->lock);
        code = column_select(&f->columns[i], k, out, e);
        rwlock_unlock(&f->lock);
        return code;
    }
    return select_undeclared(t, k, deadline_ns, out, e);
}
