/* Generations: changes page by page, vectors that follow them, the swap, and what is dropped. */
#include "tests/catalog/fixture.h"

#include "tests/support/oom.h"

#include <math.h>
#include <stdio.h>

static struct catalog_generation listed(struct fixture *f, int64_t id)
{
    struct err e = ERR_INIT;
    struct catalog_generation *rows;
    size_t n;
    ck_assert_ok(catalog_generations(f->c, &f->col, f->a, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++)
        if (rows[i].id == id) return rows[i];
    return (struct catalog_generation){ 0 };
}

static int64_t last_change(struct fixture *f)
{
    struct err e = ERR_INIT;
    int64_t seq;
    ck_assert_ok(catalog_last_change(f->c, &f->col, &seq, &e), &e);
    return seq;
}

static enum err_code put_one(struct fixture *f, const struct catalog_generation *gen, uint32_t slot,
    int64_t item_seq, int64_t seq, bool *ret_written)
{
    const float v[FIXTURE_DIM] = { 9, 9, 9, 9 };
    struct err e = ERR_INIT;
    struct catalog_vector_put put = { slot, item_seq, v, false };
    enum err_code code = catalog_generation_put(f->c, &f->col, gen, &put, 1, seq, &e);
    if (ret_written) *ret_written = put.written;
    return code;
}

START_TEST(created_listed_dropped)
{
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    struct catalog_generation gen = fixture_generation(&f), again = gen;
    ck_assert_int_gt(gen.id, f.col.serving.id);
    struct catalog_generation row = listed(&f, gen.id);
    ck_assert(row.state == GENERATION_BUILDING && row.seq == 0);
    ck_assert(str_is(row.model_name, "things/text-small") && row.model_version == 2);
    ck_assert_uint_eq(row.dimensions, FIXTURE_DIM);
    ck_assert_int_eq(listed(&f, f.col.serving.id).state, GENERATION_SERVING);
    ck_assert_err(catalog_generation_create(f.c, &f.col, &again, &e), ERR_CONFLICT);
    again.model_version = 7;
    ck_assert_err(catalog_generation_create(f.c, &f.col, &again, &e), ERR_NOT_FOUND);
    again.dimensions = 0;
    ck_assert_err(catalog_generation_create(f.c, &f.col, &again, &e), ERR_INVALID);
    ck_assert_int_eq(again.id, gen.id);

    ck_assert_err(catalog_generation_drop(f.c, &f.col, f.col.serving.id, &e), ERR_CONFLICT);
    ck_assert_err(catalog_generation_drop(f.c, &f.col, 99, &e), ERR_NOT_FOUND);
    ck_assert_ok(catalog_generation_drop(f.c, &f.col, gen.id, &e), &e);
    ck_assert_int_eq(listed(&f, gen.id).id, 0);
    again = gen;
    ck_assert_ok(catalog_generation_create(f.c, &f.col, &again, &e), &e); /* its version is free */
    ck_assert_int_gt(again.id, gen.id);
    struct catalog_collection gone = { .id = f.col.id };
    ck_assert_ok(catalog_collection_delete(f.c, f.col.id, &e), &e);
    ck_assert_err(catalog_generation_create(f.c, &gone, &again, &e), ERR_NOT_FOUND);
    ck_assert_err(catalog_generation_drop(f.c, &gone, again.id, &e), ERR_NOT_FOUND);
    fixture_close(&f);
}
END_TEST

START_TEST(changes_come_in_pages)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_change *rows;
    struct catalog_put_result r;
    size_t n;
    fixture_open(&f);
    ck_assert_int_eq(last_change(&f), 0);
    ck_assert_ok(catalog_changes_page(f.c, &f.col, 0, 10, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    for (int i = 0; i < 6; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)fixture_put(&f, key, key, "{}", 1);
    }
    struct catalog_collection other = fixture_collection("other"); /* its changes are its own */
    const float v[FIXTURE_DIM] = { 0 };
    ck_assert_ok(catalog_collection_create(f.c, &other, &e), &e);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_ok(fixture_put_code(&f, &other, "x", "x", "{}", v, &r, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);

    ck_assert_ok(catalog_changes_page(f.c, &f.col, 0, 4, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 4);
    for (size_t i = 0; i < n; i++) {
        ck_assert(!rows[i].deleted && rows[i].slot == i && rows[i].text.p[1] == '0' + (char)i);
        ck_assert(i == 0 || rows[i].seq > rows[i - 1].seq);
    }
    /* Between the pages: one that was read is replaced, one that was not is, one goes. */
    (void)fixture_put(&f, "k1", "new 1", "{}", 2);
    (void)fixture_put(&f, "k5", "new 5", "{}", 2);
    ck_assert_ok(fixture_delete_code(&f, "k0", &r));
    ck_assert_ok(catalog_changes_page(f.c, &f.col, rows[3].seq, 3, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 3);
    ck_assert(rows[0].slot == 4 && rows[1].slot == 1 && rows[2].slot == 5);
    ck_assert(str_is(rows[1].text, "new 1") && str_is(rows[2].text, "new 5"));
    ck_assert_ok(catalog_changes_page(f.c, &f.col, rows[2].seq, 3, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 1);
    ck_assert(rows[0].deleted && rows[0].slot == 0 && rows[0].text.p == NULL);
    ck_assert_int_eq(rows[0].seq, last_change(&f));
    ck_assert_ok(catalog_changes_page(f.c, &f.col, rows[0].seq, 3, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 0);
    ck_assert_ok(catalog_changes_page(f.c, &f.col, 0, SIZE_MAX, f.a, &rows, &n, &e), &e);
    ck_assert_uint_eq(n, 6); /* an item each, whatever became of it */
    fixture_close(&f);
}
END_TEST

START_TEST(pages_of_long_texts_are_short)
{
    enum { TEXT = CATALOG_CHANGES_BYTES / 4, ITEMS = 10 };
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_change *rows;
    size_t n, pages = 0, seen = 0;
    int64_t since = 0;
    AUTO_FREE char *text = mem_zalloc(TEXT + 1, 1);
    fixture_open(&f);
    memset(text, 'x', TEXT);
    for (int i = 0; i < ITEMS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        fixture_put(&f, key, text, "{}", 1);
    }
    for (; n = 0, pages <= ITEMS; pages++, seen += n) {
        ck_assert_ok(catalog_changes_page(f.c, &f.col, since, 100, f.a, &rows, &n, &e), &e);
        if (n == 0) break;
        ck_assert_uint_le(n, 4);
        since = rows[n - 1].seq;
    }
    ck_assert_uint_eq(pages, 3);
    ck_assert_uint_eq(seen, ITEMS);
    fixture_close(&f);
}
END_TEST

START_TEST(vectors_follow_their_items)
{
    struct fixture f;
    struct catalog_put_result a, b, gone;
    bool written;
    fixture_open(&f);
    a = fixture_put(&f, "a", "a", "{}", 1);
    b = fixture_put(&f, "b", "b", "{}", 1);
    gone = fixture_put(&f, "gone", "g", "{}", 1);
    struct catalog_generation gen = fixture_generation(&f);
    ck_assert_ok(put_one(&f, &gen, a.slot, a.seq, a.seq, &written));
    ck_assert(written && isnan(fixture_vector(&f, &gen, "b")));
    ck_assert_float_eq(fixture_vector(&f, &gen, "a"), 9);
    ck_assert_float_eq(fixture_vector(&f, &f.col.serving, "a"), 1);
    ck_assert_int_eq(listed(&f, gen.id).seq, a.seq);
    /* What changed since the page was read is left for a later page. */
    (void)fixture_put(&f, "b", "b2", "{}", 2);
    ck_assert_ok(put_one(&f, &gen, b.slot, b.seq, b.seq, &written));
    ck_assert(!written && isnan(fixture_vector(&f, &gen, "b")));
    struct err e = ERR_INIT;
    struct catalog_vector_put none = { a.slot, a.seq, NULL, false }; /* it has none any more */
    ck_assert_ok(catalog_generation_put(f.c, &f.col, &gen, &none, 1, b.seq, &e), &e);
    ck_assert(none.written && isnan(fixture_vector(&f, &gen, "a")));
    ck_assert_ok(put_one(&f, &gen, a.slot, a.seq, b.seq, &written));
    struct catalog_put_result del;
    ck_assert_ok(fixture_delete_code(&f, "gone", &del));
    ck_assert_ok(put_one(&f, &gen, gone.slot, gone.seq, gone.seq, &written));
    ck_assert(!written);
    gen.seq = gone.seq;
    fixture_catch_up(&f, &gen, 5);
    ck_assert_int_eq(gen.seq, last_change(&f));
    ck_assert_float_eq(fixture_vector(&f, &gen, "b"), 5);
    ck_assert_float_eq(fixture_vector(&f, &gen, "a"), 9);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM vector"), 4);
    ck_assert_ok(fixture_delete_code(&f, "a", &del)); /* in all generations */
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM vector"), 2);
    fixture_close(&f);
}
END_TEST

START_TEST(what_cannot_be_put)
{
    struct fixture f;
    struct err e = ERR_INIT;
    bool written;
    fixture_open(&f);
    struct catalog_put_result a = fixture_put(&f, "a", "a", "{}", 1);
    struct catalog_put_result b = fixture_put(&f, "b", "b", "{}", 1);
    struct catalog_generation gen = fixture_generation(&f), bad = gen;
    ck_assert_ok(put_one(&f, &gen, b.slot, b.seq, b.seq, NULL));
    ck_assert_err(put_one(&f, &gen, a.slot, a.seq, a.seq, NULL), ERR_INVALID); /* back */
    ck_assert_err(put_one(&f, &gen, a.slot, a.seq, b.seq + 1, NULL), ERR_INVALID);
    bad.dimensions = 2;
    ck_assert_err(put_one(&f, &bad, a.slot, a.seq, b.seq, NULL), ERR_INVALID);
    bad = gen;
    bad.id = 99;
    ck_assert_err(put_one(&f, &bad, a.slot, a.seq, b.seq, NULL), ERR_NOT_FOUND);
    ck_assert_err(put_one(&f, &f.col.serving, a.slot, a.seq, b.seq, NULL), ERR_CONFLICT);
    ck_assert_float_eq(fixture_vector(&f, &f.col.serving, "a"), 1);
    ck_assert(isnan(fixture_vector(&f, &gen, "a")));
    ck_assert_ok(
        put_one(&f, &gen, a.slot, a.seq, b.seq, &written)); /* the same seq again is fine */
    ck_assert(written);
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_err(put_one(&f, &gen, a.slot, a.seq, b.seq, NULL), ERR_INTERNAL);
    catalog_rollback(f.c);
    ck_assert_ok(catalog_generation_drop(f.c, &f.col, gen.id, &e), &e);
    ck_assert_err(put_one(&f, &gen, a.slot, a.seq, b.seq, NULL), ERR_CONFLICT);
    fixture_close(&f);
}
END_TEST

static enum err_code serve(struct fixture *f, const struct catalog_generation *next, int64_t run_id)
{
    struct err e = ERR_INIT;
    int64_t seq = -1;
    enum err_code code = catalog_generation_serve(f->c, &f->col, next, run_id, &seq, &e);
    ck_assert_int_eq(seq, code == ERR_OK ? last_change(f) : -1);
    return code;
}

static enum version_state version_state(struct fixture *f, int64_t version)
{
    struct err e = ERR_INIT;
    struct catalog_version *rows;
    size_t n;
    ck_assert_ok(catalog_versions(f->c, &f->col, f->a, &rows, &n, &e), &e);
    ck_assert(version >= 1 && (size_t)version <= n);
    ck_assert_int_eq((rows[version - 1].served_ms != 0),
        rows[version - 1].state == VERSION_SERVING || rows[version - 1].state == VERSION_RETIRED);
    return rows[version - 1].state;
}

/* Who serves, by every row that says so. */
static void check_serves(
    struct fixture *f, const struct catalog_generation *now, const struct catalog_generation *old)
{
    struct err e = ERR_INIT;
    struct catalog_collection col;
    ck_assert_ok(catalog_collection_find(f->c, f->col.id, STR(""), f->a, &col, &e), &e);
    ck_assert_int_eq(col.serving.id, now->id);
    ck_assert_int_eq(col.serving.model_version, now->model_version);
    ck_assert_int_eq(listed(f, now->id).state, GENERATION_SERVING);
    ck_assert_int_ne(listed(f, old->id).state, GENERATION_SERVING);
    ck_assert_int_eq(version_state(f, now->model_version), VERSION_SERVING);
    ck_assert_int_ne(version_state(f, old->model_version), VERSION_SERVING);
}

START_TEST(swap_there_and_back)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_run run;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "a", "{}", 1);
    (void)fixture_put(&f, "b", "b", "{}", 1);
    struct catalog_generation base = f.col.serving, next = fixture_generation(&f);
    int64_t id = fixture_run(&f);
    ck_assert_err(serve(&f, &next, id), ERR_CONFLICT); /* it knows nothing */
    fixture_catch_up(&f, &next, 2);
    (void)fixture_put(&f, "c", "c", "{}", 1);
    ck_assert_err(serve(&f, &next, id), ERR_CONFLICT); /* not the last change */
    check_serves(&f, &base, &next);
    fixture_catch_up(&f, &next, 2);
    ck_assert_err(serve(&f, &base, id), ERR_CONFLICT);
    ck_assert_ok(serve(&f, &next, id));
    check_serves(&f, &next, &base);
    ck_assert_int_eq(listed(&f, base.id).state, GENERATION_RETIRED);
    ck_assert_int_eq(listed(&f, base.id).seq, last_change(&f));
    ck_assert_ok(catalog_run_get(f.c, id, f.a, &run, &e), &e);
    ck_assert(run.status == RUN_SUCCEEDED && run.finished_ms >= run.created_ms);
    fixture_reopen(&f);
    check_serves(&f, &next, &base);
    /* Writes go to who serves, and only there; the other follows before it can serve again. */
    f.col.serving = next;
    (void)fixture_put(&f, "d", "d", "{}", 3);
    ck_assert_float_eq(fixture_vector(&f, &next, "d"), 3);
    ck_assert(isnan(fixture_vector(&f, &base, "d")));
    base = listed(&f, base.id);
    ck_assert_err(serve(&f, &base, 0), ERR_CONFLICT);
    fixture_catch_up(&f, &base, 1);
    ck_assert_ok(serve(&f, &base, 0));
    check_serves(&f, &base, &next);
    ck_assert_int_eq(version_state(&f, next.model_version), VERSION_RETIRED);
    fixture_close(&f);
}
END_TEST

START_TEST(writes_to_the_replaced_are_refused)
{
    struct fixture f;
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 7 };
    fixture_open(&f);
    struct catalog_generation next = fixture_generation(&f);
    ck_assert_ok(serve(&f, &next, 0)); /* an empty collection has nothing to know */
    ck_assert_ok(catalog_begin(f.c, &e), &e);
    ck_assert_err(fixture_put_code(&f, &f.col, "a", "a", "{}", v, &r, &e), ERR_CONFLICT);
    f.col.serving = next;
    ck_assert_ok(fixture_put_code(&f, &f.col, "a", "a", "{}", v, &r, &e), &e);
    ck_assert_ok(catalog_commit(f.c, &e), &e);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM item"), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(an_ended_run_swaps_nothing)
{
    struct fixture f;
    fixture_open(&f);
    struct catalog_generation base = f.col.serving, next = fixture_generation(&f);
    int64_t id = fixture_run(&f);
    fixture_run_end(&f, id, RUN_CANCELLED);
    ck_assert_err(serve(&f, &next, id), ERR_CONFLICT);
    check_serves(&f, &base, &next);
    ck_assert_int_eq(version_state(&f, next.model_version), VERSION_CANDIDATE);
    ck_assert_err(serve(&f, &next, 99), ERR_CONFLICT);
    check_serves(&f, &base, &next);
    struct catalog_generation nowhere = { .id = 99 };
    ck_assert_err(serve(&f, &nowhere, 0), ERR_NOT_FOUND);
    fixture_close(&f);
}
END_TEST

static void fill(struct fixture *f, int n)
{
    struct err e = ERR_INIT;
    struct catalog_put_result r;
    const float v[FIXTURE_DIM] = { 1, 1, 1, 1 };
    ck_assert_ok(catalog_begin(f->c, &e), &e);
    for (int i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        ck_assert_ok(fixture_put_code(f, &f->col, key, "t", "{}", v, &r, &e), &e);
    }
    ck_assert_ok(catalog_commit(f->c, &e), &e);
}

static size_t purge(struct fixture *f)
{
    struct err e = ERR_INIT;
    bool more = true;
    size_t n = 0;
    for (; more; n++)
        ck_assert_ok(catalog_purge(f->c, &more, &e), &e);
    return n;
}

START_TEST(dropped_vectors_go_beside_living_ones)
{
    enum { N = CATALOG_PURGE_ROWS + 10 };
    struct fixture f;
    struct err e = ERR_INIT;
    fixture_open(&f);
    fill(&f, N);
    struct catalog_generation gen = fixture_generation(&f), kept = fixture_generation(&f);
    fixture_catch_up(&f, &gen, 2);
    fixture_catch_up(&f, &kept, 3);
    ck_assert_uint_eq(purge(&f), 1); /* nothing */
    ck_assert_ok(catalog_generation_drop(f.c, &f.col, gen.id, &e), &e);
    bool more;
    ck_assert_ok(catalog_purge(f.c, &more, &e), &e);
    ck_assert(more);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM vector"), 2 * N + 10);
    fixture_reopen(&f);              /* as after a crash */
    ck_assert_uint_eq(purge(&f), 3); /* the rest, the row, and nothing */
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM vector"), 2 * N);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM generation"), 2);
    ck_assert_float_eq(fixture_vector(&f, &kept, "k7"), 3);
    ck_assert_float_eq(fixture_vector(&f, &f.col.serving, "k7"), 1);
    fixture_close(&f);
}
END_TEST

/* ---- memory ---- */

struct oom {
    struct fixture *f;
    struct catalog_generation base, next;
};

/* Build, swap and go back, each step by what is stored: a round begins where a failed one ended. */
static enum err_code build_and_swap(struct oom *o, struct err *e)
{
    struct fixture *f = o->f;
    struct catalog_change *rows;
    struct catalog_generation *gens, extra = { .model_version = 3, .dimensions = 2 };
    const float v[FIXTURE_DIM] = { 2, 2, 2, 2 };
    size_t n;
    int64_t seq;
    bool more;
    TRY(catalog_changes_page(f->c, &f->col, 0, 10, f->a, &rows, &n, e));
    struct catalog_vector_put put = { rows[0].slot, rows[0].seq, v, false };
    TRY(catalog_last_change(f->c, &f->col, &seq, e));
    TRY(catalog_generations(f->c, &f->col, f->a, &gens, &n, e));
    ck_assert((gens[0].state == GENERATION_SERVING) != (gens[1].state == GENERATION_SERVING));
    if (gens[1].state != GENERATION_SERVING) {
        TRY(catalog_generation_put(f->c, &f->col, &o->next, &put, 1, seq, e));
        TRY(catalog_generation_serve(f->c, &f->col, &o->next, 0, &seq, e));
    }
    TRY(catalog_generation_serve(f->c, &f->col, &o->base, 0, &seq, e));
    if (n > 2)
        extra = gens[2];
    else
        TRY(catalog_generation_create(f->c, &f->col, &extra, e));
    TRY(catalog_generation_drop(f->c, &f->col, extra.id, e));
    return catalog_purge(f->c, &more, e);
}

static enum err_code round_trip(void *arg)
{
    struct oom *o = arg;
    struct fixture *f = o->f;
    struct err e = ERR_INIT;
    enum err_code code = build_and_swap(o, &e);
    ck_assert(!f->c->in_tx);
    arena_clear(f->a);
    return code;
}

START_TEST(no_memory)
{
    struct fixture f;
    fixture_open(&f);
    (void)fixture_put(&f, "a", "a", "{}", 1);
    struct oom o = { &f, f.col.serving, fixture_generation(&f) };
    (void)fixture_version(&f);
    (void)fixture_vector(&f, &o.base, "a"); /* a reader is in the pool */
    (void)oom_loop(round_trip, &o);
    ck_assert_int_eq(fixture_query(&f, "SELECT count(*) FROM generation WHERE state = 1"), 1);
    check_serves(&f, &o.base, &o.next);
    fixture_close(&f);
}
END_TEST

TEST_SUITE(sqlite_generations)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, created_listed_dropped);
    tcase_add_test(tc, changes_come_in_pages);
    tcase_add_test(tc, pages_of_long_texts_are_short);
    tcase_add_test(tc, vectors_follow_their_items);
    tcase_add_test(tc, what_cannot_be_put);
    tcase_add_test(tc, swap_there_and_back);
    tcase_add_test(tc, writes_to_the_replaced_are_refused);
    tcase_add_test(tc, an_ended_run_swaps_nothing);
    tcase_add_test(tc, dropped_vectors_go_beside_living_ones);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("memory");
    tcase_set_timeout(oom, 300);
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_test(oom, no_memory);
    suite_add_tcase(s, oom);
}
