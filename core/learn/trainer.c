/* The course of a run: check the options, load, put a checkpoint back if there is one, step, write the candidate.
 *
 * Everything that decides the next step is in train_state and in the model's tensors, both of which a
 * checkpoint holds; so resuming is going on. Time only enters where the caller asked for a limit of it.
 */
#include "core/learn/trainer.h"

#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/learn/checkpoint.h"
#include "core/learn/model_folder.h"
#include "core/learn/train_step.h"
#include "core/nn/gemm.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_MAX = 65536, THREADS_MAX = 256, STEPS_BEFORE_FIT = 10 };
static const double RATE_OTHERWISE = 1e-3;
/* Writing checkpoints takes at most a tenth of the time. */
enum { CHECKPOINT_PAUSE = 10 };

struct run {
    const struct trainer_options *o;
    struct trainable *model;
    struct train_data *data;
    struct train_step *step;
    struct train_batch batch;
    struct train_state state;
    struct train_log log;
    char *checkpoint, *csv, *svg; /* paths */
    int lock_fd;
    uint64_t fingerprint;
    bool resumed, specials;
    double token_dropout;  /* o's, or 0 */
    double rate;           /* peak */
    double keep_seconds;   /* spent before the first step, on what is kept of texts */
    double checkpoint_due; /* by the clock */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- options ---- */

static enum err_code check_files(
    const struct train_file *files, size_t n, bool taught, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (!files[i].path || !files[i].path[0])
            return err_set(e, ERR_INVALID, "a training file has no path");
        if (taught != (files[i].vectors != NULL))
            return err_set(
                e, ERR_INVALID, "%s: taught texts have vectors, pairs have none", files[i].path);
        if (!(files[i].weight > 0) || !isfinite(files[i].weight))
            return err_set(e, ERR_INVALID, "%s: the weight must be above 0", files[i].path);
    }
    return ERR_OK;
}

static enum err_code check_range(const char *name, double v, double low, double high, struct err *e)
{
    if (v >= low && v <= high) return ERR_OK;
    return err_set(e, ERR_INVALID, "%s is %g, it must be from %g to %g", name, v, low, high);
}

static enum err_code check_model(const struct trainable_options *m, struct err *e)
{
    TRY(check_range("layers", (double)m->layers, 1, 1000, e));
    TRY(check_range("rank", (double)m->rank, 1, 1024, e));
    TRY(check_range("alpha", m->alpha, 1e-3, 1e6, e));
    TRY(check_range("dropout", m->dropout, 0, 0.9, e));
    TRY(check_range("weight_decay", m->weight_decay, 0, 1, e));
    TRY(check_range("memory_bytes", (double)m->memory_bytes, 0, 1e18, e));
    return check_range("clip", m->clip, 0, 1e6, e);
}

static enum err_code check_numbers(const struct trainer_options *o, struct err *e)
{
    TRY(check_range("batch", (double)o->batch, 1, BATCH_MAX, e));
    TRY(check_range("steps", (double)o->steps, 0, 1e9, e));
    TRY(check_range("min_steps", (double)o->min_steps, 0, 1e9, e));
    TRY(check_range("epochs", o->epochs, o->steps ? 0 : 1e-6, 1e6, e));
    TRY(check_range("max_seconds", o->max_seconds, 0, 1e9, e));
    TRY(check_range("rate", o->rate, 0, 1e3, e));
    TRY(check_range("rate_floor", o->rate_floor, 0, 1, e));
    TRY(check_range("warmup", o->warmup, 0, 1, e));
    TRY(check_range("temperature", o->temperature, 1e-4, 1e3, e));
    TRY(check_range("token_dropout", o->token_dropout, 0, 0.99, e));
    TRY(check_range("distill_share", o->distill_share, 0, 1, e));
    TRY(check_range("anchor_weight", o->anchor_weight, 0, 1e6, e));
    TRY(check_range("mask_above", o->mask_above, -1, 1, e));
    TRY(check_range("row_cap", o->row_cap, 1, 1e18, e));
    TRY(check_range("row_power", o->row_power, 0, 1, e));
    TRY(check_model(&o->model, e));
    TRY(check_range("threads", o->threads, 1, THREADS_MAX, e));
    TRY(check_range("checkpoint_seconds", o->checkpoint_seconds, 0, 1e9, e));
    return check_range("log_every", (double)o->log_every, 1, 1e9, e);
}

static enum err_code check_options(const struct trainer_options *o, struct err *e)
{
    if (!o->model_dir || !o->work_dir || !o->out_dir)
        return err_set(e, ERR_INVALID, "model, work and output folder must be given");
    if (o->n_pairs + o->n_taught == 0)
        return err_set(e, ERR_INVALID, "there is no file to learn from");
    TRY(check_numbers(o, e));
    if (o->distill_share > 0 && o->n_taught == 0)
        return err_set(
            e, ERR_INVALID, "distill_share is %g without taught texts", o->distill_share);
    if (o->distill_share <= 0 && o->n_taught && o->n_pairs)
        return err_set(e, ERR_INVALID, "taught texts are of no use: distill_share is 0");
    if (o->distill_share >= 1 && o->n_pairs)
        return err_set(e, ERR_INVALID, "pairs are of no use: distill_share is 1");
    TRY(check_files(o->pairs, o->n_pairs, false, e));
    return check_files(o->taught, o->n_taught, true, e);
}

/* Of all that decides the course of a run: options, the files' content, the parent's weights. */
static uint64_t fingerprint_of(const struct run *r)
{
    const struct trainer_options *o = r->o;
    const double numbers[] = { (double)o->batch, (double)o->steps, o->epochs, (double)o->min_steps,
        r->rate, o->rate_floor, o->warmup, o->temperature, o->token_dropout, o->distill_share,
        o->anchor_weight, o->symmetric, o->mask_equal, o->mask_above, o->row_cap, o->row_power,
        (double)o->max_tokens, (double)o->n_pairs, (double)o->n_taught, (double)r->data->pair_rows,
        (double)r->data->taught_rows, trainable_method(r->model), (double)o->model.layers,
        (double)o->model.rank, o->model.alpha, o->model.dropout, o->model.weight_decay,
        o->model.clip };
    uint64_t hash = hash_bytes(numbers, sizeof numbers, o->seed);
    for (size_t i = 0; i < o->n_pairs; i++)
        hash = hash_bytes(&o->pairs[i].weight, sizeof o->pairs[i].weight, hash);
    for (size_t i = 0; i < o->n_taught; i++)
        hash = hash_bytes(&o->taught[i].weight, sizeof o->taught[i].weight, hash);
    const uint64_t parts[] = { hash, r->data->hash, trainable_hash_all(r->model) };
    return hash_bytes(parts, sizeof parts, 0);
}

/* ---- before the first step ---- */

static int64_t count_steps(const struct run *r)
{
    const struct trainer_options *o = r->o;
    if (o->steps) return o->steps;
    size_t rows = o->n_pairs ? r->data->pair_rows : r->data->taught_rows;
    double share = o->n_pairs ? 1 - o->distill_share : 1;
    double per_epoch = (double)train_batch_per_epoch(rows, o->batch);
    double steps = fmin(1e9, ceil(ceil(o->epochs * per_epoch) / share));
    return (int64_t)fmax(1, fmax(steps, (double)o->min_steps));
}

static enum err_code open_work_dir(struct run *r, struct err *e)
{
    TRY(dir_make(r->o->work_dir, e));
    AUTO_FREE char *lock = path_join(r->o->work_dir, "lock");
    r->checkpoint = path_join(r->o->work_dir, "checkpoint");
    r->csv = path_join(r->o->work_dir, "log.csv");
    r->svg = path_join(r->o->work_dir, "loss.svg");
    if (!lock || !r->checkpoint || !r->csv || !r->svg)
        return err_set(e, ERR_NOMEM, "no memory to train");
    TRY(file_lock(lock, &r->lock_fd, e));
    checkpoint_tidy(r->checkpoint);
    return ERR_OK;
}

static enum err_code load(struct run *r, struct err *e)
{
    const struct trainer_options *o = r->o;
    const struct train_files files = { o->pairs, o->taught, o->n_pairs, o->n_taught, o->row_cap,
        o->row_power, o->max_tokens };
    struct trainable_options model = o->model;
    model.threads = o->threads;
    TRY(trainable_open(o->model_dir, &model, &r->model, e));
    TRY(train_data_load(&files, r->model, &r->data, e));
    TRY(train_batch_init(&r->batch, r->data, e));
    TRY(train_step_new(o, r->model, &r->step, e));
    r->token_dropout = trainable_keeps_texts(r->model) ? 0 : o->token_dropout;
    r->specials = trainable_special_tokens(r->model);
    r->rate = o->rate > 0 ? o->rate : trainable_default_rate(r->model);
    if (!(r->rate > 0)) r->rate = RATE_OTHERWISE;
    r->fingerprint = fingerprint_of(r);
    return ERR_OK;
}

static enum err_code begin_or_resume(struct run *r, struct err *e)
{
    if (r->o->resume && file_exists(r->checkpoint)) {
        TRY(checkpoint_read(r->checkpoint, r->fingerprint, r->model, &r->state, &r->log, e));
        r->resumed = true;
    } else {
        unlink(
            r->checkpoint); /* of an earlier run; a later resume must not take it for this one's */
        r->state.steps = count_steps(r);
        rng_init(&r->state.cursor.rng, r->o->seed);
    }
    return train_log_write_csv(&r->log, r->csv, e);
}

/* ---- log, checkpoint, time limit ---- */

static double mean(double sum, int64_t n)
{
    return n ? sum / (double)n : NAN;
}

static double rate_of(const struct run *r, int64_t step)
{
    const struct train_state *s = &r->state;
    int64_t warmup = (int64_t)(r->o->warmup * (double)s->steps);
    return schedule_rate(step, s->steps, warmup, r->rate, r->o->rate_floor);
}

static void report_progress(const struct run *r, const struct train_record *l)
{
    struct trainer_progress p = { l->step, r->state.steps, l->seconds, l->loss, l->pair_loss,
        l->distill_loss, l->anchor_loss, l->rate, l->pairs_per_second, 0 };
    if (r->o->progress) r->o->progress(r->o->arg, &p);
}

static enum err_code write_log_line(struct run *r, struct err *e)
{
    struct train_state *s = &r->state;
    const struct train_window w = s->window;
    const struct train_record line = { s->step, s->seconds, rate_of(r, s->step - 1),
        mean(w.loss, w.n_steps), mean(w.pair_loss, w.n_pair), mean(w.distill_loss, w.n_distill),
        mean(w.anchor_loss, w.n_anchor), w.seconds > 0 ? (double)w.pairs / w.seconds : 0 };
    TRY(train_log_add(&r->log, &line, e));
    TRY(train_log_append_csv(&r->log, r->csv, e));
    s->window = (struct train_window){ 0 };
    report_progress(r, &line);
    return ERR_OK;
}

static enum err_code write_checkpoint(struct run *r, struct err *e)
{
    double began = now();
    TRY(checkpoint_write(r->checkpoint, r->fingerprint, r->model, &r->state, &r->log, e));
    TRY(train_log_write_svg(&r->log, r->svg, e));
    double pause = CHECKPOINT_PAUSE * (now() - began);
    r->checkpoint_due = now() + fmax(pause, r->o->checkpoint_seconds);
    return ERR_OK;
}

static void report_texts(const struct run *r, size_t texts)
{
    const struct trainer_progress p = { .step = r->state.step,
        .steps = r->state.steps,
        .seconds = r->state.seconds,
        .loss = NAN,
        .pair_loss = NAN,
        .distill_loss = NAN,
        .anchor_loss = NAN,
        .texts = texts };
    if (r->o->progress) r->o->progress(r->o->arg, &p);
}

/* Frozen parts of a model are computed once a text. Doing that before the first step makes all steps alike, so that
 * those timed tell how many there is time for; half the time is the most it may take, steps do the rest. */
static enum err_code keep_texts(struct run *r, struct err *e)
{
    enum { TEXTS = 256 };
    const double began = now(), most = r->o->max_seconds / 2;
    const size_t n = r->data->texts.n;
    if (!trainable_keeps_texts(r->model) || trainable_default_rate(r->model) <= 0) return ERR_OK;
    for (size_t i = 0; i < n && (most <= 0 || r->keep_seconds < most); i += TEXTS) {
        if (r->o->stop && *r->o->stop)
            return err_set(e, ERR_CANCELLED, "stopped before step %lld", (long long)r->state.step);
        if (trainable_is_full(r->model)) break;
        TRY(train_step_keep(r->step, r->data, i, n - i < TEXTS ? n - i : TEXTS, e));
        r->keep_seconds = now() - began;
        report_texts(r, n - i < TEXTS ? n : i + TEXTS);
    }
    return ERR_OK;
}

/* Fewer steps if the time left does not allow for all: once the first are timed, and again whenever the
 * machine turns out slower than that. Never more. */
static void fit_to_time(struct run *r)
{
    struct train_state *s = &r->state;
    const double limit = r->o->max_seconds - r->keep_seconds, slack = s->fitted ? 1.05 : 1;
    if (r->o->max_seconds <= 0 ||
        (s->step < STEPS_BEFORE_FIT && s->seconds < limit / STEPS_BEFORE_FIT))
        return;
    double each = s->seconds / (double)s->step;
    if (s->seconds + each * (double)(s->steps - s->step) <= limit * slack) return;
    s->steps = s->step + (int64_t)(fmax(0, limit - s->seconds) / each);
    s->fitted = true;
}

/* ---- steps ---- */

static enum err_code one_step(struct run *r, struct err *e)
{
    const struct trainer_options *o = r->o;
    struct train_state *s = &r->state;
    struct train_window *w = &s->window;
    struct train_draw draw = { o->batch, r->token_dropout, false, r->specials };
    struct train_losses l = { NAN, NAN, NAN };
    double rate = rate_of(r, s->step), loss;
    bool distill =
        o->n_pairs == 0 || (o->distill_share > 0 && rng_unit(&s->cursor.rng) < o->distill_share);
    if (distill) {
        TRY(train_batch_taught(&r->batch, &draw, &s->cursor, e));
        TRY(train_step_taught(r->step, &r->batch, s->step + 1, rate, &l, e));
        loss = l.distill;
        w->distill_loss += l.distill;
        w->n_distill++;
    } else {
        draw.whole = train_step_wants_whole(r->step);
        TRY(train_batch_pairs(&r->batch, &draw, &s->cursor, e));
        TRY(train_step_pairs(r->step, &r->batch, s->step + 1, rate, &l, e));
        loss = l.pair;
        w->pair_loss += l.pair;
        w->n_pair++;
    }
    if (!isnan(l.anchor)) {
        loss += o->anchor_weight * l.anchor;
        w->anchor_loss += l.anchor;
        w->n_anchor++;
    }
    w->loss += loss;
    w->n_steps++;
    w->pairs += (int64_t)r->batch.n;
    s->step++;
    return ERR_OK;
}

static enum err_code train(struct run *r, struct err *e)
{
    struct train_state *s = &r->state;
    double before = now();
    r->checkpoint_due = before + r->o->checkpoint_seconds;
    while (s->step < s->steps) {
        if (r->o->stop && *r->o->stop) {
            TRY(write_checkpoint(r, e));
            return err_set(e, ERR_CANCELLED, "stopped after step %lld of %lld", (long long)s->step,
                (long long)s->steps);
        }
        TRY(one_step(r, e));
        double after = now();
        s->seconds += after - before;
        s->window.seconds += after - before;
        before = after;
        fit_to_time(r);
        if (s->step % r->o->log_every == 0 || s->step == s->steps) TRY(write_log_line(r, e));
        if (after >= r->checkpoint_due && s->step < s->steps) TRY(write_checkpoint(r, e));
    }
    return write_checkpoint(r, e);
}

static enum err_code run_all(struct run *r, struct err *e)
{
    TRY(model_folder_free_name(r->o->out_dir, e));
    TRY(open_work_dir(r, e));
    TRY(load(r, e));
    TRY(begin_or_resume(r, e));
    gemm_set_threads(r->o->threads);
    TRY(keep_texts(r, e));
    TRY(train(r, e));
    return trainable_export(r->model, r->o->out_dir, e);
}

static void run_done(struct run *r)
{
    train_step_free(r->step);
    train_batch_done(&r->batch);
    train_data_free(r->data);
    trainable_free(r->model);
    train_log_done(&r->log);
    mem_free(r->checkpoint);
    mem_free(r->csv);
    mem_free(r->svg);
    if (r->lock_fd >= 0) close(r->lock_fd);
}

enum err_code trainer_run(
    const struct trainer_options *o, struct trainer_report *ret, struct err *e)
{
    struct run r = { .o = o, .lock_fd = -1 };
    TRY(check_options(o, e));
    enum err_code code = run_all(&r, e);
    if (code == ERR_OK)
        *ret = (struct trainer_report){ .steps = r.state.steps,
            .seconds = r.state.seconds + r.keep_seconds,
            .final_loss = r.log.n ? r.log.records[r.log.n - 1].loss : NAN,
            .method = trainable_method(r.model),
            .rate = r.rate,
            .pairs = r.data->pair_rows,
            .taught = r.data->taught_rows,
            .skipped = r.data->skipped,
            .resumed = r.resumed };
    run_done(&r);
    return code;
}
