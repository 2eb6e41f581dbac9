#include "bench/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void refuse(const char *source, const char *arg)
{
    fprintf(stderr, "argument %s: see the top of %s\n", arg, source);
    exit(1);
}

static const struct arg *find(const struct arg *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

void args_read(const struct arg *table, size_t n, const char *source, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const struct arg *a = find(table, n, argv[i]);
        if (!a || (a->kind != ARG_FLAG && i + 1 == argc)) refuse(source, argv[i]);
        if (a->kind == ARG_FLAG) {
            *(bool *)a->to = true;
            continue;
        }
        const char *value = argv[++i];
        char *end;
        if (a->kind == ARG_TEXT) {
            *(const char **)a->to = value;
            continue;
        }
        *(size_t *)a->to = strtoul(value, &end, 10);
        if (end == value || *end) refuse(source, value);
    }
}

void args_each(const char *list, void (*fn)(void *arg, const char *word), void *arg)
{
    char word[128];
    for (size_t n; *list; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, list);
        if (n > 0) fn(arg, word);
    }
}
