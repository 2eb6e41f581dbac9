/* Pairs of a collection: what the files hold, and above all what they must not; fields, and what is refused. */
#include "engine/pairs.h"

#include "base/mem.h"
#include "base/thread.h"
#include "tests/engine/pairs_fixture.h"
#include "tests/support/oom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- fields ---- */

START_TEST(fields_of_items)
{
    FX_FILES f;
    fx_put_books(0, 2000);
    fx_ask_fields("metadata.title", "text");
    fx_write_files(&f);
    ck_assert_int_eq(f.report.source, PAIRS_FIELDS);
    fx_check_files(&f, true);
    /* A tenth is held out, all else is learned from; the documents are those held out and others. */
    ck_assert(f.report.heldout > 140 && f.report.heldout < 260);
    ck_assert_uint_eq(f.report.train + f.report.heldout, 2000);
    ck_assert_uint_eq(f.report.distractors, f.report.train);
    ck_assert_uint_eq(f.report.shared, 0);
    for (size_t i = 0; i < f.train.n; i++) {
        struct str *c = f.train.rows[i].columns;
        ck_assert_uint_eq(f.train.rows[i].n, 2);
        ck_assert_int_eq(strtol(c[0].p + 6, NULL, 10), strtol(c[1].p + 12, NULL, 10));
    }
}
END_TEST

START_TEST(heldout_and_distractors_are_bounded)
{
    FX_FILES f;
    FX_FILES more;
    fx_put_books(0, 3000);
    fx_ask_fields("metadata.title", "text");
    fx.rq.heldout_max = 60;
    fx.rq.distractors_max = 100;
    fx_write_files(&f);
    fx_check_files(&f, true);
    ck_assert_uint_eq(f.report.heldout, 60);
    ck_assert_uint_eq(f.report.distractors, 100);
    /* Those of the lowest hashes: the first lines of a longer file. */
    fx.rq.heldout_max = 100;
    fx_write_files(&more);
    ck_assert_uint_eq(more.report.heldout, 100);
    for (size_t i = 0; i < 60; i++)
        ck_assert(str_eq(f.heldout.rows[i].columns[1], more.heldout.rows[i].columns[1]));
    /* Distractors are held out as well here, so they are never learned from. */
    struct u64_map train;
    u64_map_init(&train);
    for (size_t i = 0; i < f.train.n; i++)
        fx_add(&train, fx_folded(f.train.rows[i].columns[1]));
    for (size_t i = 60; i < f.heldout.n; i++)
        ck_assert(!fx_has(&train, fx_folded(f.heldout.rows[i].columns[1])));
    u64_map_done(&train);
}
END_TEST

START_TEST(samples_are_even)
{
    FX_FILES f;
    fx_put_books(0, 5000);
    fx_ask_fields("metadata.title", "metadata.n");
    fx.rq.pairs_max = 1000;
    fx_write_files(&f);
    fx_check_files(&f, true);
    ck_assert(f.report.train > 880 && f.report.train <= 1000);
    size_t low = 0;
    for (size_t i = 0; i < f.train.n; i++)
        low += strtol(f.train.rows[i].columns[1].p, NULL, 10) < 2500;
    ck_assert(low > f.train.n * 4 / 10 && low < f.train.n * 6 / 10);
}
END_TEST

START_TEST(lists_give_a_pair_an_element)
{
    FX_FILES f;
    size_t seen = 0;
    fx_begin();
    for (int i = 0; i < 700; i++) {
        char text[64], metadata[400];
        (void)snprintf(text, sizeof text, "Answer %d", i);
        (void)snprintf(metadata, sizeof metadata,
            "{\"a\":{\"q\":[\"q %d a\",\"\",null,\"?!\",{\"x\":1},\"Q, %d A\",\"q %d b\"]}}", i, i,
            i);
        fx_put(text, metadata);
    }
    fx_commit();
    fx_ask_fields("metadata.a.q", "text");
    fx_write_files(&f);
    fx_check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++)
        seen += f.train.rows[i].columns[0].p[f.train.rows[i].columns[0].n - 1] == 'b';
    ck_assert_uint_eq(f.train.n, 2 * seen);
    ck_assert_uint_eq(f.train.n / 2 + f.heldout.n_pairs, 700);
}
END_TEST

START_TEST(texts_lie_in_one_line)
{
    FX_FILES f;
    size_t seen = 0;
    fx_begin();
    for (int i = 0; i < 700; i++) {
        char text[128], metadata[128];
        (void)snprintf(text, sizeof text, "Zeile\t%d\r\nmit \xC3\xBC und \x01\x7F \xE2\x82\xAC", i);
        (void)snprintf(metadata, sizeof metadata, "{\"t\":\"Titel\\n%d\\t\\u0001x\"}", i);
        fx_put(text, metadata);
    }
    fx_commit();
    fx_ask_fields("metadata.t", "text");
    fx_write_files(&f);
    fx_check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++) {
        char want[64];
        int n = (int)strtol(f.train.rows[i].columns[0].p + 6, NULL, 10);
        (void)snprintf(want, sizeof want, "Zeile %d  mit \xC3\xBC und    \xE2\x82\xAC", n);
        ck_assert(str_is(f.train.rows[i].columns[1], want));
        (void)snprintf(want, sizeof want, "Titel %d  x", n);
        ck_assert(str_is(f.train.rows[i].columns[0], want));
        seen++;
    }
    ck_assert_uint_gt(seen, 500);
}
END_TEST

START_TEST(texts_are_cut_at_a_character)
{
    FX_FILES f;
    fx_begin();
    for (int i = 0; i < 700; i++) {
        char text[128], metadata[128];
        (void)snprintf(text, sizeof text, "%03d\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", i);
        (void)snprintf(metadata, sizeof metadata, "{\"t\":\"t %d\"}", i);
        fx_put(text, metadata);
    }
    fx_commit();
    fx_ask_fields("metadata.t", "text");
    fx.rq.text_max = 8;
    fx_write_files(&f);
    fx_check_files(&f, true);
    for (size_t i = 0; i < f.train.n; i++)
        ck_assert_uint_eq(f.train.rows[i].columns[1].n, 6);
}
/* Answers of every query in the collection; no document but its own may be one. */
static void check_answers(const struct fx_files *f)
{
    struct u64_map answers;
    struct err e = ERR_INIT;
    struct catalog_values *rows;
    size_t n;
    struct str t = STR("t");
    struct catalog_values_query q = { .after = -1,
        .limit = 100000,
        .paths = &t,
        .n_paths = 1,
        .with_text = true,
        .bytes_max = 4000 };
    u64_map_init(&answers);
    ck_assert_ok(catalog_values_page(fx.catalog, &fx.col, &q, fx.arena, &rows, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; rows[i].text.p && k < rows[i].n_values[0]; k++) {
            uint64_t pair[2] = { fx_folded(rows[i].values[0][k]), fx_folded(rows[i].text) };
            fx_add(&answers, hash_bytes(pair, sizeof pair, 0));
        }
    }
    AUTO_FREE uint64_t *queries = fx_column_folded(&f->heldout, 0);
    AUTO_FREE uint64_t *documents = fx_column_folded(&f->heldout, 1);
    size_t right = 0;
    for (size_t i = 0; i < f->heldout.n_pairs; i++) {
        for (size_t k = 0; k < f->heldout.n; k++) {
            uint64_t pair[2] = { queries[i], documents[k] };
            bool answer = fx_has(&answers, hash_bytes(pair, sizeof pair, 0));
            if (answer != (i == k)) ck_abort_msg("document %zu answers query %zu", k, i);
            right += answer;
        }
    }
    ck_assert_uint_eq(right, f->heldout.n_pairs);
    u64_map_done(&answers);
}

START_TEST(random_collections_never_leak)
{
    FX_FILES f;
    rng_init(&fx.rng, (uint64_t)_i + 10);
    /* the more often a text occurs, the harder */
    fx_put_random(3000, 1500 + 500 * (size_t)_i);
    fx_ask_fields("metadata.t", "text");
    fx_write_files(&f);
    ck_assert_uint_gt(f.report.shared, 0);
    fx_check_files(&f, true);
    check_answers(&f);
}
END_TEST
static void grow_random(void)
{
    fx_put_random(1500, 3000);
}

START_TEST(growing_collections_never_leak)
{
    rng_init(&fx.rng, (uint64_t)_i + 20);
    fx_put_random(3000, 3000);
    fx_ask_fields("metadata.t", "text");
    fx_check_growing(grow_random);
}
END_TEST

START_TEST(equal_content_gives_equal_bytes)
{
    FX_FILES a, b, c;
    fx_put_random(3000, 2000);
    if (_i == 0) fx_ask_fields("metadata.t", "text");
    if (_i == 1) fx.rq.labels = STR("metadata.l");
    fx_write_files(&a);
    fx_write_files(&b);
    ck_assert(fx_same_bytes(&a.train, &b.train));
    ck_assert(fx_same_bytes(&a.heldout, &b.heldout));
    ck_assert_str_eq(a.report.data_hash, b.report.data_hash);
    ck_assert_uint_eq(strlen(a.report.data_hash), 64);
    /* The seed changes what is drawn, never what is held out. */
    fx.rq.seed = 2;
    fx_write_files(&c);
    ck_assert(fx_same_bytes(&a.heldout, &c.heldout));
    if (_i == 0) ck_assert(fx_same_bytes(&a.train, &c.train));
    if (_i == 1) ck_assert(!fx_same_bytes(&a.train, &c.train));
    ck_assert_int_eq(strcmp(a.report.data_hash, c.report.data_hash) == 0, _i == 0);
}
END_TEST

/* ---- refusals ---- */

START_TEST(too_few_pairs)
{
    struct err e = ERR_INIT;
    struct pairs_report r = { .train = 77 };
    struct stat st;
    char file[TMPDIR_PATH_BYTES];
    fx_put_books(0, 300);
    fx_ask_fields("metadata.title", "text");
    ck_assert_err(fx_write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_uint_eq(r.train, 77);
    ck_assert_ptr_nonnull(strstr(e.msg, " pairs to learn from and "));
    ck_assert_ptr_nonnull(strstr(e.msg, "2 times as many items with both fields"));
    static const char *const names[] = { "train.tsv", "heldout.tsv", "train.tsv.tmp",
        "heldout.tsv.tmp" };
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_ne(stat(tmpdir_file(&fx.dir, names[i], file), &st), 0);
    fx_ask_fields("metadata.nothing", "text");
    ck_assert_err(fx_write_code(&r, &e), ERR_UNPROCESSABLE);
    ck_assert_ptr_nonnull(strstr(e.msg, "some 600 items"));
    fx.rq.anchor = fx.rq.positive = STR("");
    fx.rq.labels = STR("metadata.title");
    ck_assert_err(fx_write_code(&r, &e), ERR_UNPROCESSABLE);
}
END_TEST

static void refused(enum err_code code, const char *field, const char *words)
{
    struct err e = ERR_INIT;
    ck_assert_err(pairs_check(&fx.rq, 0, &e), code);
    ck_assert_str_eq(e.field, field);
    ck_assert_msg(strstr(e.msg, words) != NULL, "%s", e.msg);
}

START_TEST(requests_that_cannot_be)
{
    fx_put_books(0, 100);
    fx_ask_fields("metadata.title", "");
    refused(ERR_INVALID, "/pairs/positive", "go together");
    fx_ask_fields("", "text");
    refused(ERR_INVALID, "/pairs/anchor", "go together");
    fx_ask_fields("title", "text");
    refused(ERR_INVALID, "/pairs/anchor", "neither \"text\" nor \"metadata.\"");
    fx_ask_fields("text", "metadata.");
    refused(ERR_INVALID, "/pairs/positive", "\"metadata.\"");
    fx_ask_fields("text", "metadata.a..b");
    refused(ERR_INVALID, "/pairs/positive", "");
    fx_ask_fields("text", "text");
    refused(ERR_INVALID, "/pairs/positive", "the same field");
    fx_ask_fields("metadata.tile", "text");
    refused(ERR_UNPROCESSABLE, "/pairs/anchor", "no item has a text at \"metadata.tile\"");
    fx_ask_fields("text", "metadata.body");
    refused(ERR_UNPROCESSABLE, "/pairs/positive", "\"metadata.body\"");
    fx_ask_fields("metadata.title", "text");
    refused(ERR_UNPROCESSABLE, "", "100 items have both");
    fx_ask_fields("", "");
    refused(ERR_UNPROCESSABLE, "", "100 items with a text and 0 signals");
    fx.rq.labels = STR("text");
    refused(ERR_INVALID, "/labels", "is not \"metadata.\"");
    fx.rq.labels = STR("metadata.topic");
    refused(ERR_UNPROCESSABLE, "/labels", "no item has a value");
    fx.rq.labels = STR("metadata.n");
    refused(ERR_UNPROCESSABLE, "/labels", "100 items");
    fx.col.modality = MODALITY_VECTOR;
    refused(ERR_UNPROCESSABLE, "", "vectors");
}
END_TEST

START_TEST(requests_that_can_be)
{
    struct err e = ERR_INIT;
    fx_put_books(0, 100);
    fx_ask_fields("metadata.title", "text");
    ck_assert_ok(pairs_check(&fx.rq, time_mono_ns() - 1, &e), &e); /* no time to look */
    fx_put_books(100, 500);
    ck_assert_ok(pairs_check(&fx.rq, 0, &e), &e);
    fx_ask_fields("", "");
    ck_assert_ok(pairs_check(&fx.rq, 0, &e), &e);
    fx.rq.labels = STR("metadata.n");
    ck_assert_ok(pairs_check(&fx.rq, 0, &e), &e);
    for (int i = 0; i < PAIRS_SOURCE_COUNT; i++)
        ck_assert_str_ne(pairs_source_name((enum pairs_source)i), "none");
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    char missing[TMPDIR_PATH_BYTES];
    ck_assert_err(pairs_write(&fx.rq, tmpdir_file(&fx.dir, "missing", missing), &r, &e), ERR_IO);
    ck_assert_ptr_nonnull(strstr(e.msg, "train.tsv"));
}
END_TEST

/* Too few to learn from, but through the whole of it. */
static enum err_code write_once(void *arg)
{
    struct err e = ERR_INIT;
    struct pairs_report r;
    (void)arg;
    enum err_code code = fx_write_code(&r, &e);
    return code == ERR_UNPROCESSABLE ? ERR_OK : code;
}

START_TEST(out_of_memory)
{
    fx_put_random(60, 16);
    if (_i == 0) fx_ask_fields("metadata.t", "text");
    if (_i == 1) fx.rq.labels = STR("metadata.l");
    oom_loop(write_once, NULL);
}
END_TEST

TEST_SUITE(pairs)
{
    TCase *tc = tcase_create("fields");
    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_add_test(tc, fields_of_items);
    tcase_add_test(tc, heldout_and_distractors_are_bounded);
    tcase_add_test(tc, samples_are_even);
    tcase_add_test(tc, lists_give_a_pair_an_element);
    tcase_add_test(tc, texts_lie_in_one_line);
    tcase_add_test(tc, texts_are_cut_at_a_character);
    tcase_add_loop_test(tc, random_collections_never_leak, 0, 3);
    tcase_add_loop_test(tc, growing_collections_never_leak, 0, 2);
    tcase_add_loop_test(tc, equal_content_gives_equal_bytes, 0, 2);
    suite_add_tcase(s, tc);
    tc = tcase_create("refusals");
    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_add_test(tc, too_few_pairs);
    tcase_add_test(tc, requests_that_cannot_be);
    tcase_add_test(tc, requests_that_can_be);
    tcase_add_test(tc, a_folder_that_is_not_there);
    suite_add_tcase(s, tc);
    tc = tcase_create("oom");
    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_set_tags(tc, OOM_TAG);
    tcase_add_loop_test(tc, out_of_memory, 0, 3);
    suite_add_tcase(s, tc);
}
