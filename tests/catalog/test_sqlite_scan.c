/* Scans, and long random sequences against a naive model in memory. */
#include "tests/catalog/fixture.h"

#include "base/rng.h"

#include <stdio.h>

enum { KEYS = 40 };

/* What should be stored: one row a key. */
struct model_item {
    bool live;
    uint32_t slot;
    int64_t seq;
    int text, year; /* year < 0: none */
    float vector;   /* NAN never */
};
struct model {
    struct model_item items[KEYS];
    uint32_t next_slot;
    int64_t seq, seq_saved;
    size_t n_deleted;
    struct {
        uint32_t slot;
        int64_t seq;
    } deleted[4096];
};

static void text_of(int text, char ret[32])
{
    (void)snprintf(ret, 32, "text %d", text);
}

static void metadata_of(int year, char ret[48])
{
    if (year < 0)
        (void)snprintf(ret, 48, "{}");
    else
        (void)snprintf(ret, 48, "{\"year\":%d,\"tags\":[\"%d\",\"t\"]}", year, year);
}

static void model_put(struct fixture *f, struct model *m, struct rng *rng)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    size_t k = rng_below(rng, KEYS);
    struct model_item *it = &m->items[k];
    int text = (int)rng_below(rng, 3), year = (int)rng_below(rng, 4) - 1;
    bool with_vector = rng_below(rng, 3) > 0;
    const float v[FIXTURE_DIM] = { (float)text + 1, 0, 0, (float)k };
    char key[16], t[32], md[48];
    (void)snprintf(key, sizeof key, "k%zu", k);
    text_of(text, t);
    metadata_of(year, md);
    ck_assert_ok(fixture_put_code(f, &f->col, key, t, md, with_vector ? v : NULL, &r, &e), &e);
    bool same = it->live && it->text == text;
    if (same && it->year == year) {
        ck_assert_int_eq(r.kind, PUT_UNCHANGED);
        return;
    }
    if (!with_vector && !same) {
        ck_assert_int_eq(r.kind, PUT_STALE);
        return;
    }
    ck_assert_int_eq(r.kind, it->live ? PUT_REPLACED : PUT_NEW);
    ck_assert_uint_eq(r.n_old_values, it->live && it->year >= 0 ? 3 : 0);
    if (r.n_old_values) ck_assert_int_eq(r.old_values[0].v.i, it->year);
    ck_assert_int_eq(r.vector_written, !same);
    if (!it->live) it->slot = m->next_slot++;
    ck_assert_uint_eq(r.slot, it->slot);
    ck_assert_int_gt(r.seq, m->seq);
    m->seq = it->seq = r.seq;
    it->live = true;
    it->text = text;
    it->year = year;
    it->vector = v[0];
}

static void model_delete(struct fixture *f, struct model *m, struct rng *rng)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    size_t k = rng_below(rng, KEYS);
    struct model_item *it = &m->items[k];
    char key[16];
    (void)snprintf(key, sizeof key, "k%zu", k);
    enum err_code code = catalog_item_delete(f->c, &f->col, str_from(key), f->a, &r, &e);
    if (!it->live) {
        ck_assert_int_eq(code, ERR_NOT_FOUND);
        return;
    }
    ck_assert_ok(code, &e);
    ck_assert_uint_eq(r.slot, it->slot);
    ck_assert_int_gt(r.seq, m->seq);
    m->seq = r.seq;
    m->deleted[m->n_deleted].slot = r.slot;
    m->deleted[m->n_deleted++].seq = r.seq;
    it->live = false;
}

struct check {
    const struct model *m;
    size_t n, deleted;
    int64_t last;
};

static const struct model_item *by_slot(const struct model *m, uint32_t slot)
{
    for (size_t k = 0; k < KEYS; k++)
        if (m->items[k].live && m->items[k].slot == slot) return &m->items[k];
    return NULL;
}

static enum err_code each_vector(void *arg, uint32_t slot, const float *v, struct err *e)
{
    struct check *c = arg;
    const struct model_item *it = by_slot(c->m, slot);
    (void)e;
    ck_assert_int_gt((int64_t)slot, c->last);
    ck_assert_ptr_nonnull(it);
    ck_assert_float_eq(v[0], it->vector);
    c->last = slot;
    c->n++;
    return ERR_OK;
}

static enum err_code each_slot(void *arg, uint32_t slot, struct err *e)
{
    struct check *c = arg;
    (void)e;
    ck_assert_ptr_nonnull(by_slot(c->m, slot));
    c->n++;
    return ERR_OK;
}

static enum err_code each_value(
    void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    struct check *c = arg;
    const struct model_item *it = by_slot(c->m, slot);
    (void)e;
    ck_assert_ptr_nonnull(it);
    if (v->type == VALUE_INTEGER) ck_assert_int_eq(v->v.i, it->year);
    c->n++;
    return ERR_OK;
}

static enum err_code each_change(void *arg, int64_t seq, uint32_t slot, bool deleted, struct err *e)
{
    struct check *c = arg;
    bool known = false;
    (void)e;
    ck_assert_int_gt(seq, c->last);
    c->last = seq;
    if (!deleted) {
        const struct model_item *it = by_slot(c->m, slot);
        ck_assert(it && it->seq == seq);
        c->n++;
        return ERR_OK;
    }
    for (size_t i = 0; i < c->m->n_deleted; i++)
        known = known || (c->m->deleted[i].slot == slot && c->m->deleted[i].seq == seq);
    ck_assert(known);
    c->deleted++;
    return ERR_OK;
}

static void model_compare(struct fixture *f, const struct model *m, struct rng *rng)
{
    struct err e = ERR_INIT;
    size_t live = 0, values = 0, changed = 0, deleted = 0, n;
    int64_t since = (int64_t)rng_below(rng, (uint64_t)m->seq + 2);
    for (size_t k = 0; k < KEYS; k++) {
        live += m->items[k].live;
        values += m->items[k].live && m->items[k].year >= 0 ? 3 : 0;
        changed += m->items[k].live && m->items[k].seq > since;
    }
    for (size_t i = 0; i < m->n_deleted; i++)
        deleted += m->deleted[i].seq > since;
    ck_assert_ok(catalog_items_count(f->c, &f->col, &n, &e), &e);
    ck_assert_uint_eq(n, live);
    struct check c = { .m = m, .last = -1 };
    ck_assert_ok(catalog_vectors_scan(f->c, &f->col.serving, each_vector, &c, &e), &e);
    ck_assert_uint_eq(c.n, live);
    ck_assert_ok(catalog_vectors_count(f->c, &f->col.serving, &n, &e), &e);
    ck_assert_uint_eq(n, live);
    c = (struct check){ .m = m, .last = -1 };
    ck_assert_ok(catalog_slots_scan(f->c, &f->col, each_slot, &c, &e), &e);
    ck_assert_uint_eq(c.n, live);
    c = (struct check){ .m = m };
    ck_assert_ok(catalog_fields_scan(f->c, &f->col, each_value, &c, &e), &e);
    ck_assert_uint_eq(c.n, values);
    c = (struct check){ .m = m };
    ck_assert_ok(catalog_path_scan(f->c, &f->col, STR("tags"), 0, each_value, &c, &e), &e);
    ck_assert_uint_eq(c.n, values / 3 * 2);
    c = (struct check){ .m = m, .last = since };
    ck_assert_ok(catalog_changes_scan(f->c, &f->col, since, each_change, &c, &e), &e);
    ck_assert_uint_eq(c.n, changed);
    ck_assert_uint_eq(c.deleted, deleted);
    for (size_t k = 0; k < KEYS; k++) {
        struct catalog_item item;
        char key[16], t[32], md[48];
        (void)snprintf(key, sizeof key, "k%zu", k);
        enum err_code code = catalog_item_get(f->c, &f->col, NULL, str_from(key),
            ITEM_WITH_TEXT | ITEM_WITH_METADATA, f->a, &item, &e);
        ck_assert_int_eq(code, m->items[k].live ? ERR_OK : ERR_NOT_FOUND);
        if (code != ERR_OK) continue;
        text_of(m->items[k].text, t);
        metadata_of(m->items[k].year, md);
        ck_assert(str_is(item.text, t) && str_is(item.metadata, md));
        ck_assert_uint_eq(item.slot, m->items[k].slot);
    }
}

/* A request of some puts and deletes; undone in one of four cases, model included. */
static void model_request(struct fixture *f, struct model *m, struct rng *rng)
{
    static struct model before;
    struct err e = ERR_INIT;
    before = *m;
    ck_assert_ok(catalog_savepoint(f->c, &e), &e);
    for (size_t n = rng_below(rng, 6); n > 0; n--) {
        if (rng_below(rng, 4) == 0)
            model_delete(f, m, rng);
        else
            model_put(f, m, rng);
    }
    if (rng_below(rng, 4) > 0) {
        ck_assert_ok(catalog_release(f->c, &e), &e);
        return;
    }
    ck_assert_ok(catalog_undo(f->c, &e), &e);
    *m = before;
}

START_TEST(agrees_with_a_model)
{
    static struct model m, before;
    struct fixture f;
    struct err e = ERR_INIT;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i + 1);
    m = (struct model){ 0 };
    fixture_open(&f);
    for (int tx = 0; tx < 60; tx++) {
        before = m;
        ck_assert_ok(catalog_begin(f.c, &e), &e);
        for (size_t n = 1 + rng_below(&rng, 4); n > 0; n--)
            model_request(&f, &m, &rng);
        if (rng_below(&rng, 5) == 0) {
            catalog_rollback(f.c);
            m = before;
        } else {
            ck_assert_ok(catalog_commit(f.c, &e), &e);
        }
        if (rng_below(&rng, 15) == 0) fixture_reopen(&f);
        model_compare(&f, &m, &rng);
        arena_clear(f.a);
    }
    fixture_close(&f);
}
END_TEST

static enum err_code stop_at_once(void *arg, uint32_t slot, const float *v, struct err *e)
{
    (void)arg;
    (void)slot;
    (void)v;
    return err_set(e, ERR_CANCELLED, "stop");
}

START_TEST(callbacks_stop_a_scan)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "t", "{}", 1);
    ck_assert_err(catalog_vectors_scan(f.c, &f.col.serving, stop_at_once, NULL, &e), ERR_CANCELLED);
    ck_assert_str_eq(e.msg, "stop");
    ck_assert_int_eq(
        sqlite3_exec(f.c->writer.db, "UPDATE vector SET data = x'00'", NULL, NULL, NULL),
        SQLITE_OK);
    ck_assert_err(catalog_vectors_scan(f.c, &f.col.serving, stop_at_once, NULL, &e), ERR_CORRUPT);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_scan)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, agrees_with_a_model, 0, 6);
    tcase_add_test(tc, callbacks_stop_a_scan);
    suite_add_tcase(s, tc);
}
