/* The program: picks the subcommand. */
#include "server/cmd.h"

#include "version.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the first argument after the name */
    const char *summary;
};

static const struct command commands[] = {
    { "serve", cmd_serve, "run the server" },
    { "import", cmd_import, "stream items into a collection of a running server" },
    { "eval", cmd_eval, "judge a model on a file of cases" },
    { "train", cmd_train, "train a model on files, or on what a collection holds" },
    { "model", cmd_model, "models: list, info, pull, add, verify" },
    { "bench", cmd_bench, "bench index: recall and rate of your own vectors, and what to set" },
    { "config", cmd_config, "print every setting with its meaning" },
    { "version", cmd_version, "print the version" },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

int cmd_version(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        puts("usage: kindred version");
        return 0;
    }
    if (argc > 0) {
        fprintf(stderr, "kindred version: unexpected argument \"%s\"\n", argv[0]);
        return 2;
    }
    printf("kindred %s (%s)\n", KINDRED_VERSION, KINDRED_COMMIT);
    return 0;
}

static void print_help(FILE *out)
{
    fputs("usage: kindred COMMAND [ARGUMENT...]\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nkindred COMMAND --help says more about one.\n", out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) name = "version";
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    }
    fprintf(stderr, "kindred: there is no command \"%.64s\"; see kindred --help\n", name);
    return 2;
}
