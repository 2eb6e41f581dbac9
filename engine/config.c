/* options.def is included several times: for the struct (config.h), and here for the table that drives
 * parsing, help and documentation. */
#include "engine/config.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum option_type { OPTION_STR, OPTION_U64, OPTION_BOOL };

struct option {
    enum option_type type;
    const char *key, *env, *text_default, *help;
    uint64_t number_default, min, max;
    size_t offset;
};

/* A default is a string for STR and a number for U64 and BOOL: each macro takes the side it needs. */
#define DEFAULTS_STR(def) .text_default = (def)
#define DEFAULTS_U64(def) .number_default = (def)
#define DEFAULTS_BOOL(def) .number_default = (def)

static const struct option options[] = {
#define OPT(t, field, k, environment, def, lo, hi, h)                                              \
    { .type = OPTION_##t,                                                                          \
        .key = (k),                                                                                \
        .env = (environment),                                                                      \
        DEFAULTS_##t(def),                                                                         \
        .min = (lo),                                                                               \
        .max = (hi),                                                                               \
        .help = (h),                                                                               \
        .offset = offsetof(struct config, field) },
#include "engine/options.def"
#undef OPT
};
enum { OPTIONS = sizeof options / sizeof options[0], FILE_BYTES_MAX = 1 << 20, FLAG_BYTES = 64 };

static void *at(struct config *c, const struct option *o)
{
    return (char *)c + o->offset;
}

static enum err_code set_str(
    struct config *c, const struct option *o, const char *value, struct err *e)
{
    char **field = at(c, o);
    size_t n = strlen(value);
    char *copy;

    if (n < o->min || n > o->max)
        return err_set(e, ERR_INVALID, "%s needs %llu to %llu characters, got %zu", o->key,
            (unsigned long long)o->min, (unsigned long long)o->max, n);
    copy = mem_strdup(value);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for setting %s", o->key);
    mem_free(*field);
    *field = copy;
    return ERR_OK;
}

static enum err_code set_u64(
    struct config *c, const struct option *o, const char *value, struct err *e)
{
    uint64_t *field = at(c, o);
    unsigned long long v = 0;
    char *end = NULL;

    errno = 0;
    if (value[0] >= '0' && value[0] <= '9') v = strtoull(value, &end, 10);
    if (!end || *end || errno || v < o->min || v > o->max)
        return err_set(e, ERR_INVALID, "%s needs a whole number from %llu to %llu, got \"%.64s\"",
            o->key, (unsigned long long)o->min, (unsigned long long)o->max, value);
    *field = v;
    return ERR_OK;
}

static enum err_code set_bool(
    struct config *c, const struct option *o, const char *value, struct err *e)
{
    bool *field = at(c, o);

    if (!strcmp(value, "true") || !strcmp(value, "1") || !strcmp(value, "yes"))
        *field = true;
    else if (!strcmp(value, "false") || !strcmp(value, "0") || !strcmp(value, "no"))
        *field = false;
    else
        return err_set(e, ERR_INVALID, "%s needs true or false, got \"%.64s\"", o->key, value);
    return ERR_OK;
}

static enum err_code set(struct config *c, const struct option *o, const char *value, struct err *e)
{
    switch (o->type) {
    case OPTION_STR: return set_str(c, o, value, e);
    case OPTION_U64: return set_u64(c, o, value, e);
    case OPTION_BOOL: return set_bool(c, o, value, e);
    }
    return err_set(e, ERR_INTERNAL, "unknown option type");
}

enum err_code config_init(struct config *c, struct err *e)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        if (o->type == OPTION_U64) {
            *(uint64_t *)at(c, o) = o->number_default;
        } else if (o->type == OPTION_BOOL) {
            *(bool *)at(c, o) = o->number_default != 0;
        } else {
            char *copy = mem_strdup(o->text_default);
            if (!copy) {
                config_done(c);
                return err_set(e, ERR_NOMEM, "no memory for settings");
            }
            *(char **)at(c, o) = copy;
        }
    }
    return ERR_OK;
}

void config_done(struct config *c)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].type == OPTION_STR) mem_free(*(char **)at(c, &options[i]));
    memset(c, 0, sizeof *c);
}

enum err_code config_set(struct config *c, const char *key, const char *value, struct err *e)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (!strcmp(options[i].key, key)) return set(c, &options[i], value, e);
    return err_set(e, ERR_UNKNOWN_FIELD, "there is no setting \"%.64s\"", key);
}

/* ---- file ---- */

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static enum err_code read_line(struct config *c, struct str line, struct err *e)
{
    AUTO_FREE char *key = NULL;
    AUTO_FREE char *value = NULL;
    const char *equals;
    struct str k, v;

    line = trim(line);
    if (line.n == 0 || line.p[0] == '#') return ERR_OK;
    equals = memchr(line.p, '=', line.n);
    if (!equals) return err_set(e, ERR_INVALID, "expected \"key = value\"");
    k = trim((struct str){ line.p, (size_t)(equals - line.p) });
    v = trim((struct str){ equals + 1, (size_t)(line.p + line.n - equals - 1) });
    if (v.n && v.p[0] == '"') {
        const char *close = memchr(v.p + 1, '"', v.n - 1);
        struct str rest;
        if (!close) return err_set(e, ERR_INVALID, "a quote is not closed");
        rest = trim((struct str){ close + 1, (size_t)(v.p + v.n - close - 1) });
        if (rest.n && rest.p[0] != '#')
            return err_set(e, ERR_INVALID, "text after the closing quote");
        v = (struct str){ v.p + 1, (size_t)(close - v.p - 1) };
    } else {
        const char *comment = memchr(v.p, '#', v.n);
        if (comment) v = trim((struct str){ v.p, (size_t)(comment - v.p) });
    }
    key = mem_strndup(k.p, k.n);
    value = mem_strndup(v.p, v.n);
    if (!key || !value) return err_set(e, ERR_NOMEM, "no memory for settings");
    return config_set(c, key, value, e);
}

enum err_code config_read_file(struct config *c, const char *path, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n, line_no = 1;

    TRY(file_read(path, FILE_BYTES_MAX, &text, &n, e));
    for (const char *p = text, *end = text + n; p < end; line_no++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;

        if (read_line(c, (struct str){ p, (size_t)(stop - p) }, e) != ERR_OK)
            return err_wrap(e, "%s:%zu", path, line_no);
        p = newline ? newline + 1 : end;
    }
    return ERR_OK;
}

/* ---- environment ---- */

enum err_code config_read_env(struct config *c, struct err *e)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *value = getenv(options[i].env);
        if (value && set(c, &options[i], value, e) != ERR_OK)
            return err_wrap(e, "environment variable %s", options[i].env);
    }
    return ERR_OK;
}

/* ---- flags ---- */

/* "http.threads" and "api_key" become "http-threads" and "api-key". */
static void flag_name(const struct option *o, char ret[FLAG_BYTES])
{
    size_t i;

    for (i = 0; o->key[i] && i + 1 < FLAG_BYTES; i++)
        ret[i] = o->key[i] == '.' || o->key[i] == '_' ? '-' : o->key[i];
    ret[i] = '\0';
}

static const struct option *find_flag(const char *name, size_t n)
{
    char flag[FLAG_BYTES];

    for (size_t i = 0; i < OPTIONS; i++) {
        flag_name(&options[i], flag);
        if (strlen(flag) == n && !memcmp(flag, name, n)) return &options[i];
    }
    return NULL;
}

static bool is_flag(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-' && arg[2] != '\0';
}

enum err_code config_read_args(
    struct config *c, int argc, char **argv, int *ret_next, struct err *e)
{
    int i = 0;

    while (i < argc && is_flag(argv[i])) {
        const char *name = argv[i] + 2, *equals = strchr(name, '=');
        size_t n = equals ? (size_t)(equals - name) : strlen(name);
        bool is_config = n == 6 && !memcmp(name, "config", 6);
        const struct option *o = is_config ? NULL : find_flag(name, n);
        const char *value = equals ? equals + 1 : NULL;

        if (!o && !is_config)
            return err_set(e, ERR_UNKNOWN_FIELD, "there is no flag --%.*s", (int)n, name);
        i++;
        if (o && o->type == OPTION_BOOL) {
            if (!value) value = "true";
        } else if (!value) {
            if (i == argc)
                return err_set(e, ERR_INVALID, "flag --%.*s needs a value", (int)n, name);
            value = argv[i++];
        }
        if (o && set(c, o, value, e) != ERR_OK) return err_wrap(e, "flag --%.*s", (int)n, name);
    }
    if (i < argc && !strcmp(argv[i], "--")) i++;
    *ret_next = i;
    return ERR_OK;
}

const char *config_find_file(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!strncmp(argv[i], "--config=", 9)) return argv[i] + 9;
        if (!strcmp(argv[i], "--config") && i + 1 < argc) return argv[i + 1];
    }
    return NULL;
}

/* ---- help ---- */

static void print_default(const struct option *o, const char *quote, FILE *out)
{
    if (o->type == OPTION_STR)
        fprintf(out, "%s%s%s", quote, o->text_default, quote);
    else if (o->type == OPTION_BOOL)
        fprintf(out, "%s", o->number_default ? "true" : "false");
    else
        fprintf(out, "%llu", (unsigned long long)o->number_default);
}

void config_print_help(FILE *out)
{
    char flag[FLAG_BYTES];

    fprintf(out, "  --config FILE\n        file of \"key = value\" lines\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        flag_name(o, flag);
        fprintf(out, "  --%s%s\n        %s", flag, o->type == OPTION_BOOL ? "" : " VALUE", o->help);
        if (o->type != OPTION_STR || o->text_default[0]) {
            fprintf(out, " (default ");
            print_default(o, "", out);
            fputc(')', out);
        }
        fputc('\n', out);
    }
}

void config_print_markdown(FILE *out)
{
    char flag[FLAG_BYTES];

    fputs(
        "# Settings\n\n"
        "Generated from `engine/options.def` by `kindred config --markdown`; `make check` "
        "compares.\n\n"
        "A flag goes over the environment, the environment over the file given with `--config`, "
        "the\n"
        "file over the default. In the file a setting is a line `key = value`. A bad value or an\n"
        "unknown key stops the start and names the place.\n\n"
        "| key | flag | environment | default | range | meaning |\n"
        "| --- | --- | --- | --- | --- | --- |\n",
        out);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        flag_name(o, flag);
        fprintf(out, "| `%s` | `--%s` | `%s` | ", o->key, flag, o->env);
        if (o->type != OPTION_STR || o->text_default[0]) print_default(o, "`", out);
        if (o->type == OPTION_U64)
            fprintf(out, " | %llu…%llu", (unsigned long long)o->min, (unsigned long long)o->max);
        else
            fputs(o->type == OPTION_BOOL ? " | true, false" : " | text", out);
        fprintf(out, " | %s |\n", o->help);
    }
}
