/* kindred train, from a collection: as the process that a server starts (--run), or by hand (--collection), which
 * shows what a run would do, and changes nothing. */
#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/run_folder.h"
#include "engine/train_job.h"
#include "server/cmd_train.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USAGE_STATUS = 2, SIGNAL_STATUS = 128, LINE_SECONDS = 5, TEMPORARY_RUN = 1 };

struct run_args {
    const char *run, *collection, *out;
    const char *anchor, *positive, *labels, *method, *layers, *seconds, *steps, *seed;
    struct config cfg;
};

static const struct {
    const char *name, *value, *meaning;
    size_t at;
} flags[] = {
#define FLAG(flag, member, value, meaning)                                                         \
    {                                                                                              \
        flag, value, meaning, offsetof(struct run_args, member)                                    \
    }
    FLAG("--collection", collection, "C", "learn from what it holds"),
    FLAG("--anchor", anchor, "PATH", "pairs: \"text\" or \"metadata.a.b\", with --positive"),
    FLAG("--positive", positive, "PATH", "pairs: what belongs to the anchor"),
    FLAG("--labels", labels, "PATH", "pairs: items with the same value belong together"),
    FLAG("--method", method, "NAME", "what learns: auto, full, last_layers, lora, adapter"),
    FLAG("--layers", layers, "N", "last_layers: how many"),
    FLAG("--max-seconds", seconds, "X", "of training (default: learn.max_seconds)"),
    FLAG("--max-steps", steps, "N", "of training"),
    FLAG("--seed", seed, "N", "of samples, batches and dropout (default 1)"),
    FLAG("--out", out, "DIR",
        "keep the files there, the model in DIR/model; goes on if they are there"),
    FLAG("--run", run, "N", "what a server starts: train its run N; speaks to the server"),
#undef FLAG
};
enum { FLAGS = sizeof flags / sizeof *flags, FLAG_COLUMN = 22 };

static void usage(FILE *out)
{
    fputs(
        "usage: kindred train --collection C --data DIR [FLAG...]\n"
        "       kindred train --run N --data DIR\n\n"
        "Train the model of a collection on what the collection holds, judge it on what was held\n"
        "out, and say what the gate says. Nothing is promoted, and the data folder stays as it is; "
        "a\n"
        "server may be running. Also every flag of kindred serve, such as --models.\n\n",
        out);
    for (size_t i = 0; i < FLAGS; i++) {
        int n = fprintf(out, "  %s %s", flags[i].name, flags[i].value);
        fprintf(out, "%*s%s\n", n < FLAG_COLUMN ? FLAG_COLUMN - n : 1, "", flags[i].meaning);
    }
}

/* ---- arguments ---- */

/* Is argv[*i] one of ours? Then its value is taken, and *i stands on the last of the two. */
static bool take_flag(struct run_args *a, int argc, char **argv, int *i)
{
    for (size_t f = 0; f < FLAGS; f++) {
        size_t n = strlen(flags[f].name);
        const char **to = (const char **)(void *)((char *)a + flags[f].at);
        if (strncmp(argv[*i], flags[f].name, n) != 0) continue;
        if (argv[*i][n] == '=') {
            *to = argv[*i] + n + 1;
            return true;
        }
        if (argv[*i][n] == '\0' && *i + 1 < argc) {
            *to = argv[++*i];
            return true;
        }
    }
    return false;
}

/* Ours, and settings for the rest. */
static enum err_code read_args(struct run_args *a, int argc, char **argv, struct err *e)
{
    AUTO_FREE char **rest = mem_alloc((size_t)argc + 1, sizeof *rest);
    int n = 0, next = 0;

    if (!rest) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < argc; i++)
        if (!take_flag(a, argc, argv, &i)) rest[n++] = argv[i];
    rest[n] = NULL;
    const char *file = config_find_file(n, rest);
    if (file) TRY(config_read_file(&a->cfg, file, e));
    TRY(config_read_env(&a->cfg, e));
    TRY(config_read_args(&a->cfg, n, rest, &next, e));
    if (next < n) return err_set(e, ERR_INVALID, "unexpected argument \"%.64s\"", rest[next]);
    if (!a->run == !a->collection)
        return err_set(e, ERR_INVALID, "one of --run and --collection is needed");
    return ERR_OK;
}

static enum err_code read_whole(const char *flag, const char *text, int64_t *ret, struct err *e)
{
    char *end;

    if (!text) return ERR_OK;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return err_set(e, ERR_INVALID, "%s needs a whole number, not \"%.40s\"", flag, text);
    *ret = v;
    return ERR_OK;
}

static enum err_code read_request(const struct run_args *a, struct catalog_run *run, struct err *e)
{
    char *end;

    *run = (struct catalog_run){ .kind = RUN_TRAIN,
        .objective = STR("auto"),
        .pairs_anchor = str_from(a->anchor ? a->anchor : ""),
        .pairs_positive = str_from(a->positive ? a->positive : ""),
        .labels = str_from(a->labels ? a->labels : ""),
        .method = str_from(a->method ? a->method : ""),
        .seed = 1 };
    enum train_method method;
    if (a->method && !train_method_read(a->method, &method))
        return err_set(e, ERR_INVALID, "--method needs auto, full, last_layers, lora or adapter");
    TRY(read_whole("--layers", a->layers, &run->layers, e));
    TRY(read_whole("--max-steps", a->steps, &run->max_steps, e));
    TRY(read_whole("--seed", a->seed, &run->seed, e));
    if (!a->seconds) return ERR_OK;
    run->max_seconds = strtod(a->seconds, &end);
    if (end == a->seconds || *end || !isfinite(run->max_seconds) || run->max_seconds <= 0)
        return err_set(
            e, ERR_INVALID, "--max-seconds needs a number above 0, not \"%.40s\"", a->seconds);
    return ERR_OK;
}

/* ---- by hand ---- */

struct display {
    int64_t shown_ns;
};

static void show(void *arg, const struct run_line *line)
{
    struct display *d = arg;
    int64_t now = time_mono_ns();

    if (line->kind == LINE_PHASE)
        fputs(line->phase == RUN_EVALUATING ? "judging\n" : "reading the collection\n", stderr);
    if (line->kind != LINE_PROGRESS) return;
    if (line->step < line->steps && now - d->shown_ns < LINE_SECONDS * NS_PER_S) return;
    d->shown_ns = now;
    fprintf(stderr, "training: step %lld of %lld, loss %.3f\n", (long long)line->step,
        (long long)line->steps, line->value);
}

static void print_row(const char *name, double before, double after, const struct gate_gain *g)
{
    printf("%-18s %8.4f %8.4f %+8.4f", name, before, after, after - before);
    if (g) printf("   %+.4f to %+.4f", g->low, g->high);
    putchar('\n');
}

static void print_report(const struct run_args *a, const struct train_job_report *r)
{
    const struct gate_report *g = &r->gate;
    const struct rank_retrieval *x = &g->before, *y = &g->after;

    printf("%s: %zu pairs of %s; %zu held out, among %zu more documents; %zu left out, as they "
           "share a "
           "text with those\n",
        a->collection, r->pairs.train, pairs_source_name(r->pairs.source), r->pairs.heldout,
        r->pairs.distractors, r->pairs.shared);
    printf("%lld steps in %.0f s, last loss %.3f\n\n", (long long)r->training.steps,
        r->training.seconds, r->training.final_loss);
    printf("%-18s %8s %8s %8s   %.5g %% interval\n", "", "before", "after", "gain", 100 * g->level);
    print_row("recall@1", x->recall_at_1, y->recall_at_1, NULL);
    print_row("recall@10", x->recall_at_10, y->recall_at_10, &g->recall_at_10);
    print_row("MRR@10", x->mrr_at_10, y->mrr_at_10, &g->mrr_at_10);
    print_row("nDCG@10", x->ndcg_at_10, y->ndcg_at_10, &g->ndcg_at_10);
    print_row("general sentences", g->anchor_before, g->anchor_after, NULL);
    printf("\nthe gate says %s: %s\n", g->promote ? "promote" : "reject", g->why);
    if (a->out) printf("model: %s/model\n", a->out);
}

static enum err_code train(const struct run_args *a, const char *folder, struct err *e)
{
    struct display display = { .shown_ns = time_mono_ns() };
    struct train_job_report report;
    struct catalog_run run;
    const struct train_job_by_hand job = { .cfg = &a->cfg,
        .collection = a->collection,
        .folder = folder,
        .run = &run,
        .stop = cmd_train_stop(),
        .say = show,
        .arg = &display };

    TRY(read_request(a, &run, e));
    TRY(train_job_collection(&job, &report, e));
    print_report(a, &report);
    return ERR_OK;
}

/* Without --out the files go where nobody keeps them. */
static enum err_code train_in_passing(const struct run_args *a, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    AUTO_FREE char *root = path_join(tmp && *tmp ? tmp : "/tmp", "kindred-train-XXXXXX");

    if (!root) return err_set(e, ERR_NOMEM, "out of memory");
    if (!mkdtemp(root)) return err_errno(e, ERR_IO, errno, "cannot make a folder %s", root);
    AUTO_FREE char *folder = run_path(root, TEMPORARY_RUN, "");
    AUTO_FREE char *runs = path_join(root, "runs");
    enum err_code code =
        folder && runs ? train(a, folder, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (run_folder_remove(root, TEMPORARY_RUN, NULL) != ERR_OK || !runs || rmdir(runs) != 0 ||
        rmdir(root) != 0)
        fprintf(stderr, "kindred train: something is left in %s\n", root);
    return code;
}

static int run_by_hand(const struct run_args *a)
{
    struct err e = ERR_INIT;
    enum err_code code = a->out ? train(a, a->out, &e) : train_in_passing(a, &e);

    if (code == ERR_OK) return 0;
    if (code == ERR_CANCELLED) {
        fprintf(stderr, "kindred train: stopped%s\n", a->out ? "; the same command goes on" : "");
        return SIGNAL_STATUS + SIGTERM;
    }
    fprintf(stderr, "kindred train: %s\n", e.msg);
    return 1;
}

/* ---- both ---- */

static int run(const struct run_args *a)
{
    struct err e = ERR_INIT;
    int64_t id = 0;

    log_set_level(LOG_WARN); /* which models were found is not what was asked */
    if (!a->run) return run_by_hand(a);
    if (read_whole("--run", a->run, &id, &e) == ERR_OK) return train_job_process(&a->cfg, id);
    fprintf(stderr, "kindred train: %s\n", e.msg);
    return USAGE_STATUS;
}

int cmd_train_run(int argc, char **argv)
{
    struct run_args a = { .run = NULL };
    struct err e = ERR_INIT;
    int status;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        usage(stdout);
        return 0;
    }
    enum err_code code = config_init(&a.cfg, &e);
    if (code == ERR_OK) code = read_args(&a, argc, argv, &e);
    if (code == ERR_OK) {
        status = run(&a);
    } else {
        fprintf(stderr, "kindred train: %s; see kindred train --collection --help\n", e.msg);
        status = USAGE_STATUS;
    }
    config_done(&a.cfg);
    return status;
}
