/* config.json names the architecture, and with it the table of operations.
 *
 * Fields that are not listed here (licence, the version of the program that wrote
 * the file) are left alone: other programs keep theirs in the same file.
 * modules.json must not ask for something that would not happen.
 */
#include "core/model/encoder_ops.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/model/bert.h"
#include "core/model/modules.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 20, DIMENSIONS_MAX = 65536, VOCAB_MAX = 1 << 24 };

static const struct encoder_ops *const ARCHITECTURES[] = { &static_encoder_ops, &bert_encoder_ops };
enum { N_ARCHITECTURES = sizeof ARCHITECTURES / sizeof *ARCHITECTURES };

static const struct json_place CONFIG = { "config.json", "" };

/* Copy a string field; what does not fit is an error. */
static enum err_code read_text(
    const json_t *j, const char *field, char *ret, size_t cap, struct err *e)
{
    struct str s = { ret, strlen(ret) };
    TRY(json_read_str(j, field, &CONFIG, &s, e));
    if (s.n >= cap)
        return err_set(
            e, ERR_UNPROCESSABLE, "config.json: %s has more than %zu bytes", field, cap - 1);
    memmove(ret, s.p, s.n);
    ret[s.n] = '\0';
    return ERR_OK;
}

static void name_of_folder(const char *dir, char *ret, size_t cap)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && dir[begin - 1] != '/')
        begin--;
    n -= begin;
    if (n >= cap) n = cap - 1;
    memcpy(ret, dir + begin, n);
    ret[n] = '\0';
}

static enum err_code read_fields(const char *dir, const json_t *j, struct model_config *c,
    bool *ret_normalize_given, struct err *e)
{
    name_of_folder(dir, c->name, sizeof c->name);
    TRY(read_text(j, "name", c->name, sizeof c->name, e));
    if (c->name[0] == '\0') return err_set(e, ERR_UNPROCESSABLE, "config.json: name is empty");
    TRY(read_text(j, "model_type", c->model_type, sizeof c->model_type, e));
    TRY(read_text(j, "pooling", c->pooling, sizeof c->pooling, e));
    TRY(json_read_size(j, "hidden_size", &CONFIG, 1, DIMENSIONS_MAX, &c->hidden_size, e));
    TRY(json_read_size(j, "vocab_size", &CONFIG, 1, VOCAB_MAX, &c->vocab_size, e));
    TRY(json_read_size(j, "max_tokens", &CONFIG, 0, SIZE_MAX >> 2, &c->max_tokens, e));
    TRY(json_read_bool(j, "normalize", &CONFIG, &c->normalize, e));
    *ret_normalize_given = json_is_boolean(json_object_get(j, "normalize"));

    const json_t *list = json_object_get(j, "architectures");
    if (!list || json_is_null(list)) return ERR_OK;
    const char *first = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) != 1 || !first)
        return err_set(e, ERR_UNPROCESSABLE, "config.json: architectures must hold one name");
    if (strlen(first) >= sizeof c->architecture)
        return err_set(
            e, ERR_UNPROCESSABLE, "config.json: architecture \"%.40s…\" is not known", first);
    memcpy(c->architecture, first, strlen(first) + 1);
    return ERR_OK;
}

static bool has_architecture(const struct encoder_ops *o, const char *name)
{
    const char *const *a = o->architectures;
    while (*a && strcmp(*a, name) != 0)
        a++;
    return *a != NULL;
}

static enum err_code pick(
    const struct model_config *c, const struct encoder_ops **ret_ops, struct err *e)
{
    char known[128] = "";
    for (size_t i = 0; i < N_ARCHITECTURES; i++) {
        const struct encoder_ops *o = ARCHITECTURES[i];
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s with %s", i > 0 ? ", " : "", o->model_type,
            o->architectures[0]);
        if (strcmp(o->model_type, c->model_type) != 0) continue;
        if (c->architecture[0] && !has_architecture(o, c->architecture)) continue;
        *ret_ops = o;
        return ERR_OK;
    }
    return err_set(e, ERR_UNPROCESSABLE,
        "config.json: model_type \"%s\" with architecture \"%s\" is not known; known: %s",
        c->model_type, c->architecture, known);
}

static bool is_known_module(const struct encoder_ops *ops, const char *class)
{
    const char *const *m = ops->modules;
    while (*m && strcmp(*m, class) != 0)
        m++;
    return *m != NULL;
}

static enum err_code read_modules(const char *dir, const struct encoder_ops *ops,
    struct model_config *c, bool normalize_given, struct err *e)
{
    struct model_modules modules;
    TRY(modules_read(dir, &modules, e));
    if (!modules.given) return ERR_OK;
    bool normalize = false;
    for (size_t i = 0; i < modules.n; i++) {
        const struct model_module *m = &modules.list[i];
        const char *class = module_class(m);
        if (!is_known_module(ops, class))
            return err_set(e, ERR_UNPROCESSABLE,
                "modules.json: module %zu, \"%.80s\", is not known", i, m->type);
        bool is_normalize = strcmp(class, "Normalize") == 0;
        if (!is_normalize && (i > 0 || m->path[0]))
            return err_set(e, ERR_UNPROCESSABLE,
                "modules.json: %s must be the first module, with its files in the folder itself",
                class);
        normalize = normalize || is_normalize;
    }
    if (normalize_given && normalize != c->normalize)
        return err_set(
            e, ERR_UNPROCESSABLE, "modules.json and config.json's normalize contradict each other");
    c->normalize = normalize;
    return ERR_OK;
}

enum err_code model_config_read(const char *dir, struct model_config *ret_config,
    const struct encoder_ops **ret_ops, struct err *e)
{
    AUTO_FREE char *config = path_join(dir, "config.json");
    if (!config) return err_set(e, ERR_NOMEM, "no memory to load the model");
    AUTO_JSON json_t *j = NULL;
    struct model_config c = { .normalize = false };
    const struct encoder_ops *ops = NULL;
    bool normalize_given = false;
    TRY(json_file_read(config, CONFIG_BYTES_MAX, &j, e));
    TRY(read_fields(dir, j, &c, &normalize_given, e));
    TRY(pick(&c, &ops, e));
    if (ops->modules) TRY(read_modules(dir, ops, &c, normalize_given, e));
    TRY(prompts_read(dir, &c.prompts, e));
    *ret_config = c;
    *ret_ops = ops;
    return ERR_OK;
}
