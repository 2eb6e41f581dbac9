/* kindred train, from files: flags to trainer_options, and how it ended in a person's words. */
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/cmd_train.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 64, THREADS_MAX = 256, SIGNAL_STATUS = 128, FLAG_COLUMN = 29 };

struct train_args {
    struct train_files_request rq;
    const char *work, *models;
    struct train_file pairs[FILES_MAX], taught[FILES_MAX];
    char *owned[3 * FILES_MAX]; /* names cut out of arguments */
    size_t n_owned;
    uint64_t threads, batch, max_tokens, layers, rank;
    const char *method;
    bool asymmetric;
};

enum flag_kind { FLAG_TEXT, FLAG_REAL, FLAG_SHARE, FLAG_WHOLE, FLAG_ON, FLAG_PAIRS, FLAG_TAUGHT };

struct flag {
    const char *name, *value; /* value: how the usage calls it; NULL: the flag takes none */
    enum flag_kind kind;
    size_t at; /* offset into struct train_args */
    const char *meaning;
};

#define AT(member) offsetof(struct train_args, member)
#define OPTION(member) offsetof(struct train_args, rq.options.member)
static const struct flag flags[] = {
    { "--model", "DIR|NAME", FLAG_TEXT, AT(rq.model), "where training starts" },
    { "--out", "DIR", FLAG_TEXT, OPTION(out_dir), "the trained model's folder; must not be there" },
    { "--work", "DIR", FLAG_TEXT, AT(work), "checkpoint, log.csv, loss.svg (default: OUT.work)" },
    { "--pairs", "FILE[:WEIGHT]", FLAG_PAIRS, 0, "texts that belong together; repeatable" },
    { "--taught", "TEXTS:NPY[:WEIGHT]", FLAG_TAUGHT, 0,
        "texts and a teacher's vectors; repeatable" },
    { "--steps", "N", FLAG_WHOLE, OPTION(steps), "steps; 0: as many as --epochs needs" },
    { "--epochs", "X", FLAG_REAL, OPTION(epochs), "times that every pair is seen" },
    { "--batch", "N", FLAG_WHOLE, AT(batch), "pairs a step" },
    { "--method", "NAME", FLAG_TEXT, AT(method),
        "what learns: auto, full, last_layers, lora or adapter" },
    { "--layers", "N", FLAG_WHOLE, AT(layers), "last_layers: how many" },
    { "--lora-rank", "N", FLAG_WHOLE, AT(rank), "lora: rank of the changes" },
    { "--dropout", "X", FLAG_SHARE, OPTION(model.dropout), "of hidden values; BERT models" },
    { "--weight-decay", "X", FLAG_SHARE, OPTION(model.weight_decay), "AdamW's; BERT models" },
    { "--rate", "X", FLAG_REAL, OPTION(rate), "highest learning rate; 0: what suits the method" },
    { "--rate-floor", "X", FLAG_SHARE, OPTION(rate_floor), "share of it at the end" },
    { "--warmup", "X", FLAG_SHARE, OPTION(warmup), "share of the steps in which it rises" },
    { "--temperature", "X", FLAG_REAL, OPTION(temperature), "of the softmax over similarities" },
    { "--token-dropout", "X", FLAG_SHARE, OPTION(token_dropout), "share of tokens left out" },
    { "--distill-share", "X", FLAG_SHARE, OPTION(distill_share),
        "share of steps with the teacher" },
    { "--anchor-weight", "X", FLAG_REAL, OPTION(anchor_weight), "pull towards the start; 0: none" },
    { "--asymmetric", NULL, FLAG_ON, AT(asymmetric), "only find the second text by the first" },
    { "--mask-above", "X", FLAG_REAL, OPTION(mask_above),
        "no negatives above this cosine; 1: off" },
    { "--seed", "N", FLAG_WHOLE, OPTION(seed), "of batches and dropout" },
    { "--threads", "N", FLAG_WHOLE, AT(threads), "of matrix products" },
    { "--max-seconds", "X", FLAG_REAL, OPTION(max_seconds), "shorten to this time; 0: no limit" },
    { "--max-tokens", "N", FLAG_WHOLE, AT(max_tokens), "of a text in training; 0: the model's" },
    { "--resume", NULL, FLAG_ON, OPTION(resume), "go on from the checkpoint in the work folder" },
    { "--card", "FILE", FLAG_TEXT, AT(rq.card),
        "README.md of the trained model (default: written)" },
    { "--models", "DIR", FLAG_TEXT, AT(models), "where models are looked for by name" },
};
enum { FLAGS = sizeof flags / sizeof *flags };

static void usage(FILE *out)
{
    fputs("usage: kindred train --model DIR|NAME --out DIR --pairs FILE[:WEIGHT] [FLAG...]\n"
          "       kindred train --collection C --data DIR [FLAG...]   (its own --help)\n\n"
          "Train a model on files and write a new model folder. A line of a pair file: a text, a "
          "tab, a "
          "text\n"
          "that belongs to it, and any number of texts that do not, each after a tab. Taught texts "
          "are "
          "a text\n"
          "a line; the teacher's vectors are in NumPy's format. WEIGHT (default 1): how often a "
          "file is "
          "drawn.\n\n",
        out);
    for (size_t i = 0; i < FLAGS; i++) {
        int n = fprintf(out, "  %s %s", flags[i].name, flags[i].value ? flags[i].value : "");
        fprintf(out, "%*s%s\n", n < FLAG_COLUMN ? FLAG_COLUMN - n : 1, "", flags[i].meaning);
    }
    fputs("\nSIGINT or SIGTERM: a checkpoint is written and --resume goes on from there; a second "
          "one "
          "ends at once.\n",
        out);
}

/* ---- values ---- */

static bool read_real(const char *text, double *ret)
{
    char *end;

    errno = 0;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*ret) && *ret >= 0;
}

static bool read_whole(const char *text, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)*text)) return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 && *ret <= INT64_MAX;
}

static char *cut(struct train_args *a, const char *text, size_t n)
{
    char *copy = mem_strndup(text, n);

    a->owned[a->n_owned++] = copy;
    return copy;
}

/* "NAME" or "NAME:WEIGHT"; what follows the last colon is a weight only if it is a number. */
static bool read_file_flag(struct train_args *a, const char *text, struct train_file *ret)
{
    const char *colon = strrchr(text, ':');
    size_t n = strlen(text);

    *ret = (struct train_file){ .weight = 1 };
    if (colon && read_real(colon + 1, &ret->weight)) {
        if (ret->weight <= 0) return false;
        n = (size_t)(colon - text);
    } else {
        ret->weight = 1;
    }
    ret->path = cut(a, text, n);
    return ret->path && n > 0;
}

static bool read_taught_flag(struct train_args *a, const char *text, struct train_file *ret)
{
    struct train_file both;
    const char *colon;

    if (!read_file_flag(a, text, &both) || !(colon = strrchr(both.path, ':'))) return false;
    ret->weight = both.weight;
    ret->path = cut(a, both.path, (size_t)(colon - both.path));
    ret->vectors = cut(a, colon + 1, strlen(colon + 1));
    return ret->path && ret->vectors && *ret->path && *ret->vectors;
}

/* Set what the flag says; NULL, or what was expected. */
static const char *set_flag(struct train_args *a, const struct flag *f, const char *value)
{
    struct trainer_options *o = &a->rq.options;
    void *to = (char *)a + f->at;
    uint64_t whole;
    double real;

    switch (f->kind) {
    case FLAG_TEXT: *(const char **)to = value; return *value ? NULL : "a name";
    case FLAG_ON: *(bool *)to = true; return NULL;
    case FLAG_REAL:
    case FLAG_SHARE:
        if (!read_real(value, &real)) return "a number, 0 or more";
        if (f->kind == FLAG_SHARE && real > 1) return "a number from 0 to 1";
        *(double *)to = real;
        return NULL;
    case FLAG_WHOLE:
        if (!read_whole(value, &whole)) return "a whole number, 0 or more";
        memcpy(to, &whole, sizeof whole); /* uint64_t, or int64_t that it fits into */
        return NULL;
    case FLAG_PAIRS:
        if (o->n_pairs == FILES_MAX) return "no more than 64 files";
        return read_file_flag(a, value, &a->pairs[o->n_pairs++]) ? NULL : "FILE[:WEIGHT]";
    case FLAG_TAUGHT:
        if (o->n_taught == FILES_MAX) return "no more than 64 files";
        return read_taught_flag(a, value, &a->taught[o->n_taught++]) ? NULL
                                                                     : "TEXTS:VECTORS.npy[:WEIGHT]";
    }
    return "another kind of flag";
}

static const struct flag *find_flag(const char *arg, const char **ret_inline_value)
{
    for (size_t i = 0; i < FLAGS; i++) {
        size_t n = strlen(flags[i].name);
        if (strncmp(arg, flags[i].name, n) != 0) continue;
        *ret_inline_value = arg[n] == '=' ? arg + n + 1 : NULL;
        if (arg[n] == '\0' || (arg[n] == '=' && flags[i].value)) return &flags[i];
    }
    return NULL;
}

static bool read_args(struct train_args *a, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *value, *wanted;
        const struct flag *f = find_flag(argv[i], &value);

        if (!f) {
            fprintf(
                stderr, "kindred train: there is no flag %s; see kindred train --help\n", argv[i]);
            return false;
        }
        if (f->value && !value && !(value = argv[++i])) {
            fprintf(stderr, "kindred train: %s needs %s\n", f->name, f->value);
            return false;
        }
        wanted = set_flag(a, f, value);
        if (wanted) {
            fprintf(stderr, "kindred train: %s needs %s, not \"%s\"\n", f->name, wanted, value);
            return false;
        }
    }
    if (a->threads < 1 || a->threads > THREADS_MAX) {
        fprintf(stderr, "kindred train: --threads needs 1 to %d\n", THREADS_MAX);
        return false;
    }
    if (a->method && !train_method_read(a->method, &a->rq.options.model.method)) {
        fprintf(stderr, "kindred train: --method needs auto, full, last_layers, lora or adapter\n");
        return false;
    }
    if (a->rq.model && a->rq.options.out_dir && a->rq.options.n_pairs + a->rq.options.n_taught > 0)
        return true;
    usage(stderr);
    return false;
}

/* ---- the run ---- */

static enum err_code train(
    struct train_args *a, struct config *cfg, struct train_files_report *ret, struct err *e)
{
    struct trainer_options *o = &a->rq.options;

    TRY(config_read_env(cfg, e));
    TRY(config_set(cfg, "default_model", a->rq.model, e));
    if (a->models) TRY(config_set(cfg, "models", a->models, e));
    a->rq.cfg = cfg;
    o->pairs = a->pairs;
    o->taught = a->taught;
    o->batch = (size_t)a->batch;
    o->max_tokens = (size_t)a->max_tokens;
    o->threads = (unsigned)a->threads;
    o->model.layers = (size_t)a->layers;
    o->model.rank = (size_t)a->rank;
    o->symmetric = !a->asymmetric;
    return train_files(&a->rq, ret, e);
}

static int report(const struct train_args *a, const struct train_files_report *r,
    enum err_code code, int stopped, const struct err *e)
{
    if (code == ERR_CANCELLED && stopped) {
        fprintf(stderr,
            "kindred train: stopped; what was learnt is in %s, and the same command with --resume "
            "goes "
            "on\n",
            a->work);
        return SIGNAL_STATUS + stopped;
    }
    if (code != ERR_OK) {
        fprintf(stderr, "kindred train: %s\n", e->msg);
        return 1;
    }
    printf("%s: %lld steps on %zu pairs and %zu taught texts in %.0f s, last loss %.3f\n"
           "data %s\n",
        a->rq.options.out_dir, (long long)r->training.steps, r->training.pairs, r->training.taught,
        r->training.seconds, r->training.final_loss, r->data_hash);
    return 0;
}

/* "DIR" with a tail, without the slashes that DIR may end with; NULL: no memory. */
static char *folder_name(const char *dir, const char *tail)
{
    struct buf b = BUF_INIT(0);
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    buf_append(&b, dir, n);
    buf_puts(&b, tail);
    if (b.failed) buf_done(&b);
    return buf_take(&b, NULL);
}

static int train_and_report(struct train_args *a)
{
    AUTO_FREE char *out = folder_name(a->rq.options.out_dir, "");
    AUTO_FREE char *work =
        a->work ? mem_strdup(a->work) : folder_name(a->rq.options.out_dir, ".work");
    AUTO(config_done) struct config cfg = { 0 };
    struct cmd_train_display display = { .began = false };
    struct train_files_report r = { .data_hash = "" };
    struct err e = ERR_INIT;
    enum err_code code;

    log_set_level(LOG_WARN); /* which models were found is not what was asked */
    a->rq.options.out_dir = out;
    a->rq.options.work_dir = a->work = work;
    a->rq.options.progress = cmd_train_progress;
    a->rq.options.arg = &display;
    a->rq.options.stop = cmd_train_stop();
    code = out && work ? config_init(&cfg, &e) : err_set(&e, ERR_NOMEM, "out of memory");
    if (code == ERR_OK) code = train(a, &cfg, &r, &e);
    cmd_train_progress_end(&display);
    return report(a, &r, code, (int)*a->rq.options.stop, &e);
}

int cmd_train_files(int argc, char **argv)
{
    struct train_args a = { .rq.options = TRAINER_OPTIONS_DEFAULTS };
    int status = 2;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        usage(stdout);
        return 0;
    }
    a.rq.options.rate = 0;
    a.layers = a.rq.options.model.layers;
    a.rank = a.rq.options.model.rank;
    a.batch = a.rq.options.batch;
    a.threads = a.rq.options.threads;
    a.max_tokens = a.rq.options.max_tokens;
    if (read_args(&a, argc, argv)) status = train_and_report(&a);
    for (size_t i = 0; i < a.n_owned; i++)
        mem_free(a.owned[i]);
    return status;
}
