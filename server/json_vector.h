/* Layer: server. May include: engine, base.
 *
 * Lists of numbers in a JSON text, parsed straight to floats: one pass over the
 * text finds the values at the given paths, parses the lists into the arena, and
 * writes an index in their place, so that the tree parser never sees them.
 *
 * The index is a plain integer. It cannot be forged: a number at such a path is
 * an error here.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { JSON_VECTOR_PATHS_MAX = 8, JSON_VECTOR_PATH_DEPTH_MAX = 8 };

struct json_vector {
    const float *p;
    size_t n;
};
struct json_lifted {
    struct json_vector v;
    size_t end, removed; /* where its placeholder ends in the new text; bytes cut out up to there */
};
struct json_vectors {
    struct json_lifted *p;
    size_t n, cap;
};

/** Offset in the text as it was sent of offset `at` in the text after lifting. */
size_t json_vectors_offset(const struct json_vectors *v, size_t at);

/**
 * Check the nesting of `text` (NUL after its n bytes) and lift the lists at `paths` out of it in place;
 * *n_text becomes the new length.
 *
 * paths: patterns of JSON pointers such as "/vector" and "/items/[]/vector", where "[]" is any element of
 * a list; ended by NULL, at most JSON_VECTOR_PATHS_MAX; or NULL for none.
 *
 * A list that is empty, shorter than its placeholder would be ("[1]" as the thousandth), or holds something
 * that is no float, stays where it is, and so does any other value but a number. Text that is not JSON is
 * left to the parser that comes next, unless it is nested deeper than depth_max. Numbers are rounded to
 * the nearest float; those beyond the largest become infinite, which json_spec.h refuses.
 *
 * Errors: INVALID: too deep, or with e->field: a number at a path. NOMEM.
 */
MUST_USE enum err_code json_vector_lift(char *text, size_t *n_text, const char *const *paths,
    size_t depth_max, struct arena *a, struct json_vectors *ret, struct err *e);
