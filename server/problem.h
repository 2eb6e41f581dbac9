/* Layer: server. May include: engine, base.
 *
 * What an error looks like on the wire. One table says status, code and title
 * of each problem; another decides the problem of each err_code, so that a new
 * code forces a choice.
 *
 * Threads: any.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* name, status, wire code, title, seconds for Retry-After (0: none; exchange_retry_after) */
#define PROBLEM_MAP(X)                                                                             \
    X(INVALID_REQUEST, 400, "invalid_request", "Invalid request", 0)                               \
    X(UNKNOWN_FIELD, 400, "unknown_field", "Unknown field", 0)                                     \
    X(EMPTY_INPUT, 400, "empty_input", "Empty input", 0)                                           \
    X(UNAUTHORIZED, 401, "unauthorized", "Unauthorized", 0)                                        \
    X(FORBIDDEN, 403, "forbidden", "Forbidden", 0)                                                 \
    X(NOT_FOUND, 404, "not_found", "Not found", 0)                                                 \
    X(METHOD_NOT_ALLOWED, 405, "method_not_allowed", "Method not allowed", 0)                      \
    X(NOT_ACCEPTABLE, 406, "not_acceptable", "Not acceptable", 0)                                  \
    X(BODY_TIMEOUT, 408, "timeout", "Request timeout", 0)                                          \
    X(CONFLICT, 409, "conflict", "Conflict", 0)                                                    \
    X(RUN_IN_PROGRESS, 409, "run_in_progress", "Run in progress", 0)                               \
    X(VERSION_MISMATCH, 409, "version_mismatch", "Version mismatch", 0)                            \
    X(PAYLOAD_TOO_LARGE, 413, "payload_too_large", "Payload too large", 0)                         \
    X(TOO_MANY_INPUTS, 413, "too_many_inputs", "Too many inputs", 0)                               \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type", "Unsupported media type", 0)          \
    X(UNPROCESSABLE, 422, "unprocessable", "Unprocessable", 0)                                     \
    X(OVERLOADED, 429, "overloaded", "Overloaded", 1)                                              \
    X(INTERNAL, 500, "internal", "Internal error", 0)                                              \
    X(NOT_READY, 503, "not_ready", "Not ready", 1)                                                 \
    X(DRAINING, 503, "draining", "Draining", 5)                                                    \
    X(TIMEOUT, 504, "timeout", "Timeout", 0)                                                       \
    X(STORAGE_FULL, 507, "storage_full", "Storage full", 0)

enum problem {
#define X(name, status, code, title, retry) PROBLEM_##name,
    PROBLEM_MAP(X)
#undef X
};

struct problem_info {
    unsigned status;
    const char *code, *title;
    unsigned retry_after_s;
};

/** The problem that an error of the library is. ERR_OK is our mistake. */
enum problem problem_of(enum err_code code);
const struct problem_info *problem_info(enum problem p);
/** Wire code of an err_code ("invalid_request"), for answers that list failures one by one. */
const char *problem_code_of(enum err_code code);
/** True for causes that are ours: the detail belongs in the log, and the answer says only that it
 * failed and the request id. */
bool problem_is_internal(enum err_code code);

/** {"type","title","status","detail","code","field"?}; field: JSON pointer or "". */
void problem_render(struct buf *out, enum problem p, const char *detail, const char *field);
/** OpenAI's {"error":{"message","type","param","code"}}. */
void problem_render_openai(struct buf *out, enum problem p, const char *detail, const char *field);
