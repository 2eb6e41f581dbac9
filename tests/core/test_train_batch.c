#include "core/learn/train_batch.h"

#include "base/mem.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct train_fixture f;
static struct trainable *t;
static struct train_data *d;
static struct train_batch b;
static struct train_cursor c;

static void set_up(void)
{
    struct err e = ERR_INIT;
    train_fixture_make(&f);
    ck_assert_ok(trainable_open(f.model, NULL, &t, &e), &e);
    c = (struct train_cursor){ .epoch_at = 0 };
    rng_init(&c.rng, 11);
}

static void tear_down(void)
{
    train_batch_done(&b);
    train_data_free(d);
    d = NULL;
    trainable_free(t);
    train_fixture_remove(&f);
}

static void load(const struct train_file *pairs, size_t n_pairs, const struct train_file *taught,
    size_t n_taught)
{
    struct err e = ERR_INIT;
    const struct train_files files = { pairs, taught, n_pairs, n_taught, 1e9, 1, 0 };
    ck_assert_ok(train_data_load(&files, t, &d, &e), &e);
    ck_assert_ok(train_batch_init(&b, d, &e), &e);
}

static void load_pairs(size_t n)
{
    const struct train_file file = { f.pairs, NULL, 1 };
    train_fixture_pairs(&f, n, 3);
    load(&file, 1, NULL, 0);
}

static void draw_pairs(size_t batch, double dropout)
{
    struct err e = ERR_INIT;
    const struct train_draw draw = { batch, dropout, true, false };
    ck_assert_ok(train_batch_pairs(&b, &draw, &c, &e), &e);
}

/* Which row of the only file has these two texts; rows of equal texts count as one. */
static size_t row_of(uint32_t anchor, uint32_t positive)
{
    const struct train_rows *r = &d->pairs[0];
    for (size_t i = 0; i < r->n; i++)
        if (r->texts[r->starts[i]] == anchor && r->texts[r->starts[i] + 1] == positive) return i;
    ck_abort_msg("no such row");
}

START_TEST(an_epoch_takes_every_row_once)
{
    enum { ROWS = 103, BATCH = 10, BATCHES = 11 };
    load_pairs(ROWS);
    ck_assert_uint_eq(train_batch_per_epoch(ROWS, BATCH), BATCHES);
    unsigned want[ROWS] = { 0 };
    uint32_t first[2] = { 0, 0 };
    for (size_t i = 0; i < ROWS; i++)
        want[row_of(d->pairs[0].texts[2 * i], d->pairs[0].texts[2 * i + 1])]++;
    for (size_t epoch = 0; epoch < 2; epoch++) {
        unsigned seen[ROWS] = { 0 };
        for (size_t i = 0; i < BATCHES; i++) {
            draw_pairs(BATCH, 0);
            ck_assert(b.n == 9 || b.n == 10);
            for (size_t k = 0; k < b.n; k++)
                seen[row_of(b.texts[k], b.texts[b.n + k])]++;
            if (i == 0) first[epoch] = b.texts[0];
        }
        ck_assert_mem_eq(seen, want, sizeof want);
    }
    ck_assert_msg(first[0] != first[1], "the epochs have the same order");
}
END_TEST

START_TEST(the_ends_stay_if_asked_to)
{
    struct err e = ERR_INIT;
    size_t shorter = 0;
    const struct train_file file = { f.pairs, NULL, 1 };
    train_fixture_write(f.pairs,
        "w1 w2 w3 w4 w5 w6 w7\tw8 w9 w10 w11 w12 w13 w14 w15\n"
        "w16 w17 w18 w19 w20 w21\tw22\nw23 w24\tw25 w26 w27 w28 w29 w30\n");
    load(&file, 1, NULL, 0);
    const struct train_draw draw = { 3, 0.6, true, true };
    ck_assert_ok(train_batch_pairs(&b, &draw, &c, &e), &e);
    for (size_t i = 0; i < b.n_texts; i++) {
        size_t n = b.packed.starts[i + 1] - b.packed.starts[i],
               n_whole = b.whole.starts[i + 1] - b.whole.starts[i];
        const uint32_t *ids = b.packed.ids + b.packed.starts[i],
                       *whole = b.whole.ids + b.whole.starts[i];
        ck_assert_uint_eq(ids[0], whole[0]);
        ck_assert_uint_eq(ids[n - 1], whole[n_whole - 1]);
        ck_assert_uint_ge(n, n_whole < 3 ? n_whole : 3);
        shorter += n < n_whole;
    }
    ck_assert_uint_ge(shorter, 3);
}
END_TEST

START_TEST(batches_larger_than_the_file)
{
    load_pairs(7);
    for (size_t i = 0; i < 3; i++) {
        draw_pairs(100, 0);
        ck_assert_uint_eq(b.n, 7);
    }
}
END_TEST

START_TEST(a_cursor_that_is_put_back_draws_the_same)
{
    uint32_t texts[20];
    struct err e = ERR_INIT;
    load_pairs(55);
    for (size_t i = 0; i < 8; i++) { /* into the second epoch */
        draw_pairs(10, 0.2);
        struct train_cursor saved = c;
        draw_pairs(10, 0.2);
        size_t n = b.n, n_ids = b.packed.starts[2 * n];
        memcpy(texts, b.texts, 2 * n * sizeof *texts);
        AUTO_FREE uint32_t *ids = mem_alloc(n_ids, sizeof *ids);
        memcpy(ids, b.packed.ids, n_ids * sizeof *ids);
        /* A new process. */
        train_batch_done(&b);
        ck_assert_ok(train_batch_init(&b, d, &e), &e);
        c = saved;
        draw_pairs(10, 0.2);
        ck_assert_uint_eq(b.n, n);
        ck_assert_mem_eq(texts, b.texts, 2 * n * sizeof *texts);
        ck_assert_uint_eq(b.packed.starts[2 * n], n_ids);
        ck_assert_mem_eq(ids, b.packed.ids, n_ids * sizeof *ids);
        c = saved;
    }
}
END_TEST

START_TEST(files_are_drawn_by_their_share_and_rows_once)
{
    char other[TMPDIR_PATH_BYTES];
    const struct train_file files[] = { { f.pairs, NULL, 1 }, { other, NULL, 25 } };
    train_fixture_pairs(&f, 100, 3);
    train_fixture_write(
        tmpdir_file(&f.dir, "other", other), "cat\tdog\ncat\thouse\nred\tblue\nday\tlight\n");
    load(files, 2, NULL, 0);
    size_t n_other = 0;
    for (size_t i = 0; i < 2000; i++) {
        draw_pairs(8, 0);
        bool is_other = b.texts[0] >= d->pairs[1].texts[0];
        for (size_t k = 0; k < b.n; k++) {
            ck_assert_msg((b.texts[k] >= d->pairs[1].texts[0]) == is_other, "two files in a batch");
            for (size_t j = 0; is_other && j < k; j++)
                ck_assert(b.texts[k] != b.texts[j] || b.texts[b.n + k] != b.texts[b.n + j]);
        }
        n_other += is_other;
    }
    ck_assert_msg(n_other > 900 && n_other < 1100, "%zu of 2000 from a file of one half", n_other);
}
END_TEST

START_TEST(hard_negatives_stand_after_the_positives)
{
    const struct train_file file = { f.pairs, NULL, 1 };
    train_fixture_write(f.pairs, "w1\tw2\tw3\tw4\nw5\tw6\nw7\tw8\tw9\n");
    load(&file, 1, NULL, 0);
    draw_pairs(3, 0);
    ck_assert_uint_eq(b.n, 3);
    ck_assert_uint_eq(b.n_texts, 9);
    size_t negatives = 6;
    for (size_t i = 0; i < 3; i++) {
        const struct train_rows *r = &d->pairs[0];
        size_t row = row_of(b.texts[i], b.texts[3 + i]);
        for (size_t k = r->starts[row] + 2; k < r->starts[row + 1]; k++)
            ck_assert_uint_eq(b.texts[negatives++], r->texts[k]);
    }
    ck_assert_uint_eq(negatives, 9);
}
END_TEST

START_TEST(dropout_leaves_something_and_takes_its_share)
{
    load_pairs(300);
    size_t n_whole = 0, n_packed = 0;
    for (size_t i = 0; i < 20; i++) {
        draw_pairs(100, 0.25);
        for (size_t k = 0; k < b.n_texts; k++) {
            size_t at = b.whole.starts[k], end = b.whole.starts[k + 1];
            size_t from = b.packed.starts[k], to = b.packed.starts[k + 1];
            const struct train_texts *x = &d->texts;
            ck_assert_uint_eq(end - at, x->starts[b.texts[k] + 1] - x->starts[b.texts[k]]);
            ck_assert_mem_eq(
                b.whole.ids + at, x->ids + x->starts[b.texts[k]], (end - at) * sizeof *x->ids);
            ck_assert(from < to && to - from <= end - at);
            n_whole += end - at;
            n_packed += to - from;
            for (; from < to; from++) { /* what is left is in the same order */
                while (at < end && b.whole.ids[at] != b.packed.ids[from])
                    at++;
                ck_assert(at++ < end);
            }
        }
    }
    double share = 1 - (double)n_packed / (double)n_whole;
    ck_assert_msg(share > 0.22 && share < 0.26, "%g", share);
    draw_pairs(100, 0.99);
    draw_pairs(100, 0);
    ck_assert_uint_eq(b.packed.starts[b.n_texts], b.whole.starts[b.n_texts]);
}
END_TEST

START_TEST(taught_texts_come_with_their_vectors)
{
    struct err e = ERR_INIT;
    const float values[] = { 3, 4, 9, 9, 0, 2, -5, 0 };
    const struct train_file file = { f.taught, f.vectors, 1 };
    const struct train_draw draw = { 50, 0, false, false };
    train_fixture_write(f.taught, "w1\nzzz\nw2\nw3\n");
    train_fixture_npy(f.vectors, values, 4, 2);
    load(NULL, 0, &file, 1);
    ck_assert_ok(train_batch_taught(&b, &draw, &c, &e), &e);
    ck_assert_uint_eq(b.n, 3);
    ck_assert_uint_eq(b.n_texts, 3);
    ck_assert_uint_eq(b.teacher_dim, 2);
    ck_assert_uint_eq(b.whole.count, 0);
    ck_assert_near(b.teacher, ((const float[]){ 0.6F, 0.8F, 0, 1, -1, 0 }), 6, 1e-6, 0);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(b.texts[i], d->taught[0].texts[i]);
}
END_TEST

TEST_SUITE(train_batch)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_epoch_takes_every_row_once);
    tcase_add_test(tc, the_ends_stay_if_asked_to);
    tcase_add_test(tc, batches_larger_than_the_file);
    tcase_add_test(tc, a_cursor_that_is_put_back_draws_the_same);
    tcase_add_test(tc, files_are_drawn_by_their_share_and_rows_once);
    tcase_add_test(tc, hard_negatives_stand_after_the_positives);
    tcase_add_test(tc, dropout_leaves_something_and_takes_its_share);
    tcase_add_test(tc, taught_texts_come_with_their_vectors);
    suite_add_tcase(s, tc);
}
