/* What a request may do, in this order: framing, path (404), method (405), media type (415), key (401, 403),
 * Accept (406), query (400), length (413). All of it before a byte of the body is read, so that
 * "Expect: 100-continue" saves the client the upload.
 */
#include "server/http_internal.h"

#include "engine/config.h"
#include "server/auth.h"
#include "server/media.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { BODY_RESERVE_BYTES = 1 << 20 };

static bool refuse(struct exchange *x, enum problem p, const char *detail, const char *field)
{
    exchange__set_problem(x, p, detail, field);
    x->discard = true;
    return false;
}

static bool refuse_error(struct exchange *x, const struct err *e)
{
    exchange__set_error(x, e);
    x->discard = true;
    return false;
}

/* ---- one check each ---- */

static bool is_id(struct str s)
{
    if (s.n == 0 || s.n >= EXCHANGE_ID_BYTES) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !memchr("._:-", c, 4)) return false;
    }
    return true;
}

static void take_id(struct exchange *x)
{
    struct str sent = request_header(x, "X-Request-Id", NULL);
    if (is_id(sent)) {
        memcpy(x->id, sent.p, sent.n);
        x->id[sent.n] = '\0';
        return;
    }
    unsigned char random[16];
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(x->id, sizeof x->id, random, sizeof random);
}

struct framing {
    bool has_body, chunked;
    uint64_t length;
};

/* Two ways to say where a body ends are how requests are smuggled past a proxy: only one is taken. */
static bool check_framing(struct exchange *x, struct framing *f)
{
    size_t n_length, n_encoding, n_host;
    struct str length = request_header(x, "Content-Length", &n_length);
    struct str encoding = request_header(x, "Transfer-Encoding", &n_encoding);
    (void)request_header(x, "Host", &n_host);
    f->chunked = n_encoding == 1 && media_is(encoding, "chunked");
    bool digits = length.n > 0 && length.n <= 18;
    for (size_t i = 0; digits && i < length.n; i++) {
        digits = length.p[i] >= '0' && length.p[i] <= '9';
        f->length = f->length * 10 + (uint64_t)(length.p[i] - '0');
    }
    f->has_body = n_encoding > 0 || f->length > 0;
    const char *wrong = n_length + n_encoding > 1
        ? "more than one Content-Length or Transfer-Encoding"
        : n_encoding && !f->chunked ? "Transfer-Encoding must be chunked"
        : n_length && !digits       ? "Content-Length is no length"
        : n_host > 1                ? "more than one Host"
                                    : NULL;
    if (!wrong) return true;
    x->answer_early = true;
    return refuse(x, PROBLEM_INVALID_REQUEST, wrong, "");
}

static bool find_route(struct exchange *x, const struct framing *f, struct str *ret_query)
{
    struct str path, segments[ROUTER_SEGMENTS_MAX];
    struct err e = ERR_INIT;
    size_t n = 0;
    url_split(x->target, &path, ret_query);
    x->errors = router_errors_of_path(path);
    if (url_segments(path, x->arena, segments, ROUTER_SEGMENTS_MAX, &n, &e) != ERR_OK)
        return refuse_error(x, &e);
    if (path.n == 0 || n > ROUTER_SEGMENTS_MAX)
        return refuse(x, PROBLEM_NOT_FOUND, "there is nothing at this path", "");

    struct router_match m;
    struct str type = request_header(x, "Content-Type", NULL);
    if (!f->has_body) type.p = NULL, type.n = 0;
    router_find(&x->server->o.router, x->method, segments, n, type, &m);
    switch (m.result) {
    case ROUTER_FOUND: break;
    case ROUTER_NO_PATH: return refuse(x, PROBLEM_NOT_FOUND, "there is nothing at this path", "");
    case ROUTER_NO_METHOD: {
        (void)refuse(x, PROBLEM_METHOD_NOT_ALLOWED, "this path does not take this method", "");
        const char *allow = arena_strndup(x->arena, m.allow, strlen(m.allow));
        if (allow) response_header_add(&x->rs, "Allow", allow);
        return false;
    }
    case ROUTER_NO_TYPE:
        x->errors = m.route->errors;
        return refuse(x, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
            m.route->body == BODY_NDJSON
                ? "the body must be application/json or application/x-ndjson"
                : "the body must be application/json",
            "");
    }
    x->route = m.route;
    x->errors = m.route->errors;
    memcpy(x->captures, m.captures, sizeof x->captures);
    return true;
}

static bool check_key(struct exchange *x)
{
    enum problem p = PROBLEM_UNAUTHORIZED;
    const char *detail = "";
    struct str sent = request_header(x, "Authorization", NULL);
    if (auth_allows(x->server->o.auth, x->route->scope, sent, &p, &detail)) return true;
    return refuse(x, p, detail, "");
}

static bool check_types(struct exchange *x)
{
    const char *answer = x->route->answer ? x->route->answer : "application/json";
    if (!media_accepts(request_header(x, "Accept", NULL), answer)) {
        const char *detail =
            arena_printf(x->arena, "the answer is %s, which Accept rules out", answer);
        return refuse(
            x, PROBLEM_NOT_ACCEPTABLE, detail ? detail : "Accept rules out the answer", "");
    }
    struct str coding = request_header(x, "Content-Encoding", NULL);
    if (coding.n && !media_is(coding, "identity"))
        return refuse(x, PROBLEM_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not supported", "");
    return true;
}

static bool is_listed(const char *list, struct str name)
{
    while (list && *list) {
        size_t n = strcspn(list, " ");
        if (str_eq((struct str){ list, n }, name)) return true;
        list += n + (list[n] == ' ');
    }
    return false;
}

static bool check_query(struct exchange *x, struct str query)
{
    struct err e = ERR_INIT;
    if (url_query(query, x->arena, x->query, EXCHANGE_QUERY_MAX, &x->n_query, &e) != ERR_OK)
        return refuse_error(x, &e);
    bool any = x->route->query && strcmp(x->route->query, "*") == 0;
    for (size_t i = 0; i < x->n_query && !any; i++) {
        struct str name = x->query[i].name, before;
        size_t n = x->n_query;
        x->n_query = i;
        bool twice = exchange_query(x, name.p, &before);
        x->n_query = n;
        if (!twice && is_listed(x->route->query, name)) continue;
        (void)err_set(&e, twice ? ERR_INVALID : ERR_UNKNOWN_FIELD, "query parameter \"%.*s\" %s",
            (int)(name.n < 64 ? name.n : 64), name.p, twice ? "is given twice" : "is not known");
        return refuse_error(x, &e);
    }
    return true;
}

static bool refuse_large(struct exchange *x)
{
    const char *detail = arena_printf(x->arena, "the body is larger than %zu bytes", x->body_limit);
    return refuse(x, PROBLEM_PAYLOAD_TOO_LARGE, detail ? detail : "the body is too large", "");
}

static bool refuse_no_memory(struct exchange *x)
{
    const struct err e = { .code = ERR_NOMEM, .msg = "no memory for a body" };
    return refuse_error(x, &e);
}

static bool check_length(struct exchange *x, const struct framing *f)
{
    switch (x->route->body) {
    case BODY_NONE: x->body_limit = BODY_NONE_BYTES_MAX; break;
    case BODY_JSON: x->body_limit = (size_t)x->cfg->body_max_bytes; break;
    case BODY_NDJSON: x->body_limit = SIZE_MAX; break;
    }
    if (f->length > x->body_limit) return refuse_large(x);
    if (x->route->body != BODY_JSON || f->length == 0) return true;
    size_t first = f->length < BODY_RESERVE_BYTES ? (size_t)f->length : BODY_RESERVE_BYTES;
    return buf_reserve(&x->body_buf, first) == ERR_OK || refuse_no_memory(x);
}

/* ---- calling the handler ---- */

/* A handler or a stream's callback returned. Until it suspended, and the operation was accepted, nobody else
 * has the exchange. */
static void returned(struct exchange *x, enum err_code code, struct err *e, bool is_answer)
{
    if (code != ERR_OK) {
        e->code = code;
        atomic_store(&x->state, EXCHANGE_RUNNING);
    } else if (!is_answer || atomic_load(&x->state) != EXCHANGE_RUNNING) {
        return;
    } else if (x->rs.fixed.p || buf_check(&x->rs.body, e) == ERR_OK) {
        x->outcome = OUTCOME_ANSWER;
        return;
    }
    exchange__set_error(x, e);
    x->discard = true;
    x->outcome = OUTCOME_ANSWER;
}

static void renew_deadline(struct exchange *x)
{
    x->deadline_ns = time_mono_ns() + (int64_t)x->cfg->request_timeout_ms * NS_PER_MS;
}

void dispatch_head(struct exchange *x)
{
    struct framing f = { 0 };
    struct str query = { 0 };
    take_id(x);
    bool good = check_framing(x, &f) && find_route(x, &f, &query) && check_key(x) &&
        check_types(x) && check_query(x, query) && check_length(x, &f);
    if (!good) {
        /* A body that the client holds back, or that is too much to throw away, is not read at all. */
        bool waits = request_header(x, "Expect", NULL).p != NULL;
        if (waits || f.length > DISCARD_BYTES_MAX) x->answer_early = true;
        return;
    }
    if (x->route->kind != ROUTE_STREAM || !x->route->handler) return;
    struct err e = ERR_INIT;
    renew_deadline(x);
    enum err_code code = x->route->handler(x, &e);
    returned(x, code, &e, false);
}

void dispatch_data(struct exchange *x, const char *p, size_t n)
{
    x->body_received += n;
    if (x->discard) {
        x->body_discarded += n;
        return;
    }
    if (x->body_received > x->body_limit) {
        (void)refuse_large(x);
    } else if (x->route->kind == ROUTE_STREAM) {
        struct err e = ERR_INIT;
        renew_deadline(x);
        enum err_code code = x->route->stream->data(x, (struct str){ p, n }, &e);
        returned(x, code, &e, false);
    } else if (x->route->body == BODY_JSON && buf_append(&x->body_buf, p, n) != ERR_OK) {
        (void)refuse_no_memory(x);
    }
}

void dispatch_end(struct exchange *x)
{
    if (x->discard) {
        x->outcome = OUTCOME_ANSWER;
        return;
    }
    struct err e = ERR_INIT;
    enum err_code code = ERR_OK;
    renew_deadline(x);
    x->body = x->body_buf.n ? buf_str(&x->body_buf) : STR("");
    switch (x->route->kind) {
    case ROUTE_INLINE:
    case ROUTE_ASYNC: code = x->route->handler(x, &e); break;
    case ROUTE_POOLED: code = exchange_run_blocking(x, x->route->handler, &e); break;
    case ROUTE_STREAM: code = x->route->stream->end(x, &e); break;
    }
    returned(x, code, &e, true);
}
