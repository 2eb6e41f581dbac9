/* Layer: server. May include: engine, base.
 *
 * Lists of numbers in a JSON text, parsed straight to floats: one pass over the
 * text finds the values at the given paths, parses the lists into the arena, and
 * writes an index in their place, so that the tree parser never sees them.
 *
 * The index is a plain integer. It cannot be forged: any other value at such a
 * path than a list, a string or null is an error here.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct json_vector {
    const float *p;
    size_t n;
};
struct json_vectors {
    struct json_vector *v;
    size_t n, cap;
};

/**
 * Check the nesting of `text` (NUL after its n bytes) and lift the lists at `paths` (NULL-ended, or NULL)
 * out of it in place; *n_text becomes the new length.
 *
 * Text that is not JSON is left to the parser that comes next, unless it is nested deeper than
 * depth_max. Numbers are rounded to the nearest float.
 * Errors: INVALID with e->field: a value that is no list, string or null; an element that is no number; a number
 * beyond a float; INVALID: too deep; NOMEM.
 */
MUST_USE enum err_code json_vector_lift(char *text, size_t *n_text, const char *const *paths,
    size_t depth_max, struct arena *a, struct json_vectors *ret, struct err *e);
