/* The steps of a run, each of which leaves a file that says it is done:
 *
 *   pairs.txt      train.tsv and heldout.tsv are whole
 *   earlier.txt    how often model/ was trained in vain before, and with what rate
 *   trained.txt    model/ is whole
 *   README.md      in model/: judged
 *
 * Whatever was begun and not noted is thrown away and done again, but for training, which has a checkpoint of
 * its own. Judging takes seconds and is always done. */
#include "engine/train_job_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "core/learn/trainable.h"
#include "engine/evaluate.h"
#include "engine/hash.h"
#include "engine/model_card.h"
#include "engine/model_hash.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { HELDOUT_BYTES_MAX = 1 << 30 };
_Static_assert(sizeof((struct train_job_report *)0)->weights_hash == CARD_HASH_CHARS + 1, "hex");

/* How each source is learnt; docs/learning/README.md has the measurements. What all have in common:
 *   batch        512: the other pairs of a batch are what a pair is learnt against; twice as many gain
 *                little for twice the time
 *   temperature  0.07: lower ones learn the hardest pairs by heart, and general sentences suffer
 *   dropout      0.1 of the tokens, so that one rare word is not learnt as the answer
 *   anchor       1, a slight pull towards the parent: more costs gain and hardly saves general sentences
 * The rate is a share of the size of the parent's parameters (their root mean square), for models differ
 * in it. General sentences suffer from rate times steps, and from pairs that are hard to learn: hence the
 * bound of steps, and the rate is halved where that was not enough.
 */
enum { MIN_STEPS = 200, HALVINGS_MAX = 3 };
static const double temperature = 0.07, anchor_weight = 1;
static const struct recipe {
    double epochs, rate;
    int64_t max_steps;
} recipes[PAIRS_SOURCE_COUNT] = {
    [PAIRS_FIELDS] = { .epochs = 10, .rate = 0.015, .max_steps = 500 },
    [PAIRS_LABELS] = { .epochs = 5, .rate = 0.015, .max_steps = 500 },
    [PAIRS_FEEDBACK] = { .epochs = 10, .rate = 0.015, .max_steps = 500 },
    /* Nobody said that views mean the same: less of it. */
    [PAIRS_VIEWS] = { .epochs = 3, .rate = 0.0075, .max_steps = 200 },
};

/* One run: where its files are, and what is known so far. */
struct job {
    const struct train_job *in;
    char *train, *heldout, *work, *model; /* paths */
    struct train_job_report r;
    bool may_resume; /* pairs were found, not made now, so what else is found is of this run */
    struct train_earlier earlier;
    struct gate_options gate;
    /* Figures on the anchor set, from when they were asked first; the model's: of the latest attempt. */
    struct eval_general general_parent, general_base, general_model;
    struct trainer_options options;
    struct train_file file;
};

static void job_done(struct job *j)
{
    mem_free(j->train);
    mem_free(j->heldout);
    mem_free(j->work);
    mem_free(j->model);
}

static enum err_code job_init(struct job *j, const struct train_job *in, struct err *e)
{
    static const struct gate_options defaults = GATE_OPTIONS_DEFAULTS;

    j->gate = in->gate ? *in->gate : defaults;
    j->gate.test = in->test;
    j->in = in;
    j->train = path_join(in->folder, "train.tsv");
    j->heldout = path_join(in->folder, "heldout.tsv");
    j->work = path_join(in->folder, "work");
    j->model = path_join(in->folder, "model");
    if (!j->train || !j->heldout || !j->work || !j->model)
        return err_set(e, ERR_NOMEM, "no memory for a path");
    TRY(hash_start(e));
    return dir_make(in->folder, e);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

static enum err_code remove_folder(const char *path, struct err *e)
{
    enum { OPEN_FOLDERS = 16 };
    if (nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return ERR_OK;
    return err_errno(e, ERR_IO, errno, "cannot remove %s", path);
}

/* ---- saying ---- */

static void say(const struct job *j, const struct run_line *line)
{
    if (j->in->say) j->in->say(j->in->arg, line);
}

static void say_phase(const struct job *j, enum run_status phase)
{
    say(j, &(struct run_line){ .kind = LINE_PHASE, .phase = phase });
}

static void say_metric(const struct job *j, const char *name, double value)
{
    if (!isfinite(value)) return;
    say(j, &(struct run_line){ .kind = LINE_METRIC, .name = str_from(name), .value = value });
}

/* "side.name", "side.name_end" */
static void say_metric_of(
    const struct job *j, const char *side, const char *name, const char *end, double value)
{
    char full[RUN_NAME_MAX + 1];
    int n = snprintf(full, sizeof full, "%s.%s%s", side, name, end);
    if (n > 0 && (size_t)n < sizeof full) say_metric(j, full, value);
}

static enum err_code check_stop(const struct job *j, struct err *e)
{
    if (j->in->stop && *j->in->stop) return err_set(e, ERR_CANCELLED, "stopped between two steps");
    return ERR_OK;
}

/* ---- pairs ---- */

static enum err_code make_pairs(struct job *j, struct err *e)
{
    const struct catalog_run *run = j->in->run;
    struct pairs_request rq = PAIRS_REQUEST_DEFAULTS;
    struct pairs_report *r = &j->r.pairs;

    j->may_resume = train_notes__read_pairs(j->in->folder, r) && file_exists(j->train) &&
        file_exists(j->heldout);
    if (!j->may_resume) {
        TRY(train_notes__forget_training(j->in->folder, e));
        rq.catalog = j->in->catalog;
        rq.col = j->in->col;
        rq.anchor = run->pairs_anchor;
        rq.positive = run->pairs_positive;
        rq.labels = run->labels;
        rq.seed = (uint64_t)run->seed;
        TRY(pairs_write(&rq, j->in->folder, r, e));
        TRY(train_notes__write_pairs(j->in->folder, r, e));
    }
    say(j, &(struct run_line){ .kind = LINE_DATA, .name = str_from(r->data_hash) });
    say_metric(j, "pairs.train", (double)r->train);
    say_metric(j, "pairs.heldout", (double)r->heldout);
    say_metric(j, "pairs.distractors", (double)r->distractors);
    say_metric(j, "pairs.shared", (double)r->shared);
    return ERR_OK;
}

/* ---- training ---- */

/* Root mean square of the parameters. */
static enum err_code parameter_size(
    const struct trainable *t, const char *model_dir, double *ret, struct err *e)
{
    double sum = 0, n = 0;

    for (size_t i = 0; i < trainable_state_count(t); i++) {
        struct safetensor_out out;
        trainable_state_get(t, i, &out);
        if (out.dtype != DTYPE_F32 || strncmp(out.name, "adam.", 5) == 0) continue;
        size_t values = 1;
        for (size_t d = 0; d < out.n_dims; d++)
            values *= out.dims[d];
        const float *p = out.data;
        for (size_t v = 0; v < values; v++)
            sum += (double)p[v] * (double)p[v];
        n += (double)values;
    }
    *ret = n > 0 ? sqrt(sum / n) : 0;
    if (*ret > 0) return ERR_OK;
    return err_set(e, ERR_UNPROCESSABLE, "every parameter of the model in %s is 0", model_dir);
}

/* What was asked for. Activations, and what is kept of frozen parts, get a quarter of the memory each; weights, their
 * gradients and moments have the rest. */
static void set_method(const struct train_job *job, struct trainable_options *o)
{
    const struct catalog_run *run = job->run;
    enum { SHARE = 4 };
    for (int m = TRAIN_AUTO; m < TRAIN_NONE; m++)
        if (str_is(run->method, train_method_name((enum train_method)m)))
            o->method = (enum train_method)m;
    if (run->layers > 0) o->layers = (size_t)run->layers;
    o->threads = (unsigned)job->cfg->learn_threads;
    o->memory_bytes = (size_t)(job->cfg->learn_memory_mb << 20) / SHARE;
}

/* Pairs a step of a model that knows a rate of its own, by what learns: as many as its steps can afford. */
static size_t batch_of(enum train_method method)
{
    enum { CHEAP = 512, LAYERS = 256, WHOLE = 64 };
    if (method == TRAIN_ADAPTER) return CHEAP;
    return method == TRAIN_LAST_LAYERS ? LAYERS : WHOLE;
}

/* Models that know a rate of their own go by it; views get half of it, as they do of the other. */
static enum err_code set_rate(const struct train_job *job, const struct recipe *recipe,
    struct trainer_options *o, struct err *e)
{
    struct trainable *t;
    double size = 0;

    TRY(trainable_open(job->parent_dir, &o->model, &t, e));
    const double known = trainable_default_rate(t);
    o->model.method = trainable_method(t);
    enum err_code code = known > 0 ? ERR_OK : parameter_size(t, job->parent_dir, &size, e);
    trainable_free(t);
    if (code != ERR_OK) return code;
    o->rate = known > 0 ? known : recipe->rate * size;
    if (known <= 0) return ERR_OK;
    if (recipe->rate < recipes[PAIRS_FIELDS].rate) o->rate /= 2;
    o->batch = batch_of(o->model.method);
    return ERR_OK;
}

enum err_code train_job_options(const struct train_job *job, const struct pairs_report *p,
    struct trainer_options *ret, struct err *e)
{
    const struct recipe *recipe = &recipes[p->source];
    const struct catalog_run *run = job->run;
    struct trainer_options o = TRAINER_OPTIONS_DEFAULTS;
    o.epochs = recipe->epochs;
    set_method(job, &o.model);
    TRY(set_rate(job, recipe, &o, e));
    o.temperature = temperature;
    o.anchor_weight = anchor_weight;
    double steps = ceil(o.epochs * (double)p->train / (double)o.batch);
    o.steps = (int64_t)fmin(fmax(steps, MIN_STEPS), (double)recipe->max_steps);
    if (run->max_steps > 0 && run->max_steps < o.steps) o.steps = run->max_steps;
    o.max_seconds = run->max_seconds > 0 ? run->max_seconds : (double)job->cfg->learn_max_seconds;
    o.seed = (uint64_t)run->seed;
    o.threads = (unsigned)job->cfg->learn_threads;
    *ret = o;
    return ERR_OK;
}

/* Attempts before this one count as done. */
static void on_progress(void *arg, const struct trainer_progress *p)
{
    const struct job *j = arg;
    if (p->texts) say_metric(j, "train.texts", (double)p->texts);
    if (!isfinite(p->loss)) return;
    say(j,
        &(struct run_line){ .kind = LINE_PROGRESS,
            .step = j->earlier.steps + p->step,
            .steps = j->earlier.steps + p->steps,
            .value = p->loss });
}

static enum err_code run_trainer(struct job *j, struct err *e)
{
    struct trainer_options o = j->options;
    struct err why = ERR_INIT;

    o.resume = j->may_resume;
    o.rate = ldexp(o.rate, -(int)j->earlier.halvings);
    o.max_seconds = fmax(1, o.max_seconds - j->earlier.seconds);
    TRY(remove_folder(j->model, e));
    enum err_code code = trainer_run(&o, &j->r.training, &why);
    if (code == ERR_CORRUPT && o.resume) { /* the checkpoint: it is only time that is lost */
        o.resume = false;
        code = trainer_run(&o, &j->r.training, &why);
    }
    return code == ERR_OK ? ERR_OK : err_set(e, code, "%s", why.msg);
}

static enum err_code general_of(
    const struct job *j, const char *model_dir, struct eval_general *g, struct err *e)
{
    const struct eval_request rq = { .model_dir = model_dir,
        .task = EVAL_GENERAL,
        .threads = (unsigned)j->in->cfg->learn_threads,
        .stop = j->in->stop };
    struct eval_report r;
    if (g->known) return ERR_OK;
    TRY(evaluate(&rq, &r, e));
    *g = (struct eval_general){ true, r.spearman };
    return ERR_OK;
}

/* Has it forgotten more of general sentences than the gate allows? Held-out pairs are not asked. */
static enum err_code has_forgotten(struct job *j, bool *ret, struct err *e)
{
    struct gate_options gate = j->gate;
    const char *base_dir = j->in->base_dir;

    j->general_model.known = false;
    TRY(general_of(j, j->in->parent_dir, &j->general_parent, e));
    TRY(general_of(j, j->model, &j->general_model, e));
    if (base_dir && strcmp(base_dir, j->in->parent_dir) == 0) j->general_base = j->general_parent;
    if (base_dir) TRY(general_of(j, base_dir, &j->general_base, e));
    if (base_dir) gate.anchor_base = j->general_base.spearman;
    *ret = j->general_model.spearman < gate_anchor_floor(j->general_parent.spearman, &gate);
    return ERR_OK;
}

/* Train; and again with half the rate, while general sentences suffer and there is time. */
static enum err_code train_gently(struct job *j, struct err *e)
{
    struct train_earlier *earlier = &j->earlier;
    const struct trainer_report *r = &j->r.training;
    bool forgotten;

    for (;;) {
        TRY(run_trainer(j, e));
        TRY(has_forgotten(j, &forgotten, e));
        double left = j->options.max_seconds - earlier->seconds - r->seconds;
        if (!forgotten || earlier->halvings == HALVINGS_MAX || left < r->seconds / 2) break;
        TRY(check_stop(j, e));
        earlier->halvings++;
        earlier->steps += r->steps;
        earlier->seconds += r->seconds;
        TRY(train_notes__write_earlier(j->in->folder, earlier, e));
        j->may_resume = false;
    }
    return train_notes__write_training(j->in->folder, r, e);
}

static enum err_code train(struct job *j, struct err *e)
{
    struct trainer_options *o = &j->options;
    struct trainer_report *r = &j->r.training;

    j->file = (struct train_file){ .path = j->train, .weight = 1 };
    TRY(train_job_options(j->in, &j->r.pairs, o, e));
    o->model_dir = j->in->parent_dir;
    o->work_dir = j->work;
    o->out_dir = j->model;
    o->pairs = &j->file;
    o->n_pairs = 1;
    o->progress = on_progress;
    o->arg = j;
    o->stop = j->in->stop;
    train_notes__read_earlier(j->in->folder, &j->earlier);
    if (!train_notes__read_training(j->in->folder, r) || !dir_exists(j->model))
        TRY(train_gently(j, e));
    o->rate = ldexp(o->rate, -(int)j->earlier.halvings); /* for the card */
    size_t batch = r->pairs < o->batch ? r->pairs : o->batch;
    say_metric(j, "train.steps", (double)r->steps);
    say_metric(j, "train.seconds", j->earlier.seconds + r->seconds);
    say_metric(j, "train.halvings", (double)j->earlier.halvings);
    if (r->seconds > 0)
        say_metric(j, "train.pairs_per_second", (double)r->steps * (double)batch / r->seconds);
    return ERR_OK;
}

/* ---- judging ---- */

static void say_side(
    const struct job *j, const char *side, const struct rank_retrieval *r, double general)
{
    say_metric_of(j, side, "recall_at_1", "", r->recall_at_1);
    say_metric_of(j, side, "recall_at_10", "", r->recall_at_10);
    say_metric_of(j, side, "mrr_at_10", "", r->mrr_at_10);
    say_metric_of(j, side, "ndcg_at_10", "", r->ndcg_at_10);
    say_metric_of(j, side, "general", "", general);
}

static void say_gain(const struct job *j, const char *name, const struct gate_gain *g)
{
    say_metric_of(j, "gain", name, "", g->mean);
    say_metric_of(j, "gain", name, "_low", g->low);
    say_metric_of(j, "gain", name, "_high", g->high);
}

static enum err_code judge(struct job *j, struct err *e)
{
    struct eval_gate_request rq = { .before = j->in->parent_dir,
        .after = j->model,
        .base = j->in->base_dir,
        .threads = (unsigned)j->in->cfg->learn_threads,
        .stop = j->in->stop,
        .general_before = j->general_parent,
        .general_after = j->general_model,
        .general_base = j->general_base,
        .gate = j->gate };
    struct eval_gate_report report;
    const struct gate_report *g = &report.gate;
    AUTO_FREE char *text = NULL;

    TRY(file_read(j->heldout, HELDOUT_BYTES_MAX, &text, &rq.data.n, e));
    rq.data.p = text;
    TRY(evaluate_gate(&rq, &report, e));
    j->r.gate = *g;
    say_side(j, "before", &g->before, g->anchor_before);
    say_side(j, "after", &g->after, g->anchor_after);
    say_gain(j, "recall_at_10", &g->recall_at_10);
    say_gain(j, "mrr_at_10", &g->mrr_at_10);
    say_gain(j, "ndcg_at_10", &g->ndcg_at_10);
    say_metric(j, "gate.level", g->level);
    say_metric(j, "gate.general_floor", g->anchor_floor);
    say_metric(j, "gate.test", (double)j->in->test);
    say_metric(j, "gate.tested", 1);
    return ERR_OK;
}

/* ---- the card ---- */

static void hash_hex(const unsigned char *p, size_t n, char ret[CARD_HASH_CHARS + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[CATALOG_HASH_BYTES];
    hash_content(p, n, hash);
    for (size_t i = 0; i < CATALOG_HASH_BYTES; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[CARD_HASH_CHARS] = '\0';
}

static enum err_code hash_file(const char *path, char ret[CARD_HASH_CHARS + 1], struct err *e)
{
    AUTO(file_map_close) struct file_map map = { .n = 0 };
    TRY(file_map_open(path, &map, e));
    hash_hex(map.p, map.n, ret);
    return ERR_OK;
}

static void put_row(struct buf *b, const char *name, double before, double after)
{
    buf_printf(b, "| %s | %.4f | %.4f | %+.4f |\n", name, before, after, after - before);
}

static void put_figures(struct buf *b, const struct job *j)
{
    const struct gate_report *g = &j->r.gate;
    const struct pairs_report *p = &j->r.pairs;
    const struct rank_retrieval *x = &g->before, *y = &g->after;
    buf_printf(b,
        "%zu pairs that were held out, %zu documents beside theirs; before: the model it started "
        "from.\n\n| | before | after | gain |\n| --- | ---: | ---: | ---: |\n",
        x->queries, p->distractors);
    put_row(b, "recall@1", x->recall_at_1, y->recall_at_1);
    put_row(b, "recall@10", x->recall_at_10, y->recall_at_10);
    put_row(b, "MRR@10", x->mrr_at_10, y->mrr_at_10);
    put_row(b, "nDCG@10", x->ndcg_at_10, y->ndcg_at_10);
    put_row(b, "general sentences (Spearman)", g->anchor_before, g->anchor_after);
    buf_printf(b, "\nThe gate, test %zu of this collection: %s: %s.\n", j->in->test,
        g->promote ? "promote" : "reject", g->why);
    buf_printf(b,
        "\nPairs from the collection's %s; %zu shared a text with those held out and "
        "were left out of training.\n",
        pairs_source_name(p->source), p->shared);
}

static enum err_code write_card(struct job *j, struct err *e)
{
    struct card_file file = { .name = j->train, .rows = j->r.pairs.train, .weight = 1 };
    AUTO_FREE char *parent = mem_strndup(j->in->parent_name.p, j->in->parent_name.n);
    struct buf b = BUF_INIT(0);

    if (!parent) return err_set(e, ERR_NOMEM, "no memory for a model's card");
    TRY(hash_file(j->train, file.hash, e));
    put_figures(&b, j);
    enum err_code code = buf_check(&b, e);
    const struct model_card card = { .parent = parent,
        .files = &file,
        .n_files = 1,
        .data_hash = j->r.pairs.data_hash,
        .options = &j->options,
        .training = &j->r.training,
        .metrics = b.p };
    if (code == ERR_OK) code = model_card_write(j->model, &card, e);
    buf_done(&b);
    return code;
}

static enum err_code finish(struct job *j, struct err *e)
{
    TRY(write_card(j, e));
    TRY(model_hash(j->model, j->r.weights_hash, e));
    say(j, &(struct run_line){ .kind = LINE_WEIGHTS, .name = str_from(j->r.weights_hash) });
    say(j,
        &(struct run_line){
            .kind = LINE_DECISION, .promote = j->r.gate.promote, .text = str_from(j->r.gate.why) });
    return ERR_OK;
}

enum err_code train_job_run(
    const struct train_job *job, struct train_job_report *ret, struct err *e)
{
    AUTO(job_done) struct job j = { .in = job };

    TRY(job_init(&j, job, e));
    say_phase(&j, RUN_RUNNING);
    TRY(make_pairs(&j, e));
    TRY(check_stop(&j, e));
    TRY(train(&j, e));
    TRY(check_stop(&j, e));
    say_phase(&j, RUN_EVALUATING);
    TRY(judge(&j, e));
    TRY(check_stop(&j, e));
    TRY(finish(&j, e));
    *ret = j.r;
    return ERR_OK;
}
