/* Layer: core. May include: base, jansson. Internal to core/text, core/model and
 * engine/model_*.
 *
 * Model folders are described by JSON files: read one, and read fields of it
 * with errors that name file and field.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

static inline void json__auto_decref(json_t **j)
{
    json_decref(*j);
}
/* AUTO_JSON json_t *j = NULL; */
#define AUTO_JSON __attribute__((cleanup(json__auto_decref)))

/** The object in the file; names may not occur twice. Errors: NOT_FOUND, LIMIT, IO, NOMEM,
 * CORRUPT. */
MUST_USE enum err_code json_file_read(
    const char *path, size_t max_bytes, json_t **ret_object, struct err *e);
/** As json_file_read, from memory of which nothing is kept; `name` is for messages. Errors: NOMEM, CORRUPT. */
MUST_USE enum err_code json_text_read(
    struct str text, const char *name, json_t **ret_object, struct err *e);
/** As json_file_read, with every number a real: one that no integer has room for, as the length without
 * a limit that `transformers` writes, 10^30, is no error then. */
MUST_USE enum err_code json_file_read_reals(
    const char *path, size_t max_bytes, json_t **ret_object, struct err *e);
/** As json_file_read, with a top level of object or array. */
MUST_USE enum err_code json_file_read_any(
    const char *path, size_t max_bytes, json_t **ret_value, struct err *e);

/* A place in a file, for messages. */
struct json_place {
    const char *file;   /* "tokenizer.json" */
    const char *prefix; /* "model.", or "" */
};

/** Every name of `object` must be one of `names` (NULL ends them). UNPROCESSABLE. */
MUST_USE enum err_code json_check_names(
    const json_t *object, const struct json_place *at, const char *const *names, struct err *e);
/* A field that is missing or null leaves *ret as it is; one of another type is CORRUPT. */
MUST_USE enum err_code json_read_bool(
    const json_t *object, const char *name, const struct json_place *at, bool *ret, struct err *e);
/** Between min and max, else UNPROCESSABLE. */
MUST_USE enum err_code json_read_size(const json_t *object, const char *name,
    const struct json_place *at, size_t min, size_t max, size_t *ret, struct err *e);
/** Borrowed from `object`; NUL-terminated. */
MUST_USE enum err_code json_read_str(const json_t *object, const char *name,
    const struct json_place *at, struct str *ret, struct err *e);
