/* core/learn/trainer.c with a BERT model: every method through a whole run, stopped, killed and resumed. */
#include "core/learn/trainer.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "tests/core/bert_fixture.h"
#include "tests/core/train_fixture.h"
#include "tests/support/test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const enum train_method METHODS[] = { TRAIN_FULL, TRAIN_LAST_LAYERS, TRAIN_LORA,
    TRAIN_ADAPTER };
static const double RATES[] = { 1e-3, 2e-3, 5e-3, 1e-2 };
enum { N_METHODS = sizeof METHODS / sizeof *METHODS };

static const char PAIRS[] = "a cat sat on the mat\tthe cat is on a mat\n"
                            "where is the station\tthe nearest station is near the river\n"
                            "rain\tit rained until the river left its bed\n"
                            "the old ship left the harbour\ta boat sailed out of port\n"
                            "tea and bread\tbread with tea\n"
                            "the train is late\tlate again, said the man\n"
                            "dogs\tdogs and cats\n"
                            "the stones are warm\tan old cat slept on the warm stones\n"
                            "night\tafter dark\n"
                            "the ship\tthe boat\n";

static struct tmpdir dir;
static char pairs_path[TMPDIR_PATH_BYTES], work[TMPDIR_PATH_BYTES], out[TMPDIR_PATH_BYTES];
static struct train_file pairs;
static struct trainer_options o;
static struct trainer_report report;
static double first_loss;

static void note(void *arg, const struct trainer_progress *p)
{
    (void)arg;
    if (p->step == 1) first_loss = p->loss;
}

static void set_up(void)
{
    tmpdir_make(&dir);
    train_fixture_write(tmpdir_file(&dir, "pairs.tsv", pairs_path), PAIRS);
    tmpdir_file(&dir, "work", work);
    tmpdir_file(&dir, "out", out);
    pairs = (struct train_file){ pairs_path, NULL, 1 };
    o = (struct trainer_options)TRAINER_OPTIONS_DEFAULTS;
    o.model_dir = BERT_TINY;
    o.work_dir = work;
    o.out_dir = out;
    o.pairs = &pairs;
    o.n_pairs = 1;
    o.batch = 4;
    o.steps = 24;
    o.log_every = 1;
    o.mask_above = 0.999;
    o.progress = note;
    o.model.dropout = 0.05;
}

static void tear_down(void)
{
    tmpdir_remove(&dir);
}

static void use_method(int i)
{
    o.model.method = METHODS[i];
    o.rate = RATES[i];
}

static void run(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainer_run(&o, &report, &e), &e);
}

/* The file that a method writes. */
static const char *file_of(enum train_method m)
{
    return m == TRAIN_ADAPTER ? "3_Dense/model.safetensors" : "model.safetensors";
}

static void check_same(const char *a, const char *b)
{
    size_t na, nb;
    AUTO_FREE char *pa = path_join(a, file_of(o.model.method));
    AUTO_FREE char *pb = path_join(b, file_of(o.model.method));
    AUTO_FREE char *fa = train_fixture_read(pa, &na);
    AUTO_FREE char *fb = train_fixture_read(pb, &nb);
    ck_assert_msg(na == nb && memcmp(fa, fb, na) == 0, "%s and %s are not the same", a, b);
}

START_TEST(every_method_runs_and_learns)
{
    use_method(_i);
    o.steps = 60;
    run();
    ck_assert_msg(
        report.final_loss < 0.8 * first_loss, "from %g to %g", first_loss, report.final_loss);
    struct trainable *t;
    struct err e = ERR_INIT;
    ck_assert_ok(trainable_open(out, NULL, &t, &e), &e);
    trainable_free(t);
}
END_TEST

static volatile sig_atomic_t stop;

static void stop_at_nine(void *arg, const struct trainer_progress *p)
{
    (void)arg;
    if (p->step >= 9) stop = 1;
}

START_TEST(stopped_and_resumed_is_the_same_to_the_bit)
{
    struct err e = ERR_INIT;
    char other_work[TMPDIR_PATH_BYTES], other_out[TMPDIR_PATH_BYTES];
    use_method(_i);
    o.threads = 2;
    run();
    o.work_dir = tmpdir_file(&dir, "w2", other_work);
    o.out_dir = tmpdir_file(&dir, "o2", other_out);
    o.resume = true;
    o.stop = &stop;
    o.progress = stop_at_nine;
    stop = 0;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_CANCELLED);
    o.stop = NULL;
    run();
    ck_assert(report.resumed);
    check_same(out, other_out);
}
END_TEST

static void block_at_the_end(void *arg, const struct trainer_progress *p)
{
    if (p->step == p->steps) train_fixture_write(arg, "in the way of the folder");
}

/* A process that dies once the checkpoint of the last step is written, while the folder is made. */
START_TEST(killed_between_checkpoint_and_export)
{
    char other_work[TMPDIR_PATH_BYTES], other_out[TMPDIR_PATH_BYTES], blocked[TMPDIR_PATH_BYTES];
    struct err e = ERR_INIT;
    use_method(_i);
    run();
    o.work_dir = tmpdir_file(&dir, "w2", other_work);
    o.out_dir = tmpdir_file(&dir, "file/o2", other_out);
    o.resume = true;
    o.progress = block_at_the_end;
    o.arg = tmpdir_file(&dir, "file", blocked);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (trainer_run(&o, &report, &e) != ERR_OK) kill(getpid(), SIGKILL);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    o.out_dir = tmpdir_file(&dir, "o2", other_out);
    o.progress = NULL;
    run();
    ck_assert(report.resumed);
    ck_assert_int_eq(report.steps, 24);
    check_same(out, other_out);
}
END_TEST

START_TEST(a_checkpoint_of_another_method_or_model_is_refused)
{
    struct err e = ERR_INIT;
    char again[TMPDIR_PATH_BYTES];
    use_method(3);
    run();
    o.out_dir = tmpdir_file(&dir, "again", again);
    o.resume = true;
    const struct trainer_options same = o;
    o.model.method = TRAIN_LORA;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_CORRUPT);
    o = same;
    o.model.weight_decay = 0.02;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_CORRUPT);
    o = same;
    o.model_dir = out; /* other weights: an adapter's alone do not tell */
    ck_assert_err(trainer_run(&o, &report, &e), ERR_CORRUPT);
    o = same;
    o.model.memory_bytes = 0; /* decides nothing */
    run();
    check_same(out, again);
}
END_TEST

START_TEST(options_out_of_range)
{
    struct err e = ERR_INIT;
    const struct trainer_options good = o;
    o.model.rank = 0;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "rank"));
    o = good;
    o.model.dropout = 1;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_INVALID);
    o = good;
    o.model.method = TRAIN_LAST_LAYERS;
    o.model.layers = 9;
    ck_assert_err(trainer_run(&o, &report, &e), ERR_UNPROCESSABLE);
}
END_TEST

TEST_SUITE(bert_trainer)
{
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, every_method_runs_and_learns, 0, N_METHODS);
    tcase_add_loop_test(tc, stopped_and_resumed_is_the_same_to_the_bit, 0, N_METHODS);
    tcase_add_loop_test(tc, killed_between_checkpoint_and_export, 0, N_METHODS);
    tcase_add_test(tc, a_checkpoint_of_another_method_or_model_is_refused);
    tcase_add_test(tc, options_out_of_range);
    suite_add_tcase(s, tc);
}
