/* Pairs of items with a label in common. */
#include "tests/engine/pairs_fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_labelled(size_t first, size_t n, size_t n_labels)
{
    fx_begin();
    for (size_t i = first; i < first + n; i++) {
        char text[64], metadata[64];
        size_t a = i % n_labels, b = rng_below(&fx.rng, n_labels);
        (void)snprintf(text, sizeof text, "item %zu", i);
        if (i % 5 == 0)
            (void)snprintf(metadata, sizeof metadata, "{\"l\":[\"L%zu\",\"L%zu\"]}", a, b);
        else
            (void)snprintf(metadata, sizeof metadata, "{\"l\":\"L%zu\"}", a);
        fx_put(text, metadata);
    }
    fx_commit();
}

/* Labels of every item "item N" as bits of a set of hashes (item, label). */
static void labels_of_items(struct u64_map *ret, struct u64_map *ret_of)
{
    struct err e = ERR_INIT;
    struct catalog_values *rows;
    size_t n;
    struct str l = STR("l");
    struct catalog_values_query q = { .after = -1,
        .limit = 100000,
        .paths = &l,
        .n_paths = 1,
        .with_text = true,
        .bytes_max = 4000 };
    u64_map_init(ret);
    u64_map_init(ret_of);
    ck_assert_ok(catalog_values_page(fx.catalog, &fx.col, &q, fx.arena, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        uint64_t item = fx_folded(rows[i].text);
        ck_assert_ok(u64_map_set(ret_of, item, (uint32_t)rows[i].n_values[0]));
        for (size_t k = 0; k < rows[i].n_values[0]; k++) {
            uint64_t key[3] = { item, k,
                hash_bytes(rows[i].values[0][k].p, rows[i].values[0][k].n, 0) };
            ck_assert_ok(u64_map_set(ret, hash_bytes(key, 16, 0), (uint32_t)key[2]));
        }
    }
}

/* a, b: folded texts of items */
static bool share_label(
    const struct u64_map *labels, const struct u64_map *of, uint64_t a, uint64_t b)
{
    uint32_t na = 0, nb = 0, la, lb;
    if (!u64_map_get(of, a, &na) || !u64_map_get(of, b, &nb)) ck_abort_msg("no such item");
    for (uint32_t i = 0; i < na; i++) {
        for (uint32_t k = 0; k < nb; k++) {
            uint64_t ka[2] = { a, i }, kb[2] = { b, k };
            if (u64_map_get(labels, hash_bytes(ka, 16, 0), &la) &&
                u64_map_get(labels, hash_bytes(kb, 16, 0), &lb) && la == lb)
                return true;
        }
    }
    return false;
}

static void check_labels(const struct fx_files *f)
{
    struct u64_map labels, of;
    AUTO_FREE uint64_t *queries = fx_column_folded(&f->heldout, 0);
    AUTO_FREE uint64_t *documents = fx_column_folded(&f->heldout, 1);
    labels_of_items(&labels, &of);
    fx_check_files(f, false);
    for (size_t i = 0; i < f->train.n; i++)
        ck_assert(share_label(&labels, &of, fx_folded(f->train.rows[i].columns[0]),
            fx_folded(f->train.rows[i].columns[1])));
    for (size_t i = 0; i < f->heldout.n_pairs; i++)
        for (size_t k = 0; k < f->heldout.n; k++)
            if (share_label(&labels, &of, queries[i], documents[k]) !=
                (documents[i] == documents[k]))
                ck_abort_msg("document %zu answers query %zu", k, i);
    u64_map_done(&labels);
    u64_map_done(&of);
}

START_TEST(labels_of_items_with_few_values)
{
    FX_FILES f;
    put_labelled(0, 2000, 4);
    fx.rq.labels = STR("metadata.l");
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_LABELS);
    check_labels(&f);
    ck_assert_uint_ge(f.report.heldout, 100);
    ck_assert_uint_ge(f.report.train, 4000);
    ck_assert_uint_le(f.report.train, 2000 * PAIRS_PARTNERS_MAX);
}
END_TEST

START_TEST(labels_of_items_with_many_values)
{
    FX_FILES f;
    rng_init(&fx.rng, (uint64_t)_i + 30);
    put_labelled(0, 3000, (size_t)300 << _i);
    fx.rq.labels = STR("metadata.l");
    fx.rq.heldout_max = 200;
    fx.rq.distractors_max = 500;
    fx_write_files(&f);
    check_labels(&f);
    ck_assert_uint_gt(f.report.heldout, 100);
    if (_i == 0) ck_assert_uint_gt(f.report.distractors, 100);
}
END_TEST

START_TEST(partners_are_few_and_drawn_at_random)
{
    FX_FILES f;
    struct u64_map first;
    size_t near = 0;
    put_labelled(0, 2000, 4);
    fx.rq.labels = STR("metadata.l");
    fx_write_files(&f);
    u64_map_init(&first);
    for (size_t i = 0; i < f.train.n; i++) {
        uint32_t n = 0;
        struct str *c = f.train.rows[i].columns;
        long a = strtol(c[0].p + 5, NULL, 10), b = strtol(c[1].p + 5, NULL, 10);
        (void)u64_map_get(&first, (uint64_t)a, &n);
        ck_assert_uint_lt(n, PAIRS_PARTNERS_MAX);
        ck_assert_ok(u64_map_set(&first, (uint64_t)a, n + 1));
        near += labs(a - b) < 100;
    }
    ck_assert_uint_lt(near, f.train.n / 5);
    u64_map_done(&first);
}
END_TEST

static void grow_labelled(void)
{
    static size_t at = 100000;
    put_labelled(at, 1000, 600);
    at += 1000;
}

START_TEST(growing_labels_never_leak)
{
    put_labelled(0, 3000, 600);
    fx.rq.labels = STR("metadata.l");
    fx_check_growing(grow_labelled);
}
END_TEST

START_TEST(labels_of_random_collections_never_leak)
{
    FX_FILES f;
    rng_init(&fx.rng, (uint64_t)_i + 40);
    fx_put_random(4000, 2000);
    fx.rq.labels = STR("metadata.l");
    fx_write_files(&f);
    fx_check_files(&f, false);
}
END_TEST

START_TEST(one_label_for_all_is_none)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    put_labelled(0, 800, 1);
    fx.rq.labels = STR("metadata.l");
    ck_assert_err(fx_write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_str_eq(e.field, "/labels");
    ck_assert_ptr_nonnull(strstr(e.msg, "of 1 values"));
}
END_TEST

TEST_SUITE(pairs_labels)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_add_test(tc, labels_of_items_with_few_values);
    tcase_add_loop_test(tc, labels_of_items_with_many_values, 0, 3);
    tcase_add_test(tc, partners_are_few_and_drawn_at_random);
    tcase_add_test(tc, growing_labels_never_leak);
    tcase_add_loop_test(tc, labels_of_random_collections_never_leak, 0, 2);
    tcase_add_test(tc, one_label_for_all_is_none);
    suite_add_tcase(s, tc);
}
