/* Layer: engine. May include: core, index, catalog, base.
 *
 * Settings: one struct generated from options.def. A bad value or an unknown
 * key is an error with file, line, key and range; never the default in silence.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config {
#define CONFIG_TYPE_STR char *
#define CONFIG_TYPE_U64 uint64_t
#define CONFIG_TYPE_BOOL bool
#define OPT(type, field, key, env, def, min, max, help) CONFIG_TYPE_##type field;
#include "engine/options.def"
#undef OPT
};

/** All defaults. ERR_NOMEM. Strings belong to the struct. */
MUST_USE enum err_code config_init(struct config *c, struct err *e);
void config_done(struct config *c);

/** `key = value` lines, '#' comments, values bare or in double quotes. INVALID names file and line. */
MUST_USE enum err_code config_read_file(struct config *c, const char *path, struct err *e);
/** Every KINDRED_… variable that is a setting; others are left alone. */
MUST_USE enum err_code config_read_env(struct config *c, struct err *e);
/** One setting by key ("http.threads"). UNKNOWN_FIELD, INVALID. */
MUST_USE enum err_code config_set(
    struct config *c, const char *key, const char *value, struct err *e);
/**
 * Flags of a subcommand: "--http-threads 4", "--http-threads=4", "--insecure". Stops at the first
 * argument that is no flag or after "--"; *ret_next is its index. `--config FILE` must be read by the
 * caller first (config_find_file). UNKNOWN_FIELD, INVALID.
 */
MUST_USE enum err_code config_read_args(
    struct config *c, int argc, char **argv, int *ret_next, struct err *e);
/** Value of --config in argv, or NULL. */
const char *config_find_file(int argc, char **argv);

/** One line a flag, for --help. */
void config_print_help(FILE *out);
/** docs/config.md. */
void config_print_markdown(FILE *out);
