/* Pairs of texts and of feedback. */
#include "tests/engine/pairs_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- views ---- */

static void put_stories(size_t first, size_t n)
{
    fx_begin();
    for (size_t i = first; i < first + n; i++) {
        char text[200];
        if (i % 3 == 0)
            (void)snprintf(text, sizeof text,
                "Story %zu begins. It goes on for %zu days. All is well.", i, i * 7);
        else if (i % 3 == 1)
            (void)snprintf(text, sizeof text, "story %zu in a single run of %zu words", i, i * 3);
        else
            (void)snprintf(text, sizeof text, "short story %zu", i);
        fx_put(text, "{}");
    }
    fx_put("two words", "{}");
    fx_put("?!", "{}");
    fx_put(NULL, "{}");
    fx_commit();
}

static void grow_stories(void)
{
    static size_t at = 100000;
    put_stories(at, 500);
    at += 500;
}

START_TEST(views_of_texts)
{
    FX_FILES f;
    put_stories(0, 1500);
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
    fx_check_files(&f, true);
    ck_assert_uint_gt(f.report.train, 3000); /* several of most texts */
    ck_assert(f.report.heldout > 80 && f.report.heldout < 220);
    ck_assert_uint_gt(f.report.distractors, 1000);
}
END_TEST

START_TEST(growing_views_never_leak)
{
    put_stories(0, 1500);
    fx_check_growing(grow_stories);
}
END_TEST

START_TEST(views_of_a_seed)
{
    FX_FILES a, b, c;
    put_stories(0, 1000);
    fx_write_files(&a);
    fx_write_files(&b);
    fx.rq.seed = 2;
    fx_write_files(&c);
    ck_assert(fx_same_bytes(&a.train, &b.train) && fx_same_bytes(&a.heldout, &b.heldout));
    ck_assert(fx_same_bytes(&a.heldout, &c.heldout));
    ck_assert(!fx_same_bytes(&a.train, &c.train));
}
END_TEST

/* ---- feedback ---- */

static void signal_of(const char *query, uint32_t slot, enum feedback_signal signal)
{
    struct err e = ERR_INIT;
    struct catalog_feedback f = { .query_text = str_from(query), .slot = slot, .signal = signal };
    ck_assert_ok(catalog_feedback_put(fx.catalog, &fx.col, &f, &e), &e);
}

/* Item i is clicked for "query i"; item i + 1 is irrelevant to it. */
static void put_feedback(size_t n)
{
    fx_begin();
    uint32_t first = fx_put("item number 0", "{}");
    for (size_t i = 1; i < n; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "item number %zu", i);
        fx_put(text, "{}");
    }
    for (size_t i = 0; i < n; i++) {
        char query[64];
        uint32_t slot = first + (uint32_t)i;
        (void)snprintf(query, sizeof query, "query %zu", i);
        signal_of(query, slot, i % 2 ? FEEDBACK_CLICK : FEEDBACK_RELEVANT);
        signal_of(query, first + (uint32_t)((i + 1) % n), FEEDBACK_IRRELEVANT);
        /* A click that was irrelevant after all, and one that was irrelevant, but relevant after all. */
        signal_of(query, first + (uint32_t)((i + 1) % n), FEEDBACK_CLICK);
        if (i % 2 == 0) signal_of(query, slot, FEEDBACK_IRRELEVANT);
    }
    fx_commit();
}

START_TEST(feedback_with_hard_negatives)
{
    FX_FILES f;
    size_t with = 0;
    put_feedback(1500);
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_FEEDBACK);
    fx_check_files(&f, true);
    ck_assert_uint_eq(f.report.train + f.report.heldout, 1500);
    for (size_t i = 0; i < f.train.n; i++) {
        const struct fx_row *row = &f.train.rows[i];
        long query = strtol(row->columns[0].p + 6, NULL, 10);
        ck_assert_int_eq(strtol(row->columns[1].p + 12, NULL, 10), query);
        ck_assert_uint_le(row->n, 3);
        if (row->n < 3) continue;
        ck_assert_int_eq(strtol(row->columns[2].p + 12, NULL, 10), (query + 1) % 1500);
        with++;
    }
    ck_assert_uint_gt(with, f.train.n * 8 / 10);
    ck_assert_uint_lt(with, f.train.n);
}
END_TEST

START_TEST(little_feedback_is_not_chosen)
{
    FX_FILES f;
    put_stories(0, 1000);
    put_feedback(100);
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
}
END_TEST

START_TEST(feedback_on_few_items_is_not_chosen)
{
    FX_FILES f;
    put_stories(0, 1000);
    fx_begin();
    uint32_t slot = fx_put("the only one that is clicked", "{}");
    for (int i = 0; i < 2000; i++) {
        char query[32];
        (void)snprintf(query, sizeof query, "query %d", i);
        signal_of(query, slot, FEEDBACK_CLICK);
    }
    fx_commit();
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_VIEWS);
}
END_TEST

TEST_SUITE(pairs_sources)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_add_test(tc, views_of_texts);
    tcase_add_test(tc, views_of_a_seed);
    tcase_add_test(tc, growing_views_never_leak);
    tcase_add_test(tc, feedback_with_hard_negatives);
    tcase_add_test(tc, little_feedback_is_not_chosen);
    tcase_add_test(tc, feedback_on_few_items_is_not_chosen);
    suite_add_tcase(s, tc);
}
