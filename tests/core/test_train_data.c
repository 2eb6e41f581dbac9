#include "core/learn/train_data.h"

#include "base/mem.h"
#include "core/text/tokenizer.h"
#include "tests/core/train_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct train_fixture f;
static struct trainable *t;
static struct train_data *d;

static void set_up(void)
{
    struct err e = ERR_INIT;
    train_fixture_make(&f);
    ck_assert_ok(trainable_open(f.model, NULL, &t, &e), &e);
}

static void tear_down(void)
{
    train_data_free(d);
    d = NULL;
    trainable_free(t);
    train_fixture_remove(&f);
}

static enum err_code load(size_t max_tokens, struct err *e)
{
    const struct train_file pairs = { f.pairs, NULL, 1 };
    const struct train_files files = { &pairs, NULL, 1, 0, 100, 0.5, max_tokens };
    train_data_free(d);
    d = NULL;
    return train_data_load(&files, t, &d, e);
}

static void load_text(const char *text)
{
    struct err e = ERR_INIT;
    train_fixture_write(f.pairs, text);
    ck_assert_ok(load(0, &e), &e);
}

/* The words of text `i`, a space between. */
static void check_text(uint32_t i, const char *want)
{
    char got[256] = "";
    const struct tokenizer *tok = trainable_tokenizer(t);
    for (size_t k = d->texts.starts[i]; k < d->texts.starts[i + 1]; k++) {
        struct str piece = tokenizer_piece(tok, d->texts.ids[k]);
        if (got[0]) strcat(got, " ");
        strncat(got, piece.p, piece.n);
    }
    ck_assert_str_eq(got, want);
}

START_TEST(rows_and_texts)
{
    load_text("the cat\tw1 w2\n"
              "dog\tThe  Cat\tw3\tw4\r\n"
              "w1 w2\tdog");
    const struct train_rows *r = &d->pairs[0];
    ck_assert_uint_eq(r->n, 3);
    ck_assert_uint_eq(d->pair_rows, 3);
    ck_assert_uint_eq(d->skipped, 0);
    ck_assert_uint_eq(d->texts.n, 5);
    const size_t starts[] = { 0, 2, 6, 8 };
    ck_assert_mem_eq(r->starts, starts, sizeof starts);
    const char *const want[] = { "the cat", "w1 w2", "dog", "the cat", "w3", "w4", "w1 w2", "dog" };
    for (size_t i = 0; i < 8; i++)
        check_text(r->texts[i], want[i]);
    ck_assert_uint_eq(r->texts[0], r->texts[3]); /* other bytes, the same tokens */
    ck_assert_uint_eq(r->texts[1], r->texts[6]);
}
END_TEST

START_TEST(what_is_passed_over)
{
    load_text("\xEF\xBB\xBF"
              "cat\tdog\n"
              "\n"
              "zzz\tdog\n"
              "dog\tyyy xxx\tw1\n"
              "dog\t\n"
              "\tdog\n"
              "dog\tcat zzz\tqqq\tw1\t\n");
    ck_assert_uint_eq(d->pair_rows, 2);
    ck_assert_uint_eq(d->skipped, 5);
    const struct train_rows *r = &d->pairs[0];
    ck_assert_uint_eq(r->starts[1], 2);
    ck_assert_uint_eq(r->starts[2], 5);
    check_text(r->texts[0], "cat");
    check_text(r->texts[3], "cat [UNK]");
    check_text(r->texts[4], "w1");
}
END_TEST

static void check_refused(const char *text, enum err_code code, const char *mentions)
{
    struct err e = ERR_INIT;
    train_fixture_write(f.pairs, text);
    ck_assert_err(load(0, &e), code);
    ck_assert_ptr_null(d);
    ck_assert_msg(strstr(e.msg, mentions) && strstr(e.msg, "pairs.tsv"), "%s", e.msg);
}

START_TEST(bad_lines_are_named)
{
    check_refused("cat\tdog\ncat dog\n", ERR_INVALID, "line 2");
    check_refused("cat\tdog\ncat\tdog\nca\xFFt\tdog\n", ERR_INVALID, "line 3");
    check_refused("", ERR_INVALID, "no line");
    check_refused("zzz\tzzz\n", ERR_INVALID, "no line");
    struct err e = ERR_INIT;
    strcpy(f.pairs + strlen(f.pairs) - 3, "no!");
    ck_assert_err(load(0, &e), ERR_NOT_FOUND);
}
END_TEST

START_TEST(texts_are_cut)
{
    struct err e = ERR_INIT;
    train_fixture_write(f.pairs, "w1 w2 w3 w4\tw1 w2 w3 w5\n");
    ck_assert_ok(load(3, &e), &e);
    ck_assert_uint_eq(d->texts.n, 1);
    check_text(0, "w1 w2 w3");
    ck_assert_ok(load(4, &e), &e);
    ck_assert_uint_eq(d->texts.n, 2);
    char text[1000] = "w1 ";
    for (size_t i = 0; i < 70; i++)
        strcat(text, "w2 ");
    strcat(text, "\tw1\n");
    train_fixture_write(f.pairs, text);
    ck_assert_ok(load(0, &e), &e); /* the model's limit */
    ck_assert_uint_eq(d->texts.starts[1], 64);
    ck_assert_ok(load(1000, &e), &e);
    ck_assert_uint_eq(d->texts.starts[1], 64);
}
END_TEST

START_TEST(many_texts_stay_apart)
{
    struct err e = ERR_INIT;
    train_fixture_pairs(&f, 5000, 3);
    ck_assert_ok(load(0, &e), &e);
    ck_assert_uint_eq(d->pair_rows, 5000);
    size_t n;
    AUTO_FREE char *file = train_fixture_read(f.pairs, &n);
    char *at = file;
    for (size_t i = 0; i < 5000; i++) {
        char *tab = strchr(at, '\t'), *end = strchr(at, '\n');
        *tab = *end = '\0';
        check_text(d->pairs[0].texts[2 * i], at);
        check_text(d->pairs[0].texts[2 * i + 1], tab + 1);
        at = end + 1;
    }
}
END_TEST

START_TEST(the_hash_is_of_the_content)
{
    load_text("cat\tdog\n");
    uint64_t hash = d->hash;
    load_text("cat\tdog\n");
    ck_assert(d->hash == hash);
    load_text("cat\tdoG\n");
    ck_assert(d->hash != hash);
}
END_TEST

START_TEST(shares_follow_weight_and_capped_rows)
{
    struct err e = ERR_INIT;
    char other[TMPDIR_PATH_BYTES];
    train_fixture_pairs(&f, 400, 3);
    train_fixture_write(tmpdir_file(&f.dir, "other", other), "cat\tdog\nw1\tw2\nw3\tw4\nw5\tw6\n");
    const struct train_file pairs[] = { { f.pairs, NULL, 1 }, { other, NULL, 3 } };
    const struct train_files files = { pairs, NULL, 2, 0, 100, 0.5, 0 };
    ck_assert_ok(train_data_load(&files, t, &d, &e), &e);
    ck_assert_double_eq_tol(d->pairs[0].share, 10.0 / 16, 1e-12);
    ck_assert_double_eq_tol(d->pairs[1].share, 6.0 / 16, 1e-12);
    ck_assert_uint_eq(d->pair_rows, 404);
}
END_TEST

static enum err_code load_taught(const char *text, size_t n_vectors, struct err *e)
{
    static const float values[12] = { 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0 };
    const struct train_file taught = { f.taught, f.vectors, 1 };
    const struct train_files files = { NULL, &taught, 0, 1, 100, 0.5, 0 };
    train_fixture_write(f.taught, text);
    train_fixture_npy(f.vectors, values, n_vectors, 3);
    train_data_free(d);
    d = NULL;
    return train_data_load(&files, t, &d, e);
}

START_TEST(taught_texts_keep_their_vectors)
{
    struct err e = ERR_INIT;
    ck_assert_ok(load_taught("cat\nzzz\n\ndog\n", 4, &e), &e);
    ck_assert_uint_eq(d->taught_rows, 2);
    ck_assert_uint_eq(d->skipped, 2);
    ck_assert_uint_eq(d->taught[0].lines[0], 0);
    ck_assert_uint_eq(d->taught[0].lines[1], 3);
    check_text(d->taught[0].texts[1], "dog");
    ck_assert_err(load_taught("cat\nzzz\ndog\n", 4, &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "3 lines"));
    ck_assert_err(load_taught("cat\nzzz\ndog\n", 2, &e), ERR_INVALID);
    train_fixture_write(f.vectors, "no vectors");
    const struct train_file taught = { f.taught, f.vectors, 1 };
    const struct train_files files = { NULL, &taught, 0, 1, 100, 0.5, 0 };
    ck_assert_err(train_data_load(&files, t, &d, &e), ERR_CORRUPT);
}
END_TEST

/* The model is opened again, with these prompts. */
static void write_prompts(const char *query, const char *document)
{
    char path[2 * TMPDIR_PATH_BYTES], json[512];
    struct err e = ERR_INIT;
    (void)snprintf(path, sizeof path, "%s/config_sentence_transformers.json", f.model);
    (void)snprintf(json, sizeof json, "{\"prompts\": {\"query\": \"%s\", \"document\": \"%s\"}}",
        query, document);
    train_fixture_write(path, json);
    train_data_free(d);
    d = NULL;
    trainable_free(t);
    t = NULL;
    const struct trainable_options none = { .method = TRAIN_NONE, .threads = 1 };
    ck_assert_ok(trainable_open(f.model, &none, &t, &e), &e);
    ck_assert_str_eq(trainable_prompt(t, ENCODE_QUERY), query);
    ck_assert_str_eq(trainable_prompt(t, ENCODE_DOCUMENT), document);
}

static enum err_code load_both(void *arg)
{
    (void)arg;
    const struct train_file pairs = { f.pairs, NULL, 1 }, taught = { f.taught, f.vectors, 1 };
    const struct train_files files = { &pairs, &taught, 1, 1, 100, 0.5, 0 };
    struct train_data *data = NULL;
    enum err_code code = train_data_load(&files, t, &data, NULL);
    train_data_free(data);
    return code;
}

START_TEST(out_of_memory)
{
    train_fixture_pairs(&f, 600, 3);
    train_fixture_taught(&f, 20, 4, 3);
    write_prompts("w7 ", "w8 ");
    oom_loop(load_both, NULL);
}
END_TEST

/* ---- prompts ---- */

START_TEST(anchors_are_queries)
{
    write_prompts("w7 ", "w8 ");
    load_text("cat\tdog\tw3\n"
              "dog\tcat\tcat\n"
              "cat\tzzz dog\n");
    const struct train_rows *r = &d->pairs[0];
    const char *const want[] = { "w7 cat", "w8 dog", "w8 w3", "w7 dog", "w8 cat", "w8 cat",
        "w7 cat", "w8 [UNK] dog" };
    ck_assert_uint_eq(r->starts[r->n], 8);
    for (size_t i = 0; i < 8; i++)
        check_text(r->texts[i], want[i]);
    ck_assert_uint_eq(d->texts.n, 6); /* the same text on both sides is two */
    ck_assert_uint_eq(r->texts[0], r->texts[6]);
    ck_assert_uint_eq(r->texts[4], r->texts[5]);
    struct err e = ERR_INIT;
    ck_assert_ok(load_taught("cat\nzzz\ndog\nw1\n", 4, &e), &e);
    check_text(d->taught[0].texts[0], "w8 cat");
    ck_assert_uint_eq(d->taught_rows, 3);
}
END_TEST

START_TEST(one_side_has_a_prompt)
{
    write_prompts("w7 ", "");
    load_text("cat\tdog\ndog\tcat\n");
    ck_assert_uint_eq(d->texts.n, 4);
    check_text(d->pairs[0].texts[2], "w7 dog");
    check_text(d->pairs[0].texts[3], "cat");
    write_prompts("w7 ", "w7 ");
    load_text("cat\tdog\ndog\tcat\n");
    ck_assert_uint_eq(d->texts.n, 2);
}
END_TEST

START_TEST(a_prompt_alone_teaches_nothing)
{
    write_prompts("w7 ", "w8 ");
    load_text("\tdog\n"
              "cat\tzzz\n"
              "cat\tdog\tzzz\t\n");
    ck_assert_uint_eq(d->skipped, 2);
    ck_assert_uint_eq(d->pairs[0].starts[1], 2);
    struct err e = ERR_INIT;
    train_fixture_write(f.pairs, "cat\tdog\nca\xFFt\tdog\n");
    ck_assert_err(load(0, &e), ERR_INVALID);
    ck_assert_msg(strstr(e.msg, "line 2") && strstr(e.msg, "byte 2"), "%s", e.msg);
    train_fixture_write(f.pairs, "w1 w2 w3 w4\tw1\n");
    ck_assert_ok(load(3, &e), &e);
    check_text(d->pairs[0].texts[0], "w7 w1 w2"); /* the prompt counts */
}
END_TEST

START_TEST(other_prompts_are_other_data)
{
    load_text("cat\tdog\n");
    uint64_t hash = d->hash;
    write_prompts("", "");
    load_text("cat\tdog\n");
    ck_assert(d->hash == hash);
    write_prompts("w7 ", "");
    load_text("cat\tdog\n");
    uint64_t query = d->hash;
    write_prompts("", "w7 ");
    load_text("cat\tdog\n");
    ck_assert(query != hash && d->hash != hash && d->hash != query);
}
END_TEST

/* Static, then BERT; words span prompt and text. */
START_TEST(training_sees_what_serving_sees)
{
    enum { DIM_MAX = 32, TEXTS = 4 };
    static const char *const words[TEXTS] = { "1 dog", "cat w1", "cat w1", "dog" };
    float learnt[TEXTS * DIM_MAX], served[DIM_MAX];
    struct encoder *encoder = NULL;
    struct encoder_workspace *w = NULL;
    struct activations *act = NULL;
    if (_i == 1) tiny_bert_write(f.dir.path, "bert", 3);
    if (_i == 1) tmpdir_file(&f.dir, "bert", f.model);
    write_prompts("w7 the w", "w9: ");
    load_text("1 dog\tcat w1\ncat w1\tdog\n");
    ck_assert_uint_eq(d->texts.n, TEXTS);
    ck_assert_ok(activations_new(t, &act, NULL));
    const struct packed_batch b = { d->texts.ids, d->texts.starts, d->texts.n };
    ck_assert_uint_le(trainable_dimensions(t), DIM_MAX);
    ck_assert_ok(trainable_forward(t, act, &b, 0, learnt, NULL));
    ck_assert_ok(encoder_load(f.model, vec_select(VEC_BEST), &encoder, NULL));
    ck_assert_ok(encoder_workspace_new(encoder, &w, NULL));
    for (size_t i = 0; i < TEXTS; i++) {
        const size_t dim = trainable_dimensions(t);
        const enum encode_kind kind = i % 2 ? ENCODE_DOCUMENT : ENCODE_QUERY;
        const float *row = learnt + d->pairs[0].texts[i] * dim;
        ck_assert_ok(encoder_encode_text(w, str_from(words[i]), kind, served, NULL));
        vec_normalize(vec_select(VEC_BEST), served, served, dim);
        for (size_t k = 0; k < dim; k++)
            ck_assert_msg(fabsf(row[k] - served[k]) < 1e-4F, "text %zu: %g, served %g", i,
                (double)row[k], (double)served[k]);
    }
    activations_free(act);
    encoder_workspace_free(w);
    encoder_free(encoder);
}
END_TEST

TEST_SUITE(train_data)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, rows_and_texts);
    tcase_add_test(tc, what_is_passed_over);
    tcase_add_test(tc, bad_lines_are_named);
    tcase_add_test(tc, texts_are_cut);
    tcase_add_test(tc, many_texts_stay_apart);
    tcase_add_test(tc, the_hash_is_of_the_content);
    tcase_add_test(tc, shares_follow_weight_and_capped_rows);
    tcase_add_test(tc, taught_texts_keep_their_vectors);
    tcase_add_test(tc, anchors_are_queries);
    tcase_add_test(tc, one_side_has_a_prompt);
    tcase_add_test(tc, a_prompt_alone_teaches_nothing);
    tcase_add_test(tc, other_prompts_are_other_data);
    tcase_add_loop_test(tc, training_sees_what_serving_sees, 0, 2);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
