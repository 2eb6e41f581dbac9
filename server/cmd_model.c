/* `kindred model`: picks the command, and reads the flags that all of them take. */
#include "server/cmd_model.h"

#include "base/log.h"
#include "server/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    { "list", cmd_model_list,
        "which models there are, and with --known which can be pulled by name" },
    { "info", cmd_model_info, "everything about one" },
    { "pull", cmd_model_pull, "fetch one: a known name, or OWNER/NAME of a model hub" },
    { "add", cmd_model_add, "copy a folder that holds one" },
    { "verify", cmd_model_verify, "check the files, and that they encode" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *out)
{
    fputs("usage: kindred model COMMAND [ARGUMENT...]\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fputs("\nModels are looked for in --models DIR, then in `models` of the data folder (--data "
          "DIR), then\n"
          "beside the program and in the installed share folder; the first of a name is used. "
          "pull and add\n"
          "write to the first that is given. kindred model COMMAND --help says more.\n",
        out);
}

int cmd_model(int argc, char **argv)
{
    if (argc == 0) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    log_set_level(LOG_WARN); /* which models were found is not what was asked */
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[0], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "kindred model: there is no command \"%.64s\"; see kindred model --help\n",
        argv[0]);
    return 2;
}

/* ---- flags ---- */

static int wrong(const struct cmd_model_args *a, const char *what, const char *which)
{
    fprintf(stderr, "kindred model %s: %s%.120s; see kindred model %s --help\n", a->command, what,
        which, a->command);
    return 2;
}

/* "--url X" or "--url=X": the rest of the argument, or the next one; NULL: neither. */
static const char *value_of(int argc, char **argv, int *i)
{
    const char *equals = strchr(argv[*i], '=');
    if (equals) return equals + 1;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

static bool is_named(const char *arg, const char *name)
{
    size_t n = strcspn(arg, "=");
    return strlen(name) == n && memcmp(arg, name, n) == 0;
}

struct places {
    const char *models, *data, *config;
};

static int read_flag(
    const struct cmd_model_args *a, struct places *p, int argc, char **argv, int *i)
{
    const struct cmd_model_flag shared[] = { { "--models", &p->models, NULL },
        { "--data", &p->data, NULL }, { "--config", &p->config, NULL }, { NULL, NULL, NULL } };
    const struct cmd_model_flag *tables[] = { shared, a->own };
    const char *arg = argv[*i];
    for (size_t t = 0; t < 2; t++)
        for (const struct cmd_model_flag *f = tables[t]; f && f->name; f++) {
            if (!is_named(arg, f->name)) continue;
            if (f->yes) {
                if (strchr(arg, '=')) return wrong(a, "a flag without a value: ", arg);
                *f->yes = true;
                return -1;
            }
            *f->text = value_of(argc, argv, i);
            return *f->text ? -1 : wrong(a, "a flag needs a value: ", arg);
        }
    return wrong(a, "there is no flag ", arg);
}

static enum err_code read_config(struct config *cfg, const struct places *p, struct err *e)
{
    if (p->config) TRY(config_read_file(cfg, p->config, e));
    TRY(config_read_env(cfg, e));
    if (p->models) TRY(config_set(cfg, "models", p->models, e));
    return p->data ? config_set(cfg, "data", p->data, e) : ERR_OK;
}

int cmd_model_read(struct cmd_model_args *a, int argc, char **argv, const char **words)
{
    struct places places = { NULL, NULL, NULL };
    struct err e = ERR_INIT;
    bool flags = true;

    a->words = words;
    a->n_words = 0;
    if (config_init(&a->cfg, &e) != ERR_OK) return cmd_model_fail(a, &e);
    for (int i = 0; i < argc; i++) {
        if (flags && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            fputs(a->usage, stdout);
            return 0;
        }
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
        } else if (flags && argv[i][0] == '-') {
            int status = read_flag(a, &places, argc, argv, &i);
            if (status >= 0) return status;
        } else {
            words[a->n_words++] = argv[i];
        }
    }
    if (a->n_words < a->words_min) return wrong(a, "something is missing", "");
    if (a->n_words > a->words_max) return wrong(a, "unexpected: ", words[a->words_max]);
    if (read_config(&a->cfg, &places, &e) != ERR_OK) {
        (void)cmd_model_fail(a, &e);
        return 2;
    }
    return -1;
}

void cmd_model_done(struct cmd_model_args *a)
{
    config_done(&a->cfg);
}

int cmd_model_fail(const struct cmd_model_args *a, const struct err *e)
{
    fprintf(stderr, "kindred model %s: %s\n", a->command, e->msg);
    return 1;
}

const char *cmd_model_size(uint64_t bytes, char ret[32])
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB" };
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 1000 && unit + 1 < sizeof units / sizeof *units)
        v /= 1000, unit++;
    (void)snprintf(ret, 32, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
    return ret;
}

void cmd_model_came(const char *models, const char *name, bool replaced)
{
    printf("%s/%s is there; a server that is running %s\n", models, name,
        replaced ? "sees what was replaced after a restart" : "finds it when it is named");
}
