/* Training on files: what is learnt, what is written beside it (engine/model_card.c), what is refused. */
#include "engine/train_files.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "engine/evaluate.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <string.h>

enum { DIM = 16, PAIRS = 100, TEACHER_DIM = 8 };

struct fixture {
    struct tmpdir dir;
    char model[TMPDIR_PATH_BYTES], pairs[TMPDIR_PATH_BYTES], out[TMPDIR_PATH_BYTES];
    char work[TMPDIR_PATH_BYTES], taught[TMPDIR_PATH_BYTES], vectors[TMPDIR_PATH_BYTES];
    struct train_file pair_file, taught_file;
    struct train_files_request rq;
    struct config cfg;
};
static struct fixture f;

static void write_file(const char *path, struct buf *b)
{
    struct err e = ERR_INIT;
    ck_assert_ok(buf_check(b, &e), &e);
    ck_assert_ok(file_write_atomic(path, b->p, b->n, &e), &e);
    buf_done(b);
}

/* Word i belongs to word i + PAIRS: nothing that the random start could know. */
static void write_pairs(const char *path)
{
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < PAIRS; i++)
        buf_printf(&b, "w%d\tw%d\n", i, i + PAIRS);
    write_file(path, &b);
}

static void setup(void)
{
    struct err e = ERR_INIT;
    tmpdir_make(&f.dir);
    tiny_model_write(f.dir.path, "tiny", DIM, 1);
    write_pairs(tmpdir_file(&f.dir, "pairs.tsv", f.pairs));
    f.pair_file = (struct train_file){ .path = f.pairs, .weight = 1 };
    ck_assert_ok(config_init(&f.cfg, &e), &e);
    f.rq = (struct train_files_request){ .cfg = &f.cfg,
        .model = tmpdir_file(&f.dir, "tiny", f.model),
        .options = TRAINER_OPTIONS_DEFAULTS };
    f.rq.options.out_dir = tmpdir_file(&f.dir, "out", f.out);
    f.rq.options.work_dir = tmpdir_file(&f.dir, "work", f.work);
    f.rq.options.pairs = &f.pair_file;
    f.rq.options.n_pairs = 1;
    f.rq.options.steps = 60;
    f.rq.options.batch = 64;
    f.rq.options.rate = 0.1;
    f.rq.options.anchor_weight = 0;
}
static void teardown(void)
{
    config_done(&f.cfg);
    tmpdir_remove(&f.dir);
}

static double recall(const char *model)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *text = NULL;
    struct eval_request rq = { .model_dir = model, .task = EVAL_RETRIEVAL };
    struct eval_report r;
    ck_assert_ok(file_read(f.pairs, 1 << 20, &text, &rq.data.n, &e), &e);
    rq.data.p = text;
    ck_assert_ok(evaluate(&rq, &r, &e), &e);
    return r.retrieval.recall_at_1;
}

static char *read_out(const char *name)
{
    struct err e = ERR_INIT;
    AUTO_FREE char *path = path_join(f.out, name);
    char *text = NULL;
    size_t n;
    ck_assert_ok(file_read(path, 1 << 20, &text, &n, &e), &e);
    return text;
}

START_TEST(learns_and_writes_a_card)
{
    struct err e = ERR_INIT;
    struct train_files_report r;
    double before = recall(f.model);
    ck_assert_double_lt(before, 0.2);
    f.rq.metrics = "recall@1: much better\n";
    ck_assert_ok(train_files(&f.rq, &r, &e), &e);
    ck_assert_int_eq(r.training.steps, 60);
    ck_assert_uint_eq(r.training.pairs, PAIRS);
    ck_assert_double_gt(recall(f.out), 0.9);

    AUTO_FREE char *card = read_out("README.md");
    ck_assert_ptr_nonnull(strstr(card, "base_model: \"tiny\""));
    ck_assert_ptr_nonnull(strstr(card, "| pairs.tsv | pairs | 100 | 1 | `"));
    ck_assert_ptr_nonnull(strstr(card, "| steps | 60 |"));
    ck_assert_ptr_nonnull(strstr(card, "SentenceTransformer("));
    ck_assert_ptr_nonnull(strstr(card, "recall@1: much better"));
    ck_assert_ptr_nonnull(strstr(card, r.data_hash));
    ck_assert_uint_eq(strlen(r.data_hash), CARD_HASH_CHARS);
    ck_assert_ptr_null(strstr(card, f.dir.path)); /* where it was made is nobody's business */
}
END_TEST

/* 'f4', [n, TEACHER_DIM]: two groups of words, all of a group alike. */
static void write_taught(void)
{
    struct buf texts = BUF_INIT(0), npy = BUF_INIT(0);
    char head[128];
    int n = snprintf(head, sizeof head,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", PAIRS, TEACHER_DIM);
    memset(head + n, ' ', sizeof head - (size_t)n);
    head[117] = '\n';
    buf_append(&npy, "\x93NUMPY\x01\x00\x76\x00", 10);
    buf_append(&npy, head, 118);
    for (int i = 0; i < PAIRS; i++) {
        float row[TEACHER_DIM] = { 0 };
        row[i % 2] = 1;
        buf_printf(&texts, "w%d\n", i);
        buf_append(&npy, row, sizeof row);
    }
    write_file(tmpdir_file(&f.dir, "taught.txt", f.taught), &texts);
    write_file(tmpdir_file(&f.dir, "taught.npy", f.vectors), &npy);
    f.taught_file = (struct train_file){ .path = f.taught, .vectors = f.vectors, .weight = 2 };
    f.rq.options.taught = &f.taught_file;
    f.rq.options.n_taught = 1;
    f.rq.options.distill_share = 0.5;
}

START_TEST(taught_texts_and_a_card_of_ones_own)
{
    struct err e = ERR_INIT;
    struct train_files_report r, again;
    char card[TMPDIR_PATH_BYTES];
    struct buf text = BUF_INIT(0);
    write_taught();
    buf_puts(&text, "# mine\n");
    write_file(tmpdir_file(&f.dir, "card.md", card), &text);
    f.rq.card = card;
    ck_assert_ok(train_files(&f.rq, &r, &e), &e);
    ck_assert_uint_eq(r.training.taught, PAIRS);
    AUTO_FREE char *got = read_out("README.md");
    ck_assert_str_eq(got, "# mine\n");

    /* The hash is that of the content, wherever it lies, and of all of it. */
    char other[TMPDIR_PATH_BYTES], work[TMPDIR_PATH_BYTES];
    f.rq.options.out_dir = tmpdir_file(&f.dir, "out2", other);
    f.rq.options.work_dir = tmpdir_file(&f.dir, "work2", work);
    f.rq.options.steps = 1;
    ck_assert_ok(train_files(&f.rq, &again, &e), &e);
    ck_assert_str_eq(again.data_hash, r.data_hash);
    f.rq.options.out_dir = tmpdir_file(&f.dir, "out3", other);
    f.rq.options.work_dir = tmpdir_file(&f.dir, "work3", work);
    f.rq.options.n_taught = 0;
    f.rq.options.distill_share = 0;
    ck_assert_ok(train_files(&f.rq, &again, &e), &e);
    ck_assert_str_ne(again.data_hash, r.data_hash);
}
END_TEST

START_TEST(finds_a_model_by_its_name)
{
    struct err e = ERR_INIT;
    struct train_files_report r;
    ck_assert_ok(config_set(&f.cfg, "models", f.dir.path, &e), &e);
    ck_assert_ok(config_set(&f.cfg, "default_model", "tiny", &e), &e);
    f.rq.model = "tiny";
    f.rq.options.steps = 2;
    ck_assert_ok(train_files(&f.rq, &r, &e), &e);
    ck_assert_int_eq(r.training.steps, 2);
}
END_TEST

static void refused(enum err_code want, const char *text)
{
    struct err e = ERR_INIT;
    struct train_files_report r = { .data_hash = "untouched" };
    ck_assert_err(train_files(&f.rq, &r, &e), want);
    ck_assert_msg(strstr(e.msg, text) != NULL, "%s", e.msg);
    ck_assert_str_eq(r.data_hash, "untouched");
    ck_assert(!dir_exists(f.out) || want == ERR_CONFLICT);
}

START_TEST(refuses_what_is_not_there)
{
    struct err e = ERR_INIT;
    f.rq.model = "/nowhere/model";
    refused(ERR_NOT_FOUND, "/nowhere/model");
    f.rq.model = f.model;
    f.rq.card = "/nowhere/card.md";
    refused(ERR_NOT_FOUND, "/nowhere/card.md");
    f.rq.card = NULL;
    f.pair_file.path = "/nowhere/pairs.tsv";
    refused(ERR_NOT_FOUND, "/nowhere/pairs.tsv");
    f.pair_file.path = f.pairs;
    ck_assert_ok(dir_make(f.out, &e), &e);
    refused(ERR_CONFLICT, f.out);
}
END_TEST

TEST_SUITE(train_files)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, learns_and_writes_a_card);
    tcase_add_test(tc, taught_texts_and_a_card_of_ones_own);
    tcase_add_test(tc, finds_a_model_by_its_name);
    tcase_add_test(tc, refuses_what_is_not_there);
    suite_add_tcase(s, tc);
}
