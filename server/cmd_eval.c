#include "base/fileio.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/evaluate.h"
#include "server/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATA_BYTES_MAX = 1 << 30 };

static void usage(FILE *out)
{
    fputs("usage: kindred eval --model M --task sts|retrieval --data FILE [--every N] [--models "
          "DIR]\n\n"
          "Judge a model on a file of cases and print the figures as JSON. M is a model's name or "
          "its\n"
          "folder; FILE may be - for standard input. One case a line, fields separated by a tab:\n"
          "  sts        score, sentence, sentence: Spearman's rank correlation of the cosines\n"
          "  retrieval  query, document: how often a query's document is first, or among the first "
          "ten,\n"
          "             of all documents of the file\n"
          "--every N takes each Nth line only.\n",
        out);
}

static void print_report(
    const struct eval_request *rq, const char *model, const struct eval_report *r)
{
    const struct rank_retrieval *q = &r->retrieval;
    double rate = r->encode_seconds > 0 ? 2 * (double)r->cases / r->encode_seconds : 0;

    printf("{\"model\": \"%s\", \"dimensions\": %zu, \"cases\": %zu, ", model, r->dimensions,
        r->cases);
    if (rq->task == EVAL_STS)
        printf("\"spearman\": %.4f", r->spearman);
    else
        printf("\"recall_at_1\": %.4f, \"recall_at_10\": %.4f, \"mrr_at_10\": %.4f, "
               "\"ndcg_at_10\": %.4f",
            q->recall_at_1, q->recall_at_10, q->mrr_at_10, q->ndcg_at_10);
    printf(", \"texts_per_second\": %.0f}\n", rate);
}

struct eval_args {
    const char *model, *task, *data, *models, *every;
};

static bool read_args(struct eval_args *a, int argc, char **argv)
{
    for (int i = 0; i < argc; i += 2) {
        const char **to = !strcmp(argv[i], "--model") ? &a->model
            : !strcmp(argv[i], "--task")              ? &a->task
            : !strcmp(argv[i], "--data")              ? &a->data
            : !strcmp(argv[i], "--models")            ? &a->models
            : !strcmp(argv[i], "--every")             ? &a->every
                                                      : NULL;
        if (!to || i + 1 >= argc) return false;
        *to = argv[i + 1];
    }
    return a->model && a->task && a->data &&
        (!strcmp(a->task, "sts") || !strcmp(a->task, "retrieval"));
}

static enum err_code run(const struct eval_args *a, struct config *cfg, struct err *e)
{
    struct eval_request rq = { .task = !strcmp(a->task, "sts") ? EVAL_STS : EVAL_RETRIEVAL,
        .cfg = cfg };
    AUTO_FREE char *config_path = path_join(a->model, "config.json");
    AUTO_FREE char *text = NULL;
    struct eval_report report;

    if (!config_path) return err_set(e, ERR_NOMEM, "out of memory");
    if (file_exists(config_path)) rq.model_dir = a->model;
    rq.every = a->every ? strtoul(a->every, NULL, 10) : 1;
    TRY(config_read_env(cfg, e));
    if (!rq.model_dir) TRY(config_set(cfg, "default_model", a->model, e));
    if (a->models) TRY(config_set(cfg, "models", a->models, e));
    if (strcmp(a->data, "-") == 0)
        TRY(stream_read(STDIN_FILENO, "standard input", DATA_BYTES_MAX, &text, &rq.data.n, e));
    else
        TRY(file_read(a->data, DATA_BYTES_MAX, &text, &rq.data.n, e));
    rq.data.p = text;
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
