/* Layer: server. May include: engine, base, jansson.
 *
 * JSON text from outside to a tree. Strict: UTF-8, no NUL, no duplicate names,
 * one object or array with nothing after it, nesting up to JSON_DEPTH_MAX
 * (checked before jansson, which recurses), no integer beyond 64 bits, no
 * number beyond a double.
 *
 * Vectors never become a tree: lists of numbers at the paths named by the
 * caller are parsed straight into floats (json_vector.h), and the tree has a
 * placeholder there.
 *
 * Threads: any, each document one at a time. json_init() first, once.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "server/json_vector.h"

#include <jansson.h>
#include <stdbool.h>

enum { JSON_DEPTH_MAX = 64 };

struct json_doc {
    json_t *root;
    struct json_vectors vectors; /* in the arena */
    bool
        refused; /* after a failure: JSON as far as it was read, but with a value that is not taken */
};

/** Seed jansson's hash and route its memory through base/mem.h. Before any thread starts. */
void json_init(void);

/**
 * Parse `text`, which is overwritten and must be followed by a NUL byte (text.p[text.n] == 0).
 * vector_paths: patterns such as "/vector" and "/items/[]/vector" ("[]" is any index), ended by NULL; or
 * NULL for none.
 * Errors: INVALID with line and column (or e->field at a vector), NOMEM. json_doc_done() after success.
 * A \u0000 in a string, and a number beyond 64 bits, are not taken.
 */
MUST_USE enum err_code json_read(char *text, size_t n, const char *const *vector_paths,
    struct arena *a, struct json_doc *ret, struct err *e);
/** Accepts a zeroed struct. */
void json_doc_done(struct json_doc *d);

/** `v` as compact text with sorted names, in the arena; numbers as short as they round-trip. This is the
 * stored form of metadata. */
MUST_USE enum err_code json_text(const json_t *v, struct arena *a, struct str *ret, struct err *e);
