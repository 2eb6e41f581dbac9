/* Learned models in the table, and the counting of references.
 *
 * The table's lock is held for a walk over pointers and one increment. There are as many learned models as
 * collections have kept versions, so the walk is short beside anything that is done with its result.
 */
#include "engine/models_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- one model ---- */

struct model *model__new(const char *dir)
{
    struct model *m = mem_zalloc(1, sizeof *m);
    if (!m) return NULL;
    atomic_init(&m->refs, 1);
    m->dir = mem_strdup(dir);
    if (!m->dir) {
        mem_free(m);
        return NULL;
    }
    m->created_ms = model_written_ms(dir);
    return m;
}

void model__free(struct model *m)
{
    encoder_free(m->encoder);
    mem_free(m->owned_name);
    mem_free(m->dir);
    mem_free(m);
}

void model_ref(struct model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void model_unref(struct model *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    if (m->encoder)
        LOG(INFO, "model_freed", F_STR("model", m->owned_name), F_INT("version", m->version));
    model__free(m);
}

/* ---- the table ---- */

/* Under the lock; a reference. */
static struct model *find_version(struct models *m, int64_t collection_id, int64_t version)
{
    for (size_t i = 0; i < m->n_learned; i++) {
        struct model *row = m->learned[i];
        if (row->collection_id != collection_id || row->version != version) continue;
        model_ref(row);
        return row;
    }
    return NULL;
}

struct model *models_take_learned(struct models *m, int64_t collection_id, int64_t version)
{
    AUTO_LOCK(&m->lock);
    return find_version(m, collection_id, version);
}

/* "name@12" into its parts; false: it does not end in a version. */
static bool split_ref(struct str ref, struct str *ret_name, int64_t *ret_version)
{
    size_t at = ref.n;
    int64_t version = 0;
    while (at > 0 && ref.p[at - 1] >= '0' && ref.p[at - 1] <= '9')
        at--;
    if (at < 2 || ref.p[at - 1] != '@' || at == ref.n || ref.n - at > 18) return false;
    if (ref.p[at] == '0') return false;
    for (size_t i = at; i < ref.n; i++)
        version = version * 10 + (ref.p[i] - '0');
    *ret_name = (struct str){ ref.p, at - 1 };
    *ret_version = version;
    return true;
}

struct model *models_take(struct models *m, struct str ref)
{
    struct str name;
    int64_t version;
    struct model *found = models_find(m, ref);
    if (found) {
        model_ref(found);
        return found;
    }
    if (!split_ref(ref, &name, &version)) return NULL;
    AUTO_LOCK(&m->lock);
    for (size_t i = 0; i < m->n_learned; i++) {
        if (m->learned[i]->version != version || !str_eq(m->learned[i]->name, name)) continue;
        model_ref(m->learned[i]);
        return m->learned[i];
    }
    return NULL;
}

/* *ret_there: the same version, a reference, where another thread was faster; NULL: `row` is in the table now. */
static enum err_code list(
    struct models *m, struct model *row, struct model **ret_there, struct err *e)
{
    AUTO_LOCK(&m->lock);
    *ret_there = find_version(m, row->collection_id, row->version);
    if (*ret_there) return ERR_OK;
    struct model **grown = mem_realloc(m->learned, m->n_learned + 1, sizeof *grown);
    if (!grown) return err_set(e, ERR_NOMEM, "out of memory while loading a model");
    m->learned = grown;
    m->learned[m->n_learned++] = row;
    model_ref(row);
    return ERR_OK;
}

enum err_code models_add(struct models *m, const struct model_spec *spec,
    const struct vec_kernels *k, struct model **ret_m, struct err *e)
{
    AUTO_MODEL struct model *row = models_take_learned(m, spec->collection_id, spec->version);
    if (row) {
        *ret_m = steal_ptr(&row);
        return ERR_OK;
    }
    row = model__new(spec->dir);
    size_t n = spec->collection.n + 1 + spec->base.n;
    if (row) row->owned_name = mem_alloc(n + 1, 1);
    if (!row || !row->owned_name)
        return err_set(e, ERR_NOMEM, "out of memory while loading a model");
    snprintf(row->owned_name, n + 1, "%.*s/%.*s", STR_ARG(spec->collection), STR_ARG(spec->base));
    row->name = (struct str){ row->owned_name, n };
    row->base = (struct str){ row->owned_name + spec->collection.n + 1, spec->base.n };
    row->collection_id = spec->collection_id;
    row->version = spec->version;
    TRY(encoder_load(spec->dir, k, &row->encoder, e));
    row->info = encoder_info(row->encoder);
    TRY(models_canary(row, e));
    TRY(model_hash(spec->dir, row->weights_hash, e));
    if (!model_is_same(row, spec->weights_hash))
        return err_set(e, ERR_CORRUPT,
            "%s has other weights than those that were judged as version %lld", spec->dir,
            (long long)spec->version);
    AUTO_MODEL struct model *there = NULL;
    TRY(list(m, row, &there, e));
    if (there) {
        *ret_m = steal_ptr(&there);
        return ERR_OK;
    }
    LOG(INFO, "model_loaded", F_STR("model", row->owned_name), F_INT("version", row->version),
        F_UINT("dimensions", row->info->dimensions), F_STR("folder", spec->dir));
    *ret_m = steal_ptr(&row);
    return ERR_OK;
}

struct model *models_drop(struct models *m, int64_t collection_id, int64_t version)
{
    AUTO_LOCK(&m->lock);
    for (size_t i = 0; i < m->n_learned; i++) {
        struct model *row = m->learned[i];
        if (row->collection_id != collection_id || (version && row->version != version)) continue;
        m->learned[i] = m->learned[--m->n_learned];
        atomic_store(&row->dropped, true);
        return row; /* with the table's reference */
    }
    return NULL;
}
