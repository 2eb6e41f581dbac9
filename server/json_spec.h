/* Layer: server. May include: engine, base, jansson.
 *
 * Objects of a request, read by tables of fields. Unknown names are
 * UNKNOWN_FIELD, wrong values INVALID; every error carries the JSON pointer of
 * the value and says what was expected.
 *
 *     static const struct json_field search_fields[] = {
 *         { "k", JSON_SIZE, JSON_AT(struct search_body, k), .min = 1, .max = 10000 },
 *         { "text", JSON_STR, JSON_AT(struct search_body, text) },
 *         { "filter", JSON_CUSTOM, JSON_AT(struct search_body, filter), .read = read_filter },
 *     };
 *     static const struct json_spec search_spec = JSON_SPEC(search_fields, .vectors = search_vectors);
 *
 * null is the same as leaving an optional field out, except for JSON_VALUE and
 * JSON_CUSTOM, which see it. A field that is left out keeps the default that
 * the struct had.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "server/json_read.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* what the field is in C, and what min and max bound (both 0: no bound) */
enum json_field_type {
    JSON_STR,    /* struct str; bytes. Absent: unchanged (p == NULL by convention) */
    JSON_SIZE,   /* size_t; value. Only whole numbers ≥ 0 */
    JSON_U32,    /* uint32_t; value */
    JSON_I64,    /* int64_t; value */
    JSON_F32,    /* float; value */
    JSON_F64,    /* double; value */
    JSON_BOOL,   /* bool */
    JSON_ENUM,   /* int (or an enum): index in `names` */
    JSON_STRS,   /* struct json_strs; number of elements, more than max is TOO_MANY */
    JSON_VECTOR, /* struct json_vector; a list at one of the spec's vector paths, or base64 of
                    little-endian float32; number of elements. Finite. */
    JSON_VALUE,  /* const json_t *: as it is */
    JSON_CUSTOM, /* read() */
};

struct json_strs {
    const struct str *p;
    size_t n;
};

/* Where in the document a value is: a chain on the stack. */
struct json_at {
    const struct json_at *up; /* NULL: the root */
    const char *name;         /* of a member; NULL: an element */
    size_t index;
};
#define JSON_ROOT ((struct json_at){ .up = NULL })
#define JSON_MEMBER(at, n) ((struct json_at){ .up = (at), .name = (n) })
#define JSON_ELEMENT(at, i) ((struct json_at){ .up = (at), .index = (i) })

/* What readers need besides the value. */
struct json_reader {
    struct arena *arena;
    const struct json_doc *doc;
    void *user; /* for custom readers: limits, the exchange */
};

/** Reads v at `at` into *field. May call json_spec_object, json_fail and the like. */
typedef enum err_code (*json_read_fn)(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e);

struct json_field {
    const char *name;
    enum json_field_type type;
    size_t offset;
    double min, max;
    bool required;
    size_t has; /* JSON_HAS(...): a bool that is set when the field is there; 0: none */
    const char *const *names; /* JSON_ENUM: ended by NULL */
    json_read_fn read;        /* JSON_CUSTOM */
};
#define JSON_AT(type, member) .offset = offsetof(type, member)
#define JSON_HAS(type, member) .has = offsetof(type, member) + 1

struct json_spec {
    const struct json_field *fields;
    size_t n;
    const char *const *vectors; /* paths of vectors from the root, ended by NULL; NULL: none */
};
#define JSON_SPEC(f, ...)                                                                          \
    {                                                                                              \
        .fields = (f), .n = sizeof(f) / sizeof((f)[0]), ##__VA_ARGS__                              \
    }

/** Read object v. INVALID if it is none. */
MUST_USE enum err_code json_spec_object(const struct json_reader *r, const struct json_at *at,
    const struct json_spec *spec, const json_t *v, void *ret, struct err *e);
/** Read one value as `f` says (f->offset is not used): for lists and unions. */
MUST_USE enum err_code json_spec_value(const struct json_reader *r, const struct json_at *at,
    const struct json_field *f, const json_t *v, void *ret, struct err *e);

/** The string's bytes, borrowed from v. v must be a string. */
struct str json_str_of(const json_t *v);
/** "an object", "a string", "null": for messages. */
const char *json_kind(const json_t *v);
/** INVALID: "must be EXPECTED, not KIND". */
enum err_code json_fail_type(
    const struct json_at *at, const char *expected, const json_t *v, struct err *e);
/** Fill e with code, a message and the pointer of `at`. */
enum err_code json_fail(const struct json_at *at, struct err *e, enum err_code code,
    const char *fmt, ...) PRINTF_LIKE(4, 5);
/** JSON pointer (RFC 6901) of `at` into ret; cut from the front of what does not fit. */
void json_pointer(const struct json_at *at, char *ret, size_t ret_bytes);
