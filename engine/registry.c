/* The registry: collections sorted by name under one read/write lock. Readers hold it for a binary search
 * and one increment; only the writer thread adds and removes (and engine_open, before there are threads). */
#include "engine/collection.h"

#include "base/mem.h"

#include <string.h>

void registry_init(struct registry *r)
{
    *r = (struct registry){ 0 };
    rwlock_init(&r->lock, RANK_ENGINE);
}

void registry_done(struct registry *r)
{
    for (size_t i = 0; i < r->n; i++)
        collection_unref(r->rows[i]);
    mem_free(r->rows);
    rwlock_done(&r->lock);
}

static int compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int by_bytes = n ? memcmp(a.p, b.p, n) : 0;
    return by_bytes ? by_bytes : (a.n > b.n) - (a.n < b.n);
}

/* The first position whose name is not below `name`; *ret_found: it is that name. */
static size_t position(const struct registry *r, struct str name, bool *ret_found)
{
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(r->rows[mid]->row.name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = low < r->n && str_eq(r->rows[low]->row.name, name);
    return low;
}

struct collection *registry_find(struct registry *r, struct str name)
{
    bool found;
    struct collection *col = NULL;
    rwlock_rdlock(&r->lock);
    size_t at = position(r, name, &found);
    if (found) {
        col = r->rows[at];
        collection_ref(col);
    }
    rwlock_unlock(&r->lock);
    return col;
}

enum err_code registry_get(
    struct registry *r, struct str name, struct collection **ret_col, struct err *e)
{
    struct collection *col = registry_find(r, name);
    if (!col)
        return err_set(e, ERR_NOT_FOUND, "there is no collection \"%.*s\"",
            name.n <= CATALOG_NAME_MAX ? (int)name.n : CATALOG_NAME_MAX, name.p ? name.p : "");
    *ret_col = col;
    return ERR_OK;
}

enum err_code registry_add(struct registry *r, struct collection *col, struct err *e)
{
    bool found;
    enum err_code code = ERR_OK;
    rwlock_wrlock(&r->lock);
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct collection **grown = mem_realloc(r->rows, cap, sizeof *grown);
        if (grown)
            r->rows = grown, r->cap = cap;
        else
            code = err_set(e, ERR_NOMEM, "out of memory for a collection");
    }
    if (code == ERR_OK) {
        size_t at = position(r, col->row.name, &found);
        ASSERT_BUG(!found);
        memmove(r->rows + at + 1, r->rows + at, (r->n - at) * sizeof *r->rows);
        r->rows[at] = col;
        r->n++;
    }
    rwlock_unlock(&r->lock);
    return code;
}

void registry_put_back(struct registry *r, struct collection *col)
{
    collection_ref(col);
    enum err_code code = registry_add(r, col, NULL);
    ASSERT_BUG(code == ERR_OK); /* only growing can fail, and its place is still free */
}

void registry_remove(struct registry *r, struct collection *col)
{
    bool found;
    rwlock_wrlock(&r->lock);
    size_t at = position(r, col->row.name, &found);
    ASSERT_BUG(found && r->rows[at] == col);
    memmove(r->rows + at, r->rows + at + 1, (r->n - at - 1) * sizeof *r->rows);
    r->n--;
    rwlock_unlock(&r->lock);
    collection_unref(col);
}

size_t registry_count(struct registry *r)
{
    rwlock_rdlock(&r->lock);
    size_t n = r->n;
    rwlock_unlock(&r->lock);
    return n;
}
