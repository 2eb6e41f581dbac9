#include "core/learn/trainer.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/model/encoder.h"
#include "tests/core/train_fixture.h"
#include "tests/support/oom.h"
#include "tests/support/test.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct train_fixture f;
static char work[TMPDIR_PATH_BYTES], out[TMPDIR_PATH_BYTES];
static struct train_file pairs, taught;
static struct trainer_options o;
static struct trainer_report report;

static void set_up(void)
{
    train_fixture_make(&f);
    tmpdir_file(&f.dir, "work", work);
    tmpdir_file(&f.dir, "out", out);
    train_fixture_pairs(&f, 500, 3);
    pairs = (struct train_file){ f.pairs, NULL, 1 };
    taught = (struct train_file){ f.taught, f.vectors, 1 };
    o = (struct trainer_options)TRAINER_OPTIONS_DEFAULTS;
    o.model_dir = f.model;
    o.work_dir = work;
    o.out_dir = out;
    o.pairs = &pairs;
    o.n_pairs = 1;
    o.batch = 64;
    o.steps = 40;
    o.rate = 0.02;
    o.log_every = 10;
}

static void tear_down(void)
{
    train_fixture_remove(&f);
}

static void run(void)
{
    struct err e = ERR_INIT;
    ck_assert_ok(trainer_run(&o, &report, &e), &e);
}

static void check_fails(enum err_code code, const char *mentions)
{
    struct err e = ERR_INIT;
    ck_assert_err(trainer_run(&o, &report, &e), code);
    ck_assert_msg(strstr(e.msg, mentions) != NULL, "\"%s\" does not mention %s", e.msg, mentions);
}

static void use_taught(void)
{
    train_fixture_taught(&f, 300, 8, 5);
    o.taught = &taught;
    o.n_taught = 1;
    o.distill_share = 0.4;
}

/* folder/model.safetensors */
static char *weights(const char *folder, size_t *ret_n)
{
    AUTO_FREE char *path = path_join(folder, "model.safetensors");
    return train_fixture_read(path, ret_n);
}

static void check_same_weights(const char *a, const char *b)
{
    size_t na, nb;
    AUTO_FREE char *wa = weights(a, &na);
    AUTO_FREE char *wb = weights(b, &nb);
    ck_assert_uint_eq(na, nb);
    ck_assert_msg(memcmp(wa, wb, na) == 0, "%s and %s are not the same", a, b);
}

/* Lines of the log but for what the clock says: seconds and pairs a second. */
static char *log_without_times(const char *folder)
{
    size_t n;
    AUTO_FREE char *path = path_join(folder, "log.csv");
    char *text = train_fixture_read(path, &n), *to = text;
    unsigned field = 0;
    for (const char *at = text; *at; at++) {
        bool time = field == 1 || field == 7;
        if (!time || *at == '\n' || *at == ',') *to++ = *at;
        if (*at == ',') field++;
        if (*at == '\n') field = 0;
    }
    *to = '\0';
    return text;
}

/* ---- learning ---- */

static double cosine_of_pairs(const char *folder)
{
    struct err e = ERR_INIT;
    struct encoder *enc;
    struct encoder_workspace *w;
    double sum = 0;
    ck_assert_ok(encoder_load(folder, vec_select(VEC_BEST), &enc, &e), &e);
    ck_assert_ok(encoder_workspace_new(enc, &w, &e), &e);
    for (unsigned i = 0; i < TINY_MODEL_WORDS; i += 2) {
        float a[TRAIN_DIM], b[TRAIN_DIM];
        char text[16];
        snprintf(text, sizeof text, "w%u", i);
        ck_assert_ok(encoder_encode_text(w, str_from(text), ENCODE_QUERY, a, &e), &e);
        snprintf(text, sizeof text, "w%u", i + 1);
        ck_assert_ok(encoder_encode_text(w, str_from(text), ENCODE_QUERY, b, &e), &e);
        for (size_t j = 0; j < TRAIN_DIM; j++)
            sum += (double)a[j] * (double)b[j];
    }
    encoder_workspace_free(w);
    encoder_free(enc);
    return sum / (TINY_MODEL_WORDS / 2);
}

struct course {
    size_t n;
    struct trainer_progress first, last;
};

static void note(void *arg, const struct trainer_progress *p)
{
    struct course *c = arg;
    if (c->n++ == 0) c->first = *p;
    ck_assert_int_gt(p->step, c->n > 1 ? c->last.step : 0);
    c->last = *p;
}

START_TEST(what_goes_together_comes_together)
{
    struct course c = { 0 };
    o.progress = note;
    o.arg = &c;
    o.steps = 150;
    run();
    ck_assert_uint_eq(c.n, 15);
    ck_assert_int_eq(c.last.step, 150);
    ck_assert_int_eq(c.last.steps, 150);
    ck_assert_msg(c.last.loss < 0.7 * c.first.loss, "from %g to %g", c.first.loss, c.last.loss);
    ck_assert_double_eq(report.final_loss, c.last.loss);
    ck_assert(isnan(c.last.distill_loss) && isfinite(c.last.anchor_loss));
    ck_assert_int_eq(report.steps, 150);
    ck_assert_uint_eq(report.pairs, 500);
    ck_assert_uint_eq(report.skipped, 0);
    ck_assert(!report.resumed);
    double before = cosine_of_pairs(f.model), after = cosine_of_pairs(out);
    ck_assert_msg(after > before + 0.3, "from %g to %g", before, after);
    size_t n;
    AUTO_FREE char *log = log_without_times(work);
    ck_assert_ptr_nonnull(strstr(log, "\n150,"));
    AUTO_FREE char *svg = path_join(work, "loss.svg");
    mem_free(train_fixture_read(svg, &n));
}
END_TEST

START_TEST(both_kinds_of_steps)
{
    struct course c = { 0 };
    use_taught();
    o.progress = note;
    o.arg = &c;
    o.steps = 200;
    o.log_every = 50;
    run();
    ck_assert_msg(c.last.pair_loss < 0.8 * c.first.pair_loss, "pairs");
    ck_assert_msg(c.last.distill_loss < 0.8 * c.first.distill_loss, "teacher");
    ck_assert_uint_eq(report.taught, 300);
}
END_TEST

START_TEST(taught_texts_alone)
{
    use_taught();
    o.pairs = NULL;
    o.n_pairs = 0;
    o.steps = 0;
    o.epochs = 4;
    o.min_steps = 1;
    run();
    ck_assert_int_eq(report.steps, 4 * 5);
}
END_TEST

START_TEST(hard_negatives_several_files_and_a_mask)
{
    char other[TMPDIR_PATH_BYTES];
    const struct train_file files[] = { { f.pairs, NULL, 1 }, { other, NULL, 0.5 } };
    train_fixture_write(
        tmpdir_file(&f.dir, "other", other), "cat\tdog\thouse\tred\nblue\tlight\nzzz\tdog\n");
    o.pairs = files;
    o.n_pairs = 2;
    o.mask_above = 0.8;
    o.steps = 60;
    run();
    ck_assert_uint_eq(report.pairs, 502);
    ck_assert_uint_eq(report.skipped, 1);
    ck_assert_double_gt(cosine_of_pairs(out), cosine_of_pairs(f.model));
}
END_TEST

START_TEST(steps_come_from_epochs)
{
    o.steps = 0;
    o.epochs = 2.5;
    o.min_steps = 0;
    run(); /* 500 rows are 8 batches of 64 */
    ck_assert_int_eq(report.steps, 20);
    o.out_dir = work;
    o.min_steps = 33;
    tmpdir_file(&f.dir, "out2", out);
    o.out_dir = out;
    run();
    ck_assert_int_eq(report.steps, 33);
    use_taught();
    tmpdir_file(&f.dir, "out3", out);
    o.epochs = 6;
    run(); /* 48 batches of pairs are 0.6 of all */
    ck_assert_int_eq(report.steps, 80);
}
END_TEST

START_TEST(a_time_limit_cuts_the_steps)
{
    struct course c = { 0 };
    o.steps = 1000000000;
    o.max_seconds = 0.3;
    o.progress = note;
    o.arg = &c;
    run();
    ck_assert_int_lt(report.steps, 1000000000);
    ck_assert_int_ge(report.steps, 10);
    ck_assert_double_lt(report.seconds, test_is_slow_run() ? 10 : 1.5);
    ck_assert_msg(c.last.rate < 0.2 * o.rate, "the rate ended at %g", c.last.rate);
}
END_TEST

/* ---- stopping and going on ---- */

static volatile sig_atomic_t stop;
static int64_t stop_at;

static void stop_there(void *arg, const struct trainer_progress *p)
{
    (void)arg;
    if (p->step >= stop_at) stop = 1;
}

/* Runs in folders of the name until step `at`, then on to the end. */
static void run_in_parts(const char *name, int64_t at)
{
    char other_work[TMPDIR_PATH_BYTES], other_out[TMPDIR_PATH_BYTES], folder[32];
    struct trainer_options kept = o;
    snprintf(folder, sizeof folder, "%s.work", name);
    o.work_dir = tmpdir_file(&f.dir, folder, other_work);
    o.out_dir = tmpdir_file(&f.dir, name, other_out);
    o.resume = true;
    o.log_every = 1;
    o.progress = stop_there;
    o.stop = &stop;
    stop = 0;
    stop_at = at;
    check_fails(ERR_CANCELLED, "stopped after step");
    ck_assert(!dir_exists(other_out));
    o.progress = NULL;
    o.log_every = kept.log_every;
    stop = 0;
    run();
    ck_assert(report.resumed);
    o = kept;
    check_same_weights(out, other_out);
}

START_TEST(stopped_and_resumed_is_the_same_to_the_bit)
{
    if (_i) use_taught();
    run();
    run_in_parts("a", 1);
    run_in_parts("b", 20);
    run_in_parts("c", 39);
}
END_TEST

START_TEST(the_log_goes_on_too)
{
    char other_work[TMPDIR_PATH_BYTES], other_out[TMPDIR_PATH_BYTES];
    run();
    AUTO_FREE char *want = log_without_times(work);
    o.work_dir = tmpdir_file(&f.dir, "w2", other_work);
    o.out_dir = tmpdir_file(&f.dir, "o2", other_out);
    o.resume = true;
    o.stop = &stop;
    o.progress = stop_there;
    stop = 0;
    stop_at = 20;
    check_fails(ERR_CANCELLED, "step 20 of 40");
    o.stop = NULL;
    AUTO_FREE char *csv = path_join(other_work, "log.csv");
    struct err e = ERR_INIT;
    ck_assert_ok(file_write_atomic(csv, "what a crash left", 17, &e), &e);
    run();
    AUTO_FREE char *got = log_without_times(other_work);
    ck_assert_str_eq(got, want);
}
END_TEST

START_TEST(a_run_at_its_end_writes_the_candidate)
{
    char again[TMPDIR_PATH_BYTES];
    struct course c = { 0 };
    run();
    o.out_dir = tmpdir_file(&f.dir, "again", again);
    o.resume = true;
    o.progress = note;
    o.arg = &c;
    run();
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(report.steps, 40);
    ck_assert(report.resumed);
    check_same_weights(out, again);
}
END_TEST

START_TEST(without_resume_it_begins_anew)
{
    char again[TMPDIR_PATH_BYTES];
    run();
    o.out_dir = tmpdir_file(&f.dir, "again", again);
    run();
    ck_assert(!report.resumed);
    check_same_weights(out, again);
    tmpdir_file(&f.dir, "third", again);
    o.seed = 2;
    run();
    size_t n;
    AUTO_FREE char *a = weights(out, &n);
    AUTO_FREE char *b = weights(again, &n);
    ck_assert(memcmp(a, b, n) != 0);
}
END_TEST

START_TEST(a_checkpoint_of_another_run_is_refused)
{
    char again[TMPDIR_PATH_BYTES];
    run();
    const struct trainer_options kept = o;
    o.out_dir = tmpdir_file(&f.dir, "again", again);
    o.resume = true;
    const struct trainer_options same = o;
    o.rate = 0.01;
    check_fails(ERR_CORRUPT, "other options");
    o = same;
    o.seed = 9;
    check_fails(ERR_CORRUPT, "other options");
    o = same;
    train_fixture_pairs(&f, 500, 4);
    check_fails(ERR_CORRUPT, "other options");
    train_fixture_pairs(&f, 500, 3);
    tiny_model_write(f.dir.path, "model", TRAIN_DIM, 6);
    check_fails(ERR_CORRUPT, "other options");
    tiny_model_write(f.dir.path, "model", TRAIN_DIM, 5);
    o.threads = 2; /* these do not decide the course */
    o.log_every = 7;
    o.checkpoint_seconds = 1;
    run();
    check_same_weights(kept.out_dir, again);
}
END_TEST

static void nap(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

/* Runs in a child that is killed some time after its first checkpoint is there. true: it came to its end before. */
static bool run_and_kill(const char *checkpoint, long ms)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) _exit(trainer_run(&o, &report, NULL) == ERR_OK ? 0 : 1);
    int status;
    pid_t ended = 0;
    while (!file_exists(checkpoint) && ended == 0) {
        ended = waitpid(pid, &status, WNOHANG);
        sched_yield();
    }
    if (ended == 0) {
        nap(ms);
        kill(pid, SIGKILL);
        ended = waitpid(pid, &status, 0);
    }
    ck_assert_int_eq(ended, pid);
    if (WIFEXITED(status)) ck_assert_int_eq(WEXITSTATUS(status), 0);
    return WIFEXITED(status);
}

/* Kills until a run is whole; how many kills it took. */
static size_t kill_until_whole(struct rng *rng, const char *checkpoint)
{
    size_t n_kills = 0;
    while (n_kills < 300 && !run_and_kill(checkpoint, (long)rng_below(rng, 1 + n_kills * 3))) {
        n_kills++;
        ck_assert(file_exists(checkpoint));
        if (dir_exists(o.out_dir)) break;
    }
    return n_kills;
}

START_TEST(killed_again_and_again_is_the_same_to_the_bit)
{
    enum { TIMES = 20 };
    char other_work[TMPDIR_PATH_BYTES], other_out[TMPDIR_PATH_BYTES], name[32];
    struct rng rng;
    size_t n_kills = 0;
    rng_init(&rng, (uint64_t)getpid());
    o.steps = 400;
    run();
    o.resume = true;
    o.checkpoint_seconds = 0;
    /* A run may be whole before a slow machine comes round to killing it. */
    for (int i = 0; i < TIMES && n_kills == 0; i++) {
        (void)snprintf(name, sizeof name, "w%d", i + 2);
        o.work_dir = tmpdir_file(&f.dir, name, other_work);
        (void)snprintf(name, sizeof name, "o%d", i + 2);
        o.out_dir = tmpdir_file(&f.dir, name, other_out);
        AUTO_FREE char *checkpoint = path_join(other_work, "checkpoint");
        n_kills = kill_until_whole(&rng, checkpoint);
    }
    ck_assert_uint_gt(n_kills, 0);
    check_same_weights(out, other_out);
}
END_TEST

/* ---- what is refused ---- */

START_TEST(options_that_make_no_sense)
{
    const struct trainer_options good = o;
    const struct train_file bad_file = { f.pairs, NULL, 0 };
    const struct {
        size_t offset;
        double value;
        const char *mentions;
    } cases[] = {
#define CASE(field, value) { offsetof(struct trainer_options, field), value, #field }
        CASE(rate, 2000),
        CASE(rate, -1),
        CASE(rate, NAN),
        CASE(rate_floor, 1.5),
        CASE(warmup, -0.1),
        CASE(temperature, 0),
        CASE(token_dropout, 1),
        CASE(distill_share, -1),
        CASE(anchor_weight, -1),
        CASE(mask_above, 1.1),
        CASE(row_cap, 0),
        CASE(row_power, -1),
        CASE(max_seconds, -1),
        CASE(checkpoint_seconds, -1),
        CASE(distill_share, 0.5),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o = good;
        memcpy((char *)&o + cases[i].offset, &cases[i].value, sizeof(double));
        check_fails(ERR_INVALID, cases[i].mentions);
    }
    o = good;
    o.batch = 0;
    check_fails(ERR_INVALID, "batch");
    o = good;
    o.log_every = 0;
    check_fails(ERR_INVALID, "log_every");
    o = good;
    o.threads = 0;
    check_fails(ERR_INVALID, "threads");
    o = good;
    o.n_pairs = 0;
    check_fails(ERR_INVALID, "no file");
    o = good;
    o.pairs = &bad_file;
    check_fails(ERR_INVALID, "weight");
    o = good;
    o.out_dir = NULL;
    check_fails(ERR_INVALID, "folder");
    o = good;
    use_taught();
    o.distill_share = 0;
    check_fails(ERR_INVALID, "distill_share");
    o.pairs = &taught;
    o.distill_share = 0.5;
    check_fails(ERR_INVALID, "vectors");
}
END_TEST

START_TEST(files_and_folders_that_do_not_fit)
{
    struct err e = ERR_INIT;
    const struct trainer_options good = o;
    ck_assert_ok(dir_make(out, &e), &e);
    check_fails(ERR_CONFLICT, "there already");
    ck_assert_int_eq(rmdir(out), 0);
    o.model_dir = work;
    check_fails(ERR_NOT_FOUND, "model");
    o = good;
    train_fixture_write(f.pairs, "cat\tdog\nno tab\n");
    check_fails(ERR_INVALID, "line 2");
    ck_assert(!dir_exists(out));
    AUTO_FREE char *lock = path_join(work, "lock");
    int fd;
    ck_assert_ok(file_lock(lock, &fd, &e), &e);
    check_fails(ERR_CONFLICT, "lock");
    close(fd);
}
END_TEST

START_TEST(a_rate_far_too_high)
{
    o.rate = 1000;
    o.steps = 2000;
    struct err e = ERR_INIT;
    enum err_code code = trainer_run(&o, &report, &e);
    /* Rows have no length of their own here, so even this may end; never with a broken model. */
    ck_assert(code == ERR_OK || code == ERR_UNPROCESSABLE);
    ck_assert(dir_exists(out) == (code == ERR_OK));
}
END_TEST

static enum err_code train_a_little(void *arg)
{
    struct err e = ERR_INIT;
    (void)arg;
    struct tmpdir made = { { 0 } };
    memcpy(made.path, out, sizeof made.path);
    enum err_code code = trainer_run(&o, &report, &e);
    if (dir_exists(out)) tmpdir_remove(&made);
    return code;
}

START_TEST(out_of_memory)
{
    use_taught();
    o.steps = 4;
    o.batch = 8;
    o.log_every = 2;
    o.checkpoint_seconds = 0;
    o.mask_above = 0.9;
    train_fixture_pairs(&f, 20, 3);
    train_fixture_taught(&f, 10, 4, 3);
    oom_loop(train_a_little, NULL);
    o.resume = true;
    oom_loop(train_a_little, NULL);
}
END_TEST

TEST_SUITE(trainer)
{
    TCase *tc = tcase_create("core");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_goes_together_comes_together);
    tcase_add_test(tc, both_kinds_of_steps);
    tcase_add_test(tc, taught_texts_alone);
    tcase_add_test(tc, hard_negatives_several_files_and_a_mask);
    tcase_add_test(tc, steps_come_from_epochs);
    tcase_add_test(tc, a_time_limit_cuts_the_steps);
    tcase_add_loop_test(tc, stopped_and_resumed_is_the_same_to_the_bit, 0, 2);
    tcase_add_test(tc, the_log_goes_on_too);
    tcase_add_test(tc, a_run_at_its_end_writes_the_candidate);
    tcase_add_test(tc, without_resume_it_begins_anew);
    tcase_add_test(tc, a_checkpoint_of_another_run_is_refused);
    tcase_add_test(tc, options_that_make_no_sense);
    tcase_add_test(tc, files_and_folders_that_do_not_fit);
    tcase_add_test(tc, a_rate_far_too_high);
    if (test_forks()) tcase_add_test(tc, killed_again_and_again_is_the_same_to_the_bit);
    suite_add_tcase(s, tc);
    TCase *oom = tcase_create("oom");
    tcase_set_tags(oom, OOM_TAG);
    tcase_add_checked_fixture(oom, set_up, tear_down);
    tcase_set_timeout(oom, 120);
    tcase_add_test(oom, out_of_memory);
    suite_add_tcase(s, oom);
}
