/* jansson refuses NUL, bad UTF-8, numbers out of range and nesting deeper than
 * 2,048 by itself; duplicates it refuses because it is asked to.
 */
#include "core/text/json_file.h"

#include "base/fileio.h"
#include "base/mem.h"

static enum err_code parse(
    struct str text, const char *name, size_t flags, json_t **ret_value, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | flags, &je);
    if (!j && json_error_code(&je) == json_error_out_of_memory)
        return err_set(e, ERR_NOMEM, "no memory to read %s", name);
    if (!j) return err_set(e, ERR_CORRUPT, "%s, line %d: %s", name, je.line, je.text);
    *ret_value = j;
    return ERR_OK;
}

enum err_code json_file_read_any(
    const char *path, size_t max_bytes, json_t **ret_value, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    TRY(file_read(path, max_bytes, &text, &n, e));
    return parse((struct str){ text, n }, path, 0, ret_value, e);
}

static enum err_code parse_object(
    struct str text, const char *name, size_t flags, json_t **ret_object, struct err *e)
{
    json_t *j = NULL;
    TRY(parse(text, name, flags, &j, e));
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(e, ERR_CORRUPT, "%s: the top level must be an object", name);
    }
    *ret_object = j;
    return ERR_OK;
}

static enum err_code read_object(
    const char *path, size_t max_bytes, size_t flags, json_t **ret_object, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    TRY(file_read(path, max_bytes, &text, &n, e));
    return parse_object((struct str){ text, n }, path, flags, ret_object, e);
}

enum err_code json_text_read(struct str text, const char *name, json_t **ret_object, struct err *e)
{
    return parse_object(text, name, 0, ret_object, e);
}

enum err_code json_file_read(const char *path, size_t max_bytes, json_t **ret_object, struct err *e)
{
    return read_object(path, max_bytes, 0, ret_object, e);
}

enum err_code json_file_read_reals(
    const char *path, size_t max_bytes, json_t **ret_object, struct err *e)
{
    return read_object(path, max_bytes, JSON_DECODE_INT_AS_REAL, ret_object, e);
}

enum err_code json_check_names(
    const json_t *object, const struct json_place *at, const char *const *names, struct err *e)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *name = names;
        while (*name && strcmp(*name, key) != 0)
            name++;
        if (!*name)
            return err_set(
                e, ERR_UNPROCESSABLE, "%s: field %s%.60s is not known", at->file, at->prefix, key);
    }
    return ERR_OK;
}

static enum err_code wrong_type(
    const struct json_place *at, const char *name, const char *want, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "%s: %s%s must be %s", at->file, at->prefix, name, want);
}

enum err_code json_read_bool(
    const json_t *object, const char *name, const struct json_place *at, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(object, name);
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_boolean(v)) return wrong_type(at, name, "true or false", e);
    *ret = json_is_true(v);
    return ERR_OK;
}

enum err_code json_read_size(const json_t *object, const char *name, const struct json_place *at,
    size_t min, size_t max, size_t *ret, struct err *e)
{
    const json_t *v = json_object_get(object, name);
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_integer(v)) return wrong_type(at, name, "an integer", e);
    json_int_t i = json_integer_value(v);
    if (i < 0 || (unsigned long long)i < min || (unsigned long long)i > max)
        return err_set(e, ERR_UNPROCESSABLE, "%s: %s%s is %lld, it must be between %zu and %zu",
            at->file, at->prefix, name, (long long)i, min, max);
    *ret = (size_t)i;
    return ERR_OK;
}

enum err_code json_read_str(const json_t *object, const char *name, const struct json_place *at,
    struct str *ret, struct err *e)
{
    const json_t *v = json_object_get(object, name);
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_string(v)) return wrong_type(at, name, "a string", e);
    *ret = (struct str){ json_string_value(v), json_string_length(v) };
    return ERR_OK;
}
