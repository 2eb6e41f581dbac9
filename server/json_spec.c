/* An object is read member by member of the request, each looked up in the table (a dozen names: a linear
 * search), so that an unknown name is found where it stands; then the required fields are checked.
 */
#include "server/json_spec.h"

#include <math.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct str json_str_of(const json_t *v)
{
    return (struct str){ json_string_value(v), json_string_length(v) };
}

const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "an unknown value";
}

/* ---- errors ---- */

/* One reference token, with ~ and / escaped; what does not fit is left out. */
static size_t put_token(char *p, size_t room, const struct json_at *at)
{
    char index[24];
    const char *s = at->name;
    if (!s) {
        (void)snprintf(index, sizeof index, "%zu", at->index);
        s = index;
    }
    size_t n = 0;
    if (n < room) p[n++] = '/';
    for (; *s; s++) {
        bool escaped = *s == '~' || *s == '/';
        if (n + escaped + 1u > room) break;
        if (escaped) p[n++] = '~';
        p[n++] = *s == '~' ? '0' : *s == '/' ? '1' : *s;
    }
    return n;
}

void json_pointer(const struct json_at *at, char *ret, size_t ret_bytes)
{
    const struct json_at *chain[JSON_DEPTH_MAX + 1];
    size_t depth = 0, n = 0;
    for (; at && at->up && depth < sizeof chain / sizeof *chain; at = at->up)
        chain[depth++] = at;
    while (depth > 0 && n + 1 < ret_bytes)
        n += put_token(ret + n, ret_bytes - 1 - n, chain[--depth]);
    ret[n] = '\0';
}

enum err_code json_fail(
    const struct json_at *at, struct err *e, enum err_code code, const char *fmt, ...)
{
    char pointer[ERR_FIELD_BYTES], message[ERR_MSG_BYTES];
    json_pointer(at, pointer, sizeof pointer);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return err_set_field(e, code, pointer, "%s %s", pointer[0] ? pointer : "the body", message);
}

enum err_code json_fail_type(
    const struct json_at *at, const char *expected, const json_t *v, struct err *e)
{
    return json_fail(at, e, ERR_INVALID, "must be %s, not %s", expected, json_kind(v));
}

/* ---- scalars ---- */

static bool is_bounded(const struct json_field *f)
{
    return f->min != 0 || f->max != 0;
}

static enum err_code read_string(
    const struct json_at *at, const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    if (!json_is_string(v)) return json_fail_type(at, "a string", v, e);
    struct str s = json_str_of(v);
    if (is_bounded(f) && ((double)s.n < f->min || (double)s.n > f->max))
        return json_fail(
            at, e, ERR_INVALID, "must have %.0f to %.0f bytes, not %zu", f->min, f->max, s.n);
    *(struct str *)ret = s;
    return ERR_OK;
}

static enum err_code read_integer(
    const struct json_at *at, const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    double min = f->min, max = f->max;
    if (!is_bounded(f)) {
        min = f->type == JSON_I64 ? -0x1p63 : 0;
        max = f->type == JSON_U32 ? 0xffffffffu : 0x1p63;
    }
    char expected[80];
    if (is_bounded(f)) {
        (void)snprintf(expected, sizeof expected, "a whole number from %.0f to %.0f", min, max);
    } else {
        (void)snprintf(expected, sizeof expected, "a whole number%s",
            f->type == JSON_I64 ? "" : " that is not negative");
    }
    if (json_is_real(v))
        return json_fail(at, e, ERR_INVALID, "must be %s, not %.17g", expected, json_real_value(v));
    if (!json_is_integer(v)) return json_fail_type(at, expected, v, e);
    int64_t i = json_integer_value(v);
    if ((double)i < min || (double)i > max)
        return json_fail(at, e, ERR_INVALID, "must be %s, not %lld", expected, (long long)i);
    if (f->type == JSON_I64) {
        *(int64_t *)ret = i;
    } else if (f->type == JSON_U32) {
        *(uint32_t *)ret = (uint32_t)i;
    } else {
        *(size_t *)ret = (size_t)i;
    }
    return ERR_OK;
}

static enum err_code read_real(
    const struct json_at *at, const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    if (!json_is_number(v)) return json_fail_type(at, "a number", v, e);
    double d = json_number_value(v);
    if (is_bounded(f) && !(d >= f->min && d <= f->max))
        return json_fail(
            at, e, ERR_INVALID, "must be a number from %g to %g, not %g", f->min, f->max, d);
    if (f->type == JSON_F64) {
        *(double *)ret = d;
        return ERR_OK;
    }
    if (fabs(d) > 3.4028234663852886e38)
        return json_fail(at, e, ERR_INVALID, "is too large for a 32-bit float");
    *(float *)ret = (float)d;
    return ERR_OK;
}

static enum err_code read_enum(
    const struct json_at *at, const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    char expected[160] = "one of";
    size_t n = strlen(expected);
    for (int i = 0; f->names[i]; i++) {
        if (json_is_string(v) && str_is(json_str_of(v), f->names[i])) {
            *(int *)ret = i;
            return ERR_OK;
        }
        int m = snprintf(expected + n, sizeof expected - n, "%s \"%s\"", i ? "," : "", f->names[i]);
        if (m > 0 && n + (size_t)m < sizeof expected) n += (size_t)m;
    }
    if (json_is_string(v)) return json_fail(at, e, ERR_INVALID, "must be %s", expected);
    return json_fail_type(at, expected, v, e);
}

/* ---- lists ---- */

static enum err_code check_count(
    const struct json_at *at, const struct json_field *f, size_t n, struct err *e)
{
    if (!is_bounded(f)) return ERR_OK;
    enum err_code too_many = f->type == JSON_STRS ? ERR_TOO_MANY : ERR_INVALID;
    if ((double)n > f->max)
        return json_fail(at, e, too_many, "has %zu elements; at most %.0f are allowed", n, f->max);
    if ((double)n < f->min)
        return json_fail(
            at, e, ERR_INVALID, "has %zu elements; at least %.0f are needed", n, f->min);
    return ERR_OK;
}

static enum err_code read_strings(const struct json_reader *r, const struct json_at *at,
    const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    if (!json_is_array(v)) return json_fail_type(at, "a list of strings", v, e);
    size_t n = json_array_size(v);
    TRY(check_count(at, f, n, e));
    struct str *p = arena_alloc(r->arena, n, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a list of %zu strings", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(v, i);
        if (!json_is_string(s)) return json_fail_type(&JSON_ELEMENT(at, i), "a string", s, e);
        p[i] = json_str_of(s);
    }
    *(struct json_strs *)ret = (struct json_strs){ p, n };
    return ERR_OK;
}

static enum err_code vector_of_base64(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct json_vector *ret, struct err *e)
{
    struct str s = json_str_of(v);
    size_t room = s.n / 4 * 3 + 3, n = 0;
    float *p = arena_alloc(r->arena, room, 1);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a vector");
    const char *end = NULL;
    if (sodium_base642bin((unsigned char *)p, room, s.p, s.n, NULL, &n, &end,
            sodium_base64_VARIANT_ORIGINAL) != 0 ||
        end != s.p + s.n)
        return json_fail(at, e, ERR_INVALID, "is not base64 (RFC 4648, with padding)");
    if (n % sizeof *p)
        return json_fail(
            at, e, ERR_INVALID, "is base64 of %zu bytes, which are no 32-bit floats", n);
    *ret = (struct json_vector){ p, n / sizeof *p };
    return ERR_OK;
}

/* A list that json_vector.c left where it was. */
static enum err_code vector_of_list(const struct json_reader *r, const struct json_at *at,
    const json_t *v, struct json_vector *ret, struct err *e)
{
    static const struct json_field number = { .type = JSON_F32 };
    size_t n = json_array_size(v);
    float *p = arena_alloc(r->arena, n, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a vector");
    for (size_t i = 0; i < n; i++)
        TRY(read_real(&JSON_ELEMENT(at, i), &number, json_array_get(v, i), &p[i], e));
    *ret = (struct json_vector){ p, n };
    return ERR_OK;
}

static enum err_code read_vector(const struct json_reader *r, const struct json_at *at,
    const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    struct json_vector x = { 0 };
    if (json_is_string(v)) {
        TRY(vector_of_base64(r, at, v, &x, e));
    } else if (json_is_array(v)) {
        TRY(vector_of_list(r, at, v, &x, e));
    } else if (json_is_integer(v) && r->doc && json_integer_value(v) >= 0 &&
        (size_t)json_integer_value(v) < r->doc->vectors.n) {
        x = r->doc->vectors.p[json_integer_value(v)].v;
    } else {
        return json_fail_type(at, "a list of numbers, or base64", v, e);
    }
    TRY(check_count(at, f, x.n, e));
    for (size_t i = 0; i < x.n; i++) {
        if (!isfinite(x.p[i]))
            return json_fail(&JSON_ELEMENT(at, i), e, ERR_INVALID, "is not a finite 32-bit float");
    }
    *(struct json_vector *)ret = x;
    return ERR_OK;
}

/* ---- objects ---- */

enum err_code json_spec_value(const struct json_reader *r, const struct json_at *at,
    const struct json_field *f, const json_t *v, void *ret, struct err *e)
{
    switch (f->type) {
    case JSON_STR: return read_string(at, f, v, ret, e);
    case JSON_SIZE:
    case JSON_U32:
    case JSON_I64: return read_integer(at, f, v, ret, e);
    case JSON_F32:
    case JSON_F64: return read_real(at, f, v, ret, e);
    case JSON_BOOL:
        if (!json_is_boolean(v)) return json_fail_type(at, "true or false", v, e);
        *(bool *)ret = json_is_true(v);
        return ERR_OK;
    case JSON_ENUM: return read_enum(at, f, v, ret, e);
    case JSON_STRS: return read_strings(r, at, f, v, ret, e);
    case JSON_VECTOR: return read_vector(r, at, f, v, ret, e);
    case JSON_VALUE: *(const json_t **)ret = v; return ERR_OK;
    case JSON_CUSTOM: return f->read(r, at, v, ret, e);
    }
    return err_set(e, ERR_INTERNAL, "a field of no known type");
}

static const struct json_field *field_find(const struct json_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n; i++) {
        if (strcmp(spec->fields[i].name, name) == 0) return &spec->fields[i];
    }
    return NULL;
}

static enum err_code read_member(const struct json_reader *r, const struct json_at *at,
    const struct json_field *f, const json_t *v, char *ret, struct err *e)
{
    bool sees_null = f->type == JSON_VALUE || f->type == JSON_CUSTOM || f->required;
    if (json_is_null(v) && !sees_null) return ERR_OK;
    TRY(json_spec_value(r, at, f, v, ret + f->offset, e));
    if (f->has) *(bool *)(ret + f->has - 1) = true;
    return ERR_OK;
}

enum err_code json_spec_object(const struct json_reader *r, const struct json_at *at,
    const struct json_spec *spec, const json_t *v, void *ret, struct err *e)
{
    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    json_t *object = (json_t *)(uintptr_t)v; /* jansson's iterators change nothing */
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *name = json_object_iter_key(it);
        const struct json_at here = JSON_MEMBER(at, name);
        const struct json_field *f = field_find(spec, name);
        if (!f) return json_fail(&here, e, ERR_UNKNOWN_FIELD, "is not a known field");
        TRY(read_member(r, &here, f, json_object_iter_value(it), ret, e));
    }
    for (size_t i = 0; i < spec->n; i++) {
        const struct json_field *f = &spec->fields[i];
        if (f->required && !json_object_get(v, f->name))
            return json_fail(&JSON_MEMBER(at, f->name), e, ERR_INVALID, "is missing");
    }
    return ERR_OK;
}
