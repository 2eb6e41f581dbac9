/* A linear search: some thirty rows, most of which fail on their number of segments or first byte. Rows are
 * compared segment by segment with the pattern's text, so the table needs no preparation.
 */
#include "server/router.h"

#include "server/media.h"

#include <stdio.h>
#include <string.h>

/* Next segment of a pattern; false at its end. */
static bool pattern_next(const char **p, struct str *ret)
{
    if (**p != '/' || (*p)[1] == '\0') return false;
    const char *s = *p + 1;
    size_t n = strcspn(s, "/");
    *ret = (struct str){ s, n };
    *p = s + n;
    return true;
}

static bool is_capture(struct str segment)
{
    return segment.n > 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
}

static bool pattern_matches(
    const char *pattern, const struct str *segments, size_t n, struct str *captures)
{
    struct str want;
    size_t i = 0, n_captures = 0;
    while (pattern_next(&pattern, &want)) {
        if (i == n) return false;
        struct str got = segments[i++];
        if (!is_capture(want)) {
            if (!str_eq(want, got)) return false;
        } else if (got.n == 0) {
            return false;
        } else if (n_captures < EXCHANGE_CAPTURES_MAX) {
            captures[n_captures++] = got;
        }
    }
    return i == n;
}

static bool method_matches(const struct route *r, struct str method)
{
    return str_is(method, r->method) || (str_is(method, "HEAD") && strcmp(r->method, "GET") == 0);
}

static bool body_matches(const struct route *r, struct str content_type)
{
    struct str type = media_type(content_type);
    switch (r->body) {
    case BODY_NONE: return true;
    case BODY_JSON: return type.n == 0 || media_is(type, "application/json");
    case BODY_NDJSON:
        return media_is(type, "application/x-ndjson") || media_is(type, "application/jsonl") ||
            media_is(type, "application/ndjson");
    }
    return false;
}

static void allow_add(char allow[ROUTER_ALLOW_BYTES], const char *method)
{
    size_t n = strlen(allow), m = strlen(method);
    for (const char *at = allow; (at = strstr(at, method)); at += m) {
        if ((at == allow || at[-1] == ' ') && (at[m] == '\0' || at[m] == ',')) return;
    }
    if (n + m + 3 > ROUTER_ALLOW_BYTES) return;
    (void)snprintf(allow + n, ROUTER_ALLOW_BYTES - n, "%s%s", n ? ", " : "", method);
}

void router_find(const struct router *r, struct str method, const struct str *segments,
    size_t n_segments, struct str content_type, struct router_match *ret)
{
    *ret = (struct router_match){ .result = ROUTER_NO_PATH };
    for (size_t i = 0; i < r->n; i++) {
        const struct route *row = &r->routes[i];
        struct str captures[EXCHANGE_CAPTURES_MAX] = { 0 };
        if (!pattern_matches(row->pattern, segments, n_segments, captures)) continue;
        allow_add(ret->allow, row->method);
        if (strcmp(row->method, "GET") == 0) allow_add(ret->allow, "HEAD");
        if (!method_matches(row, method)) {
            if (ret->result == ROUTER_NO_PATH) ret->result = ROUTER_NO_METHOD;
            continue;
        }
        ret->route = row;
        if (!body_matches(row, content_type)) {
            ret->result = ROUTER_NO_TYPE;
            continue;
        }
        ret->result = ROUTER_FOUND;
        memcpy(ret->captures, captures, sizeof captures);
        return;
    }
}

enum route_errors router_errors_of_path(struct str path)
{
    return path.n >= 4 && memcmp(path.p, "/v1/", 4) == 0 ? ERRORS_OPENAI : ERRORS_PROBLEM;
}

/* ---- checking the table ---- */

/* Do the patterns match a common path? */
static bool patterns_overlap(const char *a, const char *b)
{
    for (;;) {
        struct str x = { 0 }, y = { 0 };
        bool more = pattern_next(&a, &x);
        if (more != pattern_next(&b, &y)) return false;
        if (!more) return true;
        if (!is_capture(x) && !is_capture(y) && !str_eq(x, y)) return false;
    }
}

static bool bodies_overlap(const struct route *a, const struct route *b)
{
    return a->body == b->body || a->body == BODY_NONE || b->body == BODY_NONE;
}

static enum err_code check_row(const struct route *r, struct err *e)
{
    size_t n_captures = 0, n_segments = 0;
    struct str s;
    const char *p = r->pattern;
    if (*p != '/') return err_set(e, ERR_INTERNAL, "route %s: no leading slash", r->pattern);
    for (; pattern_next(&p, &s); n_segments++) {
        if (s.n == 0) return err_set(e, ERR_INTERNAL, "route %s: empty segment", r->pattern);
        n_captures += is_capture(s);
    }
    if (n_segments > ROUTER_SEGMENTS_MAX || n_captures > EXCHANGE_CAPTURES_MAX)
        return err_set(e, ERR_INTERNAL, "route %s: too many segments or captures", r->pattern);
    bool stream = r->kind == ROUTE_STREAM;
    if (stream ? !r->stream || !r->stream->data || !r->stream->end
               : !r->handler || r->stream != NULL)
        return err_set(e, ERR_INTERNAL, "route %s: handler does not fit its kind", r->pattern);
    if (!stream && r->body == BODY_NDJSON)
        return err_set(e, ERR_INTERNAL, "route %s: NDJSON must be a stream", r->pattern);
    return ERR_OK;
}

enum err_code router_check(const struct router *r, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct route *row = &r->routes[i];
        TRY(check_row(row, e));
        for (size_t j = 0; j < i; j++) {
            const struct route *other = &r->routes[j];
            bool same = strcmp(row->pattern, other->pattern) == 0;
            bool literal_first = !same && !strchr(other->pattern, '{');
            if (strcmp(row->method, other->method) == 0 && !literal_first &&
                patterns_overlap(row->pattern, other->pattern) && bodies_overlap(row, other))
                return err_set(e, ERR_INTERNAL, "route %s %s is hidden by %s", row->method,
                    row->pattern, other->pattern);
        }
    }
    return ERR_OK;
}
