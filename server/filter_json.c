/* A filter is read by recursion over the tree of the request, which the depth limit bounds. The kind of a
 * condition follows from its members: exactly one of match, range, is_empty, is_null and has_id, or
 * the members of a filter. */
#include "server/filter_json.h"

#include <string.h>

/* What all levels of one filter share. */
struct reading {
    const struct json_reader *r;
    size_t n_conditions, n_values; /* so far, against the limits */
};

static enum err_code read_filter(struct reading *rd, const struct json_at *at, const json_t *v,
    size_t depth, struct filter **ret, struct err *e);

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a filter");
}

static enum err_code count_values(
    struct reading *rd, const struct json_at *at, size_t n, struct err *e)
{
    rd->n_values += n;
    if (rd->n_values > FILTER_VALUES_MAX)
        return json_fail(
            at, e, ERR_INVALID, "makes more than %d values in one filter", FILTER_VALUES_MAX);
    return ERR_OK;
}

/* Every member must be one of these; NULL-ended. */
static enum err_code check_names(
    const struct json_at *at, const json_t *v, const char *const *names, struct err *e)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            return json_fail(
                &JSON_MEMBER(at, key), e, ERR_UNKNOWN_FIELD, "is not a known field here");
    }
    return ERR_OK;
}

/* ---- values ---- */

static enum err_code read_match_value(
    const struct json_at *at, const json_t *v, struct filter_value *ret, struct err *e)
{
    if (json_is_string(v)) {
        *ret = (struct filter_value){ .type = VALUE_STRING, .v.s = json_str_of(v) };
    } else if (json_is_integer(v)) {
        *ret = (struct filter_value){ .type = VALUE_INTEGER, .v.i = json_integer_value(v) };
    } else if (json_is_boolean(v)) {
        *ret = (struct filter_value){ .type = VALUE_BOOLEAN, .v.i = json_is_true(v) };
    } else if (json_is_real(v)) {
        return json_fail(at, e, ERR_INVALID,
            "must be a string, a whole number or true or false; fractions are matched by range");
    } else {
        return json_fail_type(at, "a string, a whole number or true or false", v, e);
    }
    return ERR_OK;
}

static enum err_code read_match_values(struct reading *rd, const struct json_at *at,
    const json_t *v, struct filter_condition *c, struct err *e)
{
    if (!json_is_array(v)) return json_fail_type(at, "a list", v, e);
    size_t n = json_array_size(v);
    TRY(count_values(rd, at, n, e));
    struct filter_value *values = arena_alloc(rd->r->arena, n, sizeof *values);
    if (!values) return no_memory(e);
    for (size_t i = 0; i < n; i++)
        TRY(read_match_value(&JSON_ELEMENT(at, i), json_array_get(v, i), &values[i], e));
    c->values = values;
    c->n_values = n;
    return ERR_OK;
}

/* {"value": v} | {"any": […]} | {"except": […]} | {"text": s} */
static enum err_code read_match(struct reading *rd, const struct json_at *at, const json_t *v,
    struct filter_condition *c, struct err *e)
{
    static const char *const names[] = { "value", "any", "except", "text", NULL };
    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    TRY(check_names(at, v, names, e));
    if (json_object_size(v) != 1)
        return json_fail(at, e, ERR_INVALID,
            "must have exactly one of \"value\", \"any\", \"except\", \"text\"");

    const json_t *m = json_object_get(v, "any");
    c->kind = CONDITION_MATCH_ANY;
    if (m) return read_match_values(rd, &JSON_MEMBER(at, "any"), m, c, e);
    if ((m = json_object_get(v, "except"))) {
        c->kind = CONDITION_MATCH_EXCEPT;
        return read_match_values(rd, &JSON_MEMBER(at, "except"), m, c, e);
    }

    struct filter_value *one = arena_alloc(rd->r->arena, 1, sizeof *one);
    if (!one) return no_memory(e);
    TRY(count_values(rd, at, 1, e));
    c->values = one;
    c->n_values = 1;
    if ((m = json_object_get(v, "value")))
        return read_match_value(&JSON_MEMBER(at, "value"), m, one, e);

    m = json_object_get(v, "text");
    const struct json_at here = JSON_MEMBER(at, "text");
    if (!json_is_string(m)) return json_fail_type(&here, "a string", m, e);
    if (json_string_length(m) == 0) return json_fail(&here, e, ERR_EMPTY, "must not be empty");
    c->kind = CONDITION_MATCH_TEXT;
    *one = (struct filter_value){ .type = VALUE_STRING, .v.s = json_str_of(m) };
    return ERR_OK;
}

/* ---- ranges ---- */

struct bound {
    const char *name;
    bool *has;
    double *value;
};

static enum err_code read_bound(
    const struct json_at *at, const json_t *v, bool *is_time, double *ret, struct err *e)
{
    int64_t ms;
    *is_time = json_is_string(v);
    if (json_is_number(v)) {
        *ret = json_number_value(v);
        return ERR_OK;
    }
    if (!json_is_string(v)) return json_fail_type(at, "a number, or a time as a string", v, e);
    if (!filter_time_parse(json_str_of(v), &ms))
        return json_fail(at, e, ERR_INVALID,
            "must be a number or an RFC 3339 time such as \"2024-05-01T10:00:00Z\"");
    *ret = (double)ms;
    return ERR_OK;
}

static enum err_code read_range(
    const struct json_at *at, const json_t *v, struct filter_range *ret, struct err *e)
{
    static const char *const names[] = { "gt", "gte", "lt", "lte", NULL };
    const struct bound bounds[] = { { "gt", &ret->has_gt, &ret->gt },
        { "gte", &ret->has_gte, &ret->gte }, { "lt", &ret->has_lt, &ret->lt },
        { "lte", &ret->has_lte, &ret->lte } };
    size_t n = 0;

    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    TRY(check_names(at, v, names, e));
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        const json_t *b = json_object_get(v, bounds[i].name);
        bool is_time;
        if (!b || json_is_null(b)) continue;
        const struct json_at here = JSON_MEMBER(at, bounds[i].name);
        TRY(read_bound(&here, b, &is_time, bounds[i].value, e));
        if (n > 0 && is_time != ret->is_time)
            return json_fail(&here, e, ERR_INVALID, "must be of the kind of the other bounds");
        ret->is_time = is_time;
        *bounds[i].has = true;
        n++;
    }
    if (n == 0)
        return json_fail(
            at, e, ERR_INVALID, "must have a bound: \"gt\", \"gte\", \"lt\" or \"lte\"");
    return ERR_OK;
}

/* ---- conditions ---- */

static enum err_code read_key(
    const struct json_at *at, const json_t *v, struct str *ret, struct err *e)
{
    if (!v) return json_fail(at, e, ERR_INVALID, "is missing");
    if (!json_is_string(v)) return json_fail_type(at, "a string", v, e);
    struct str s = json_str_of(v);
    if (s.n == 0 || s.n > FILTER_KEY_MAX_BYTES)
        return json_fail(at, e, ERR_INVALID, "must have 1 to %d bytes", FILTER_KEY_MAX_BYTES);
    *ret = s;
    return ERR_OK;
}

/* {"key": k}, of is_empty and is_null */
static enum err_code read_field_key(
    const struct json_at *at, const json_t *v, struct str *ret, struct err *e)
{
    static const char *const names[] = { "key", NULL };
    if (!json_is_object(v)) return json_fail_type(at, "an object with \"key\"", v, e);
    TRY(check_names(at, v, names, e));
    return read_key(&JSON_MEMBER(at, "key"), json_object_get(v, "key"), ret, e);
}

static enum err_code read_has_id(struct reading *rd, const struct json_at *at, const json_t *v,
    struct filter_condition *c, struct err *e)
{
    if (!json_is_array(v)) return json_fail_type(at, "a list of ids", v, e);
    size_t n = json_array_size(v);
    TRY(count_values(rd, at, n, e));
    struct str *ids = arena_alloc(rd->r->arena, n, sizeof *ids);
    if (!ids) return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_string(id)) return json_fail_type(&JSON_ELEMENT(at, i), "a string", id, e);
        ids[i] = json_str_of(id);
    }
    c->kind = CONDITION_HAS_ID;
    c->ids = ids;
    c->n_ids = n;
    return ERR_OK;
}

/* A condition on one field: {"key", "match"} or {"key", "range"}. */
static enum err_code read_field_condition(struct reading *rd, const struct json_at *at,
    const json_t *v, struct filter_condition *c, struct err *e)
{
    static const char *const names[] = { "key", "match", "range", NULL };
    const json_t *match = json_object_get(v, "match"), *range = json_object_get(v, "range");

    TRY(check_names(at, v, names, e));
    TRY(read_key(&JSON_MEMBER(at, "key"), json_object_get(v, "key"), &c->key, e));
    if (!match == !range)
        return json_fail(at, e, ERR_INVALID, "must have exactly one of \"match\" and \"range\"");
    if (match) return read_match(rd, &JSON_MEMBER(at, "match"), match, c, e);
    c->kind = CONDITION_RANGE;
    return read_range(&JSON_MEMBER(at, "range"), range, &c->range, e);
}

static enum err_code read_single_member(
    const struct json_at *at, const json_t *v, const char *name, struct err *e)
{
    const char *const names[] = { name, NULL };
    return check_names(at, v, names, e);
}

static enum err_code read_condition(struct reading *rd, const struct json_at *at, const json_t *v,
    size_t depth, struct filter_condition *c, struct err *e)
{
    const json_t *m;

    *c = (struct filter_condition){ 0 };
    if (!json_is_object(v)) return json_fail_type(at, "a condition (an object)", v, e);
    if (++rd->n_conditions > FILTER_CONDITIONS_MAX)
        return json_fail(at, e, ERR_INVALID, "makes more than %d conditions in one filter",
            FILTER_CONDITIONS_MAX);
    if (json_object_get(v, "key") || json_object_get(v, "match") || json_object_get(v, "range"))
        return read_field_condition(rd, at, v, c, e);
    if ((m = json_object_get(v, "has_id"))) {
        TRY(read_single_member(at, v, "has_id", e));
        return read_has_id(rd, &JSON_MEMBER(at, "has_id"), m, c, e);
    }
    if ((m = json_object_get(v, "is_empty"))) {
        TRY(read_single_member(at, v, "is_empty", e));
        c->kind = CONDITION_IS_EMPTY;
        return read_field_key(&JSON_MEMBER(at, "is_empty"), m, &c->key, e);
    }
    if ((m = json_object_get(v, "is_null"))) {
        TRY(read_single_member(at, v, "is_null", e));
        c->kind = CONDITION_IS_NULL;
        return read_field_key(&JSON_MEMBER(at, "is_null"), m, &c->key, e);
    }
    if (json_object_size(v) == 0)
        return json_fail(at, e, ERR_INVALID, "must not be empty: a condition is expected");

    struct filter *nested;
    TRY(read_filter(rd, at, v, depth + 1, &nested, e));
    c->kind = CONDITION_NESTED;
    c->nested = nested;
    return ERR_OK;
}

/* A list of conditions; with `or_single` also one condition by itself. */
static enum err_code read_conditions(struct reading *rd, const struct json_at *at, const json_t *v,
    size_t depth, bool or_single, struct filter_conditions *ret, struct err *e)
{
    if (or_single && json_is_null(v)) return ERR_OK;
    bool single = or_single && json_is_object(v);
    if (!single && !json_is_array(v)) return json_fail_type(at, "a list of conditions", v, e);

    size_t n = single ? 1 : json_array_size(v);
    if (n > FILTER_CONDITIONS_MAX)
        return json_fail(
            at, e, ERR_INVALID, "has %zu conditions; at most %d", n, FILTER_CONDITIONS_MAX);
    struct filter_condition *c = arena_alloc(rd->r->arena, n, sizeof *c);
    if (!c) return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const struct json_at element = JSON_ELEMENT(at, i);
        TRY(read_condition(
            rd, single ? at : &element, single ? v : json_array_get(v, i), depth, &c[i], e));
    }
    *ret = (struct filter_conditions){ c, n };
    return ERR_OK;
}

static enum err_code read_min_should(struct reading *rd, const struct json_at *at, const json_t *v,
    size_t depth, struct filter *f, struct err *e)
{
    static const char *const names[] = { "conditions", "min_count", NULL };
    static const struct json_field count = { .type = JSON_SIZE, .max = FILTER_CONDITIONS_MAX };
    const json_t *list, *min;

    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    TRY(check_names(at, v, names, e));
    const struct json_at list_at = JSON_MEMBER(at, "conditions");
    const struct json_at min_at = JSON_MEMBER(at, "min_count");
    if (!(list = json_object_get(v, "conditions")))
        return json_fail(&list_at, e, ERR_INVALID, "is missing");
    if (!(min = json_object_get(v, "min_count")))
        return json_fail(&min_at, e, ERR_INVALID, "is missing");
    TRY(json_spec_value(rd->r, &min_at, &count, min, &f->min_count, e));
    return read_conditions(rd, &list_at, list, depth, false, &f->min_should, e);
}

static enum err_code read_filter(struct reading *rd, const struct json_at *at, const json_t *v,
    size_t depth, struct filter **ret, struct err *e)
{
    static const char *const names[] = { "must", "should", "must_not", "min_should", NULL };
    const json_t *m;

    if (!json_is_object(v)) return json_fail_type(at, "an object", v, e);
    TRY(check_names(at, v, names, e));
    if (depth > FILTER_DEPTH_MAX)
        return json_fail(at, e, ERR_INVALID, "is nested too deep; a filter may have %d levels",
            FILTER_DEPTH_MAX);
    struct filter *f = arena_zalloc(rd->r->arena, 1, sizeof *f);
    if (!f) return no_memory(e);

    if ((m = json_object_get(v, "must")))
        TRY(read_conditions(rd, &JSON_MEMBER(at, "must"), m, depth, true, &f->must, e));
    if ((m = json_object_get(v, "should")))
        TRY(read_conditions(rd, &JSON_MEMBER(at, "should"), m, depth, true, &f->should, e));
    if ((m = json_object_get(v, "must_not")))
        TRY(read_conditions(rd, &JSON_MEMBER(at, "must_not"), m, depth, true, &f->must_not, e));
    if ((m = json_object_get(v, "min_should")) && !json_is_null(m))
        TRY(read_min_should(rd, &JSON_MEMBER(at, "min_should"), m, depth, f, e));
    *ret = f;
    return ERR_OK;
}

enum err_code filter_json_read(const struct json_reader *r, const struct json_at *at,
    const json_t *v, void *field, struct err *e)
{
    struct reading rd = { .r = r };
    struct filter *f;

    if (json_is_null(v)) return ERR_OK;
    TRY(read_filter(&rd, at, v, 1, &f, e));
    *(const struct filter **)field = f;
    return ERR_OK;
}
