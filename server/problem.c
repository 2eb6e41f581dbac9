#include "server/problem.h"

#include "server/json_write.h"

#include <stdbool.h>
#include <string.h>

static const struct problem_info infos[] = {
#define X(name, status_, code_, title_, retry)                                                     \
    [PROBLEM_##name] = {                                                                           \
        .status = (status_), .code = (code_), .title = (title_), .retry_after_s = (retry)          \
    },
    PROBLEM_MAP(X)
#undef X
};

const struct problem_info *problem_info(enum problem p)
{
    return &infos[p];
}

enum problem problem_of(enum err_code code)
{
    switch (code) {
    case ERR_OK: break;
    case ERR_INVALID: return PROBLEM_INVALID_REQUEST;
    case ERR_UNKNOWN_FIELD: return PROBLEM_UNKNOWN_FIELD;
    case ERR_EMPTY: return PROBLEM_EMPTY_INPUT;
    case ERR_NOT_FOUND: return PROBLEM_NOT_FOUND;
    case ERR_CONFLICT: return PROBLEM_CONFLICT;
    case ERR_RUN_IN_PROGRESS: return PROBLEM_RUN_IN_PROGRESS;
    case ERR_VERSION: return PROBLEM_VERSION_MISMATCH;
    case ERR_LIMIT: return PROBLEM_PAYLOAD_TOO_LARGE;
    case ERR_TOO_MANY: return PROBLEM_TOO_MANY_INPUTS;
    case ERR_UNPROCESSABLE: return PROBLEM_UNPROCESSABLE;
    case ERR_BUSY: return PROBLEM_OVERLOADED;
    case ERR_TIMEOUT: return PROBLEM_TIMEOUT;
    case ERR_CANCELLED: return PROBLEM_DRAINING; /* only a server that stops cancels */
    case ERR_NOT_READY: return PROBLEM_NOT_READY;
    case ERR_DRAINING: return PROBLEM_DRAINING;
    case ERR_FULL: return PROBLEM_STORAGE_FULL;
    case ERR_CORRUPT:
    case ERR_IO:
    case ERR_NOMEM:
    case ERR_INTERNAL: return PROBLEM_INTERNAL;
    }
    return PROBLEM_INTERNAL;
}

const char *problem_code_of(enum err_code code)
{
    return infos[problem_of(code)].code;
}

bool problem_is_internal(enum err_code code)
{
    return problem_of(code) == PROBLEM_INTERNAL;
}

void problem_render(struct buf *out, enum problem p, const char *detail, const char *field)
{
    const struct problem_info *i = &infos[p];
    struct json_write w = JSON_WRITE_INIT(out);
    char type[64] = "urn:kindred:problem:";
    (void)strncat(type, i->code, sizeof type - strlen(type) - 1);
    json_write_object(&w);
    json_write_key(&w, "type");
    json_write_z(&w, type);
    json_write_key(&w, "title");
    json_write_z(&w, i->title);
    json_write_key(&w, "status");
    json_write_u64(&w, i->status);
    json_write_key(&w, "detail");
    json_write_z(&w, detail);
    json_write_key(&w, "code");
    json_write_z(&w, i->code);
    if (field[0]) {
        json_write_key(&w, "field");
        json_write_z(&w, field);
    }
    json_write_object_end(&w);
}

static const char *openai_type(enum problem p)
{
    unsigned status = infos[p].status;
    if (status == 401) return "authentication_error";
    if (status == 403) return "permission_error";
    if (status == 429) return "rate_limit_error";
    return status < 500 ? "invalid_request_error" : "server_error";
}

/* "/input/3/text" as OpenAI names parameters: "input[3].text" */
static void write_param(struct json_write *w, const char *pointer)
{
    char text[ERR_FIELD_BYTES * 2];
    size_t n = 0;
    for (const char *p = pointer; *p == '/' && n + 3 < sizeof text;) {
        size_t m = strcspn(++p, "/");
        bool index = m > 0 && strspn(p, "0123456789") == m;
        if (index) {
            text[n++] = '[';
        } else if (n > 0) {
            text[n++] = '.';
        }
        if (m > sizeof text - n - 3) m = sizeof text - n - 3;
        memcpy(text + n, p, m);
        n += m;
        if (index) text[n++] = ']';
        p += strcspn(p, "/");
    }
    json_write_str(w, (struct str){ text, n });
}

void problem_render_openai(struct buf *out, enum problem p, const char *detail, const char *field)
{
    struct json_write w = JSON_WRITE_INIT(out);
    json_write_object(&w);
    json_write_key(&w, "error");
    json_write_object(&w);
    json_write_key(&w, "message");
    json_write_z(&w, detail);
    json_write_key(&w, "type");
    json_write_z(&w, openai_type(p));
    json_write_key(&w, "param");
    if (field[0]) {
        write_param(&w, field);
    } else {
        json_write_null(&w);
    }
    json_write_key(&w, "code");
    /* the one code of OpenAI's that clients look at */
    bool no_model = p == PROBLEM_NOT_FOUND && strcmp(field, "/model") == 0;
    json_write_z(&w, no_model ? "model_not_found" : infos[p].code);
    json_write_object_end(&w);
    json_write_object_end(&w);
}
