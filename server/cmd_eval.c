#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/evaluate.h"
#include "server/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATA_BYTES_MAX = 1 << 30 };

static void usage(FILE *out)
{
    fputs(
        "usage: kindred eval --model M --task sts|retrieval --data FILE [--every N] [--models "
        "DIR]\n"
        "       kindred eval --model M --task retrieval --data FILE --baseline B [--test N]\n"
        "       kindred eval --model M --task general\n\n"
        "Judge a model on a file of cases and print the figures as JSON. M is a model's name or "
        "its\n"
        "folder; FILE may be - for standard input. One case a line, fields separated by a tab:\n"
        "  sts        score, sentence, sentence: Spearman's rank correlation of the cosines\n"
        "  retrieval  query, document: how often a query's document is first, or among the first\n"
        "             ten, of all documents of the file. A line that begins with the tab is a\n"
        "             document that answers no query\n"
        "  general    as sts, on general sentences that are part of the program\n"
        "--every N takes each Nth line only.\n"
        "--baseline B judges B too, and says what the gate of a training run would say to M in "
        "its\n"
        "place. --test N: it is the Nth test on this file (default 1); later ones are stricter.\n",
        out);
}

static double rate_of(size_t texts, double seconds)
{
    return seconds > 0 ? (double)texts / seconds : 0;
}

static void print_retrieval(const struct rank_retrieval *q)
{
    printf("\"recall_at_1\": %.4f, \"recall_at_10\": %.4f, \"mrr_at_10\": %.4f, "
           "\"ndcg_at_10\": %.4f",
        q->recall_at_1, q->recall_at_10, q->mrr_at_10, q->ndcg_at_10);
}

static void print_report(
    const struct eval_request *rq, const char *model, const struct eval_report *r)
{
    printf("{\"model\": \"%s\", \"dimensions\": %zu, \"cases\": %zu, ", model, r->dimensions,
        r->cases);
    if (rq->task == EVAL_RETRIEVAL) {
        printf("\"documents\": %zu, ", r->documents);
        print_retrieval(&r->retrieval);
    } else {
        printf("\"spearman\": %.4f", r->spearman);
    }
    printf(", \"unknown\": %zu, \"texts_per_second\": %.0f}\n", r->unknown,
        rate_of(r->cases + r->documents, r->encode_seconds));
}

static void print_gain(const char *name, const struct gate_gain *g, const char *after)
{
    printf("\"%s\": {\"mean\": %.4f, \"low\": %.4f, \"high\": %.4f}%s", name, g->mean, g->low,
        g->high, after);
}

static void print_gate(const struct eval_gate_request *rq, const struct eval_gate_report *r)
{
    const struct gate_report *g = &r->gate;

    printf("{\"model\": \"%s\", \"baseline\": \"%s\", \"dimensions\": %zu, \"cases\": %zu, "
           "\"documents\": %zu, \"before\": {",
        rq->after, rq->before, r->dimensions, g->before.queries, r->documents);
    print_retrieval(&g->before);
    printf(", \"general\": %.4f}, \"after\": {", g->anchor_before);
    print_retrieval(&g->after);
    printf(", \"general\": %.4f}, \"gain\": {", g->anchor_after);
    print_gain("recall_at_10", &g->recall_at_10, ", ");
    print_gain("mrr_at_10", &g->mrr_at_10, ", ");
    print_gain("ndcg_at_10", &g->ndcg_at_10, "}, ");
    printf("\"level\": %.6g, \"promote\": %s, \"why\": \"%s\", \"texts_per_second\": %.0f}\n",
        g->level, g->promote ? "true" : "false", g->why,
        rate_of(2 * (g->before.queries + r->documents), r->encode_seconds));
}

struct eval_args {
    const char *model, *baseline, *task, *data, *models, *every, *test;
};

static const struct task_name {
    const char *name;
    enum eval_task task;
} tasks[] = { { "sts", EVAL_STS }, { "retrieval", EVAL_RETRIEVAL }, { "general", EVAL_GENERAL } };

static bool read_task(const char *name, enum eval_task *ret)
{
    for (size_t i = 0; name && i < sizeof tasks / sizeof *tasks; i++) {
        if (strcmp(name, tasks[i].name) != 0) continue;
        *ret = tasks[i].task;
        return true;
    }
    return false;
}

static bool read_args(struct eval_args *a, int argc, char **argv)
{
    enum eval_task task;

    for (int i = 0; i < argc; i += 2) {
        const char **to = !strcmp(argv[i], "--model") ? &a->model
            : !strcmp(argv[i], "--baseline")          ? &a->baseline
            : !strcmp(argv[i], "--task")              ? &a->task
            : !strcmp(argv[i], "--data")              ? &a->data
            : !strcmp(argv[i], "--models")            ? &a->models
            : !strcmp(argv[i], "--every")             ? &a->every
            : !strcmp(argv[i], "--test")              ? &a->test
                                                      : NULL;
        if (!to || i + 1 >= argc) return false;
        *to = argv[i + 1];
    }
    if (!a->model || !read_task(a->task, &task)) return false;
    return (task == EVAL_GENERAL) == !a->data && (!a->baseline || task == EVAL_RETRIEVAL) &&
        (!a->test || a->baseline);
}

/* A whole number from 1; `otherwise` where the flag is not there. */
static enum err_code read_count(
    const char *flag, const char *text, size_t otherwise, size_t *ret, struct err *e)
{
    char *end;

    *ret = otherwise;
    if (!text) return ERR_OK;
    *ret = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || *ret == 0)
        return err_set(e, ERR_INVALID, "%s: %s is not a number from 1", flag, text);
    return ERR_OK;
}

static enum err_code run_gate(
    const struct eval_args *a, const struct eval_request *rq, size_t test, struct err *e)
{
    struct eval_gate_request gate = { .before = a->baseline,
        .after = a->model,
        .cfg = rq->cfg,
        .data = rq->data,
        .every = rq->every,
        .threads = rq->threads,
        .gate = GATE_OPTIONS_DEFAULTS };
    struct eval_gate_report report;

    gate.gate.test = test;
    TRY(evaluate_gate(&gate, &report, e));
    print_gate(&gate, &report);
    return ERR_OK;
}

static enum err_code run(const struct eval_args *a, struct config *cfg, struct err *e)
{
    struct eval_request rq = { .model_dir = a->model, .cfg = cfg, .threads = thread_cores() };
    AUTO_FREE char *text = NULL;
    struct eval_report report;
    size_t test;

    if (!read_task(a->task, &rq.task)) return err_set(e, ERR_INVALID, "no task %s", a->task);
    TRY(read_count("--every", a->every, 1, &rq.every, e));
    TRY(read_count("--test", a->test, 1, &test, e));
    TRY(config_read_env(cfg, e));
    if (a->models) TRY(config_set(cfg, "models", a->models, e));
    if (a->data && strcmp(a->data, "-") == 0)
        TRY(stream_read(STDIN_FILENO, "standard input", DATA_BYTES_MAX, &text, &rq.data.n, e));
    else if (a->data)
        TRY(file_read(a->data, DATA_BYTES_MAX, &text, &rq.data.n, e));
    rq.data.p = text;
    if (a->baseline) return run_gate(a, &rq, test, e);
    TRY(evaluate(&rq, &report, e));
    print_report(&rq, a->model, &report);
    return ERR_OK;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_args a = { .model = NULL };
    struct config cfg;
    struct err e = ERR_INIT;
    enum err_code code;

    if (argc > 0 && !strcmp(argv[0], "--help")) {
        usage(stdout);
        return 0;
    }
    if (!read_args(&a, argc, argv)) {
        usage(stderr);
        return 2;
    }
    log_set_level(LOG_WARN); /* which models were found is not what was asked */
    code = config_init(&cfg, &e);
    if (code == ERR_OK) code = run(&a, &cfg, &e);
    config_done(&cfg);
    if (code == ERR_OK) return 0;
    fprintf(stderr, "kindred eval: %s\n", e.msg);
    return 1;
}
