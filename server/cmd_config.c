#include "engine/config.h"
#include "server/cmd.h"

#include <stdio.h>
#include <string.h>

int cmd_config(int argc, char **argv)
{
    if (argc == 0) {
        config_print_help(stdout);
        return 0;
    }
    if (argc == 1 && !strcmp(argv[0], "--markdown")) {
        config_print_markdown(stdout);
        return 0;
    }
    if (argc == 1 && !strcmp(argv[0], "--help")) {
        puts("usage: kindred config [--markdown]\n\n"
             "Print every setting with its flag, default and meaning.");
        return 0;
    }
    fprintf(
        stderr, "kindred config: unknown argument \"%s\"; see kindred config --help\n", argv[0]);
    return 2;
}
