/* Layer: bench. May include: libc.
 *
 * Arguments of a bench, "--NAME VALUE" or "--NAME" alone, and lists of words.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arg {
    const char *name; /* "--sets" */
    enum { ARG_TEXT, ARG_NUMBER, ARG_FLAG } kind;
    void *to; /* const char **, size_t *, bool * */
};

/** Ends the program at an argument that is not in table [n]; `source` is where they are explained. */
void args_read(const struct arg *table, size_t n, const char *source, int argc, char **argv);
/** Call fn(arg, word) for each word of a list with commas. */
void args_each(const char *list, void (*fn)(void *arg, const char *word), void *arg);
