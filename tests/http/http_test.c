/* See http_test.h. */
#include "tests/http/http_test.h"

#include "base/embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct server_proc suite_server;
const char *const *suite_server_args;

void suite_server_start(void)
{
    server_start(&suite_server, suite_server_args);
}

void suite_server_stop(void)
{
    /* Leaks and races are found at the end: the exit status tells. */
    server_stop(&suite_server);
    server_remove(&suite_server);
}

const struct openapi *suite_openapi(void)
{
    static struct openapi *o;
    if (!o) {
        const struct embedded_file *f = &embedded_openapi[0];
        ck_assert_ptr_nonnull(f->name);
        o = openapi_load((struct str){ (const char *)f->data, f->size });
    }
    return o;
}

void check_documented(const char *method, const char *path, const struct http_reply *r)
{
    const char *type = http_reply_header(r, "Content-Type");
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", type ? type : "");
    const char *bad = openapi_check_reply(
        suite_openapi(), method, path, r->status, type ? copy : NULL, buf_str(&r->body));
    ck_assert_msg(!bad, "%s %s: %d is not as openapi.yaml says: %s\n%.600s", method, path,
        r->status, bad, http_reply_text(r));
    ck_assert_msg(http_reply_header(r, "X-Request-Id") != NULL, "no X-Request-Id");
    if (r->status == 429 || r->status == 503)
        ck_assert_msg(http_reply_header(r, "Retry-After") != NULL, "no Retry-After");
}

json_t *call_raw(
    const char *method, const char *path, const char *type, struct str body, int status)
{
    struct http_reply r;
    const struct http_call c = { .method = method, .path = path, .type = type, .body = body };

    http_reply_init(&r);
    http_call(suite_server.port, &c, &r);
    ck_assert_msg(r.status == status, "%s %s: status %d instead of %d\nsent: %.300s\ngot: %.600s",
        method, path, r.status, status, body.p ? body.p : "", http_reply_text(&r));
    check_documented(method, path, &r);
    const char *got = http_reply_header(&r, "Content-Type");
    json_t *v = NULL;
    if (got && strstr(got, "json")) {
        v = json_loadb(r.body.p, r.body.n, 0, NULL);
        ck_assert_msg(v != NULL, "not JSON: %.300s", http_reply_text(&r));
    }
    http_reply_done(&r);
    return v;
}

json_t *call(const char *method, const char *path, const char *body, int status)
{
    if (body && status < 300) {
        const char *bad = openapi_check_request(suite_openapi(), method, path, str_from(body));
        ck_assert_msg(!bad, "%s %s took a body that openapi.yaml does not allow: %s\n%.300s",
            method, path, bad, body);
    }
    return call_raw(method, path, body ? "application/json" : NULL, str_from(body), status);
}

char *dquote(const char *s)
{
    char *p = strdup(s);
    ck_assert_ptr_nonnull(p);
    for (char *c = p; *c; c++)
        if (*c == '\'') *c = '"';
    return p;
}

void expect(const char *method, const char *path, const char *body, int status)
{
    char *b = body ? dquote(body) : NULL;
    json_decref(call(method, path, b, status));
    free(b);
}

const json_t *at(const json_t *v, const char *pointer)
{
    const json_t *start = v;
    char part[128];
    for (const char *p = pointer; *p == '/';) {
        size_t n = strcspn(++p, "/");
        ck_assert(n < sizeof part);
        memcpy(part, p, n);
        part[n] = '\0';
        p += n;
        v = json_is_array(v) ? json_array_get(v, strtoul(part, NULL, 10))
                             : json_object_get(v, part);
        if (!v) {
            char *all = json_dumps(start, JSON_COMPACT | JSON_ENCODE_ANY);
            ck_abort_msg("no %s in %.600s", pointer, all ? all : "(nothing)");
        }
    }
    return v;
}

const char *text_at(const json_t *v, const char *pointer)
{
    const json_t *m = at(v, pointer);
    ck_assert_msg(json_is_string(m), "%s is no string", pointer);
    return json_string_value(m);
}

long long int_at(const json_t *v, const char *pointer)
{
    const json_t *m = at(v, pointer);
    ck_assert_msg(json_is_integer(m), "%s is no integer", pointer);
    return json_integer_value(m);
}

double num_at(const json_t *v, const char *pointer)
{
    const json_t *m = at(v, pointer);
    ck_assert_msg(json_is_number(m), "%s is no number", pointer);
    return json_number_value(m);
}
